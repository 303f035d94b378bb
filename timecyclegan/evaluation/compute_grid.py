"""Grid: spectral energy at periods of 2 and 4 pixels, of the fake clip over that of the real one.

Transposed convolutions leave a grid of such periods, and a recurrent generator may feed it to itself (Odena et al.,
"Deconvolution and checkerboard artifacts", 2016). 1 is as in the real clip; blur is below it, a grid far above.
"""
import sys

import numpy as np

from timecyclegan.evaluation.command import compare_frames
from timecyclegan.evaluation.compute_sharpness import EnergyRatio, luma

WINDOW, STRIDE = 16, 8  # pixels
ROUNDING = 1e-20  # no energy: one pixel that is one grey level off has far more


def grid_energy(image: np.ndarray) -> float | None:
    """Energy of uint8 (H, W, 3) at the frequencies (i / 4, j / 4) per pixel, i, j = 0 .. 3, but the mean: luma in
    [0, 1], in windows of 16x16 pixels, half of one apart, under a periodic Hann window each (Welch 1967); the mean over
    windows. None for images with a side below 16.
    """
    if min(image.shape[:2]) < WINDOW:
        return None
    windows = np.lib.stride_tricks.sliding_window_view(luma(image), (WINDOW, WINDOW))[::STRIDE, ::STRIDE]
    hann = np.hanning(WINDOW + 1)[:-1]
    spectrum = np.fft.fft2(windows * np.outer(hann, hann))
    energy = np.square(np.abs(spectrum[..., :: WINDOW // 4, :: WINDOW // 4]))
    energy[..., 0, 0] = 0  # the only one of them where the mean shows, under this window
    found = float(energy.sum(axis=(2, 3)).mean())
    return found if found > ROUNDING else 0.0


class Grid(EnergyRatio):
    """Mean energy over the frames of each side first, then the ratio."""
    name, title, definition = "grid", "grid", "grid-energy-ratio-1"
    undefined = f"the frames have a side below {WINDOW} pixels, or the real ones no energy there"
    energy = staticmethod(grid_energy)


if __name__ == "__main__":
    sys.exit(compare_frames("compute_grid", __doc__, (Grid,)))
