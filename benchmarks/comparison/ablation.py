"""The ideas of the ablation: settings that differ from the published recipe, by the names of the tables."""

from __future__ import annotations

from typing import Any

Settings = dict[str, dict[str, Any]]

# One idea each. "network" keys are those of NetworkConfig, the others those of a configuration.
CHANGES: dict[str, Settings] = {
    "linear interpolation": {"fit": {"interpolation": "linear"}},
    "80 % exact rotations": {"fit": {"exact_rotations": 0.8}},
    "random direction": {"fit": {"swap_halves": "random"}},
    "both directions": {"fit": {"swap_halves": "both"}},
    "no update of the wedge": {"fit": {"update_interval": "none"}},
    "online fill instead of updates": {"fit": {"update_interval": "none", "fill_wedge": 0.5}},
    "wedge weight 20": {"fit": {"wedge_weight": 20.0}},
    "wedge weight 200": {"fit": {"wedge_weight": 200.0}},
    "equivariant loss": {
        "fit": {"objective": "equivariant", "update_interval": "none", "exact_rotations": 0.8}
    },
    "no residual": {"network": {"residual": False}},
    "no normalisation": {"network": {"normalisation": "none"}},
    "pooling, nearest neighbours": {"network": {"resampling": "fixed"}},
    "two convolutions a block": {"network": {"convolutions": 2}},
    "warm-up, cosine": {
        "fit": {"schedule": "cosine", "warm_up": 0.05, "learning_rate": 1e-3, "gradient_clip": 1.0}
    },
    "moving average": {"fit": {"average_decay": 0.99}},
    "bfloat16": {"compute": {"precision": "bf16-mixed"}},
    "loss on the inner cube": {"fit": {"loss_margin": 6}},
    "noise-weighted loss": {"fit": {"loss_weighting": "noise"}},
    "halves refined": {"refine": {"refine": "halves"}},
    "4 rotations averaged": {"refine": {"average_rotations": 4}},
}

COMBINATIONS: dict[str, Settings] = {}
