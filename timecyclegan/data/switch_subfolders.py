"""Exchange the two upper levels of folders: FOLDER/a/b/... becomes FOLDER/b/a/...

For example run/rgb and run/semantic become rgb/run and semantic/run, two folders to train on. All files are moved, of
whatever kind, but hidden ones; lower levels stay as they are. A command that was killed goes on when it is run again.
"""
import sys
from pathlib import Path, PurePosixPath

from timecyclegan.data.moving import carry_out
from timecyclegan.data.planning import COPY, MOVE, Job, Step, files_below, folder_arguments
from timecyclegan.util.errors import UserError, command


def switch_subfolders(folder: Path, out: Path | None = None, copy: bool = False, dry_run: bool = False) -> None:
    """Do what the command does; ``out`` is ``folder`` if it is None.

    Raises:
        UserError: see :func:`files_below` and :func:`carry_out`; a file that does not lie two folders deep.
    """
    def plan() -> list[Step]:
        return [Step(name, _switched(name), COPY if copy else MOVE) for name in files_below(folder)]

    carry_out(Job("switch_subfolders", folder, out or folder, {"copy": copy}), plan, dry_run)


def _switched(name: str) -> str:
    upper, *rest = PurePosixPath(name).parts
    if len(rest) < 2:
        raise UserError(f"{name} does not lie two folders deep, as in a/b/{PurePosixPath(name).name}; move it away")
    return str(PurePosixPath(rest[0], upper, *rest[1:]))


@command
def main(arguments: list[str] | None = None) -> None:
    switch_subfolders(**vars(folder_arguments("switch_subfolders", __doc__).parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main())
