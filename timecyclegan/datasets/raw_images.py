"""Image files in their own kind of pixels (gray, palette, alpha, 16 bits), for tools that make image files of them."""
import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from timecyclegan.util.errors import UserError, failed

LOSSY = (".jpg", ".jpeg", ".jfif", ".jpe", ".webp", ".avif")


def open_image(path: Path) -> Image.Image:
    """Read an image as it is, in its own mode, but upright; a UserError if that fails."""
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image)
    except Exception as error:  # a damaged file can make a decoder raise anything
        what = f"cannot read image {path}"
        raise failed(what, error, f"{what}: {' '.join(str(error).split())}; replace or remove it") from error


def encode_image(image: Image.Image, suffix: str) -> bytes:
    """An image as a file's content, in the form that the suffix names, with as little loss as that allows."""
    file = io.BytesIO()
    form = Image.registered_extensions()[suffix.lower()]
    image.save(file, form, **({"quality": 95} if suffix.lower() in LOSSY else {}))
    return file.getvalue()


def deep_pixels(path: Path) -> np.ndarray | None:
    """The numbers of an image of more than 8 bits: gray (H, W), or RGB or RGBA of 16 bits (H, W, C); None of others.

    Raises:
        UserError: it cannot be read.
    """
    image = open_image(path)
    if image.mode[0] in "IF":  # of 16 or 32 bits, or floating-point
        return np.asarray(image)
    if not has_deep_colours(path):
        return None
    # Pillow gives the high bytes only; names may be such as OpenCV cannot open.
    pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16 or pixels.ndim == 2:
        raise UserError(f"cannot read the 16 bits of image {path}; turn it into a PNG or TIFF of 16 bits")
    return pixels[..., [2, 1, 0, 3][:pixels.shape[2]]]


def in_8_bits(path: Path, low: float, high: float) -> Image.Image:
    """An image of more than 8 bits with 8: ``low`` and what is below it becomes 0, ``high`` and what is above 255.

    Raises:
        UserError: it cannot be read, has 8 bits only, or numbers that are not finite.
    """
    pixels = deep_pixels(path)
    if pixels is None:
        raise UserError(f"{path} has 8 bits for a channel; --range is for pictures of more")
    if not np.isfinite(pixels).all():
        raise UserError(f"{path} has pixels that are no finite numbers; replace or remove it")
    levels = np.clip((pixels.astype(np.float64) - low) / (high - low), 0, 1) * 255
    if pixels.shape[2:] == (4,):  # how far a pixel is covered is no brightness
        levels[..., 3] = pixels[..., 3] / 257
    return Image.fromarray(np.rint(levels).astype(np.uint8))


def has_deep_colours(path: Path) -> bool:
    """Whether an image has 16 bits for each of several channels: Pillow opens those with 8, silently."""
    with Image.open(path) as image:
        # What is read: a mode's own name, or for example "RGB;16B".
        return bool(image.tile) and not image.mode.startswith("I") and ";16" in str(image.tile[0][3])
