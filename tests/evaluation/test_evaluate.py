"""How metrics, the networks they look through, and what is asked for are brought together."""
import csv
import json

import numpy as np
import pytest
import torch

from tests.evaluation.helpers import moving, noisy, write_clips
from timecyclegan.evaluation import compute_metrics as module
from timecyclegan.evaluation.base import Metric, Sample, View
from timecyclegan.evaluation.compute_metrics import METRICS, evaluate, main
from timecyclegan.evaluation.evaluate import Evaluator, choose
from timecyclegan.evaluation.features.alexnet import PerceptualView
from timecyclegan.evaluation.features.i3d import I3DView
from timecyclegan.evaluation.features.inception import InceptionView
from timecyclegan.evaluation.flow import Estimator
from timecyclegan.evaluation.variants import FlowNet2View
from timecyclegan.flow.opencv import farneback
from timecyclegan.util.errors import UserError
from timecyclegan.video.frames import resize_image


class Brightness(View):
    """Stands for a network: the mean of each picture; remembers what it was shown."""
    facts = {"network": "none", "weights_sha256": "0"}  # noqa: RUF012
    shown: list

    def __init__(self, settings):
        type(self).shown, self.settings = [], settings

    def __call__(self, steps):
        self.shown.append([(step.fake.mean(), step.first) for step in steps])
        return [(float(step.fake.mean()), step.real.shape if step.real is not None and step.alike else None)
                for step in steps]


class Missing(View):
    def __init__(self, settings):
        raise UserError("put it there")


class Bright(Metric):
    name, title, definition = "bright", "bright", "bright-1"
    by_default, view = (), Brightness

    def sample(self, step):
        return Sample(step.seen[Brightness][0])


class AlsoBright(Bright):
    name, title, definition = "also", "also", "also-1"

    def sample(self, step):
        return Sample(float(step.fake.mean()))


class Dark(Metric):
    name, title, definition = "dark", "dark", "dark-1"
    by_default, view = (), Missing


@pytest.fixture
def metrics(monkeypatch):
    """Three metrics beside the usual ones, two of them by the same view."""
    monkeypatch.setattr(module, "METRICS", (*METRICS, Bright, AlsoBright, Dark))


CLIPS = {"a": noisy(moving(11)), "b": noisy(moving(3, seed=4))}


def evaluated(tmp_path, real=CLIPS, fake=CLIPS, **options):
    return evaluate(write_clips(tmp_path / "real", real), write_clips(tmp_path / "fake", fake), **options)


def test_a_view_sees_every_frame_once_in_order_and_serves_all_its_metrics(tmp_path, metrics):
    found = evaluated(tmp_path, only=["bright", "also", "sharpness"])["metrics"]
    assert [len(batch) for batch in Brightness.shown] == [8, 3, 3]  # each of one clip
    shown = [entry for batch in Brightness.shown for entry in batch]
    assert shown == [(frame.mean(), t == 0) for clip in CLIPS.values() for t, frame in enumerate(clip)]
    for name, clip in CLIPS.items():
        expected = [frame.mean() for frame in clip]
        assert found["bright"]["per_frame"][name] == found["also"]["per_frame"][name] == pytest.approx(expected)
    assert found["bright"]["network"] == Brightness.facts and "network" not in found["sharpness"]
    assert found["sharpness"]["value"] == 1


def test_what_nobody_asks_for_is_not_loaded(tmp_path, metrics):
    Brightness.shown = None
    evaluated(tmp_path, only=["tof"])
    assert Brightness.shown is None


def test_missing_weights_leave_the_other_metrics(tmp_path, metrics):
    found = evaluated(tmp_path, also=["dark", "bright"])["metrics"]
    assert (found["dark"]["value"], found["dark"]["reason"]) == (None, "put it there")
    assert found["bright"]["value"] > 0 and found["psnr"]["value"] == 100
    assert list(found)[-2:] == ["bright", "dark"]


def test_a_required_metric_without_weights_is_an_error_before_anything_is_read(metrics):
    with pytest.raises(UserError, match=r"--require dark: it cannot be computed, put it there"):
        Evaluator(choose(module.METRICS, "paired", require=["tof", "dark"]), require=["tof", "dark"])
    with pytest.raises(UserError, match=r"--require l1: .* no real frame shows the same moment"):
        Evaluator(choose(METRICS, "unpaired", require=["l1"]), "unpaired", require=["l1"])
    with pytest.raises(UserError, match="'lpip' is not known; did you mean lpips"):
        choose(METRICS, "paired", require=["lpip"])


def test_a_required_metric_that_turns_out_undefined_is_an_error_too(tmp_path):
    still = {"a": moving(1)}
    with pytest.raises(UserError, match=r"--require tof: .* two frames in a row"):
        evaluated(tmp_path, still, still, require=["tof"])
    assert evaluated(tmp_path, still, still, require=["ssim"])["metrics"]["ssim"]["value"] == pytest.approx(1)


