"""tLP: against the reference values, the lpips package, and what its words say of sequences and sets."""
import itertools
import json

import numpy as np
import pytest

from tests.evaluation.helpers import CASES, moving, noisy, texture, write_clips
from timecyclegan.evaluation.base import Settings, Step
from timecyclegan.evaluation.compute_metrics import evaluate
from timecyclegan.evaluation.compute_tlp import TLP, tlp
from timecyclegan.evaluation.variants import CroppedPerceptualView
from timecyclegan.video.frames import find_sequences, read_image

REFERENCE = json.loads((CASES / "reference.json").read_text())["tlp"]
TOLERANCE = 1e-7
SIZE = (40, 48)


def cases():
    return [find_sequences(CASES / "cases" / side) for side in ("real", "fake")]


def evaluated(tmp_path, real, fake, **options):
    sides = write_clips(tmp_path / "real", real), write_clips(tmp_path / "fake", fake)
    return evaluate(*sides, only=["tlp"], **options)["metrics"]["tlp"]


def test_reference(alexnet):
    found, expected = evaluate(*cases(), only=["tlp"])["metrics"]["tlp"], REFERENCE["full_frame"]
    assert found["value"] == pytest.approx(expected["mean"], abs=TOLERANCE)
    assert found["value"] == pytest.approx(expected["fp64_mean"], abs=TOLERANCE)
    for name, pairs in expected["pairs"].items():
        first, *values = found["per_frame"][name]
        assert first is None
        assert values == pytest.approx([pair["abs_diff"] for pair in pairs], abs=TOLERANCE)
    assert (found["definition"], found["frames"], found["pairs"]) == ("tlp-alex-1", 12, 10)


def test_reference_of_each_side(perceptual):
    """|d_real - d_fake| could be right by two wrongs."""
    for name, pairs in REFERENCE["full_frame"]["pairs"].items():
        for side, key in zip(cases(), ("d_real", "d_fake"), strict=True):
            clip = [read_image(path) for path in side[name]]
            still = [clip[0]] * 2
            found = [tlp(*still, *pair, perceptual) for pair in itertools.pairwise(clip)]
            assert found == pytest.approx([pair[key] for pair in pairs], abs=TOLERANCE)


def test_reference_of_resized_frames(alexnet):
    found = evaluate(*cases(), only=["tlp"], resize=(64, 64))["metrics"]["tlp"]
    assert found["value"] == pytest.approx(REFERENCE["resized_64x64_bicubic"], abs=TOLERANCE)


class CroppedTLP(TLP):
    view = CroppedPerceptualView


def test_reference_of_the_crop(alexnet):
    """Through the view that tlp100-tecogan uses, without its cut."""
    view, metric = CroppedPerceptualView(Settings()), CroppedTLP()
    real, fake = cases()
    for name in real:
        metric.start(name)
        for t, paths in enumerate(zip(real[name], fake[name], strict=True)):
            pictures = [read_image(path) for path in paths]
            step = Step(*pictures, *(pictures if t else (None, None)))
            step.seen[CroppedPerceptualView], = view([step])
            metric.add(metric.measure(step))
    expected = REFERENCE["tecogan_crop_no_cut"]
    assert metric.result().value == pytest.approx(expected["mean"], abs=TOLERANCE)
    assert 100 * metric.result().value == pytest.approx(expected["x100"], abs=100 * TOLERANCE)


def test_function_and_metric_are_lpips_of_the_pairs(tmp_path, perceptual, plain_lpips):
    real = moving(4, *SIZE, step=2)
    fake = noisy(moving(4, *SIZE, seed=3), 10)
    found = evaluated(tmp_path, {"a": real}, {"a": fake})["per_frame"]["a"]
    for t in range(1, 4):
        expected = abs(plain_lpips(real[t - 1], real[t]) - plain_lpips(fake[t - 1], fake[t]))
        assert found[t] == pytest.approx(expected, abs=TOLERANCE)
        assert tlp(real[t - 1], real[t], fake[t - 1], fake[t], perceptual) == pytest.approx(expected, abs=TOLERANCE)


