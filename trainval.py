"""Train a model, then validate it: python trainval.py NAME SRC TGT TEST_SRC TEST_TGT [options], see --help."""
import sys

from timecyclegan.util.argparser import parse
from timecyclegan.util.errors import command


@command
def main() -> int:
    arguments = parse("trainval")
    # Imported here, so that --help and a mistake in the flags answer at once.
    from timecyclegan.commands import STOPPED, dry_run, train, translate
    from timecyclegan.util.logs import log_command

    if arguments.given.get("dry_run"):
        dry_run(arguments)
        return 0
    log_command()
    if not train(arguments):
        return STOPPED
    translate(arguments, metrics=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
