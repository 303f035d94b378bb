"""Progressive growing: the stages, what they keep, and a run from end to end (SPEC 6; SPEC 7 item 9)."""
import csv
import itertools
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.training.helpers import P, given, latest, message, train, trainer, weights, write_data
from timecyclegan.models.base_model import BaseModel
from timecyclegan.training.checkpoint import transfer
from timecyclegan.training.schedule import growth_stages
from timecyclegan.util.options import Options

GROWING = {"spatial_scaling": (0.5, 1.0), "temporal_scaling": (0.6, 1.0), "block_size": 5, "num_epochs": 1}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"), lengths=(7, 6))


def shapes(stages):
    return [(s.image_height, s.image_width, s.block_size, s.batch_size) for s in stages]


def test_stages_of_the_specification():
    options = Options(spatial_scaling=(0.25, 0.5, 1.0), temporal_scaling=(0.2, 0.6, 1.0), image_height=64,
                      image_width=128, load_height=80, load_width=0, block_size=10, batch_size=3)
    stages = growth_stages(options)
    # ceil(log2(1 / 0.2)) = 3, ceil(log2(1 / 0.6)) = 1
    assert shapes(stages) == [(16, 32, 2, 24), (32, 64, 2, 24), (64, 128, 2, 24), (64, 128, 6, 6), (64, 128, 10, 3)]
    assert [(s.load_height, s.load_width) for s in stages] == [(20, 0), (40, 0), (80, 0), (80, 0), (80, 0)]
    assert {s.num_epochs for s in stages} == {options.num_epochs}


def test_without_growing_there_is_one_stage():
    assert shapes(growth_stages(Options(block_size=0))) == [(256, 256, 5, 1)]
    assert shapes(growth_stages(Options(model_type="pix2pix", image_height=99, image_width=51))) == [(99, 51, 1, 1)]


def test_batches_grow_by_a_power_of_two():
    for scale, factor in {1: 1, 0.9: 2, 0.5: 2, 0.49: 4, 0.25: 4, 0.2: 8}.items():
        stage = growth_stages(Options(temporal_scaling=(scale, 1.0), block_size=20, batch_size=5))[0]
        same = growth_stages(Options(temporal_scaling=(scale, 1.0), block_size=20, batch_size=5, grow_batch=False))[0]
        assert (same.block_size, same.batch_size) == (stage.block_size, 5)
        assert stage.batch_size == 5 * factor


def test_sizes_below_the_full_one_are_multiples_of_4():
    for size, scale in itertools.product([(100, 150), (63, 65), (7, 9), (256, 30)], [0.1, 0.25, 0.3, 0.5, 0.77]):
        options = Options(image_height=size[0], image_width=size[1], spatial_scaling=(scale, 1.0))
        small, full = growth_stages(options)
        for value, whole in zip((small.image_height, small.image_width), size, strict=True):
            assert value % 4 == 0 and value >= 4 and abs(value - whole * scale) <= max(2, 4 - whole * scale)
        assert (full.image_height, full.image_width) == size


