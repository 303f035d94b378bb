"""Averaged weights of the generators: --ema."""
from pathlib import Path

import pytest
import torch

from tests.models.test_device_step import step_of, tensors
from tests.recorder import recorder
from tests.training.helpers import P, assert_same_run, killed, latest, small, stored, train, trainer, write_data
from timecyclegan.inference.trained import load_model, load_options
from timecyclegan.models import get_model
from timecyclegan.training.checkpoint import read_networks
from timecyclegan.util import cuda_graph
from timecyclegan.util.argparser import parse
from timecyclegan.util.cuda_graph import CapturedFunction
from timecyclegan.util.errors import UserError
from timecyclegan.util.options import Options

EMA = 0.9


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_data("data")


def test_the_formula_also_of_a_recorded_step(monkeypatch):
    """a_n = d a_(n-1) + (1 - d) p_n with d = min(ema, (1 + n) / (10 + n)), by a plain loop."""
    monkeypatch.setattr(cuda_graph, "WARM_UPS", 1)
    torch.manual_seed(0)
    model = get_model("tricyclegan", Options(**small("tricyclegan", ema=0.25, learning_rate=0.01)))
    model.average()
    step = CapturedFunction(step_of(model), torch.device("cpu"), "a step", recorder)
    expected = {name: p.detach().double().clone() for name, p in model.named_parameters() if name.startswith("gen")}
    for n in range(1, 7):  # the ramp reaches 0.25 at n = 2
        step(**tensors(model, n))
        d = min(0.25, (1 + n) / (10 + n))
        for name, p in model.named_parameters():
            if name in expected:
                expected[name] = d * expected[name] + (1 - d) * p.detach().double()
    found = {f"{name}.{key}": value for name, state in model.averages.items() for key, value in state.items()}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name].double(), value, rtol=1e-5, atol=1e-7)


def test_kept_resumed_and_used(data, monkeypatch):
    options = {**P, "ema": EMA, "save_minutes": 0.0}
    train(data, "whole", **options)
    killed(monkeypatch, data, 4, name="broken", **options)
    assert train(data, "broken", resume=True, **options)
    assert_same_run("whole", "broken")
    assert latest("whole")["model"]["averaged"] == latest("whole")["position"]["step"]
    states = read_networks(Path("checkpoints/whole"))
    assert [name for name in states if name.startswith("ema_")] == ["ema_generator"]
    for epoch in (0, 1):
        plain = load_model("whole", load_options("whole", {"gpu": -1}), epoch).generator.state_dict()
        averaged = load_model("whole", load_options("whole", {"gpu": -1, "ema": EMA}), epoch).generator.state_dict()
        kept = stored(Path("checkpoints/whole"), "ema_generator", epoch)
        assert all(torch.equal(averaged[key], value) for key, value in kept.items())
        assert any(not torch.equal(averaged[key], plain[key]) for key in plain)


def test_growing_goes_on_with_what_fits(data):
    run = trainer(data, **P, ema=EMA, block_size=5, spatial_scaling=(0.5, 1.0), num_epochs=1)
    for average in run.model.averages.values():
        for value in average.values():
            value.fill_(7)
    run.model.averaged.fill_(3)
    run.next_stage()
    assert all((value == 7).all() for average in run.model.averages.values() for value in average.values())
    assert run.model.averaged == 3


def test_a_run_without_averages_says_so(data):
    train(data, "run", **P)
    with pytest.raises(UserError, match=r"checkpoints/run has no averaged weights, which --ema asks for: train with"):
        load_model("run", load_options("run", {"gpu": -1, "ema": EMA}))


def test_a_number_to_train_and_a_switch_to_test():
    assert parse("train", ["run", "a", "b", "--ema", "0.99"]).given["ema"] == 0.99
    for command in ("test", "val"):
        arguments = parse(command, ["run", "--ema", "a", "b"])
        assert arguments.given["ema"] > 0 and str(arguments.folders["test_source_dir"]) == "a"
    with pytest.raises(UserError, match="ema must be from 0 to below 1"):
        parse("train", ["run", "a", "b", "--ema", "1"])
