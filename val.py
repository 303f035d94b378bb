"""Translate with a trained model and compute metrics: python val.py NAME TEST_SRC TEST_TGT [options], see --help."""
import sys

from timecyclegan.util.argparser import parse
from timecyclegan.util.errors import command


@command
def main() -> int:
    arguments = parse("val")
    # Imported here, so that --help and a mistake in the flags answer at once.
    from timecyclegan.commands import translate
    from timecyclegan.util.logs import log_command

    log_command()
    translate(arguments, metrics=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
