"""Learning rate, and the guard against losses that are not finite (SPEC 7 item 4)."""
import csv
import math
from pathlib import Path

import pytest
import torch

from tests.training.helpers import P, killed, latest, message, same, train, trainer, write_data
from tests.training.helpers import losses as losses_csv
from timecyclegan.losses import Term
from timecyclegan.models.base_model import BaseModel, NonFiniteLoss
from timecyclegan.models.sequential.sequential_pix2pix import SequentialPix2Pix
from timecyclegan.training import loop
from timecyclegan.training.log import Means
from timecyclegan.training.schedule import learning_rate
from timecyclegan.util.options import Options


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"), lengths=(6,))  # two clips


def test_constant_for_half_of_the_epochs_then_linear_to_0():
    for expected in ([1], [1, 1 / 2], [1, 1, 1 / 2], [1, 1, 2 / 3, 1 / 3], [1, 1, 1, 3 / 4, 2 / 4, 1 / 4],
                     [1, 1, 1, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]):  # fmt: skip
        epochs = len(expected)
        options = Options(num_epochs=epochs, learning_rate=0.01)
        rates = [learning_rate(options, epoch) for epoch in range(epochs + 1)]
        assert rates == pytest.approx([0.01 * x for x in (*expected, 0)])


def used_rates(monkeypatch):
    """The rates of the optimizers at every step, as they were used."""
    rates, step = [], BaseModel.training_step

    def spy(self, *args, **kwargs):
        groups = [group for optimizer in self.optimizers.values() for group in optimizer.param_groups]
        assert len({group["lr"] for group in groups}) == 1 and len(self.optimizers) == 2
        rates.append(groups[0]["lr"])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(BaseModel, "training_step", spy)
    return rates


EXPECTED = [0.01 * x for x in (1, 1, 1, 1, 2 / 3, 2 / 3, 1 / 3, 1 / 3)]  # 4 epochs of 2 steps


def logged():
    with open("runs/run/losses.csv", newline="") as file:
        return [float(row["learning_rate"]) for row in csv.DictReader(file)]


def test_the_optimizers_and_the_log_have_it(data, monkeypatch):
    rates = used_rates(monkeypatch)
    train(data, num_epochs=4, learning_rate=0.01, **P)
    assert rates == pytest.approx(EXPECTED) and logged() == pytest.approx(EXPECTED, rel=1e-5)


def test_a_resumed_run_goes_on_with_it(data, monkeypatch):
    options = {**P, "num_epochs": 4, "learning_rate": 0.01, "save_minutes": 0.0}
    killed(monkeypatch, data, 8, **options)
    rates = used_rates(monkeypatch)
    train(data, resume=True, **options)
    assert rates == pytest.approx(EXPECTED[7:]) and logged() == pytest.approx(EXPECTED, rel=1e-5)


def test_a_resumed_run_keeps_its_optimizers(data, monkeypatch):
    """SPEC 7 item 4: they began afresh."""
    options = {**P, "save_minutes": 0.0}
    killed(monkeypatch, data, 3, **options)
    steps, step = [], BaseModel.training_step

    def spy(self, *args, **kwargs):
        steps.append({int(s["step"]) for o in self.optimizers.values() for s in o.state.values()})
        return step(self, *args, **kwargs)

    monkeypatch.setattr(BaseModel, "training_step", spy)
    train(data, resume=True, **options)
    assert steps == [{2}, {3}]


# --- the guard

def spoil(monkeypatch, step, value, where="generator_losses"):
    """A loss term "spoilt" that is ``value`` from the ``step``-th step on."""
    original, calls = getattr(SequentialPix2Pix, where), iter(range(1, 1000))

    def losses(self):
        bad = value if next(calls) >= step else 0.0
        return {**original(self), "spoilt": Term(torch.tensor(bad))}

    monkeypatch.setattr(SequentialPix2Pix, where, losses, raising=False)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["generator_losses", "discriminator_losses"])
def test_a_loss_that_is_not_finite_stops_and_keeps_the_checkpoint(data, monkeypatch, where, value):
    options = {"model_type": "seqpix2pix", "save_minutes": 0.0}
    with monkeypatch.context() as patch, pytest.raises(NonFiniteLoss) as caught:
        spoil(patch, 4, value, where)
        train(data, **options)
    side = "Generator" if where == "generator_losses" else "Discriminator"
    assert f"{side}/spoilt became {value}" in str(caught.value) and "\n" not in str(caught.value)
    assert latest("run")["position"]["step"] == 3
    assert "--init_checkpoint_dir" in str(caught.value)  # what the message proposes works:
    assert train(data, "new", init_checkpoint_dir="checkpoints/run", learning_rate=1e-5, **options)


