"""Video files that players and browsers play, and GIFs, from uint8 RGB frames."""
import contextlib
import io
import math
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from PIL import Image

from timecyclegan.util.errors import UserError
from timecyclegan.util.files import replacing
from timecyclegan.util.names import expanded
from timecyclegan.video.reader import ACCURATE, HD_LINES
from timecyclegan.video.sound import SoundCopy
from timecyclegan.video.times import bounded


class Encoder(NamedTuple):
    """One of FFmpeg's encoders, with the options for a quality at which losses are hardly seen (PSNR above 40 dB)."""

    name: str
    options: dict[str, str]
    bit_rate: int = 0  # 0: as much as the quality needs
    steady: bool = False  # knows no frames that are shown longer than others
    most: int = 1_000_000_000  # the largest numerator and denominator of a rate that it takes
    fastest: int = 1_000_000  # frames per second that its files can have


# With its macroblock tree, x264 makes something else of small pictures each time.
_H264 = Encoder("libx264", {"crf": "18", "preset": "fast", "x264-params": "mbtree=0"})
_VP9 = Encoder("libvpx-vp9", {"crf": "18", "deadline": "realtime", "cpu-used": "7", "row-mt": "1"})
_MPEG4 = Encoder("mpeg4", {"qmin": "2", "qmax": "3"}, bit_rate=40_000_000, steady=True, most=65535, fastest=1000)
ENCODERS = {".mp4": _H264, ".webm": _VP9, ".mov": _H264, ".mkv": _H264, ".avi": _MPEG4}  # browsers play the first two


