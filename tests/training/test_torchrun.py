"""``torchrun`` itself: processes that are killed, and runs that go on with another number of them."""
import csv
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.training.helpers import latest, losses, same, write_data

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
FLAGS = shlex.split("-m timecycle -g resnet_1blocks -gf 2 -d pixel -df 2 -tcmmf 2 -b 3 -bs 2 -ih 12 "
                    "-iw 20 -t 1 -lr 1e-5 -le 1 -lie 1000 -se 1000 -tclw 5 -gpu -1 --save_minutes 0 -ne")
NOISE = 1e-6  # what two sums in float32 differ by after these steps of 1e-5, apart from what has no effect


def begin(name, processes, epochs, *flags):
    """``train.py`` with so many processes."""
    return script("train.py", processes, name, "source", "target", *FLAGS, epochs, *flags)


def script(file, processes, *arguments):
    """A script with so many processes, in a session of its own."""
    torchrun = "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"
    command = [sys.executable, *(torchrun if processes > 1 else ()), ROOT / file, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*map(str, command)], env=environment, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, start_new_session=True)  # fmt: skip


def said(process):
    """What it said, once it ended, which must be soon."""
    out, _ = process.communicate(timeout=60)
    return [line for line in out.replace("\r", "\n").splitlines() if "step/s" not in line and "s/step" not in line]


def at(name, step, process):
    """Wait until there is a checkpoint of this step or a later one."""
    file = Path("checkpoints", name, "latest.pth")
    while not file.exists() or latest(name)["position"]["step"] < step:
        assert process.poll() is None, said(process)
        time.sleep(0.05)


def processes_of(torchrun):
    """The process that it started, by rank, without those that load data."""
    found = {}
    for child in Path(f"/proc/{torchrun.pid}/task/{torchrun.pid}/children").read_text().split():
        variables = dict(line.split("=", 1) for line in
                         Path(f"/proc/{child}/environ").read_text().split("\0") if "=" in line)
        if "RANK" in variables:
            found[int(variables["RANK"])] = int(child)
    return found


def kill_all(torchrun):
    """A SIGKILL to all of it, as where a computer's memory is too small, or it stops."""
    for process in (*processes_of(torchrun).values(), torchrun.pid):
        os.kill(process, signal.SIGKILL)
    torchrun.communicate(timeout=60)


def difference(name, other):
    """The largest difference of two runs' parameters, without biases that a norm takes out again."""
    one, two = latest(name), latest(other)
    assert one["position"] == two["position"]
    differences = {f"{network}.{key}": (value - two["networks"][network][key]).abs().max().item()
                   for network, state in one["networks"].items() for key, value in state.items()}
    return max(found for key, found in differences.items() if not key.endswith("bias"))


def test_killed_and_resumed_it_ends_in_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_data(".", (11, 11, 11))
    for name, processes in (("one", 1), ("two", 2)):
        run = begin(name, processes, 4)
        said(run)
        assert run.returncode == 0
    rounding = difference("one", "two")
    assert rounding < NOISE

    for victim, name in enumerate(("lost", "run")):  # one process of two is lost
        run = begin(name, 2, 4)
        at(name, 2, run)
        os.kill(processes_of(run)[victim], signal.SIGKILL)
        began = time.monotonic()
        lines = [line for line in said(run) if line.startswith("error:")]
        assert time.monotonic() - began < 60 and run.returncode
        assert len(lines) == 1 and "another process of this run ended" in lines[0] and "go on with --resume" in lines[0]
    run = begin("run", 2, 4, "--resume")  # then all are
    at("run", latest("run")["position"]["step"] + 1, run)
    kill_all(run)
    assert latest("run")["position"]["step"] < latest("two")["position"]["step"]
    for folder in (Path("checkpoints"), Path("runs")):
        shutil.copytree(folder / "run", folder / "alone")
    for name, processes in (("run", 2), ("alone", 1)):
        run = begin(name, processes, 4, "--resume")
        said(run)
        assert run.returncode == 0
    assert same(latest("run")["networks"], latest("two")["networks"]) and losses("run") == losses("two")
    assert difference("alone", "two") < NOISE and len(losses("alone").splitlines()) == len(losses("two").splitlines())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_torchrun_saves_and_ends(tmp_path, monkeypatch, number):
    monkeypatch.chdir(tmp_path)
    write_data(".", (11, 11, 11))
    run = begin("run", 2, 400)
    at("run", 2, run)
    os.kill(run.pid, number)
    lines = said(run)
    step = latest("run")["position"]["step"]
    assert sum(f"stopped by {number.name}; saved. Go on with --resume" in line for line in lines) == 1, lines
    assert losses("run").splitlines()[-1].startswith(f"{step},")
    run = begin("run", 1, 400, "--resume")
    at("run", step + 1, run)
    run.send_signal(signal.SIGTERM)
    said(run)
    assert run.returncode == 3


def test_trainval_in_two_processes_measures_what_val_does_in_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = write_data(".", (11, 4, 7))
    together = script("trainval.py", 2, "run", *folders, *folders, *FLAGS, 1, "--test_output_dir", "together")
    lines = said(together)
    assert together.returncode == 0, lines
    assert sum(line.startswith("report: ") for line in lines) == 1
    alone = script("val.py", 1, "run", *folders, "-gpu", -1, "--test_output_dir", "alone")
    said(alone)
    with open("metrics.csv", newline="") as file:
        one, other = csv.DictReader(file)
    assert one.pop("datetime") <= other.pop("datetime") and one == other and one["n_sequences"] == "3"
    values = [{name: metric["value"] for name, metric in json.loads(
        Path(folder, "run/metrics.json").read_text())["metrics"].items() if metric["value"] is not None}
        for folder in ("together", "alone")]
    assert len(values[0]) >= 7 and values[0] == pytest.approx(values[1], rel=1e-9)
