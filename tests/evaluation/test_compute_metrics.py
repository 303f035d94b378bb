import hashlib
import itertools
import json
import os
import re
import runpy
import sys

import numpy as np
import pytest
import torch

from tests.clips import write_clip
from tests.evaluation.helpers import blurred, moving, noisy, texture, write_clips, write_flow
from tests.seeded import seeded_weights
from timecyclegan.evaluation import evaluate as evaluating
from timecyclegan.evaluation import report
from timecyclegan.evaluation.base import Evaluation
from timecyclegan.evaluation.command import compare_frames, find_results
from timecyclegan.evaluation.compute_ewarp import e_warp
from timecyclegan.evaluation.compute_lpips import LPIPS
from timecyclegan.evaluation.compute_metrics import METRICS, evaluate, main
from timecyclegan.evaluation.compute_tof import tof
from timecyclegan.evaluation.flow import estimator
from timecyclegan.evaluation.report import csv_facts, csv_row, format_metrics
from timecyclegan.flow.opencv import dis
from timecyclegan.util.errors import UserError
from timecyclegan.video.frames import resize_image, write_image

TEMPORAL, STILL = ("tof", "e_warp", "motion", "flicker"), ("sharpness", "grid", "psnr", "ssim", "l1")


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
    assert tuple(row) == ("fid", "lpips", "tlp", "tof", "e_warp", "e_warp_real", "motion", "motion_real",
                          "flicker", "flicker_real", "sharpness", "sharpness_real", "grid", "grid_real",
                          "psnr", "ssim", "l1")
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
    ("compute_tof", {"tof"}), ("compute_ewarp", {"e_warp"}), ("compute_motion", {"motion"}),
    ("compute_flicker", {"flicker"}), ("compute_sharpness", {"sharpness"}), ("compute_grid", {"grid"}),
    ("compute_psnr_ssim", {"psnr", "ssim"}), ("compute_l1", {"l1"}), ("compute_metrics", {*TEMPORAL, *STILL})])
def test_modules_are_commands(tmp_path, monkeypatch, capsys, module, asked):
    clip, result = moving(2, step=2), tmp_path / "m.json"
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


@pytest.mark.parametrize("text", [
    "[]", "{", '{"metrics": {}}', '{"metrics": {"l1": 3}}', '{"metrics": {"l1": {"value": {}}}}',
    '{"metrics": {"l1": {"value": 1}}, "frame_size": 3}', '{"metrics": {"l1": {"value": 1}}, "flow": ["dis"]}'])
def test_comparison_refuses_what_is_no_evaluation(tmp_path, capsys, text):
    (tmp_path / "x.json").write_text(text)
    assert report.main([str(tmp_path / "x.json")]) == 2
    error = capsys.readouterr().err
    assert str(tmp_path / "x.json") in error and error.count("\n") == 1


def written(tmp_path, **evaluations):
    """Each as a file of that name; ``real`` clips by ``fake`` ones."""
    for name, (real, fake, options) in evaluations.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(evaluated(tmp_path / name, real, fake, **options)))
    return [f"{name}={tmp_path / name}.json" for name in evaluations]


def table(capsys, *files):
    """What the command prints of the files: the cells of each row, and the lines below."""
    capsys.readouterr()
    assert report.main([*map(str, files)]) == 0
    text, _, notes = capsys.readouterr().out.partition("\n\n")
    return {cells[0]: cells for cells in (re.split(r"  +", line) for line in text.splitlines())}, notes.splitlines()


