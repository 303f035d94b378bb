import hashlib
import itertools
import json
import runpy
import sys

import numpy as np
import pytest
import torch

from tests.evaluation.helpers import blurred, moving, noisy, texture, write_clips, write_flow
from tests.seeded import seeded_weights
from timecyclegan.evaluation import evaluate as evaluating
from timecyclegan.evaluation import report
from timecyclegan.evaluation.base import Evaluation
from timecyclegan.evaluation.command import compare_frames
from timecyclegan.evaluation.compute_ewarp import e_warp
from timecyclegan.evaluation.compute_lpips import LPIPS
from timecyclegan.evaluation.compute_metrics import METRICS, evaluate, main
from timecyclegan.evaluation.compute_tof import tof
from timecyclegan.evaluation.flow import estimator
from timecyclegan.evaluation.report import csv_row, format_metrics
from timecyclegan.flow.opencv import dis
from timecyclegan.util.errors import UserError
from timecyclegan.video.frames import resize_image

TEMPORAL, STILL = ("tof", "e_warp", "flicker"), ("sharpness", "psnr", "ssim", "l1")


def evaluated(tmp_path, real, fake, **options):
    return evaluate(write_clips(tmp_path / "real", real), write_clips(tmp_path / "fake", fake), **options)


def values(evaluation, key="value"):
    return {name: facts[key] for name, facts in evaluation["metrics"].items()}


def test_identities(tmp_path):
    clips = {"a": moving(4), "b/c": moving(3, seed=5)}
    evaluation = evaluated(tmp_path, clips, clips)
    found = evaluation["metrics"]
    assert found["tof"]["value"] == 0
    assert found["e_warp"]["value"] == found["e_warp"]["real"] > 0
    assert found["flicker"]["value"] == found["flicker"]["real"] < 1
    assert found["sharpness"]["value"] == 1
    assert found["ssim"]["value"] == pytest.approx(1)
    assert found["psnr"]["value"] == 100 and found["psnr"]["skipped"] == 0
    assert evaluation["frame_size"] == [24, 32] and evaluation["resized_real"] == []


def test_frozen_and_blurred_videos(tmp_path):
    real = noisy(moving(4))
    frozen = evaluated(tmp_path / "1", {"a": real}, {"a": [real[0]] * 4})["metrics"]
    assert frozen["flicker"]["value"] == 1 > frozen["flicker"]["real"]
    assert frozen["tof"]["value"] > 0.5
    soft = evaluated(tmp_path / "2", {"a": real}, {"a": [blurred(frame) for frame in real]})["metrics"]
    assert soft["sharpness"]["value"] < 0.7
    assert soft["e_warp"]["value"] < soft["e_warp"]["real"]  # which is why sharpness stands beside it


def test_averages_do_not_cross_sequences(tmp_path):
    """Two still sequences: a pair made across their boundary would not be still."""
    stills = {name: [texture(24, 32, seed)] * 3 for seed, name in enumerate("ab")}
    found = evaluated(tmp_path, stills, stills)["metrics"]
    assert found["flicker"]["value"] == found["flicker"]["real"] == 1
    assert found["tof"]["value"] == 0
    assert found["e_warp"]["real"] < 1e-6  # Farneback's flow of a still pair is not quite 0
    assert found["tof"]["pairs"] == 4 and found["tof"]["per_frame"]["b"][0] is None


def test_means_run_over_pairs_but_for_e_warp(tmp_path):
    real = {"a": moving(4), "b": moving(2, seed=3)}
    found = evaluated(tmp_path, real, {"a": noisy(real["a"], 3), "b": noisy(real["b"], 25)})["metrics"]
    for name, weights in (("tof", (3, 1)), ("flicker", (3, 1)), ("e_warp", (1, 1)), ("ssim", (4, 2))):
        parts = found[name]["per_sequence"]
        expected = (weights[0] * parts["a"] + weights[1] * parts["b"]) / sum(weights)
        assert found[name]["value"] == pytest.approx(expected, rel=1e-12), name


def test_sequences_of_one_frame_have_image_metrics_only(tmp_path):
    real = {"a": moving(1), "b": moving(1, seed=3)}
    evaluation = evaluated(tmp_path, real, {name: noisy(clip) for name, clip in real.items()})
    for name in TEMPORAL:
        assert evaluation["metrics"][name]["value"] is None
        assert "two frames" in evaluation["metrics"][name]["reason"]
    assert all(evaluation["metrics"][name]["value"] > 0 for name in STILL)
    row = csv_row(Evaluation.from_json(evaluation))
    assert row["tof"] == row["e_warp_real"] == row["flicker"] == "" != row["psnr"]


