"""Where a video cuts from one shot to the next, found while it streams past.

A cut changes the picture at once, everywhere, and for good:

- at once: the difference from the frame before is :data:`RATIO` times the median of those around it, which fast motion
  and fades do not reach, as they change all frames alike;
- everywhere: the mean difference of small copies of the two frames is at least :data:`LEVELS` of 255 grey levels, and
  at least :data:`COLOURS` of their pixels would have to change colour for the histograms to agree, which motion hardly
  asks for; or the difference is at least three times :data:`LEVELS`, as from one place to another of a scene;
- for good: none of the next :data:`REACH` frames is like the one before, and none of the frames before is like this
  one, by half of that difference; otherwise it was a flash, or a shot too short to matter.

Fades and dissolves are no cuts: nothing in them changes at once.
"""
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

import cv2
import numpy as np

REACH = 4  # frames looked at before and after
LEVELS = 10.0
COLOURS = 0.2
RATIO = 2.5

T = TypeVar("T")


class _Look(NamedTuple):
    """What is kept of a frame: a small copy (18, 32, 3), and the shares of its pixels in 64 ranges of colour."""

    small: np.ndarray
    colours: np.ndarray

    @classmethod
    def at(cls, image: np.ndarray) -> "_Look":
        small = cv2.resize(image, (64, 36), interpolation=cv2.INTER_AREA)
        ranges = (small >> 6).astype(np.int64) @ (16, 4, 1)
        return cls(cv2.resize(small, (32, 18), interpolation=cv2.INTER_AREA).astype(np.float32),
                   np.bincount(ranges.ravel(), minlength=64) / ranges.size)

    def difference(self, other: "_Look") -> float:
        return float(np.abs(self.small - other.small).mean())


def mark_cuts(items: Iterable[T], picture: Callable[[T], np.ndarray] = lambda item: item) -> Iterator[tuple[T, bool]]:
    """Yield each item, and whether a shot begins with it, as the first always does; :data:`REACH` items later.

    Args:
        picture: gives an item's frame, uint8 (H, W, 3), RGB.
    """
    items, coming = iter(items), deque()
    looks: deque[_Look] = deque(maxlen=2 * REACH + 2)  # of those that were yielded last, then of those that are coming
    past = -1
    while True:
        while len(coming) <= REACH and (item := next(items, items)) is not items:
            coming.append(item)
            looks.append(_Look.at(picture(item)))
        if not coming:
            return
        past = min(past + 1, len(looks) - len(coming))
        yield coming.popleft(), past == 0 or _is_cut(list(looks), past)


def _is_cut(looks: list[_Look], place: int) -> bool:
    before, now = looks[place - 1], looks[place]
    change = now.difference(before)
    colours = np.abs(now.colours - before.colours).sum() / 2
    if change < LEVELS or (colours < COLOURS and change < 3 * LEVELS):
        return False
    near = [i for i in range(max(1, place - 2), min(len(looks), place + 3)) if i != place]
    if near and change < RATIO * np.median([looks[i].difference(looks[i - 1]) for i in near]):
        return False
    returns = [before.difference(look) for look in looks[place + 1 : place + 1 + REACH]]
    returns += [now.difference(look) for look in looks[max(0, place - 1 - REACH) : place - 1]]
    return all(difference > change / 2 for difference in returns)
