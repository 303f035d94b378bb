"""Train a model, then validate it: python trainval.py NAME SRC TGT TEST_SRC TEST_TGT [options], see --help."""
import sys

from timecyclegan.__main__ import main as timecyclegan


def main() -> int:
    return timecyclegan("trainval")


if __name__ == "__main__":
    sys.exit(main())
