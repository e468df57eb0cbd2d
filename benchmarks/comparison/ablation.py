"""The ideas of the ablation, by the names of the tables: settings that differ from those of a recipe.

Keys of ``network`` are those of NetworkConfig, all others those of a configuration.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from dewedge.settings.file import merged
from dewedge.settings.sections import Config

Settings = dict[str, dict[str, Any]]


class Change(NamedTuple):
    """What is changed, in a sentence for those who use the program, and by which settings."""

    meaning: str
    settings: Settings


# Against the published recipe in bfloat16: in float32, as published, an equal time is too short to tell
# ideas apart.
BFLOAT16: Settings = {"compute": {"precision": "bf16-mixed"}}


def _in_bfloat16(changes: Mapping[str, Change]) -> dict[str, Change]:
    return {name: Change(meaning, BFLOAT16 | settings) for name, (meaning, settings) in changes.items()}


IDEAS = _in_bfloat16({
    "bfloat16": Change("numbers of 16 bits where that is safe, which most processors multiply faster", {}),
    "linear interpolation": Change(
        "turned crops are interpolated linearly, not by cubic splines", {"fit": {"interpolation": "linear"}}
    ),
    "80 % exact rotations": Change(
        "most crops are turned by quarter turns, which need no interpolation",
        {"fit": {"exact_rotations": 0.8}},
    ),
    "no update of the wedge": Change(
        "the wedge of the inputs is never replaced by the prediction", {"fit": {"update_interval": "none"}}
    ),
    "wedge weight 20": Change("the cut wedge counts ten times as much", {"fit": {"wedge_weight": 20.0}}),
    "wedge weight 200": Change(
        "the cut wedge counts a hundred times as much", {"fit": {"wedge_weight": 200.0}}
    ),
    "no residual": Change(
        "the network predicts the volume, not a correction", {"network": {"residual": False}}
    ),
    "no normalisation": Change(
        "no instance normalisation, whose statistics depend on the tile",
        {"network": {"normalisation": "none"}},
    ),
    "pooling, nearest neighbours": Change(
        "resampling within the network without weights", {"network": {"resampling": "fixed"}}
    ),
    "two convolutions a block": Change(
        "a network of two thirds of the layers", {"network": {"convolutions": 2}}
    ),
    "warm-up, cosine": Change(
        "the learning rate rises, then falls to zero", {"fit": {"schedule": "cosine", "warm_up": 0.05}}
    ),
    "rate 1e-3": Change("2.5 times the learning rate", {"fit": {"learning_rate": 1e-3}}),
    "clipping": Change("large gradients are shortened", {"fit": {"gradient_clip": 1.0}}),
    "Muon": Change(
        "the optimiser Muon in place of Adam", {"fit": {"optimiser": "muon", "learning_rate": 3e-3}}
    ),
    "halves refined": Change(
        "both half tomograms are refined and averaged", {"refine": {"refine": "halves"}}
    ),
    "4 predictions averaged": Change(
        "refinement averages over four half turns", {"refine": {"average_rotations": 4}}
    ),
})  # fmt: skip

# One at a time against the default.
DEPARTURES = {
    "Adam": Change("the published optimiser", {"fit": {"optimiser": "adam", "learning_rate": 1e-3}}),
    "constant rate": Change("the learning rate does not fall to zero", {"fit": {"schedule": "constant"}}),
    "cubic interpolation": Change("by cubic splines, not linear", {"fit": {"interpolation": "cubic"}}),
    "no update of the wedge": Change(
        "the wedge of the inputs is never replaced by the prediction", {"fit": {"update_interval": "none"}}
    ),
    "32 channels": Change("a network of twice the width", {"network": {"channels": 32}}),
    "residual": Change("the network predicts a correction", {"network": {"residual": True}}),
    "instance normalisation": Change(
        "each crop is normalised in every layer", {"network": {"normalisation": "instance"}}
    ),
    "learned resampling": Change(
        "strided and transposed convolutions", {"network": {"resampling": "learned"}}
    ),
    "ramp filter": Change(
        "back-projection without attenuation of high frequencies", {"reconstruct": {"filter": "ramp"}}
    ),
}  # fmt: skip

# One at a time against the default again, on real and realistic data: how a network is fitted and applied.
# Another preparation of the images, or another filter, would change what withheld tilts are held against.
CHOICES = {
    **{
        name: DEPARTURES[name]
        for name in (
            "Adam",
            "cubic interpolation",
            "no update of the wedge",
            "32 channels",
            "residual",
            "instance normalisation",
        )
    },
    "wedge filled online": Change(
        "the wedge of the input is filled anew in each batch, without hints", {"fit": {"online_fill": 1.0}}
    ),
    "wedge filled online at the end": Change(
        "the same in the last 30 % of the fit, after rounds", {"fit": {"online_fill": 0.3}}
    ),
    "rounds of one epoch": Change(
        "the wedge of the inputs is filled anew after every epoch", {"fit": {"update_interval": 1}}
    ),
    "rounds of ten epochs": Change("the same after ten, as published", {"fit": {"update_interval": 10}}),
    "a mask in the loss": Change(
        "the loss knows the wedge, not what single tilts measured", {"fit": {"measured": "wedge"}}
    ),
    "all frequencies alike": Change(
        "shells count the same, whatever signal they hold", {"fit": {"frequency_weight": "none"}}
    ),
    "exact rotations for four fifths": Change(
        "most crops are turned by quarter turns, which need no interpolation",
        {"fit": {"exact_rotations": 0.8}},
    ),
    "wedge weight 2": Change(
        "all frequencies count alike, whether the input lacks them or not", {"fit": {"wedge_weight": 2.0}}
    ),
    "wedge weight 20": Change("the cut wedge counts three times as much", {"fit": {"wedge_weight": 20.0}}),
    "cubes of 64": Change("sub-tomograms of 2.4 times the volume", {"fit": {"cube_size": 64}}),
    "three levels": Change("a network that sees twice as far", {"network": {"levels": 3}}),
    "amplitude as predicted": Change(
        "what fills the wedge is as strong as the network says", {"refine": {"wedge_amplitude": "predicted"}}
    ),
    "no total variation": Change("the network's prediction alone", {"refine": {"tv_share": 0.0}}),
    "halves refined": Change(
        "both half tomograms are refined and averaged", {"refine": {"refine": "halves"}}
    ),
    "half turns not averaged": Change(
        "one prediction, at two positions", {"refine": {"average_rotations": 1}}
    ),
    "four half turns averaged": Change("predictions of all half turns", {"refine": {"average_rotations": 4}}),
}

# The default from given weights.
INIT = "init simulated"
STARTS = {INIT: Change("weights learnt on simulated specimens", {"fit": {"init": "simulated"}})}

# The published methods with the network, optimiser and averaged predictions of the default. What else differs
# belongs to the method: dropout, crops kept for validation, batches of 5 (not 4).
SAME_NETWORK = "network of dewedge"
OF_DEFAULT = {
    SAME_NETWORK: Change(
        "network, optimiser and averaged predictions of the default",
        {
            section: {name: getattr(getattr(Config(), section), name) for name in names}
            for section, names in {
                "fit": ("preset", "optimiser", "learning_rate", "warm_up", "schedule", "gradient_clip"),
                "refine": ("average_rotations", "overlap"),
                "compute": ("precision",),
            }.items()
        },
    )
}
LARGE = "32 channels"  # the preset large

# What was better with both seeds of the screen by more than 0.03 (docs/notebook/ablation.md), and what is
# confirmed together: Muon has a rate of its own.
WINNERS = ("no residual", "two convolutions a block", "Muon", "rate 1e-3", "4 predictions averaged")
TOGETHER = tuple(name for name in WINNERS if name != "rate 1e-3")


def _together(names: Iterable[str]) -> Settings:
    return merged([IDEAS[name].settings for name in names])


COMBINATIONS = {
    "all winners": Change("all of them together, at the rate of Muon", _together(TOGETHER)),
    "all winners, no normalisation": Change(
        "the same without instance normalisation, which lost alone",
        _together((*TOGETHER, "no normalisation")),
    ),
}

# What lost or gained nothing and is no longer in the code, or was measured against a former default. Their
# rows and those that they compare with lie in a file of their own; `again` computes them with the code of
# their commit.
DROPPED: dict[str, dict[str, Change]] = {
    "deepdewedge": _in_bfloat16({
        "both directions": Change(
            "half-set 0 to 1 and back in the same step (IsoNet2, ICECREAM)", {"fit": {"swap_halves": "both"}}
        ),
        "online fill, no updates": Change(
            "the wedge of the input is filled by the network of the moment (IsoNet2)",
            {"fit": {"update_interval": "none", "fill_wedge": 0.5}},
        ),
        "equivariant loss": Change(
            "the second term of ICECREAM, with its exact rotations",
            {"fit": {"objective": "equivariant", "update_interval": "none", "exact_rotations": 0.8}},
        ),
        "loss on the inner cube": Change(
            "the outer 6 voxels of a cube do not count", {"fit": {"loss_margin": 6}}
        ),
        "random direction": Change(
            "which half-set is the input, and which the target, changes at random",
            {"fit": {"swap_halves": "random"}},
        ),
        "moving average": Change(
            "the weights are averaged over the last steps", {"fit": {"average_decay": 0.99}}
        ),
        "noise-weighted loss": Change(
            "frequencies count by the inverse of their noise", {"fit": {"loss_weighting": "noise"}}
        ),
    }),
    "dewedge": {
        "both directions at once": Change(
            "half-set 0 to 1 and back in the same step (IsoNet2, ICECREAM)", {"fit": {"swap_halves": "both"}}
        ),
        "online fill": Change(
            "the wedge of the input is filled by the network of the moment (IsoNet2)",
            {"fit": {"fill_wedge": 0.5, "update_interval": "none"}},
        ),
        "equivariant loss, default": Change(
            "the second term of ICECREAM", {"fit": {"objective": "equivariant", "update_interval": "none"}}
        ),
        "loss on the inner cube, default": Change(
            "the outer 6 voxels of a cube do not count", {"fit": {"loss_margin": 6}}
        ),
        "no moving average": Change(
            "the weights of the last step, as now", {"fit": {"average_decay": 0.0}}
        ),
        "one direction": Change(
            "half-set 0 is always the input, as now", {"fit": {"swap_halves": "never"}}
        ),
        "16 channels": Change("half the width, as now", {"network": {"channels": 16}}),
        "no noise weights": Change(
            "all frequencies count alike, as published", {"fit": {"loss_weighting": "none"}}
        ),
        "ramp filter": DEPARTURES["ramp filter"],
        "ramp filter, no noise weights": Change(
            "the same, and all frequencies count alike",
            {"reconstruct": {"filter": "ramp"}, "fit": {"loss_weighting": "none"}},
        ),
    },
}  # fmt: skip

CHANGES: dict[str, dict[str, Change]] = {
    "cryocare": OF_DEFAULT,
    "isonet": OF_DEFAULT,
    "cryocare+isonet": OF_DEFAULT,
    "deepdewedge": IDEAS | COMBINATIONS | OF_DEFAULT,
    "dewedge": DEPARTURES | STARTS | CHOICES,
}


def settings_of(method: str, change: str) -> Settings:
    """The settings of a change of a method; none for no change."""
    return CHANGES[method][change].settings if change else {}