def test_larger_real_frames_are_resized(tmp_path):
    large = moving(3, 48, 64)
    fake = noisy([resize_image(frame, 24, 32) for frame in large])
    small = [resize_image(frame, 24, 32) for frame in large]
    resized = evaluated(tmp_path / "1", {"a": large}, {"a": fake})
    plain = evaluated(tmp_path / "2", {"a": small}, {"a": fake})
    assert values(resized) == values(plain)
    assert resized["resized_real"] == [[48, 64]] and plain["resized_real"] == []
    assert resized["frame_size"] == [24, 32]


def test_true_flow_replaces_the_estimate(tmp_path):
    clip = moving(3, step=2)
    for t in (1, 2):
        write_flow(tmp_path / "flow/a" / f"{t:04}.npz", np.full((24, 32, 2), (2.0, 0.0)), np.ones((24, 32), bool))
    metrics = evaluated(tmp_path, {"a": clip}, {"a": clip}, flow_dir=tmp_path / "flow", also=["ewarp-lai"])["metrics"]
    found = metrics["e_warp"]
    assert found["value"] == found["real"] == 0
    assert metrics["ewarp-lai"]["definition"] == "ewarp-lai-farneback-1"  # which takes the estimate all the same
    assert found["definition"] == "ewarp-fwd-true-flow-1"
    estimated = evaluated(tmp_path, {"a": clip}, {"a": clip})["metrics"]["e_warp"]
    assert estimated["value"] > 0 and estimated["definition"] == "ewarp-fwd-farneback-1"


def test_another_back_end_gives_other_numbers_under_other_names(tmp_path):
    real = {"a": moving(4, 32, 40, step=2)}
    fake = {"a": noisy(real["a"])}
    found = evaluated(tmp_path, real, fake, flow=estimator("dis"))
    usual = evaluated(tmp_path, real, fake)
    pairs = [(real["a"][t - 1], real["a"][t], fake["a"][t - 1], fake["a"][t]) for t in (1, 2, 3)]
    assert found["metrics"]["tof"]["per_frame"]["a"][1:] == [tof(*pair, flow=dis) for pair in pairs]
    warped = [e_warp(*pair, flow=dis) for pair in pairs]
    assert found["metrics"]["e_warp"]["per_frame"]["a"][1:] == [pair.fake for pair in warped]
    assert found["metrics"]["e_warp"]["real_per_frame"]["a"][1:] == [pair.real for pair in warped]
    for name, definition in (("tof", "tof-{}-1"), ("e_warp", "ewarp-fwd-{}-1")):
        assert found["metrics"][name]["value"] != usual["metrics"][name]["value"]
        assert found["metrics"][name]["definition"] == definition.format("dis")
        assert usual["metrics"][name]["definition"] == definition.format("farneback")
    assert (found["flow"]["flow_backend"], usual["flow"]["flow_backend"]) == ("dis", "farneback")
    assert "optical flow by dis" in format_metrics(Evaluation.from_json(found))
    for facts in found["metrics"].values():  # an earlier version left it to the definitions
        del facts["flow"]
    assert "optical flow by dis" in format_metrics(Evaluation.from_json(found)).splitlines()
    del found["flow"]  # evaluations of before there were several back ends
    assert "optical flow" not in format_metrics(Evaluation.from_json(found))


def test_sets_of_clips_are_compared_by_the_back_end_too(tmp_path):
    real, fake = {"a": moving(3, 32, 40, step=2)}, {"x": moving(3, 32, 40)}
    found = evaluated(tmp_path, real, fake, kind="unconditional", flow=estimator("dis"))["metrics"]["tof"]
    means = [np.mean([np.linalg.norm(dis(*pair), axis=2).mean() for pair in itertools.pairwise(clip)])
             for clip in (fake["x"], real["a"])]
    assert list(found["details"].values()) == pytest.approx(means, rel=1e-6)
    assert found["definition"] == "tof-dis-1-means"


