"""Resize all images below FOLDER, in place or into OUT, where they have the same names.

Bicubic as in training, or --nearest, which invents no colours, for label maps. What is no image stays where it is.
Images of the right size are not touched (copied, for OUT). Kinds of files and pixels are kept; JPEG and WebP lose a
little, and colours of more than 8 bits, which would, are refused. A command that was killed goes on when it is run
again; in place, all is resized before the first is replaced.
"""
import sys
from pathlib import Path

from PIL import Image, ImageOps

from timecyclegan.data.moving import carry_out
from timecyclegan.data.planning import COPY, Job, Step, files_below, folder_arguments
from timecyclegan.util.errors import UserError, command
from timecyclegan.video.frames import IMAGE_SUFFIXES, image_size

LOSSY = (".jpg", ".jpeg", ".webp")
_BITS_PER_SAMPLE = 258  # TIFF's tag


def resize_images(folder: Path, out: Path | None = None, height: int = 0, width: int = 0, nearest: bool = False,
                  dry_run: bool = False) -> None:
    """Do what the command does.

    Args:
        folder, out: ``out`` is ``folder`` if it is None.
        height, width: in pixels; one may be 0: it follows from the other and the image's own size.
        nearest: no new colours.

    Raises:
        UserError: see :func:`files_below` and :func:`carry_out`; no image, one that cannot be read or has colours of
            more than 8 bits, no size.
    """
    if height < 0 or width < 0 or height == width == 0:
        raise UserError(f"--height {height} --width {width}: expected the new size in pixels; one may be left out")

    def size(path: Path) -> tuple[int, int]:
        own_height, own_width = image_size(path)
        return (height or max(1, round(own_height * width / own_width)),
                width or max(1, round(own_width * height / own_height)))

    def plan() -> list[Step]:
        names = images_below(folder)
        right = {name for name in names if image_size(folder / name) == size(folder / name)}
        for name in names:
            if name not in right and deep_colours(folder / name):
                raise UserError(f"{folder / name} has colours of more than 8 bits, which would be lost; turn it into 8 "
                                "bits, or move it away")
        return [Step(name, name, COPY if name in right else "resize") for name in names]

    def make(old: Path, new: Path) -> None:
        how = Image.Resampling.NEAREST if nearest else Image.Resampling.BICUBIC
        save(_mixable(open_image(old), nearest).resize(size(old)[::-1], how), new)

    facts = {"height": height, "width": width, "nearest": nearest}
    carry_out(Job("resize_images", folder, out or folder, facts, {"resize": make}), plan, dry_run)


def images_below(folder: Path) -> list[str]:
    """The images among :func:`files_below`.

    Raises:
        UserError: there is none.
    """
    names = [name for name in files_below(folder) if Path(name).suffix.lower() in IMAGE_SUFFIXES]
    if not names:
        raise UserError(f"folder {folder} holds no images")
    return names


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


def deep_colours(path: Path) -> bool:
    """Whether a PNG or TIFF has more than 8 bits for each of several channels: Pillow opens those with 8, silently."""
    with Image.open(path) as image:
        if image.format == "TIFF":
            bits = image.tag_v2.get(_BITS_PER_SAMPLE, (1,))
            return len(bits) > 1 and max(bits) > 8
    with open(path, "rb") as file:
        head = file.read(26)  # of a PNG: signature, length and name of IHDR, width, height, bits, kind of colours
    return head[:4] == b"\x89PNG" and head[24] == 16 and head[25] != 0


def save(image: Image.Image, path: Path) -> None:
    """Write an image in the form that its suffix names, with as little loss as that allows."""
    image.save(path, **({"quality": 95} if path.suffix.lower() in LOSSY else {}))


def _mixable(image: Image.Image, nearest: bool) -> Image.Image:
    """Numbers of palette entries cannot be averaged."""
    if nearest or image.mode not in ("1", "P"):
        return image
    return image.convert("L" if image.mode == "1" else "RGBA" if "transparency" in image.info else "RGB")


@command
def main(arguments: list[str] | None = None) -> None:
    parser = folder_arguments("resize_images", __doc__, copy=False)
    parser.add_argument("--height", type=int, default=0, help="in pixels; left out: as --width and the image demand")
    parser.add_argument("--width", type=int, default=0, help="in pixels; left out: as --height and the image demand")
    parser.add_argument("--nearest", action="store_true", help="for label maps: makes no new colours")
    resize_images(**vars(parser.parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main())
