"""Sort Cityscapes' frames into sequences: <split>/<city>/<city>_<seq>_<frame>_leftImg8bit.png to OUT/<split>/...

FOLDER is a package, such as leftImg8bit_sequence or gtFine, or a folder of packages; it stays as it is. Pictures become
OUT/<split>/<city>_<seq>/<frame>.png. The colours of label maps (gtFine) become
OUT/gtFine/<split>/<city>_<seq>/<frame>.png, from ids, or from *_color.png where there are none.
In some cities (train: bochum, hamburg, hanover, krefeld, monchengladbach, strasbourg; val: frankfurt; test: bielefeld,
mainz) the sequence number does not tell sequences apart. Their frames, in sorted order, are cut into snippets,
<city>_000000, <city>_000001, ...: after --snippet_length frames, and wherever frame numbers are not successive, so that
no snippet jumps in time, nor is any shifted because a frame is missing. They are counted over the pictures of the city,
which must be prepared at once; OUT/snippets.json says where they begin, so that label maps that come later, not before,
find the snippets of their pictures. What is missing is reported.
"""
import json
import re
import sys
from bisect import bisect
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from PIL import Image

from timecyclegan.data import folder_parser
from timecyclegan.datasets.folders import files_below, make_folder
from timecyclegan.datasets.labels import Translation
from timecyclegan.datasets.raw_images import encode_image
from timecyclegan.util.errors import UserError, command
from timecyclegan.util.files import write_json
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


class Frame(NamedTuple):
    """Where Cityscapes' names place a frame; sorts in the order of time."""
    split: str
    city: str
    sequence: int
    number: int

    @property
    def inconsistent(self) -> bool:
        return self.city in INCONSISTENT.get(self.split, ())

    def follows(self, earlier: "Frame") -> bool:
        return earlier._replace(number=earlier.number + 1) == self


Sequences = dict[tuple[str, str], list[Frame]]  # by split and name, frames in the order of time
Begins = dict[str, list[list[int]]]  # by "split/city": sequence and number of the first frame of every snippet


def prepare_cityscapes(folder: Path, out: Path, snippet_length: int = 30, copy: bool = False,
                       dry_run: bool = False) -> None:
    """Do what the command does.

    Raises:
        UserError: no file of Cityscapes' names, or a frame twice; pictures of a city other than those that ``out``
            holds, or no pictures for its label maps; see :func:`files_below` and :func:`make_folder`.
    """
    if snippet_length < 1:
        raise UserError(f"--snippet_length {snippet_length}: expected 1 or more")
    files = _find(folder, out)
    sequences = group((frame for frame, kinds in files.items() if _PICTURE in kinds), snippet_length)
    own: Begins = defaultdict(list)
    for first, *_ in sequences.values():
        if first.inconsistent:
            own[f"{first.split}/{first.city}"].append([first.sequence, first.number])
    remembered = _read_snippets(out / SNIPPETS)
    begins = own | remembered
    for city in own:
        if begins[city] != own[city]:
            raise UserError(f"{out} holds other pictures or snippets of {city} than would be made now; prepare all "
                            "pictures of a city at once, with one --snippet_length, or choose another folder")
    names: dict[str, str | None] = {}
    lonely = []
    for frame, kinds in files.items():
        number, city = frame.sequence, f"{frame.split}/{frame.city}"
        if frame.inconsistent:
            if city not in begins:
                raise UserError(f"snippets of {city} are counted over its pictures, but neither is one given nor does "
                                f"{out} hold them with their {SNIPPETS}; prepare the pictures first, or both at once")
            number = bisect(begins[city], [frame.sequence, frame.number]) - 1
        place = f"{city}_{number:06}/{frame.number:06}"
        if frame.inconsistent and _PICTURE not in kinds and not any(out.glob(f"{place}.*")):
            lonely.append(frame)  # its number may lie in a gap between snippets
            continue
        for kind, name in kinds.items():
            if kind == _PICTURE:
                names[name] = place + PurePosixPath(name).suffix
            elif kind == _IDS or _IDS not in kinds:
                names[name] = f"gtFine/{place}.png"
    for line in report(sequences, snippet_length, lonely):
        print(f"note: {line}")
    colours = Translation("cityscapes_ids", "cityscapes_colours")

    def make(path: Path) -> bytes | None:
        if _PICTURE in path.name:
            return None
        return encode_image(Image.fromarray(colours(path) if _IDS in path.name else read_image(path)), ".png")

    def remember() -> None:
        if begins != remembered:
            write_json(out / SNIPPETS, begins)

    make_folder(folder, out, names, make, copy, dry_run, remember)


