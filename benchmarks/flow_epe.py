"""How far each back end's flow is from the true one: end-point error, in pixels, as a table.

    python benchmarks/flow_epe.py [--backends farneback dis raft=raft_large.pth] [--sequences 4] [--frames 10]

On textures that are translated and rotated by known amounts (mean over all pixels 16 or more from the border), and on
clips of the synthetic street with its true flow (mean over the pixels whose content the earlier frame shows too). The
row "none" is that of no flow at all: how far things move.
"""
import argparse
import sys
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for the tests' known motion
from tests.flow.known_motion import ROTATION, TRANSLATION, end_point_error, moved
from timecyclegan.data.generate_synthetic import generate
from timecyclegan.evaluation.flow import FlowFunction, estimator, load_flow
from timecyclegan.flow import WITHOUT_WEIGHTS
from timecyclegan.util.errors import command
from timecyclegan.video.frames import find_sequences, read_image

Case = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # frame, previous, true flow, pixels that count

SEEDS = range(4)
STREETS = ((64, 128), (128, 256))  # height, width


def textures(matrix: np.ndarray) -> Iterator[Case]:
    """Textures that move by ``matrix``."""
    for seed in SEEDS:
        frame, previous, flow = moved(matrix, seed)
        inner = np.zeros(flow.shape[:2], bool)
        inner[16:-16, 16:-16] = True
        yield frame, previous, flow, inner


def street(folder: Path, height: int, width: int, sequences: int, frames: int) -> Iterator[Case]:
    """Neighbouring frames of the synthetic street, made below ``folder``."""
    generate(folder, sequences=0, val_sequences=sequences, frames=frames, width=width, height=height)
    for name, paths in find_sequences(folder / "val/target").items():
        for previous, frame in pairwise(paths):
            flow, visible = load_flow(folder / "val/flow" / name / f"{frame.stem}.npz")
            yield read_image(frame), read_image(previous), flow, visible


def mean_error(flow: FlowFunction, cases: list[Case]) -> float:
    """The mean over the pixels of all cases that count."""
    pixels = np.array([visible.sum() for *_, visible in cases])
    errors = [end_point_error(flow(frame, previous), true, visible) for frame, previous, true, visible in cases]
    return float(np.average(errors, weights=pixels))


@command
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--backends", nargs="+", metavar="NAME[=WEIGHTS]", default=list(WITHOUT_WEIGHTS),
                        help="of the table (default: those that need no weights)")
    parser.add_argument("--sequences", type=int, default=4, help="of each street")
    parser.add_argument("--frames", type=int, default=10, help="of each sequence")
    parser.add_argument("--gpu", type=int, default=0, help="of a flow network; -1 is the CPU")
    args = parser.parse_args()
    flows: dict[str, FlowFunction] = {"none": lambda frame, _: np.zeros((*frame.shape[:2], 2))}
    for given in args.backends:
        name, _, weights = given.partition("=")
        flows[name] = estimator(name, weights, args.gpu).flow
    with tempfile.TemporaryDirectory() as folder:
        columns = {"translation by 3.5 px": list(textures(TRANSLATION)), "rotation by 2°": list(textures(ROTATION))}
        for height, width in STREETS:
            clips = street(Path(folder, str(height)), height, width, args.sequences, args.frames)
            columns[f"street {width}x{height}"] = list(clips)
    rows = [["back end", *columns], ["---"] * (1 + len(columns))]
    rows += [[name, *(f"{mean_error(flow, cases):.3f}" for cases in columns.values())] for name, flow in flows.items()]
    print("\n".join(f"| {' | '.join(row)} |" for row in rows))


if __name__ == "__main__":
    sys.exit(main())
