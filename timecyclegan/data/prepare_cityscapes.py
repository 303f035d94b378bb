"""Sort Cityscapes' frames into sequences: <split>/<city>/<city>_<seq>_<frame>_leftImg8bit.png to OUT/<split>/...

FOLDER is a package, such as leftImg8bit_sequence or gtFine, or a folder of packages. Pictures are moved (with --copy:
copied) to OUT/<split>/<city>_<seq>/<frame>.png. Label maps (gtFine) are not moved: their colours are written to
OUT/gtFine/<split>/<city>_<seq>/<frame>.png, from ids, or from *_color.png where there are none.
In some cities (train: bochum, hamburg, hanover, krefeld, monchengladbach, strasbourg; val: frankfurt; test: bielefeld,
mainz) the sequence number does not tell sequences apart. Their frames, in sorted order, are cut into snippets,
<city>_000000, <city>_000001, ...: after --snippet_length frames, and wherever frame numbers are not successive, so that
no snippet jumps in time, nor is any shifted because a frame is missing. They are counted over the pictures of the city,
which must be prepared at once; OUT/snippets.json says where they begin, so that label maps that come later, not before,
find the snippets of their pictures. What is missing is reported. A command that was killed goes on when it is run
again, and has nothing to do when all is done.
"""
import json
import re
import sys
from bisect import bisect
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, pairwise
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from PIL import Image

from timecyclegan.data.colormaps import Translation
from timecyclegan.data.moving import carry_out
from timecyclegan.data.planning import COPY, MOVE, Job, Step, files_below, folder_arguments
from timecyclegan.util.errors import UserError, command
from timecyclegan.util.files import replacing
from timecyclegan.video.frames import few, read_image

INCONSISTENT = {
    "train": ("bochum", "hamburg", "hanover", "krefeld", "monchengladbach", "strasbourg"),
    "val": ("frankfurt",),
    "test": ("bielefeld", "mainz"),
}
"""Cities whose sequence numbers do not tell sequences apart, by split."""

_FILE = re.compile(r"(?P<city>.+)_(?P<sequence>\d+)_(?P<frame>\d+)_(?P<kind>leftImg8bit|gtFine_labelIds|gtFine_color)"
                   r"(?P<suffix>\.png|\.jpe?g)")
_PICTURE, _IDS = "leftImg8bit", "gtFine_labelIds"
SNIPPETS = "snippets.json"
Begins = dict[str, list[list[int]]]  # by "split/city": sequence and number of the first frame of every snippet


class Frame(NamedTuple):
    """Where Cityscapes' names place a frame; sorts in the order of time."""
    split: str
    city: str
    sequence: int
    number: int


def prepare_cityscapes(folder: Path, out: Path, snippet_length: int = 30, copy: bool = False,
                       dry_run: bool = False) -> None:
    """Do what the command does.

    Raises:
        UserError: see :func:`files_below` and :func:`carry_out`; no file of Cityscapes' names.
    """
    if snippet_length < 1:
        raise UserError(f"--snippet_length {snippet_length}: expected 1 or more")
    colours = Translation("cityscapes_ids", "cityscapes_colours")

    def make(old: Path, new: Path) -> None:
        Image.fromarray(colours(old) if _IDS in old.name else read_image(old)).save(new, "PNG")

    begins: Begins = {}

    def plan() -> list[Step]:
        found = _find(folder)
        if not found and any(out.glob("*/*_[0-9]*/*")):
            return []
        if not found:
            raise UserError(f"{folder} holds no Cityscapes frames; expected files such as "
                            "<split>/<city>/<city>_000000_000000_leftImg8bit.png below it")
        sequences = group((frame for frame, kinds in found.items() if _PICTURE in kinds), snippet_length)
        begins.update(_begins(out, sequences))
        places = {frame: place for frame in found if (place := _place(frame, found, begins, out))}
        for line in report(sequences, snippet_length, sorted(found.keys() - places.keys())):
            print(f"note: {line}")
        return [step for frame, place in places.items() for step in _steps(found[frame], place, copy)]

    def remember() -> None:
        path, text = out / SNIPPETS, json.dumps(begins, sort_keys=True) + "\n"
        if begins and not (path.exists() and path.read_text() == text):
            with replacing(path, sync=True) as temporary:
                temporary.write_text(text)

    facts = {"copy": copy, "snippet_length": snippet_length}
    carry_out(Job("prepare_cityscapes", folder, out, facts, {"colour": make}), plan, dry_run, remember)


def _steps(kinds: dict[str, str], place: str, copy: bool) -> Iterator[Step]:
    """What becomes of the files of one frame."""
    for kind, path in kinds.items():
        if kind == _PICTURE:
            yield Step(path, place + PurePosixPath(path).suffix, COPY if copy else MOVE)
        elif kind == _IDS or _IDS not in kinds:
            yield Step(path, f"gtFine/{place}.png", "colour")


