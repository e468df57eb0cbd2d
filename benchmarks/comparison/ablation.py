"""The ideas of the ablation, by the names of the tables: settings that differ from those of a recipe.

Keys of ``network`` are those of NetworkConfig, all others those of a configuration.
"""

from __future__ import annotations

from typing import Any

from dewedge.pipeline.config_file import merged

Settings = dict[str, dict[str, Any]]

# Against the published recipe in bfloat16: in float32, as published, an equal time is too short to tell
# ideas apart.
REFERENCE: Settings = {"compute": {"precision": "bf16-mixed"}}
_EQUIVARIANT = {"objective": "equivariant", "update_interval": "none", "exact_rotations": 0.8}
_IDEAS: dict[str, Settings] = {
    "linear interpolation": {"fit": {"interpolation": "linear"}},
    "80 % exact rotations": {"fit": {"exact_rotations": 0.8}},
    "random direction": {"fit": {"swap_halves": "random"}},
    "both directions": {"fit": {"swap_halves": "both"}},
    "no update of the wedge": {"fit": {"update_interval": "none"}},
    "online fill, no updates": {"fit": {"update_interval": "none", "fill_wedge": 0.5}},
    "wedge weight 20": {"fit": {"wedge_weight": 20.0}},
    "wedge weight 200": {"fit": {"wedge_weight": 200.0}},
    "equivariant loss": {"fit": _EQUIVARIANT},
    "no residual": {"network": {"residual": False}},
    "no normalisation": {"network": {"normalisation": "none"}},
    "pooling, nearest neighbours": {"network": {"resampling": "fixed"}},
    "two convolutions a block": {"network": {"convolutions": 2}},
    "warm-up, cosine": {"fit": {"schedule": "cosine", "warm_up": 0.05}},
    "rate 1e-3": {"fit": {"learning_rate": 1e-3}},
    "clipping": {"fit": {"gradient_clip": 1.0}},
    "moving average": {"fit": {"average_decay": 0.99}},
    "Muon": {"fit": {"optimiser": "muon", "learning_rate": 3e-3}},
    "loss on the inner cube": {"fit": {"loss_margin": 6}},
    "noise-weighted loss": {"fit": {"loss_weighting": "noise"}},
    "halves refined": {"refine": {"refine": "halves"}},
    "4 predictions averaged": {"refine": {"average_rotations": 4}},
}
IDEAS: dict[str, Settings] = {"bfloat16": REFERENCE} | {
    name: REFERENCE | settings for name, settings in _IDEAS.items()
}

# One at a time against the default.
DEPARTURES: dict[str, Settings] = {
    "Adam": {"fit": {"optimiser": "adam", "learning_rate": 1e-3}},
    "rate 1.5e-3": {"fit": {"learning_rate": 1.5e-3}},
    "rate 6e-3": {"fit": {"learning_rate": 6e-3}},
    "batches of 2": {"fit": {"batch_size": 2}},
    "batches of 8": {"fit": {"batch_size": 8}},
    "constant rate": {"fit": {"schedule": "constant"}},
    "no moving average": {"fit": {"average_decay": 0.0}},
    "no clipping": {"fit": {"gradient_clip": "none"}},
    "all rotations exact": {"fit": {"exact_rotations": 1.0}},
    "all rotations SO(3)": {"fit": {"exact_rotations": 0.0}},
    "cubic interpolation": {"fit": {"interpolation": "cubic"}},
    "one direction": {"fit": {"swap_halves": "never"}},
    "both directions at once": {"fit": {"swap_halves": "both"}},
    "no updates of the wedge": {"fit": {"update_interval": "none"}},
    "online fill": {"fit": {"fill_wedge": 0.5, "update_interval": "none"}},
    "wedge weight 1": {"fit": {"wedge_weight": 1.0}},
    "wedge weight 5": {"fit": {"wedge_weight": 5.0}},
    "equivariant loss, default": {"fit": {"objective": "equivariant", "update_interval": "none"}},
    "no noise weights": {"fit": {"loss_weighting": "none"}},
    "loss on the inner cube, default": {"fit": {"loss_margin": 6}},
    "16 channels": {"network": {"channels": 16}},
    "48 channels": {"network": {"channels": 48}},
    "full resolution, 16 channels": {"network": {"fold": 1, "channels": 16, "levels": 3}},
    "three levels": {"network": {"levels": 3}},
    "three convolutions a block": {"network": {"convolutions": 3}},
    "residual": {"network": {"residual": True}},
    "instance normalisation": {"network": {"normalisation": "instance"}},
    "learned resampling": {"network": {"resampling": "learned"}},
    "ramp filter": {"reconstruct": {"filter": "ramp"}},
    "predictions not averaged": {"refine": {"average_rotations": 1}},
    "halves refined, default": {"refine": {"refine": "halves"}},
}

# The default from given weights.
STARTS: dict[str, Settings] = {"init simulated": {"fit": {"init": "simulated"}}}

# What the screen found better (docs/ablation.md), and all of it together.
WINNERS = (
    "no residual",
    "no normalisation",
    "two convolutions a block",
    "80 % exact rotations",
    "warm-up, cosine",
    "4 predictions averaged",
)
COMBINATIONS: dict[str, Settings] = {
    "no residual, no normalisation": {**REFERENCE, "network": {"residual": False, "normalisation": "none"}},
    "all winners": merged([IDEAS[name] for name in WINNERS]),
}

# Lost, and are no longer in the code: `again` computes their rows anew, with the code of their commit.
DROPPED = (
    "both directions",
    "both directions at once",
    "online fill, no updates",
    "online fill",
    "equivariant loss",
    "equivariant loss, default",
    "loss on the inner cube",
    "loss on the inner cube, default",
)

CHANGES: dict[str, Settings] = IDEAS | DEPARTURES | STARTS | COMBINATIONS
