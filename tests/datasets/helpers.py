"""Folders of frames that say where they come from."""
import numpy as np
import pytest

from timecyclegan.util.errors import UserError
from timecyclegan.video.frames import write_image

H, W = 20, 36
LENGTHS = {"2": 7, "10": 9}  # natural order, and neither a multiple of the clip length 3


def frame(sequence, t, domain, height=H, width=W):
    """Pixels that say where they come from: red is the row, green the column, blue the frame."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.arange(height)[:, None] + 100 * domain
    image[..., 1] = np.arange(width)
    image[..., 2] = 16 * list(LENGTHS).index(sequence) + t + 100 * domain
    return image


def write_tree(root, lengths=LENGTHS, **size):
    for domain, side in enumerate(("source", "target")):
        for sequence, length in lengths.items():
            for t in range(length):
                write_image(root / side / sequence / f"{t}.png", frame(sequence, t, domain, **size))
    return root / "source", root / "target"


def message(call, *args, **options):
    with pytest.raises(UserError) as caught:
        call(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)
