"""Does TimeCycle make video steadier, by how much, and when? Trains a table of models, and keeps what came of them.

    python benchmarks/ablation.py WORK --scale cpu --jobs 2 --minutes 60     in the background, on a CPU
    python benchmarks/ablation.py WORK --scale gpu --jobs 12 --minutes 8     one visit to a GPU; repeat it at will
    python benchmarks/ablation.py WORK --quick                               every paired variant, tiny, to try it
    python benchmarks/ablation.py --report                                   docs/RESULTS.md anew, from the CSV files

A run is a variant of the table, a data set, a seed, and a budget: "steps", where all variants see the same clips
equally often, or "time", where those that are faster than TimeCycle train as long as it did. It ends as rows of
``runs-SCALE.csv``, one per validation clip, and of ``rollouts-SCALE.csv``, one per stretch of a long clip; a run that
is there is not done again, and one that was cut off goes on where it was (WORK keeps its checkpoints).
"""
import argparse
import csv
import os
import platform
import shlex
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.ablation_data import folders, label_number, make_data, mean_colours
from benchmarks.ablation_report import EXCESS, FASTER, METRICS, REFERENCE, read, report, strip
from benchmarks.ablation_table import (
    AVERAGED,
    DATA,
    FAMILIES,
    FROM_FLOW,
    KEY,
    PAIRED,
    SCALES,
    UNCONDITIONAL,
    VARIANTS,
    Run,
    table,
)
from timecyclegan.evaluation.compute_metrics import evaluate
from timecyclegan.util.errors import UserError
from timecyclegan.util.files import replacing
from timecyclegan.util.signals import signals
from timecyclegan.video.frames import find_sequences, read_image, write_image

REPOSITORY = Path(__file__).resolve().parent.parent
RESULTS = REPOSITORY / "docs" / "results"
STRETCH = 20  # frames of a rollout in one row
VIDEOS = ("videos",)  # beside the frames that test.py writes
LATE = "not begun: the time is over"
SETTLED = 0.5  # the share of the last output in an average over time
FACTS = ("epochs", "train_seconds", "threads", "machine", "torch", "commit", "flags")


@dataclass
class Results:
    """The rows of one scale, in two files; any thread may add to them."""

    folder: Path
    scale: str
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.runs, self.rollouts = (self.folder / f"{kind}-{self.scale}.csv" for kind in ("runs", "rollouts"))

    def facts(self, run: Run) -> dict[str, str] | None:
        """A row of a run; None if it has none."""
        with self.lock:
            return next((row for row in read(self.runs) if tuple(row[name] for name in KEY) == run.key), None)

    def add(self, run: Run, clips: list[dict], stretches: list[dict], facts: dict[str, Any]) -> None:
        key = dict(zip(KEY, run.key, strict=True))
        with self.lock:  # the rollouts first: a run counts as done by its rows in the other file
            _put(self.rollouts, [*KEY, "clip", "frame", *METRICS], key, stretches)
            _put(self.runs, [*KEY, "clip", "frames", *METRICS, *FACTS], key, [row | facts for row in clips])


def _put(path: Path, columns: list[str], key: dict[str, str], rows: list[dict]) -> None:
    """Let the rows of a run be these; the file is always whole."""
    others = [row for row in read(path) if {name: row[name] for name in key} != key]
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows([*others, *(key | row for row in rows)])


