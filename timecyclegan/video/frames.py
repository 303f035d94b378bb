"""Frames on disk: finding sequences of images and videos, pairing them, and turning them into tensors and back.

An image in memory is uint8 (H, W, 3), RGB; a video is float32 (T, 3, H, W) in [-1, 1].
"""
import errno
import os
import re
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from timecyclegan.util.device import to_floats
from timecyclegan.util.errors import UserError, failed, link_to_nothing, note
from timecyclegan.util.files import replacing
from timecyclegan.util.names import difference, expanded, look_alike, one_form, user_path
from timecyclegan.video.listing import (
    CIRCLES,
    EMPTY,
    FURTHER,
    IMAGE_SUFFIXES,
    LEFT_OUT,
    OFTEN_SEVERAL,
    Listing,
    holds_more,
    list_folder,
)
from timecyclegan.video.random_access import VideoFrame, video_frames
from timecyclegan.video.reader import NO_FILE, VIDEO_SUFFIXES, survey

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue: Rec. 601
Frame = Path | VideoFrame  # a frame on disk: an image file, or a place in a video file


def natural_key(name: str) -> tuple:
    """Sort key under which ``10.png`` follows ``9.png``: total, and safe for any mixture of names.

    Splitting at the digits always puts text at even and numbers at odd places, so two keys never compare a
    text with a number; the name itself ends the key and decides between ``1`` and ``01``.
    """
    parts = re.split("([0-9]+)", name)
    return tuple(int(part) if i % 2 else part for i, part in enumerate(parts)), name


def find_sequences(root: str | Path, without: Collection[str] = ()) -> dict[str, list[Frame]]:
    """Find the sequences below ``root``: each lowest folder that holds images is one, or else each video file.

    Names that differ only in their Unicode form are one name. What is left out, but for texts, is named in notes:
    hidden files, files that are neither image nor video, folders without any, further pictures in a file. Links to
    folders are followed, but not to one above them. Where there are images anywhere, videos are not used: they may
    well have been made of the images. Notes tell of videos that are not what they say.

    Args:
        without: names of folders and files right below ``root`` that are not looked at; the caller names them.

    Returns:
        relative posix path of the folder, or of the video without its suffix, in Unicode's form NFC ("." for ``root``
        itself, which may be a video) -> its frames, both in natural order.

    Raises:
        UserError: ``root`` is missing, or holds neither image nor video; a link leads nowhere, or a pipe or the like is
            called like a frame; a folder holds images beside videos or folders with images (whether those are frames or
            strays cannot be known, and neither is dropped in silence); two images, or two videos, of a folder differ
            only in their suffix, or two names only in their Unicode form, or a video is called like a folder beside it
            that holds videos (their results would overwrite each other); a video is damaged.
    """
    root = user_path(root)
    _check_root(root)
    if root.is_file() and root.suffix.lower() not in IMAGE_SUFFIXES:
        _note_videos([root])
        return {".": video_frames(root)}
    if not root.is_dir():
        what = "a file" if root.is_file() else NO_FILE
        raise UserError(f"{root.absolute()} is {what}; give the folder that holds the images, or a video")
    tree = Listing()  # of all that lies below
    folders = _search(root, (), tree, without)
    if tree.lost:
        raise UserError(f"{root} holds what cannot be read: {few(tree.lost)}; mend or remove it, and in the other "
                        "folder what belongs to it")
    if folders and tree.videos:
        note(f"{root} holds images; its video files are not used: "
             f"{few([str(video.relative_to(root)) for video in sorted(tree.videos)])}")
    if not folders and not tree.videos:
        known = " ".join(suffix[1:] for suffix in IMAGE_SUFFIXES + VIDEO_SUFFIXES)
        there = "; ".join(f"{what}: {few(_below(root, paths))}" for what, paths in tree.left.items())
        raise UserError(f"folder {root.absolute()} holds no images and no videos{f', but {there}' if there else ''}; "
                        f"known file types are {known}")
    _note_left(root, tree.left)
    found = dict(folders) if folders else {video: [] for video in sorted(tree.videos)}
    named = _name(root, found, "sequences" if folders else "videos")
    if not folders:
        _note_videos(sorted(found))
    names = sorted(named, key=lambda name: [natural_key(part) for part in Path(name).parts])
    return {name: found[named[name]] or video_frames(named[name]) for name in names}


def _note_videos(videos: list[Path]) -> None:
    """Say what is not as the videos say, or is not read as it was meant, once each."""
    told: dict[str, list[str]] = {}
    stills = [video for video in videos if len(survey(video).times) == 1]
    if len(stills) > 1:
        told["videos of one frame, each a sequence of its own; to be the frames of one they must be images, for "
             "example PNG"] = list(map(str, stills))
    for video in videos:
        for text in survey(video).notes:
            told.setdefault(text, []).append(str(video))
    for text, names in told.items():
        note(f"{few(names)}: {text}")


