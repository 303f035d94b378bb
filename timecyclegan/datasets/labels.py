"""Tables of semantic classes, Cityscapes' and CARLA's, and the ways between ids, colours and label sets.

Sources: Cityscapes, cityscapesscripts/helpers/labels.py (Cordts et al. 2016); CARLA, the reference of its semantic
segmentation camera, whose colours were compared with the palettes in the packages 0.9.5, 0.9.12 to 0.9.16.
"""
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from timecyclegan.datasets.raw_images import open_image
from timecyclegan.util.errors import UserError

Colour = tuple[int, int, int]


class Label(NamedTuple):
    """A class: its id in a gray label map, its name, its colour (RGB, 0-255)."""
    id: int
    name: str
    colour: Colour


CITYSCAPES = tuple(Label(i, *row) for i, row in enumerate({
    "unlabeled": (0, 0, 0), "ego vehicle": (0, 0, 0), "rectification border": (0, 0, 0), "out of roi": (0, 0, 0),
    "static": (0, 0, 0), "dynamic": (111, 74, 0), "ground": (81, 0, 81), "road": (128, 64, 128),
    "sidewalk": (244, 35, 232), "parking": (250, 170, 160), "rail track": (230, 150, 140), "building": (70, 70, 70),
    "wall": (102, 102, 156), "fence": (190, 153, 153), "guard rail": (180, 165, 180), "bridge": (150, 100, 100),
    "tunnel": (150, 120, 90), "pole": (153, 153, 153), "polegroup": (153, 153, 153), "traffic light": (250, 170, 30),
    "traffic sign": (220, 220, 0), "vegetation": (107, 142, 35), "terrain": (152, 251, 152), "sky": (70, 130, 180),
    "person": (220, 20, 60), "rider": (255, 0, 0), "car": (0, 0, 142), "truck": (0, 0, 70), "bus": (0, 60, 100),
    "caravan": (0, 0, 90), "trailer": (0, 0, 110), "train": (0, 80, 100), "motorcycle": (0, 0, 230),
    "bicycle": (119, 11, 32)}.items()))
"""The labels of ``*_labelIds.png``. Colours that several share, black above all, come back as the first of them."""

_BY_NAME = {label.name: label for label in CITYSCAPES}
_EVALUATED = ("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation",
              "terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")
CITYSCAPES_TRAIN = (*(Label(i, name, _BY_NAME[name].colour) for i, name in enumerate(_EVALUATED)),
                    Label(255, "unlabeled", (0, 0, 0)))
"""The labels of ``*_labelTrainIds.png``, which networks are trained to tell apart; 255 is none of them."""


def _carla(names: Sequence[str], **own: Colour) -> tuple[Label, ...]:
    """Ids count the names; what Cityscapes has, too, has its colour, unless a generation has its ``own``."""
    colours = {name: label.colour for name, label in _BY_NAME.items()} | {
        "pedestrian": _BY_NAME["person"].colour, "vehicle": _BY_NAME["car"].colour, "road line": (157, 234, 50),
        "other": (55, 90, 80), "static": (110, 190, 160), "dynamic": (170, 120, 50), "water": (45, 60, 150)} | own
    return tuple(Label(i, name, colours[name]) for i, name in enumerate(names))


_OLDEST = ("unlabeled", "building", "fence", "other", "pedestrian", "pole", "road line", "road", "sidewalk",
           "vegetation", "vehicle", "wall", "traffic sign")
CARLA = {
    "0.9.5": _carla(_OLDEST, other=(250, 170, 160)),
    "0.9.10": _carla((*_OLDEST, "sky", "ground", "bridge", "rail track", "guard rail", "traffic light", "static",
                      "dynamic", "water", "terrain"), fence=(100, 40, 40), terrain=(145, 170, 100)),
    "0.9.14": _carla(("unlabeled", *("pedestrian" if name == "person" else name for name in _EVALUATED), "static",
                      "dynamic", "other", "water", "road line", "ground", "bridge", "rail track", "guard rail")),
}
"""The labels of each generation, by the version with which it begins."""

# CARLA's names for what Cityscapes names otherwise or not at all; all others are the same in both.
_IN_CITYSCAPES = {"pedestrian": "person", "vehicle": "car", "road line": "road", "other": "unlabeled",
                  "water": "unlabeled"}


def carla_labels(version: str) -> tuple[Label, ...]:
    """The labels of a CARLA version such as "0.9.13" or "0.9.15-dirty", as a server or package tells it.

    Raises:
        UserError: it is no version, or older than 0.9.5.
    """
    number = re.match(r"(\d+)\.(\d+)\.?(\d*)", version)
    if not number or (number := tuple(int(part or 0) for part in number.groups())) < (0, 9, 5):
        raise UserError(f"CARLA version {version!r} is not known; expected 0.9.5 or newer")
    return CARLA["0.9.14" if number >= (0, 9, 14) else "0.9.10" if number >= (0, 9, 10) else "0.9.5"]