def test_a_comparison_has_all_metrics_and_each_ones_own_real_clip(tmp_path, capsys):
    first, second = {"a": moving(3)}, {"a": moving(3, seed=7, step=2)}
    files = written(tmp_path, x=(first, {"a": noisy(first["a"])}, {"only": ["l1", "flicker", "fid"]}),
                    y=(second, {"a": noisy(second["a"])}, {"only": ["flicker", "tof", "ssim"]}))
    found, notes = table(capsys, *files)
    values = [json.loads((tmp_path / f"{name}.json").read_text())["metrics"] for name in "xy"]
    assert found["metric"] == ["metric", "x", "y", "x: real clip", "y: real clip", "better", "unit"]
    assert list(found) == ["metric", "flicker", "L1", "tOF", "SSIM"]
    assert found["flicker"][1:5] == [f"{one['flicker'][key]:.6g}" for key in ("value", "real") for one in values]
    assert found["flicker"][3] != found["flicker"][4]
    assert found["L1"][1:5] == [f"{values[0]['l1']['value']:.6g}", "-", "-", "-"]
    assert found["tOF"][1:5] == ["-", f"{values[1]['tof']['value']:.6g}", "-", "-"]
    assert found["flicker"][5] == "closer to the real clip" and found["SSIM"][5] == "higher"
    assert "FID, L1: no value in y, it was not measured" in notes
    assert any(line.startswith("FID: no value in x, FID (Inception) needs weights") for line in notes)
    assert not any("not comparable" in line for line in notes)


def test_what_does_not_compare_is_marked(tmp_path, capsys):
    clips = {"a": moving(3, 24, 32)}
    small = {"a": [resize_image(frame, 16, 20) for frame in clips["a"]]}
    files = written(tmp_path, x=(clips, clips, {"only": ["l1", "tof"]}), small=(clips, small, {"only": ["l1", "tof"]}),
                    dis=(clips, clips, {"only": ["l1", "tof"], "flow": estimator("dis")}))
    found, notes = table(capsys, *files[:2])
    assert [row[0] for row in found.values()] == ["metric", "tOF *", "L1 *"]
    assert notes == ["* tOF, L1: not comparable, x and small: the frame sizes differ: 32x24 and 20x16"]
    found, notes = table(capsys, files[0], files[2])
    assert list(found) == ["metric", "tOF *", "L1"]
    assert notes == ["* tOF: not comparable, x and dis: the definitions differ: tof-farneback-1 and tof-dis-1"]
    found, notes = table(capsys, files[2], files[0], files[1])  # also where neither is the first
    assert "* tOF, L1: not comparable, x and small: the frame sizes differ: 32x24 and 20x16" in notes


