"""tLP: how far the fake clip's perceptual change from frame to frame is from the real one's (TecoGAN, 2020).

It is neither multiplied by 100 nor cropped; that is ``tlp100-tecogan``.
"""
import sys

import numpy as np

from timecyclegan.evaluation.base import PER_PAIR, Metric, Sample, Step
from timecyclegan.evaluation.command import compare_frames
from timecyclegan.evaluation.features.alexnet import TOO_SMALL, PerceptualView, distance


def tlp(previous_real: np.ndarray, real: np.ndarray, previous_fake: np.ndarray, fake: np.ndarray,
        view: PerceptualView) -> float:
    """tLP of one pair of frames, each uint8 (H, W, 3) with sides of 31 or more; 0 is best."""
    return abs(distance(*view.vectors([previous_real, real])) - distance(*view.vectors([previous_fake, fake])))


class TLP(Metric):
    """Mean over all pairs of |LPIPS of the real pair - LPIPS of the fake pair|.

    For clips that share no motion: |mean LPIPS of all pairs - that of the real clips|.
    """
    name, title, definition = "tlp", "tLP", "tlp-alex-1"
    over, view = PER_PAIR, PerceptualView
    undefined = TOO_SMALL

    def sample(self, step: Step) -> Sample:
        seen = step.seen[self.view]
        return Sample(None if seen.fake is None else abs(seen.real - seen.fake))

    def alone(self, step: Step) -> float | None:
        return step.seen[self.view].fake


if __name__ == "__main__":
    sys.exit(compare_frames("compute_tlp", __doc__, (TLP,)))
