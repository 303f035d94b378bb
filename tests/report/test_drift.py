"""The drift curves: the points that are drawn are read back from the SVG and compared with the evaluation."""
import html
import re

import numpy as np
import pytest

from tests.evaluation.helpers import moving, noisy, write_clips
from tests.report.report_page import report, visible

TEN = [3.0, 2.0, 4.0, 4.5, 6.0, 5.0, 7.0, 9.0, 8.0, 10.0]
STYLES = "strong|faint|real|earlier"


def metric(values, **facts):
    return {"value": 1.0, "per_frame": values if isinstance(values, dict) else {"a": values}, **facts}


def charts(page):
    """Metric -> its figure."""
    return {html.unescape(name): chart for name, chart in re.findall(
        r'<figure aria-label="drift/([^"]*)">(.*?)</figure>', page, re.S)}


def axis(chart, name):
    """The function from a place in the picture to the value there, by the ticks and their labels."""
    at = {"x": 1, "y": 2}[name]
    ticks = [re.search(r'<use [^>]*x="([^"]*)" y="([^"]*)".*?<text[^>]*>([^<]*)', tick, re.S)
             for tick in re.findall(rf'<g class="{name}tick_\d+">(.*?)</text>', chart, re.S)]
    return np.poly1d(np.polyfit([float(tick[at]) for tick in ticks],
                                [float(tick[3].replace("−", "-")) for tick in ticks], 1))


def lines(chart, style):
    """The chart's lines of that style, each a list of strokes, each a list of (frame, value); dots are single ones."""
    x, y = axis(chart, "x"), axis(chart, "y")
    found = []
    for drawn in re.findall(rf'<g class="{style}">(.*?)(?=<g class="(?:{STYLES}|patch|matplotlib))', chart, re.S):
        strokes = [re.findall(r"[ML] (\S+) (\S+)", "M" + stroke)
                   for stroke in re.search(r'<path d="M([^"]*)" clip', drawn)[1].split("M")]
        strokes = [stroke for stroke in strokes if len(stroke) > 1]
        strokes += [[dot] for dot in re.findall(r'<use [^>]*x="([^"]*)" y="([^"]*)"', drawn)]
        found.append(sorted([(x(float(a)), y(float(b))) for a, b in stroke] for stroke in strokes))
    return found


def near(points):
    """What is drawn to a tenth of a point."""
    values = [value for _, value in points]
    return [(pytest.approx(frame, abs=0.05), pytest.approx(value, abs=0.003 * (max(values) - min(values) + 1)))
            for frame, value in points]


def from_1(values):
    return list(enumerate(values, 1))


def test_points_stand_at_their_frames_and_values(tmp_path):
    page = report(tmp_path, metrics={"tof": metric(TEN, title="tOF", unit="px", better="lower")})
    chart = charts(page)["tof"]
    assert lines(chart, "strong") == [[near(from_1(TEN))]]
    assert lines(chart, "faint") == lines(chart, "real") == lines(chart, "earlier") == []
    assert "tOF 3 → 10 px, ↓ lower is better" in visible(chart)
    assert "Along the clips this run tOF" in visible(page)


def test_what_is_undefined_is_a_gap_and_what_stands_alone_a_dot(tmp_path):
    values = [None, *TEN[:4], None, 5.0, None, None, 7.0, 8.0, None]
    chart = charts(report(tmp_path, metrics={"psnr": metric(values)}))["psnr"]
    points = from_1(values)
    assert lines(chart, "strong") == [[near(points[1:5]), near(points[6:7]), near(points[9:11])]]
    assert "psnr 3 → 8 " in visible(chart)


def test_mean_over_sequences_of_different_lengths(tmp_path):
    clips = {"a": TEN, "b": [1.0, 1, 1, None, 2, 2, 2, 2], "short": [99.0] * 7, "undefined": [None] * 20}
    page = report(tmp_path, metrics={"tof": metric(clips)})
    chart = charts(page)["tof"]
    mean = [2.0, 1.5, 2.5, 4.5, 4.0, 3.5, 4.5, 5.5, 8.0, 10.0]
    assert lines(chart, "strong") == [[near(from_1(mean))]]
    second = from_1(clips["b"])
    assert lines(chart, "faint") == [[near(from_1(TEN))], [near(second[:3]), near(second[4:])]]
    for words in ("this run, mean over sequences each sequence tof", "the mean goes on over the others",
                  "Sequences of fewer than 8 frames are left out"):
        assert words in visible(page)


@pytest.mark.parametrize(("count", "faint"), [(1, 0), (6, 6), (7, 0)])
def test_single_sequences_are_drawn_where_they_can_be_told_apart(tmp_path, count, faint):
    chart = charts(report(tmp_path, metrics={"tof": metric({str(i): TEN for i in range(count)})}))["tof"]
    assert len(lines(chart, "faint")) == faint


