"""Flags that work, by name: what was found on tuning streets (``docs/RESULTS.md`` says how).

The thesis has a table of its own (section 4.1.2), which is not at hand: these are not its values.
"""
from typing import Any

# Pictures at half the size, frame by frame, then clips at the whole size; no checkerboard.
_GROWN = {"upsample": "resize", "spatial_scaling": (0.5,), "temporal_scaling": (0.2, 1.0), "grow_batch": False}
_P = {
    "l1_loss_weight": 60.0, "feature_matching_loss_weight": 10.0, "timecycle_loss_weight": 10.0,
    "timecycle_sharpness": 1.0, "timecycle_motion_model_residual": False, **_GROWN,
}  # fmt: skip
PRESETS: dict[str, dict[str, Any]] = {
    "p": {"model_type": "timecycle", **_P},
    # P, and its generator moves its last frame, as vid2vid's does; nobody tells it how.
    "p-warping": {"model_type": "timecyclevid2vid", "discriminator_temporal_scales": 0, **_P},
    "p++": {"model_type": "timecyclep2", "warp_loss_weight": 5.0, **_P},
    "up": {"model_type": "tricyclegan", "cycle_loss_weight": 10.0, "timecycle_loss_weight": 5.0, **_GROWN},
    "u": {
        "model_type": "timecycledcgan", "discriminator_architecture": "basic", "timecycle_loss_weight": 5.0,
        "batch_size": 4, "image_height": 64, "image_width": 64,
    },
}
