"""Frames on disk: finding sequences of images and videos, pairing them, and turning them into tensors and back.

An image in memory is uint8 (H, W, 3), RGB; a video is float32 (T, 3, H, W) in [-1, 1].
"""
import os
import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from timecyclegan.util.errors import UserError, failed
from timecyclegan.util.files import replacing
from timecyclegan.video.random_access import VideoFrame, video_frames
from timecyclegan.video.reader import VIDEO_SUFFIXES

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")

Frame = Path | VideoFrame  # a frame on disk: an image file, or a place in a video file


def natural_key(name: str) -> tuple:
    """Sort key under which ``10.png`` follows ``9.png``: total, and safe for any mixture of names.

    Splitting at the digits always puts text at even and numbers at odd places, so two keys never compare a
    text with a number; the name itself ends the key and decides between ``1`` and ``01``.
    """
    parts = re.split("([0-9]+)", name)
    return tuple(int(part) if i % 2 else part for i, part in enumerate(parts)), name


def find_sequences(root: str | Path) -> dict[str, list[Frame]]:
    """Find the sequences below ``root``: each lowest folder that holds images is one, or else each video file.

    Returns:
        relative posix path of the folder, or of the video without its suffix ("." for ``root`` itself, which may be a
        video) -> its frames, both in natural order. Hidden files and folders, and files that are neither image nor
        video, are ignored; links to folders are followed. Where there are images anywhere, videos are not used, and a
        note says so: they may well have been made of the images.

    Raises:
        UserError: ``root`` is missing, or holds neither image nor video; a folder holds images beside videos or folders
            with images (whether those are frames or strays cannot be known, and neither is dropped in silence); two
            images, or two videos, of a folder differ only in their suffix, or a video is called like a folder beside
            it that holds videos (their results would overwrite each other); a video is damaged.
    """
    root = Path(root)
    if not root.exists():
        raise UserError(f"folder {root.absolute()} does not exist; give a folder that holds image sequences or videos")
    if root.is_file() and root.suffix.lower() in VIDEO_SUFFIXES:
        return {".": video_frames(root)}
    if not root.is_dir():
        raise UserError(f"{root.absolute()} is a file; give the folder that holds the images, or a video")
    folders, videos = _search(root, visited=())
    if folders and videos:
        print(f"note: {root} holds images; its video files are not used: "
              f"{few([str(video.relative_to(root)) for video in sorted(videos)])}")
    if not folders and not videos:
        known = " ".join(suffix[1:] for suffix in IMAGE_SUFFIXES + VIDEO_SUFFIXES)
        raise UserError(f"folder {root.absolute()} holds no images and no videos; known file types are {known}")
    found = dict(folders) if folders else _name_videos(videos)
    names = sorted(found, key=lambda path: [natural_key(part) for part in path.relative_to(root).parts])
    return {name.relative_to(root).as_posix(): found[name] if folders else video_frames(found[name]) for name in names}


def _search(folder: Path, visited: tuple[Path, ...]) -> tuple[list[tuple[Path, list[Path]]], list[Path]]:
    """The folders with images below ``folder`` with their images, and the videos below it."""
    real = folder.resolve()
    if real in visited:  # a link to a folder above: following it would never end
        return [], []
    try:
        with os.scandir(folder) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".")]
            subfolders = [entry.name for entry in visible if entry.is_dir()]
            files = sorted(entry.name for entry in visible if entry.is_file())
    except OSError as error:
        raise UserError(f"cannot read folder {folder.absolute()}: {error.strerror}") from error
    images, videos = ([folder / name for name in files if Path(name).suffix.lower() in suffixes]
                      for suffixes in (IMAGE_SUFFIXES, VIDEO_SUFFIXES))
    below = [_search(folder / name, (*visited, real)) for name in subfolders]
    folders = [found for inside, _ in below for found in inside]
    if not images:
        return folders, videos + [video for _, inside in below for video in inside]
    # Without the suffix, so that two folders of different file types come in the same order.
    frames = sorted(images, key=lambda path: natural_key(path.stem))
    if folders or videos:
        other = f"folders with images ({folders[0][0].relative_to(folder)}" if folders else f"videos ({videos[0].name}"
        raise UserError(f"folder {folder.absolute()} holds images ({frames[0].name}) beside {other}); "
                        "give each sequence a folder of its own, or remove them")
    first: dict[str, Path] = {}
    for frame in frames:
        if (other := first.setdefault(frame.stem, frame)) is not frame:
            raise UserError(f"folder {folder.absolute()} holds the same frame twice: {other.name} and "
                            f"{frame.name}; remove one of them")
    return [(folder, frames)], [video for _, inside in below for video in inside]