def test_it_is_seen_before_the_weights_are_touched(data, monkeypatch):
    spoil(monkeypatch, 1, math.nan, "discriminator_losses")
    seen = []
    original = BaseModel._update

    def spy(self, *args):
        seen.append({name: {k: v.clone() for k, v in n.state_dict().items()} for name, n in self.networks().items()})
        try:
            return original(self, *args)
        except NonFiniteLoss:
            seen.append({name: dict(n.state_dict()) for name, n in self.networks().items()})
            raise

    monkeypatch.setattr(BaseModel, "_update", spy)
    message(train, data, model_type="seqpix2pix")
    assert len(seen) == 2 and same(*seen)


FLOAT16 = {"model_type": "seqpix2pix", "amp": "float16", "discriminator_architecture": "1_layers"}


@pytest.mark.parametrize("where", ["generator_losses", "discriminator_losses"])
@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_float16_leaves_out_what_overflows(data, monkeypatch, where, value):
    """Two bad steps of eight: that side's networks stay as they are, the scale is halved twice, training goes on."""
    original, calls, held = getattr(SequentialPix2Pix, where), iter(range(1, 100)), []
    role = "G" if where == "generator_losses" else "D"

    def losses(self):
        now = next(calls)
        if now in (3, 4, 5):
            held.append({name: {k: v.clone() for k, v in n.state_dict().items()}
                         for name, n in self.networks(role).items()})
        return {**original(self), "spoilt": Term(torch.tensor(value if now in (3, 4) else 0.0))}

    monkeypatch.setattr(SequentialPix2Pix, where, losses)
    run = trainer(data, num_epochs=4, **FLOAT16)
    run.scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    assert loop.train(run)
    assert same(held[0], held[1]) and same(held[1], held[2])
    assert not same(held[0], {name: dict(n.state_dict()) for name, n in run.model.networks(role).items()})
    assert run.scaler.get_scale() == 2.0
    assert "nan" not in losses_csv("run") and "inf" not in losses_csv("run")


@pytest.mark.parametrize("good", [0, 1])
def test_float16_that_always_overflows_stops_after_20_steps_in_a_row(data, monkeypatch, good):
    """A step that goes well begins the count anew."""
    original, calls = SequentialPix2Pix.generator_losses, iter(range(1, 100))

    def losses(self):
        bad = next(calls) != 10 or not good
        return {**original(self), "spoilt": Term(torch.tensor(math.inf if bad else 0.0))}

    monkeypatch.setattr(SequentialPix2Pix, "generator_losses", losses)
    found = message(train, data, num_epochs=20, save_minutes=0.0, **FLOAT16)
    assert "--amp float16 overflowed in 20 steps in a row" in found and "--amp bfloat16" in found
    assert latest("run")["position"]["step"] == (29 if good else 19)


@pytest.mark.parametrize("save_minutes", [0.0, 10.0])
def test_weights_that_are_not_finite_are_not_saved(data, monkeypatch, save_minutes):
    """A finite loss with an infinite gradient, in the last step before a checkpoint."""
    original, calls = BaseModel.training_step, iter(range(1, 100))

    def spoilt(self, *args, **kwargs):
        logs = original(self, *args, **kwargs)
        if next(calls) == 4:  # the last of the second epoch
            with torch.no_grad():
                next(self.discriminator.parameters()).view(-1)[0] = math.inf
        return logs

    monkeypatch.setattr(BaseModel, "training_step", spoilt)
    found = message(train, data, save_minutes=save_minutes, num_epochs=3, **P)
    assert "weights of discriminator" in found
    assert latest("run")["position"]["step"] == (3 if save_minutes == 0 else 2)
    assert not list(Path("checkpoints/run").glob("*_2.pth"))


def test_no_weight_file_is_written_after_a_term_that_is_not_finite(data, monkeypatch):
    """Of an epoch in which nobody looked in between."""
    spoil(monkeypatch, 1, math.nan, "generator_losses")
    monkeypatch.setattr(Means, "glance", lambda self: {})
    found = message(train, data, log_every=1000, num_epochs=2, model_type="seqpix2pix")
    assert "Generator/spoilt became nan" in found
    assert [path.name for path in Path("checkpoints/run").glob("generator_*.pth")] == []