class Bench:
    """Runs entries of the table, each a process of its own, until the time is over."""

    def __init__(self, args: argparse.Namespace, results: Results) -> None:
        self.args, self.results, self.scale = args, results, SCALES[args.scale]
        self.work = Path(args.work).resolve() / args.scale
        self.end = time.monotonic() + 60 * args.minutes if args.minutes else float("inf")
        self.threads = args.threads or max(1, (os.cpu_count() or 1) // args.jobs)
        self.gpu = "0" if args.device == "cuda" else "-1"
        self.data_lock = threading.Lock()
        self.signal = 0  # that asked to stop

    def stop(self, number: int) -> None:
        """Let the time be over: whoever waits for a process lets it save."""
        self.end, self.signal = 0.0, number

    def __call__(self, run: Run) -> str:
        """Do a run that is not done; how it ended."""
        if row := self.results.facts(run):
            same = row["flags"] == " ".join(self.flags(run, row["epochs"])) or not run.variant.flags
            return "was done" if same else f"was done with other flags: its rows are in {self.results.runs}"
        try:
            if time.monotonic() >= self.end:
                raise Stopped(LATE)
            with self.data_lock:
                data = make_data(self.work, run.data, self.scale, self.args.clip)
            made, epochs, seconds = self.make(run, data)
            clips, stretches = self.measure(run, data, made)
        except (Stopped, UserError) as stopped:
            return str(stopped)
        facts = {"epochs": epochs, "train_seconds": round(seconds, 1), "threads": self.threads,
                 "machine": machine(self.args.device), "torch": torch.__version__.split("+")[0], "commit": commit(),
                 "flags": " ".join(self.flags(run, epochs))}  # fmt: skip
        if run.seed == 0:
            self.picture(run, data, made["val"])
        self.results.add(run, clips, stretches, facts)
        return "done"

    def flags(self, run: Run, epochs: int | str) -> list[str]:
        """What makes a run what it is; nothing of one that is not trained."""
        if not run.variant.flags:
            return []
        return [*shlex.split(self.scale.flags[run.family]), *shlex.split(run.variant.flags), "-ne", str(epochs),
                "--seed", str(run.seed)]  # fmt: skip

    def make(self, run: Run, data: Path) -> tuple[dict[str, Path], int, float]:
        """The generated clips of a run, by the name of the test, with its epochs and seconds."""
        if not run.variant.flags:
            return self.derive(run, data)
        train, tests = folders(data, run.family)
        epochs = self.epochs(run)
        seconds = self.train(run, train, epochs)
        return {test: self.test(run, test, place) for test, place in tests.items()}, epochs, seconds

    def train(self, run: Run, train: list[str], epochs: int) -> float:
        """Train a run to its end; how many seconds it took, all visits together."""
        name, side = run.name, self.scale.side
        size = (side, side) if run.family == UNCONDITIONAL else (self.scale.height, self.scale.width)
        own = self.flags(run, epochs)
        flags = [*own, "-ih", str(size[0]), "-iw", str(size[1]), "-gpu", self.gpu, "-t", "0",
                 "--save_every", "1000000", "--save_minutes", "2"]  # fmt: skip
        if run.variant.name in FROM_FLOW:
            flags += ["--flow_backend", "farneback", "--flow_cache", str(self.work / "flow" / run.data)]
        folder = self.work / "runs" / name
        begun_with = folder / "flags.txt"
        if begun_with.exists() and begun_with.read_text() != " ".join(own):
            shutil.rmtree(folder)  # the table has changed: this is another run of its name
        folder.mkdir(parents=True, exist_ok=True)
        begun_with.write_text(" ".join(own))
        clock, begun = folder / "seconds.txt", time.monotonic()
        spent = float(clock.read_text()) if clock.exists() else 0.0
        going_on = ["--resume" if (folder / "checkpoints" / name / "latest.pth").exists() else "--overwrite"]
        try:
            if not (folder / "trained").exists():
                self.process(folder, ["train.py", name, *train, *flags, *going_on])
                (folder / "trained").touch()
        finally:
            spent += time.monotonic() - begun
            clock.write_text(f"{spent}\n")
        return spent

    def test(self, run: Run, test: str, place: Path) -> Path:
        """The folder of what a trained run made of the clips of a test."""
        folder, given = self.work / "runs" / run.name, [str(place / "source")]
        if run.family == UNCONDITIONAL:
            count, length = (1, self.scale.long_frames) if test == "long" else (
                2 * self.scale.val_sequences, self.scale.frames)  # fmt: skip
            given = ["-", "--n_sequences", str(count), "--n_frames", str(length)]
        self.process(folder, ["test.py", run.name, *given, "-to", str(folder / test), "-gpu", self.gpu])
        return towards_target(folder / test / run.name)

    def epochs(self, run: Run) -> int:
        """Those of the scale; for equal time, as many as take as long as those of the reference did."""
        epochs = self.scale.epochs[run.family]
        if run.budget == "steps":
            return epochs
        rows = [self.results.facts(run.of(name, "steps")) for name in (REFERENCE[run.family], run.variant.name)]
        if None in rows:
            raise Stopped("waits for the runs of equal steps")
        if len({(row["machine"], row["threads"]) for row in rows}) > 1:
            raise Stopped("has no equal time: its run of equal steps was timed on another machine than the reference's")
        reference, own = (float(row["train_seconds"]) for row in rows)
        if reference < FASTER * own:
            raise Stopped("takes as long as the reference, or longer: no run but that of equal steps")
        return max(1, round(epochs * reference / own))

    def derive(self, run: Run, data: Path) -> tuple[dict[str, Path], int, float]:
        """What needs no training: an average over time, flat pictures of labels, a clip that stands still."""
        made = {}
        _, tests = folders(data, run.family)
        averaged = run.of(AVERAGED[run.family]) if run.variant.name == "averaged" else None
        if averaged and not self.results.facts(averaged):
            raise Stopped(f"waits for {averaged.name}")
        flat = (run.data, run.variant.name) == ("street", "untrained")
        colours = mean_colours(data) if flat else None
        for test, place in tests.items():
            origin = place / ("target" if run.variant.name == "frozen" else "source")
            if averaged:
                origin = towards_target(self.work / "runs" / averaged.name / test / averaged.name)
            made[test] = self.work / "runs" / run.name / test
            for sequence, frames in find_sequences(origin, VIDEOS).items():
                last = None
                for path in frames:
                    picture = read_image(path)
                    if run.variant.name == "frozen":
                        picture = last = picture if last is None else last
                    elif averaged:
                        last = picture if last is None else SETTLED * last + (1 - SETTLED) * picture
                        picture = np.rint(last).astype(np.uint8)
                    elif colours is not None:
                        picture = colours[label_number(picture)]
                    write_image(made[test] / sequence / Path(path).name, picture)
        facts = self.results.facts(averaged) if averaged else None
        return made, int(facts["epochs"]) if facts else 0, float(facts["train_seconds"]) if facts else 0.0

    def process(self, folder: Path, command: list[str]) -> None:
        """Run one of the programs to its end, or until the time is over."""
        env = os.environ | {"OMP_NUM_THREADS": str(self.threads), "PYTHONPATH": str(REPOSITORY)}
        if time.monotonic() >= self.end:
            raise Stopped(LATE)
        with (folder / "log.txt").open("a") as log:
            child = subprocess.Popen([sys.executable, str(REPOSITORY / command[0]), *command[1:]], cwd=folder, env=env,
                                     stdout=log, stderr=log)  # fmt: skip
        while child.poll() is None and time.monotonic() < self.end:
            time.sleep(0.2)
        if child.poll() is None:
            child.terminate()  # train.py saves
            try:
                child.wait(timeout=60)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        if time.monotonic() >= self.end and child.returncode:
            raise Stopped("cut off, and goes on next time")
        if child.returncode:
            raise Stopped(f"failed with exit code {child.returncode}: see {folder / 'log.txt'}")

    def measure(self, run: Run, data: Path, made: dict[str, Path]) -> tuple[list[dict], list[dict]]:
        """Rows by clip, and by stretch of the long one."""
        _, tests = folders(data, run.family)
        clips, stretches = [], []
        for test, place in tests.items():
            flow = place / "flow" if run.family != UNCONDITIONAL and (place / "flow").exists() else None
            kind = UNCONDITIONAL if run.family == UNCONDITIONAL else PAIRED  # the street knows what it looks like
            real, fake = find_sequences(place / "target"), find_sequences(made[test], VIDEOS)
            found = evaluate(real, fake, flow, kind, only=METRICS)["metrics"]
            for entry in found.values() if kind == UNCONDITIONAL else ():  # no real clip belongs to a generated one
                entry["real_per_sequence"] = dict.fromkeys(fake, entry.get("real"))
                entry["real_per_frame"] = {clip: [entry.get("real")] * len(frames) for clip, frames in fake.items()}
            for clip, frames in fake.items():
                if test == "val":
                    clips.append({"clip": clip, "frames": len(frames), **values(found, "per_sequence", clip)})
                    continue
                for first in range(0, len(frames), STRETCH):
                    stretch = slice(first, first + STRETCH)
                    stretches.append({"clip": clip, "frame": first, **values(found, "per_frame", clip, stretch)})
        return clips, stretches

    def picture(self, run: Run, data: Path, made: Path) -> None:
        """Some frames of the first clip beside a row of pixels over time, for the document."""
        folder = self.results.folder / f"{self.args.scale}-{run.data}"
        shown = {folder / run.family / f"{run.variant.name}-{run.budget}.webp": made}
        if run.family != UNCONDITIONAL:
            shown |= {folder / f"{side}.webp": data / "val" / side for side in ("source", "target")}
        for path, clips in shown.items():
            first = next(iter(find_sequences(clips, VIDEOS).values()))
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(strip([read_image(frame) for frame in first])).save(path, quality=88)


def towards_target(results: Path) -> Path:
    """Of a model that translates both ways, what it made of the source."""
    return results / "source_to_target" if (results / "source_to_target").exists() else results


class Stopped(Exception):
    """A run that has no rows, and why."""


def values(found: dict[str, Any], where: str, clip: str, part: slice | None = None) -> dict[str, float | str]:
    """A clip's values: how far they are from the real clip's, where these are the aim and no ratio."""
    row = {}
    for name in METRICS:
        entry = found.get(name, {})
        own, real = ([(entry.get(key) or {}).get(clip)] for key in (where, f"real_{where}"))
        if part is not None:
            own, real = (side[0][part] if side[0] else [None] for side in (own, real))
        own, real = (np.mean([one for one in side if one is not None] or [np.nan]) for side in (own, real))
        if name in EXCESS:
            own = own - real
        row[name] = "" if np.isnan(own) else float(f"{own:.6g}")
    return row


def machine(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else f"CPU, {os.cpu_count()} cores, {platform.machine()}"


def commit() -> str:
    asked = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True)
    return asked.stdout.strip()


# ---- the program


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("work", nargs="?", help="folder for data, checkpoints and frames; keep it to go on later")
    made.add_argument("--scale", choices=SCALES, default="cpu", help="how large (default: cpu)")
    made.add_argument("--quick", action="store_true", help="--scale quick --families paired --data street --seeds 0, "
                        "results and document in WORK")  # fmt: skip
    made.add_argument("--data", nargs="+", choices=DATA, default=["street"], metavar="NAME", help=", ".join(DATA))
    made.add_argument("--clip", default="", help="video file that clip-gray and clip-edges are made of")
    made.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES), metavar="FAMILY",
                        help=", ".join(FAMILIES))  # fmt: skip
    made.add_argument("--variants", nargs="+", metavar="NAME", help="of each family; default: all")
    made.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="INT")
    made.add_argument("--budgets", nargs="+", choices=("steps", "time"), default=["steps"], metavar="BUDGET")
    made.add_argument("--jobs", type=int, default=1, help="runs side by side (default: 1)")
    made.add_argument("--threads", type=int, default=0, help="of each run (default: processors / jobs)")
    made.add_argument("--minutes", type=float, default=0, help="stop after so long; what is unfinished is resumed")
    made.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    made.add_argument("--results", type=Path, default=RESULTS, help="folder of the CSV files and pictures")
    made.add_argument("--report", action="store_true", help="only write the document")
    return made


