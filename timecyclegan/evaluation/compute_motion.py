"""Motion-following: whether the detail of the generated clip moves as the real clip does.

What flickers does not follow, nor does a texture that stands still on the screen while the scene moves. How strong the
detail is does not count, so little is lost, or even gained, by blur: sharpness stands beside it.
"""
import sys

import numpy as np
from scipy.ndimage import gaussian_filter

from timecyclegan.evaluation.base import CLOSER_TO_REAL, PER_PAIR, Metric, Sample, Step
from timecyclegan.evaluation.command import compare_frames
from timecyclegan.evaluation.compute_sharpness import luma
from timecyclegan.evaluation.flow import Warp

SIGMA = 2  # pixels, of the blur that detail is left of
SLOWEST = 1  # pixels; what moves by no more, a texture that stands still follows as well
FEWEST = 50  # pixels, of which there is a correlation


def detail(image: np.ndarray) -> np.ndarray:
    """The luma of uint8 (H, W, 3) without its Gaussian blur: float64 (H, W, 1)."""
    bright = luma(image)
    return (bright - gaussian_filter(bright, SIGMA, mode="reflect"))[..., None]


def motion_following(previous: np.ndarray, frame: np.ndarray, warp: Warp) -> float | None:
    """Correlation of the detail of ``previous``, moved, and that of ``frame``, uint8 (H, W, 3), in [-1, 1].

    It runs over the pixels of the warp's mask that move by more than a pixel; None where there are fewer than 50, or
    where one side has no detail.
    """
    moving = warp.mask & (np.hypot(warp.flow[..., 0], warp.flow[..., 1]) > SLOWEST)
    if np.count_nonzero(moving) < FEWEST:
        return None
    sides = warp.moved(detail(previous))[moving][:, 0], detail(frame)[moving][:, 0]
    if min(side.std() for side in sides) < 1e-9:
        return None
    return float(np.corrcoef(*sides)[0, 1])


class Motion(Metric):
    """Mean over the pairs of a sequence, then over sequences, by the real clip's flow: true where the steps bring it.
    """
    name, title, definition = "motion", "motion-following", "motion-detail-{flow}-1"
    better, over = CLOSER_TO_REAL, PER_PAIR
    mean_over_sequences = same_motion = true_flow = True
    undefined = f"fewer than {FEWEST} pixels move by more than {SLOWEST}, or there is no detail"

    def sample(self, step: Step) -> Sample:
        return Sample(motion_following(step.previous_fake, step.fake, step.real_warp),
                      motion_following(step.previous_real, step.real, step.real_warp))


if __name__ == "__main__":
    sys.exit(compare_frames("compute_motion", __doc__, (Motion,)))
