"""Options of a fit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from dewedge.errors import InputError


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """Options of a fit; the defaults are measured in docs/notebook/defaults.md.

    Parameters
    ----------
    cube_size
        Edge of the sub-tomograms in voxels, a multiple of 8.
    batch_size
        Sub-tomograms a step, over all processes.
    epoch_samples
        Sub-tomograms between two looks at the held-out region.
    epochs
        Number of epochs; None for no limit but ``budget_s``.
    budget_s
        Wall-clock seconds for the fit, earlier parts of a resumed one included; None for no limit but
        ``epochs``. The learning rate follows whichever limit is nearer.
    objective
        What is minimised. ``dewedge``: denoise and fill the wedge at once. ``noise2noise``: denoise only,
        from one half to the other or back, as cryoCARE.
        ``isonet``: fill the wedge of the full tomogram, without halves, by the mean absolute error and with
        inputs of equal range in each round, as IsoNet. ``supervised``: from half-set 0 to a truth in the
        place of half-set 1.
    learning_rate
        Highest rate; the default is for ``muon`` from random weights.
    warm_up
        Share of the fit in which the rate rises linearly.
    schedule
        ``cosine``: decay to 0 at the end. ``constant``: none.
    optimiser
        ``muon`` for steps that go equally far in all directions of a convolution's weights; ``adam``, as
        published.
    gradient_clip
        Highest norm of the gradient; None for no limit.
    frequency_weight
        How frequencies count in the loss: by the ``signal`` that both half-sets have in common, or all alike
        (``none``), as published.
    measured
        What the target of ``dewedge`` measured: the planes of its single ``tilts``, with the transfer of
        each, where they are known of all tomograms; or their whole range alike (``wedge``), as published.
    clip
        Inputs and targets are clipped at so many standard deviations from the mean, and what a tomogram has
        beyond that is given back after refinement; None to clip nothing.
    wedge_weight
        Weight of the frequencies cut from the input only; 2, as published, makes all count alike.
    update_interval
        Epochs in a round, after which the missing wedge of the inputs is replaced by the network's
        prediction; ``auto`` for rounds ten times as long as that takes, None to never do it, as does
        ``noise2noise``.
    online_fill
        Share of the fit, at its end, in which the inputs' own missing wedge is filled anew in each batch, by
        a prediction that is given nothing of what is cut from them. Each batch costs one pass more. 0 for
        none; with 1 there are no rounds.
    exact_rotations
        Share of the crops rotated by an exact rotation of the cube, not by one of SO(3). For ``isonet`` it is
        one of the 20 that move the missing wedge; ``noise2noise`` turns nothing, or by quarter turns.
    quarter_turns
        ``noise2noise``: turn the crops by quarter turns about the tilt axis, as the source of cryoCARE means
        to; its fits do not (docs/notebook/baselines.md).
    interpolation
        ``linear`` or ``cubic``, of crops that no exact rotation turned.
    standardise
        What has a standard deviation of 1: the ``half-sets``, or the ``inputs`` of the network, turned and
        with the wedge cut, and any tomogram that is refined, as published.
    noise_level
        ``isonet``: noise that is added to the inputs, and by how much it rises: its standard deviation in
        units of the range from the 4th to the 96th percentile of a crop.
    noise_start
        ``isonet``: share of the fit before noise is added to the inputs.
    noise_interval
        ``isonet``: share of the fit between two rises of the noise.
    noise_filter
        ``isonet``: the filter of the back-projection whose noise it is: ``none``, ``ramp`` or ``hamming``.
    held_out
        Share of the (y, x) area kept for validation, 0 for none.
    validation_crops
        Number of crops of the held-out region. Their loss counts frequencies by the signal in them, and is
        1 less the share of the other half-set's power that the network predicts.
    keep
        Which weights are the result: the ``last`` ones, when the rate has fallen to zero, or those of the
        ``best`` epoch on the held-out region, as published for a constant rate.
    patience
        When the mean loss on the held-out region over this many epochs, or a quarter of those so far, or six
        rounds, whichever is most, is higher than over as many before them, by more than four standard errors,
        the learning rate falls to zero within a quarter of the steps so far, and the fit ends; a constant
        rate ends it at once. A round counts as one value: it fills the inputs anew, which changes the loss.
        None to never end early, nor is there an end without a region held out.
    activation_checkpointing
        Compute the activations within the network's blocks again in the backward pass instead of keeping
        them: less memory, for large cubes and networks, and a third more time.
    seed
        Of initial weights, crops, dropout and added noise; a run draws a random split with it, too.

    Raises
    ------
    InputError
        If there is no limit, or a value lies outside of its range.
    """

    cube_size: int = 48
    batch_size: int = 4
    epoch_samples: int = 100
    epochs: int | None = None
    budget_s: float | None = None
    objective: Literal["dewedge", "noise2noise", "isonet", "supervised"] = "dewedge"
    learning_rate: float = 3e-3
    warm_up: float = 0.05
    schedule: Literal["cosine", "constant"] = "cosine"
    optimiser: Literal["muon", "adam"] = "muon"
    gradient_clip: float | None = 1.0
    frequency_weight: Literal["signal", "none"] = "signal"
    measured: Literal["tilts", "wedge"] = "tilts"
    clip: float | None = 6.0
    wedge_weight: float = 6.0
    update_interval: int | Literal["auto"] | None = "auto"
    online_fill: float = 0.0
    exact_rotations: float = 0.2
    quarter_turns: bool = False
    interpolation: Literal["linear", "cubic"] = "linear"
    standardise: Literal["half-sets", "inputs"] = "half-sets"
    noise_level: float = 0.05
    noise_start: float = 1 / 3
    noise_interval: float = 1 / 6
    noise_filter: Literal["none", "ramp", "hamming"] = "none"
    held_out: float = 0.1
    validation_crops: int = 16
    keep: Literal["last", "best"] = "last"
    patience: int | None = 20
    activation_checkpointing: bool = False
    seed: int = 0

    @property
    def epoch_steps(self) -> int:
        """Steps in one epoch."""
        return math.ceil(self.epoch_samples / self.batch_size)

    def __post_init__(self) -> None:
        if self.epochs is None and self.budget_s is None:
            raise InputError("the fit needs a limit: a number of epochs, a time budget, or both")
        counts = ("cube_size", "batch_size", "epoch_samples", "epochs", "patience")
        for name in (*counts, "update_interval"):
            value = getattr(self, name)
            if isinstance(value, int) and value < 1:
                raise InputError(f"{name} is {value}; expected at least 1")
        for name in ("seed", "validation_crops", "noise_level"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} is {getattr(self, name)}; expected at least 0")
        for name in ("budget_s", "learning_rate", "gradient_clip", "wedge_weight", "noise_interval"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"{name} is {value}; expected a positive number")
        if self.keep == "best" and (self.held_out == 0 or self.validation_crops == 0):
            raise InputError("keep is best; expected a held-out region to tell which epoch that is")
        if self.clip is not None and not 3 <= self.clip < math.inf:
            raise InputError(f"clip is {self.clip}; expected at least 3 standard deviations")
        for name in ("warm_up", "online_fill", "exact_rotations", "noise_start", "held_out"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is {getattr(self, name)}; expected a share between 0 and 1")


def learning_rate(progress: float, options: FitOptions) -> float:
    """Rate at a share ``progress`` of the fit, between 0 and 1.

    Examples
    --------
    >>> [learning_rate(progress, FitOptions(epochs=10)) for progress in (0, 0.05, 0.5, 1)]
    [3e-05, 0.00298, 0.0015, 0.0]
    """
    if progress < options.warm_up:
        return options.learning_rate * max(progress / options.warm_up, 0.01)
    if options.schedule == "constant":
        return options.learning_rate
    return options.learning_rate * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
