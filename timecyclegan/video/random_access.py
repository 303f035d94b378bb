"""Single frames of video files, in any order: by an index of key frames, with decoders that go on where they are."""
import bisect
import functools
import math
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from timecyclegan.util.names import expanded
from timecyclegan.video.reader import VideoFile, no_frames, to_rgb, unreadable

RECENT = 8  # decoded frames that a decoder keeps, for threads that ask a little out of order
OPEN = 16  # decoders that a process keeps open: more than videos are read side by side


@dataclass(frozen=True, slots=True)
class VideoFrame:
    """A frame of a video file: stands where the path of an image file does. Frames count from 0, as they are shown."""

    video: Path
    index: int

    @property
    def stem(self) -> str:
        return f"{self.index:05}"

    name = stem  # there is no suffix

    @property
    def parent(self) -> Path:
        """What holds the frame: the video file."""
        return self.video

    def __str__(self) -> str:
        return f"{self.video} frame {self.index}"

    def resolve(self) -> "VideoFrame":
        return VideoFrame(self.video.resolve(), self.index)

    def stat(self) -> os.stat_result:
        """Of the video file."""
        return self.video.stat()

    def read(self) -> np.ndarray:
        """uint8 (H, W, 3), RGB, upright.

        Raises:
            UserError: the file is missing, no video, or damaged here.
        """
        return to_rgb(_decoders[-1](self.video, *_version(self.video)).picture(self.index))


def video_frames(path: Path) -> list[VideoFrame]:
    """All frames of a video file, which is read once but not decoded.

    Raises:
        UserError: it is missing, damaged, cut off, no video, or has no frames.
    """
    path = expanded(path)
    return [VideoFrame(path, place) for place in range(len(_index(path, *_version(path)).times))]


def video_times(path: Path) -> list[Fraction]:
    """When each frame of a video file is shown, in seconds after the first; raises as :func:`video_frames`."""
    path = expanded(path)
    index = _index(path, *_version(path))
    with VideoFile(path) as video:
        return [(time - index.times[0]) * (video.tick if index.timed else 1 / video.rate) for time in index.times]


def _version(path: Path) -> tuple[int, int]:
    """What changes when the file does."""
    try:
        facts = path.stat()
    except OSError as error:
        raise unreadable(path, error) from error
    return facts.st_mtime_ns, facts.st_size


class _Index(NamedTuple):
    """Where the frames of a video are."""

    times: list[int]  # of presentation, in the stream's unit, ascending; the frames' numbers where not ``timed``
    keys: list[tuple[int, int]]  # the times of key frames, of presentation and of decoding; none where not ``timed``
    timed: bool  # whether the file tells all frames apart


@functools.cache
def _index(path: Path, *_version: int) -> _Index:
    times, keys = [], []
    with VideoFile(path) as video:
        for packet in video.packets():
            if packet.size and packet.is_keyframe:  # also what is not shown: others are decoded from it
                keys.append((packet.pts, packet.pts if packet.dts is None else packet.dts))
            if packet.size and not packet.is_discard:
                times.append(packet.pts)
    if not times:
        raise no_frames(path)
    if video.timed and None not in times and (None, None) not in keys and len(set(times)) == len(times):
        return _Index(sorted(times), sorted(keys), timed=True)
    with VideoFile(path) as video:
        return _Index(list(range(sum(1 for _ in video.frames()))), [], timed=False)


class _Decoder:
    """An open video of which any frame may be asked for, by any thread; fast for frames that follow each other."""

    def __init__(self, path: Path, *version: int):
        self._path, self._index, self._lock = path, _index(path, *version), threading.Lock()
        self._recent: dict[int, av.VideoFrame] = {}
        self._error: Exception | None = None
        self._begin()

    def picture(self, place: int) -> av.VideoFrame:
        """Frame number ``place``, decoded: going on, else from the key frame before it, else from the beginning."""
        with self._lock:
            if place not in self._recent and not self._find(place):
                raise unreadable(self._path, self._error, place)
            return self._recent[place]

    def _find(self, place: int) -> bool:
        (times, keys, _), self._error = self._index, None
        before = bisect.bisect_right(keys, (times[place], math.inf)) - 1
        key = keys[before] if before >= 0 else None
        if self._next <= place and (key is None or key[0] <= times[self._next]) and self._run(place):
            return True
        # Some containers seek by presentation time, others by decoding time: the wrong one leads too far.
        for time in sorted(set(key or ()), reverse=True):
            self._pictures = _decoded(self._video, self._index, time, key[0])
            if self._run(place):
                return True
        self._begin()
        return self._run(place)

    def _begin(self) -> None:
        self._video = VideoFile(self._path)
        self._next, self._pictures = 0, _decoded(self._video, self._index)

    def _run(self, place: int) -> bool:
        try:
            for found, picture in self._pictures:
                self._next = found + 1
                self._recent[found] = picture
                if len(self._recent) > RECENT:
                    del self._recent[next(iter(self._recent))]
                if found >= place:
                    return found == place
        except (av.error.FFmpegError, OSError) as error:
            self._error = error
        self._next = len(self._index.times)
        return False


def _decoded(
    video: VideoFile, index: _Index, seek: int | None = None, start: float = -math.inf
) -> Iterator[tuple[int, av.VideoFrame]]:
    """The frames with their numbers from the presentation time ``start`` on, after a ``seek``.

    Those before it that a decoder gives may lack what they are predicted from; so may damaged ones.
    """
    if seek is not None:
        video.container.seek(seek, stream=video.stream)
    for count, picture in enumerate(video.container.decode(video.stream)):
        time = picture.pts if index.timed else count
        if time is not None and time >= start and not picture.is_corrupt:
            place = bisect.bisect_left(index.times, time)
            if index.times[place : place + 1] == [time]:  # others are decoded, but not shown
                yield place, picture


_new_decoders = functools.partial(functools.lru_cache(OPEN), _Decoder)
_decoders = [_new_decoders()]  # by path and version; the last is this process's own
# A process that was forked must not use the parent's decoders, which share their places in the files, nor free them
# while one of the parent's threads was at work on them. The index it may use.
os.register_at_fork(after_in_child=lambda: _decoders.append(_new_decoders()))
