"""The parts of ``on_gpu.sh``, each in a process of its own with a time limit, and the tables of what they found.

A part that fails or takes too long costs no other: after each one the tables are written anew.
"""
import argparse
import dataclasses
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
STEP_TESTS = "tests/models/test_cuda.py", "tests/training/test_cuda_runs.py", "tests/util/test_cuda_graph.py"
ROWS = "p64", "p256b8", "p256", "up128", "u64b4", "p128", "p64b8"  # the most telling ones first
# The slow ones (compiling) come last, when all else is there; those of the profile before, should time run out.
MODES = ("captured bf16", "captured TF32", "bf16", "TF32", "naive", "captured bf16, channels last",
         "captured TF32, channels last", "float32")  # fmt: skip
COMPILED = "captured bf16, compiled", "captured bf16, channels last, compiled"
PROFILED = "p256b8", "p64"
Line = dict[str, Any]


@dataclasses.dataclass
class Part:
    """A command, how many seconds it may take, and what is known of it afterwards."""

    name: str
    command: list[str]
    seconds: float
    outcome: str = "not reached"
    output: str = ""

    def run(self, seconds: float, log: TextIO, **environment: str) -> list[Line]:
        """The lines of JSON that it printed; what is not one is its ``output``."""
        began, limit = time.monotonic(), min(seconds, self.seconds)
        # A session of its own, so that its children end with it.
        with subprocess.Popen(
            self.command, cwd=ROOT, env=os.environ | environment, text=True, errors="replace", start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as process:  # fmt: skip
            try:
                text, _ = process.communicate(timeout=limit)
                self.outcome = "done" if process.returncode == 0 else f"exit code {process.returncode}"
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                text, _ = process.communicate()
                self.outcome = f"stopped after {limit:.0f} s"
        self.outcome += f", {time.monotonic() - began:.0f} s"
        log.write(f"\n==== {self.name}: {self.outcome}\n$ {' '.join(self.command)}\n{text}\n")
        log.flush()
        found, other = [], []
        for line in text.splitlines():
            try:
                found.append(json.loads(line) if line.startswith("{") else other.append(line))
            except json.JSONDecodeError:
                other.append(line)
        self.output = "\n".join(other)
        return [line for line in found if line]


class Session:
    """All parts of a call, what they found, and the time that is left."""

    def __init__(self, args: argparse.Namespace):
        self.results, self.device, self.end = args.results, args.device, time.monotonic() + args.limit
        self.small = ["--small"] if args.device == "cpu" else []
        self.patience = 1 if args.device == "cuda" else 5  # a rehearsal may take longer
        self.parts: list[Part] = []
        self.lines: list[Line] = []
        (self.results / "results.jsonl").write_text("")
        self.log = open(self.results / "log.txt", "w")  # noqa: SIM115 (until the process ends)

    def left(self) -> float:
        return self.end - time.monotonic()

    def do(self, name: str, seconds: float, *command: str, **environment: str) -> list[Line]:
        """Run a Python program as a part, if there is time, and keep what it found."""
        part = Part(name, [sys.executable, *map(str, command)], seconds * self.patience)
        self.parts.append(part)
        found = part.run(self.left(), self.log, **environment) if self.left() > 8 else []
        print(f"{name}: {part.outcome}", flush=True)
        self.keep(found)
        return found

    def keep(self, found: list[Line]) -> None:
        """Write down what was found, and the tables anew."""
        self.lines += found
        with open(self.results / "results.jsonl", "a") as file:
            file.writelines(f"{json.dumps(line)}\n" for line in found)
        write_tables(self)

    def step(self, case: str, modes: Iterable[str], seconds: float) -> None:
        """Measure modes of a case; where the process ends before it has come to all, go on with the next in another.

        Each may take so many seconds, all together half as many again.
        """
        missing, end = list(modes), time.monotonic() + 1.5 * seconds * self.patience
        while missing and self.left() > 8 and (rest := (end - time.monotonic()) / self.patience) > 8:
            known = self.do(
                f"steps of {case}", min(seconds, rest), HERE / "train_step.py", "--case", case, "--mode", *missing,
                "--device", self.device, "--steps", "2" if self.small else "12", *self.small,
            )  # fmt: skip
            lines = [line for line in known if line.get("benchmark") == "train_step"]
            missing = missing[len(lines):]
            # A mode that failed has said so. One that said nothing hung, or took the process with it.
            if missing and not (lines and "error" in lines[-1]):
                why = f"the process ended: {self.parts[-1].outcome}"
                self.keep([{"benchmark": "train_step", "case": case, "mode": missing.pop(0), "error": why}])

    def tests(self, name: str, seconds: float, *what: str) -> None:
        several = ["-n", str(min(6, os.cpu_count() or 1))] if self.device == "cuda" and importlib.util.find_spec(
            "xdist") else []  # fmt: skip
        self.do(name, seconds, "-m", "pytest", "-m", "gpu", "-q", "-rfE", "--tb=short", "--durations=5", "-p",
                "no:cacheprovider", "--continue-on-collection-errors", *several, *what,
                TIMECYCLEGAN_TESTS_ON=self.device)  # fmt: skip

    def benchmark(self, name: str, seconds: float, *flags: str) -> None:
        """Another program of this folder, if it is there."""
        if (HERE / f"{name}.py").exists():
            self.do(name, seconds, HERE / f"{name}.py", "--device", self.device, *flags)


def everything(session: Session) -> None:
    """The parts, in the order of their importance."""
    cuda = session.device == "cuda"
    session.tests("tests of steps", 90, *(STEP_TESTS if cuda else STEP_TESTS[:2]))  # the last has no rehearsal
    for case in ROWS:
        session.step(case, MODES, 80)
    session.benchmark("loader", 50, "--step", "--amp", "bfloat16", *(
        ("--batch_size", "8", "--seconds", "2", "--frames", "24") if cuda else
        ("--seconds", "0.2", "--frames", "8", "--size", "32", "--filters", "4", "--height", "90", "--width", "160")))
    session.benchmark("inference", 60, *(
        ("--amp", "off", "bfloat16", "--frames", "30") if cuda else
        ("--frames", "4", "--height", "32", "--width", "32", "--filters", "4")))
    session.benchmark("memory", 60, *(
        ("--frames", "9", "--sizes", "256") if cuda else
        ("--frames", "4", "--sizes", "32", "--filters", "4", "--rounds", "1")))
    if cuda:
        for case in PROFILED:
            session.step(case, COMPILED, 100)
        session.do("FlowNet2's kernels built", 90, "-m", "timecyclegan.models.networks.flownet2_pytorch.ops.build")
        session.tests("other tests", 90, "tests", *(f"--ignore={path}" for path in STEP_TESTS))


# ---- tables


def write_tables(session: Session) -> None:
    """``performance.md``, of all that is known so far."""
    text = "\n\n".join(section for section in sections(session) if section)
    whole = session.results / "performance.md.part"
    whole.write_text(f"{text}\n", "utf-8")
    whole.replace(session.results / "performance.md")


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head, rows = list(head), list(rows)
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)) if rows else ""


