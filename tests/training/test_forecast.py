"""What fits into memory, found by a few counts: against the count of every size on both sides of the answer."""
import dataclasses
import re

import pytest
import torch

from timecyclegan.models import default_options
from timecyclegan.training import forecast
from timecyclegan.training.forecast import Forecast, forecast_lines
from timecyclegan.training.memory import footprint

CPU = torch.device("cpu")
SMALL = {"generator_architecture": "resnet_1blocks", "generator_filters": 4, "discriminator_filters": 4,
         "timecycle_motion_model_filters": 4, "recycle_predictor_filters": 4, "timecycle_loss_weight": 1.0}  # fmt: skip


def options(model_type="timecycle", **given):
    return default_options(model_type, **{**SMALL, "block_size": 4, "image_height": 32, "image_width": 48, **given})


def sides(size):
    return {"image_height": size[0], "image_width": size[1]}


@pytest.fixture(autouse=True)
def counted(monkeypatch, forecasts_are_quick):
    monkeypatch.setattr(forecast, "COUNTS", 3)


@pytest.mark.parametrize(("given", "times"), [
    ({}, 3), pytest.param({"checkpointing": True, "max_return": 2}, 4, marks=pytest.mark.slow),
    pytest.param({"block_size": 8, "bptt": 2, "image_height": 64, "image_width": 96}, 0.6, marks=pytest.mark.slow),
])  # fmt: skip
def test_what_is_found_fits_and_what_is_a_little_larger_does_not(given, times):
    given = options(**given)
    limit = int(times * footprint(given).memory)
    found = Forecast(given, limit)
    clip, size, batch = found.clip(), found.size(), found.batch()

    def need(**changes):
        return footprint(dataclasses.replace(given, **changes)).memory

    assert need(block_size=clip) <= limit < need(block_size=clip + 1)
    assert 0.9 * limit < need(**sides(size)) <= 1.02 * limit
    assert size[0] % 4 == size[1] % 4 == 0 and size[1] / size[0] == pytest.approx(1.5, abs=0.1)
    if batch is None:
        assert limit < need(batch_size=1)
    else:
        assert need(batch_size=batch) <= limit < need(batch_size=batch + 1)


def test_only_sizes_and_clips_that_the_model_takes():
    given = options("seqdcgan", generator_architecture="dcgan_enc", discriminator_architecture="dcgan",
                    image_height=64, image_width=64, n_frames_discriminator=2)  # fmt: skip
    memory = footprint(given).memory
    assert Forecast(given, 6 * memory).size() == (128, 128)  # four times the pixels; a power of two
    assert Forecast(given, 9 * memory // 10).size() is None  # 64x64 is the smallest
    # Three frames to judge, and one that is not judged.
    short = options(block_size=9, n_frames_discriminator=3, discriminator_temporal_scales=1)
    assert Forecast(short, footprint(dataclasses.replace(short, block_size=4)).memory).clip() == 4
    assert Forecast(short, footprint(dataclasses.replace(short, block_size=4)).memory // 2).clip() is None


def test_parabolas_through_counts_are_exact_where_memory_is_one():
    known = {x: 7 + 3 * x + 2 * x * x for x in (0, 5, 9)}
    assert forecast._parabola(known, 20) == 7 + 60 + 800 and forecast._parabola(known, 3) == 7 + 9 + 18
    assert forecast._parabola({0: 10, 4: 18, 8: 22}, 12) == 26  # a parabola would turn


@pytest.mark.slow
def test_lines_name_switches_and_what_checkpointing_would_do(monkeypatch):
    monkeypatch.setattr(forecast, "COUNTS", 1)
    given = options(accumulate=2)
    memory = forecast.LIBRARIES + 2 * footprint(given).memory
    monkeypatch.setattr(forecast, "free_memory", lambda: memory)
    plain, light = forecast_lines(given, CPU)
    assert plain.startswith("an estimate of what fits with --accumulate 2 in ") and "is left for workspace" in plain
    clips = [int(re.search(r"--block_size (\d+);", line)[1]) for line in (plain, light)]
    assert light.startswith("with --checkpointing: ") and 4 < clips[0] < clips[1]
    assert len(list(forecast_lines(dataclasses.replace(given, checkpointing=True), CPU))) == 1
    monkeypatch.setattr(forecast, "free_memory", lambda: 0)
    assert "no clip; no size; no --batch_size; this step: " in next(forecast_lines(given, CPU))
