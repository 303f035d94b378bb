"""The command lines of train, val, test and trainval, made from the dataclasses of ``util.options``."""
import argparse
import dataclasses
import inspect
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from timecyclegan.util.errors import UserError, suggestion
from timecyclegan.util.logs import CHECKPOINTS
from timecyclegan.util.names import LONGEST, present, user_path
from timecyclegan.util.options import (
    ControlOptions,
    Options,
    TestOptions,
    VideoOptions,
    check_value,
    path_text,
    value_type,
)

FOLDERS = {
    "source_dir": "frames to translate from: a folder or a video for each sequence; - for unconditional models",
    "target_dir": "frames to translate to",
    "test_source_dir": "frames to translate when testing, or a video; - for none",
    "test_target_dir": "the real frames that metrics compare with; unpaired models translate them back, unconditional "
                       "ones generate as many; - for none",
}
# command: its folders in order, those that may be missing, and the option classes that it takes
COMMANDS = {
    "train": (("source_dir", "target_dir"), (), (Options, ControlOptions)),
    "val": (("test_source_dir", "test_target_dir"), (), (Options, TestOptions)),
    "test": (("test_source_dir", "test_target_dir"), ("test_target_dir",), (Options, TestOptions, VideoOptions)),
    "trainval": (tuple(FOLDERS), (), (Options, TestOptions, ControlOptions)),
}
SUMMARY = {
    "train": "Train a model on folders of frames.",
    "val": "Translate the test frames with a trained model and compute the metrics.",
    "test": "Translate the test frames with a trained model.",
    "trainval": "Train a model, then validate it.",
}


@dataclasses.dataclass
class Arguments:
    """A parsed command line: the run's name, its folders (None: not given, or -), and only what options were given."""

    name: str
    folders: dict[str, Path | None]
    given: dict[str, Any]

    def given_for(self, kind: type) -> dict[str, Any]:
        """What was given of the options of class ``kind``."""
        names = {field.name for field in dataclasses.fields(kind)}
        return {key: value for key, value in self.given.items() if key in names}

    def options(self, kind: type) -> Any:
        """The options of class ``kind``: defaults, replaced by what was given."""
        return kind(**self.given_for(kind))


class Parser(argparse.ArgumentParser):
    """One line instead of the usage for a mistake, with the nearest known flag."""

    def error(self, message: str) -> NoReturn:
        marker = "unrecognized arguments: "
        if message.startswith(marker):
            unknown = message.removeprefix(marker).split()[0]
            message = f"{unknown} is not known{suggestion(unknown, self._option_string_actions)} (see --help)"
        raise UserError(message)


def add_option(group: Any, field: dataclasses.Field, testing: bool = False) -> None:
    """Add the flag of a field that :func:`options.option` made to a parser or a group of one.

    Args:
        testing: to one of test.py's or val.py's.
    """
    flags = [flag for flag in (f"--{field.name}", field.metadata["short"]) if flag]
    choices, kind = field.metadata["choices"], value_type(field)
    text = field.metadata["help"].replace("%", "%%")
    shown = " ".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
    if testing and field.metadata["testing"]:
        group.add_argument(*flags, action="store_const", const=0.999, default=argparse.SUPPRESS,
                           help=field.metadata["testing"])  # fmt: skip
        return
    if kind is bool:
        action = argparse.BooleanOptionalAction if field.default else "store_true"
        group.add_argument(*flags, action=action, default=argparse.SUPPRESS, help=text)
        return
    group.add_argument(
        *flags,
        type=path_text if field.metadata["path"] else kind,
        nargs="+" if isinstance(field.default, tuple) else None,
        metavar=f"{{{','.join(map(str, choices))}}}" if choices else kind.__name__.upper(),
        default=argparse.SUPPRESS,
        help=f"{text} (default: {shown if shown != '' else repr(shown)})",
    )


def build_parser(command: str, program: str | None = None) -> argparse.ArgumentParser:
    """The parser of "train", "val", "test" or "trainval"; ``program``: how its help calls it, "train.py" say."""
    folders, optional, kinds = COMMANDS[command]
    parser = Parser(prog=program or f"{command}.py", description=SUMMARY[command], allow_abbrev=False)
    parser.add_argument("name", help="name of the run: its files go to checkpoints/NAME, runs/NAME, results/NAME")
    for folder in folders:
        parser.add_argument(folder, help=FOLDERS[folder], nargs="?" if folder in optional else None)
    # Parents first, so that the help lists one concern after the other.
    for kind in kinds:
        for concern in [c for c in reversed(kind.__mro__) if dataclasses.is_dataclass(c)]:
            own = inspect.get_annotations(concern)
            fields = [field for field in dataclasses.fields(concern) if field.name in own]
            if fields:
                group = parser.add_argument_group((concern.__doc__ or "").strip().splitlines()[0].rstrip("."))
                for field in fields:
                    add_option(group, field, testing=command in ("test", "val"))
    return parser


def parse_words(parser: argparse.ArgumentParser, argv: list[str] | None = None) -> dict[str, Any]:
    """What was given, by name; folders may stand between flags, and what comes after ``--`` is none."""
    argv = sys.argv[1:] if argv is None else argv
    end = argv.index("--") if "--" in argv else len(argv)
    # argparse forgets the end when words may be mixed: a NUL, which no word can hold, keeps those after it from being
    # taken for flags.
    given = vars(parser.parse_intermixed_args([*argv[:end], *(f"\0{word}" for word in argv[end + 1:])]))
    return {key: value.removeprefix("\0") if isinstance(value, str) else value for key, value in given.items()}


def parse(command: str, argv: list[str] | None = None, program: str | None = None) -> Arguments:
    """Parse and check a command line; ``program`` is as :func:`build_parser` takes it.

    Raises:
        UserError: an unknown flag, a value out of its range, a name that is not a plain folder name, no target to
            train on.
    """
    folders, _, kinds = COMMANDS[command]
    given = parse_words(build_parser(command, program), argv)
    name = run_name(given.pop("name"))
    words = {folder: "-" if (word := given.pop(folder, None)) is None else word for folder in folders}
    if empty := [folder for folder, word in words.items() if not word]:  # of a variable that is not set, say
        raise UserError(f"{empty[0]} is empty: give a folder, or - for none")
    if words.get("target_dir") == "-":
        raise UserError("target_dir cannot be -: there is no training without target frames")
    given = checked(given, [field for kind in kinds for field in dataclasses.fields(kind)])
    return Arguments(name, {folder: None if word == "-" else user_path(word) for folder, word in words.items()}, given)


def run_name(word: str) -> str:
    """The run that is called so, of several Unicode forms the one that is there; a UserError if no run can be."""
    if word in ("", ".", "..") or Path(word).name != word or len(os.fsencode(word)) > LONGEST:
        raise UserError(f"NAME must be a plain folder name of at most {LONGEST} bytes, not {word!r}")
    return present(CHECKPOINTS / word).name


def checked(given: dict[str, Any], fields: Iterable[dataclasses.Field]) -> dict[str, Any]:
    """The values of ``fields`` among what was given; a UserError if one is out of its range."""
    known = {field.name: field for field in fields if field.name in given}
    for name, field in known.items():
        if wrong := check_value(field, given[name]):
            raise UserError(f"--{name} {wrong}")
    return {name: tuple(given[name]) if isinstance(given[name], list) else given[name] for name in known}
