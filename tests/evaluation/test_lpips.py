"""LPIPS: against the reference values, and the packages that have it."""
import json
import runpy
import sys

import numpy as np
import pytest
import torch

from tests.evaluation.helpers import CASES, blurred, moving, noisy, texture, write_clips
from timecyclegan.evaluation.base import Evaluation
from timecyclegan.evaluation.compute_lpips import lpips_distance
from timecyclegan.evaluation.compute_metrics import evaluate
from timecyclegan.evaluation.report import csv_row, format_metrics
from timecyclegan.video.frames import find_sequences, read_image, resize_image

REFERENCE = json.loads((CASES / "reference.json").read_text())["lpips"]
TOLERANCE = 1e-7
SIZE = (40, 48)


def evaluated(tmp_path, real, fake, **options):
    sides = write_clips(tmp_path / "real", real), write_clips(tmp_path / "fake", fake)
    return evaluate(*sides, **{"only": ["lpips"], **options})["metrics"]["lpips"]


def test_reference(alexnet):
    sides = (find_sequences(CASES / "cases" / side) for side in ("real", "fake"))
    found = evaluate(*sides, only=["lpips"])["metrics"]["lpips"]
    assert found["value"] == pytest.approx(REFERENCE["mean"], abs=TOLERANCE)
    assert found["per_frame"].keys() == REFERENCE["per_frame"].keys()
    for name, values in REFERENCE["per_frame"].items():
        assert found["per_frame"][name] == pytest.approx(values, abs=TOLERANCE)
        assert found["per_sequence"][name] == pytest.approx(np.mean(values), abs=TOLERANCE)
    assert (found["definition"], found["frames"], found["skipped"]) == ("lpips-0.1-alex-1", 12, 0)
    assert found["network"]["weights"] == alexnet.name


def test_reference_by_layer(perceptual):
    real, fake = perceptual.vectors([read_image(CASES / "cases" / side / "seq0/0000.png") for side in ("real", "fake")])
    # of 96x128 pixels a stride of 4 and two poolings leave 23x31, 11x15, 5x7
    sizes = [64 * 23 * 31, 192 * 11 * 15, 384 * 5 * 7, 256 * 5 * 7, 256 * 5 * 7]
    layers = [part.square().sum().item() for part in (real - fake).split(sizes)]
    assert layers == pytest.approx(REFERENCE["per_layer_seq0_frame0"], abs=TOLERANCE)


def test_function_and_metric_are_what_lpips_says(tmp_path, perceptual, plain_lpips):
    real = moving(2, 41, 37)
    fake = [blurred(real[0]), noisy(real)[1]]
    found = evaluated(tmp_path, {"a": real}, {"a": fake})["per_frame"]["a"]
    for t, pair in enumerate(zip(real, fake, strict=True)):
        expected = plain_lpips(*pair)
        assert found[t] == pytest.approx(expected, abs=TOLERANCE)
        assert lpips_distance(*pair, perceptual) == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.slow
def test_torchmetrics_agrees(perceptual, torchvision_alexnet):
    from torchmetrics.functional.image import learned_perceptual_image_patch_similarity

    pair = texture(41, 37), blurred(texture(41, 37))
    tensors = (torch.tensor(frame).permute(2, 0, 1)[None] / 127.5 - 1 for frame in pair)
    expected = learned_perceptual_image_patch_similarity(*tensors, net_type="alex").item()
    assert lpips_distance(*pair, perceptual) == pytest.approx(expected, abs=TOLERANCE)


def test_identities(tmp_path, alexnet):
    clips = {"a": moving(5, *SIZE), "b": moving(4, *SIZE, seed=1)}
    found = evaluated(tmp_path / "1", clips, clips)
    assert found["value"] == 0 and found["per_sequence"] == {"a": 0, "b": 0}
    noise = [evaluated(tmp_path / f"{sigma}", clips, {name: noisy(clip, sigma) for name, clip in clips.items()})
             for sigma in (5, 20)]
    assert 0 < noise[0]["value"] < noise[1]["value"]


def test_the_mean_runs_over_frames(tmp_path, alexnet):
    real = {"a": moving(3, *SIZE), "b": moving(1, *SIZE, seed=1)}
    found = evaluated(tmp_path, real, {"a": noisy(real["a"], 2), "b": noisy(real["b"], 30)})
    assert found["value"] == pytest.approx((3 * found["per_sequence"]["a"] + found["per_sequence"]["b"]) / 4)
    assert found["value"] < found["per_sequence"]["b"] / 3


def test_frames_are_resized_as_for_all_metrics(tmp_path, perceptual):
    large, small = texture(80, 96), texture(*SIZE, seed=2)
    found = evaluated(tmp_path / "1", {"a": [large]}, {"a": [small]})
    assert found["value"] == pytest.approx(lpips_distance(resize_image(large, *SIZE), small, perceptual), abs=TOLERANCE)
    found = evaluated(tmp_path / "2", {"a": [large]}, {"a": [small]}, resize=(32, 33))
    expected = lpips_distance(resize_image(large, 32, 33), resize_image(small, 32, 33), perceptual)
    assert found["value"] == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.parametrize("kind", ["unpaired", "unconditional"])
def test_undefined_without_a_real_frame_of_the_same_moment(tmp_path, alexnet, kind):
    clip = {"a": moving(2, *SIZE)}
    found = evaluated(tmp_path, clip, clip, kind=kind)
    assert found["value"] is None and found["reason"] == "no real frame shows the same moment"


def test_small_frames_have_a_reason_and_the_other_metrics(tmp_path, alexnet):
    clip = {"a": moving(2, 30, 64)}
    sides = write_clips(tmp_path / "real", clip), write_clips(tmp_path / "fake", clip)
    evaluation = evaluate(*sides, only=["lpips", "tlp", "ssim"])
    for name in ("lpips", "tlp"):
        assert evaluation["metrics"][name]["value"] is None
        assert "31x31 pixels" in evaluation["metrics"][name]["reason"]
    assert evaluation["metrics"]["ssim"]["value"] == pytest.approx(1)
    assert "31x31 pixels" in format_metrics(Evaluation.from_json(evaluation))


def test_missing_weights_are_a_reason_and_stop_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    clip = {"a": moving(2, *SIZE)}
    sides = write_clips(tmp_path / "real", clip), write_clips(tmp_path / "fake", clip)
    evaluation = evaluate(*sides, only=["lpips", "tlp", "psnr", "l1"])
    for name in ("lpips", "tlp"):
        facts = evaluation["metrics"][name]
        assert facts["value"] is None and "network" not in facts
        assert str(tmp_path / "home/hub/checkpoints/alexnet-owt-7be5be79.pth") in facts["reason"]
    assert evaluation["metrics"]["l1"]["value"] == 0
    row = csv_row(Evaluation.from_json(evaluation))
    assert row["lpips"] == row["tlp"] == "" != row["l1"]


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
@pytest.mark.parametrize("name", ["lpips", "tlp"])
def test_commands(tmp_path, alexnet, monkeypatch, name):
    clip, result = moving(2, *SIZE), tmp_path / "m.json"
    write_clips(tmp_path / "real", {"a": clip})
    write_clips(tmp_path / "fake", {"a": noisy(clip)})
    folders = (str(tmp_path / side) for side in ("real", "fake"))
    monkeypatch.setattr(sys, "argv", [f"compute_{name}", *folders, "--gpu", "-1", "--json", str(result)])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_module(f"timecyclegan.evaluation.compute_{name}", run_name="__main__")
    found = json.loads(result.read_text())["metrics"]
    assert {metric for metric, facts in found.items() if facts["value"] is not None} == {name}