def main() -> None:
    args = parser().parse_args()
    document = REPOSITORY / "docs" / "RESULTS.md"
    if not args.work and (args.quick or not args.report):
        parser().error("give a folder to work in")
    if args.results != RESULTS:
        document = args.results.parent / "RESULTS.md"
    if args.quick:
        args.scale, args.data, args.families, args.seeds = "quick", ["street"], [PAIRED], [0]
        args.results, document = Path(args.work) / "results", Path(args.work) / "RESULTS.md"
    if not args.report:
        bench = Bench(args, Results(args.results, args.scale))
        runs, before, failed = list(table(args)), 0, False
        with signals(bench.stop), ThreadPoolExecutor(args.jobs) as pool:
            while runs and len(runs) != before:  # what waits for others has them the next time
                before, waiting = len(runs), []
                for run, end in zip(runs, pool.map(bench, runs), strict=True):
                    print(f"{run.name}: {end}", flush=True)
                    failed |= end.startswith("failed")
                    waiting += [run] * end.startswith("waits")
                runs = waiting
    report(args.results, document, {family: {v.name: v.title for v in VARIANTS[family]} for family in FAMILIES})
    if not args.report:
        sys.exit(128 + bench.signal if bench.signal else int(failed))


if __name__ == "__main__":
    main()
