"""Single frames of video files, in any order: by an index of key frames, with decoders that go on where they are."""
import bisect
import contextlib
import functools
import math
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from timecyclegan.util.errors import UserError
from timecyclegan.util.names import expanded
from timecyclegan.video.reader import Survey, VideoFile, survey, to_rgb, unreadable, version

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
        return to_rgb(_decoders[-1](self.video, *version(self.video)).picture(self.index))


def video_frames(path: Path) -> list[VideoFrame]:
    """All frames of a video file, which is read once, and decoded only where its packets do not tell all.

    Raises:
        UserError: it is missing, damaged, cut off, no video, or has no frames.
    """
    path = expanded(path)
    return [VideoFrame(path, place) for place in range(len(survey(path).times))]


def video_times(path: Path) -> list[Fraction]:
    """When each frame of a video file is shown, in seconds after the first; raises as :func:`video_frames`."""
    return survey(path).times


class _Decoder:
    """An open video of which any frame may be asked for, by any thread; fast for frames that follow each other."""

    def __init__(self, path: Path, *_version: int):
        self._path, self._survey, self._lock = path, survey(path), threading.Lock()
        self._recent: dict[int, av.VideoFrame] = {}
        self._error: UserError | None = None
        self._begin()

    def picture(self, place: int) -> av.VideoFrame:
        """Frame number ``place``, decoded: going on, else from the key frame before it, else from the beginning."""
        with self._lock:
            if place not in self._recent and not self._find(place):
                raise self._error or unreadable(self._path, None, place)
            return self._recent[place]

    def _find(self, place: int) -> bool:
        stamps, keys, self._error = self._survey.stamps, self._survey.keys, None
        before = bisect.bisect_right(keys, (stamps[place], math.inf)) - 1 if stamps else -1
        key = keys[before] if before >= 0 else None
        if self._next <= place and (key is None or key[0] <= stamps[self._next]) and self._run(place):
            return True
        # Some containers seek by presentation time, others by decoding time: the wrong one leads too far.
        for time in sorted(set(key or ()), reverse=True):
            with contextlib.suppress(av.error.FFmpegError, OSError):  # where it stays then, the frame is not found
                self._video.container.seek(time, stream=self._video.stream)
            self._pictures = _decoded(self._video, self._survey, key[0])
            if self._run(place):
                return True
        self._begin()
        return self._run(place)

    def _begin(self) -> None:
        self._video = VideoFile(self._path)
        self._next, self._pictures = 0, _decoded(self._video, self._survey)

    def _run(self, place: int) -> bool:
        try:
            for found, picture in self._pictures:
                self._next = found + 1
                self._recent[found] = picture
                if len(self._recent) > RECENT:
                    del self._recent[next(iter(self._recent))]
                if found >= place:
                    return found == place
        except UserError as error:
            self._error = error
        self._next = len(self._survey.times)
        return False


def _decoded(video: VideoFile, known: Survey, key: int | None = None) -> Iterator[tuple[int, av.VideoFrame]]:
    """The frames with their numbers; after seeking from the ``key`` frame of this time on, as those shown before it may
    lack what they are predicted from.
    """
    for count, picture in video.pictures(damaged=True, key=key):
        place = known.place(count, picture)
        if place is not None and (key is None or picture.pts >= key):  # others are decoded, but not shown
            yield place, picture


_new_decoders = functools.partial(functools.lru_cache(OPEN), _Decoder)
_decoders = [_new_decoders()]  # by path and version; the last is this process's own
# A process that was forked must not use the parent's decoders, which share their places in the files, nor free them
# while one of the parent's threads was at work on them. The index it may use.
os.register_at_fork(after_in_child=lambda: _decoders.append(_new_decoders()))
