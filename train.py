"""Train a model: python train.py NAME SOURCE_DIR TARGET_DIR [options], see --help."""
import sys

from timecyclegan.util.argparser import parse
from timecyclegan.util.errors import command


@command
def main() -> int:
    arguments = parse("train")
    # Imported here, so that --help and a mistake in the flags answer at once.
    from timecyclegan.commands import STOPPED, dry_run, train
    from timecyclegan.util.logs import log_command

    if arguments.given.get("dry_run"):
        dry_run(arguments)
        return 0
    log_command()
    return 0 if train(arguments) else STOPPED


if __name__ == "__main__":
    sys.exit(main())
