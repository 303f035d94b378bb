"""Video files as streams of frames: uint8 (H, W, 3), RGB, one after the other in the order of their presentation.

Every stored frame counts once, also where the frame rate varies. Frames are turned upright as the file says, and have
as many pixels as are stored: pixels that are not square stay so. Colours follow the file's matrix and range; where it
names no matrix, BT.709 from 720 lines on and BT.601 below, as players assume. What is transparent in a GIF is white.
More than 8 bits are rounded to 8, without tone mapping.
"""
import struct
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter

from timecyclegan.util.errors import UserError, failed

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".gif")

HD_LINES = 720  # from here on colours that are not said to be otherwise are BT.709
# Bicubic chroma at every pixel, without the shortcuts that round differently from row to row.
ACCURATE = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT

_UNSPECIFIED = 2  # the colour matrix that is not said, in ITU-T H.273
_local = threading.local()  # a reformatter keeps tables for the last size: one for each thread


class VideoFile:
    """An open video file; a context manager.

    Attributes:
        rate: frames per second, on average.
        tick: the unit of the frames' times, in seconds.
        timed: whether packets and frames know when they are shown. AVI stores no times: FFmpeg works those of reordered
            frames out for MPEG-4 alone.
        total: how many frames the file says that it has; None: it does not say. Only for display.

    Raises:
        UserError: missing, damaged, no video, without pictures, or of a codec that is unknown here.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        try:
            self.container = av.open(f"file:{path}")  # else a name with a colon would be taken for a URL
        except (av.error.FFmpegError, OSError) as error:
            raise unreadable(path, error) from error
        self.stream = self.container.streams.best("video")
        if self.stream is None or self.stream.codec_context is None:
            self.container.close()
            wrong = ("it has no pictures; remove it, or give another file" if self.stream is None else
                     "this FFmpeg has no decoder for its pictures; convert it, for example to H.264")  # fmt: skip
            raise UserError(f"cannot read video {path}: {wrong}")
        # One thread: a worker process cannot inherit a decoder's threads, and several videos are read side by side.
        self.stream.codec_context.thread_count = 1
        self.rate = Fraction(self.stream.average_rate or self.stream.guessed_rate or 25)
        self.tick = Fraction(self.stream.time_base)
        context = self.stream.codec_context
        self.timed = (self.container.format.name != "avi" or not context.has_b_frames or context.name == "mpeg4")
        self.total = self.stream.frames or None

    def __enter__(self) -> "VideoFile":
        return self

    def __exit__(self, *_error: object) -> None:
        self.container.close()

    def pixel_aspect(self, frame: np.ndarray) -> Fraction | None:
        """Width by height of a pixel of an upright frame, where the file says it."""
        aspect = self.stream.sample_aspect_ratio
        turned = frame.shape[:2] != (self.stream.height, self.stream.width)
        return 1 / aspect if aspect and turned else aspect or None

    def packets(self) -> Iterator[av.Packet]:
        """The encoded pictures from the first to the last, then an empty packet, which makes a decoder give its last.

        Raises:
            UserError: the file is damaged, or ends before its end.
        """
        start = end = count = 0
        try:
            for packet in self.container.demux(self.stream):
                if packet.is_corrupt:  # the file ends within it
                    raise UserError(f"video {self.path} is cut off after frame {count}; replace it")
                if packet.size and packet.pts is not None:
                    start = packet.pts if count == 0 else min(start, packet.pts)
                    end = max(end, packet.pts + (packet.duration or 0))
                count += packet.size > 0
                yield packet
        except (av.error.FFmpegError, OSError) as error:
            raise unreadable(self.path, error, count) from error
        said, found = self._end(start), float(end * self.stream.time_base)
        frames = 2 / float(self.rate)  # rounding, and a last frame of unknown length
        if said and count and found < said - max(frames, 0.02 * said):
            raise UserError(f"video {self.path} is cut off after frame {count}, at {found:.2f} of {said:.2f} s; "
                            "replace it")
        if self.container.format.name == "gif":
            # It says of no length, but ends with a trailer, 0x3B (GIF89a, section 27); some pad it with zeros.
            with open(self.path, "rb") as file:
                file.seek(max(0, self.path.stat().st_size - 1024))
                if not file.read().rstrip(b"\0").endswith(b"\x3b"):
                    raise UserError(f"video {self.path} is cut off in frame {count - 1}, or after it; replace it")

    def _end(self, start: int) -> float | None:
        """When the file says that its pictures end, in seconds: at the stream, in Matroska's tag, or of all of it."""
        if self.stream.duration:
            return float((start + self.stream.duration) * self.stream.time_base)
        if tag := self.stream.metadata.get("DURATION"):
            hours, minutes, seconds = tag.split(":")
            return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
        only = len(self.container.streams) == 1 and self.container.duration
        return self.container.duration / av.time_base if only else None

    def frames(self) -> Iterator[tuple[np.ndarray, Fraction]]:
        """All frames, and when each is shown, in seconds after the first.

        Raises:
            UserError: a frame is damaged, or the file ends before its end; names the frame.
        """
        count, first = 0, None
        for packet in self.packets():
            try:
                pictures = packet.decode()
            except (av.error.FFmpegError, OSError) as error:
                raise unreadable(self.path, error, count) from error
            for picture in pictures:
                if picture.is_corrupt:
                    raise unreadable(self.path, None, count)
                first = picture.pts if first is None else first
                known = self.timed and picture.pts is not None and first is not None
                yield to_rgb(picture), (picture.pts - first) * self.tick if known else count / self.rate
                count += 1
        if count == 0:
            raise no_frames(self.path)


def to_rgb(picture: av.VideoFrame) -> np.ndarray:
    """A decoded picture as uint8 (H, W, 3), RGB, upright."""
    if not hasattr(_local, "reformatter"):
        _local.reformatter = VideoReformatter()
    untold = picture.colorspace == _UNSPECIFIED and picture.height >= HD_LINES
    rgb = _local.reformatter.reformat(picture, format="rgb24", src_colorspace=Colorspace.ITU709 if untold else None,
                                      interpolation=ACCURATE, threads=1)  # fmt: skip
    image, matrix = rgb.to_ndarray(), picture.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return image
    # It turns by multiples of 90 degrees and mirrors: (x, y) to (a x + c y, b x + d y).
    a, b, _, c, d, *_ = struct.unpack("9i", bytes(matrix)[:36])
    if abs(b) + abs(c) > abs(a) + abs(d):
        image, a, d = image.swapaxes(0, 1), c, b
    return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def unreadable(path: str | Path, error: Exception | None, frame: int | None = None) -> UserError:
    """What to say of a video, or of one frame of it, that cannot be read."""
    what = f"video {path}" if frame is None else f"frame {frame} of video {path}"
    said = f" ({error.strerror})" if isinstance(error, av.error.FFmpegError) else ""
    damaged = UserError(f"cannot read {what}: it is damaged{'' if frame is not None else ' or no video'}{said}; "
                        "replace or remove it")
    return failed(f"cannot read {what}", error, str(damaged)) if error else damaged


def no_frames(path: str | Path) -> UserError:
    return UserError(f"video {path} holds no frames; replace or remove it")
