"""Several processes train as one does; and parts of a batch as the whole."""
import os
import signal
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_map_only

from tests.ranks import on_two_ranks
from tests.training.helpers import latest, message, small, trainer, write_data
from timecyclegan.datasets.loading import make_loader
from timecyclegan.training.distributed import Peers
from timecyclegan.training.loop import train as loop
from timecyclegan.training.run import Run
from timecyclegan.util.device import to_floats
from timecyclegan.util.errors import UserError

KINDS = {"P": {"model_type": "timecycle", "timecycle_loss_weight": 5.0},
         "UP": {"model_type": "tricyclegan", "timecycle_loss_weight": 5.0, "cycle_loss_weight": 5.0, "pool_size": 5},
         "U": {"model_type": "timecycledcgan", "timecycle_loss_weight": 5.0}}  # fmt: skip
ROOT = Path(__file__).resolve().parents[2]


def options_of(kind, **changes):
    return {**small(KINDS[kind]["model_type"]), **KINDS[kind], "num_epochs": 6, **changes}


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda kind: write_data(kind, (11, 11, 11), *((64, 64) if kind == "U" else (12, 20)))


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """Float64: a GAN makes a difference of the last bit a large one soon."""
    begin, step = Run.begin_stage, Run.train_on

    def begin_stage(self):
        begin(self)
        self.model.double()

    def train_on(self, batch, show=None):
        def double(x):
            return to_floats(x).double() if x.dtype in (torch.uint8, torch.float32) else x

        return step(self, tree_map_only(torch.Tensor, double, dict(batch)), show)

    monkeypatch.setattr(Run, "begin_stage", begin_stage)
    monkeypatch.setattr(Run, "train_on", train_on)


def parameters(name):
    return {f"{network}.{key}": value for network, state in latest(name)["networks"].items()
            for key, value in state.items()}  # fmt: skip


def on_ranks(folders, name, ranks, **options):
    """Train with several processes; returns what all of them hold in the end."""
    def work(rank):
        torch.set_num_threads(1)
        run = trainer(folders, name, peers=Peers(torch.device("cpu")), **options)
        loop(run)
        return {key: value.clone().numpy() for key, value in run.model.state_dict().items()}

    return on_two_ranks(work, os.getcwd(), ranks)


def without_effect(model):
    """Biases that a norm takes out again: their gradients are rounding alone, which Adam makes large."""
    found = set()
    for name, network in model.networks().items():
        for prefix, layers in network.named_modules():
            if isinstance(layers, nn.Sequential):
                found |= {f"{name}.{prefix}.{place}.bias" for place, norm in enumerate(layers[1:])
                          if isinstance(norm, nn.InstanceNorm2d)}  # fmt: skip
    return found


def assert_close(run, other, tolerance=1e-5):
    """The networks of a run, and of one by another name, that ended."""
    one, other, idle = parameters(run.name), parameters(other), without_effect(run.model)
    assert one.keys() == other.keys() and idle <= one.keys()
    worst = {key: (value - other[key]).abs().max().item() for key, value in one.items() if key not in idle}
    assert max(worst.values()) <= tolerance, sorted(worst.items(), key=lambda item: -item[1])[:5]


@pytest.mark.parametrize(("kind", "ranks"), [
    ("P", 2), ("P", 3),
    *(pytest.param(*case, marks=pytest.mark.slow) for case in (("UP", 2), ("U", 2), ("UP", 3), ("U", 3))),
])  # fmt: skip
def test_two_processes_are_one(data, kind, ranks):
    """Ten steps and more; of the last batch of an epoch not every process has a part."""
    options = options_of(kind, batch_size=4, num_epochs=6)
    folders = data(kind)
    run = trainer(folders, "alone", **options)
    loop(run)
    held = on_ranks(folders, "together", ranks, **options)
    for others in held[1:]:
        assert all((others[key] == value).all() for key, value in held[0].items())
    assert latest("alone")["position"] == latest("together")["position"]
    assert_close(run, "together")


