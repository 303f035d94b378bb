"""The report page: what stands in it is read back from the HTML and compared with what was put in."""
import base64
import html
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from timecyclegan.util.errors import UserError
from timecyclegan.util.report import _HINTS, ReportSequence, write_report
from timecyclegan.util.report_charts import MAX_POINTS, smooth, thin
from timecyclegan.util.report_losses import read_losses
from timecyclegan.util.report_sequence import HEAT, absolute_error, busiest_row, heat_map

METRICS = {
    "fid": {"value": None, "reason": "needs <weights>", "better": "lower"},
    "tof": {"title": "tOF", "value": 1.23456, "unit": "px", "better": "lower", "definition": "tof-farneback-1",
            "real": 0.5, "frames": 12, "pairs": 10, "sequences": 2, "per_sequence": {"a": 1.1111, "<b>": 2.2222}},
    "psnr": {"value": 23.456, "unit": "dB", "better": "higher", "frames": 12, "skipped": 1, "skipped_because": "equal"},
    "flicker": {"value": 0.9, "better": "closer to real", "real": 0.95},
    "new_metric": {"value": 7.5},
}


def make_sequence(folder, name="a", frames=4, height=24, width=40, real=True, source=True):
    """Random frames on disk, a different one for every panel and time; returns the sequence and its pixels."""
    rng = np.random.default_rng(0)
    pixels, paths = {}, {"source": [], "generated": [], "real": None}
    for kind, wanted in (("source", source), ("generated", True), ("real", real)):
        if not wanted:
            continue
        pixels[kind] = rng.integers(0, 256, (frames, height, width, 3), dtype=np.uint8)
        paths[kind] = [folder / kind / f"{t:04d}.png" for t in range(frames)]
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for path, frame in zip(paths[kind], pixels[kind], strict=True):
            Image.fromarray(frame).save(path)
    return ReportSequence(name, paths["source"], paths["generated"], paths["real"]), pixels


def report(folder, sequences=(), metrics=METRICS, losses_csv=None, options=None, reference=None, **kwargs):
    evaluation = {"metrics": metrics, "frame_size": [24, 40]} | ({"reference": reference} if reference else {})
    write_report(folder / "report.html", title="run <1>", evaluation=evaluation, losses_csv=losses_csv,
                 options=options or {}, sequences=list(sequences), **kwargs)
    return (folder / "report.html").read_text("utf-8")


def decode(uri):
    head, data = uri.split(",")
    assert head == "data:image/webp;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


def embedded(page):
    """The JSON of every sequence."""
    return [json.loads(text) for text in re.findall(r'<script type="application/json">(.*?)</script>', page, re.S)]


def slices(page):
    return {name: decode(uri) for name, uri in re.findall(r'data-slice="(\w+)" src="([^"]*)"', page)}


def visible(page):
    """The text outside of tags, styles and scripts."""
    page = re.sub(r"<(script|style).*?</\1>", "", page, flags=re.S)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


def test_metrics_with_floor_counts_and_definition(tmp_path):
    text = visible(report(tmp_path, metrics=METRICS))
    for expected in ("tOF", "1.235 px", "0.5", "↓ lower", "tof-farneback-1", "12 frames, 10 pairs, 2 sequences",
                     "23.46 dB", "↑ higher", "1 skipped: equal", "0.95", "closer to real", "new_metric", "7.5",
                     "1.111", "2.222"):
        assert expected in text


def test_metrics_without_a_value_are_one_line_below_the_others(tmp_path):
    nothing = {"value": None, "reason": "needs <weights>"}
    metrics = {"fid": None, "lpips": nothing, **METRICS,
               "tlp": {"value": None, "reason": "one frame", "title": "tLP", "per_sequence": {"unseen": None}}}
    metrics["fid"] = {**nothing, "title": "FID", "definition": "fid-1"}  # METRICS has another
    for label, comparison in ((None, None), ("past", {"label": "past", "metrics": {"fid": nothing}})):
        page = report(tmp_path, metrics=metrics, comparison=comparison)
        table, below = re.search(r'<table class="metrics">(.*?)</table>(.*?)<h2>', page, re.S).groups()
        assert "Not computed: FID, lpips – needs <weights>; tLP – one frame" in visible(below)
        rows = re.findall(r"<tr><th scope=row>(\w+)", table)
        assert rows == ["tOF", "psnr", "flicker", "new_metric"]
        assert "unseen" not in page and "tLP" not in visible(below.split("<details>")[1])
        assert (label is None) or label in visible(table)


def test_a_value_that_only_the_comparison_has_keeps_its_row(tmp_path):
    page = report(tmp_path, metrics={"fid": METRICS["fid"]}, comparison={"metrics": {"fid": {"value": 3.0}}})
    assert "– needs <weights> 3 " in visible(page) and "Not computed" not in page