def test_what_is_required_is_also_asked_for(tmp_path, metrics):
    found = evaluated(tmp_path, only=["l1"], require=["bright"])["metrics"]
    assert [name for name, facts in found.items() if facts["value"] is not None] == ["l1", "bright"]


def test_pictures_of_another_domain_reach_views_in_no_case(tmp_path, metrics):
    larger = {name: [resize_image(frame, 48, 64) for frame in clip] for name, clip in CLIPS.items()}
    seen = {}

    class Sizes(Bright):
        def sample(self, step):
            seen[kind] = step.seen[Brightness][1]
            return Sample(0.0)

    module.METRICS = (Sizes,)
    for kind in ("paired", "unpaired"):
        evaluated(tmp_path, larger, kind=kind, only=["bright"])
    assert seen == {"paired": (24, 32, 3), "unpaired": None}


def test_resizing_everything_first_is_as_if_the_files_had_that_size(tmp_path):
    real, fake = CLIPS, {name: noisy(clip, 20) for name, clip in CLIPS.items()}
    small = [{name: [resize_image(frame, 16, 20) for frame in clip] for name, clip in side.items()}
             for side in (real, fake)]
    resized = evaluated(tmp_path / "1", real, fake, resize=(16, 20))
    plain = evaluated(tmp_path / "2", *small)
    assert {name: facts["value"] for name, facts in resized["metrics"].items()} == {
        name: facts["value"] for name, facts in plain["metrics"].items()}
    assert (resized["resize"], resized["frame_size"], plain["resize"]) == ([16, 20], [16, 20], None)


def test_no_network_computes_in_tf32(tmp_path):
    """The setting is the whole process's, and flow is computed in threads beside the views."""
    seen = set()

    def flow(first, second):
        seen.add(torch.backends.cudnn.allow_tf32)
        return farneback(first, second)

    before = torch.backends.cudnn.allow_tf32
    evaluated(tmp_path, only=["tof", "e_warp"], flow=Estimator("farneback", flow))
    assert seen == {False} and torch.backends.cudnn.allow_tf32 == before == True  # noqa: E712


def test_a_row_per_frame(tmp_path):
    fake = {name: noisy(clip, 20) for name, clip in CLIPS.items()}
    write_clips(tmp_path / "real", CLIPS)
    write_clips(tmp_path / "fake", fake)
    files = ["--json", str(tmp_path / "m.json"), "--per_frame", str(tmp_path / "out/frames.csv")]
    assert main([str(tmp_path / "real"), str(tmp_path / "fake"), "--only", "tof,e_warp", "l1", *files]) == 0
    found = json.loads((tmp_path / "m.json").read_text())["metrics"]
    with open(tmp_path / "out/frames.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["sequence", "index", "frame", "tof", "e_warp", "e_warp_real", "l1"]
    assert [(row["sequence"], row["index"], row["frame"]) for row in rows] == [
        (name, str(t), f"{t:04}.png") for name, clip in fake.items() for t in range(len(clip))]
    for row in rows:
        name, t = row["sequence"], int(row["index"])
        assert float(row["l1"]) == pytest.approx(np.abs(CLIPS[name][t].astype(float) - fake[name][t]).mean())
        expected = found["e_warp"]["real_per_frame"][name][t]
        assert row["e_warp_real"] == "" if t == 0 else float(row["e_warp_real"]) == pytest.approx(expected, rel=1e-6)


def test_what_is_required_and_missing_is_found_before_anything_is_fetched(monkeypatch):
    order = []

    def view(name, fetched, missing=False):
        def begin(self, settings):
            order.append(name)
            if missing:
                raise UserError(f"no {name}")

        return type(name, (View,), {"__init__": begin, "fetched": fetched, "facts": {}})

    def metric(name, view):
        return type(name, (Metric,), {"name": name, "title": name, "definition": f"{name}-1", "view": view})

    one, two, local = (metric(name, view(name, fetched, not fetched)) for name, fetched in (
        ("one", True), ("two", True), ("local", False)))
    with pytest.raises(UserError, match="--require local: it cannot be computed, no local"):
        Evaluator([one, two, local], require=["two", "local"])
    assert order == ["local"]
    order.clear()
    Evaluator([one, two, local], require=["two"])
    assert order == ["two", "local", "one"]
    order.clear()
    with pytest.raises(UserError, match=r"--require still: .* no real frame shows the same moment"):
        still = type("Still", (Bright,), {"name": "still", "same_moment": True, "view": None})
        Evaluator([one, still], "unpaired", require=["still"])
    assert order == []
    assert [network.fetched for network in (InceptionView, PerceptualView, I3DView, FlowNet2View)] == [
        True, True, False, False]
