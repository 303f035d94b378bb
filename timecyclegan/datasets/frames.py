"""Frames on disk: finding sequences of images, pairing them, and turning them into videos and back.

An image in memory is uint8 (H, W, 3), RGB; a video is float32 (T, 3, H, W) in [-1, 1].
"""
import os
import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from timecyclegan.util.errors import UserError
from timecyclegan.util.files import replacing

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")

_ORIENTATION_TAG = 0x0112
# What a viewer does for each value of the EXIF orientation; 1 is upright, 5 to 8 swap height and width.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def natural_key(name: str) -> tuple:
    """Sort key under which ``10.png`` follows ``9.png``: total, and safe for any mixture of names.

    Splitting at the digits always puts text at even and numbers at odd places, so two keys never compare a
    text with a number; the name itself ends the key and decides between ``1`` and ``01``.
    """
    parts = re.split("([0-9]+)", name)
    return tuple(int(part) if i % 2 else part for i, part in enumerate(parts)), name


def find_sequences(root: str | Path) -> dict[str, list[Path]]:
    """Find the image sequences below ``root``: each lowest folder that holds images is one.

    Returns:
        relative posix path of the folder ("." for ``root`` itself) -> its frames, both in natural order. Hidden files
        and folders, and files that are no images, are ignored; links to folders are followed.

    Raises:
        UserError: ``root`` is missing, is a file or holds no image; a folder holds images beside folders with
            images (whether those are frames or strays cannot be known, and neither is dropped in silence);
            two images of a folder differ only in their suffix (their results would overwrite each other).
    """
    root = Path(root)
    if not root.exists():
        raise UserError(f"folder {root.absolute()} does not exist; give a folder that holds image sequences")
    if not root.is_dir():
        raise UserError(f"{root.absolute()} is a file; give the folder that holds the images")
    folders = _folders_with_images(root, visited=())
    if not folders:
        known = " ".join(suffix[1:] for suffix in IMAGE_SUFFIXES)
        raise UserError(f"folder {root.absolute()} holds no images; known file types are {known}")
    folders.sort(key=lambda found: [natural_key(part) for part in found[0].relative_to(root).parts])
    return {folder.relative_to(root).as_posix(): frames for folder, frames in folders}


def _folders_with_images(folder: Path, visited: tuple[Path, ...]) -> list[tuple[Path, list[Path]]]:
    real = folder.resolve()
    if real in visited:  # a link to a folder above: following it would never end
        return []
    try:
        with os.scandir(folder) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".")]
            subfolders = [entry.name for entry in visible if entry.is_dir()]
            names = [entry.name for entry in visible
                     if Path(entry.name).suffix.lower() in IMAGE_SUFFIXES and entry.is_file()]
    except OSError as error:
        raise UserError(f"cannot read folder {folder.absolute()}: {error.strerror}") from error
    below = [found for name in subfolders for found in _folders_with_images(folder / name, (*visited, real))]
    if not names:
        return below
    # Without the suffix, so that two folders of different file types come in the same order.
    frames = sorted((folder / name for name in sorted(names)), key=lambda path: natural_key(path.stem))
    if below:
        raise UserError(
            f"folder {folder.absolute()} holds images ({frames[0].name}) beside folders with images "
            f"({below[0][0].relative_to(folder)}); give each sequence a folder of its own, or remove them")
    _check_stems(folder, frames)
    return [(folder, frames)]


def _check_stems(folder: Path, frames: list[Path]) -> None:
    first: dict[str, Path] = {}
    for frame in frames:
        other = first.setdefault(frame.stem, frame)
        if other is not frame:
            raise UserError(f"folder {folder.absolute()} holds the same frame twice: {other.name} and "
                            f"{frame.name}; remove one of them")


def match_sequences(source: dict[str, list[Path]], target: dict[str, list[Path]], source_root: str | Path,
                    target_root: str | Path) -> dict[str, list[tuple[Path, Path]]]:
    """Pair the frames of two results of :func:`find_sequences`, in the source's order.

    Sequences are paired by their relative path, frames by their place in the sequence. Two naming schemes
    that have nothing in common are fine; two that overlap are not, unless they are equal: frames 0-9 beside
    frames 1-10 would be paired one off without a word.

    Raises:
        UserError: a sequence without a partner, different numbers of frames, names that overlap in part.
    """
    for here, there, here_root, there_root in ((source, target, source_root, target_root),
                                               (target, source, target_root, source_root)):
        alone = [_describe(name) for name in here if name not in there]
        if alone:
            raise UserError(f"no partner in {there_root} for {few(alone)} of {here_root}; both folders need "
                            "the same sequence folders")
    counts = [f"{_describe(name)} ({len(frames)} and {len(target[name])})"
              for name, frames in source.items() if len(frames) != len(target[name])]
    if counts:
        raise UserError(f"numbers of frames differ between {source_root} and {target_root}: {few(counts)}; "
                        "every source frame needs one target frame")
    for name, frames in source.items():
        _check_alignment(frames, target[name])
    return {name: list(zip(frames, target[name], strict=True)) for name, frames in source.items()}


