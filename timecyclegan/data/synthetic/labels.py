"""Semantic maps of the synthetic street in Cityscapes colours, clean or with a segmentation network's errors."""
from statistics import NormalDist

import numpy as np

from timecyclegan.data.synthetic.textures import upsampling
from timecyclegan.datasets.labels import CITYSCAPES_TRAIN

CITYSCAPES_COLOURS = {label.name: label.colour for label in CITYSCAPES_TRAIN if label.name != "unlabeled"}
CLASSES = list(CITYSCAPES_COLOURS)
PALETTE = np.array(list(CITYSCAPES_COLOURS.values()), np.uint8)
_MISTAKEN_FOR = {
    "road": ("sidewalk", "terrain"), "sidewalk": ("road", "terrain"), "building": ("wall", "vegetation"),
    "wall": ("building", "fence"), "fence": ("wall", "building"), "pole": ("building", "traffic sign"),
    "traffic light": ("traffic sign", "pole"), "traffic sign": ("traffic light", "building"),
    "vegetation": ("terrain", "building"), "sky": ("building", "vegetation"), "person": ("rider", "building"),
    "car": ("truck", "bus")}
# (2, classes): the two classes that each class of the street is mistaken for.
_MISTAKES = np.array([[CLASSES.index(_MISTAKEN_FOR.get(name, (name, name))[way]) for name in CLASSES]
                      for way in range(2)])
THIN = ("pole", "traffic light", "traffic sign", "person")  # classes whose objects a network loses altogether
# At strength 1: share of the picture in blobs, how far borders stray as a share of the width (standard deviation), and
# the chance that a thin object is missed in a frame.
_BLOBS_AT_ONE, _RAGGED_AT_ONE, _LOSS_AT_ONE = 0.05, 0.01, 0.45


def noisy_classes(number: np.ndarray, surface: np.ndarray, behind: np.ndarray, strength: float,
                  rng: np.random.Generator) -> np.ndarray:
    """(H, W) class numbers with errors: lost thin objects, blobs of wrong classes, ragged borders.

    Args:
        number: (surfaces,) class number of every surface.
        surface, behind: (H, W) the surface seen, and the one seen if no object were there.
        strength: 0 = clean, 1 = about as wrong as a real network. More of it adds to the same errors.
    """
    height, width = surface.shape
    chance = rng.random(len(number))
    lost = (chance < _LOSS_AT_ONE * strength) & np.isin(number, [CLASSES.index(name) for name in THIN])
    classes = number[np.where(lost[surface], behind, surface)]

    blobs = _noise(rng, (6, 9), height, width) + 0.4 * _noise(rng, (18, 27), height, width)
    kind = (_noise(rng, (4, 6), height, width) > 0).astype(np.int64)
    # The share of normal noise above the threshold is about _BLOBS_AT_ONE * strength.
    threshold = NormalDist().inv_cdf(1 - min(0.5, _BLOBS_AT_ONE * strength)) if strength else np.inf
    classes = np.where(blobs / blobs.std() > threshold, _MISTAKES[kind, classes], classes)

    reach = _RAGGED_AT_ONE * strength * width
    row, column = (np.rint(np.arange(size).reshape(shape) + reach * _noise(rng, (32, 64), height, width))
                   .astype(np.int64).clip(0, size - 1) for size, shape in ((height, (-1, 1)), (width, (1, -1))))
    return classes[row, column]


def _noise(rng: np.random.Generator, cells: tuple[int, int], height: int, width: int) -> np.ndarray:
    grid = rng.standard_normal(cells, dtype=np.float32)
    return upsampling(cells[0], height, False) @ grid @ upsampling(cells[1], width, False).T