def sections(session: Session) -> Iterator[str]:
    device: Line = next((line for line in session.lines if line.get("benchmark") == "device"), {})
    yield f"## {device.get('device', 'a machine that said nothing of itself')}"
    if session.small:
        yield "**A rehearsal on a CPU, on the smallest sizes: no figure here means anything.**"
    yield about(device)
    steps: dict[str, dict[str, Line]] = {}
    for line in session.lines:
        if line.get("benchmark") == "train_step":
            steps.setdefault(line["case"], {})[line["mode"]] = line
    titles = {case: next((line["title"] for line in modes.values() if "title" in line), case)
              for case, modes in steps.items()}  # fmt: skip
    modes = [mode for mode in ("naive", "float32", "TF32", "bf16", *MODES, *COMPILED)
             if any(mode in found for found in steps.values())]  # fmt: skip
    modes = list(dict.fromkeys(modes))
    yield table(["ms of a step, median", *modes], (
        [titles[case], *(shown(found.get(mode), "wall_ms") for mode in modes)] for case, found in steps.items()))
    yield table(
        ["case", "mode", "wall, ms", "host, ms", "device, ms", "wall / device", "kernels", "share of peak",
         "times naive", "peak memory, GiB"],
        ([titles[case], mode, *figures(found[mode], found, device)] for case, found in steps.items() for mode in modes
         if mode in found and "device_ms" in found[mode]),
    )  # fmt: skip
    wrong = [f"* {titles[case]}, {mode}: {found[mode]['error']}" for case, found in steps.items() for mode in modes
             if "error" in found.get(mode, {})]  # fmt: skip
    yield "\n".join(["What failed:", "", *wrong] if wrong else [])
    for case in PROFILED:
        yield profile(titles.get(case, case), steps.get(case, {}).get("captured bf16", {}))
    yield table(["part", "outcome"], ([part.name, part.outcome] for part in session.parts))
    for part in session.parts:
        if part.name in ("loader", "inference", "memory") or "tests" in part.name:
            last = "\n".join(part.output.strip().splitlines()[-25:])
            yield f"{part.name}:\n\n```\n{last}\n```" if last else ""


