"""All metrics against values that other programs computed for two small clips (tests/data/metrics)."""
import json
from types import SimpleNamespace

import pytest

from tests.evaluation.helpers import CASES
from timecyclegan.evaluation.base import Step
from timecyclegan.evaluation.compute_metrics import evaluate
from timecyclegan.evaluation.flow import Warp
from timecyclegan.evaluation.variants import WarpBack, WithoutEnds, summed_distance
from timecyclegan.flow.opencv import farneback
from timecyclegan.video.frames import find_sequences, read_image

SEQUENCES = ("seq0", "seq1")


@pytest.fixture(scope="module")
def metrics() -> dict:
    cases = CASES / "cases"
    return evaluate(find_sequences(cases / "real"), find_sequences(cases / "fake"))["metrics"]


@pytest.fixture(scope="module")
def reference() -> dict:
    return json.loads((CASES / "reference.json").read_text())


def test_tof(metrics, reference):
    expected = reference["tof"]["full_frame"]
    assert metrics["tof"]["value"] == pytest.approx(expected["mean_l2"], abs=1e-5)
    for name in SEQUENCES:
        first, *pairs = metrics["tof"]["per_frame"][name]
        assert first is None
        assert pairs == pytest.approx([pair["mean_l2"] for pair in expected["pairs"][name]], abs=1e-5)


def check_pairs(found, expected):
    """Values per frame against the reference's pairs and their mean over all."""
    for name in SEQUENCES:
        first, *pairs = found.per_frame[name]
        assert first is None
        assert pairs == pytest.approx([pair["mean_l2_float64"] for pair in expected["pairs"][name]], abs=1e-5)
    assert found.value == pytest.approx(expected["mean_l2_float64"], abs=1e-5)


def test_tof_resized(reference):
    cases = CASES / "cases"
    found = evaluate(find_sequences(cases / "real"), find_sequences(cases / "fake"), only=["tof"], resize=(64, 64))
    assert found["frame_size"] == found["resize"] == [64, 64]
    check_pairs(SimpleNamespace(**found["metrics"]["tof"]), reference["tof"]["resized_64x64_bicubic"])


def clip(side, name):
    return [read_image(path) for path in find_sequences(CASES / "cases" / side)[name]]


def steps(name):
    """The pairs of a sequence."""
    real, fake = clip("real", name), clip("fake", name)
    return [Step(real[t], fake[t], *((real[t - 1], fake[t - 1]) if t else ())) for t in range(len(real))]


def run(name):
    cases = CASES / "cases"
    found = evaluate(find_sequences(cases / "real"), find_sequences(cases / "fake"), only=[name])
    return SimpleNamespace(**found["metrics"][name])


def test_tof_tecogan(reference, monkeypatch):
    expected, found = reference["tof"]["tecogan_crop_no_cut"], run("tof-tecogan")
    inner = [expected["pairs"][name][2]["mean_l2_float64"] for name in SEQUENCES]  # of six frames two remain
    assert [found.per_sequence[name] for name in SEQUENCES] == pytest.approx(inner, abs=1e-5)
    assert found.value == pytest.approx(sum(inner) / 2, abs=1e-5) and found.skipped == 8
    monkeypatch.setattr(WithoutEnds, "cut", 0)
    check_pairs(run("tof-tecogan"), expected)


@pytest.mark.usefixtures("alexnet")
def test_tlp_tecogan(reference, monkeypatch):
    monkeypatch.setattr(WithoutEnds, "cut", 0)
    expected = reference["tlp"]["tecogan_crop_no_cut"]
    assert run("tlp100-tecogan").value == pytest.approx(expected["x100"], abs=1e-5)


def test_the_sum_of_the_2020_release_by_farneback_s_flow(reference):
    expected, sums = reference["tof"]["full_frame"], []
    for name in SEQUENCES:
        own = [summed_distance(step.real_forward, step.fake_forward) for step in steps(name)[1:]]
        assert own == pytest.approx([pair["sum_l1"] for pair in expected["pairs"][name]], rel=1e-6)
        sums += own
    assert sum(sums) / len(sums) == pytest.approx(expected["mean_of_sum_l1"], rel=1e-6)


@pytest.mark.parametrize(("side", "prefix"), [("fake", ""), ("real", "real_")])
def test_e_warp_lai(reference, side, prefix):
    expected, found = reference["e_warp"][f"lai_{side}"], vars(run("ewarp-lai"))
    assert found["value" if side == "fake" else "real"] == near(expected["mean"])
    for name in SEQUENCES:
        assert found[f"{prefix}per_sequence"][name] == near(expected["per_seq"][name])
        assert found[f"{prefix}per_frame"][name][1:] == near([pair["e"] for pair in expected["pairs"][name]])
        masks = [WarpBack(step.real_forward, step.real_backward).mask.mean() for step in steps(name)[1:]]
        assert masks == near([pair["mask_fraction"] for pair in expected["pairs"][name]])


def test_the_flow_itself(reference):
    expected, flow = reference["tof"]["probe_flow_real_seq0_0to1"], farneback(*clip("real", "seq0")[:2])
    assert flow[48, 64] == pytest.approx(expected["at_y48_x64"], abs=1e-5)
    assert flow[10, 20] == pytest.approx(expected["at_y10_x20"], abs=1e-5)
    assert flow.sum(dtype=float) == pytest.approx(expected["sum_float64"], rel=1e-5)


def near(expected):
    return pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(("side", "prefix"), [("fake", ""), ("real", "real_")])
def test_e_warp(metrics, reference, side, prefix):
    expected, found = reference["e_warp"][f"fwd_{side}"], metrics["e_warp"]
    assert found["value" if side == "fake" else "real"] == near(expected["mean"])
    for name in SEQUENCES:
        assert found[f"{prefix}per_sequence"][name] == near(expected["per_seq"][name])
        assert found[f"{prefix}per_frame"][name][1:] == near([pair["e"] for pair in expected["pairs"][name]])
        masks = [Warp.from_estimates(step.real_forward, step.real_backward).mask.mean() for step in steps(name)[1:]]
        assert masks == near([pair["mask_fraction"] for pair in expected["pairs"][name]])


@pytest.mark.parametrize(("side", "prefix"), [("fake", ""), ("real", "real_")])
def test_flicker(metrics, reference, side, prefix):
    expected = reference["temporal_flicker"][side]
    # the reference was averaged in float32
    assert metrics["flicker"][f"{prefix}per_sequence"] == pytest.approx(expected, abs=1e-7)
    # both clips have as many pairs, so the mean over pairs is that over sequences
    assert metrics["flicker"]["value" if side == "fake" else "real"] == pytest.approx(
        sum(expected.values()) / 2, abs=1e-7)


@pytest.mark.parametrize(("metric", "key"), [("psnr", "psnr"), ("ssim", "ssim_gaussian")])
def test_psnr_and_ssim(metrics, reference, metric, key):
    expected = reference["ssim_psnr"]
    assert metrics[metric]["value"] == pytest.approx(expected[f"{key}_mean"], abs=1e-6)
    for name in SEQUENCES:
        assert metrics[metric]["per_frame"][name] == pytest.approx(expected[key][name], abs=1e-6)


def test_counts(metrics):
    for name in ("tof", "e_warp", "flicker", "sharpness", "psnr", "ssim"):
        assert (metrics[name]["frames"], metrics[name]["pairs"], metrics[name]["sequences"]) == (12, 10, 2)
