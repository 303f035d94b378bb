"""What lies in a folder: every entry has its kind, so that whoever uses some can name the others."""
import mimetypes
import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from PIL import features

from timecyclegan.util.errors import UserError, link_to_nothing
from timecyclegan.video.reader import NO_FILE, is_video

IMAGE_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".jfif", ".jpe",
    *((".avif",) if "avif" in features.get_supported() else ()),
    *((".jp2", ".j2k", ".jpx") if "jpg_2000" in features.get_supported() else ()),
)  # fmt: skip

OFTEN_SEVERAL = (".tif", ".tiff", ".webp", ".avif")  # the kinds of which many files hold several pictures

# What is left out, by the words with which it is named, what matters most first.
LEFT_OUT = UNREAD, EMPTY, CIRCLES, OTHER, HIDDEN = (
    "pictures or videos of kinds that are not read", "folders without frames", "links to a folder above them",
    "other files", "hidden files and folders")  # fmt: skip
FURTHER = "further pictures in a file"
TEXTS = "texts"  # nobody takes them for frames: they are left out without a note

_TEXT_SUFFIXES = (".txt", ".md", ".json", ".csv", ".html", ".xml", ".yaml", ".yml", ".log")


@dataclass
class Listing:
    """The entries of a folder, by name.

    Attributes:
        images, videos, folders: of these kinds, links to such included.
        lost: what stands for a frame, a clip or a folder but cannot be one, with the reason: links that lead nowhere,
            pipes and the like.
        left: everything else, by what it is.
    """

    images: list[Path] = field(default_factory=list)
    videos: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    left: dict[str, list[Path]] = field(default_factory=dict)

    def leave(self, what: str, path: Path) -> None:
        """Note that ``path`` is left out."""
        self.left.setdefault(what, []).append(path)


def list_folder(folder: Path, without: Collection[str] = ()) -> Listing:
    """All entries of a folder but those called as in ``without``, by kind; links count as what they lead to.

    Raises:
        UserError: the folder cannot be read.
    """
    found = Listing()
    try:
        with os.scandir(folder) as entries:
            entries = sorted((entry for entry in entries if entry.name not in without), key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"cannot read folder {folder.absolute()}: {error.strerror}; give a folder that is there and "
                        "may be read") from error
    for entry in entries:
        path = folder / entry.name
        kind = path.suffix.lower()
        if entry.name.startswith("."):
            found.leave(HIDDEN, path)
            continue
        try:
            if entry.is_dir():
                found.folders.append(path)
                continue
            if not entry.is_file():
                path.stat()  # of a link that leads nowhere, it raises
                if kind in IMAGE_SUFFIXES or is_video(path):
                    found.lost.append(f"{path} ({NO_FILE})")
                else:
                    found.leave(OTHER, path)
                continue
        except OSError as error:
            found.lost.append(f"{path} ({link_to_nothing(path) or error.strerror})")
            continue
        if kind in IMAGE_SUFFIXES:
            found.images.append(path)
        elif is_video(path):
            found.videos.append(path)
        else:
            if kind in _TEXT_SUFFIXES:
                found.leave(TEXTS, path)
                continue
            medium = (mimetypes.guess_type(f"x{kind}", strict=False)[0] or "").split("/")[0]
            found.leave(UNREAD if medium in ("image", "video") else OTHER, path)
    return found


def holds_more(path: Path) -> bool:
    """Whether an image file holds further pictures, by its header: pages of a TIFF, an animated WebP, PNG or AVIF."""
    try:
        with open(path, "rb") as file:
            head = file.read(4096)
            order = {b"II": "little", b"MM": "big"}.get(head[:2])
            if order is None or path.suffix.lower() not in (".tif", ".tiff"):
                return ((head[8:16] == b"WEBPVP8X" and len(head) > 20 and head[20] & 2 > 0)
                        or (head[:8] == b"\x89PNG\r\n\x1a\n" and b"acTL" in head.partition(b"IDAT")[0])
                        or (head[4:8] == b"ftyp" and b"avis" in head[8:int.from_bytes(head[:4], "big")]))
            # TIFF: the offset of the first directory; a directory is a count, entries, and the offset of the next one.
            big = int.from_bytes(head[2:4], order) == 43
            width, counted, entry = (8, 8, 20) if big else (4, 2, 12)
            file.seek(int.from_bytes(head[8:16] if big else head[4:8], order))
            count = int.from_bytes(file.read(counted), order)
            file.seek(count * entry, os.SEEK_CUR)
            return int.from_bytes(file.read(width), order) > 0
    except (OSError, ValueError, OverflowError):
        return False  # reading it tells more
