"""Flags that work, by name: what was found on the synthetic street (``docs/MODELS.md`` says how).

The thesis has a table of its own (section 4.1.2), which is not at hand: these are not its values.
"""
from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    "p": {
        "model_type": "timecycle", "l1_loss_weight": 20.0, "feature_matching_loss_weight": 10.0,
        "timecycle_loss_weight": 5.0, "timecycle_motion_model_residual": False,
    },
    "p++": {
        "model_type": "timecyclep2", "l1_loss_weight": 20.0, "feature_matching_loss_weight": 10.0,
        "timecycle_loss_weight": 5.0, "warp_loss_weight": 5.0, "timecycle_motion_model_residual": False,
    },
    "up": {"model_type": "tricyclegan", "cycle_loss_weight": 10.0, "timecycle_loss_weight": 5.0},
    "u": {
        "model_type": "timecycledcgan", "discriminator_architecture": "basic", "timecycle_loss_weight": 5.0,
        "batch_size": 4, "image_height": 64, "image_width": 64,
    },
}  # fmt: skip
