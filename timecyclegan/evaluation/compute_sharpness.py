"""Sharpness: gradient energy of the fake clip over that of the real one.

1 is as sharp as real, below is blurred, above is noisy or grainy. It stands beside the temporal metrics because
blur alone improves those.
"""
import sys
from collections.abc import Sequence

import numpy as np

from timecyclegan.evaluation.base import CLOSER_TO_REAL, Metric, Sample, Step
from timecyclegan.evaluation.command import compare_frames

LUMA = (0.299, 0.587, 0.114)  # Rec. 601


def gradient_energy(image: np.ndarray) -> float:
    """Mean squared forward difference along x plus that along y, of the luma in [0, 1] of uint8 (H, W, 3).

    Each mean runs over the differences that exist: H (W - 1) along x, (H - 1) W along y.
    """
    # Channel by channel: a matrix product may round equal pixels differently, and flat must mean exactly 0.
    luma = sum(weight * image[..., channel] for channel, weight in enumerate(LUMA)) / 255
    return sum(float(np.square(d).mean()) for d in (np.diff(luma, axis=1), np.diff(luma, axis=0)) if d.size)


class Sharpness(Metric):
    """Mean energy over the frames of each side first, then the ratio: an empty frame does not blow it up."""
    name, title, definition = "sharpness", "sharpness", "gradient-energy-ratio-1"
    better, same_moment = CLOSER_TO_REAL, True
    undefined = "the real frames have no gradient"

    def sample(self, step: Step) -> Sample:
        return Sample(gradient_energy(step.fake), gradient_energy(step.real))

    def summarize(self, samples: Sequence[Sample]) -> Sample:
        """Ratio of the mean energies, which of the real clip itself is 1; undefined where the real side has none."""
        fake, real = super().summarize(samples)
        return Sample(fake / real, 1.0) if real else Sample(None)


if __name__ == "__main__":
    sys.exit(compare_frames("compute_sharpness", __doc__, (Sharpness,)))
