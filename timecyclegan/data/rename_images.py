"""Number the images of every folder: 00000.png, 00001.png, ... in natural order (10.png follows 9.png).

Folders below FOLDER are each numbered by themselves; suffixes stay, in small letters. What is no image is left out.
"""
import csv
import sys
from pathlib import Path

from timecyclegan.data import folder_parser
from timecyclegan.datasets.folders import files_below, make_folder, real_path
from timecyclegan.util.errors import UserError, command
from timecyclegan.util.files import replacing
from timecyclegan.util.logs import TEXT
from timecyclegan.util.names import one_form, user_path
from timecyclegan.video.frames import few, find_sequences


def _read_names(path: Path) -> list[tuple[str, str]]:
    try:
        with open(path, **TEXT) as file:
            head, *rows = csv.reader(file)
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"cannot read names from {path}: {error}") from error
    if head != ["new", "old"] or any(len(row) != 2 for row in rows):
        raise UserError(f"{path} is no list of names; expected what --names wrote: the columns new and old")
    return [(new, old) for new, old in rows]


@command
def main(arguments: list[str] | None = None) -> None:
    parser = folder_parser("rename_images", __doc__)
    parser.add_argument("--digits", type=int, default=5, help="of a number, at least (default: 5)")
    parser.add_argument("--first", type=int, default=0, help="number of a folder's first image (default: 0)")
    parser.add_argument("--names", metavar="FILE", type=user_path, help="write the new and old names to this CSV file")
    parser.add_argument("--undo", metavar="FILE", type=user_path, help="give back the old names of such a file")
    given = parser.parse_args(arguments)
    folder, first, undo = given.folder, given.first, given.undo
    if given.digits < 1 or first < 0:
        raise UserError(f"--digits {given.digits} --first {first}: expected 1 or more, and 0 or more")
    files = files_below(folder, given.out)
    stored = {one_form(name): name for name in files}
    renamed = {stored.get(one_form(new), new): old for new, old in (_read_names(undo) if undo else ())}
    if lost := renamed.keys() - set(files):
        raise UserError(f"{undo} lists files that {folder} lacks: {few(sorted(lost))}")
    for name, frames in {} if undo else find_sequences(folder).items():
        width = max(given.digits, len(str(first + len(frames) - 1)))
        for number, frame in enumerate(frames, first):
            if not isinstance(frame, Path):
                raise UserError(f"{folder / name} is a video; make frames of it with timecyclegan.data.prepare_video")
            old = frame.relative_to(folder)
            renamed[old.as_posix()] = old.with_name(f"{number:0{width}}{frame.suffix.lower()}").as_posix()
    rows = [(new, old) for old, new in renamed.items()]
    if given.names and real_path(given.names).is_relative_to(real_path(folder)):
        raise UserError(f"--names {given.names} lies in {folder}, which is only read; choose another file")
    if given.names and given.names.exists() and _read_names(given.names) != rows:
        raise UserError(f"--names {given.names} holds other names already; choose another file")

    def remember() -> None:
        if given.names and not undo:
            with replacing(given.names) as temporary, open(temporary, "w", **TEXT) as file:
                csv.writer(file).writerows([("new", "old"), *rows])

    make_folder(folder, given.out, {name: renamed.get(name) for name in files}, copy=given.copy, dry_run=given.dry_run,
                before=remember)


if __name__ == "__main__":
    sys.exit(main())
