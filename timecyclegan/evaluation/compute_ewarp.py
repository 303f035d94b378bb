"""E_warp: what is left between a frame and its predecessor once the real clip's motion is undone.

After Lai et al., "Learning blind video temporal consistency", 2018; what they computed is ``ewarp-lai``.
The real clip's own value holds the flow's errors and everything that motion does not explain. It is the aim: above
it the clip flickers, below it the clip is blurred.
"""
import sys

import numpy as np

from timecyclegan.evaluation.base import CLOSER_TO_REAL, PER_PAIR, Metric, Sample, Step
from timecyclegan.evaluation.command import compare_frames
from timecyclegan.evaluation.flow import FlowFunction, TrueFlow
from timecyclegan.flow.opencv import farneback


def e_warp(previous_real: np.ndarray, real: np.ndarray, previous_fake: np.ndarray, fake: np.ndarray,
           true_flow: TrueFlow | None = None, flow: FlowFunction = farneback) -> Sample:
    """E_warp of one pair, fake and real, each frame uint8 (H, W, 3); without true flow by what ``flow`` computes."""
    return EWarp().sample(Step(real, fake, previous_real, previous_fake, true_flow, flow))


class EWarp(Metric):
    """Mean over the pairs of a sequence, then over sequences, by the real clip's flow: true where the steps bring it.
    """
    name, title, definition = "e_warp", "E_warp", "ewarp-fwd-{flow}-1"
    better, over = CLOSER_TO_REAL, PER_PAIR
    mean_over_sequences = same_motion = true_flow = True
    undefined = "the flow leaves no visible pixel"

    def sample(self, step: Step) -> Sample:
        warp = step.real_warp
        return Sample(warp.error(step.previous_fake, step.fake), warp.error(step.previous_real, step.real))


if __name__ == "__main__":
    sys.exit(compare_frames("compute_ewarp", __doc__, (EWarp,)))
