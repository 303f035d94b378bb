"""Work in threads beside the caller's: in order, so much ahead and no more, and never left running.

Threads gain where the work leaves Python's lock: Pillow, zlib, FFmpeg, OpenCV, NumPy and PyTorch do.
"""
import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from timecyclegan.util.device import cores

T = TypeVar("T")
R = TypeVar("R")

_MOST = 8  # threads for one kind of work, unless more are asked for: each also holds what it works on


def usable_threads() -> int:
    """How many threads are of use: as many as there are processors for this process, up to a few."""
    return min(cores(), _MOST)


def concurrently(function: Callable[[T], R], items: Iterable[T], threads: int, ahead: int | None = None) -> Iterator[R]:
    """``function`` of each item, in order, by ``threads`` threads; by 0 it is :class:`map`.

    Items are taken in the caller's thread. Up to ``ahead`` results beside the one that is yielded are held or under
    way, however many items there are (twice as many as threads where None). To leave early, close it: it then waits
    for what is under way, and the rest is dropped.

    Raises:
        Exception: what ``function`` or ``items`` raise, when its turn comes: after the results before it.
    """
    if threads < 1:
        yield from map(function, items)
        return
    ahead = 2 * threads if ahead is None else ahead
    items, under_way, wrong, pool = iter(items), deque[Future[R]](), None, ThreadPoolExecutor(threads)
    try:
        while wrong is None:
            try:
                under_way.append(pool.submit(function, next(items)))
            except StopIteration:
                break
            except Exception as error:  # raised below
                wrong = error
            if len(under_way) > ahead:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
        if wrong is not None:
            raise wrong
    finally:
        pool.shutdown(cancel_futures=True)


def in_advance(items: Iterable[T], ahead: int) -> Iterator[T]:
    """The ``items``, which a thread takes up to ``ahead`` before they are asked for; closing it closes them, too."""
    source, end = iter(items), object()
    with contextlib.ExitStack() as exits:
        exits.callback(getattr(source, "close", lambda: None))
        taken = concurrently(lambda _: next(source, end), itertools.repeat(None), 1, ahead)
        for item in exits.enter_context(contextlib.closing(taken)):
            if item is end:
                return
            yield item
