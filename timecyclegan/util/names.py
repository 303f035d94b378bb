"""Names of files: what users write for a path, Unicode's several forms of one name, look-alikes, too long ones.

A name may hold anything but "/": bytes that are no UTF-8 stand in a ``str`` as lone surrogates (PEP 383), which is what
:func:`os.fsencode` takes back.
"""
import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

LONGEST = 255  # bytes that file systems take for a name

_BIDI = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # they turn the text around them round
# Letters of other alphabets that look like Latin ones, in small letters.
_TWINS = str.maketrans("аеорсухіјѕԁһкмтвнгαορντικυ", "aeopcyxijsdhkmtbhraopvtiku")


def user_path(path: str | os.PathLike) -> Path:
    """What a user wrote for a path, :func:`expanded`; of several Unicode forms the one that is :func:`present`.

    To convert twice is to convert once.
    """
    return present(expanded(path))


def expanded(path: str | os.PathLike) -> Path:
    """The path with home folders for ``~`` and ``~name``, as shells have them; also where no shell saw it."""
    text = os.fsdecode(path)
    whole = os.path.expanduser(text)
    if whole == text and text.startswith("./~"):
        return Path.cwd() / text  # a file of that name, also when this is read again
    return Path(whole)


def present(path: Path) -> Path:
    """``path``, or, where nothing is there, what is there under another Unicode form (NFC, NFD) of the same name."""
    if str(path).isascii() or os.path.lexists(path):
        return path
    parent = present(path.parent) if path.parent != path else path
    try:
        twins = [name for name in os.listdir(parent) if one_form(name) == one_form(path.name)]
    except OSError:
        twins = []
    return parent / (twins[0] if twins else path.name)


def one_form(name: str) -> str:
    """The form (NFC) in which names are compared: "é" may also be stored as "e" with an accent, as macOS does it."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def one_line(text: str) -> str:
    """A text for one line of a terminal or a log: line breaks and other control characters in it are escaped."""
    return "".join(ascii(c)[1:-1] if unicodedata.category(c) in ("Cc", "Zl", "Zp") or c in _BIDI else c for c in text)


def readable(text: str) -> str:
    """The text as valid UTF-8: bytes that are none stand escaped, as backslash, x and two digits."""
    return re.sub("[\udc80-\udcff]", lambda byte: f"\\x{ord(byte[0]) - 0xDC00:02x}", text)


def free_name(name: str, sequences: Iterable[str]) -> str:
    """What to call a file or folder of ours beside the folders of ``sequences``: ``name``, or with "_" after its stem.
    """
    taken, (stem, suffix) = {sequence.split("/")[0] for sequence in sequences}, os.path.splitext(name)
    while stem + suffix in taken:
        stem += "_"
    return stem + suffix


def fitting(stem: str, suffix: str = "", room: int = LONGEST) -> str:
    """``stem + suffix``; if that has more than ``room`` bytes, the stem is cut, and a hash tells it from others."""
    whole, end = os.fsencode(stem), os.fsencode(suffix)
    if len(whole) + len(end) <= room:
        return stem + suffix
    mark = f"~{hashlib.sha256(whole).hexdigest()[:12]}"
    kept = room - len(end) - len(mark)
    while kept > 0 and whole[kept] & 0xC0 == 0x80:  # not amid a character of UTF-8
        kept -= 1
    return f"{os.fsdecode(whole[:kept])}{mark}{suffix}"


def look_alike(name: str, others: Iterable[str]) -> str:
    """What an error may add of the first of ``others`` that looks like ``name``: how the two differ; else nothing."""
    other = next((other for other in others if other != name and _looks(other) == _looks(name)), None)
    return "" if other is None else f"; {difference(name, other)}"


def difference(name: str, other: str) -> str:
    """In what two names differ that look alike, in words and code points."""
    start = _common(name, other)
    end = _common(name[start:][::-1], other[start:][::-1])
    here, there = (text[start:len(text) - end] for text in (name, other))
    what = ("their Unicode form (NFC, NFD)" if one_form(name) == one_form(other) else
            "case" if name.casefold() == other.casefold() else
            "spaces at an end" if name.strip() == other.strip() else "characters that look alike or are not seen")
    return one_line(f"{name!r} and {other!r} differ in {what}: {_points(here)} against {_points(there)}")


def _common(name: str, other: str) -> int:
    """How many characters the two begin with alike."""
    return next((i for i, (a, b) in enumerate(zip(name, other, strict=False)) if a != b), min(len(name), len(other)))


def _looks(name: str) -> str:
    """What is the same for names that are hard to tell apart by eye."""
    # A byte that is no UTF-8 is most likely Latin-1.
    readable = "".join(chr(ord(c) - 0xDC00) if "\udc80" <= c <= "\udcff" else c for c in name)
    plain = unicodedata.normalize("NFKC", readable).casefold().translate(_TWINS)
    seen = ("-" if unicodedata.category(c) == "Pd" or c == "\u2212" else c for c in plain
            if unicodedata.category(c) not in ("Cf", "Cc") and not "\ufe00" <= c <= "\ufe0f")
    return re.sub("-+", "-", " ".join("".join(seen).split()))  # text processors make one dash of two hyphens


def _points(text: str, shown: int = 4) -> str:
    named = [f"byte 0x{ord(c) - 0xDC00:02X}" if "\udc80" <= c <= "\udcff" else
             f"U+{ord(c):04X} {unicodedata.name(c, '')}".rstrip() for c in text]
    return ", ".join(named[:shown]) + " ..." * (len(named) > shown) or "nothing"
