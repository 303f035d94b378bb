"""Bring the files of all subfolders into one folder, with the subfolders in their names: a/b/0.png becomes a__b__0.png.

For programs that take one flat folder. --undo makes the subfolders again, from the names alone. All files are taken, of
whatever kind, but hidden ones.
"""
import sys

from timecyclegan.data import folder_parser
from timecyclegan.datasets.folders import files_below, make_folder
from timecyclegan.util.errors import UserError, command


@command
def main(arguments: list[str] | None = None) -> None:
    parser = folder_parser("combine_subfolders", __doc__)
    parser.add_argument("--separator", default="__", help="between the parts of a name (default: __)")
    parser.add_argument("--undo", action="store_true", help="make the subfolders again")
    given = parser.parse_args(arguments)
    separator, names = given.separator, {}
    if not separator or "/" in separator:
        raise UserError(f"--separator {separator!r} must be a text without /")
    for name in files_below(given.folder, given.out):
        names[name] = name.replace(separator, "/") if given.undo else name.replace("/", separator)
        if given.undo and not {"", ".", ".."}.isdisjoint(names[name].split("/")):
            raise UserError(f"{name} is no name that combine_subfolders made with --separator {separator}")
        if not given.undo and names[name].split(separator) != name.split("/"):
            raise UserError(f"{name} has {separator} in its names or beside them, which could not be undone; choose "
                            "another --separator")
    make_folder(given.folder, given.out, names, copy=given.copy, dry_run=given.dry_run)


if __name__ == "__main__":
    sys.exit(main())
