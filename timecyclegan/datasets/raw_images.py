"""Image files in their own kind of pixels (gray, palette, alpha, 16 bits), for tools that make image files of them."""
import io
from pathlib import Path

from PIL import Image, ImageOps

from timecyclegan.util.errors import UserError

LOSSY = (".jpg", ".jpeg", ".webp")
_BITS_PER_SAMPLE = 258  # TIFF's tag


def open_image(path: Path) -> Image.Image:
    """Read an image as it is, in its own mode, but upright.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image)
    except Exception as error:  # a damaged file can make a decoder raise anything
        raise UserError(f"cannot read image {path}: {' '.join(str(error).split())}; replace or remove it") from error


def encode_image(image: Image.Image, suffix: str) -> bytes:
    """An image as a file's content, in the form that the suffix names, with as little loss as that allows."""
    file = io.BytesIO()
    form = Image.registered_extensions()[suffix.lower()]
    image.save(file, form, **({"quality": 95} if suffix.lower() in LOSSY else {}))
    return file.getvalue()


def has_deep_colours(path: Path) -> bool:
    """Whether a PNG or TIFF has more than 8 bits for each of several channels: Pillow opens those with 8, silently."""
    with Image.open(path) as image:
        if image.format == "TIFF":
            bits = image.tag_v2.get(_BITS_PER_SAMPLE, (1,))
            return len(bits) > 1 and max(bits) > 8
    with open(path, "rb") as file:
        head = file.read(26)  # of a PNG: signature, length and name of IHDR, width, height, bits, kind of colours
    return head[:4] == b"\x89PNG" and head[24] == 16 and head[25] != 0
