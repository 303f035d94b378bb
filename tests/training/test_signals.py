"""Signals: those that ask save and leave, SIGKILL loses nothing but time. Whole processes are mostly ``slow``."""
import contextlib
import os
import pty
import random
import select
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from tests.training.helpers import P, assert_same_run, latest, message, train, weights, write_data
from timecyclegan.models.base_model import BaseModel
from timecyclegan.training import checkpoint
from timecyclegan.training.run import exclusive
from timecyclegan.util.signals import ASKING

ROOT = Path(__file__).parents[2]
FLAGS = ("-g resnet_1blocks -gf 2 -d pixel -df 2 -tcmmf 2 -ih 12 -iw 20 -b 3 -le 1 -gpu -1 -llw 10 -tclw 5 -tcwlw 1 "
         "--save_minutes 0.02")  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"), lengths=(8, 7))


# --- in this process

def send_at(monkeypatch, step, *signals):
    original, calls = BaseModel.training_step, iter(range(1, 1000))

    def signalled(self, *args, **kwargs):
        result = original(self, *args, **kwargs)
        if next(calls) == step:
            for number in signals:
                os.kill(os.getpid(), number)
        return result

    monkeypatch.setattr(BaseModel, "training_step", signalled)


@pytest.mark.parametrize(("number", "step"), [
    (signal.SIGINT, 2), (signal.SIGTERM, 2), (signal.SIGHUP, 2), (signal.SIGUSR1, 4), (signal.SIGTERM, 4),
    (signal.SIGTERM, 8),
])  # fmt: skip
def test_a_signal_saves_and_leaves(monkeypatch, data, capsys, number, step):
    """Amid an epoch, at the end of one (4 steps each), at the end of all, where nothing is left to be stopped."""
    train(data, "whole", **P)
    before = [signal.getsignal(n) for n in ASKING]
    with monkeypatch.context() as patch:
        send_at(patch, step, number)
        assert train(data, "broken", **P) is (step == 8)
    told = "{} came when broken was finished" if step == 8 else "stopped by {}; saved. Go on with --resume"
    assert told.format(number.name) in capsys.readouterr().out
    assert latest("broken")["position"]["step"] == step
    assert [signal.getsignal(n) for n in ASKING] == before
    assert train(data, "broken", resume=True, **P)
    assert_same_run("whole", "broken")


def test_a_signal_at_the_end_of_a_growth_stage(monkeypatch, data):
    options = {**P, "temporal_scaling": (0.4, 1.0), "num_epochs": 1}
    train(data, "whole", **options)
    with monkeypatch.context() as patch:
        send_at(patch, 2, signal.SIGTERM)
        train(data, "broken", **options)
    assert train(data, "broken", resume=True, **options)
    assert_same_run("whole", "broken")


def test_nohup_is_respected(monkeypatch, data):
    """What ignores SIGHUP was asked to outlive its terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        send_at(monkeypatch, 2, signal.SIGHUP)
        assert train(data, **P)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_training_in_another_thread(data, capsys):
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(train, data, "thread", **{**P, "threads": 1}).result()
    train(data, "main", **P)
    assert weights("thread") == weights("main")
    assert capsys.readouterr().out.count("note: outside the main thread of a program, no signal can ask") == 1


def test_two_threads_under_one_name(data):
    with exclusive(checkpoint.CHECKPOINTS / "run"):
        assert "another thread of this process is training run" in message(train, data, **P)
    assert train(data, **P)


def test_a_second_interrupt_does_not_wait(monkeypatch, data):
    send_at(monkeypatch, 2, signal.SIGINT, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(data, **P)


def test_workers_do_not_hear_the_terminal(data):
    """Ctrl-C reaches every process of the terminal's group; the loop still needs its workers to save in peace."""
    from timecyclegan.datasets.loading import make_loader
    from timecyclegan.datasets.video_dataset import PairedVideoDataset

    loader = make_loader(PairedVideoDataset(*data, 3, 12, 20), 1, 1, 0)
    batches = iter(loader)
    next(batches)
    (worker,) = loader._iterator._workers
    assert os.getpgid(worker.pid) != os.getpgid(os.getpid())
    os.kill(worker.pid, signal.SIGINT)
    assert len(list(batches)) == len(loader) - 1
    loader._iterator = None


# --- whole processes

def arguments(data, name, epochs, threads, *flags):
    return [sys.executable, str(ROOT / "train.py"), name, *map(str, data), *FLAGS.split(), "-ne", str(epochs), "-t",
            str(threads), *flags]  # fmt: skip


def start(*given):
    return subprocess.Popen(arguments(*given), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            start_new_session=True)


def steps(name):
    with contextlib.suppress(OSError):
        return len(Path("runs", name, "losses.csv").read_text().splitlines()) - 1
    return 0