def _check_alignment(source: list[Path], target: list[Path]) -> None:
    source_stems, target_stems = {path.stem for path in source}, {path.stem for path in target}
    if source_stems == target_stems or not source_stems & target_stems:
        return
    alone, folder = next((path, there[0].parent) for frames, there, stems in (
        (source, target, target_stems), (target, source, source_stems))
        for path in frames if path.stem not in stems)
    raise UserError(f"frame {alone} has no partner of that name in {folder}, though other frames have; "
                    "rename or remove frames until the two folders agree")


def _describe(name: str) -> str:
    return "the frames at the top" if name == "." else f"sequence {name}"


def few(items: Sequence[str], shown: int = 3) -> str:
    """The first few of many names, and how many more there are."""
    more = len(items) - shown
    return ", ".join(items[:shown]) + (f" and {more} more" if more > 0 else "")


def image_size(path: str | Path) -> tuple[int, int]:
    """(height, width) of the image as :func:`read_image` returns it, from the file's header alone.

    Raises:
        UserError: the file is missing or is no image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            return (width, height) if _orientation(image) >= 5 else (height, width)
    except Exception as error:
        raise _unreadable(path, error) from error


def read_image(path: str | Path) -> np.ndarray:
    """Read an image of any common kind as uint8 (H, W, 3), RGB, turned upright by its EXIF orientation.

    Gray is repeated in the three channels. An alpha channel is dropped and the colours below it are kept:
    compositing would invent a background. 16-bit gray is divided by 257 and rounded (16-bit colour keeps its
    high byte, which is what Pillow hands out; the two differ by at most one level). Of several pictures in
    one file the first counts.

    Raises:
        UserError: the file is missing, is no image, is damaged, or its pixels have no known range (float).
    """
    try:
        with Image.open(path) as image:
            orientation = _orientation(image)
            image.load()
            image = _to_rgb(image, path)
            return np.array(image if orientation == 1 else image.transpose(_UPRIGHT[orientation]))
    except (UserError, MemoryError):
        raise
    except Exception as error:  # a damaged file can make a decoder raise anything
        raise _unreadable(path, error) from error


def _orientation(image: Image.Image) -> int:
    if image.format == "TIFF":  # Pillow turns these itself
        return 1
    if image.format == "PNG" and "exif" not in image.info:  # asking would decode the whole image
        return 1
    orientation = image.getexif().get(_ORIENTATION_TAG)
    return orientation if orientation in _UPRIGHT else 1


def _to_rgb(image: Image.Image, path: str | Path) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;16"):
        gray = np.asarray(image).astype(np.int64)
        if gray.min() < 0 or gray.max() > 65535:
            raise UserError(f"image {path} has 32-bit pixels; convert it to 8 or 16 bits per channel")
        image = Image.fromarray(((gray + 128) // 257).astype(np.uint8))
    elif image.mode == "F":
        raise UserError(f"image {path} has floating-point pixels; convert it to 8 or 16 bits per channel")
    with warnings.catch_warnings():
        # Pillow advises RGBA for palettes with transparency; here the alpha is dropped on purpose.
        warnings.simplefilter("ignore", UserWarning)
        return image.convert("RGB")


def _unreadable(path: str | Path, error: Exception) -> UserError:
    if isinstance(error, OSError) and error.errno is not None:
        return UserError(f"cannot read image {path}: {error.strerror}")
    unknown = isinstance(error, Image.UnidentifiedImageError)  # its text only repeats the path
    reason = "unknown format" if unknown else " ".join(str(error).split()) or type(error).__name__
    return UserError(f"cannot read image {path}: it is damaged or no image ({reason}); replace or remove it")


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
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
        raise ValueError(f"expected uint8 (H, W, 3), got {image.dtype} {image.shape}")
    with replacing(path) as temporary:
        Image.fromarray(image).save(temporary, format="PNG")
