"""Commands that make data, and what their command lines have in common."""
import argparse
import dataclasses
from typing import Any, NoReturn

from timecyclegan.util.argparser import add_option
from timecyclegan.util.errors import UserError
from timecyclegan.util.names import user_path
from timecyclegan.util.options import Check, UserPaths, check_value


@dataclasses.dataclass(frozen=True)
class CommandOptions(UserPaths):
    """Flags of a command, as fields that ``util.options.option`` made; a UserError if one is out of its range."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in dataclasses.fields(self):
            if wrong := check_value(field, getattr(self, field.name)):
                raise UserError(f"--{field.name} {wrong}")


def between(low: float, high: float) -> Check:
    """The check of an option for a range with both of its ends."""
    return lambda value: low <= value <= high, f"{low} to {high}"


class CommandParser(argparse.ArgumentParser):
    """The parser of ``python -m timecyclegan.data.NAME``, described by its docstring; a mistake is one line."""

    def __init__(self, name: str, doc: str, kind: type[CommandOptions] = CommandOptions):
        head, _, more = doc.partition("\n\n")
        super().__init__(f"python -m timecyclegan.data.{name}", description=head, epilog=" ".join(more.split()))
        self.kind = kind
        for field in dataclasses.fields(kind):
            add_option(self, field)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see --help)")

    def parse(self, arguments: list[str] | None) -> dict[str, Any]:
        """What was given, by name; the fields of ``kind`` together, as "options"."""
        given = vars(self.parse_args(arguments))
        own = {field.name: given.pop(field.name) for field in dataclasses.fields(self.kind) if field.name in given}
        options = {name: tuple(value) if isinstance(value, list) else value for name, value in own.items()}
        return {**given, "options": self.kind(**options)}


def folder_parser(name: str, doc: str, copy: bool = True) -> CommandParser:
    """The parser of a command that makes a folder OUT of FOLDER, which is only read (see ``datasets.folders``)."""
    parser = CommandParser(name, doc)
    parser.add_argument("folder", metavar="FOLDER", type=user_path, help="is only read")
    parser.add_argument("out", metavar="OUT", type=user_path,
                        help="the new folder; what is there already is not made again")
    if copy:
        parser.add_argument("--copy", action="store_true",
                            help="copy files that stay as they are; else they are hard links, which share content")
    parser.add_argument("--dry_run", action="store_true", help="only say what would be made")
    return parser
