"""LPIPS: how different frames look to a network that was tuned to people's judgement (Zhang et al. 2018)."""
import sys

import numpy as np

from timecyclegan.evaluation.metric import LOWER, Metric, Sample, Spec, Step
from timecyclegan.evaluation.perceptual import TOO_SMALL, PerceptualVectors, PerceptualView, distance


def lpips_distance(real: np.ndarray, fake: np.ndarray, vectors: PerceptualVectors) -> float:
    """LPIPS v0.1 (alex) of two frames of one size, each uint8 (H, W, 3) with sides of 31 or more; 0 is best."""
    return distance(*vectors([real, fake]))


class LPIPS(Metric):
    """Mean over all frames."""
    spec = Spec("lpips", "LPIPS", LOWER, "lpips-0.1-alex-1", same_moment=True)
    view = PerceptualView
    undefined = TOO_SMALL

    def sample(self, step: Step) -> Sample:
        return Sample(step.seen[self.view].between)


if __name__ == "__main__":
    from timecyclegan.evaluation.compute_metrics import main

    sys.exit(main(only=[LPIPS.spec.name]))
