"""E_warp: what is left between a frame and its predecessor once the real clip's motion is undone.

After Lai et al., "Learning blind video temporal consistency", 2018; what they computed is ``ewarp-lai``.
The real clip's own value holds the flow's errors and everything that motion does not explain. It is the aim: above
it the clip flickers, below it the clip is blurred.
"""
import sys

import numpy as np

from timecyclegan.evaluation.base import CLOSER_TO_REAL, PER_PAIR, Metric, Sample, Step
from timecyclegan.evaluation.command import compare_frames
from timecyclegan.evaluation.flow import FlowFunction, TrueFlow, destinations, sample
from timecyclegan.flow.opencv import farneback


def cancel(there: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Where two flows (H, W, 2) cancel: bool (H, W), |there + back|^2 <= 0.01 (|there|^2 + |back|^2) + 0.5.

    The second one is taken where the first one leads. After Sundaram et al., "Dense point trajectories by
    GPU-accelerated large displacement optical flow", 2010.
    """
    there, back = there.astype(np.float64), sample(back, destinations(there)[0])
    return squared_norm(there + back) <= 0.01 * (squared_norm(there) + squared_norm(back)) + 0.5


def squared_norm(flow: np.ndarray) -> np.ndarray:
    """Of a flow (H, W, 2) at each pixel: (H, W)."""
    return np.square(flow).sum(axis=2)


class Warp:
    """Takes an earlier frame to the later one: p = x + flow(x), p clamped to the frame, and a mask of the pixels.

    Attributes:
        mask: bool (H, W), pixels that count: those ``visible``, if p is in the frame.
    """

    def __init__(self, flow: np.ndarray, visible: np.ndarray) -> None:
        self.points, inside = destinations(flow)
        self.mask = visible & inside

    @classmethod
    def from_estimates(cls, forward: np.ndarray, backward: np.ndarray) -> "Warp":
        """Warp by estimated flow; visible is where forward and backward flow (H, W, 2) cancel."""
        return cls(backward, cancel(backward, forward))

    def error(self, previous: np.ndarray, frame: np.ndarray) -> float | None:
        """Mean squared difference, pixels in [0, 1], of ``frame`` and the warped ``previous``, uint8 (H, W, 3).

        The mean runs over the channels of the pixels that count; None if there are none.
        """
        if not self.mask.any():
            return None
        difference = sample(previous, self.points)[self.mask] - frame[self.mask]
        return float(np.square(difference / 255).mean())


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
        warp = Warp(*step.true_flow) if step.true_flow else Warp.from_estimates(step.real_forward, step.real_backward)
        return Sample(warp.error(step.previous_fake, step.fake), warp.error(step.previous_real, step.real))


if __name__ == "__main__":
    sys.exit(compare_frames("compute_ewarp", __doc__, (EWarp,)))