def test_weights_of_a_flow_network_stand_beside_the_numbers(tmp_path, capsys):
    from torchvision.models.optical_flow import raft_small

    state = raft_small(weights=None).state_dict()
    state |= seeded_weights({name: value.shape for name, value in state.items() if value.is_floating_point()})
    torch.save(state, tmp_path / "raft.pth")
    clip = {"a": moving(2)}
    write_clips(tmp_path / "real", clip)
    write_clips(tmp_path / "fake", {"a": noisy(clip["a"])})
    flags = ["--flow_backend", "raft_small", "--flow_weights", str(tmp_path / "raft.pth"), "--gpu", "-1"]
    written = tmp_path / "m.json"
    assert main([str(tmp_path / "real"), str(tmp_path / "fake"), *flags, "--only", "tof", "--json", str(written)]) == 0
    found = json.loads(written.read_text())
    assert found["metrics"]["tof"]["definition"] == "tof-raft_small-1" and found["metrics"]["tof"]["value"] > 0
    digest = hashlib.sha256((tmp_path / "raft.pth").read_bytes()).hexdigest()
    assert found["flow"] == {"flow_backend": "raft_small", "flow_weights": str(tmp_path / "raft.pth"),
                             "flow_weights_sha256": digest}
    assert f"optical flow by raft_small ({tmp_path / 'raft.pth'})" in capsys.readouterr().out


def test_true_flow_follows_the_size_of_the_frames(tmp_path):
    """A clip of flat 2x2 blocks moving by 4 pixels is, at half width, the same clip moving by 2."""
    clip = moving(2, step=2)
    flow, visible = np.full((48, 64, 2), (4.0, 0.0)), np.ones((48, 64), bool)
    write_flow(tmp_path / "flow/a/0001.npz", flow, visible)
    found = evaluated(tmp_path, {"a": clip}, {"a": clip}, flow_dir=tmp_path / "flow")["metrics"]["e_warp"]
    assert found["value"] == 0


def test_missing_flow_file_is_named(tmp_path):
    clip = moving(2)
    with pytest.raises(UserError, match=r"0001\.npz does not exist"):
        evaluated(tmp_path, {"a": clip}, {"a": clip}, flow_dir=tmp_path)


def test_mismatches_are_named(tmp_path):
    clip = moving(2)
    with pytest.raises(UserError, match="sequence b of the real frames"):
        evaluated(tmp_path / "1", {"a": clip, "b": clip}, {"a": clip})
    with pytest.raises(UserError, match=r"numbers of frames differ .* sequence a \(2 and 1\)"):
        evaluated(tmp_path / "2", {"a": clip}, {"a": clip[:1]})
    with pytest.raises(UserError, match=r"different sizes: .*0000\.png is 32x24, .*0001\.png is 16x24"):
        evaluated(tmp_path / "3", {"a": clip}, {"a": [clip[0], clip[1][:, :16]]})
    with pytest.raises(UserError, match="no frames"):
        evaluate({}, {})


def test_results_do_not_depend_on_the_number_of_threads(tmp_path, monkeypatch):
    real = {"a": moving(6), "b": moving(1), "c": moving(3)}
    fake = {name: noisy(clip) for name, clip in real.items()}
    threaded = evaluated(tmp_path, real, fake)
    monkeypatch.setattr(evaluating, "MAX_THREADS", 1)
    assert evaluated(tmp_path, real, fake) == threaded


def test_every_frame_is_read_once(tmp_path, monkeypatch):
    read, seen = evaluating.read_image, []
    monkeypatch.setattr(evaluating, "read_image", lambda path: seen.append(path) or read(path))
    evaluated(tmp_path, {"a": moving(5)}, {"a": moving(5)})
    assert len(seen) == len(set(seen)) == 10


def test_columns_and_rows(tmp_path):
    real = {"a": moving(3)}
    evaluation = evaluated(tmp_path, real, {"a": noisy(real["a"])})
    row = csv_row(Evaluation.from_json(evaluation))
    assert tuple(row) == ("fid", "lpips", "tlp", "tof", "e_warp", "e_warp_real", "flicker", "flicker_real",
                          "sharpness", "sharpness_real", "psnr", "ssim", "l1")
    assert row["fid"] == row["lpips"] == row["tlp"] == ""
    assert float(row["e_warp_real"]) == pytest.approx(evaluation["metrics"]["e_warp"]["real"], rel=1e-7)
    assert json.loads(json.dumps(evaluation, allow_nan=False)) == evaluation


def test_table_shows_values_floors_and_reasons(tmp_path):
    real = {"a": moving(3, 9, 30)}
    table = format_metrics(Evaluation.from_json(evaluated(tmp_path, real, {"a": noisy(real["a"])})))
    lines = {line.split("  ")[0]: line for line in table.splitlines()}
    for metric in METRICS:
        if "paired" not in metric.by_default:
            continue
        assert metric.better in lines[metric.title]
    assert lines["FID"].split()[1] == "-" and lines["E_warp"].split()[2] != "-"
    assert "SSIM: no value, the pictures are smaller than its 11x11 window" in table
    assert "3 frames in 1 sequence(s), 30x9 pixels" in table


