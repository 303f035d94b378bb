"""``--dry_run``: its table says what the model minimises, and nothing is written (by command: ``test_commands``)."""
import re
from pathlib import Path

import pytest
import torch

from tests.training.helpers import EACH_MODEL, P, message, small, trainer, write_data
from timecyclegan.losses import Term
from timecyclegan.models import get_task, model_class
from timecyclegan.training.dry_run import measure, print_dry_run, reach, weight_flag


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"), lengths=(8, 7))


def weighted(model_type, **changes):
    """A small model whose loss weights all differ."""
    weights = sorted(name for name in model_class(model_type).uses if name.endswith("_weight"))
    weights = [name for name in weights if name != "perceptual_loss_weight"]  # needs VGG19's weights
    options = small(model_type, **{name: 3.0 + i for i, name in enumerate(weights)}, **changes)
    if "recycle_loss_weight" in weights:
        options["cycle_loss_weight"] = 0.0  # either weighs both
    return options


@pytest.mark.parametrize("model_type", EACH_MODEL)
def test_every_model_type(data, capsys, model_type):
    source, target = data
    run = trainer((None if get_task(model_type) == "unconditional" else source, target), **weighted(model_type))
    print_dry_run(run, threads=0)
    printed = capsys.readouterr().out
    assert "NOTHING" not in printed and "TRAINED BY NO TERM" not in printed
    assert re.search(r"an epoch: \d+ steps, .+; --num_epochs 2: ", printed) and "memory: " in printed
    lines = dict(zip(("Generator", "Discriminator", "Networks", "cost"), printed.split("\n\n")[1:], strict=True))
    for name, network in run.model.networks().items():
        assert re.search(rf"{name} +{sum(p.numel() for p in network.parameters()):,}\n", lines["Networks"] + "\n")
    for term, (weight, reached) in reach(run).items():
        side, name = term.split("/")
        flag = weight_flag(term, weight, run.options)
        assert re.search(rf"\n  {name} +\S+ +{weight:g}  {re.escape(flag or '-')} +{', '.join(reached)}", lines[side])
        own = {flag: value for flag, value in vars(run.options).items()
               if flag.endswith("_weight") and flag in model_class(model_type).uses and value}  # fmt: skip
        # The weights differ from each other and from what terms without a flag have.
        expected = [f"--{flag}" for flag, value in own.items() if weight == value]
        expected += [f"--{flag} x 0.5" for flag, value in own.items() if 2 * weight == value and "identity" in name]
        assert [flag] == (expected or [""]), term
    assert list(Path().iterdir()) == []


def test_a_term_that_trains_nothing_and_a_network_that_no_term_trains(data, capsys, monkeypatch):
    kind = model_class("timecycle")
    original = kind.generator_losses
    monkeypatch.setattr(kind, "generator_losses", lambda self: {
        "idle": Term(self.step.fake.new_ones(())),
        "cut": Term(self.step.fake.detach().mean(), 2.0), **original(self)})  # fmt: skip
    run = trainer(data, **P)
    run.model.add_network("spare", torch.nn.Linear(2, 3), "G")
    print_dry_run(run, threads=0)
    printed = capsys.readouterr().out
    assert re.search(r"\n  idle +1 +1  - +NOTHING\n", printed) and re.search(r"\n  cut .* NOTHING\n", printed)
    assert re.search(r"\n  spare +9 +TRAINED BY NO TERM\n", printed) and printed.count("TRAINED BY NO TERM") == 1


def test_a_network_that_is_reached_in_part(data, capsys):
    run = trainer(data, **P)
    whole = sum(p.numel() for p in run.model.generator.parameters())
    run.model.generator.register_parameter("unused", torch.nn.Parameter(torch.zeros(5)))
    print_dry_run(run, threads=0)
    assert f"generator ({whole:,} of its parameters)" in capsys.readouterr().out


def test_of_a_run_that_grows_the_last_stage_is_shown(data, capsys):
    options = {**P, "spatial_scaling": (0.5, 1.0), "temporal_scaling": (0.4, 1.0)}
    print_dry_run(trainer(data, **options), threads=0)
    printed = capsys.readouterr().out
    assert "stage 3 of 3, the last and largest" in printed and "12x20 pixels, clips of 3 frames" in printed
    assert "  timecycle_target " in printed and "for this stage alone" in printed
    assert "8x8" in message(trainer, data, discriminator_architecture="basic", image_height=32, image_width=32,
                            spatial_scaling=(0.25, 1.0), **P)  # fmt: skip


def test_the_values_are_those_of_the_first_step(data):
    run = trainer(data, **P)
    cost = measure(run)
    again = trainer(data, **P)
    assert cost.losses == again.model.training_step(next(iter(again.loader)), again.scaler)
    assert min(cost[:3]) > 0
    assert cost.epoch(10, 0) == pytest.approx(10 * (cost.step + cost.loading))
    assert cost._replace(step=1.0, loading=3.0).epoch(10, 2) == 15
    assert cost._replace(step=1.0, loading=0.1).epoch(7, 1) == 7
    assert cost._replace(step=1.0, loading=3.0).epoch(7, 0, decoded=True) == 7


def test_what_is_kept_decoded_is_loaded_once(data, capsys, monkeypatch):
    run = trainer(data, **P)
    for cache, said in (("off", False), ("auto", True), ("disk", True)):
        print_dry_run(run, threads=0, cache=cache)
        assert ("to load its batch (once, before training" in capsys.readouterr().out) == said
    monkeypatch.setattr("timecyclegan.datasets.frame_cache.free_memory", lambda: 0)
    assert "--cache ram" in message(print_dry_run, run, 0, "ram")
    assert list(Path().iterdir()) == []


def test_a_pool_meets_the_smaller_batch_that_an_epoch_ends_with(data, capsys):
    """3 clips in batches of 2: the second step has one."""
    print_dry_run(trainer(data, **small("cyclegan", block_size=5, batch_size=2)), 0)
    assert "a step:" in capsys.readouterr().out
