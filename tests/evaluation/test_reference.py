"""All metrics against values that other programs computed for two small clips (tests/data/metrics)."""
import json

import pytest

from tests.evaluation.helpers import CASES
from timecyclegan.datasets.frames import find_sequences
from timecyclegan.evaluation.evaluate import evaluate

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


def near(expected):
    return pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(("side", "prefix"), [("fake", ""), ("real", "real_")])
def test_e_warp(metrics, reference, side, prefix):
    expected, found = reference["e_warp"][f"fwd_{side}"], metrics["e_warp"]
    assert found["value" if side == "fake" else "real"] == near(expected["mean"])
    for name in SEQUENCES:
        assert found[f"{prefix}per_sequence"][name] == near(expected["per_seq"][name])
        assert found[f"{prefix}per_frame"][name][1:] == near([pair["e"] for pair in expected["pairs"][name]])


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
