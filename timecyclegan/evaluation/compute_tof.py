"""tOF: how far the motion of the fake clip is from that of the real one (Chu et al., TecoGAN, 2020)."""
import sys

import numpy as np

from timecyclegan.evaluation.base import PER_PAIR, Metric, Sample, Step
from timecyclegan.evaluation.command import compare_frames
from timecyclegan.evaluation.flow import FlowFunction
from timecyclegan.flow.opencv import farneback


def flow_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Mean over pixels of the L2 norm of the difference of two flows (H, W, 2), in pixels."""
    difference = first.astype(np.float64) - second.astype(np.float64)
    return float(np.sqrt(np.square(difference).sum(axis=2)).mean())


def tof(previous_real: np.ndarray, real: np.ndarray, previous_fake: np.ndarray, fake: np.ndarray,
        flow: FlowFunction = farneback) -> float:
    """tOF of one pair of frames, each uint8 (H, W, 3): in pixels, full frame; 0 is best."""
    return flow_distance(flow(previous_real, real), flow(previous_fake, fake))


class TOF(Metric):
    """Mean over all pairs. The flow of the real pair is the one that E_warp uses too.

    For clips that share no motion: |mean flow magnitude of all pairs - that of the real clips|, in pixels.
    """
    name, title, definition = "tof", "tOF", "tof-{flow}-1"
    over, unit = PER_PAIR, "px"

    def sample(self, step: Step) -> Sample:
        return Sample(flow_distance(step.real_forward, step.fake_forward))

    def alone(self, step: Step) -> float:
        return flow_distance(step.fake_forward, np.zeros_like(step.fake_forward))


if __name__ == "__main__":
    sys.exit(compare_frames("compute_tof", __doc__, (TOF,)))
