"""Number the images of every folder: 00000.png, 00001.png, ... in natural order (10.png follows 9.png).

Folders below FOLDER are each numbered by themselves; suffixes stay, in small letters. A command that was killed goes on
when it is run again.
"""
import csv
import sys
from pathlib import Path, PurePosixPath

from timecyclegan.data.moving import carry_out
from timecyclegan.data.planning import COPY, MOVE, Job, Step, folder_arguments
from timecyclegan.util.errors import UserError, command
from timecyclegan.util.files import replacing
from timecyclegan.video.frames import find_sequences


def rename_images(folder: Path, out: Path | None = None, copy: bool = False, digits: int = 5, first: int = 0,
                  names: Path | None = None, undo: Path | None = None, dry_run: bool = False) -> None:
    """Do what the command does.

    Args:
        folder, out: ``out`` is ``folder`` if it is None.
        digits: at least as many, filled with zeros; more where there are more frames.
        first: number of a sequence's first frame.
        names: CSV file that is made, with the columns new and old, for ``undo``.
        undo: such a file; new names become old ones.

    Raises:
        UserError: see :func:`find_sequences` and :func:`carry_out`; a video among the sequences; ``names`` exists with
            other content, ``undo`` cannot be read.
    """
    renamed: list[tuple[str, str]] = []

    def plan() -> list[Step]:
        act = COPY if copy else MOVE
        if undo:
            return [Step(new, old, act) for new, old in _read_names(undo)]
        renamed.extend(_numbered(folder, digits, first))
        return [Step(old, new, act) for new, old in renamed]

    def remember() -> None:
        if names and not undo:
            _write_names(names, renamed)

    facts = {"copy": copy, "digits": digits, "first": first, "names": names and str(names), "undo": undo and str(undo)}
    carry_out(Job("rename_images", folder, out or folder, facts), plan, dry_run, remember)


def _numbered(folder: Path, digits: int, first: int):
    """(new, old) of every image."""
    for name, frames in find_sequences(folder).items():
        width = max(digits, len(str(first + len(frames) - 1)))
        for number, frame in enumerate(frames, first):
            if not isinstance(frame, Path):
                raise UserError(f"{folder / name} is a video; make frames of it with timecyclegan.data.prepare_video")
            place = PurePosixPath(name)
            yield str(place / f"{number:0{width}}{frame.suffix.lower()}"), str(place / frame.name)


def _write_names(path: Path, renamed: list[tuple[str, str]]) -> None:
    if path.exists() and _read_names(path) != renamed:
        raise UserError(f"--names {path} holds other names already; choose another file")
    with replacing(path) as temporary, open(temporary, "w", newline="") as file:
        csv.writer(file).writerows([("new", "old"), *renamed])


def _read_names(path: Path) -> list[tuple[str, str]]:
    try:
        with open(path, newline="") as file:
            head, *rows = csv.reader(file)
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"cannot read names from {path}: {error}") from error
    inside = all(len(row) == 2 and not any(PurePosixPath(name).is_absolute() or ".." in name.split("/")
                                           for name in row) for row in rows)
    if head != ["new", "old"] or not inside:
        raise UserError(f"{path} is no list of names; expected what --names wrote: the columns new and old")
    return [(new, old) for new, old in rows]


@command
def main(arguments: list[str] | None = None) -> None:
    parser = folder_arguments("rename_images", __doc__)
    parser.add_argument("--digits", type=int, default=5, help="of a number, at least (default: 5)")
    parser.add_argument("--first", type=int, default=0, help="number of a folder's first image (default: 0)")
    parser.add_argument("--names", metavar="FILE", type=Path, help="write the new and old names to this CSV file")
    parser.add_argument("--undo", metavar="FILE", type=Path, help="give back the old names of such a file")
    parsed = parser.parse_args(arguments)
    if parsed.digits < 1 or parsed.first < 0:
        raise UserError(f"--digits {parsed.digits} --first {parsed.first}: expected 1 or more, and 0 or more")
    rename_images(**vars(parsed))


if __name__ == "__main__":
    sys.exit(main())
