"""The state of a fit between steps, and its checkpoint."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from lightning_fabric.plugins.precision import Precision
from pydantic import Field, TypeAdapter, ValidationError
from torch import Tensor

from dewedge import limits
from dewedge.errors import InputError, reason, shown
from dewedge.learn.checkpoint import explained, load_tensors, require_weights, save_tensors
from dewedge.learn.loss_curve import Count, EpochRow, Loss, Seconds, rise_of_mean
from dewedge.learn.network import UNet
from dewedge.learn.options import FitOptions

FIT_KIND = "dewedge fit 1"
COOLING = 0.25  # of the steps so far, in which the rate falls once the held-out loss rises
_SCALE_TOLERANCE = 1e-4  # of a grey scale, in its standard deviations
FEWEST_ROUNDS = 6  # whose mean losses are held against as many before
RISE = 4.0  # standard errors: it is asked after every epoch, and chance has many tries

BestLoss = Annotated[float, Field(ge=-limits.NUMBER)]  # infinite before there is one
Share = Annotated[float, Field(ge=0, le=limits.NUMBER)]  # beyond 1, too, where the last step took long
_Scale = dict[str, Count | Annotated[float, Field(ge=0, allow_inf_nan=False)]]  # of the loss, in float16


@dataclass
class FitState:
    """State of a fit that a checkpoint holds beside the tensors.

    Crops are functions of (seed, step), so this is the state of the random generator, too.

    Parameters
    ----------
    step, seconds
        Steps, and wall-clock time, of the fit so far.
    rows
        The loss curve, a row an epoch.
    best_loss, best_epoch
        Lowest loss on the held-out region, infinite before there is one, and its epoch: on the inputs of now
        where the best weights are kept, else on those that each epoch had.
    cooling
        Step and progress at which the held-out loss was found to rise; None before.
    losses
        Of the steps of an epoch that was stopped within it, as means over the processes.

    Examples
    --------
    >>> state, options = FitState(step=50), FitOptions(epochs=4, epoch_samples=100, batch_size=4)
    >>> state.progress(options), state.steps_left(options)
    (0.5, 50)
    """

    step: Count = 0
    seconds: Seconds = 0.0
    rows: list[EpochRow] = field(default_factory=list)
    best_loss: BestLoss = math.inf
    best_epoch: Count = 0
    cooling: tuple[Count, Share] | None = None
    losses: list[Loss] = field(default_factory=list)

    def progress(self, options: FitOptions) -> float:
        """Share of the fit that is done, by steps or by time, whichever is further.

        What is left of it when the held-out loss has begun to rise passes in a quarter of the steps so far.
        """
        by_steps = self.step / (options.epochs * options.epoch_steps) if options.epochs is not None else 0.0
        by_time = self.seconds / options.budget_s if options.budget_s is not None else 0.0
        share = max(by_steps, by_time)
        if self.cooling is None or options.patience is None:
            return share
        step, then = self.cooling
        return max(share, then + (1 - then) * (self.step - step) / max(COOLING * step, 1))

    def steps_left(self, options: FitOptions) -> float:
        """Steps until the end; infinite if it is time alone that ends the fit."""
        left = math.inf if options.epochs is None else options.epochs * options.epoch_steps - self.step
        if self.cooling is not None and options.patience is not None:
            step, then = self.cooling
            left = min(left, step + (max(COOLING * step, 1) if then < 1 else 0) - self.step)
        return max(left, 0)

    def finished(self, options: FitOptions) -> bool:
        """True at a limit, or when the rate has fallen since the held-out loss rose."""
        return self.progress(options) >= 1

    def overfits(self, options: FitOptions, interval: int | None) -> bool:
        """True, once, when the held-out loss has begun to rise, in a fit with rounds of so many epochs.

        While it is flat a fit still gains: most of the loss is noise (docs/notebook/defaults.md). Each round
        fills the inputs anew, which changes their loss, so its epochs count as one.
        """
        if self.cooling is not None or options.patience is None:
            return False
        losses = [row.validation_loss for row in self.rows if row.validation_loss is not None]
        n = interval or 1
        means = [statistics.fmean(losses[i : i + n]) for i in range(0, len(losses) - n + 1, n)]
        # Long fits linger on plateaus, hence the share. A mean over many, since single ones are noisy.
        window = max(math.ceil(options.patience / n), len(means) // 4, 2 if n == 1 else FEWEST_ROUNDS)
        if len(means) < 2 * window:
            return False
        rise, error = rise_of_mean(means[-2 * window : -window], means[-window:])
        return rise > RISE * error

    def cool(self, options: FitOptions) -> None:
        """Let the rate fall from now on, and the fit end; at once if the rate is constant.

        Before the rate falls the weights are noisy, whatever their loss.
        """
        self.cooling = self.step, self.progress(options) if options.schedule == "cosine" else 1.0

    def round_(self, epochs: int | None) -> int:
        """Number of times the wedge of the inputs was replaced, if a round has so many epochs."""
        return 0 if epochs is None else len(self.rows) // epochs

    def ends_round(self, epochs: int | None) -> bool:
        """True if the wedge of the inputs is to be replaced now."""
        return epochs is not None and len(self.rows) % epochs == 0

    def record(self, row: EpochRow) -> bool:
        """Append the row of an epoch; True if it is the best one so far (or nothing is held out)."""
        self.rows.append(row)
        if row.validation_loss is not None and row.validation_loss >= self.best_loss:
            return False
        self.best_loss = math.inf if row.validation_loss is None else row.validation_loss
        self.best_epoch = row.epoch
        return True


def save_fit(
    path: Path,
    identity: dict[str, Any],
    state: FitState,
    best: dict[str, Tensor],
    updating: dict[str, Tensor],
    plain: UNet,
    optimiser: torch.optim.Optimizer,
    precision: Precision,
) -> None:
    """Write a checkpoint; errors as `dewedge.io.files.atomic_path`.

    Parameters
    ----------
    identity
        Which fit it belongs to, as JSON.
    best
        Weights with the lowest loss.
    updating
        Weights that last replaced the wedge of the inputs; empty if none did.
    precision
        Fabric's, which in float16 has the scale of the loss for its state.
    """
    tensors = {f"network.{name}": tensor for name, tensor in plain.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in best.items()}
    tensors |= {f"updating.{name}": tensor for name, tensor in updating.items()}
    for index, moments in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": tensor for name, tensor in moments.items()}
    header = {"identity": identity, "state": asdict(state), "precision": precision.state_dict()}
    save_tensors(path, FIT_KIND, tensors, header)


def restore_fit(
    path: Path,
    identity: dict[str, Any],
    plain: UNet,
    optimiser: torch.optim.Optimizer,
    precision: Precision,
) -> tuple[FitState, dict[str, Tensor], dict[str, Tensor]]:
    """Load a checkpoint of this very fit, of which only the limits may differ.

    Network, optimiser and precision are changed to what they were.

    Returns
    -------
    FitState, dict, dict
        The state, the best weights, and those that last replaced the wedge of the inputs, if any did.

    Raises
    ------
    InputError
        If the file is missing or damaged, or belongs to another fit.
    """
    tensors, header = load_tensors(path, FIT_KIND)

    def part(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}

    try:
        then, now = _without_limits(header["identity"]), _without_limits(identity)
        for key in now:
            if not (_same_data(then.get(key), now[key]) if key == "data" else then.get(key) == now[key]):
                raise InputError(
                    f"{path}: belongs to a fit with other {key}; resume with the same data and options, "
                    "or remove the file to start again"
                )
        best, updating = part("best."), part("updating.")
        for weights in (part("network."), best, *([updating] if updating else [])):
            require_weights(path, weights, plain.config)
        plain.load_state_dict(part("network."))
        parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in part("optimiser.").items():
            index, _, moment = name.partition(".")
            if tensor.ndim and tensor.shape != parameters[int(index)].shape:
                raise ValueError(f"{shown(name)} is of shape {tuple(tensor.shape)}")
            moments.setdefault(int(index), {})[moment] = tensor
        groups = optimiser.state_dict()["param_groups"]
        optimiser.load_state_dict({"state": moments, "param_groups": groups})
        state = TypeAdapter(FitState).validate_python(header["state"])
        _require_possible(state)
        if scale := TypeAdapter(_Scale).validate_python(header.get("precision", {})):
            precision.load_state_dict(scale)
        return state, best, updating
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        text = explained(error) if isinstance(error, ValidationError) else reason(error)
        raise InputError(f"{path}: damaged checkpoint ({text}); remove it to start again") from error


def _require_possible(state: FitState) -> None:
    """Refuse a state that no fit is ever in."""
    if [row.epoch for row in state.rows] != list(range(1, len(state.rows) + 1)):
        raise ValueError("its epochs are not numbered from 1")
    steps = [row.step for row in state.rows] + [state.step]
    if steps != sorted(steps):
        raise ValueError("its steps are not in order")
    if not min(1, len(state.rows)) <= state.best_epoch <= len(state.rows):
        raise ValueError(f"its best epoch is {state.best_epoch} of {len(state.rows)}")


def _same_data(then: Any, now: Any) -> bool:
    """True for the same tomograms, whichever machine measured them, or stored as float16 since."""
    if not isinstance(then, list) or len(then) != len(now):
        return False
    return all(
        _without_scale(one) == _without_scale(other)
        and all(
            abs(a - b) <= _SCALE_TOLERANCE * other["grey_scale"][1]
            for a, b in zip(one["grey_scale"], other["grey_scale"], strict=True)
        )
        for one, other in zip(then, now, strict=True)
    )


def _without_scale(tomogram: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in tomogram.items() if name != "grey_scale"}


def _without_limits(identity: dict[str, Any]) -> dict[str, Any]:
    limits = {"epochs": None, "budget_s": None, "patience": None}
    plain: dict[str, Any] = json.loads(json.dumps(identity))
    return {**plain, "options": {**plain["options"], **limits}}
