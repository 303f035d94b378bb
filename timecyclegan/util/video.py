"""Video files that browsers play, side-by-side pictures and GIFs, from uint8 RGB frames."""
import contextlib
import functools
import io
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from timecyclegan.util.errors import UserError
from timecyclegan.util.files import replacing

# Codecs that opencv-python-headless can encode and browsers can play. H.264 is not among the former and MPEG-4
# part 2 ("mp4v") is not among the latter. VP8 encodes about five times faster than VP9 at a similar quality.
CODECS = {".webm": "VP80", ".mp4": "vp09"}

_SEPARATOR = 128  # grey level, visible beside dark and bright frames
_CAPTION_BACKGROUND, _CAPTION_INK = 24, 235


class VideoWriter:
    """Write frames to a video file one by one; the file appears under its name only when all went well.

    Use it as a context manager. ``.webm`` (VP8, recommended) and ``.mp4`` (VP9) play in browsers. The codecs
    store colours at half resolution, so sizes are even: an odd height or width repeats its last row or column.

    Args:
        path: the file to write, suffix ``.webm`` or ``.mp4``.
        fps: frames per second, above 0.
        height: frame height in pixels.
        width: frame width in pixels.

    Raises:
        UserError: unknown suffix, no frame was written, the codec is missing, or the file cannot be written.
    """

    def __init__(self, path: str | Path, fps: float, height: int, width: int):
        self.path = Path(path)
        if self.path.suffix not in CODECS:
            raise UserError(f"cannot write {path}: expected a video name ending in {' or '.join(CODECS)}")
        if fps <= 0:
            raise UserError(f"cannot write {path}: expected a frame rate above 0, got {fps}")
        self.fps, self.height, self.width = fps, height, width
        self.frames = 0

    def __enter__(self) -> "VideoWriter":
        self._exits = contextlib.ExitStack()
        temporary = self._exits.enter_context(replacing(self.path))
        try:
            size = (self.width + self.width % 2, self.height + self.height % 2)
            self._writer = _open(temporary, self.fps, size, name=self.path)
        except BaseException:
            self._exits.__exit__(*sys.exc_info())  # removes the temporary file, words an OSError for the user
            raise
        self._temporary = temporary
        return self

    def write(self, frame: np.ndarray) -> None:
        """Append one RGB frame, uint8 (height, width, 3).

        Raises:
            ValueError: the frame has another shape or type (OpenCV would drop it without a word).
        """
        expected = (self.height, self.width, 3)
        if frame.shape != expected or frame.dtype != np.uint8:
            raise ValueError(f"expected a uint8 frame of shape {expected}, got {frame.dtype} {frame.shape}")
        frame = np.pad(frame, ((0, self.height % 2), (0, self.width % 2), (0, 0)), mode="edge")
        self._writer.write(np.ascontiguousarray(frame[..., ::-1]))  # OpenCV wants BGR
        self.frames += 1

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._writer.release()
        if error is not None:
            self._exits.__exit__(kind, error, trace)
            return
        with self._exits:
            if self.frames == 0:
                raise UserError(f"cannot write {self.path}: there are no frames")
            if _count_frames(self._temporary) != self.frames:
                raise UserError(f"cannot write {self.path}: the video is incomplete; is the disk full?")


def side_by_side(frames: Sequence[np.ndarray], captions: Sequence[str] | None = None) -> np.ndarray:
    """Join pictures from left to right.

    Args:
        frames: uint8 RGB pictures (H, W_i, 3) of one height.
        captions: one short text per picture, written in a strip above it.

    Returns:
        uint8 (H + strip, sum W_i + gaps, 3); without captions there is no strip.

    Raises:
        ValueError: heights differ, or there is not one caption per picture.
    """
    heights = {frame.shape[0] for frame in frames}
    if len(heights) != 1:
        raise ValueError(f"expected pictures of one height, got heights {sorted(heights)}")
    height = heights.pop()
    separator = np.full((height, _gap(height), 3), _SEPARATOR, np.uint8)
    parts = [part for frame in frames for part in (separator, frame)][1:]
    row = np.concatenate(parts, axis=1)
    if captions is None:
        return row
    if len(captions) != len(frames):
        raise ValueError(f"expected {len(frames)} captions, got {len(captions)}")
    return np.concatenate([_caption_strip(tuple(f.shape[1] for f in frames), tuple(captions), height), row])


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


def _open(path: Path, fps: float, size: tuple[int, int], name: Path):
    """An open OpenCV writer for ``path`` and ``size`` (width, height); errors speak of ``name``."""
    import cv2

    path.touch()  # tells "this folder cannot be written" (OSError) apart from "this codec is missing"
    codec = CODECS[path.suffix]
    with _quiet():
        writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*codec), fps, size)
    if not writer.isOpened():
        other = next(suffix for suffix in CODECS if suffix != path.suffix)
        raise UserError(f"cannot write {name}: this OpenCV has no {codec} encoder; "
                        f"try a name that ends in {other}, or pip install opencv-python-headless")
    return writer


def _count_frames(path: Path) -> int:
    """Decode the video once: the header of a truncated .webm still promises every frame."""
    import cv2

    with _quiet():
        video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        count = 0
        while video.grab():
            count += 1
        video.release()
    return count


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what FFmpeg prints: a warning for every .webm that is harmless, and errors that we reword."""
    saved = os.dup(2)
    silent = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(silent, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(silent)


def _gap(height: int) -> int:
    return max(2, height // 64)


@functools.lru_cache(maxsize=8)  # the strip is the same for every frame of a video
def _caption_strip(widths: tuple[int, ...], captions: tuple[str, ...], height: int) -> np.ndarray:
    size = min(max(11, height // 14), 28)
    gap = _gap(height)
    image = Image.new("RGB", (sum(widths) + gap * (len(widths) - 1), size + 5), (_CAPTION_BACKGROUND,) * 3)
    draw = ImageDraw.Draw(image)
    left = 0
    for width, caption in zip(widths, captions, strict=True):
        font = _fitting_font(caption, size, width)
        draw.text((left + width / 2, image.height / 2), caption, (_CAPTION_INK,) * 3, font, anchor="mm")
        left += width + gap
    return np.asarray(image)


def _fitting_font(text: str, size: int, width: int):
    """The largest font up to ``size`` in which ``text`` fits ``width``, but no smaller than can be read."""
    fonts = (ImageFont.load_default(candidate) for candidate in range(size, 8, -1))
    smallest = None
    for smallest in fonts:
        if smallest.getlength(text) <= width - 2:
            break
    return smallest
