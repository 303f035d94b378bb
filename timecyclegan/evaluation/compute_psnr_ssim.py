"""PSNR and SSIM of each frame against the real one, by scikit-image on 8-bit RGB."""
import sys

import numpy as np
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from timecyclegan.evaluation.base import HIGHER, Metric, Sample, Step
from timecyclegan.evaluation.command import compare_frames

MOST = 100.0  # dB
SSIM_SIGMA = 1.5
SSIM_WINDOW = 11  # what scikit-image makes of this sigma; smaller pictures have no SSIM


def psnr(real: np.ndarray, fake: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of uint8 (H, W, 3), at most 100: that of identical frames would be infinite.

    Frames of more than 226 x 226 pixels that differ by one level in one place would have more; they are cut to it, too,
    lest they count as better than identical ones.
    """
    if np.array_equal(real, fake):
        return MOST
    return min(MOST, float(peak_signal_noise_ratio(real, fake, data_range=255)))


def ssim(real: np.ndarray, fake: np.ndarray) -> float | None:
    """Structural similarity of uint8 (H, W, 3), at most 1; None for pictures smaller than its window.

    Wang et al. 2004: Gaussian window of sigma 1.5, population covariance, mean over the channels.
    """
    if min(real.shape[:2]) < SSIM_WINDOW:
        return None
    return float(structural_similarity(real, fake, data_range=255, channel_axis=-1, gaussian_weights=True,
                                       sigma=SSIM_SIGMA, use_sample_covariance=False))


class PSNR(Metric):
    """Mean over all frames. Identical ones count as 100 dB: were they left out, a better clip could score lower."""
    name, title, definition = "psnr", "PSNR", "psnr-rgb8-skimage-at-most-100db-1"
    better, unit, same_moment = HIGHER, "dB", True

    def sample(self, step: Step) -> Sample:
        return Sample(psnr(step.real, step.fake))


class SSIM(Metric):
    """Mean over frames."""
    name, title, definition = "ssim", "SSIM", "ssim-gaussian-rgb8-skimage-1"
    better, same_moment = HIGHER, True
    undefined = f"the pictures are smaller than its {SSIM_WINDOW}x{SSIM_WINDOW} window"

    def sample(self, step: Step) -> Sample:
        return Sample(ssim(step.real, step.fake))


if __name__ == "__main__":
    sys.exit(compare_frames("compute_psnr_ssim", __doc__, (PSNR, SSIM)))
