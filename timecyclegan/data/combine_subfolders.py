"""Bring the files of all subfolders into one folder, with the subfolders in their names: a/b/0.png becomes a__b__0.png.

For programs that take one flat folder. --undo makes the subfolders again, from the names alone. All files are moved, of
whatever kind, but hidden ones. A command that was killed goes on when it is run again.
"""
import sys
from pathlib import Path, PurePosixPath

from timecyclegan.data.moving import carry_out
from timecyclegan.data.planning import COPY, MOVE, Job, Step, files_below, folder_arguments
from timecyclegan.util.errors import UserError, command

SEPARATOR = "__"


def combine_subfolders(folder: Path, out: Path | None = None, copy: bool = False, separator: str = SEPARATOR,
                       undo: bool = False, dry_run: bool = False) -> None:
    """Do what the command does; ``out`` is ``folder`` if it is None.

    Raises:
        UserError: see :func:`files_below` and :func:`carry_out`; a name that could not be undone.
    """
    if not separator or "/" in separator or "\0" in separator:
        raise UserError(f"--separator {separator!r} must be a text without /")
    change = _taken_apart if undo else _joined

    def plan() -> list[Step]:
        return [Step(name, change(name, separator), COPY if copy else MOVE) for name in files_below(folder)]

    facts = {"copy": copy, "separator": separator, "undo": undo}
    carry_out(Job("combine_subfolders", folder, out or folder, facts), plan, dry_run)


def _joined(name: str, separator: str) -> str:
    parts = list(PurePosixPath(name).parts)
    joined = separator.join(parts)
    if joined.split(separator) != parts:
        raise UserError(f"{name} has {separator} in its names or beside them, which could not be undone; choose "
                        "another --separator")
    return joined


def _taken_apart(name: str, separator: str) -> str:
    *folders, last = PurePosixPath(name).parts
    parts = last.split(separator)
    if not {"", ".", ".."}.isdisjoint(parts):
        raise UserError(f"{name} is no name that combine_subfolders made with --separator {separator}")
    return str(PurePosixPath(*folders, *parts))


@command
def main(arguments: list[str] | None = None) -> None:
    parser = folder_arguments("combine_subfolders", __doc__)
    parser.add_argument("--separator", default=SEPARATOR, help="between the parts of a name (default: __)")
    parser.add_argument("--undo", action="store_true", help="make the subfolders again")
    combine_subfolders(**vars(parser.parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main())
