"""Translate with a trained model: python test.py NAME TEST_SOURCE_DIR [TEST_TARGET_DIR] [options], see --help."""
import sys

from timecyclegan.util.argparser import parse
from timecyclegan.util.errors import command


@command
def main() -> int:
    arguments = parse("test")
    # Imported here, so that --help and a mistake in the flags answer at once.
    from timecyclegan.commands import translate
    from timecyclegan.util.logs import log_command

    log_command()
    translate(arguments, metrics=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
