"""When frames are shown, and how many in a second, by their own times; what a file declares is a hint."""
import bisect
from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import pairwise
from statistics import median

import numpy as np

_REACH = 4  # frames that may be short of time before it is looked for elsewhere


def ascending(stamps: Sequence[int | Fraction | None], step: Fraction) -> tuple[list[Fraction], int]:
    """Times that ascend strictly, one for each of ``stamps``, which are in the order in which frames are shown.

    The longest series of stamps that ascends is taken at its word. Frames without a stamp, with one that another frame
    has, or with one that goes back, are put evenly between their neighbours. If that leaves too little time, as
    where recordings were put behind each other, each part goes on where the one before it ends.

    Args:
        step: from one frame to the next where the stamps do not tell.

    Returns:
        the times, in the stamps' unit, and how many of them are not the stamps.
    """
    kept = _longest_ascent(stamps)
    if not kept:
        return [place * step for place in range(len(stamps))], len(stamps)
    slopes = [Fraction(stamps[b] - stamps[a], b - a) for a, b in pairwise(kept)]
    declared, step = step, median(slopes) if slopes else step
    known = [place for place, stamp in enumerate(stamps) if stamp is not None]
    squeezed = sum(b - a - 1 for (a, b), slope in zip(pairwise(kept), slopes, strict=True) if 2 * slope < step)
    if squeezed > _REACH and len(kept) < len(known):
        moved, spliced = Fraction(0), list(stamps)
        for before, place in pairwise(known):
            if stamps[place] + moved <= spliced[before]:
                moved = spliced[before] + (place - before) * step - stamps[place]
            spliced[place] = stamps[place] + moved
        changed = sum(time != stamp for time, stamp in zip(spliced, stamps, strict=True))
        times, filled = ascending(spliced, step)
        return times, changed + filled
    if len(kept) <= 2 < len(stamps) / len(kept):  # they tell nothing
        return [place * declared for place in range(len(stamps))], len(stamps)
    times = [stamps[kept[0]] - (kept[0] - place) * step for place in range(kept[0])]
    for (a, b), slope in zip(pairwise(kept), slopes, strict=True):
        times += [stamps[a] + (place - a) * slope for place in range(a, b)]
    times += [stamps[kept[-1]] + (place - kept[-1]) * step for place in range(kept[-1], len(stamps))]
    return [Fraction(time) for time in times], len(stamps) - len(kept)


def _longest_ascent(stamps: Sequence[int | Fraction | None]) -> list[int]:
    """The places of the longest series of stamps in which each is greater than the one before it."""
    ends: list[int] = []  # of the series of 1, 2, ... stamps, the place of the lowest last one
    values: list[int | Fraction] = []  # the stamps there
    before: dict[int, int | None] = {}
    for place, stamp in enumerate(stamps):
        length = len(values) if stamp is None else bisect.bisect_left(values, stamp)
        if stamp is not None and values[length:length + 1] != [stamp]:  # of two that are equal the first counts
            before[place] = ends[length - 1] if length else None
            ends[length:length + 1], values[length:length + 1] = [place], [stamp]
    series: list[int] = []
    place = ends[-1] if ends else None
    while place is not None:
        series.append(place)
        place = before[place]
    return series[::-1]


def average_rate(times: Sequence[Fraction], lengths: Sequence[Fraction], hints: Iterable[Fraction | None],
                 tick: Fraction) -> Fraction:
    """Frames per second: the number of frames by the time from the first one to the end of the last one.

    Files round times to ``tick``. A rate that is declared, or one of the usual ones, is taken for exact where it leads
    to all the times but for that rounding; of several the one that comes nearest.

    Args:
        times: when each frame is shown, ascending from 0, in seconds.
        lengths: how long each one is shown, as the file says; believed of the last frame if it is true of most others.
        hints: the rates that are declared; None and 0 are ignored.
        tick: the unit of the times, in seconds.
    """
    shown = np.array(times, float)
    steps = np.diff(shown)
    true = np.count_nonzero(abs(np.array(lengths[:-1], float) - steps) <= 1.001 * float(tick))
    last = lengths[-1]
    if not last or 2 * true < len(steps):
        usual = int(np.argsort(steps)[len(steps) // 2]) if len(steps) else 0
        last = times[usual + 1] - times[usual] if len(steps) else Fraction(0)
    declared = [Fraction(hint) for hint in hints if hint and hint > 0]
    if not last:
        return declared[0] if declared else Fraction(25)
    average = len(times) / (times[-1] + last)
    common = [Fraction(round(average)), Fraction(1000 * round(average * 1001 / 1000), 1001)]
    off = {rate: abs(shown - np.arange(len(times)) / float(rate)).max() for rate in [*declared, *common] if rate}
    best = min(off, key=off.get, default=average)
    return best if len(steps) and off.get(best, 0.0) <= 1.001 * float(tick) else average


def bounded(rate: Fraction, most: int) -> Fraction:
    """The nearest rate above 0 whose numerator and denominator are at most ``most``."""
    if rate >= most:
        return Fraction(most)
    if rate <= Fraction(1, most):
        return Fraction(1, most)
    if rate < 1:
        return 1 / bounded(1 / rate, most)
    return rate.limit_denominator(int(most / rate))
