"""Mean absolute difference of each frame from the real one."""
import sys

import numpy as np

from timecyclegan.evaluation.base import Metric, Sample, Step
from timecyclegan.evaluation.command import compare_frames


def l1(real: np.ndarray, fake: np.ndarray) -> float:
    """Mean absolute difference of uint8 (H, W, 3) over pixels and channels, in grey levels (0 to 255)."""
    return float(np.abs(real.astype(np.int16) - fake).mean())


class L1(Metric):
    """Mean over frames."""
    name, title, definition = "l1", "L1", "l1-rgb8-1"
    unit, same_moment = "grey levels", True

    def sample(self, step: Step) -> Sample:
        return Sample(l1(step.real, step.fake))


if __name__ == "__main__":
    sys.exit(compare_frames("compute_l1", __doc__, (L1,)))
