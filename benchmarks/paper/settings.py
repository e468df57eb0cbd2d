"""The paper's settings as data: key of a configuration, value, and where the value comes from.

What was at hand of the paper (arXiv 2311.05539; Nature Communications 15, 8255) is its main text and a
digest of its appendix C, not the appendix's tables. A value that neither these nor the authors' program give
for this very experiment has ``sure=False``, and its source says what stands for it. What no setting names is
that of the method's recipe (`dewedge.settings.recipes`): U-Net of 64 channels, Adam at 4e-4, batches of 5,
the wedge of the inputs updated every 10 epochs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from dewedge.learn.options import FitOptions
from dewedge.settings.file import merged

PAPER = "paper"
TUTORIAL = "DeepDeWedge, tutorial/config.yaml"
SCRIPT = "DeepDeWedge, tutorial.py at commit 45457a2: series 05 alone"
CRYOCARE = "cryoCARE_T2T, notebook 02 and utils.py, which the tutorial follows"
RANGE = "not known; the paper's fits are 450 to 1000 epochs of 150 to 420 sub-tomograms"
OURS = "of this program"

Settings = dict[str, Any]


class Setting(NamedTuple):
    """One key of a configuration; ``sure`` if the source is of this very experiment."""

    key: str
    value: Any
    source: str
    sure: bool = True


FITTED = ("cryocare", "isonet", "deepdewedge", "dewedge")
PUBLISHED = ("cryocare", "isonet", "deepdewedge")

# How half-sets and whole are made: the same for all methods.
RECONSTRUCTION: Mapping[str, tuple[Setting, ...]] = {
    "10045": (
        Setting("reconstruct.bin", 6, f"{PAPER}: 6 x 6 x 6 voxels averaged, 13 A"),
        Setting("reconstruct.binning_method", "average", f"{PAPER}; there of the tomogram, here of images"),
        Setting("split.split", "tilts", f"{PAPER}; there are no frames"),
        Setting("ctf.ctf", "wiener-tomogram", f"{SCRIPT}: IsoNet's deconvolution of the tomogram"),
        Setting("ctf.snr_strength", 1.0, "default of IsoNet's deconv", False),
        Setting("ctf.snr_falloff", 1.0, "default of IsoNet's deconv", False),
    ),
    "tomo110": (
        Setting("reconstruct.bin", 6, f"{CRYOCARE}: 14.1 A"),
        Setting("reconstruct.binning_method", "average", f"{CRYOCARE}: newstack's BinByFactor"),
        Setting("ctf.voltage_kV", 300.0, f"{CRYOCARE}: ctfcorrection.com"),
        Setting("ctf.cs_mm", 2.7, f"{CRYOCARE}: ctfcorrection.com"),
        Setting("ctf.amplitude_contrast", 0.07, f"{CRYOCARE}: ctfcorrection.com"),
        Setting("ctf.dose_weight", True, f"{CRYOCARE}: mtffilter, 1.61 electrons per A^2 a tilt, 3 before"),
        Setting("fit.mask", ["auto"], f"{TUTORIAL}: IsoNet's mask by its defaults; here our automatic one"),
    ),
    "shrec": (
        Setting("reconstruct.bin", 1, f"{PAPER}: 10 A voxels"),
        Setting("split.split", "tilts", PAPER),
    ),
}

# How networks are fitted, by method.
FIT: Mapping[str, Mapping[str, tuple[Setting, ...]]] = {
    "10045": {
        "deepdewedge": (
            Setting("fit.cube_size", 80, f"{SCRIPT}; of the fit to all seven not known", False),
            Setting("fit.epochs", 500, f"{SCRIPT}; of the fit to all seven not known", False),
            Setting("fit.epoch_samples", 420, RANGE, False),
        ),
        "cryocare": (
            Setting("fit.cube_size", 80, "as DeepDeWedge", False),
            Setting("fit.epochs", 500, "at most; the held-out loss ends it before", False),
            Setting("fit.epoch_samples", 420, "as DeepDeWedge", False),
        ),
        "isonet": (
            Setting("fit.cube_size", 80, "as DeepDeWedge", False),
            Setting("fit.update_interval", 10, f"{PAPER}: 10 epochs a round on real data"),
            Setting("fit.epochs", 300, f"{PAPER}: 30 to 50 rounds; 30, for which the noise of the recipe is"),
            Setting("fit.epoch_samples", 420, "as DeepDeWedge", False),
        ),
    },
    "tomo110": {
        "deepdewedge": (
            Setting("fit.cube_size", 96, TUTORIAL),
            Setting("fit.epochs", 1000, TUTORIAL),
            Setting("fit.epoch_samples", 144, f"{TUTORIAL}: 144 sub-tomograms, and 36 for validation"),
        ),
        "cryocare": (
            Setting("fit.cube_size", 96, "as DeepDeWedge", False),
            Setting("fit.epochs", 1000, "at most; the held-out loss ends it before", False),
            Setting("fit.epoch_samples", 144, "as DeepDeWedge", False),
        ),
        "isonet": (
            Setting("fit.cube_size", 96, "as DeepDeWedge", False),
            Setting("fit.update_interval", 10, f"{PAPER}: 10 epochs a round on real data"),
            Setting("fit.epochs", 300, f"{PAPER}: 30 to 50 rounds; 30, for which the noise of the recipe is"),
            Setting("fit.epoch_samples", 144, "as DeepDeWedge", False),
        ),
    },
    "shrec": {
        "deepdewedge": (
            Setting("fit.cube_size", 96, "the paper's usual size; figure 7 varies it"),
            Setting("fit.epochs", 1000, RANGE, False),
            Setting("fit.epoch_samples", 150, f"{PAPER}: 150 sub-tomograms"),
        ),
        "cryocare": (
            Setting("fit.cube_size", 96, "as DeepDeWedge", False),
            Setting("fit.epochs", 1000, "at most; the held-out loss ends it before", False),
            Setting("fit.epoch_samples", 150, "as DeepDeWedge", False),
        ),
        "isonet": (
            Setting("fit.cube_size", 96, "as DeepDeWedge", False),
            Setting("fit.update_interval", 20, f"{PAPER}: 20 epochs a round on synthetic data"),
            Setting("fit.epochs", 600, f"{PAPER}: 30 to 50 rounds; 30, for which the noise of the recipe is"),
            Setting("fit.epoch_samples", 150, "as DeepDeWedge", False),
        ),
    },
}
BUDGET = Setting("fit.budget", "1h", f"{OURS}: all else by default; --set fit.budget=... changes it")

# What is simulated from the models of SHREC, and which parts the figures vary.
TILTS = Setting(
    "tilts", tuple(range(-60, 61, 2)), f"{PAPER}: a wedge of 60 degrees; the step is not known", False
)
SNRS = Setting("snr", (0.5, 0.25, 1 / 6), "three in the paper, whose values are not known", False)
CUBES = Setting("cubes of figure 7", (48, 64, 80, 96), "sizes of figure 7 are not known", False)
SPLITS = Setting(
    "splits of figure 8",
    ("tilts", "random 0.5", "random 0.33", "random 0.25", "frames"),
    f"{PAPER}: even and odd tilts, random parts, frames; the parts are not known",
    False,
)
SIMULATION = (TILTS, SNRS, CUBES, SPLITS)

# To try the commands on stand-ins, in seconds: no result.
SMALL: Settings = {
    "fit": {
        "channels": 2,
        "cube_size": 16,
        "batch_size": 2,
        "epoch_samples": 4,
        "epochs": 1,
        "budget": "none",
        "update_interval": 1,
        "validation_crops": 1,
    },
    "refine": {"tile": 48, "overlap": 8, "average_rotations": 1},
}
SMALL_CUBES = (8, 16)


def nested(settings: Iterable[Setting]) -> Settings:
    """Settings as the sections of a configuration."""
    return merged([with_key(setting.key, setting.value) for setting in settings])


def with_key(key: str, value: Any) -> Settings:
    """``{section: {name: value}}`` of ``section.name``."""
    section, _, name = key.partition(".")
    return {section: {name: value}} if name else {section: value}


def reconstruction(experiment: str) -> Settings:
    """Settings of half-sets and whole in an experiment."""
    return nested(RECONSTRUCTION[experiment])


def fit(experiment: str, recipe: str) -> Settings:
    """Settings of a recipe's fit in an experiment."""
    return nested([BUDGET] if recipe == "dewedge" else FIT[experiment][recipe])


def cube_size(experiment: str, recipe: str, small: bool = False) -> int:
    """Edge of the sub-tomograms of a recipe where no figure varies it."""
    own = SMALL if small else fit(experiment, recipe)
    return own["fit"].get("cube_size", FitOptions.cube_size)


def listed() -> list[tuple[str, str, Setting]]:
    """Every setting with its experiment and the methods it is for."""
    rows = [(name, "all", setting) for name, group in RECONSTRUCTION.items() for setting in group]
    rows += [("shrec", "simulation", setting) for setting in SIMULATION]
    for name, methods in FIT.items():
        rows += [(name, method, setting) for method, group in methods.items() for setting in group]
    rows.append(("all", "dewedge", BUDGET))
    return sorted(rows, key=lambda row: list((*FIT, "all")).index(row[0]))
