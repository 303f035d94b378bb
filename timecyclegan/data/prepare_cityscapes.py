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
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from PIL import Image

from timecyclegan.data import folder_parser
from timecyclegan.datasets.folders import files_below, make_folder
from timecyclegan.datasets.labels import Translation
from timecyclegan.datasets.raw_images import encode_image
from timecyclegan.util.errors import UserError, command, note
from timecyclegan.util.files import write_json
from timecyclegan.video.frames import few, read_image

INCONSISTENT = {"train/bochum", "train/hamburg", "train/hanover", "train/krefeld", "train/monchengladbach",
                "train/strasbourg", "val/frankfurt", "test/bielefeld", "test/mainz"}
"""Cities whose sequence numbers do not tell sequences apart."""

_FILE = re.compile(r"(?P<city>.+)_(?P<sequence>\d+)_(?P<frame>\d+)_(?P<kind>leftImg8bit|gtFine_labelIds|gtFine_color)"
                   r"(?P<suffix>\.png|\.jpe?g)")
_PICTURE, _IDS = "leftImg8bit", "gtFine_labelIds"
SNIPPETS = "snippets.json"


class Frame(NamedTuple):
    """Where Cityscapes' names place a frame; sorts in the order of time."""
    city: str  # with the split: "train/bochum"
    sequence: int
    number: int

    def follows(self, earlier: "Frame | None") -> bool:
        return earlier is not None and earlier._replace(number=earlier.number + 1) == self

    def sequence_name(self, begins: dict[str, list[list[int]]]) -> str:
        """Its sequence in OUT; ``begins`` has sequence and number of the first frame of each snippet of a city."""
        snippets = self.city in INCONSISTENT
        number = bisect(begins[self.city], [self.sequence, self.number]) - 1 if snippets else self.sequence
        return f"{self.city}_{number:06}"


def _find(folder: Path, out: Path) -> dict[Frame, dict[str, str]]:
    """The files of every frame by kind, relative to ``folder``; a note names other files."""
    found: dict[Frame, dict[str, str]] = defaultdict(dict)
    others = []
    for name in files_below(folder, out):
        path = PurePosixPath(name)
        match = _FILE.fullmatch(path.name)
        if match and len(path.parts) > 2:
            frame = Frame(f"{path.parts[-3]}/{match['city']}", int(match["sequence"]), int(match["frame"]))
            if (other := found[frame].setdefault(match["kind"], name)) != name:
                raise UserError(f"{folder} holds a frame twice, as {other} and {name}; give the folder of one package")
        else:
            others.append(name)
    if not found:
        raise UserError(f"{folder} holds no Cityscapes frames; expected files such as "
                        "<split>/<city>/<city>_000000_000000_leftImg8bit.png below it")
    if others:
        note(f"{folder}: left out are {len(others)} files that are neither pictures nor label maps: {few(others)}")
    return found


def _report(sequences: dict[str, list[Frame]], snippet_length: int, lonely: list[Frame]) -> None:
    """Say what is missing: frames amid a sequence, frames of a snippet, pictures of ``lonely`` label maps."""
    gaps, short = [], []
    for name, frames in sequences.items():
        jumps = [f"{a.number + 1:06}" + (f" to {b.number - 1:06}" if b.number - a.number > 2 else "")
                 for a, b in pairwise(frames) if not b.follows(a)]
        if jumps:
            gaps.append(f"{name} ({', '.join(jumps)})")
        if frames[0].city in INCONSISTENT and len(frames) < snippet_length:
            short.append(f"{name} ({len(frames)})")
    if sequences:
        note(f"{len(sequences)} sequences, {sum(map(len, sequences.values()))} frames")
    for what, names in [
        ("sequences jump where frames are missing", gaps), (f"snippets have fewer than {snippet_length} frames", short),
        ("label maps are left out, their pictures are missing",
         [f"{frame.city} {frame.sequence:06} {frame.number:06}" for frame in sorted(lonely)]),
    ]:
        if names:
            note(f"{len(names)} {what}: {few(names, 10)}")


@command
def main(arguments: list[str] | None = None) -> None:
    parser = folder_parser("prepare_cityscapes", __doc__)
    parser.add_argument("--snippet_length", type=int, default=30, help="frames of a snippet (default: 30)")
    given = parser.parse_args(arguments)
    out, snippet_length = given.out, given.snippet_length
    if snippet_length < 1:
        raise UserError(f"--snippet_length {snippet_length}: expected 1 or more")
    files = _find(given.folder, out)

    # Sequences and snippets of the pictures, and where the snippets of pictures that came before begin.
    sequences: dict[str, list[Frame]] = {}
    own: dict[str, list[list[int]]] = defaultdict(list)
    last, name = None, ""
    for frame in sorted(frame for frame, kinds in files.items() if _PICTURE in kinds):
        if frame.city in INCONSISTENT and not (frame.follows(last) and len(sequences[name]) < snippet_length):
            own[frame.city].append([frame.sequence, frame.number])
        last, name = frame, frame.sequence_name(own)
        sequences.setdefault(name, []).append(frame)
    try:
        remembered = json.loads((out / SNIPPETS).read_text("utf-8")) if (out / SNIPPETS).exists() else {}
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {out / SNIPPETS}: {error}; prepare the pictures in another folder") from error
    begins = own | remembered
    for city in own:
        if begins[city] != own[city]:
            raise UserError(f"{out} holds other pictures or snippets of {city} than would be made now; prepare all "
                            "pictures of a city at once, with one --snippet_length, or choose another folder")

    # New names.
    names: dict[str, str | None] = {}
    lonely = []
    for frame, kinds in files.items():
        if frame.city in INCONSISTENT and frame.city not in begins:
            raise UserError(f"snippets of {frame.city} are counted over its pictures, which neither are given nor lie "
                            f"in {out} with their {SNIPPETS}; prepare the pictures first, or both at once")
        place = f"{frame.sequence_name(begins)}/{frame.number:06}"
        if frame.city in INCONSISTENT and _PICTURE not in kinds and not any(out.glob(f"{place}.*")):
            lonely.append(frame)  # its number may lie in a gap between snippets
            continue
        for kind, name in kinds.items():
            if kind == _PICTURE:
                names[name] = place + PurePosixPath(name).suffix
            elif kind == _IDS or _IDS not in kinds:
                names[name] = f"gtFine/{place}.png"
    _report(sequences, snippet_length, lonely)
    colours = Translation("cityscapes_ids", "cityscapes_colours")

    def make(path: Path) -> bytes | None:
        if _PICTURE in path.name:
            return None
        return encode_image(Image.fromarray(colours(path) if _IDS in path.name else read_image(path)), ".png")

    def remember() -> None:
        if begins != remembered:
            write_json(out / SNIPPETS, begins)

    make_folder(given.folder, out, names, make, given.copy, given.dry_run, remember)


if __name__ == "__main__":
    sys.exit(main())
