"""Old film: what a worn, faded print shows of a picture, with new damage in every frame."""
import math

import numpy as np

from timecyclegan.data.synthetic.textures import upsampling
from timecyclegan.video.frames import LUMA

TINT = np.array([1.0, 0.85, 0.65], np.float32)  # what the dyes that faded least leave
_SATURATION = 0.4
# Standard deviations: of the logarithm of the exposure, of the whole frame and of parts of it; of the grain, in [0, 1].
_EXPOSURE, _UNEVEN, _GRAIN = 0.15, 0.1, 0.05
_SCRATCHES, _SPECKS = 1.5, 10  # of a frame, on average


def worn_film(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """``picture``, uint8 (H, W, 3), as a frame of worn film, of the same shape.

    Its colours have faded. Its exposure differs from frame to frame and from place to place, it is grainy, and
    scratches and specks of dust, black or white, hide parts of it: what they hide, only other frames know.
    """
    height, width = picture.shape[:2]
    gray = (picture @ np.array(LUMA, np.float32))[..., None]
    film = (gray + _SATURATION * (picture - gray)) / 255 * TINT
    uneven = upsampling(3, height, False) @ rng.standard_normal((3, 4), np.float32) @ upsampling(4, width, False).T
    film *= np.exp(_EXPOSURE * rng.standard_normal() + _UNEVEN * uneven)[..., None]
    film += _GRAIN * rng.standard_normal((height, width, 1), np.float32)
    row, column = np.arange(height)[:, None], np.arange(width)
    for _ in range(rng.poisson(_SCRATCHES)):
        top, length = height * rng.uniform(-0.5, 1), height * rng.uniform(0.3, 1.5)
        along = (row - top) / length
        lean = rng.uniform(0, width) + rng.normal(0, 0.01) * row
        film[(np.abs(column - lean) < width / 160) & (along >= 0) & (along < 1)] = rng.integers(2)
    for _ in range(rng.poisson(_SPECKS)):
        radius, (y, x) = height * 0.01 * math.exp(rng.normal(0.3, 0.6)), rng.uniform(0, (height, width))
        film[(row - y) ** 2 + (column - x) ** 2 < radius**2] = rng.integers(2)
    return np.rint(film.clip(0, 1) * 255).astype(np.uint8)