def test_no_metric_has_a_value(tmp_path):
    page = report(tmp_path, metrics={"fid": METRICS["fid"]})
    text = visible(page).split("Metrics")[1].split("Sequences")[0]
    assert text.strip() == "Not computed: fid – needs <weights>"
    assert '<table class="metrics">' not in page


def test_pairs_are_counted_only_where_pairs_are_measured(tmp_path):
    counts = {"value": 1.5, "frames": 60, "pairs": 58, "sequences": 2}
    per_frame = visible(report(tmp_path, metrics={"psnr": {**counts, "over": "frame"}}))
    assert "60 frames, 2 sequences" in per_frame and "58" not in per_frame
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
    text = visible(report(tmp_path, reference=reference))
    for words in (f"this run {shown} better", f"compared with that of the {shown},", f"beside the {shown} first",
                  f"own value of the {shown} and"):
        assert words in text
    assert ("real clip " in text) == (shown == "real clip")


def test_closer_to_the_source_is_better(tmp_path):
    metrics = {"flicker": {"value": 0.9, "better": "closer to source", "real": 0.95}}
    page = report(tmp_path, metrics=metrics, comparison={"label": "past", "metrics": {"flicker": {"value": 0.93}}})
    assert re.findall(r'data-label="([^"]*)" class="number best"', page) == ["past"]


def test_a_real_clip_of_other_moments_is_shown_but_not_compared(tmp_path):
    sequence, pixels = make_sequence(tmp_path)
    other = ReportSequence("a", [], sequence.generated, example=sequence.real)
    page = report(tmp_path, [other])
    data, = embedded(page)
    assert list(data["panels"]) == ["generated", "a real clip"] and data["errors"] == []
    assert (decode(data["panels"]["a real clip"][2]) == pixels["real"][2]).all()
    assert "generated − real" not in page and "mean error" not in page
    row = busiest_row(pixels["generated"])  # the movement of the other clip says nothing about this one's
    assert f"a real clip, row {row + 1}" in visible(page)


def test_small_frames_are_embedded_exactly(tmp_path):
    sequence, pixels = make_sequence(tmp_path)
    data, = embedded(report(tmp_path, [sequence]))
    assert (data["width"], data["height"], data["names"]) == (40, 24, ["0000", "0001", "0002", "0003"])
    assert list(data["panels"]) == ["source", "generated", "real", "error"]
    for name, frames in pixels.items():
        assert (np.stack([decode(uri) for uri in data["panels"][name]]) == frames).all()
    errors = np.abs(pixels["generated"].astype(float) - pixels["real"]).mean(axis=(1, 2, 3))
    assert data["errors"] == pytest.approx(errors, abs=0.01)


@pytest.mark.parametrize(("frames", "middle"), [(1, 0), (4, 2), (9, 4)])
def test_player_opens_in_the_middle(tmp_path, frames, middle):
    sequence, _ = make_sequence(tmp_path, frames=frames)
    page = report(tmp_path, [sequence])
    slider = re.search(r'<input type="range"[^>]*>', page)[0]
    assert f'max="{frames - 1}" value="{middle}"' in slider
    shown, = re.findall(r"^  show\((.*)\);$", page, re.M)  # the call that opens the player
    assert shown == "Number(slider.value)"


def test_slice_is_the_row_of_the_frames(tmp_path):
    sequence, pixels = make_sequence(tmp_path)
    page = report(tmp_path, [sequence])
    row = busiest_row(pixels["real"])
    found = slices(page)
    assert list(found) == ["source", "generated", "real"]
    for name, picture in found.items():
        assert (picture == pixels[name][:, row]).all()
    assert f"generated, row {row + 1}" in visible(page)


def test_busiest_row():
    video = np.full((5, 9, 8, 3), 100, np.uint8)
    assert busiest_row(video) == 4  # nothing moves: the middle
    video[2, 6] = 110
    video[3, 1] = 90
    video[4, 1] = 130
    assert busiest_row(video) == 1


def test_error_and_its_colours():
    generated, real = np.zeros((1, 2, 2, 3), np.uint8), np.zeros((1, 2, 2, 3), np.uint8)
    generated[0, 0, 0], real[0, 0, 1] = (3, 6, 9), (255, 255, 255)
    error = absolute_error(generated, real)
    assert error[0].tolist() == [[6, 255], [0, 0]]
    assert heat_map(error[0], 12)[0, 0].tolist() == list(HEAT[2])  # half of the scale
    assert heat_map(error[0], 12)[0, 1].tolist() == list(HEAT[4])  # beyond it: the end
    assert heat_map(error[0], 12)[1, 0].tolist() == list(HEAT[0])


