"""Translate with a trained model: python test.py NAME TEST_SOURCE_DIR [TEST_TARGET_DIR] [options], see --help."""
import sys

from timecyclegan.__main__ import main as timecyclegan


def main() -> int:
    return timecyclegan("test")


if __name__ == "__main__":
    sys.exit(main())