class Net(nn.Module):
    def __init__(self, channels, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.second = nn.Linear(channels, 3), nn.Linear(3, 3)


def test_what_fits_is_kept_and_what_does_not_is_named(capsys):
    old, new, other = Net(2, seed=0), Net(4, seed=1), nn.Linear(1, 1)
    begun, untouched = new.first.weight.clone(), other.weight.clone()
    transfer({"net": new, "other": other}, {"net": old.state_dict()})
    assert capsys.readouterr().out == ("begun anew in this stage: net.first.weight: (3, 2) -> (3, 4)\n"
                                       "begun anew in this stage: other: all of it\n")
    assert torch.equal(new.first.weight, begun) and torch.equal(other.weight, untouched)
    assert torch.equal(new.first.bias, old.first.bias) and torch.equal(new.second.weight, old.second.weight)
    transfer({"net": Net(2, seed=2)}, {"net": old.state_dict()})
    assert capsys.readouterr().out == "all weights were kept\n"


def test_a_run_whose_discriminator_changes_shape(data, monkeypatch, capsys):
    """SPEC 7 item 9: the sequence discriminator of 2 judged frames becomes one of 4."""
    seen, step = [], BaseModel.training_step

    def spy(self, batch, *args, **kwargs):
        before = {name: {k: v.clone() for k, v in net.state_dict().items()} for name, net in self.networks().items()}
        result = step(self, batch, *args, **kwargs)
        after = {name: {k: v.clone() for k, v in net.state_dict().items()} for name, net in self.networks().items()}
        seen.append((tuple(batch["source"].shape), before, after))
        return result

    monkeypatch.setattr(BaseModel, "training_step", spy)
    assert train(data, **P, **GROWING)
    printed = capsys.readouterr().out
    assert "stage 1 of 3: 8x12 pixels, clips of 3 frames, batches of 2" in printed
    assert "stage 3 of 3: 12x20 pixels, clips of 5 frames, batches of 1" in printed
    assert printed.count("all weights were kept") == 1  # from stage 1 to 2 nothing changes but the size
    assert "begun anew in this stage: sequence_discriminator_0.net.0.weight: (2, 6, 1, 1) -> (2, 12, 1, 1)" in printed
    assert "begun anew in this stage: generator" not in printed

    clips = [shape for shape, _, _ in seen]
    assert [shape[1] for shape in clips] == [3] * 4 + [5] * 2
    assert clips[0][-2:] != (12, 20) and clips[2][-2:] == clips[-1][-2:] == (12, 20)
    assert clips[0][0] == 2 and clips[-1][0] == 1
    for last, first in ((1, 2), (3, 4)):  # the last step of a stage, the first of the next
        after, before = seen[last][2], seen[first][1]
        assert all(torch.equal(before["generator"][k], v) for k, v in after["generator"].items())
        kept = [k for k, v in after["sequence_discriminator_0"].items()
                if v.shape == before["sequence_discriminator_0"][k].shape]  # fmt: skip
        assert kept and all(torch.equal(before["sequence_discriminator_0"][k],
                                        after["sequence_discriminator_0"][k]) for k in kept)
    assert {name.rsplit("_", 1)[1] for name in weights("run")} == {"1.pth", "2.pth", "3.pth"}
    assert latest("run")["position"] == {"stage": 2, "epoch": 1, "batch": 0, "step": 6, "earlier": 2}


def test_losses_of_later_stages_join_the_table(data):
    """While clips are too short, there is no sequence discriminator and no cycle."""
    train(data, **P, **{**GROWING, "temporal_scaling": (0.2, 1.0), "spatial_scaling": (1.0,)})
    with open("runs/run/losses.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    values = [row["Loss/Generator/timecycle_target"] for row in rows]
    assert values[0] == "" and float(values[-1]) > 0
    assert [int(row["epoch"]) for row in rows] == sorted(int(row["epoch"]) for row in rows)
    assert rows[-1]["epoch"] == "2"


@pytest.mark.parametrize("model_type", ["timecyclep2", "vid2vid", "timecyclevid2vid"])
@pytest.mark.parametrize("first", [0.2, 0.4])
def test_the_first_clips_may_be_too_short_for_flow(data, model_type, first):
    """Of one frame there is no pair, of two only with the one that is made of noise."""
    growing = GROWING | {"temporal_scaling": (first, 1.0), "spatial_scaling": (1.0,)}
    train(data, **given(model_type, flow_backend="farneback", flow_cache="flow", **growing))
    with open("runs/run/losses.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["Loss/Generator/warp"] == "" and rows[-1]["Loss/Generator/warp"] != ""


def nothing_written():
    return not Path("checkpoints").exists() and not Path("runs").exists()


def test_a_stage_too_small_for_a_network_is_refused_before_data_are_read(data, monkeypatch):
    from timecyclegan.training import run as module

    monkeypatch.setattr(module, "DATASETS", None)
    options = {**P, "spatial_scaling": (0.25, 1.0), "image_height": 32, "image_width": 32}
    found = message(trainer, data, discriminator_architecture="basic", **options)
    assert "--discriminator_architecture" in found and "8x8" in found and "24x24" in found
    options |= {"generator_architecture": "unet_128", "image_height": 128, "image_width": 128}
    assert "multiples of 128, not 32x32" in message(trainer, data, **options)
    assert nothing_written()


def test_sequences_too_short_for_the_last_stage_are_refused_at_once(data):
    """Not after the days that the first stages take."""
    options = {**P, "temporal_scaling": (0.2, 1.0), "block_size": 10}
    assert "10 frames" in message(trainer, data, **options)
    assert nothing_written()


@pytest.mark.parametrize(("flag", "scales", "remedy"), [
    ("spatial_scaling", (0.5,), "--spatial_scaling 0.5 1"),
    ("temporal_scaling", (0.4, 0.6), "--temporal_scaling 0.4 0.6 1"),
    ("spatial_scaling", (1.0, 0.5), "--spatial_scaling 1 0.5 1"),
])  # fmt: skip
def test_growing_ends_at_what_is_tested(data, flag, scales, remedy):
    assert remedy in message(train, data, **{**P, "block_size": 5, flag: scales})
    assert not Path("checkpoints").exists()


def test_growing_in_time_is_done_at_full_size(data):
    run = trainer(data, **P, block_size=5, spatial_scaling=(0.5,), temporal_scaling=(0.6, 1.0))
    assert shapes(run.stages)[-1][:2] == (12, 20)
