"""FID: the Fréchet distance of the Inception features of two sets of pictures (Heusel et al. 2017).

    python -m timecyclegan.evaluation.compute_fid REAL FAKE

Features are pytorch-fid's, from the same weights and pixels; the distance is our own, see ``features/frechet.py``.
"""
import sys
from collections.abc import Sequence

import numpy as np

from timecyclegan.evaluation.base import Settings
from timecyclegan.evaluation.command import compare_sets
from timecyclegan.evaluation.features.frechet import FrechetMetric, Statistics, frechet_distance
from timecyclegan.evaluation.features.inception import InceptionView


def fid(real: Sequence[np.ndarray], fake: Sequence[np.ndarray], dims: int = 2048, gpu: int = -1) -> float:
    """FID of two sets of pictures, each uint8 (H, W, 3) of any size; 0 is best.

    Raises:
        UserError: the weights are missing, or a side has fewer than two pictures.
    """
    features = InceptionView(Settings(gpu=gpu, fid_dims=dims)).features
    return frechet_distance(*(Statistics.of(features(side)) for side in (real, fake))).value


class FID(FrechetMetric):
    """FID of all frames."""
    name, title, definition = "fid", "FID", "fid-inception2015-{dims}-1"
    view = InceptionView


if __name__ == "__main__":
    sys.exit(compare_sets("compute_fid", __doc__, FID))