@pytest.mark.parametrize("count", [1, 7])
def test_long_clips_are_smoothed(tmp_path, count):
    values = np.random.default_rng(0).uniform(4, 6, (count, 60)) + np.arange(60) / 3
    page = report(tmp_path, metrics={"tof": metric({str(i): list(clip) for i, clip in enumerate(values)})})
    chart, mean = charts(page)["tof"], values.mean(axis=0)
    cut = mean.clip(*np.percentile(mean, (0.5, 99.5)))
    (strong,), = lines(chart, "strong")
    assert strong[3:-3] == near([(t + 1, cut[t - 3:t + 4].mean()) for t in range(3, 57)])
    (faint,), = lines(chart, "faint")
    assert faint[1:-1] == near(from_1(mean)[1:-1])
    assert "before smoothing" in visible(page) and "moving means over 1/10 of the clip" in visible(page)


def test_below_that_they_are_not_smoothed(tmp_path):
    values = list(np.random.default_rng(0).uniform(4, 6, 49))
    page = report(tmp_path, metrics={"tof": metric(values)})
    assert lines(charts(page)["tof"], "strong") == [[near(from_1(values))]]
    assert "moving means over" not in visible(page)


@pytest.mark.parametrize(("kind", "beside"), [("paired", True), ("unpaired", True), ("unconditional", False)])
def test_the_reference_is_beside_it_where_it_moves_alike(tmp_path, kind, beside):
    real = [4.0, 4, 5, 5, 4, 4, 5, None, 5, 4]
    facts = {"kind": kind, "reference": "such clip", "reference_frames": 10, "reference_sequences": 1}
    page = report(tmp_path, metrics={"flicker": metric(TEN, real_per_frame={"a": real})}, facts=facts)
    chart = charts(page)["flicker"]
    assert lines(chart, "real") == ([[near(from_1(real)[:7]), near(from_1(real)[8:])]] if beside else [])
    assert ("Along the clips this run such clip flicker" in visible(page)) == beside
    assert lines(chart, "strong") == [[near(from_1(TEN))]]


def test_the_comparison_is_beside_it_if_it_was_measured_alike(tmp_path):
    past = {"tof": metric(TEN[::-1], definition="tof-1"), "e_warp": metric(TEN[::-1], definition="another")}
    page = report(tmp_path, metrics={"tof": metric(TEN, definition="tof-1"), "e_warp": metric(TEN, definition="one")},
                  comparison={"label": "after epoch 1", "metrics": past})
    assert lines(charts(page)["tof"], "earlier") == [[near(from_1(TEN[::-1]))]]
    assert lines(charts(page)["e_warp"], "earlier") == []
    assert "Along the clips this run after epoch 1 tof" in visible(page)


@pytest.mark.parametrize("values", [{}, {"a": []}, {"a": [1.0] * 7}, {"a": [None] * 9}])
def test_without_drift_to_see_there_is_no_chart(tmp_path, values):
    page = report(tmp_path, metrics={"fid": metric(values)})
    assert "Along the clips" not in page and not charts(page)
    assert list(charts(report(tmp_path, metrics={"fid": metric(values), "tof": metric(TEN)}))) == ["tof"]


def test_noise_that_grows_in_a_real_evaluation_is_seen(tmp_path):
    from timecyclegan.evaluation.evaluate import evaluate

    real = {name: moving(frames, seed=frames) for name, frames in (("a", 12), ("b", 10))}
    fake = {name: [noisy([frame], 2 * t, t)[0] for t, frame in enumerate(clip)] for name, clip in real.items()}
    evaluation = evaluate(write_clips(tmp_path / "real", real), write_clips(tmp_path / "fake", fake),
                          only=["tof", "flicker", "l1"])
    drawn = charts(report(tmp_path, metrics=evaluation["metrics"], facts={"kind": "paired"}))
    assert list(drawn) == ["tof", "flicker", "l1"]
    errors = [np.mean([np.abs(clip[t].astype(float) - real[name][t]).mean() for name, clip in fake.items()
                       if t < len(clip)]) for t in range(12)]
    (line,), = lines(drawn["l1"], "strong")
    assert line == near(from_1(errors)) and errors[-1] > errors[5] > errors[1] > errors[0] == 0
    (line,), = lines(drawn["flicker"], "real")
    change = [1 - np.mean([np.abs(clip[t].astype(float) - clip[t - 1]).mean() / 255 for clip in real.values()
                           if t < len(clip)]) for t in range(1, 12)]
    assert [value for _, value in line] == pytest.approx(change, abs=0.001)
    assert [frame for frame, _ in line] == pytest.approx(range(2, 13), abs=0.05)
