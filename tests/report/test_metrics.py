"""The metrics of the report page, read back from it."""
import html
import re

import pytest

from tests.report.report_page import METRICS, report, visible
from timecyclegan.report.metrics import _HINTS


def test_metrics_with_floor_counts_and_definition(tmp_path):
    text = visible(report(tmp_path, metrics=METRICS))
    for expected in ("tOF", "1.235 px", "0.5", "↓ lower", "tof-farneback-1", "12 frames, 10 pairs, 2 sequences",
                     "23.46 dB", "↑ higher", "1 skipped: equal", "0.95", "closer to real", "new_metric", "7.5",
                     "1.111", "2.222"):
        assert expected in text


def test_metrics_without_a_value_stand_below_the_others(tmp_path):
    nothing = {"value": None, "reason": "needs <weights>"}
    metrics = {"fid": None, "lpips": nothing, **METRICS,
               "tlp": {"value": None, "reason": "one frame", "title": "tLP", "per_sequence": {"unseen": None}}}
    metrics["fid"] = {**nothing, "title": "FID", "definition": "fid-1"}  # METRICS has another
    for label, comparison in ((None, None), ("past", {"label": "past", "metrics": {"fid": nothing}})):
        page = report(tmp_path, metrics=metrics, comparison=comparison)
        table, below = re.search(r'<table class="metrics">(.*?)</table>(.*?)<h2>', page, re.S).groups()
        assert "Not computed: FID, lpips – needs <weights> tLP – one frame " in visible(below)
        rows = re.findall(r"<tr><th scope=row>(\w+)", table)
        assert rows == ["tOF", "psnr", "flicker", "new_metric"]
        assert "unseen" not in page and "tLP" not in visible(below.split("<details>")[1])
        assert (label is None) or label in visible(table)


def test_a_value_that_only_the_comparison_has_keeps_its_row(tmp_path):
    page = report(tmp_path, metrics={"fid": METRICS["fid"]}, comparison={"metrics": {"fid": {"value": 3.0}}})
    assert " – 3 – ↓ lower Not computed: fid – needs <weights> " in visible(page)


def test_what_only_the_comparison_lacks_is_told_apart(tmp_path):
    page = report(tmp_path, metrics={"tof": METRICS["tof"]}, comparison={"label": "past", "metrics": {
        "tof": {"title": "tOF", "value": None, "reason": "one frame"}}})
    assert "Not computed: tOF past – one frame " in visible(page)


def test_other_definitions_are_not_compared(tmp_path):
    past = {"value": 99.0, "definition": "tof-raft-1"}
    page = report(tmp_path, metrics={"tof": METRICS["tof"]}, comparison={"label": "past", "metrics": {"tof": past}})
    assert "Not computed: tOF past – not comparable, it was measured as tof-raft-1 " in visible(page)
    assert ">99<" not in page and "number best" not in page


def test_notes_and_weights(tmp_path):
    network = {"network": "AlexNet", "weights": "alex<1>.pth", "weights_sha256": "0123456789abcdef" * 4,
               "linear_weights": "lin.pth", "linear_weights_sha256": "fedcba9876543210" * 4, "input": "RGB"}
    page = report(tmp_path, metrics={"fid": {"value": 3.0, "details": {"note": "too <few>"}, "network": network}})
    assert "too <few> alex<1>.pth, sha256 01234567…; lin.pth, sha256 fedcba98…" in visible(page)
    title, = re.findall(r'<code title="([^"]*)">', page)
    assert all(word in title for word in ("AlexNet", "RGB", "0123456789abcdef" * 4, "fedcba9876543210" * 4))


def test_a_missing_file_is_named_whole(tmp_path):
    url, path = "https://a.org/b-c.d/w-67.pth?x=1&y=2", "/home/me/.cache/torch/w-67.pth"
    reason = f"FID needs weights: put {url} at {path}, or leave it out (URLError: <a/b> / 3)."
    page = report(tmp_path, metrics={"fid": {"value": None, "reason": reason}})
    assert f"Not computed: fid – FID needs weights: put {url} at {path} , or leave it out (URLError: <a/b> / 3)." in (
        visible(page))
    assert [html.unescape(code) for code in re.findall("<code>(.*?)</code>", page)] == [url, path]


