"""Temporal flicker: how alike neighbouring frames are, whatever moves. A frozen video scores 1.

It needs no flow, so it is only read beside the real clip's own value: as much change as there is best.
"""
import sys

import numpy as np

from timecyclegan.evaluation.base import CLOSER_TO_REAL, PER_PAIR, Metric, Sample, Step
from timecyclegan.evaluation.command import compare_frames


def flicker(previous: np.ndarray, frame: np.ndarray) -> float:
    """1 - mean |frame - previous| / 255 of uint8 (H, W, 3): in [0, 1], 1 where nothing changes."""
    return 1 - float(np.abs(frame.astype(np.int16) - previous).mean()) / 255


class Flicker(Metric):
    """Mean over all pairs, for the fake and for the real clip."""
    name, title, definition = "flicker", "flicker", "flicker-1"
    better, over = CLOSER_TO_REAL, PER_PAIR

    def sample(self, step: Step) -> Sample:
        return Sample(self.alone(step), flicker(step.previous_real, step.real))

    def alone(self, step: Step) -> float:
        return flicker(step.previous_fake, step.fake)


if __name__ == "__main__":
    sys.exit(compare_frames("compute_flicker", __doc__, (Flicker,)))
