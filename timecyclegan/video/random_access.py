"""Single frames of video files, in any order: by an index of key frames, with decoders that go on where they are."""
import bisect
import functools
import math
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple
from weakref import WeakValueDictionary

import av
import numpy as np

from timecyclegan.video.reader import VideoFile, no_frames, to_rgb, unreadable

RECENT = 8  # decoded frames that a decoder keeps, for threads that ask a little out of order
OPEN = 8  # decoders that a process keeps open for whoever asks next


@dataclass(frozen=True, slots=True)
class VideoFrame:
    """A frame of a video file: stands where the path of an image file does. Frames count from 0, as they are shown."""

    video: Path
    index: int

    @property
    def stem(self) -> str:
        return f"{self.index:05}"

    @property
    def name(self) -> str:
        return self.stem

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
        return to_rgb(open_decoder(self.video).picture(self.index))


def video_frames(path: Path) -> list[VideoFrame]:
    """All frames of a video file, which is read once but not decoded.

    Raises:
        UserError: it is missing, damaged, cut off, no video, or has no frames.
    """
    return [VideoFrame(path, index) for index in range(_index(path, *_version(path)).count)]


def video_times(path: Path) -> list[Fraction]:
    """When each frame of a video file is shown, in seconds after the first; raises as :func:`video_frames`."""
    index = _index(path, *_version(path))
    with VideoFile(path) as video:
        if not index.times:
            return [place / video.rate for place in range(index.count)]
        return [(time - index.times[0]) * video.tick for time in index.times]


class _Index(NamedTuple):
    """Where the frames of a video are.

    ``times`` are the presentation times in the stream's unit, ascending; ``keys`` those of the key frames, each with
    its decoding time. Files that do not tell all frames apart have neither: they are decoded from the beginning
    whenever an earlier frame is asked for.
    """

    count: int
    times: list[int]
    keys: list[tuple[int, int]]

    def key(self, place: int) -> tuple[int, int] | None:
        """The times of the key frame to decode from; None: from the beginning."""
        before = bisect.bisect_right(self.keys, (self.times[place], math.inf)) - 1 if self.times else -1
        return self.keys[before] if before >= 0 else None

    def place(self, time: int | None) -> int | None:
        """The number of the frame that is shown at ``time``."""
        if time is None:
            return None
        place = bisect.bisect_left(self.times, time)
        return place if place < self.count and self.times[place] == time else None


def _version(path: Path) -> tuple[int, int]:
    """What changes when the file does."""
    try:
        facts = path.stat()
    except OSError as error:
        raise unreadable(path, error) from error
    return facts.st_mtime_ns, facts.st_size


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
    apart = None not in times and (None, None) not in keys and len(set(times)) == len(times)
    if apart and video.timed:
        return _Index(len(times), sorted(times), sorted(keys))
    with VideoFile(path) as video:
        return _Index(sum(1 for _ in video.frames()), [], [])


class _Decoder:
    """An open video of which any frame may be asked for, by any thread; fast for frames that follow each other."""

    def __init__(self, path: Path, index: _Index):
        self._path, self._index, self._lock = path, index, threading.Lock()
        self._recent: OrderedDict[int, av.VideoFrame] = OrderedDict()
        self._error: Exception | None = None
        self._begin()

    def picture(self, place: int) -> av.VideoFrame:
        """Frame number ``place``, decoded: going on, else from the key frame before it, else from the beginning."""
        with self._lock:
            if place in self._recent:
                return self._recent[place]
            key, self._error = self._index.key(place), None
            near = self._next <= place and (key is None or key[0] <= self._index.times[self._next])
            found = near and self._run(place)
            # Some containers seek by presentation time, others by decoding time: the wrong one leads too far.
            for time in () if found or not key else sorted(set(key), reverse=True):
                found = found or (self._seek(time, key[0]) and self._run(place))
            if not found:
                self._begin()
                if not self._run(place):
                    raise unreadable(self._path, self._error, place)
            return self._recent[place]

    def _run(self, place: int) -> bool:
        try:
            for found, picture in self._pictures:
                self._next = found + 1
                self._recent[found] = picture
                while len(self._recent) > RECENT:
                    self._recent.popitem(last=False)
                if found >= place:
                    return found == place
        except (av.error.FFmpegError, OSError) as error:
            self._error = error
        self._next = self._index.count
        return False

    def _begin(self) -> None:
        self._video = VideoFile(self._path)
        self._next, self._pictures = 0, _decoded(self._video, self._index)

    def _seek(self, time: int, start: int) -> bool:
        try:
            self._video.container.seek(time, stream=self._video.stream)
        except (av.error.FFmpegError, OSError):
            return False
        self._pictures = _decoded(self._video, self._index, start)
        return True


def _decoded(video: VideoFile, index: _Index, start: int | None = None) -> Iterator[tuple[int, av.VideoFrame]]:
    """The frames from the presentation time ``start`` on with their numbers, from where ``video`` is.

    Those before it that a decoder gives after a seek may lack what they are predicted from; so may damaged ones.
    """
    count = 0
    for packet in video.container.demux(video.stream):
        for picture in packet.decode():
            place = index.place(picture.pts) if index.times else count
            count += 1
            if place is not None and not picture.is_corrupt and (start is None or picture.pts >= start):
                yield place, picture


class _Pool:
    """The decoders of this process: any that is in use anywhere, and the last few."""

    def __init__(self):
        self.lock = threading.Lock()
        self.open: WeakValueDictionary[tuple, _Decoder] = WeakValueDictionary()
        self.recent: list[_Decoder] = []  # the newest last


_pools = [_Pool()]  # the last is this process's own
# A process that was forked must not use the parent's decoders, which share their places in the files, nor free them
# while one of the parent's threads was at work on them. The index it may use.
os.register_at_fork(after_in_child=lambda: _pools.append(_Pool()))


def open_decoder(path: Path) -> _Decoder:
    """The decoder of a video file; while it is held, everyone who asks for a frame of the file uses it."""
    version, pool = _version(path), _pools[-1]
    index = _index(path, *version)
    with pool.lock:
        key = (path, *version)
        decoder = pool.open.get(key)
        if decoder is None:
            decoder = pool.open[key] = _Decoder(path, index)
        pool.recent = [*(other for other in pool.recent if other is not decoder), decoder][-OPEN:]
        return decoder
