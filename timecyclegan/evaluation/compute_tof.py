"""tOF: how far the motion of the fake clip is from that of the real one (Chu et al., TecoGAN, 2020)."""
import sys

import numpy as np

from timecyclegan.evaluation.flow import FlowFunction
from timecyclegan.evaluation.metric import LOWER, PER_PAIR, Metric, OfMeans, Sample, Spec, Step
from timecyclegan.flow.opencv import farneback


def flow_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Mean over pixels of the L2 norm of the difference of two flows (H, W, 2), in pixels."""
    difference = first.astype(np.float64) - second.astype(np.float64)
    return float(np.sqrt(np.square(difference).sum(axis=2)).mean())


def flow_magnitude(flow: np.ndarray) -> float:
    """Mean over pixels of the L2 norm of a flow (H, W, 2), in pixels."""
    return flow_distance(flow, np.zeros_like(flow))


def tof(previous_real: np.ndarray, real: np.ndarray, previous_fake: np.ndarray, fake: np.ndarray,
        flow: FlowFunction = farneback) -> float:
    """tOF of one pair of frames, each uint8 (H, W, 3): in pixels, full frame; 0 is best."""
    return flow_distance(flow(previous_real, real), flow(previous_fake, fake))


class TOF(Metric):
    """Mean over all pairs. The flow of the real pair is the one that E_warp uses too."""
    spec = Spec("tof", "tOF", LOWER, "tof-{flow}-1", PER_PAIR, unit="px")

    def sample(self, step: Step) -> Sample:
        return Sample(flow_distance(step.real_forward, step.fake_forward))


class TOFOfMeans(OfMeans):
    """For clips that share no motion: |mean flow magnitude of all pairs - that of the real clips|, in pixels."""
    spec = TOF.spec

    def sample(self, step: Step) -> Sample:
        return Sample(flow_magnitude(step.fake_forward))


if __name__ == "__main__":
    from timecyclegan.evaluation.compute_metrics import main

    sys.exit(main(only=[TOF.spec.name]))
