"""LPIPS: how different frames look to a network that was tuned to people's judgement (Zhang et al. 2018)."""
import sys

import numpy as np

from timecyclegan.evaluation.base import Metric, Sample, Step
from timecyclegan.evaluation.command import compare_frames
from timecyclegan.evaluation.features.alexnet import TOO_SMALL, PerceptualView, distance


def lpips_distance(real: np.ndarray, fake: np.ndarray, view: PerceptualView) -> float:
    """LPIPS v0.1 (alex) of two frames of one size, each uint8 (H, W, 3) with sides of 31 or more; 0 is best."""
    return distance(*view.vectors([real, fake]))


class LPIPS(Metric):
    """Mean over all frames."""
    name, title, definition = "lpips", "LPIPS", "lpips-0.1-alex-1"
    same_moment, view = True, PerceptualView
    undefined = TOO_SMALL

    def sample(self, step: Step) -> Sample:
        return Sample(step.seen[self.view].between)


if __name__ == "__main__":
    sys.exit(compare_frames("compute_lpips", __doc__, (LPIPS,)))
