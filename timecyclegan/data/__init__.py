"""Commands that make data, and what their command lines have in common."""
import argparse
from pathlib import Path
from typing import NoReturn

from timecyclegan.util.errors import UserError


class CommandParser(argparse.ArgumentParser):
    """The parser of ``python -m timecyclegan.data.NAME``, described by its module's docstring; a mistake is one line."""

    def __init__(self, name: str, doc: str, **options):
        head, _, more = doc.partition("\n\n")
        super().__init__(f"python -m timecyclegan.data.{name}", description=head, epilog=" ".join(more.split()),
                         **options)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see --help)")


def folder_parser(name: str, doc: str, copy: bool = True) -> CommandParser:
    """The parser of a command that makes a folder OUT of FOLDER, which is only read (see ``datasets.folders``)."""
    parser = CommandParser(name, doc)
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="is only read")
    parser.add_argument("out", metavar="OUT", type=Path, help="the new folder; what is there already is not made again")
    if copy:
        parser.add_argument("--copy", action="store_true",
                            help="copies; else files that stay as they are become hard links, which share their content")
    parser.add_argument("--dry_run", action="store_true", help="only say what would be made")
    return parser
