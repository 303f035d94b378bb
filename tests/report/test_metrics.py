"""What the page's table of metrics is made of."""
import json

import pytest

from tests.report.report_page import METRICS, shown
from timecyclegan.evaluation.base import CLOSER_TO_REAL, Evaluation


def test_the_page_has_all_of_an_evaluation_but_the_values_of_each_frame(tmp_path):
    flow = {"flow_backend": "raft", "flow_weights": "/home/me/raft.pth", "flow_weights_sha256": "0123" * 16}
    facts = {"flow": flow, "resize": [256, 512], "resized_real": [[3, 4]], "kind": "unconditional",
             "reference": "real clips", "reference_frames": 9, "reference_sequences": 2}
    metrics = METRICS | {"lpips": {"value": 3.0, "details": {"note": "too <few>"}, "per_frame": {"a": [3.0]},
                                   "network": {"weights": "alex<1>.pth", "weights_sha256": "fedc" * 16}}}
    found = shown(tmp_path, metrics=metrics, facts=facts)["evaluation"]
    for name, fact in facts.items():
        assert found[name] == fact
    metrics["flicker"] = metrics["flicker"] | {"better": "closer to the real clips"}  # as many as these are
    for name, metric in metrics.items():
        assert found["metrics"][name]["title"] == metric.get("title", name)
        for key, fact in metric.items():
            assert key == "per_frame" or found["metrics"][name][key] == fact
    assert "per_frame" not in json.dumps(found)
    assert shown(tmp_path, metrics={})["evaluation"]["metrics"] == {}


@pytest.mark.parametrize(("name", "past", "better"), [
    ("tof", 2.0, "value"), ("tof", 1.0, "past"), ("psnr", 20.0, "value"), ("psnr", 30.0, "past"),
    ("flicker", 0.8, "value"), ("flicker", 1.2, "value"),
    ("flicker", 0.93, "past"), ("new_metric", 1.0, None), ("fid", 3.0, None),
    # Less than 1 % apart is noise, to either side.
    ("tof", 1.2456, None), ("tof", 1.2234, None), ("tof", 1.2500, "value"), ("tof", 1.2200, "past"),
    ("psnr", 23.3, None), ("psnr", 23.6, None), ("psnr", 23.2, "value"), ("psnr", 23.7, "past"),
    ("flicker", 0.905, None), ("flicker", 1.0, None), ("flicker", 0.91, "past"), ("flicker", 0.89, "value")])
def test_comparison_marks_the_better_value(tmp_path, name, past, better):
    found = shown(tmp_path, metrics={name: METRICS[name]}, past={name: {"value": past}, "other": {"value": 1.0}})
    assert found["label"] == "past" and found["others"][name]["value"] == past
    assert found["best"] == {name: better}


def test_closer_to_the_source_is_better(tmp_path):
    metrics = {"flicker": {"value": 0.9, "better": "closer to source", "real": 0.95}}
    assert shown(tmp_path, metrics=metrics, past={"flicker": {"value": 0.93}})["best"] == {"flicker": "past"}


def test_e_warp_praises_no_blur(tmp_path):
    """The blurred run of METRICS.md: 0.00018 where the real clip has 0.00087, beside one that is close to that."""
    blurred, good = ({"e_warp": {"value": value, "better": CLOSER_TO_REAL, "real": 0.00087}}
                     for value in (0.00018, 0.00101))
    assert shown(tmp_path, metrics=blurred, past=good)["best"] == {"e_warp": "past"}
    assert shown(tmp_path, metrics=good, past=blurred)["best"] == {"e_warp": "value"}
    old = {"e_warp": blurred["e_warp"] | {"better": "lower"}}  # as an earlier version wrote it
    assert shown(tmp_path, metrics=good, past=old)["best"] == {"e_warp": "value"}
    assert shown(tmp_path, metrics=old, past=good)["best"] == {"e_warp": "past"}
    assert shown(tmp_path, metrics=old)["evaluation"]["metrics"]["e_warp"]["better"] == CLOSER_TO_REAL
    source = shown(tmp_path, metrics=old, facts={"reference": "source clip"})["evaluation"]["metrics"]["e_warp"]
    assert source["better"] == "closer to the source clip"


