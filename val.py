"""Translate with a trained model and compute metrics: python val.py NAME TEST_SRC TEST_TGT [options], see --help."""
import sys

from timecyclegan.__main__ import main as timecyclegan


def main() -> int:
    return timecyclegan("val")


if __name__ == "__main__":
    sys.exit(main())
