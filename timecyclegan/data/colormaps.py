"""Turn label maps from one form into another: ids (gray) into colours and back, CARLA's labels into Cityscapes'.

Maps are PNG, BMP or the like, one per frame, as Cityscapes' *_labelIds.png; ids may also lie in the red channel, as in
CARLA's raw semantic images. Things that CARLA and Cityscapes name differently are matched: lane markings are road,
pedestrians persons; "other" and water are unlabeled. In train ids, what is not evaluated is 255. Of Cityscapes' labels
with one colour (the black ones; pole and polegroup) colours give the first. A command that was killed goes on when it
is run again; in place, all maps are turned before the first is replaced.
"""
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from timecyclegan.data.moving import carry_out
from timecyclegan.data.planning import Job, Step, folder_arguments
from timecyclegan.data.resize_images import LOSSY, images_below, open_image
from timecyclegan.datasets.labels import (
    CITYSCAPES,
    CITYSCAPES_TRAIN,
    Label,
    carla_labels,
    colours_to_ids,
    ids_to_colours,
    in_cityscapes,
)
from timecyclegan.util.errors import UserError, command
from timecyclegan.video.frames import read_image

NEWEST_CARLA = "0.9.16"
FORMS = ("cityscapes_ids", "cityscapes_train_ids", "cityscapes_colours", "carla_ids", "carla_colours")


class Translation:
    """From one of the FORMS to another.

    Raises:
        UserError: from Cityscapes to CARLA, or a CARLA version that is not known.
    """

    def __init__(self, origin: str, goal: str, carla_version: str = NEWEST_CARLA):
        if goal.startswith("carla") and not origin.startswith("carla"):
            raise UserError(f"--to {goal}: there is no way from Cityscapes' labels to CARLA's")
        self.origin, self.goal = origin, goal
        self.labels = _labels(origin, carla_version)
        across = origin.startswith("carla") and not goal.startswith("carla")
        goals = {label.name: label for label in _labels(goal, carla_version)}
        self.table = []  # the labels of the origin, with the colours of the goal or, as gray, its ids
        for old, named in zip(self.labels, in_cityscapes(self.labels) if across else self.labels, strict=True):
            new = goals.get(named.name, goals["unlabeled"])
            self.table.append(Label(old.id, new.name, new.colour if goal.endswith("colours") else (new.id,) * 3))

    def __call__(self, path: Path) -> np.ndarray:
        """Read a label map and translate it: uint8 ids (H, W) or colours (H, W, 3).

        Raises:
            UserError: it cannot be read, or holds what is no label.
        """
        colours = self.origin.endswith("colours")
        ids = colours_to_ids(read_image(path), self.labels, path) if colours else read_ids(path)
        result = ids_to_colours(ids, self.table, path)
        return result if self.goal.endswith("colours") else result[..., 0]


def _labels(form: str, carla_version: str) -> tuple[Label, ...]:
    if form.startswith("carla"):
        return carla_labels(carla_version)
    return CITYSCAPES_TRAIN if form == "cityscapes_train_ids" else CITYSCAPES


def read_ids(path: Path) -> np.ndarray:
    """A gray label map as uint8 ids (H, W): gray, palette entries, or the red channel where green and blue are 0.

    Raises:
        UserError: the file cannot be read, or holds colours.
    """
    image = open_image(path)
    channels = np.asarray(image.convert("RGB") if image.mode in ("RGBA", "LA") else image)
    if channels.ndim == 3:
        red, others = channels[..., :1], channels[..., 1:]
        if not others.any() or (others == red).all():
            return red[..., 0]
    elif channels.dtype != bool and channels.min() >= 0 and channels.max() < 256:
        return channels.astype(np.uint8)
    raise UserError(f"{path} holds no ids (Pillow's mode {image.mode}); is it a map of colours?")


def colormaps(folder: Path, out: Path | None, origin: str, goal: str, carla_version: str = NEWEST_CARLA,
              dry_run: bool = False) -> None:
    """Do what the command does; ``out`` is ``folder`` if it is None. For the forms see FORMS.

    Raises:
        UserError: see :class:`Translation`, :func:`images_below` and :func:`carry_out`; maps in a form with losses.
    """
    translation = Translation(origin, goal, carla_version)

    def plan() -> list[Step]:
        names = images_below(folder)
        for name in names:
            if Path(name).suffix.lower() in LOSSY:
                raise UserError(f"{folder / name}: this kind of file loses colours; label maps must be PNG or the like")
        return [Step(name, name, "turn") for name in names]

    def make(old: Path, new: Path) -> None:
        Image.fromarray(translation(old)).save(new)

    facts = {"from": origin, "to": goal, "carla_version": carla_version}
    carry_out(Job("colormaps", folder, out or folder, facts, {"turn": make}), plan, dry_run)


@command
def main(arguments: list[str] | None = None) -> None:
    parser = folder_arguments("colormaps", __doc__, copy=False)
    parser.add_argument("--from", dest="origin", choices=FORMS, required=True, help="what the maps are")
    parser.add_argument("--to", dest="goal", choices=FORMS, required=True, help="what they become")
    parser.add_argument("--carla_version", default=NEWEST_CARLA, help=f"label sets differ (default: {NEWEST_CARLA})")
    colormaps(**vars(parser.parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main())
