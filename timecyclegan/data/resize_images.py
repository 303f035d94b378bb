"""Resize all images of FOLDER into OUT, where they have the same names.

Bicubic as in training, or --nearest, which invents no colours, for label maps. What is no image is left out. Images of
the right size stay as they are. Kinds of files and pixels are kept; JPEG and WebP lose a little, and colours of more
than 8 bits, which would, are refused. --range brings pictures of more than 8 bits to 8: training reads 16 bits as
0 to 65535, of which a camera's 12 bits are a sliver.
"""
import math
import sys
from pathlib import Path

from PIL import Image

from timecyclegan.data import folder_parser
from timecyclegan.datasets.folders import images_below, make_folder
from timecyclegan.datasets.pixels import pixels_of
from timecyclegan.datasets.prepared import picture_size
from timecyclegan.datasets.raw_images import encode_image, has_deep_colours, in_8_bits, open_image
from timecyclegan.util.errors import UserError, command, note
from timecyclegan.video.frames import image_size


@command
def main(arguments: list[str] | None = None) -> None:
    parser = folder_parser("resize_images", __doc__)
    parser.add_argument("--height", type=int, default=0, help="in pixels; left out: as --width and the image demand")
    parser.add_argument("--width", type=int, default=0, help="in pixels; left out: as --height and the image demand")
    parser.add_argument("--nearest", action="store_true", help="for label maps: makes no new colours")
    parser.add_argument("--range", type=float, nargs=2, metavar=("LOW", "HIGH"), help="bring pictures of more than 8 "
                        "bits to 8: what becomes black, and what white; the new size may then be left out")
    given = parser.parse_args(arguments)
    height, width = given.height, given.width
    if height < 0 or width < 0 or (height == width == 0 and not given.range):
        raise UserError(f"--height {height} --width {width}: expected the new size in pixels; one may be left out")
    if given.range and not -math.inf < given.range[0] < given.range[1] < math.inf:
        raise UserError(f"--range {given.range[0]:g} {given.range[1]:g}: expected what becomes black, then what "
                        "becomes white, which is more")

    def new_size(path: Path) -> tuple[int, int] | None:
        own = image_size(path)
        size = picture_size(own, height, width)
        return None if size == own else size

    def make(path: Path) -> bytes | None:
        if (size := new_size(path)) is None and not given.range:
            return None
        image = in_8_bits(path, *given.range) if given.range else open_image(path)
        if not given.nearest and image.mode in ("1", "P"):  # numbers of palette entries cannot be averaged
            image = image.convert("L" if image.mode == "1" else "RGBA" if "transparency" in image.info else "RGB")
        how = Image.Resampling.NEAREST if given.nearest else Image.Resampling.BICUBIC
        return encode_image(image.resize(size[::-1], how) if size else image, path.suffix)

    names = images_below(given.folder, given.out)
    paths = [given.folder / name for name in names if names[name]]
    if not given.nearest and pixels_of(given.folder, {"": [path for path in paths if new_size(path)]})[0] == "labels":
        note(f"the images of {given.folder} have few exact colours: for label maps say --nearest, the bicubic filter "
             "makes new colours between them")
    for path in paths:
        if not given.range and new_size(path) and has_deep_colours(path):
            raise UserError(f"{path} has colours of more than 8 bits, which would be lost; turn it into 8 bits, see "
                            "--range, or move it away")
    make_folder(given.folder, given.out, names, make, given.copy, given.dry_run)


if __name__ == "__main__":
    sys.exit(main())