def test_each_run_is_measured_by_its_own_real_clip(tmp_path):
    here = {"flicker": {"value": 0.90, "better": CLOSER_TO_REAL, "real": 0.95}}
    there = {"flicker": {"value": 0.80, "better": CLOSER_TO_REAL, "real": 0.79}}
    assert shown(tmp_path, metrics=here, past=there)["best"] == {"flicker": "past"}


@pytest.mark.parametrize(("value", "past", "better"), [(0.4, 0.8, "past"), (1.5, 0.8, "past"), (0.9, 1.2, "value")])
def test_sharpness_of_an_earlier_version(tmp_path, value, past, better):
    metrics = [{"sharpness": {"value": number, "better": "closer to 1"}} for number in (value, past)]
    assert shown(tmp_path, metrics=metrics[0], past=metrics[1])["best"] == {"sharpness": better}


def test_other_definitions_are_not_compared(tmp_path):
    past = {"value": 99.0, "definition": "tof-raft-1"}
    found = shown(tmp_path, metrics={"tof": METRICS["tof"]}, past={"tof": past})
    reason = "not comparable, the definitions differ: tof-farneback-1 and tof-raft-1"
    assert found["others"]["tof"]["reason"] == reason
    assert found["others"]["tof"]["value"] is found["best"]["tof"] is None


def test_what_an_evaluation_holds_survives_the_file():
    written = {"metrics": {"e_warp": {
        "definition": "d", "better": "closer to the source clip", "unit": "", "title": "E_warp", "over": "pair",
        "flow": "dis", "value": None,
        "reason": "r",
        "real": None, "frames": 2, "pairs": 1, "sequences": 1, "skipped": 1, "skipped_because": "s",
        "per_sequence": {"a": None}, "per_frame": {"a": [None]}, "real_per_sequence": {}, "real_per_frame": {}}},
        "flow": {"flow_backend": "dis"}, "kind": "unpaired", "reference": "source clip", "reference_frames": 2,
        "reference_sequences": 1, "images": 4, "frame_size": [2, 3], "resize": None, "resized_real": [],
        "resized_images": [[4, 6]], "resized_by": "b",
        "libraries": {"numpy": "2"}, "name": "run", "options": {"batch_size": 1}}
    found = Evaluation.from_json(written)
    assert found.to_json() == written and found.facts == {"name": "run", "options": {"batch_size": 1}}
    old = Evaluation.from_json({"metrics": {"l1": {"value": 1.5, "definition": "l1-rgb8-1"}}, "frame_size": [2, 3]})
    assert (old.reference, old.kind, old.values["l1"].title) == ("real clip", "paired", "l1")
    assert "real" not in old.to_json()["metrics"]["l1"]


def test_other_sizes_counts_and_weights_are_not_compared():
    def evaluation(size=(64, 96), network="a", flow="f", **facts):
        metric = {"value": 1.0, "definition": "tof-raft-1", "better": "lower", "flow": "raft", "frames": 9,
                  "network": {"weights_sha256": network}, **facts}
        return Evaluation.from_json({"metrics": {"tof": metric}, "frame_size": size,
                                     "flow": {"flow_backend": "raft", "flow_weights_sha256": flow}})

    same = evaluation()
    assert same.apart(evaluation(), "tof") is None and same.apart(evaluation(), "l1") is None
    assert same.apart(evaluation(value=None), "tof") is None
    for other, reason in ((evaluation((96, 64)), "the frame sizes differ: 96x64 and 64x96"),
                          (evaluation(frames=8), "the numbers of generated frames differ: 9 and 8"),
                          (evaluation(network="b"), "the networks' weights differ: a and b"),
                          (evaluation(flow="g"), "the flow networks' weights differ: f and g"),
                          (evaluation(definition="tof-dis-1"), "the definitions differ: tof-raft-1 and tof-dis-1")):
        assert same.apart(other, "tof") == reason
    sets = [evaluation(details={"real_frames": count}) for count in (5, 6)]
    assert sets[0].apart(sets[1], "tof") == "the numbers of real pictures differ: 5 and 6"
