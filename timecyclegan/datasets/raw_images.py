"""Image files in their own kind of pixels (gray, palette, alpha, 16 bits), for tools that make image files of them."""
import io
from pathlib import Path

from PIL import Image, ImageOps

from timecyclegan.util.errors import failed

LOSSY = (".jpg", ".jpeg", ".webp")


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


def has_deep_colours(path: Path) -> bool:
    """Whether an image has 16 bits for each of several channels: Pillow opens those with 8, silently."""
    with Image.open(path) as image:
        # What is read: a mode's own name, or for example "RGB;16B".
        return bool(image.tile) and not image.mode.startswith("I") and ";16" in str(image.tile[0][3])