def _name_videos(videos: list[Path]) -> dict[Path, Path]:
    """The videos by their path without the suffix."""
    named: dict[Path, Path] = {}
    for video in videos:
        if (other := named.setdefault(video.with_suffix(""), video)) is not video:
            raise UserError(f"folder {video.parent.absolute()} holds two videos of one name: {other.name} and "
                            f"{video.name}; rename or remove one of them")
    for name in named:
        if clash := next((named[folder] for folder in name.parents if folder in named), None):
            raise UserError(f"video {clash.absolute()} is called like the folder of {named[name].name} beside it; "
                            "rename one of them")
    return named


def match_sequences(source: dict[str, list[Frame]], target: dict[str, list[Frame]], source_root: str | Path,
                    target_root: str | Path) -> dict[str, list[tuple[Frame, Frame]]]:
    """Pair the frames of two results of :func:`find_sequences`, in the source's order.

    Sequences are paired by their relative path, frames by their place in the sequence. Two naming schemes
    that have nothing in common are fine; two that overlap are not, unless they are equal: frames 0-9 beside
    frames 1-10 would be paired one off without a word. Frames of videos have no names.

    Raises:
        UserError: a sequence without a partner, different numbers of frames, names that overlap in part.
    """
    for here, there, here_root, there_root in ((source, target, source_root, target_root),
                                               (target, source, target_root, source_root)):
        if alone := [_describe(name) for name in here if name not in there]:
            raise UserError(f"no partner in {there_root} for {few(alone)} of {here_root}; both folders need "
                            "the same sequence folders")
    counts = [f"{_describe(name)} ({len(frames)} and {len(target[name])})"
              for name, frames in source.items() if len(frames) != len(target[name])]
    if counts:
        raise UserError(f"numbers of frames differ between {source_root} and {target_root}: {few(counts)}; "
                        "every source frame needs one target frame")
    for name, frames in source.items():
        sides = frames, target[name]
        stems, other_stems = ({frame.stem for frame in side if isinstance(frame, Path)} for side in sides)
        if stems & other_stems and stems != other_stems:
            alone = next(frame for side in sides for frame in side if frame.stem in stems ^ other_stems)
            folder = next(side[0].parent for side in sides if alone not in side)
            raise UserError(f"frame {alone} has no partner of that name in {folder}, though other frames have; "
                            "rename or remove frames until the two folders agree")
    return {name: list(zip(frames, target[name], strict=True)) for name, frames in source.items()}


def _describe(name: str) -> str:
    return "the frames at the top" if name == "." else f"sequence {name}"


def few(items: Sequence[str], shown: int = 3) -> str:
    """The first few of many names, and how many more there are."""
    more = len(items) - shown
    return ", ".join(items[:shown]) + (f" and {more} more" if more > 0 else "")