def test_without_real_frames_there_is_no_error(tmp_path):
    sequence, _ = make_sequence(tmp_path, real=False)
    page = report(tmp_path, [sequence])
    data, = embedded(page)
    assert list(data["panels"]) == ["source", "generated"] and list(slices(page)) == ["source", "generated"]
    assert "mean error" not in page and "generated − real" not in page


def test_unconditional_model_has_only_generated_frames(tmp_path):
    sequence, _ = make_sequence(tmp_path, real=False, source=False)
    assert list(embedded(report(tmp_path, [sequence]))[0]["panels"]) == ["generated"]


def test_no_generated_frames_is_a_user_error_and_leaves_nothing(tmp_path):
    with pytest.raises(UserError, match="sequence empty: it has no generated frames"):
        report(tmp_path, [ReportSequence("empty", [], [], None)])
    assert list(tmp_path.iterdir()) == []


def test_what_is_left_out_is_said(tmp_path):
    sequence, _ = make_sequence(tmp_path, frames=5, width=60, height=30)
    page = report(tmp_path, [sequence] * 3, max_sequences=2, max_frames=3, max_width=40)
    assert [len(data["names"]) for data in embedded(page)] == [3, 3]
    assert decode(embedded(page)[0]["panels"]["real"][2]).shape == (20, 40, 3)
    text = visible(page)
    for words in ("The first 2 of 3 sequences are shown", "the first 3 of 5 frames are shown",
                  "downscaled from 60 × 30 px"):
        assert words in text
    complete = visible(report(tmp_path, [sequence]))
    assert "are shown" not in complete and "downscaled" not in complete


def test_panels_get_the_size_of_the_generated_frames(tmp_path):
    small, _ = make_sequence(tmp_path / "small")
    large, _ = make_sequence(tmp_path / "large", height=48, width=80)
    data, = embedded(report(tmp_path, [ReportSequence("a", large.source, small.generated, large.real)]))
    assert {decode(uris[0]).shape for uris in data["panels"].values()} == {(24, 40, 3)}


def test_names_cannot_break_the_page(tmp_path):
    evil = '</script><b id="x">&"\''
    sequence, _ = make_sequence(tmp_path, name=evil)
    sequence.generated[0].rename(tmp_path / "<b>.png")
    sequence.generated[0] = tmp_path / "<b>.png"
    metrics = {evil: {"value": 1.0, "unit": evil, "better": evil, "definition": evil, "per_sequence": {evil: 1.0},
                      "skipped": 1, "skipped_because": evil, "title": evil}, "x": {"value": None, "reason": evil}}
    page = report(tmp_path, [sequence], metrics=metrics, options={evil: evil, "model_type": evil},
                  comparison={"label": evil, "metrics": metrics})
    assert "<b" not in re.sub(r"<(body|button)\b", "", page)
    assert page.count("</script>") == 2  # the sequence's data and the page's own
    assert embedded(page)[0]["names"][0] == "<b>"
    assert visible(page).count(evil) >= 10


def test_page_refers_to_nothing_outside(tmp_path):
    sequence, _ = make_sequence(tmp_path)
    page = report(tmp_path, [sequence], losses_csv=make_losses(tmp_path))
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)|<link", re.sub(r"base64,[^\"]*", "", page))
    assert all(address.startswith(("data:", "#")) for address in re.findall(r'(?:src|href)="([^"]*)"', page))


def test_options_and_facts(tmp_path):
    text = visible(report(tmp_path, options={"model_type": "timecycle", "spatial_scaling": [0.5, 1.0]}))
    assert "run <1>" in text and "model timecycle" in text and "frames 40 × 24 px" in text
    assert "spatial_scaling 0.5 1.0" in text


def make_losses(folder, rows=3000):
    lines = ["step,epoch,Loss/Generator/gan,Loss/Generator/l<1>,Loss/Discriminator/image,Loss/Generator/never"]
    for i in range(rows):
        noise = i * 7919 % 101
        lines.append(f"{i * 10},{i // 100},{noise},{noise if i % 3 == 0 else ''},{'nan' if i > 2990 else noise},")
    (folder / "losses.csv").write_text("\n".join(lines) + "\n29999,30,1.")
    return folder / "losses.csv"


