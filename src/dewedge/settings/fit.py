"""The section of the fit: network, start, limits and all options, with what is chosen if it is not given."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from dewedge.learn.options import FitOptions
from dewedge.limits import BATCH, CHANNELS, COUNT, CUBE, SEED
from dewedge.settings.base import Names, Section
from dewedge.settings.duration import Duration

if TYPE_CHECKING:
    from dewedge.learn.network import NetworkConfig

DEFAULT_BUDGET = Duration(minutes=10)
# Learning rates from random and from given weights: defaults.md and initial_weights.md in docs/notebook.
RATES = {"muon": (FitOptions.learning_rate, 3e-4), "adam": (1e-3, 3e-4)}


class FitSection(Section):
    """Network and fit; the defaults of the fit itself are those of `FitOptions`."""

    preset: Literal["paper", "default", "large"] = Field(
        default="default",
        description="The network: 16 channels at half resolution (default), 32 (large), or the published one "
        "(paper).",
    )
    channels: int | None = Field(
        default=None, ge=1, le=CHANNELS, description="Channels of the network, if not those of the preset."
    )
    dropout: float = Field(
        default=0.0, ge=0, lt=1, description="Share of the network's values set to zero while fitting."
    )
    dropout_of: Literal["values", "channels"] | None = Field(
        default=None,
        description="What dropout sets to zero at once: single values, or whole channels. If not given, "
        "channels for --preset paper, else values.",
    )
    init: str = Field(
        default="random",
        description="Weights that the fit starts from: random; simulated, learnt on simulated specimens; or "
        "the model.safetensors of an earlier fit.",
    )
    mask: Names = Field(
        default=[],
        description="Where there is specimen: none (everywhere), auto, or an MRC file for all or for each; "
        "else the mask of the metadata, if any.",
    )
    cube_size: int = Field(
        default=FitOptions.cube_size,
        le=CUBE,
        description="Edge of the sub-tomograms in voxels, a multiple of 8.",
    )
    batch_size: int = Field(
        default=FitOptions.batch_size, le=BATCH, description="Sub-tomograms a step, over all processes."
    )
    epoch_samples: int = Field(
        default=FitOptions.epoch_samples,
        le=COUNT,
        description="Sub-tomograms between two looks at the held-out region.",
    )
    epochs: int | None = Field(
        default=FitOptions.epochs, le=COUNT, description="Number of epochs; none for no limit but budget."
    )
    budget: Duration | None = Field(
        default=None,
        description="Wall-clock time (90s, 10min, 1h30min) for the fit, earlier parts of a resumed one "
        "included; none for no limit but epochs. The learning rate follows whichever limit is nearer. "
        f"{DEFAULT_BUDGET} if neither is given.",
    )
    objective: Literal["dewedge", "noise2noise", "isonet"] = Field(
        default="dewedge",
        description="What is minimised. dewedge: denoise and fill the wedge at once. noise2noise: denoise "
        "only, from one half to the other or back, as cryoCARE. isonet: fill the wedge of the full "
        "tomogram, without halves, as IsoNet. That is by the mean absolute error, and with inputs of equal "
        "range in each round.",
    )
    learning_rate: float | None = Field(
        default=None,
        description="Highest rate. If not given, 3e-3 for muon and 1e-3 for adam; 3e-4 from given weights "
        "(--init).",
    )
    warm_up: float = Field(
        default=FitOptions.warm_up, description="Share of the fit in which the rate rises linearly."
    )
    schedule: Literal["cosine", "constant"] = Field(
        default=FitOptions.schedule, description="cosine: decay to 0 at the end. constant: none."
    )
    optimiser: Literal["muon", "adam"] = Field(
        default=FitOptions.optimiser,
        description="muon for steps that go equally far in all directions of a convolution's weights; adam, "
        "as published.",
    )
    gradient_clip: float | None = Field(
        default=FitOptions.gradient_clip, description="Highest norm of the gradient; none for no limit."
    )
    measured: Literal["tilts", "wedge"] = Field(
        default=FitOptions.measured,
        description="What the target measured. tilts: the planes of its single tilts, with the transfer of "
        "each, where they are known. wedge: all that their range holds alike, as published.",
    )
    frequency_weight: Literal["signal", "none"] = Field(
        default=FitOptions.frequency_weight,
        description="How frequencies count in the loss: by the signal that both half-sets have in common, or "
        "all alike (none), as published.",
    )
    clip: float | None = Field(
        default=FitOptions.clip,
        description="Inputs and targets are clipped at so many standard deviations from the mean. What a "
        "tomogram has beyond that is given back after refinement. none to clip nothing.",
    )
    wedge_weight: float = Field(
        default=FitOptions.wedge_weight,
        description="Weight of the frequencies cut from the input only; 2, as published, makes all count "
        "alike.",
    )
    update_interval: int | Literal["auto"] | None = Field(
        default=FitOptions.update_interval,
        description="Epochs in a round, after which the missing wedge of the inputs is replaced by the "
        "network's prediction. auto for rounds ten times as long as that takes. none to never do it, as "
        "does noise2noise.",
    )
    online_fill: float = Field(
        default=FitOptions.online_fill,
        description="Share of the fit, at its end, in which each batch has the missing wedge of its inputs "
        "filled anew. The prediction that fills it is given nothing of what is cut from them. Each batch "
        "costs one pass more.",
    )
    exact_rotations: float = Field(
        default=FitOptions.exact_rotations,
        description="Share of the crops rotated by an exact rotation of the cube, not by one of SO(3). For "
        "isonet it is one of the 20 that move the missing wedge; noise2noise turns nothing, or by quarter "
        "turns.",
    )
    quarter_turns: bool = Field(
        default=FitOptions.quarter_turns,
        description="noise2noise: turn the crops by quarter turns about the tilt axis, as the source of "
        "cryoCARE means to; its fits do not (docs/notebook/baselines.md).",
    )
    interpolation: Literal["linear", "cubic"] = Field(
        default=FitOptions.interpolation,
        description="linear or cubic, of crops that no exact rotation turned.",
    )
    standardise: Literal["half-sets", "inputs"] = Field(
        default=FitOptions.standardise,
        description="What has a standard deviation of 1: half-sets, or inputs of the network, turned "
        "and cut, and any tomogram that is refined, as published.",
    )
    noise_level: float = Field(
        default=FitOptions.noise_level,
        description="isonet: noise that is added to the inputs, and by how much it rises. It is a standard "
        "deviation, in units of a crop's range from the 4th to the 96th percentile.",
    )
    noise_start: float = Field(
        default=FitOptions.noise_start,
        description="isonet: share of the fit before noise is added to the inputs.",
    )
    noise_interval: float = Field(
        default=FitOptions.noise_interval,
        description="isonet: share of the fit between two rises of the noise.",
    )
    noise_filter: Literal["none", "ramp", "hamming"] = Field(
        default=FitOptions.noise_filter,
        description="isonet: the filter of the back-projection whose noise it is: none, ramp or hamming.",
    )
    held_out: float = Field(
        default=FitOptions.held_out, description="Share of the (y, x) area kept for validation, 0 for none."
    )
    validation_crops: int = Field(
        default=FitOptions.validation_crops,
        le=BATCH,
        description="Number of crops of the held-out region. Their loss counts frequencies by the signal in "
        "them, and is 1 less the share of the other half-set's power that the network predicts.",
    )
    keep: Literal["last", "best"] = Field(
        default=FitOptions.keep,
        description="Which weights are the result. last: those at the end, when the rate has fallen to zero. "
        "best: those of the best epoch on the held-out region, as published for a constant rate.",
    )
    patience: int | None = Field(
        default=FitOptions.patience,
        le=COUNT,
        description="A fit that learns noise by heart ends: its mean held-out loss over so many epochs is "
        "higher than over as many before. In long fits a quarter of the epochs counts. The learning rate "
        "falls to zero within a quarter of the steps so far; a constant rate ends the fit at once. none "
        "to never end early; without a region held out there is no early end.",
    )
    activation_checkpointing: bool = Field(
        default=FitOptions.activation_checkpointing,
        description="Compute the activations within the network's blocks again in the backward pass, and do "
        "not keep them. It takes less memory, for large cubes and networks, and a third more time.",
    )
    seed: int = Field(
        default=FitOptions.seed,
        le=SEED,
        description="Of initial weights, crops, dropout and added noise; a run draws a random split with it, "
        "too.",
    )

    def network(self) -> NetworkConfig:
        """Return the network that is fitted."""
        from dewedge.learn.network import network_config  # and torch, which a command line must not wait for

        return network_config(self.preset, self.channels, self.dropout, self.dropout_of)

    def options(self) -> FitOptions:
        """Return the options of the fit.

        Raises
        ------
        InputError
            If there is neither a budget nor a number of epochs, or a value cannot be used.
        """
        values = self.model_dump(include={field.name for field in fields(FitOptions)})
        budget_s = None if self.budget is None else self.budget.total_seconds()
        return FitOptions(**values | {"learning_rate": self.rate, "budget_s": budget_s})

    @property
    def rate(self) -> float:
        """Highest learning rate: as given, else that of optimiser and start.

        Examples
        --------
        >>> FitSection().rate, FitSection(init="simulated").rate
        (0.003, 0.0003)
        """
        if self.learning_rate is not None:
            return self.learning_rate
        from_random, from_given = RATES[self.optimiser]
        return from_random if self.init == "random" else from_given

    def resolved(self) -> FitSection:
        """Return the same with absolute paths, and with rate, budget and preset where they are not given."""
        update: dict[str, object] = {
            "learning_rate": self.rate,
            "mask": [name if name in ("none", "auto") else str(Path(name).absolute()) for name in self.mask],
            "init": self.init if self.init in ("random", "simulated") else str(Path(self.init).absolute()),
        }
        if self.epochs is None and self.budget is None:
            update["budget"] = DEFAULT_BUDGET
        return self.model_copy(update=update)

    def share(self, count: int) -> FitSection:
        """Return the section of one of ``count`` fits that share budget and epochs."""
        budget = None if self.budget is None else self.budget.share(count)
        epochs = None if self.epochs is None else max(1, self.epochs // count)
        return self.model_copy(update={"budget": budget, "epochs": epochs})
