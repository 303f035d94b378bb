"""tOF: how far the motion of the fake clip is from that of the real one (Chu et al., TecoGAN, 2020)."""
import sys
from dataclasses import replace

import numpy as np

from timecyclegan.evaluation.flow import FlowFunction
from timecyclegan.evaluation.metric import LOWER, PER_PAIR, Metric, Result, Sample, Spec, Step
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


class TOFOfMeans(Metric):
    """For clips that share no motion: |mean flow magnitude of all pairs - that of the real clips|, in pixels.

    The value of a sequence or pair is its own distance from the real clips' mean.
    """
    spec = TOF.spec

    def sample(self, step: Step) -> Sample:
        return Sample(flow_magnitude(step.fake_forward))

    def beside(self, real: Metric) -> Result:
        own, other = self.result(), real.result()
        if own.value is None or other.value is None:
            return replace(own, value=None, reason=own.reason or f"of the real clips: {other.reason}")

        def distance(magnitude: float | None) -> float | None:
            return None if magnitude is None else abs(magnitude - other.value)

        return replace(
            own,
            value=distance(own.value),
            details={"generated": own.value, "real": other.value},
            per_sequence={name: distance(value) for name, value in own.per_sequence.items()},
            per_frame={name: [distance(value) for value in values] for name, values in own.per_frame.items()},
        )


if __name__ == "__main__":
    from timecyclegan.evaluation.compute_metrics import main

    sys.exit(main(only=[TOF.spec.name]))
