"""Turn label maps from one form into another: ids (gray) into colours and back, CARLA's labels into Cityscapes'.

Maps are PNG, BMP or the like, one per frame, as Cityscapes' *_labelIds.png; ids may also lie in the red channel, as in
CARLA's raw semantic images. Things that CARLA and Cityscapes name differently are matched: lane markings are road,
pedestrians persons; "other" and water are unlabeled. In train ids, what is not evaluated is 255. Of Cityscapes' labels
with one colour (the black ones; pole and polegroup) colours give the first. What is no image is left out.
"""
import sys
from pathlib import Path

from PIL import Image

from timecyclegan.data import folder_parser
from timecyclegan.datasets.folders import images_below, make_folder
from timecyclegan.datasets.labels import FORMS, NEWEST_CARLA, Translation
from timecyclegan.datasets.raw_images import LOSSY, encode_image
from timecyclegan.util.errors import UserError, command


@command
def main(arguments: list[str] | None = None) -> None:
    parser = folder_parser("colormaps", __doc__, copy=False)
    parser.add_argument("--from", dest="origin", choices=FORMS, required=True, help="what the maps are")
    parser.add_argument("--to", dest="goal", choices=FORMS, required=True, help="what they become")
    parser.add_argument("--carla_version", default=NEWEST_CARLA, help=f"label sets differ (default: {NEWEST_CARLA})")
    given = parser.parse_args(arguments)
    translation = Translation(given.origin, given.goal, given.carla_version)
    names = images_below(given.folder, given.out)
    for name in names:
        if Path(name).suffix.lower() in LOSSY:
            raise UserError(f"{given.folder / name}: this kind of file loses colours; label maps must be PNG or the "
                            "like")
    make_folder(given.folder, given.out, names, dry_run=given.dry_run,
                make=lambda path: encode_image(Image.fromarray(translation(path)), path.suffix))


if __name__ == "__main__":
    sys.exit(main())