def in_cityscapes(labels: Sequence[Label]) -> tuple[Label, ...]:
    """CARLA's labels, ids kept, with the name and colour that Cityscapes has for the same thing.

    Lane markings are road; "other" and water are unlabeled. Before 0.9.10 CARLA has no sky: it is unlabeled too.
    """
    return tuple(_BY_NAME[_IN_CITYSCAPES.get(label.name, label.name)]._replace(id=label.id) for label in labels)


def ids_to_colours(ids: np.ndarray, labels: Sequence[Label], name: str | Path = "the label map") -> np.ndarray:
    """uint8 ids (..., H, W) -> uint8 RGB (..., H, W, 3).

    Raises:
        UserError: an id that no label has; ``name`` tells where.
    """
    known, palette = np.zeros(256, bool), np.zeros((256, 3), np.uint8)
    for label in labels:
        known[label.id], palette[label.id] = True, label.colour
    if not known[ids].all():
        wrong = ", ".join(map(str, np.unique(ids[~known[ids]])[:5]))
        runs = np.split(np.flatnonzero(known), np.flatnonzero(np.diff(np.flatnonzero(known)) > 1) + 1)
        ranges = ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
        raise UserError(f"{name} holds ids that are no labels: {wrong}; known are {ranges}; is it of another set?")
    return palette[ids]


def colours_to_ids(colours: np.ndarray, labels: Sequence[Label], name: str | Path = "the label map") -> np.ndarray:
    """uint8 RGB (..., H, W, 3) -> uint8 ids (..., H, W); of labels of one colour, the first.

    Raises:
        UserError: a colour that no label has; ``name`` tells where.
    """
    codes = colours.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])  # a colour as one number
    found, place = np.unique(codes, return_inverse=True)
    first = {red << 16 | green << 8 | blue: label.id for label in reversed(labels)
             for red, green, blue in [label.colour]}
    if unknown := [code for code in found.tolist() if code not in first]:
        shown = ", ".join(str((code >> 16, code >> 8 & 255, code & 255)) for code in unknown[:3])
        raise UserError(f"{name} holds {len(unknown)} colour{'s' * (len(unknown) > 1)} of no label: {shown} in "
                        f"{np.isin(codes, unknown).sum()} pixels; is it of another label set, or resized or compressed "
                        "with loss?")
    return np.array([first[code] for code in found.tolist()], np.uint8)[place].reshape(codes.shape)


NEWEST_CARLA = "0.9.16"
FORMS = ("cityscapes_ids", "cityscapes_train_ids", "cityscapes_colours", "carla_ids", "carla_colours")


class Translation:
    """From one of the FORMS to another.

    Attributes:
        table: the labels of the origin, with the colours of the goal or, as gray, its ids.

    Raises:
        UserError: from Cityscapes to CARLA, or a CARLA version that is not known.
    """

    def __init__(self, origin: str, goal: str, carla_version: str = NEWEST_CARLA):
        if goal.startswith("carla") and not origin.startswith("carla"):
            raise UserError(f"--to {goal}: there is no way from Cityscapes' labels to CARLA's")
        self.from_colours, self.to_colours = origin.endswith("colours"), goal.endswith("colours")
        self.labels, goals = (
            CITYSCAPES_TRAIN if "train" in form else CITYSCAPES if form.startswith("cityscapes") else
            carla_labels(carla_version) for form in (origin, goal))
        across = origin.startswith("carla") and not goal.startswith("carla")
        named = {label.name: label for label in goals}
        self.table = []
        for old, twin in zip(self.labels, in_cityscapes(self.labels) if across else self.labels, strict=True):
            new = named.get(twin.name, named["unlabeled"])
            self.table.append(Label(old.id, new.name, new.colour if self.to_colours else (new.id,) * 3))

    def __call__(self, path: Path) -> np.ndarray:
        """Read a label map and translate it: uint8 ids (H, W) or colours (H, W, 3); a UserError if it is none."""
        from timecyclegan.video.frames import read_image  # with torch, which takes a second: a street needs none

        ids = colours_to_ids(read_image(path), self.labels, path) if self.from_colours else read_ids(path)
        result = ids_to_colours(ids, self.table, path)
        return result if self.to_colours else result[..., 0]


def read_ids(path: Path) -> np.ndarray:
    """A label map as uint8 ids (H, W): gray, palette entries, or the red channel where green and blue are 0.

    A UserError if the file cannot be read, or holds colours.
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