def _find(folder: Path) -> dict[Frame, dict[str, str]]:
    """The files of every frame by kind, relative to ``folder``; other files are ignored."""
    found: dict[Frame, dict[str, str]] = defaultdict(dict)
    for name in files_below(folder, needed=False):
        path = PurePosixPath(name)
        match = _FILE.fullmatch(path.name)
        if match and len(path.parts) > 2:
            frame = Frame(path.parts[-3], match["city"], int(match["sequence"]), int(match["frame"]))
            other = found[frame].setdefault(match["kind"], name)
            if other != name:
                raise UserError(f"{folder} holds a frame twice, as {other} and {name}; give the folder of one package")
    return found


def _begins(out: Path, sequences: dict[tuple[str, str], list[Frame]]) -> Begins:
    """Where snippets begin: those of ``sequences``, and those that ``out`` holds.

    Raises:
        UserError: they are not the same, though of one city.
    """
    path, own, held = out / SNIPPETS, defaultdict(list), {}
    for (split, _), (first, *_) in sequences.items():
        if _inconsistent(first):
            own[f"{split}/{first.city}"].append([first.sequence, first.number])
    try:
        remembered = json.loads(path.read_text()) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}; prepare the pictures anew, in another folder") from error
    for city in own | remembered:
        if any(out.glob(f"{city}_[0-9]*")):
            held[city] = remembered.get(city)
    for city, begins in own.items():
        if held.get(city, begins) != begins:
            raise UserError(f"{out} holds other pictures or snippets of {city} than would be made now; prepare all "
                            "pictures of a city at once, with one --snippet_length, or choose another folder")
    return own | held


def _place(frame: Frame, found: dict[Frame, dict[str, str]], begins: Begins, out: Path) -> str | None:
    """The frame's place in OUT, without suffix; None for a label map in whose snippet its picture is not.

    Raises:
        UserError: no picture of the frame's city is known.
    """
    number, city = frame.sequence, f"{frame.split}/{frame.city}"
    if _inconsistent(frame):
        if city not in begins:
            raise UserError(f"snippets of {city} are counted over its pictures, but neither is one given nor does "
                            f"{out} hold them with their {SNIPPETS}; prepare the pictures first, or both at once")
        number = bisect(begins[city], [frame.sequence, frame.number]) - 1
    place = f"{city}_{number:06}/{frame.number:06}"
    if _inconsistent(frame) and _PICTURE not in found[frame] and (number < 0 or not any(out.glob(f"{place}.*"))):
        return None
    return place


def _inconsistent(frame: Frame) -> bool:
    return frame.city in INCONSISTENT.get(frame.split, ())


def group(frames: Iterable[Frame], snippet_length: int) -> dict[tuple[str, str], list[Frame]]:
    """The frames of each sequence, by split and name, in order of time."""
    sequences = {}
    for (split, city), of_city in groupby(sorted(frames), key=lambda frame: frame[:2]):
        if city in INCONSISTENT.get(split, ()):
            for number, snippet in enumerate(_snippets(of_city, snippet_length)):
                sequences[split, f"{city}_{number:06}"] = snippet
        else:
            for number, sequence in groupby(of_city, key=lambda frame: frame.sequence):
                sequences[split, f"{city}_{number:06}"] = list(sequence)
    return sequences


def _snippets(frames: Iterable[Frame], length: int) -> list[list[Frame]]:
    snippets: list[list[Frame]] = []
    for frame in frames:
        follows = snippets and _follows(snippets[-1][-1], frame)
        if not follows or len(snippets[-1]) == length:
            snippets.append([])
        snippets[-1].append(frame)
    return snippets


def _follows(earlier: Frame, later: Frame) -> bool:
    return earlier._replace(number=earlier.number + 1) == later


def report(sequences: dict[tuple[str, str], list[Frame]], snippet_length: int, lonely: Sequence[Frame]) -> list[str]:
    """Lines about what is missing: frames amid a sequence, frames of a snippet, pictures of ``lonely`` label maps."""
    gaps, short = [], []
    for (split, name), frames in sequences.items():
        jumps = [(a.number, b.number) for a, b in pairwise(frames) if not _follows(a, b)]
        if jumps:
            gaps.append(f"{split}/{name} ({', '.join(_missing(*jump) for jump in jumps)})")
        if _inconsistent(frames[0]) and len(frames) < snippet_length:
            short.append(f"{split}/{name} ({len(frames)})")
    lines = [f"{len(sequences)} sequences, {sum(map(len, sequences.values()))} frames"] if sequences else []
    if gaps:
        lines.append(f"frames are missing in {len(gaps)} sequences, which jump there: {few(gaps, 10)}")
    if short:
        lines.append(f"{len(short)} snippets have fewer than {snippet_length} frames: {few(short, 10)}")
    if lonely:
        names = [f"{frame.split}/{frame.city} {frame.sequence:06} {frame.number:06}" for frame in lonely]
        lines.append(f"{len(lonely)} label maps are left out, their pictures are missing: {few(names, 10)}")
    return lines


def _missing(before: int, after: int) -> str:
    return f"{before + 1:06}" + (f" to {after - 1:06}" if after - before > 2 else "")


@command
def main(arguments: list[str] | None = None) -> None:
    parser = folder_arguments("prepare_cityscapes", __doc__, in_place=False)
    parser.add_argument("--snippet_length", type=int, default=30, help="frames of a snippet (default: 30)")
    prepare_cityscapes(**vars(parser.parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main())