def test_loss_curves(tmp_path):
    page = report(tmp_path, losses_csv=make_losses(tmp_path))
    charts = re.findall(r"<figure aria-label.*?</figure>", page, re.S)
    assert [html.unescape(re.search('aria-label="([^"]*)"', chart)[1]) for chart in charts] == [
        "Loss/Generator/gan", "Loss/Generator/l<1>", "Loss/Discriminator/image"]
    for chart in charts:
        assert chart.count("<svg") == 1 and ">step<" in chart and "var(--accent)" in chart
        lines = [path for path in re.findall(r' d="([^"]*)"', chart) if path.count("L") > 20]
        assert len(lines) == 2  # the logged values and their mean
        assert all(path.count("L") < MAX_POINTS for path in lines)
    assert "9 values are NaN or infinite, the first at step 29910" in visible(charts[2])
    assert visible(page).index("Generator gan") < visible(page).index("Discriminator image")


def test_losses_are_read_with_gaps_and_a_cut_line(tmp_path):
    curves = {curve.name: curve for curve in read_losses(make_losses(tmp_path, rows=7))}
    assert curves["Loss/Generator/gan"].values.tolist() == [0, 41, 82, 22, 63, 3, 44, 1]
    assert curves["Loss/Generator/l<1>"].steps.tolist() == [0, 30, 60]
    assert "Loss/Generator/never" not in curves


@pytest.mark.parametrize("content", [None, "", "step,epoch\n", "step,epoch,Loss/a\n"])
def test_missing_losses(tmp_path, content):
    path = tmp_path / "losses.csv"
    if content is not None:
        path.write_text(content)
    assert "There is no log of losses." in visible(report(tmp_path, losses_csv=path))
    assert "There is no log of losses." in visible(report(tmp_path, losses_csv=None))


def test_a_loss_that_was_never_finite_is_named(tmp_path):
    (tmp_path / "losses.csv").write_text("step,epoch,Loss/Generator/gan\n0,0,nan\n1,0,inf\n")
    assert "2 values are NaN or infinite, the first at step 0" in visible(report(
        tmp_path, losses_csv=tmp_path / "losses.csv"))


def test_smoothing_and_thinning():
    values = np.arange(1000.0)
    assert thin(values)[[0, -1]].tolist() == [0, 999] and len(thin(values)) == MAX_POINTS
    assert thin(values[:3]).tolist() == [0, 1, 2]
    line = smooth(values)
    assert line[100:900] == pytest.approx(values[100:900])  # the mean of a straight line is the line
    values[0] = 1e9
    assert smooth(values)[0] < 1000


@pytest.mark.parametrize(("count", "half"), [(1000, 50), (100, 5), (78, 3), (20, 2)])
def test_the_moving_mean_spans_a_tenth_but_five_values(count, half):
    values = np.random.default_rng(0).uniform(0, 1, count)
    cut = values.clip(*np.percentile(values, (0.5, 99.5)))
    line = smooth(values)
    assert line[count // 2] == pytest.approx(cut[count // 2 - half:count // 2 + half + 1].mean())
    assert line[-1] == pytest.approx(cut[-max(half + 1, 5):].mean())
    assert line[0] == pytest.approx(cut[:max(half + 1, 5)].mean())


@pytest.mark.parametrize("count", [1, 2, 4, 5])
def test_few_values_are_all_averaged(count):
    values = np.arange(float(count))
    assert smooth(values) == pytest.approx(np.full(count, values.mean()))


def test_the_number_beside_the_title_is_the_end_of_the_mean(tmp_path):
    values = np.random.default_rng(1).uniform(1, 9, 78)
    (tmp_path / "losses.csv").write_text("step,epoch,Loss/gan\n" + "".join(
        f"{step},0,{value}\n" for step, value in enumerate(values)))
    page = report(tmp_path, losses_csv=tmp_path / "losses.csv")
    assert f"gan {values[-5:].mean():.3g} " in visible(re.search("<figure aria-label.*?</figure>", page, re.S)[0])
    assert "mean over 1/10 of the run, but never fewer than 5 values" in visible(page)


@pytest.mark.parametrize("column", ["learning_rate", "Loss/learning_rate"])
def test_learning_rate_is_no_loss(tmp_path, column):
    rows = [f"{step},0,{0.25 if step < 70 else 0.125},{step},7\n" for step in range(78)]
    (tmp_path / "losses.csv").write_text(f"step,epoch,{column},gan,Loss/Generator/l1\n" + "".join(rows))
    page = report(tmp_path, losses_csv=tmp_path / "losses.csv")
    groups = {group: re.findall('aria-label="([^"]*)"', charts) for group, charts in re.findall(
        r'<h3>([^<]*)</h3><div class="charts">(.*?)</div>', page, re.S)}
    assert groups == {"Losses": ["gan"], "Generator": ["Loss/Generator/l1"], "Schedule": [column]}
    assert list(groups)[-1] == "Schedule"
    chart = re.search(f'<figure aria-label="{column}".*?</figure>', page, re.S)[0]
    assert "learning_rate 0.125 " in visible(chart)  # as set, not a mean with what was set before
