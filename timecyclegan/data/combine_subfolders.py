"""Bring the files of all subfolders into one folder, with the subfolders in their names: a/b/0.png becomes a__b__0.png.

For programs that take one flat folder. --undo makes the subfolders again, from the names alone. All files are taken, of
whatever kind, but hidden ones.
"""
import sys
from pathlib import Path

from timecyclegan.data import folder_parser
from timecyclegan.datasets.folders import files_below, make_folder
from timecyclegan.util.errors import UserError, command

SEPARATOR = "__"


def combine_subfolders(folder: Path, out: Path, separator: str = SEPARATOR, undo: bool = False, copy: bool = False,
                       dry_run: bool = False) -> None:
    """Do what the command does.

    Raises:
        UserError: a name that could not be undone; see :func:`files_below` and :func:`make_folder`.
    """
    if not separator or "/" in separator or "\0" in separator:
        raise UserError(f"--separator {separator!r} must be a text without /")
    names: dict[str, str | None] = {}
    for name in files_below(folder, out):
        names[name] = name.replace(separator, "/") if undo else name.replace("/", separator)
        if undo and not {"", ".", ".."}.isdisjoint(names[name].split("/")):
            raise UserError(f"{name} is no name that combine_subfolders made with --separator {separator}")
        if not undo and names[name].split(separator) != name.split("/"):
            raise UserError(f"{name} has {separator} in its names or beside them, which could not be undone; choose "
                            "another --separator")
    make_folder(folder, out, names, copy=copy, dry_run=dry_run)


@command
def main(arguments: list[str] | None = None) -> None:
    parser = folder_parser("combine_subfolders", __doc__)
    parser.add_argument("--separator", default=SEPARATOR, help="between the parts of a name (default: __)")
    parser.add_argument("--undo", action="store_true", help="make the subfolders again")
    combine_subfolders(**vars(parser.parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main())