def _find(folder: Path, out: Path) -> dict[Frame, dict[str, str]]:
    """The files of every frame by kind, relative to ``folder``; other files are ignored."""
    found: dict[Frame, dict[str, str]] = defaultdict(dict)
    for name in files_below(folder, out):
        path = PurePosixPath(name)
        match = _FILE.fullmatch(path.name)
        if match and len(path.parts) > 2:
            frame = Frame(path.parts[-3], match["city"], int(match["sequence"]), int(match["frame"]))
            other = found[frame].setdefault(match["kind"], name)
            if other != name:
                raise UserError(f"{folder} holds a frame twice, as {other} and {name}; give the folder of one package")
    if not found:
        raise UserError(f"{folder} holds no Cityscapes frames; expected files such as "
                        "<split>/<city>/<city>_000000_000000_leftImg8bit.png below it")
    return found


def _read_snippets(path: Path) -> Begins:
    try:
        return json.loads(path.read_text()) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}; prepare the pictures anew, in another folder") from error


def group(frames: Iterable[Frame], snippet_length: int) -> Sequences:
    """The frames of each sequence; those of inconsistent cities are cut into snippets."""
    sequences: Sequences = {}
    for (split, city), of_city in groupby(sorted(frames), key=lambda frame: frame[:2]):
        parts: list[list[Frame]] = []
        for frame in of_city:
            if parts and frame.inconsistent:
                goes_on = frame.follows(parts[-1][-1]) and len(parts[-1]) < snippet_length
            else:
                goes_on = bool(parts) and frame.sequence == parts[-1][-1].sequence
            if not goes_on:
                parts.append([])
            parts[-1].append(frame)
        for number, part in enumerate(parts):
            sequences[split, f"{city}_{number if part[0].inconsistent else part[0].sequence:06}"] = part
    return sequences


def report(sequences: Sequences, snippet_length: int, lonely: Sequence[Frame]) -> list[str]:
    """Lines about what is missing: frames amid a sequence, frames of a snippet, pictures of ``lonely`` label maps."""
    gaps, short = [], []
    for (split, name), frames in sequences.items():
        jumps = [f"{a.number + 1:06}" + (f" to {b.number - 1:06}" if b.number - a.number > 2 else "")
                 for a, b in pairwise(frames) if not b.follows(a)]
        if jumps:
            gaps.append(f"{split}/{name} ({', '.join(jumps)})")
        if frames[0].inconsistent and len(frames) < snippet_length:
            short.append(f"{split}/{name} ({len(frames)})")
    lines = [f"{len(sequences)} sequences, {sum(map(len, sequences.values()))} frames"] if sequences else []
    if gaps:
        lines.append(f"frames are missing in {len(gaps)} sequences, which jump there: {few(gaps, 10)}")
    if short:
        lines.append(f"{len(short)} snippets have fewer than {snippet_length} frames: {few(short, 10)}")
    if lonely:
        names = [f"{frame.split}/{frame.city} {frame.sequence:06} {frame.number:06}" for frame in sorted(lonely)]
        lines.append(f"{len(lonely)} label maps are left out, their pictures are missing: {few(names, 10)}")
    return lines


@command
def main(arguments: list[str] | None = None) -> None:
    parser = folder_parser("prepare_cityscapes", __doc__)
    parser.add_argument("--snippet_length", type=int, default=30, help="frames of a snippet (default: 30)")
    prepare_cityscapes(**vars(parser.parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main())