def image_size(frame: Frame) -> tuple[int, int]:
    """(height, width) of the frame as :func:`read_image` returns it; of an image file from its header alone.

    Raises:
        UserError: the file is missing, or is neither image nor video.
    """
    if isinstance(frame, VideoFrame):
        return frame.read().shape[:2]
    try:
        with Image.open(frame) as image:
            # Pillow turns TIFFs itself; of a PNG without the chunk, asking for EXIF would decode the whole image.
            known = image.format != "TIFF" and (image.format != "PNG" or "exif" in image.info)
            lies = known and image.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
            return image.size if lies else image.size[::-1]
    except Exception as error:
        raise _unreadable(frame, error) from error


def read_image(frame: Frame) -> np.ndarray:
    """Read a frame as uint8 (H, W, 3), RGB: of a video, see ``reader``, or an image of any common kind.

    Images are turned upright by their EXIF orientation. Gray is repeated in the three channels. An alpha channel is
    dropped and the colours below it are kept: compositing would invent a background. 16-bit gray is divided by 257 and
    rounded (16-bit colour keeps its high byte, which is what Pillow hands out; the two differ by at most one level). Of
    several pictures in one file the first counts.

    Raises:
        UserError: the file is missing, damaged, neither image nor video, or its pixels have no known range (float).
    """
    if isinstance(frame, VideoFrame):
        return frame.read()
    try:
        with Image.open(frame) as image:
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            if image.mode == "F":
                raise UserError(f"image {frame} has floating-point pixels; convert it to 8 or 16 bits per channel")
            if image.mode == "I" or image.mode.startswith("I;16"):
                gray = np.asarray(image).astype(np.int64)
                if gray.min() < 0 or gray.max() > 65535:
                    raise UserError(f"image {frame} has 32-bit pixels; convert it to 8 or 16 bits per channel")
                image = Image.fromarray(((gray + 128) // 257).astype(np.uint8))
            with warnings.catch_warnings():
                # Pillow advises RGBA for palettes with transparency; here the alpha is dropped on purpose.
                warnings.simplefilter("ignore", UserWarning)
                return np.array(image.convert("RGB"))
    except UserError:
        raise
    except Exception as error:  # a damaged file can make a decoder raise anything
        raise _unreadable(frame, error) from error


def _unreadable(path: Path, error: Exception) -> UserError:
    unknown = isinstance(error, UnidentifiedImageError)  # its text only repeats the path
    said = "unknown format" if unknown else " ".join(str(error).split()) or type(error).__name__
    what = f"cannot read image {path}"
    return failed(what, error, f"{what}: it is damaged or no image ({said}); replace or remove it")


def resize_image(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize uint8 (H, W, 3) to (height, width, 3), bicubic; the very same array if it has that size."""
    if image.shape[:2] == (height, width):
        return image
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def to_video(frames: np.ndarray | Iterable[np.ndarray]) -> torch.Tensor:
    """uint8 (T, H, W, 3) -> float32 (T, 3, H, W) in [-1, 1]; :func:`to_uint8` takes it back exactly."""
    frames = frames if isinstance(frames, np.ndarray) else np.stack(list(frames))
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
        raise ValueError(f"expected uint8 (T, H, W, 3), got {frames.dtype} {frames.shape}")
    return torch.from_numpy(frames.transpose(0, 3, 1, 2).astype(np.float32, order="C")).div_(127.5).sub_(1)


def to_uint8(video: torch.Tensor) -> np.ndarray:
    """(..., 3, H, W) in [-1, 1] on any device -> uint8 (..., H, W, 3), rounded to nearest and clamped."""
    if video.ndim < 3 or video.shape[-3] != 3:
        raise ValueError(f"expected (..., 3, H, W), got {tuple(video.shape)}")
    levels = (video.detach().float() + 1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)
    return levels.movedim(-3, -1).contiguous().cpu().numpy()


def write_image(path: str | Path, image: np.ndarray) -> None:
    """Write uint8 (H, W, 3) as a PNG; a file under this name is always whole.

    Raises:
        UserError: the folder cannot be written to.
    """
    with replacing(path) as temporary:
        Image.fromarray(image).save(temporary, format="PNG")