def workers_of(process):
    """The process numbers of a training's children, once it has some."""
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(pid) for pid in path.read_text().split()]


@pytest.mark.skipif(sys.platform != "linux", reason="finds the workers in /proc")
def test_a_killed_worker_costs_no_learning(data):
    """As the system does where memory is too small; with three signals, of which only one kills."""
    process = start(data, "broken", 400, 2)
    wait_for_step(process, "broken", 5)
    first, second = workers_of(process)
    for number in (signal.SIGHUP, signal.SIGUSR1):
        os.kill(first, number)
    os.kill(second, signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2 and "Traceback" not in err, err
    line = err.splitlines()[-1]
    done = latest("broken")["position"]["step"]
    assert steps("broken") == done >= 5
    assert line == (
        "error: a process that loads data ended: it was killed by SIGKILL, as happens where memory is too small; lower "
        "--threads 2 (0 loads without other processes). What was learnt is saved in checkpoints/broken/latest.pth, "
        f"{done} steps: mend that, then go on with --resume")


@pytest.mark.slow
def test_a_signal_to_every_process(data):
    """As batch systems end a job: the workers may hear it before their parent does."""
    process = start(data, "broken", 400, 1)
    wait_for_step(process, "broken", 5)
    for pid in [*workers_of(process), process.pid]:
        os.kill(pid, signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 3 and "stopped by SIGTERM; saved" in out, err
    assert latest("broken")["position"]["step"] == steps("broken")


def test_a_terminal_that_is_closed(data, tmp_path):
    """A lost ssh: SIGHUP, and from then on nothing can be printed."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, arguments(data, "broken", 400, 0))
    limit = time.monotonic() + 60
    while steps("broken") < 5 and time.monotonic() < limit:
        select.select([terminal], [], [], 0.02)[0] and os.read(terminal, 9999)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
    assert latest("broken")["position"]["step"] == steps("broken") >= 5


@pytest.mark.slow
def test_a_pipe_that_nobody_reads_any_more(data):
    """A lost ssh without a terminal, or ``| head``: no signal comes, printing fails."""
    process = start(data, "broken", 400, 0)
    wait_for_step(process, "broken", 5)
    process.stderr.close()
    process.stdout.close()
    assert process.wait(timeout=60) == 3
    assert latest("broken")["position"]["step"] == steps("broken") >= 5


def wait_for_step(process, name, step):
    limit = time.monotonic() + 60
    while steps(name) < step and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.02)
    assert process.poll() is None, process.communicate()[1]


def finish(data, name, epochs, threads=0):
    process = start(data, name, epochs, threads, "--resume")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


def test_kill_9_and_resume(data):
    process = start(data, "broken", 10, 0)
    wait_for_step(process, "broken", 5)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not Path("checkpoints/broken/generator_10.pth").exists()
    finish(data, "broken", 10)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the processes: sums are in another order with more
    train(data, "whole", num_epochs=10, save_minutes=0.02, **P)
    torch.set_num_threads(threads)
    assert_same_run("whole", "broken")


@pytest.mark.slow
@pytest.mark.parametrize("threads", [0, 1])
def test_kill_9_at_ten_random_moments(data, threads):
    epochs, rng = 150, random.Random(threads)
    finish(data, "whole", epochs, threads)
    reached = []
    for _ in range(10):
        process = start(data, "broken", epochs, threads, "--resume")
        begun, before = time.monotonic(), steps("broken")
        while steps("broken") == before and process.poll() is None and time.monotonic() < begun + 60:
            time.sleep(0.01)  # imports take longer than training: most kills must not come before it
        time.sleep(rng.uniform(0, 1.5))
        assert process.poll() is None, "the run ended before it was killed: give it more epochs"
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        reached.append(steps("broken"))
    print("steps when killed:", reached)
    assert len(set(reached)) > 2
    finish(data, "broken", epochs, threads)
    assert_same_run("whole", "broken")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group(data, number):
    """As a terminal sends it: to the workers as well."""
    process = start(data, "broken", 10, 1)
    wait_for_step(process, "broken", 5)
    os.killpg(process.pid, number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 3
    assert f"stopped by {number.name}; saved. Go on with --resume" in out
    assert "Traceback" not in err and "error" not in err
    assert 5 <= latest("broken")["position"]["step"] == steps("broken") < 40
    finish(data, "broken", 10, 1)
    finish(data, "whole", 10, 1)
    assert_same_run("whole", "broken")


@pytest.mark.slow
def test_two_processes_under_one_name(data):
    first = start(data, "run", 60, 0)
    wait_for_step(first, "run", 3)
    for flag in ("--resume", "--overwrite"):
        second = start(data, "run", 60, 0, flag)
        _, err = second.communicate(timeout=60)
        assert second.returncode == 2 and err == "error: another process is training run at this moment\n"
    assert first.poll() is None
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()