def test_only_some_metrics(tmp_path):
    clip = {"a": moving(2)}
    assert list(values(evaluated(tmp_path, clip, clip, only=["l1", "flicker"]))) == ["flicker", "l1"]
    with pytest.raises(UserError, match="metric 'tofu' is not known; did you mean tof"):
        evaluated(tmp_path, clip, clip, only=["tofu"])


def test_command_writes_json(tmp_path, capsys):
    real = {"a": moving(2)}
    write_clips(tmp_path / "real", real)
    write_clips(tmp_path / "fake", {"a": noisy(real["a"])})
    assert main([str(tmp_path / "real"), str(tmp_path / "fake"), "--json", str(tmp_path / "m.json")]) == 0
    written = json.loads((tmp_path / "m.json").read_text())
    assert f"{written['metrics']['psnr']['value']:.6g}" in capsys.readouterr().out


@pytest.mark.parametrize("fault", ["no folder", "no partner", "no flow"])
def test_command_reports_mistakes_in_one_line(tmp_path, capsys, fault):
    real, fake = tmp_path / "real", tmp_path / "fake"
    write_clips(real, {"a": moving(2), "b": moving(2)})
    write_clips(fake, {"a": moving(2), "c" if fault == "no partner" else "b": moving(2)})
    arguments = [str(real), str(tmp_path / "none" if fault == "no folder" else fake)]
    assert main(arguments + (["--flow", str(tmp_path / "none")] if fault == "no flow" else [])) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: flow folder" if fault == "no flow" else "error: ")
    assert error.count("\n") == 1
    assert str(real if fault == "no partner" else tmp_path / "none") in error


def test_two_single_sequences_belong_together_whatever_their_names(tmp_path):
    write_clips(tmp_path / "real", {".": moving(2)})
    write_clips(tmp_path / "fake", {"some/name": noisy(moving(2))})
    assert main([str(tmp_path / "real"), str(tmp_path / "fake"), "--only", "l1"]) == 0


def test_a_command_that_can_compute_nothing_says_why(tmp_path, capsys):
    write_clips(tmp_path / "real", {"a": moving(2)})
    arguments = [str(tmp_path / "real"), str(tmp_path / "real"), "--json", str(tmp_path / "m.json")]
    assert compare_frames("compute_lpips", "", [LPIPS], arguments) == 2
    assert "lpips has no value: LPIPS (AlexNet) needs weights: put https://" in capsys.readouterr().err
    assert not (tmp_path / "m.json").exists()


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
@pytest.mark.parametrize(("module", "asked"), [
    ("compute_tof", {"tof"}), ("compute_ewarp", {"e_warp"}), ("compute_flicker", {"flicker"}),
    ("compute_sharpness", {"sharpness"}), ("compute_psnr_ssim", {"psnr", "ssim"}),
    ("compute_l1", {"l1"}), ("compute_metrics", {*TEMPORAL, *STILL})])
def test_modules_are_commands(tmp_path, monkeypatch, capsys, module, asked):
    clip, result = moving(2), tmp_path / "m.json"
    write_clips(tmp_path / "real", {"a": clip})
    write_clips(tmp_path / "fake", {"a": noisy(clip)})
    monkeypatch.setattr(sys, "argv", [module, *(str(tmp_path / side) for side in ("real", "fake")), "--json",
                                      str(result)])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_module(f"timecyclegan.evaluation.{module}", run_name="__main__")
    found = values(json.loads(result.read_text()))
    assert {name for name, value in found.items() if value is not None} == asked


def test_comparison_shows_each_files_own_values(tmp_path, capsys):
    real = {"a": moving(3)}
    files = []
    for label, strength in (("early", 40), ("late", 5)):
        evaluation = evaluated(tmp_path / label, real, {"a": noisy(real["a"], strength)})
        files.append(f"{label}={tmp_path / label}.json")
        (tmp_path / f"{label}.json").write_text(json.dumps(evaluation))
    capsys.readouterr()
    assert report.main(files) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["metric", "early", "late"]
    early, late = next(map(float, row.split()[1:3]) for row in rows if row.startswith("L1"))
    assert early > 3 * late > 0


def test_comparison_refuses_what_is_no_evaluation(tmp_path, capsys):
    (tmp_path / "x.json").write_text("[]")
    assert report.main([str(tmp_path / "x.json")]) == 2
    assert str(tmp_path / "x.json") in capsys.readouterr().err
