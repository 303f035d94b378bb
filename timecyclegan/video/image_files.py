"""Image files of any common kind as uint8 (H, W, 3), RGB."""
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from timecyclegan.util.errors import UserError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")

_ORIENTATION_TAG = 0x0112
# What a viewer does for each value of the EXIF orientation; 1 is upright, 5 to 8 swap height and width.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def image_file_size(path: str | Path) -> tuple[int, int]:
    """(height, width) of the image as :func:`read_image_file` returns it, from the file's header alone.

    Raises:
        UserError: the file is missing or is no image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            return (width, height) if _orientation(image) >= 5 else (height, width)
    except Exception as error:
        raise _unreadable(path, error) from error


def read_image_file(path: str | Path) -> np.ndarray:
    """Read an image of any common kind as uint8 (H, W, 3), RGB, turned upright by its EXIF orientation.

    Gray is repeated in the three channels. An alpha channel is dropped and the colours below it are kept:
    compositing would invent a background. 16-bit gray is divided by 257 and rounded (16-bit colour keeps its
    high byte, which is what Pillow hands out; the two differ by at most one level). Of several pictures in
    one file the first counts.

    Raises:
        UserError: the file is missing, is no image, is damaged, or its pixels have no known range (float).
    """
    try:
        with Image.open(path) as image:
            orientation = _orientation(image)
            image.load()
            image = _to_rgb(image, path)
            return np.array(image if orientation == 1 else image.transpose(_UPRIGHT[orientation]))
    except (UserError, MemoryError):
        raise
    except Exception as error:  # a damaged file can make a decoder raise anything
        raise _unreadable(path, error) from error


def _orientation(image: Image.Image) -> int:
    if image.format == "TIFF":  # Pillow turns these itself
        return 1
    if image.format == "PNG" and "exif" not in image.info:  # asking would decode the whole image
        return 1
    orientation = image.getexif().get(_ORIENTATION_TAG)
    return orientation if orientation in _UPRIGHT else 1


def _to_rgb(image: Image.Image, path: str | Path) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;16"):
        gray = np.asarray(image).astype(np.int64)
        if gray.min() < 0 or gray.max() > 65535:
            raise UserError(f"image {path} has 32-bit pixels; convert it to 8 or 16 bits per channel")
        image = Image.fromarray(((gray + 128) // 257).astype(np.uint8))
    elif image.mode == "F":
        raise UserError(f"image {path} has floating-point pixels; convert it to 8 or 16 bits per channel")
    with warnings.catch_warnings():
        # Pillow advises RGBA for palettes with transparency; here the alpha is dropped on purpose.
        warnings.simplefilter("ignore", UserWarning)
        return image.convert("RGB")


def _unreadable(path: str | Path, error: Exception) -> UserError:
    if isinstance(error, OSError) and error.errno is not None:
        return UserError(f"cannot read image {path}: {error.strerror}")
    unknown = isinstance(error, Image.UnidentifiedImageError)  # its text only repeats the path
    reason = "unknown format" if unknown else " ".join(str(error).split()) or type(error).__name__
    return UserError(f"cannot read image {path}: it is damaged or no image ({reason}); replace or remove it")
