"""The program ``timecyclegan``, which an installed package brings: train, val, test and trainval, from any folder.

``python -m timecyclegan`` is the same, and so are ``train.py``, ``val.py``, ``test.py`` and ``trainval.py``, which need
no word for the command.
"""
import ast
import sys
from pathlib import Path

from timecyclegan import __version__
from timecyclegan.util.argparser import COMMANDS, SUMMARY, parse
from timecyclegan.util.errors import UserError, command, unknown

PROGRAM = "timecyclegan"


@command
def main(name: str | None = None) -> int:
    """What this process was called for; returns its exit code.

    Args:
        name: a command of ``util.argparser.COMMANDS``, of which the arguments are, as those of ``train.py`` are
            "train"'s; None: the first argument is its name.

    Raises:
        UserError: no command, or one that is not known (the decorator makes a line of it).
    """
    words, program = sys.argv[1:], f"{name}.py"
    if name is None:
        if not words:
            raise UserError(f"a command is missing: {', '.join(COMMANDS)} (see {PROGRAM} --help)")
        name, *words = words
        program = f"{PROGRAM} {name}"
    if name in ("-h", "--help"):
        print(_help())
        return 0
    if name == "--version":
        print(PROGRAM, __version__)
        return 0
    if name not in COMMANDS:
        raise unknown("command", name, [*COMMANDS, "--help", "--version"])
    arguments = parse(name, words, program)
    # Imported here, so that --help and a mistake in the flags answer at once.
    from timecyclegan.commands import STOPPED, dry_run, train, translate
    from timecyclegan.util.logs import log_command

    if arguments.given.get("dry_run"):
        dry_run(arguments)
        return 0
    log_command()
    if name in ("train", "trainval") and not train(arguments):
        return STOPPED
    if name != "train":
        translate(arguments, metrics=name != "test")
    return 0


def _help() -> str:
    """The commands, and the modules that are programs too, each with the first sentence that it says of itself."""
    package = Path(__file__).parent
    modules = {}
    for path in sorted(package.rglob("*.py")):
        text = path.read_text("utf-8")
        if path.name != "__main__.py" and '__name__ == "__main__"' in text:
            module = ".".join(path.relative_to(package.parent).with_suffix("").parts)
            modules[module] = (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
    width = max(map(len, modules))
    return "\n".join([
        f"usage: {PROGRAM} COMMAND ...", "", "Temporally consistent video from any GAN.", "", "commands:",
        *(f"  {name:10}{SUMMARY[name]}" for name in COMMANDS), "",
        f"{PROGRAM} COMMAND --help explains a command, {PROGRAM} --version says which version this is.", "",
        "python -m MODULE ... (--help explains each):",
        *(f"  {module:{width}}  {line}" for module, line in modules.items()),
    ])  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