def _check_root(root: Path) -> None:
    """Raise a UserError that says why there is nothing at ``root``, if there is not."""
    try:
        root.stat()
    except OSError as error:
        where = root.absolute()
        if link := link_to_nothing(root):
            raise UserError(f"{where} is {link}; give a folder that is there") from error
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            raise UserError(f"cannot read {where}: {error.strerror}") from error
        file = next((parent for parent in where.parents if parent.is_file()), None)
        beside = os.listdir(where.parent) if where.parent.is_dir() and os.access(where.parent, os.R_OK) else []
        raise UserError(f"folder {where} does not exist" + (f", {file} is a file" if file else "") + "; give a folder "
                        f"that holds image sequences or videos{look_alike(where.name, beside)}") from error


def _search(folder: Path, above: tuple[str, ...], tree: Listing,
            without: Collection[str] = ()) -> list[tuple[Path, list[Path]]]:
    """The folders with images below ``folder`` with their images; ``tree`` gets the rest of what lies there."""
    real = os.path.realpath(folder)
    if real in above:  # a link to a folder above: following it would never end
        tree.leave(CIRCLES, folder)
        return []
    here = list_folder(folder, without)
    tree.lost += here.lost
    for what, paths in here.left.items():
        tree.left.setdefault(what, []).extend(paths)
    videos = len(tree.videos)
    folders = [found for inside in here.folders for found in _search(inside, (*above, real), tree)]
    if not here.images:
        tree.videos += here.videos
        if not folders and len(tree.videos) == videos and above:
            tree.left[EMPTY] = [path for path in tree.left.get(EMPTY, ()) if folder not in path.parents] + [folder]
        return folders
    # Without the suffix, so that two folders of different file types come in the same order.
    frames = sorted(here.images, key=lambda path: natural_key(one_form(path.stem)))
    if folders or here.videos:
        other = (f"folders with images ({folders[0][0].relative_to(folder)}" if folders else
                 f"videos ({here.videos[0].name}")
        raise UserError(f"folder {folder.absolute()} holds images ({frames[0].name}) beside {other}); "
                        "give each sequence a folder of its own, or remove them")
    first: dict[str, Path] = {}
    for frame in frames:
        if (other := first.setdefault(one_form(frame.stem), frame)) is not frame:
            how = f" ({difference(other.stem, frame.stem)})" if other.stem != frame.stem else ""
            raise UserError(f"folder {folder.absolute()} holds the same frame twice: {other.name} and "
                            f"{frame.name}{how}; remove one of them")
    # Of kinds that seldom hold several pictures only the first file is opened: there may be very many.
    for frame in frames:
        if (frame is frames[0] or frame.suffix.lower() in OFTEN_SEVERAL) and holds_more(frame):
            tree.leave(FURTHER, frame)
    return [(folder, frames)]


def _note_left(root: Path, left: Mapping[str, Sequence[Path]]) -> None:
    if further := left.get(FURTHER):
        note(f"{root}: of several pictures in one file only the first is used: {few(_below(root, further))}")
    if named := [f"{what}: {few(_below(root, left[what]))}" for what in LEFT_OUT if left.get(what)]:
        note(f"{root}: left out are {'; '.join(named)}")


def _below(root: Path, paths: Iterable[Path]) -> list[str]:
    return [path.relative_to(root).as_posix() for path in paths]


def _name(root: Path, places: Iterable[Path], what: str) -> dict[str, Path]:
    """Folders or videos below ``root`` by what their sequences are called."""
    named: dict[str, Path] = {}
    for place in places:
        name = one_form((place.with_suffix("") if what == "videos" else place).relative_to(root).as_posix())
        if (other := named.setdefault(name, place)) is not place:
            one, two = _below(root, (other, place))
            how = f" ({difference(one, two)})" if one_form(one) == one_form(two) else ""
            raise UserError(f"folder {root.absolute()} holds two {what} of one name: {one} and {two}{how}; rename or "
                            "remove one of them")
    for name, place in named.items():
        if clash := next((named[str(above)] for above in Path(name).parents if str(above) in named), None):
            raise UserError(f"{what[:-1]} {clash.absolute()} is called like the folder of {place.name} beside it; "
                            "rename one of them")
    return named