def about(device: Line) -> str:
    rates = ", ".join(f"{name} {device[f'{name}_rate'] / 1e12:.3g}" for name in ("float32", "TF32", "bf16")
                      if f"{name}_rate" in device)  # fmt: skip
    facts = {name: device.get(name) for name in ("torch", "cuda", "cudnn", "python", "processors")}
    listed = ", ".join(f"{name} {value}" for name, value in facts.items() if value)
    return f"{listed}. Matrix products of 8192x8192, TFLOP/s: {rates}." if rates else ""


def shown(line: Line | None, name: str, digits: int = 1) -> str:
    """A figure; "-" where it is not there, and "failed" where the mode did."""
    if line and "error" in line:
        return "failed"
    return f"{line[name]:.{digits}f}" if line and name in line else "-"


def figures(line: Line, modes: dict[str, Line], device: Line) -> Iterator[str]:
    """Of a mode that was profiled: from wall time to memory."""
    kind = "bf16" if "bf16" in line["mode"] else "TF32"
    yield from (shown(line, name) for name in ("wall_ms", "host_ms", "device_ms"))
    yield f"{line['wall_ms'] / line['device_ms']:.2f}" if line["device_ms"] else "-"
    yield f"{line['kernels']:,}"
    gflop = next((other["gflop"] for other in modes.values() if "gflop" in other), None)
    rate = device.get(f"{kind}_rate")
    yield f"{100 * gflop * 1e9 / (line['wall_ms'] / 1000) / rate:.1f} %" if gflop and rate else "-"
    naive = modes.get("naive", {}).get("wall_ms")
    yield f"{naive / line['wall_ms']:.1f}" if naive else "-"
    yield shown(line, "peak_gib")


def profile(title: str, line: Line) -> str:
    """What took the device's time in a captured step."""
    if not line.get("top"):
        return ""
    whole = line["device_ms"]
    rows = ([f"`{name.replace('|', '/')[:100]}`", f"{calls:,}", f"{spent:.2f}", f"{100 * spent / whole:.1f} %"]
            for name, calls, spent in line["top"][:12])  # fmt: skip
    return (f"{title}, {line['mode']}: {whole:.1f} ms of the device's time, which was idle for "
            f"{line['idle_ms']:.1f} ms between kernels ({line['gaps_above_10us']:,} gaps above 10 us, the longest "
            f"{line['longest_gap_ms']:.2f} ms); the host needs {line['host_ms']:.1f} ms to launch it.\n\n"
            + table(["kernel", "calls", "ms", "of the time"], rows))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--device", default="cuda", choices=["cpu", "cuda"])
    parser.add_argument("--limit", type=float, default=460, help="seconds for all parts")
    args = parser.parse_args()
    session = Session(args)
    everything(session)
    print((session.results / "performance.md").read_text("utf-8"))
    log = session.results / "log.txt"
    print(f"all of it: {log}")


if __name__ == "__main__":
    main()