class VideoWriter:
    """Write frames to a video file one by one; the file appears under its name only when all went well.

    Use it as a context manager. Colours are stored at half resolution, so sizes are even: an odd height or width
    repeats its last row or column. They are BT.709 from 720 lines on and BT.601 below, of limited range, and say so.

    Args:
        path: the file to write; its suffix, one of :data:`ENCODERS`, says how.
        fps: frames per second, above 0; exact as a fraction, as far as codec and container take it.
        height: frame height in pixels.
        width: frame width in pixels.
        tick: the unit of the frames' times, if frames are given times, in seconds.
        sound: a file whose sound is copied as it is, beside the pictures.
        pixel_aspect: width of a pixel by its height.

    Attributes:
        copied: the :class:`SoundCopy`, once the file is open, if there is ``sound``.
        tracks: how many tracks of sound are copied.
        refused: the codecs of those that a file of this kind cannot hold.

    Raises:
        UserError: unknown suffix, no frame was written, the codec is missing, or the file cannot be written; names what
            failed: the pictures, the sound, or the container.
    """

    def __init__(self, path: str | Path, fps: float | Fraction, height: int, width: int, *,
                 tick: Fraction | None = None, sound: str | Path | None = None,
                 pixel_aspect: Fraction | None = None):  # fmt: skip
        self.path = expanded(path)
        self.encoder = find_encoder(self.path)
        self.fps = bounded(min(Fraction(fps), Fraction(self.encoder.fastest)), self.encoder.most)
        self.height, self.width = height, width
        self.tick = 1 / self.fps
        if tick is not None and not self.encoder.steady:  # fine enough for each frame to have a time of its own
            self.tick = tick / max(1, math.ceil(tick * self.fps))
        self.frames, self.tracks, self.refused = 0, 0, []
        self.copied: SoundCopy | None = None
        self._shown, self._lengths = -1, {}  # the last time, and the lengths of the frames that are being encoded
        self._source, self._pixel_aspect = sound, pixel_aspect
        self._timed = tick is not None and not self.encoder.steady

    def __enter__(self) -> "VideoWriter":
        with contextlib.ExitStack() as exits:
            self._temporary = exits.enter_context(replacing(self.path))
            self._temporary.touch()  # a folder that cannot be written to says so itself
            self._open()
            self._exits = exits.pop_all()
        return self

    def write(self, frame: np.ndarray, time: Fraction | None = None, length: Fraction | None = None) -> None:
        """Append one RGB frame, uint8 (height, width, 3), shown ``time`` seconds after the first one, for ``length``.

        Without ``tick``, and in .avi, frames follow each other at ``fps`` whatever the time. A length counts for the
        last frame, as others are followed.

        Raises:
            ValueError: the frame has another shape or type.
        """
        expected = (self.height, self.width, 3)
        if frame.shape != expected or frame.dtype != np.uint8:
            raise ValueError(f"expected a uint8 frame of shape {expected}, got {frame.dtype} {frame.shape}")
        frame = np.pad(frame, ((0, self.height % 2), (0, self.width % 2), (0, 0)), mode="edge")
        picture = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(frame, format="rgb24"), format="yuv420p", dst_colorspace=self._matrix,
            dst_color_range=ColorRange.MPEG, interpolation=ACCURATE, threads=1,
        )  # fmt: skip
        # Where two frames share a time, the second one is shown a tick later: encoders take no time twice.
        self._shown = picture.pts = max(round(time / self.tick), self._shown + 1) if self._timed else self.frames
        picture.time_base = self.tick
        if self._timed and length is not None:
            self._lengths[picture.pts] = max(1, round(length / self.tick))
        self._mux(picture)
        self.frames += 1

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None:
            with contextlib.suppress(av.error.FFmpegError, OSError):
                self._close()
            self._exits.__exit__(kind, error, trace)
            return
        with self._exits:
            if self.frames == 0:
                raise UserError(f"cannot write {self.path}: there are no frames")
            self._mux(None)
            if self.copied:
                self.copied.copy()
            with self._failing():
                self._close()

    def _open(self) -> None:
        faststart = {"movflags": "+faststart"} if self.path.suffix.lower() in (".mp4", ".mov") else {}
        with self._failing():
            self._container = av.open(f"file:{self._temporary}", "w", options=faststart)
        hd = self.height >= HD_LINES
        self._matrix = Colorspace.ITU709 if hd else Colorspace.ITU601
        self._reformatter = VideoReformatter()
        self._stream = self._container.add_stream(self.encoder.name, rate=self.fps, options=self.encoder.options)
        self._stream.height, self._stream.width = self.height + self.height % 2, self.width + self.width % 2
        self._stream.pix_fmt, self._stream.bit_rate = "yuv420p", self.encoder.bit_rate
        context = self._stream.codec_context
        context.time_base = self.tick
        # The codes of ITU-T H.273: the matrix, and the primaries and curve of BT.709, which sRGB pictures are close to.
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = 1 if hd else 6, 1, 1, 1
        if self._pixel_aspect:
            context.sample_aspect_ratio = self._pixel_aspect
        if self._source:
            self.copied = SoundCopy(self._source, self._container, self.path)
            self.tracks, self.refused = len(self.copied.tracks), self.copied.refused
        with self._failing(pictures=True):  # opens the encoder; each track of sound was tried before
            self._container.start_encoding()

    def _mux(self, picture: av.VideoFrame | None) -> None:
        """Encode a picture, and store what is ready by then, which may be earlier ones; None: all that is left."""
        with self._failing(pictures=True):
            packets = self._stream.encode(picture)
        for packet in packets:
            if self.copied:
                self.copied.copy(end=packet.dts * packet.time_base)
            packet.duration = self._lengths.pop(packet.pts, packet.duration)
            with self._failing():
                self._container.mux(packet)

    def _close(self) -> None:
        if self.copied:
            self.copied.close()
        self._container.close()

    @contextlib.contextmanager
    def _failing(self, pictures: bool = False):
        """FFmpeg's own errors in one line; those of the system are worded by :func:`replacing`."""
        try:
            yield
        except av.error.FFmpegError as error:
            if isinstance(error, OSError):
                raise
            part = f"its pictures ({self.encoder.name})" if pictures else f"its container ({self.path.suffix})"
            advice = "try another suffix" + (", or --no-sound" if self.copied and not pictures else "")
            raise UserError(f"cannot write {self.path}: {part}: {error.strerror}; {advice}") from error


def find_encoder(path: Path) -> Encoder:
    """What writes a video of this name.

    Raises:
        UserError: the suffix is unknown, or this FFmpeg has no encoder for it.
    """
    encoder = ENCODERS.get(path.suffix.lower())
    if encoder is None:
        raise UserError(f"cannot write {path}: expected a video name ending in {', '.join(ENCODERS)}")
    try:
        av.codec.Codec(encoder.name, "w")
    except av.codec.codec.UnknownCodecError as error:
        raise UserError(f"cannot write {path}: this FFmpeg has no encoder {encoder.name}; try another suffix, or "
                        "pip install av") from error
    return encoder


def encode_gif(frames: np.ndarray, fps: float) -> bytes:
    """Encode uint8 RGB frames (T, H, W, 3) as a looping GIF.

    All frames share one palette and none is dithered: a palette per frame, or dither noise, would flicker
    where the video does not. GIF counts time in 1/100 s; browsers show nothing faster than 50 frames per second.
    """
    sample = frames[:: max(1, len(frames) // 8)]
    palette = Image.fromarray(np.concatenate(list(sample))).quantize(256)
    images = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    ticks = np.round(np.arange(len(frames) + 1) * 100 / min(fps, 50)).astype(int)
    file = io.BytesIO()
    durations = [int(ticks) * 10 for ticks in np.diff(ticks)]
    images[0].save(file, "GIF", save_all=True, append_images=images[1:], duration=durations, loop=0)
    return file.getvalue()
