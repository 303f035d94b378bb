"""Tests of FlowNet2."""
from pathlib import Path

DATA = Path(__file__).parents[2] / "data" / "flownet2"
