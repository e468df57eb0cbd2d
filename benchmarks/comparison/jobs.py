"""What is compared: one job is one row of the results."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ablation import (
    CHOICES,
    COMBINATIONS,
    DEPARTURES,
    DROPPED,
    IDEAS,
    INIT,
    LARGE,
    SAME_NETWORK,
    STARTS,
    WINNERS,
)


@dataclass(frozen=True)
class Size:
    """How large specimens and fits are.

    Parameters
    ----------
    shape_zyx
        Of the specimens, in voxels of 10 A, or of 20 A if they are realistic or, but for ``real 10 A``, real.
    channels
        Of the published network at full resolution; None for the 64 of the recipes.
    cube_size
        Of the sub-tomograms.
    epoch_samples, update_interval
        Sub-tomograms an epoch, and epochs between updates of DeepDeWedge: where the budget holds few epochs,
        fewer than the published 10, which update a fit of 1000 epochs 100 times.
    round_samples
        Sub-tomograms in a round of IsoNet, and between two looks at cryoCARE, so few that the budget holds
        several; None for those of the recipe.
    budget_s
        Seconds of one core for a fit; the same for all methods. The other tables have parts or multiples.
    cubes
        Edges that the table of cube sizes compares.
    max_epochs
        Limit beside the budget, for sizes whose results must not depend on the machine.
    """

    shape_zyx: tuple[int, int, int]
    channels: int | None
    cube_size: int
    epoch_samples: int
    update_interval: int
    round_samples: int | None
    budget_s: float
    cubes: tuple[int, ...]
    max_epochs: int | None = None


SIZES = {
    "smoke": Size((40, 64, 64), 2, 16, 8, 1, 8, 3600.0, (8, 16), max_epochs=2),
    "small": Size((96, 160, 160), 16, 48, 100, 2, 40, 300.0, (32, 48, 64)),
    "realistic": Size((100, 220, 220), 16, 48, 100, 2, 40, 150.0, (48,)),
    "real": Size((100, 315, 326), 16, 48, 100, 2, 40, 300.0, (48,)),
    "real 10 A": Size((200, 630, 652), 16, 48, 100, 2, 40, 300.0, (48,)),
    "full": Size((200, 512, 512), None, 96, 150, 10, None, 6 * 3600.0, (48, 64, 80, 96)),
}


@dataclass(frozen=True)
class Job:
    """One row.

    Parameters
    ----------
    size, specimen, split, snr, seed
        The data; see specimens.py. ``split`` is tilts, frames, or random and a fraction such as random 0.25.
        ``snr`` is 0 for realistic and real specimens, whose noise is that of the electron counts. Of real
        ones the seed is that of the fit alone.
    method
        A recipe, or ``noise-free fbp``, ``oracle`` (the network of dewedge, fitted to the truth),
        ``topaz-...``, ``deepdewedge bf16`` (not in float32, as published, but as fast as the others).
    change
        What differs from the recipe, a name of ablation.py; empty for nothing.
    budget_s
        Seconds of one core for the fit; 0 to apply the weights that it would start from.
    tomograms
        Specimens that share the fit; the scores are those of the first.
    cube_size
        Edge of the sub-tomograms.
    """

    size: str
    method: str
    specimen: str = "shrec"
    split: str = "tilts"
    snr: float = 0.25
    seed: int = 1
    change: str = ""
    budget_s: float = 0.0
    tomograms: int = 1
    cube_size: int = 0


def job(size: str, method: str, **values: Any) -> Job:
    """A job with the budget and the cube of its size, unless given."""
    defaults: dict[str, Any] = {"budget_s": SIZES[size].budget_s, "cube_size": SIZES[size].cube_size}
    return Job(size, method, **(defaults | values))


FITTED = ("cryocare", "isonet", "cryocare+isonet", "deepdewedge", "deepdewedge bf16", "dewedge", "oracle")
METHODS = ("noise-free fbp", "fbp", "sirt", "tv", "topaz-10a", "topaz-20a", *FITTED)
LINES = (  # methods, and what is changed of them
    *((method, "") for method in METHODS),
    *((method, SAME_NETWORK) for method in ("cryocare", "isonet", "cryocare+isonet", "deepdewedge")),
    ("dewedge", LARGE),
)
REALISTIC = ("cell", "lamella", "purified")  # specimens of `dewedge simulate --realistic`
AXIS_REFINED = ", axis refined"  # the tilt axis put right, as `dewedge run` does


def is_realistic(specimen: str) -> bool:
    """Whether the images are electron counts; what follows the kind tells tilts, as in ``cell 2 degrees``."""
    return as_told(specimen).partition(" ")[0] in REALISTIC


def as_told(specimen: str) -> str:
    """The name of a specimen with the tilt axis where its alignment has it."""
    return specimen.removesuffix(AXIS_REFINED)


WITHHOLDINGS = ("10499 outer", "10499 side")  # EMPIAR-10499 without tilts that `dewedge validate` keeps back
REALISTIC_REFINED = tuple(f"{name}{AXIS_REFINED}" for name in REALISTIC)
CELL = REALISTIC_REFINED[0]
REAL = (*WITHHOLDINGS, *(f"{name}{AXIS_REFINED}" for name in WITHHOLDINGS))
OUTER = f"{WITHHOLDINGS[0]}{AXIS_REFINED}"
SNRS = (0.5, 0.25, 1 / 6)
SEEDS = (1, 2, 3)


def figure5(size: str) -> Iterable[Job]:
    """Every method at every SNR, seed by seed and 1/4 first, so that an unfinished table is a smaller one."""
    snrs = sorted(SNRS, key=lambda snr: snr != 0.25)
    for seed, snr, (method, change) in itertools.product(SEEDS, snrs, LINES):
        yield job(size, method, change=change, snr=snr, seed=seed)


def half(size: str) -> float:
    """The budget of the tables beside figure 5, and of the screen: half of its own."""
    return SIZES[size].budget_s / 2


def figure7(size: str) -> Iterable[Job]:
    """Size of the cube; the specimen is so thick that the largest can be turned in any direction."""
    cubes, methods = SIZES[size].cubes, ("deepdewedge bf16", "dewedge")
    for seed, cube, method in itertools.product(SEEDS[:2], cubes, methods):
        yield job(size, method, specimen="thick", seed=seed, cube_size=cube, budget_s=half(size))


def splitting(size: str) -> Iterable[Job]:
    """Figure 8 and appendix D.2, D.4: how the half-sets are made."""
    splits = ("tilts", "random 0.5", "random 0.33", "random 0.25", "frames")
    for seed, split, method in itertools.product(SEEDS[:2], splits, ("deepdewedge bf16", "dewedge")):
        yield job(size, method, seed=seed, split=split, budget_s=half(size))


def joint(size: str) -> Iterable[Job]:
    """Appendix D.3: one fit for three tomograms against one for each, at equal and at a third of the cost."""
    for seed in SEEDS[:2]:
        for tomograms, share in ((1, 1), (3, 1), (3, 3)):
            yield job(size, "dewedge", seed=seed, tomograms=tomograms, budget_s=share * half(size))


def specimens(size: str) -> Iterable[Job]:
    """Other specimens and an asymmetric tilt range."""
    for seed, kind, method in itertools.product(
        SEEDS[:2],
        ("asymmetric", "thin crowded", "thick sparse"),
        ("noise-free fbp", "fbp", "tv", "deepdewedge bf16", "dewedge"),
    ):
        yield job(size, method, specimen=kind, seed=seed, budget_s=half(size))


def realistic_size(size: str) -> str:
    """The size of the realistic specimens beside others: one of their own, but for that of tests."""
    return "smoke" if size == "smoke" else "realistic"


def realistic(size: str) -> Iterable[Job]:
    """Every method on realistic specimens; of images without noise there is no preparation."""
    lines = [line for line in LINES if line[0] != "noise-free fbp"]
    for seed, kind, (method, change) in itertools.product(SEEDS, REALISTIC_REFINED, lines):
        yield job(realistic_size(size), method, change=change, specimen=kind, snr=0.0, seed=seed)


def converged(size: str) -> Iterable[Job]:
    """A realistic cell, and the published losses with the network of dewedge, to their convergence."""
    size = realistic_size(size)
    budget_s = 24 * SIZES[size].budget_s
    for method, change in (("isonet", SAME_NETWORK), ("deepdewedge", SAME_NETWORK), ("dewedge", "")):
        yield job(size, method, change=change, specimen=CELL, snr=0.0, seed=1, budget_s=budget_s)


def longer(size: str) -> Iterable[Job]:
    """What dewedge and the oracle gain on realistic specimens from four times the budget, beside TV."""
    size = realistic_size(size)
    lines = (("tv", 1), ("dewedge", 1), ("dewedge", 4), ("oracle", 1), ("oracle", 4))
    for seed, kind, (method, share) in itertools.product(SEEDS, REALISTIC_REFINED, lines):
        budget_s = share * SIZES[size].budget_s
        yield job(size, method, specimen=kind, snr=0.0, seed=seed, budget_s=budget_s)


def real_size(size: str) -> str:
    """The size of the real specimens beside others."""
    return "smoke" if size == "smoke" else "real"


def withheld(size: str) -> Iterable[Job]:
    """Every method on a real series without some of its tilts, by which it is judged: there is no truth."""
    lines = [line for line in LINES if line[0] not in ("noise-free fbp", "oracle")]
    for seed, kind, (method, change) in itertools.product(SEEDS, REAL, lines):
        yield job(real_size(size), method, change=change, specimen=kind, snr=0.0, seed=seed)


# Of the budget of the size. The rows of whole budgets are those of the tables of all methods.
SHARES = (1 / 8, 1 / 4, 1 / 2, 1, 2, 4)
CURVES = (("dewedge", ""), ("dewedge", INIT), ("deepdewedge", ""), ("deepdewedge", SAME_NETWORK))


def time_to_quality(size: str) -> Iterable[Job]:
    """Quality by the seconds of the fit, on the real series and on the realistic cell."""
    for seed, share, (specimen, own_size), (method, change) in itertools.product(
        SEEDS, SHARES, ((OUTER, real_size(size)), (CELL, realistic_size(size))), CURVES
    ):
        budget_s = share * SIZES[own_size].budget_s
        yield job(own_size, method, change=change, specimen=specimen, snr=0.0, seed=seed, budget_s=budget_s)


def hour(size: str) -> Iterable[Job]:
    """The default after two minutes and the published recipe after an hour, and both at equal time."""
    budget_s = SIZES[size].budget_s
    for seed, (method, change, share) in itertools.product(
        SEEDS[:2],
        (
            ("deepdewedge bf16", "", 12),
            ("dewedge", "", 0.4),
            ("dewedge", LARGE, 0.4),
            ("deepdewedge bf16", "", 1),
            ("dewedge", "", 1),
            ("dewedge", LARGE, 1),
            ("deepdewedge", "", 12),
            ("deepdewedge", "", 1),
            ("dewedge", "", 12),
            ("dewedge", LARGE, 12),
        ),
    ):
        yield job(size, method, change=change, seed=seed, budget_s=share * budget_s)


CONFIRMED = ("bfloat16", *WINNERS, *COMBINATIONS)


def third(size: str) -> float:
    """The budget of a departure from the default, which learns faster than the published recipe."""
    return SIZES[size].budget_s / 3


def screen(size: str) -> Iterable[Job]:
    """Every idea, one at a time against the published recipe, at equal seconds: SNR 1/4, two seeds."""
    for seed, change in itertools.product((11, 12), ("", *IDEAS)):
        yield job(size, "deepdewedge", change=change, seed=seed, budget_s=half(size))


def departures(size: str) -> Iterable[Job]:
    """Every setting of the default, changed one at a time, at equal seconds."""
    for seed, change in itertools.product((11, 12), ("", *DEPARTURES)):
        yield job(size, "dewedge", change=change, seed=seed, budget_s=third(size))


@dataclass(frozen=True)
class Ground:
    """Data on which the settings of the default are changed."""

    specimen: str
    split: str = "tilts"
    size: str = ""  # that of its kind, if not given
    changes: tuple[str, ...] = tuple(CHOICES)


# What is changed in other circumstances, too: what was chosen by the series at 20 A with tilts by 3 degrees.
ELSEWHERE = (
    "wedge weight 2",
    "a mask in the loss",
    "wedge filled online",
    "amplitude as predicted",
    "no total variation",
)
GROUNDS: Mapping[str, Ground] = {
    **{name: Ground(name) for name in (*REAL, *REALISTIC_REFINED)},
    "10499 outer, voxels of 10 A": Ground(OUTER, size="real 10 A", changes=ELSEWHERE),
    "cell, half-sets of frames": Ground(CELL, split="frames", changes=ELSEWHERE),
    "cell, tilts by 2 degrees": Ground(f"cell 2 degrees{AXIS_REFINED}", changes=ELSEWHERE),
}


def chosen_on(ground: Ground, size: str) -> Iterable[Job]:
    """What `chosen` has of these data: settings changed one at a time."""
    own_size = real_size(size) if ground.specimen in REAL else realistic_size(size)
    if ground.size and size != "smoke":
        own_size = ground.size
    # Long enough: docs/notebook/comparison.md, quality against time.
    budget_s = half(realistic_size(size))
    values = {"specimen": ground.specimen, "split": ground.split, "snr": 0.0, "budget_s": budget_s}
    for seed, change in itertools.product(SEEDS, ("", *ground.changes)):
        yield job(own_size, "dewedge", change=change, seed=seed, **values)


def chosen(size: str) -> Iterable[Job]:
    """Every setting by which a network is fitted and applied, changed one at a time, on what decides."""
    for ground in GROUNDS.values():
        yield from chosen_on(ground, size)


def confirm(size: str) -> Iterable[Job]:
    """What won, and combinations, on seeds that chose nothing: SNR 1/4 and 1/6."""
    for snr, seed, change in itertools.product((0.25, 1 / 6), (21, 22, 23), CONFIRMED):
        yield job(size, "deepdewedge", change=change, seed=seed, snr=snr, budget_s=half(size))


def dropped(size: str) -> Iterable[Job]:
    """What is no longer in the code, and the references, of the code that had it."""
    for method, reference, budget_s in (
        ("deepdewedge", "bfloat16", half(size)),
        ("dewedge", "", third(size)),
    ):
        for seed, change in itertools.product((11, 12), (reference, *DROPPED[method])):
            yield job(size, method, change=change, seed=seed, budget_s=budget_s)


def init(size: str) -> Iterable[Job]:
    """Fits from random weights and from those learnt on simulated specimens, by the seconds of the fit."""
    for seed, snr in ((11, 0.25), (12, 0.25), (11, 1 / 6)):
        for share, change in itertools.product((0.0, 0.1, 0.2, 0.4), ("", *STARTS)):
            if share or change:
                budget_s = share * SIZES[size].budget_s
                yield job(size, "dewedge", change=change, seed=seed, snr=snr, budget_s=budget_s)


# Tables whose rows lie in a file of their own.
OTHER_SIZES = ("realistic", "longer", "converged", "withheld", "time", "chosen")
TABLES: Mapping[str, Any] = {
    "figure5": figure5,
    "figure7": figure7,
    "splitting": splitting,
    "joint": joint,
    "specimens": specimens,
    "realistic": realistic,
    "longer": longer,
    "converged": converged,
    "withheld": withheld,
    "time": time_to_quality,
    "hour": hour,
    "screen": screen,
    "departures": departures,
    "chosen": chosen,
    "init": init,
    "confirm": confirm,
}
JOBS: Mapping[str, Any] = {**TABLES, "dropped": dropped}


@dataclass
class Row:
    """A job and what came of it, on which processor; ``seconds`` are of the fit and ``refine_s`` of the
    refinement, both of one core, ``wall_s`` of the clock."""

    job: Job
    samples: int
    seconds: float
    wall_s: float
    scores: dict[str, Any]
    refine_s: float
    commit: str
    torch: str
    machine: str
    selected_by_truth: bool = False

    def as_dict(self) -> dict[str, Any]:
        values = asdict(self)
        return {**values.pop("job"), **values.pop("scores"), **values}