@pytest.mark.parametrize("kind", ["P", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("UP", "U"))])
def test_parts_of_a_batch_are_the_batch(data, kind):
    """Also of the last batch of an epoch, which has fewer clips than the others."""
    folders, parts = data(kind), options_of(kind, num_epochs=2, batch_size=2, accumulate=2)
    run = trainer(folders, "whole", **options_of(kind, num_epochs=2, batch_size=4))
    loop(run)
    loop(trainer(folders, "parts", **parts))
    on_ranks(folders, "shared", 2, **parts)
    for name in ("parts", "shared"):
        assert latest(name)["position"] == latest("whole")["position"]
        assert_close(run, name, 1e-6)


def saying(options, folders, action, who=1):
    """What each of two processes says in the end, of which one does ``action(run)`` before it trains."""
    def work(rank):
        torch.set_num_threads(1)
        run = trainer(folders, "run", peers=Peers(torch.device("cpu")), **options)
        if rank == who:
            action(run)
        try:
            return loop(run), run.position.step
        except UserError as error:
            return str(error), run.position.step

    return on_two_ranks(work, os.getcwd())


def test_what_one_process_cannot_load_stops_all_at_the_same_step(data):
    class Broken:
        def __init__(self, dataset):
            self.dataset, self.loaded = dataset, 0

        def __len__(self):
            return len(self.dataset)

        def __getitem__(self, key):
            self.loaded += 1
            if self.loaded == 6:
                raise UserError("frame 17 is damaged")
            return self.dataset[key]

    def change(run):
        broken = Broken(run.loader.dataset)
        run.loader = make_loader(broken, run.stage.batch_size, 0, run.stage.seed, rank=1, ranks=2)

    options = options_of("P", batch_size=4, num_epochs=2)
    (one, steps), (other, its) = saying(options, data("P"), change)
    assert steps == its == 3 == latest("run")["position"]["step"]
    assert "frame 17 is damaged" in other and "another process" in one
    assert all("3 steps: mend that, then go on with --resume" in line for line in (one, other))


def test_a_signal_to_one_process_stops_all_at_the_same_step(data):
    def change(run):
        step = run.train_on

        def train_on(*arguments):
            if run.position.step == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            return step(*arguments)

        run.train_on = train_on

    options = options_of("P", batch_size=4, num_epochs=2)
    assert saying(options, data("P"), change) == [(False, 3), (False, 3)]
    assert latest("run")["position"]["step"] == 3


def test_processes_that_were_started_differently_are_refused(data):
    def work(rank):
        run = trainer(folders, "run", peers=Peers(torch.device("cpu")), **options | {"seed": rank, "threads": 0})
        return message(loop, run)

    options, folders = options_of("P", batch_size=2), data("P")
    assert on_two_ranks(work, os.getcwd()) == [
        "the processes of run were started with different options: give all the same"] * 2
    assert not Path("checkpoints/run").exists()


def test_a_disk_that_is_full_ends_all_in_a_line_each(data):
    def change(run):
        save, calls = run.save, iter((True, False))

        def full():
            if not next(calls):
                raise UserError("cannot write: No space left on device")
            save()

        run.save = full

    options = options_of("P", batch_size=4, num_epochs=3)
    (one, _), (other, _) = saying(options, data("P"), change, who=0)
    assert one == "cannot write: No space left on device"
    assert "another process" in other and "the last checkpoint has 2 steps: go on with --resume" in other


def test_a_loss_that_is_not_finite_stops_all_at_the_same_step(data):
    """It is so for the clips of one process alone."""
    def change(run):
        step = run.model.training_step

        def training_step(batch, *arguments, **options):
            if run.position.step == 1:
                batch = {**batch, "target": batch["target"] * float("inf")}
            return step(batch, *arguments, **options)

        run.model.training_step = training_step

    options = options_of("P", batch_size=4, num_epochs=2, log_every=1)
    (one, steps), (other, its) = saying(options, data("P"), change)
    assert steps == its == 2
    assert all("training stopped before using it" in line for line in (one, other))
