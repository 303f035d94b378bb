"""Train a model: python train.py NAME SOURCE_DIR TARGET_DIR [options], see --help."""
import sys

from timecyclegan.__main__ import main as timecyclegan


def main() -> int:
    return timecyclegan("train")


if __name__ == "__main__":
    sys.exit(main())
