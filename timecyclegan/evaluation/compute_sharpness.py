"""Sharpness: gradient energy of the fake clip over that of the real one.

1 is as sharp as real, below is blurred, above is noisy or grainy. It stands beside the temporal metrics because
blur alone improves those.
"""
import copy
import sys
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np

from timecyclegan.evaluation.base import CLOSER_TO_REAL, Metric, Sample, Step, Value
from timecyclegan.evaluation.command import compare_frames
from timecyclegan.video.frames import LUMA


def luma(image: np.ndarray) -> np.ndarray:
    """That of uint8 (H, W, 3), in [0, 1]: float64 (H, W)."""
    # Channel by channel: a matrix product may round equal pixels differently, and flat must mean exactly 0.
    return sum(weight * image[..., channel] for channel, weight in enumerate(LUMA)) / 255


def gradient_energy(image: np.ndarray) -> float:
    """Mean squared forward difference along x plus that along y, of the luma in [0, 1] of uint8 (H, W, 3).

    Each mean runs over the differences that exist: H (W - 1) along x, (H - 1) W along y.
    """
    bright = luma(image)
    return sum(float(np.square(d).mean()) for d in (np.diff(bright, axis=1), np.diff(bright, axis=0)) if d.size)


class EnergyRatio(Metric):
    """Mean energy over the frames of each side first, then the ratio: an empty frame does not blow it up. The ratio of
    the real clip itself is 1.

    Attributes:
        energy: of a frame, uint8 (H, W, 3); None where it has none.
    """
    better, of_sets = CLOSER_TO_REAL, True
    energy: ClassVar[Callable[[np.ndarray], float | None]]

    def sample(self, step: Step) -> Sample:
        return Sample(self.energy(step.fake), None if step.real is None else self.energy(step.real))

    def summarize(self, samples: Sequence[Sample]) -> Sample:
        """Ratio of the mean energies; undefined where the real side has none."""
        fake, real = super().summarize(samples)
        return Sample(fake / real, 1.0) if real and fake is not None else Sample(None)

    def beside(self, real: "EnergyRatio") -> Value:
        """Over the mean energy of all frames that ``real`` has seen, whatever they show."""
        mean = Metric.summarize(real, [sample for samples in real._sequences.values() for sample in samples]).fake
        own = copy.copy(self)
        own._sequences = {name: [Sample(sample.fake, mean) for sample in samples]
                          for name, samples in self._sequences.items()}
        return own.result()


class Sharpness(EnergyRatio):
    """Gradient energy of the fake frames over that of the real ones."""
    name, title, definition = "sharpness", "sharpness", "gradient-energy-ratio-1"
    undefined = "the real frames have no gradient"
    energy = staticmethod(gradient_energy)


if __name__ == "__main__":
    sys.exit(compare_frames("compute_sharpness", __doc__, (Sharpness,)))