def test_averages_run_over_pairs_and_do_not_cross_sequences(tmp_path, alexnet):
    """Of still clips only a pair made across a boundary would count; the longer sequence counts more."""
    stills = {name: [texture(*SIZE, seed)] * 3 for seed, name in enumerate("ab")}
    jumps = {"a": stills["a"], "b": [texture(*SIZE, 5)] * 3}
    assert evaluated(tmp_path / "1", stills, jumps)["value"] == 0
    real = {"a": moving(4, *SIZE), "b": moving(2, *SIZE, seed=1)}
    found = evaluated(tmp_path / "2", real, {"a": noisy(real["a"], 3), "b": noisy(real["b"], 30)})
    assert found["value"] == pytest.approx((3 * found["per_sequence"]["a"] + found["per_sequence"]["b"]) / 4)
    assert found["per_frame"]["a"][0] is found["per_frame"]["b"][0] is None


def test_identical_clips_are_at_0_and_a_frozen_one_at_the_real_ones_change(tmp_path, alexnet, plain_lpips):
    real = moving(5, *SIZE)
    assert evaluated(tmp_path / "1", {"a": real}, {"a": real})["value"] == 0
    frozen = evaluated(tmp_path / "2", {"a": real}, {"a": [real[0]] * 5})["value"]
    change = np.mean([plain_lpips(*pair) for pair in itertools.pairwise(real)])
    assert frozen == pytest.approx(change, abs=TOLERANCE)


def test_sequences_of_one_frame_have_none(tmp_path, alexnet):
    clips = {"a": moving(1, *SIZE), "b": moving(1, *SIZE, seed=1)}
    found = evaluated(tmp_path / "1", clips, clips)
    assert found["value"] is None and "two frames" in found["reason"]
    clips["c"] = moving(2, *SIZE, seed=2)
    found = evaluated(tmp_path / "2", clips, clips)
    assert (found["value"], found["per_sequence"], found["pairs"]) == (0, {"a": None, "b": None, "c": 0}, 1)


def test_unpaired_clips_are_compared_with_their_source(tmp_path, alexnet):
    source = {"a": moving(3, *SIZE)}
    fake = {"a": noisy(source["a"])}
    paired, unpaired = (evaluated(tmp_path / kind, source, fake, kind=kind) for kind in ("paired", "unpaired"))
    assert unpaired["value"] == paired["value"] > 0
    assert unpaired["definition"] == "tlp-alex-1-source"


def test_sets_are_compared_by_their_mean_change(tmp_path, alexnet, plain_lpips):
    """Other names, numbers and lengths than the real clips'."""
    real = {"a": moving(4, *SIZE, step=3), "z": moving(3, *SIZE, seed=2)}
    fake = {"a": moving(3, *SIZE, seed=5), "b": noisy(moving(2, *SIZE, seed=6)), "c": moving(1, *SIZE, seed=7)}
    found = evaluated(tmp_path / "1", real, fake, kind="unconditional")
    changes = {side: {name: [plain_lpips(*pair) for pair in itertools.pairwise(clip)] for name, clip in clips.items()}
               for side, clips in (("real", real), ("generated", fake))}
    means = {side: np.mean([change for clip in clips.values() for change in clip]) for side, clips in changes.items()}
    assert found["details"] == pytest.approx(means, abs=TOLERANCE)
    assert found["value"] == pytest.approx(abs(means["real"] - means["generated"]), abs=TOLERANCE)
    assert found["per_sequence"]["b"] == pytest.approx(abs(changes["generated"]["b"][0] - means["real"]), abs=TOLERANCE)
    assert found["per_sequence"]["c"] is None and found["definition"] == "tlp-alex-1-means"
    renamed = {f"x{name}": clip for name, clip in real.items()}
    assert evaluated(tmp_path / "2", real, renamed, kind="unconditional")["value"] == 0


def test_sets_without_real_pairs_have_a_reason_and_no_values(tmp_path, alexnet):
    found = evaluated(tmp_path, {"a": moving(1, *SIZE)}, {"a": moving(3, *SIZE)}, kind="unconditional")
    assert found["value"] is None and found["reason"].startswith("of the real clips: needs two frames")
    assert found["per_sequence"] == {"a": None} and found["per_frame"] == {"a": [None] * 3}
    assert "details" not in found