def test_flow_sizes_and_the_reference_are_told(tmp_path):
    flow = {"flow_backend": "raft", "flow_weights": "/home/me/raft.pth", "flow_weights_sha256": "0123456789abcdef" * 4}
    text = visible(report(tmp_path, facts={"flow": flow, "resize": [256, 512], "resized_real": [[3, 4], [5, 6]]}))
    for words in ("Optical flow by raft ( raft.pth, sha256 01234567… ).", "All frames were resized to 512 × 256 px",
                  "Frames of the real clip were resized from 4 × 3, 6 × 5 px."):
        assert words in text
    text = visible(report(tmp_path, facts={"kind": "unconditional", "reference_frames": 9, "reference_sequences": 2,
                                           "flow": {"flow_backend": "farneback", "flow_weights": None}}))
    assert "Optical flow by farneback. Compared with 9 frames in 2 real sequence(s)." in text


def test_no_metric_has_a_value(tmp_path):
    page = report(tmp_path, metrics={"fid": METRICS["fid"]})
    text = visible(page).split("Metrics")[1].split("Sequences")[0]
    assert text.strip() == "Not computed: fid – needs <weights>"
    assert '<table class="metrics">' not in page


def test_pairs_are_counted_only_where_pairs_are_measured(tmp_path):
    counts = {"value": 1.5, "frames": 60, "pairs": 58, "sequences": 2}
    per_frame = visible(report(tmp_path, metrics={"psnr": {**counts, "over": "frame"}}))
    assert "60 frames, 2 sequences" in per_frame and "58 pairs" not in per_frame
    assert "60 frames, 58 pairs, 2 sequences" in visible(
        report(tmp_path, metrics={"tof": {**counts, "over": "pair"}}))


def test_metrics_of_a_real_evaluation_have_what_the_report_reads():
    from timecyclegan.evaluation.evaluate import METRICS as BUILT

    assert {metric.spec.over for metric in BUILT} == {"frame", "pair"}
    assert {metric.spec.name for metric in BUILT} == set(_HINTS)


def test_no_metrics(tmp_path):
    assert "No metrics were computed." in visible(report(tmp_path, metrics={}))


@pytest.mark.parametrize(("name", "past", "better"), [
    ("tof", 2.0, "this"), ("tof", 1.0, "past"), ("psnr", 20.0, "this"), ("psnr", 30.0, "past"),
    ("flicker", 0.8, "this"), ("flicker", 1.2, "this"),
    ("flicker", 0.93, "past"), ("new_metric", 1.0, None), ("fid", 3.0, None),
    # Less than 1 % apart is noise, to either side.
    ("tof", 1.2456, None), ("tof", 1.2234, None), ("tof", 1.2500, "this"), ("tof", 1.2200, "past"),
    ("psnr", 23.3, None), ("psnr", 23.6, None), ("psnr", 23.2, "this"), ("psnr", 23.7, "past"),
    ("flicker", 0.905, None), ("flicker", 1.0, None), ("flicker", 0.91, "past"), ("flicker", 0.89, "this")])
def test_comparison_marks_the_better_value(tmp_path, name, past, better):
    page = report(tmp_path, metrics={name: METRICS[name]},
                  comparison={"label": "after <epoch> 1", "metrics": {name: {"value": past}}})
    assert "after <epoch> 1" in visible(page) and f"{past:.4g}" in visible(page)
    best = re.findall(r'data-label="([^"]*)" class="number best"', page)
    assert best == {"this": ["this run"], "past": ["after &lt;epoch&gt; 1"], None: []}[better]


@pytest.mark.parametrize(("reference", "shown"), [(None, "real clip"), ("source clip", "source clip"),
                                                  ("real clips", "real clips")])
def test_what_is_compared_with_is_named_everywhere(tmp_path, reference, shown):
    text = visible(report(tmp_path, facts={"reference": reference}))
    for words in (f"this run {shown} better", f"compared with that of the {shown},", f"beside the {shown} first",
                  f"own value of the {shown} and"):
        assert words in text
    assert ("real clip " in text) == (shown == "real clip")


def test_closer_to_the_source_is_better(tmp_path):
    metrics = {"flicker": {"value": 0.9, "better": "closer to source", "real": 0.95}}
    page = report(tmp_path, metrics=metrics, comparison={"label": "past", "metrics": {"flicker": {"value": 0.93}}})
    assert re.findall(r'data-label="([^"]*)" class="number best"', page) == ["past"]
