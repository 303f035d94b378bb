"""Pictures beside each other, with captions."""
import functools
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_SEPARATOR = 128  # grey level, visible beside dark and bright frames
_CAPTION_BACKGROUND, _CAPTION_INK = 24, 235


def side_by_side(frames: Sequence[np.ndarray], captions: Sequence[str]) -> np.ndarray:
    """Join pictures from left to right.

    Args:
        frames: uint8 RGB pictures (H, W_i, 3) of one height.
        captions: one short text per picture, written in a strip above it.

    Returns:
        uint8 (H + strip, sum W_i + gaps, 3).

    Raises:
        ValueError: heights differ, or there is not one caption per picture.
    """
    height = frames[0].shape[0]
    gap = max(2, height // 64)
    separator = np.full((height, gap, 3), _SEPARATOR, np.uint8)
    row = np.concatenate([part for frame in frames for part in (separator, frame)][1:], axis=1)
    widths = tuple(frame.shape[1] for frame in frames)
    return np.concatenate([_caption_strip(widths, tuple(captions), height, gap), row])


@functools.lru_cache(maxsize=8)  # the strip is the same for every frame of a video
def _caption_strip(widths: tuple[int, ...], captions: tuple[str, ...], height: int, gap: int) -> np.ndarray:
    size = min(max(11, height // 14), 28)
    image = Image.new("RGB", (sum(widths) + gap * (len(widths) - 1), size + 5), (_CAPTION_BACKGROUND,) * 3)
    draw = ImageDraw.Draw(image)
    left = 0
    for width, caption in zip(widths, captions, strict=True):
        # The largest font in which the caption fits, but no smaller than can be read.
        fonts = [ImageFont.load_default(candidate) for candidate in range(size, 8, -1)]
        font = next((font for font in fonts if font.getlength(caption) <= width - 2), fonts[-1])
        draw.text((left + width / 2, image.height / 2), caption, (_CAPTION_INK,) * 3, font, anchor="mm")
        left += width + gap
    return np.asarray(image)
