"""Whether a file of video ends where its own structure says: sizes that stand before what they measure."""
import os
from pathlib import Path
from typing import BinaryIO

_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")  # the GUID of ASF's header object
_MATROSKA = b"\x1a\x45\xdf\xa3"
_ISO = (b"ftyp", b"moov", b"mdat", b"moof", b"free", b"skip", b"wide", b"styp", b"sidx", b"pnot", b"uuid")


def missing_bytes(path: Path) -> int:
    """How many bytes a file lacks; 0 where it is whole, or of a kind that tells no sizes.

    Read are the outermost parts of ISO files (ISO/IEC 14496-12, 4.2), RIFF, Matroska (RFC 8794, sections 4 and 6), ASF
    (section 2), FLV (annex E) and Ogg (RFC 3533, section 6), each of which tells its size, and the blocks of GIF, which
    tell theirs up to a trailer; what is missing there counts as one byte.

    Raises:
        OSError: the file cannot be read.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(16)
        if head.startswith(b"GIF8"):
            file.seek(0)
            return int(not _is_whole_gif(file))
        kinds = {_riff: head.startswith(b"RIFF"), _matroska: head.startswith(_MATROSKA), _asf: head.startswith(_ASF),
                 _flv: head.startswith(b"FLV"), _ogg: head.startswith(b"OggS"), _iso: head[4:8] in _ISO}  # fmt: skip
        part = next((kind for kind, fits in kinds.items() if fits), None)
        place = 0
        while part and place < size:
            file.seek(place)
            length = part(file)
            if not length:  # up to the end, or not known
                return 0
            place += length
        return max(0, place - size)


def holds_second_film(path: Path) -> bool:
    """Whether an ISO file has a second table of frames (moov), as after ``cat a.mp4 b.mp4``: readers know the first.

    Raises:
        OSError: the file cannot be read.
    """
    place, films = 0, 0
    with open(path, "rb") as file:
        while length := _iso(file):
            file.seek(place + 4)
            films += file.read(4) == b"moov"
            place += length
            file.seek(place)
    return films > 1


def ends_in_packets(path: Path) -> bool:
    """Whether a transport stream ends in its packets, which begin with 0x47 (ISO/IEC 13818-1, 2.4.3.2).

    They have 188 bytes, and 192 or 204 where a time or a checksum is stored with each.

    Raises:
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        file.seek(-min(os.path.getsize(path), 3 * 204), os.SEEK_END)
        end = file.read()
    return any(set(end[first::length]) == {0x47} for length in (188, 192, 204) for first in range(length))


def _is_whole_gif(file: BinaryIO) -> bool:
    """Whether its blocks lead to its trailer (GIF89a, sections 17 to 27)."""
    file.seek(_colours(file.read(13)[10:11]), os.SEEK_CUR)
    while (kind := file.read(1)) not in (b"\x3b", b""):
        if kind == b"\x2c":  # a picture
            file.seek(_colours(file.read(9)[8:9]) + 1, os.SEEK_CUR)
        elif kind == b"\x21":  # an extension
            file.seek(1, os.SEEK_CUR)
        elif kind != b"\0":  # some writers put more ends of blocks than there are blocks
            return False
        else:
            continue
        while (length := file.read(1)) not in (b"\0", b""):
            file.seek(length[0], os.SEEK_CUR)
    return kind == b"\x3b"


def _colours(flags: bytes) -> int:
    """The size of the table of colours that a field of flags announces."""
    return 3 * 2 ** ((flags[0] & 7) + 1) if flags and flags[0] & 128 else 0


def _riff(file: BinaryIO) -> int:
    head = file.read(8)
    length = int.from_bytes(head[4:], "little")
    return 8 + length + length % 2 if head[:4] == b"RIFF" and length and len(head) == 8 else 0


def _iso(file: BinaryIO) -> int:
    head = file.read(16)
    if len(head) < 8 or not all(32 <= letter < 127 for letter in head[4:8]):
        return 0
    length = int.from_bytes(head[:4], "big")
    length = int.from_bytes(head[8:], "big") if length == 1 else length
    return length if length >= 8 else 0


def _asf(file: BinaryIO) -> int:
    length = int.from_bytes(file.read(24)[16:], "little")
    return length if length >= 24 else 0


def _flv(file: BinaryIO) -> int:
    head = file.read(11)
    if head.startswith(b"FLV"):
        return int.from_bytes(head[5:9], "big") + 4  # after each part stands its size
    return 11 + int.from_bytes(head[1:4], "big") + 4 if head[0] & 31 in (8, 9, 18) else 0


def _ogg(file: BinaryIO) -> int:
    head = file.read(27)
    return 27 + head[26] + sum(file.read(head[26])) if head.startswith(b"OggS") and len(head) == 27 else 0


def _matroska(file: BinaryIO) -> int:
    """The length of an element: of its name, of its size, and what the size says."""
    head = file.read(12)
    if len(head) < 12 or not head[0]:
        return 0
    name = 9 - head[0].bit_length()
    if not head[name]:
        return 0
    width = 9 - head[name].bit_length()
    length = int.from_bytes(head[name : name + width], "big") & ((1 << 7 * width) - 1)
    return name + width + length if length != (1 << 7 * width) - 1 else 0