def test_names_with_an_equals_sign(tmp_path, capsys, monkeypatch):
    clips = {"a": moving(2)}
    written(tmp_path, x=(clips, clips, {"only": ["l1"]}))
    monkeypatch.chdir(tmp_path)
    text = (tmp_path / "x.json").read_text()
    for place in ("lr=0.1/m.json", "a=b.json", "plain.json"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_text(text)
    for argument, label in (("lr=0.1/m.json", "lr=0.1/m.json"), ("A=lr=0.1/m.json", "A"), ("lr=1=plain.json", "lr=1"),
                            ("a=b.json", "a=b.json"), ("x=y=a=b.json", "x=y"), ("=plain.json", "plain.json")):
        head = table(capsys, argument, "other=x.json")[0]["metric"]
        assert head[1:3] == [label, "other"], argument
    for arguments, words in ((["A=plain.json", "A=x.json"], "two columns are called A"),
                             (["A=gone.json", "x.json"], "cannot read gone.json")):
        assert report.main(arguments) == 2
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1


def test_flow_is_named_where_a_value_is_made_of_it(tmp_path, capsys):
    clips = {"a": moving(3, step=2)}
    for t in (1, 2):
        write_flow(tmp_path / "flow/a" / f"{t:04}.npz", np.full((24, 32, 2), (2.0, 0.0)), np.ones((24, 32), bool))

    def lines(**options):
        evaluation = Evaluation.from_json(evaluated(tmp_path, clips, clips, **options))
        told = [line for line in format_metrics(evaluation).splitlines() if "optical flow" in line]
        return told, csv_facts(evaluation)["flow_backend"]

    assert lines(only=["l1", "ssim"]) == ([], "")
    assert lines(only=["tof", "l1"]) == (["optical flow by farneback"], "farneback")
    true = tmp_path / "flow"
    assert lines(only=["e_warp"], flow_dir=true) == (["optical flow by true-flow"], "true-flow")
    both = "farneback for tOF, true-flow for E_warp"
    assert lines(only=["tof", "e_warp"], flow_dir=true) == ([f"optical flow by {both}"], both)
    only = {"only": ["tof-tecogan"], "flow": estimator("dis")}  # whose definition says whose flow it is
    assert lines(**only) == ([], "")  # three short frames have no value
    large = {"a": moving(7, 64, 64)}
    evaluation = Evaluation.from_json(evaluated(tmp_path / "large", large, large, **only))
    assert csv_facts(evaluation)["flow_backend"] == "farneback"


def test_a_row_says_what_was_measured(tmp_path):
    real, images = {"a": moving(3), "b": moving(1, seed=2)}, {"x": moving(5, seed=3)}
    fake = {name: noisy(clip) for name, clip in real.items()}
    facts = csv_facts(Evaluation.from_json(evaluated(tmp_path / "1", real, fake)))
    assert facts["tof_definition"] == "tof-farneback-1" and facts["fid_definition"] == ""
    assert facts["psnr_definition"] == "psnr-rgb8-skimage-at-most-100db-1"
    assert {"kind": "paired", "frame_size": "32x24", "n_frames": 4, "n_pairs": 2, "n_sequences": 2,
            "n_reference_frames": 4, "n_images": ""}.items() <= facts.items()
    found = evaluated(tmp_path / "2", real, fake, kind="unpaired", images=write_clips(tmp_path / "3", images))
    facts = csv_facts(Evaluation.from_json(found))
    assert {"kind": "unpaired", "n_images": 5, "tof_definition": "tof-farneback-1-source",
            "e_warp_definition": "ewarp-fwd-farneback-1-source", "psnr_definition": ""}.items() <= facts.items()


def test_true_flow_is_named_as_the_real_frames_are(tmp_path):
    clip = moving(3, step=2)
    sides = write_clips(tmp_path / "fake", {"a": clip}), {"a": []}
    for t, frame in enumerate(clip):
        sides[1]["a"].append(tmp_path / f"real/a/frame{t}.png")
        write_image(sides[1]["a"][-1], frame)
    for t in (1, 2):
        write_flow(tmp_path / f"flow/a/frame{t}.npz", np.full((24, 32, 2), (2.0, 0.0)), np.ones((24, 32), bool))
        # By the generated frames' names, or by the frame before, it would be another motion.
        for other in (f"{t:04}", "frame0"):
            write_flow(tmp_path / f"flow/a/{other}.npz", np.full((24, 32, 2), (-3.0, 1.0)), np.ones((24, 32), bool))
    for kind in ("paired", "unpaired"):
        found = evaluate(sides[1], sides[0], flow_dir=tmp_path / "flow", kind=kind)["metrics"]["e_warp"]
        assert found["value"] == found["real"] == 0


# --- what else lies in results/NAME

@pytest.mark.parametrize("flat", [False, True], ids=["sequences", "one sequence"])
def test_other_epochs_and_videos_are_left_out_of_results_and_named(tmp_path, capsys, flat):
    real, fake = {"a": moving(3), "b": moving(2, seed=3)}, {"a": noisy(moving(3)), "b": noisy(moving(2, seed=3))}
    if flat:
        real, fake = {".": real["a"]}, {".": fake["a"]}
    results = tmp_path / "results/run"
    write_clips(tmp_path / "real", real)
    write_clips(results, fake)
    alone = [str(tmp_path / "real"), str(results), "--only", "l1,tof", "--json", str(tmp_path / "alone.json")]
    assert main(alone) == 0
    for epoch in ("epoch1", "epoch20"):
        write_clips(results / epoch, {name: noisy(clip, 50) for name, clip in real.items()})
    (results / "videos").mkdir()
    for video in ("videos/a.webm", "out.mp4"):
        (results / video).write_bytes(b"no video: it must not be looked at")
    capsys.readouterr()
    assert main([*alone[:-1], str(tmp_path / "beside.json")]) == 0
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    assert len(notes) == 1 and notes[0].startswith(f"note: {results}: left out are epoch1, epoch20, out.mp4, videos, ")
    found = [json.loads((tmp_path / f"{name}.json").read_text()) for name in ("alone", "beside")]
    assert found[0] == found[1]
    assert main([str(tmp_path / "real"), str(results / "epoch1"), "--only", "l1"]) == 0
    assert "note" not in capsys.readouterr().out


def test_only_what_is_surely_something_else_is_left_out(tmp_path, capsys):
    clips = {"epoch1": moving(2), "epoch2": moving(2, seed=3)}  # the sequences are called so
    for side in ("real", "fake"):
        write_clips(tmp_path / side, clips)
    sides = [str(tmp_path / side) for side in ("real", "fake")]
    assert main([*sides, "--only", "l1", "--json", str(tmp_path / "m.json")]) == 0
    assert json.loads((tmp_path / "m.json").read_text())["metrics"]["l1"]["sequences"] == 2
    assert "note" not in capsys.readouterr().out
    write_clips(tmp_path / "pictures", {"videos": moving(2), "a": moving(2)})
    assert list(find_results(tmp_path / "pictures")) == ["a", "videos"]
    for name in ("a", "sub/b", "videos/c"):  # videos beside videos are as good
        (tmp_path / "films" / name).parent.mkdir(parents=True, exist_ok=True)
        write_clip(tmp_path / "films" / f"{name}.mp4", np.stack(moving(2)))
    assert list(find_results(tmp_path / "films")) == ["a", "sub/b", "videos/c"]
    write_clips(tmp_path / "one", {"epoch3/a": moving(2)})
    assert list(find_results(tmp_path / "one")) == ["epoch3/a"]
    write_clips(tmp_path / "several", {"epoch3/a": moving(2), "epoch4/a": moving(2)})
    with pytest.raises(UserError, match="several holds several results: epoch3, epoch4; give"):
        find_results(tmp_path / "several")
    write_clips(tmp_path / "ways", {"source_to_target/a": moving(2), "target_to_source/a": moving(2)})
    with pytest.raises(UserError, match="ways holds several results: source_to_target, target_to_source; give"):
        find_results(tmp_path / "ways")
    assert list(find_results(tmp_path / "ways/source_to_target")) == ["a"]
    write_clips(tmp_path / "several", {"b": moving(2)})
    (tmp_path / "several/b/0000.jpg").touch()  # another mistake is told as it is
    with pytest.raises(UserError, match=r"holds the same frame twice: 0000.jpg and 0000.png"):
        find_results(tmp_path / "several")


@pytest.mark.parametrize("flag", ["--json", "--per_frame"])
def test_a_file_that_cannot_be_written_is_refused_before_anything_is_computed(tmp_path, capsys, monkeypatch, flag):
    write_clips(tmp_path / "real", {"a": moving(2)})
    (tmp_path / "file").touch()
    monkeypatch.setattr(evaluating, "read_image", None)
    for place, words in ((tmp_path / "file/m.json", "is not a folder"), (tmp_path, "it is a folder"),
                         ("/proc/nowhere/m.json", "cannot write /proc/nowhere/m.json")):
        assert main([str(tmp_path / "real"), str(tmp_path / "real"), "--only", "l1", flag, str(place)]) == 2
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"real", "file"}


@pytest.mark.parametrize(("arguments", "said"), [
    (["", "fake"], "REAL is empty: give a folder or a video"), (["real", ""], "FAKE is empty"),
    (["-", "fake", "--source", ""], "--source is empty"),
    (["real", "real", "--json", "a", "--per_frame", "./a"], "--json and --per_frame are both a: give two files"),
])  # fmt: skip
def test_a_variable_that_is_not_set_and_one_file_for_two(tmp_path, capsys, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    write_clips(tmp_path / "real", {"a": moving(2)})
    assert main([*arguments, "--only", "l1"]) == 2
    assert said in capsys.readouterr().err and os.listdir(tmp_path) == ["real"]
