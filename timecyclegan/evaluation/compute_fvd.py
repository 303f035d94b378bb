"""FVD: the Fréchet distance of the I3D features of two sets of clips of 16 frames (Unterthiner et al. 2018).

    python -m timecyclegan.evaluation.compute_fvd REAL FAKE

A sequence is cut into clips from its first frame on, without overlap; what is left at its end is not used.
"""
import sys
from collections.abc import Sequence

import numpy as np

from timecyclegan.evaluation.base import UNCONDITIONAL, Settings
from timecyclegan.evaluation.command import compare_sets
from timecyclegan.evaluation.features.frechet import FrechetMetric, Statistics, frechet_distance
from timecyclegan.evaluation.features.i3d import LENGTH, I3DView


def fvd(real: Sequence[Sequence[np.ndarray]], fake: Sequence[Sequence[np.ndarray]], gpu: int = -1) -> float:
    """FVD of two sets of clips, each 16 frames of one size, uint8 (H, W, 3); 0 is best.

    Raises:
        UserError: the network is missing, or a side has fewer than two clips.
    """
    features = I3DView(Settings(gpu=gpu)).features
    return frechet_distance(*(Statistics.of(np.stack([*map(features, side)])) for side in (real, fake))).value


class FVD(FrechetMetric):
    """FVD of all clips that do not overlap."""
    name, title, definition = "fvd", "FVD", "fvd-i3d-16-1"
    by_default = (UNCONDITIONAL,)
    view = I3DView
    clip, what = LENGTH, f"clips of {LENGTH} frames"
    undefined = f"clips have {LENGTH} frames: what is left at the end of a sequence belongs to none"


if __name__ == "__main__":
    sys.exit(compare_sets("compute_fvd", __doc__, FVD))