def match_sequences(source: dict[str, list[Frame]], target: dict[str, list[Frame]], source_root: str | Path,
                    target_root: str | Path) -> dict[str, list[tuple[Frame, Frame]]]:
    """Pair the frames of two results of :func:`find_sequences`, in the source's order.

    Sequences are paired by their relative path, frames by their place in the sequence. Two naming schemes
    that have nothing in common are fine; two that overlap are not, unless they are equal: frames 0-9 beside
    frames 1-10 would be paired one off without a word. Frames of videos have no names.

    Raises:
        UserError: a sequence without a partner, different numbers of frames (names those without a partner), names that
            overlap in part.
    """
    for here, there, here_root, there_root in ((source, target, source_root, target_root),
                                               (target, source, target_root, source_root)):
        if alone := [name for name in here if name not in there]:
            named = few([_describe(name) for name in alone])
            raise UserError(f"no partner in {there_root} for {named} of {here_root}; both folders need the same "
                            f"sequence folders{look_alike(alone[0], there)}")
    counts, unpaired = [], []
    for name, frames in source.items():
        if len(frames) != len(target[name]):
            counts.append(f"{_describe(name)} ({len(frames)} and {len(target[name])})")
            for here, there, root in ((frames, target[name], source_root), (target[name], frames, target_root)):
                unpaired += [f"{frame.stem if name == '.' else f'{name}/{frame.stem}'} of {root}"
                             for frame in _unpaired(here, there)]
    if counts:
        alone = f"; without a partner: {few(unpaired, 8)}" if unpaired else ""
        raise UserError(f"numbers of frames differ between {source_root} and {target_root}: {few(counts)}{alone}; "
                        "every source frame needs one target frame")
    for name, frames in source.items():
        sides = frames, target[name]
        stems, other_stems = ({one_form(frame.stem) for frame in side if isinstance(frame, Path)} for side in sides)
        if stems & other_stems and stems != other_stems:
            alone = next(frame for side in sides for frame in side if one_form(frame.stem) in stems ^ other_stems)
            other = next(side for side in sides if alone not in side)
            strays = [frame.stem for frame in other if one_form(frame.stem) not in stems & other_stems]
            raise UserError(f"frame {alone} has no partner of that name in {other[0].parent}, though other frames "
                            "have; rename or remove frames until the two folders agree"
                            + look_alike(alone.stem, strays))
    return {name: list(zip(frames, target[name], strict=True)) for name, frames in source.items()}


def _unpaired(frames: Sequence[Frame], others: Sequence[Frame]) -> list[Path]:
    """The image files of a sequence whose name, or else whose number, none of the others has, if any of them has."""
    def by(key: Callable[[str], str]) -> list[Path]:
        mine, theirs = ({key(one_form(frame.stem)) for frame in side if isinstance(frame, Path)}
                        for side in (frames, others))
        alike = mine & theirs and len(mine) == len(frames) and len(theirs) == len(others)
        return [frame for frame in frames if key(one_form(frame.stem)) not in theirs] if alike else []

    def number(stem: str) -> str:
        found = re.findall("[0-9]+", stem)
        return found[-1].lstrip("0") if found else stem

    return by(str) or by(number)


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
        with Image.open(expanded(frame)) as image:
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
        with Image.open(expanded(frame)) as image:
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            if image.mode == "F":
                raise UserError(f"image {frame} has floating-point pixels; convert it to 8 or 16 bits per channel, for "
                                "example with timecyclegan.data.resize_images --range")
            if image.mode == "I" or image.mode.startswith("I;16"):
                gray = np.asarray(image).astype(np.int64)
                if gray.min() < 0 or gray.max() > 65535:
                    raise UserError(f"image {frame} has pixels from {gray.min()} to {gray.max()}, beyond the 0 to "
                                    "65535 of 16 bits; convert it to 8 or 16 bits per channel, for example with "
                                    "timecyclegan.data.resize_images --range")
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


def resize_image(image: np.ndarray, height: int, width: int, nearest: bool = False) -> np.ndarray:
    """Resize uint8 (H, W, 3) to (height, width, 3), bicubic, or to the ``nearest`` pixel; the very same array if it has
    that size."""
    if image.shape[:2] == (height, width):
        return image
    resampling = Image.Resampling.NEAREST if nearest else Image.Resampling.BICUBIC
    return np.array(Image.fromarray(image).resize((width, height), resampling))


def to_video(frames: np.ndarray | Iterable[np.ndarray]) -> torch.Tensor:
    """uint8 (T, H, W, 3) -> float32 (T, 3, H, W) in [-1, 1]; :func:`to_uint8` takes it back exactly."""
    frames = frames if isinstance(frames, np.ndarray) else np.stack(list(frames))
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
        raise ValueError(f"expected uint8 (T, H, W, 3), got {frames.dtype} {frames.shape}")
    return to_floats(torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2))))


def to_levels(video: torch.Tensor) -> torch.Tensor:
    """(..., 3, H, W) in [-1, 1] -> uint8 (..., H, W, 3) on the same device, rounded to nearest and clamped; levels are
    kept."""
    if video.ndim < 3 or video.shape[-3] != 3:
        raise ValueError(f"expected (..., 3, H, W), got {tuple(video.shape)}")
    if video.dtype != torch.uint8:
        video = (video.detach().float() + 1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)
    return video.movedim(-3, -1).contiguous()


def to_uint8(video: torch.Tensor) -> np.ndarray:
    """(..., 3, H, W) in [-1, 1] on any device -> uint8 (..., H, W, 3), see :func:`to_levels`."""
    return to_levels(video).cpu().numpy()


def write_image(path: str | Path, image: np.ndarray) -> None:
    """Write uint8 (H, W, 3) as a PNG; a file under this name is always whole.

    Raises:
        UserError: the folder cannot be written to.
    """
    with replacing(path) as temporary:
        Image.fromarray(image).save(temporary, format="PNG")
