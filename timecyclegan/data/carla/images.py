"""What CARLA's cameras send, as arrays; flow with what it does not say: which pixels were seen before."""
import itertools
from typing import Any

import cv2
import numpy as np

SAMPLED = 4  # every fourth row and column of a frame tells how well a flow fits
# What the same numbers might mean: a flow (x, y) as it is, then with other signs, half, twice.
READINGS = tuple((size * x, size * y) for size in (1, 0.5, 2) for x in (1, -1) for y in (1, -1))


def bgra(image: Any) -> np.ndarray:
    """``carla.Image`` -> uint8 (H, W, 4). Of the semantic camera's, red is the id of the class."""
    return np.frombuffer(image.raw_data, np.uint8).reshape(image.height, image.width, 4)


def flow_back(image: Any, scale: tuple[float, ...]) -> np.ndarray:
    """``carla.OpticalFlowImage`` -> float32 (H, W, 2), flow in pixels from this frame back to the one before it.

    The camera shows the velocity buffer of Unreal Engine 4: how far a pixel came since the last frame, in
    coordinates that go from -1 to 1 over the picture, upwards in y (so a picture's width is 2, which is CARLA's
    range [-2, 2]). Back, downwards in y and in pixels, that is (-W / 2, H / 2) times as much: a ``scale`` of (-0.5,
    0.5). This follows from the engine's conventions and was not tried against a server; :func:`reading_errors` tries
    it against each run's frames.
    """
    motion = np.frombuffer(image.raw_data, np.float32).reshape(image.height, image.width, 2)
    return motion * np.array([scale[0] * image.width, scale[1] * image.height], np.float32)


def visible(flow: np.ndarray, before: np.ndarray, now: np.ndarray) -> np.ndarray:
    """Which pixels of a frame the frame before shows, too, as far as the classes tell: bool (H, W).

    Where the flow (H, W, 2) leads must lie inside the frame, and all pixels that bilinear sampling mixes there must be
    of the pixel's own class in the semantic maps (H, W, 3) of both frames. So what appears from behind another class
    does not count, nor do the edges of classes; what appears from behind its own (a car behind a car) does, wrongly.
    """
    height, width = now.shape[:2]
    # To 1/64 pixel: the rounding errors of an exact flow must not draw in a neighbour.
    x, y = (np.round(place * 64) / 64 for place in (np.arange(width) + flow[..., 0],
                                                    np.arange(height)[:, None] + flow[..., 1]))
    seen = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)  # False for what is no number
    columns, rows = ([end(np.where(seen, place, 0)).astype(np.intp) for end in (np.floor, np.ceil)] for place in (x, y))
    for row, column in itertools.product(rows, columns):
        seen &= (before[row, column] == now).all(axis=-1)
    return seen


def reading_errors(flow: np.ndarray, before: np.ndarray, now: np.ndarray) -> np.ndarray:
    """How far a picture (H, W, 3) is from the one before, where the flow (H, W, 2) points in each of the READINGS.

    Mean differences in grey levels over the pixels that all readings find in the picture; 0 if there are none.
    """
    height, width = now.shape[:2]
    x, y = np.meshgrid(np.arange(0, width, SAMPLED), np.arange(0, height, SAMPLED))
    motion = flow[::SAMPLED, ::SAMPLED]
    places = [((x + across * motion[..., 0]).astype(np.float32), (y + down * motion[..., 1]).astype(np.float32))
              for across, down in READINGS]
    inside = np.all([(x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1) for x, y in places], axis=0)
    if not inside.any():
        return np.zeros(len(READINGS))
    shown = now[::SAMPLED, ::SAMPLED].astype(np.float32)[inside]
    return np.array([np.abs(cv2.remap(before, *place, cv2.INTER_LINEAR)[inside] - shown).mean() for place in places])
