"""Exchange the two upper levels of folders: FOLDER/a/b/... becomes OUT/b/a/...

For example run/rgb and run/semantic become rgb/run and semantic/run, two folders to train on. All files are taken, of
whatever kind, but hidden ones and those that do not lie two folders deep; lower levels stay as they are.
"""
import sys

from timecyclegan.data import folder_parser
from timecyclegan.datasets.folders import files_below, make_folder
from timecyclegan.util.errors import command


@command
def main(arguments: list[str] | None = None) -> None:
    given = folder_parser("switch_subfolders", __doc__).parse_args(arguments)
    names: dict[str, str | None] = {}
    for name in files_below(given.folder, given.out):
        upper, *rest = name.split("/")
        names[name] = "/".join((rest[0], upper, *rest[1:])) if len(rest) > 1 else None
    make_folder(given.folder, given.out, names, copy=given.copy, dry_run=given.dry_run)


if __name__ == "__main__":
    sys.exit(main())
