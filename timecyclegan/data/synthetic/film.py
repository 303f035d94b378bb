"""Old film: what a worn black-and-white print shows of a picture, with new damage in every frame."""
import math

import numpy as np

from timecyclegan.data.synthetic.textures import upsampling

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # Rec. 601
# Standard deviations: of the logarithm of the exposure, of the whole frame and of parts of it; of the grain, in [0, 1].
_EXPOSURE, _UNEVEN, _GRAIN = 0.15, 0.12, 0.07
_SCRATCHES, _SPECKS = 1.5, 10  # of a frame, on average


def worn_film(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """``picture``, uint8 (H, W, 3), as a frame of worn film, of the same shape, grey.

    Its exposure differs from frame to frame and from place to place, it is grainy, and scratches and specks of dust,
    black or white, hide parts of it: what they hide, only other frames know.
    """
    height, width = picture.shape[:2]
    uneven = upsampling(3, height, False) @ rng.standard_normal((3, 4), np.float32) @ upsampling(4, width, False).T
    gray = picture @ LUMA / 255 * np.exp(_EXPOSURE * rng.standard_normal() + _UNEVEN * uneven)
    gray += _GRAIN * rng.standard_normal((height, width), np.float32)
    row, column = np.arange(height)[:, None], np.arange(width)
    for _ in range(rng.poisson(_SCRATCHES)):
        top, length = height * rng.uniform(-0.5, 1), height * rng.uniform(0.3, 1.5)
        along = (row - top) / length
        lean = rng.uniform(0, width) + rng.normal(0, 0.01) * row
        gray[(np.abs(column - lean) < width / 160) & (along >= 0) & (along < 1)] = rng.integers(2)
    for _ in range(rng.poisson(_SPECKS)):
        radius, (y, x) = height * 0.01 * math.exp(rng.normal(0.3, 0.6)), rng.uniform(0, (height, width))
        gray[(row - y) ** 2 + (column - x) ** 2 < radius**2] = rng.integers(2)
    return np.repeat(np.rint(gray.clip(0, 1) * 255).astype(np.uint8)[..., None], 3, axis=2)
