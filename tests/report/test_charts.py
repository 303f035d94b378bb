"""The charts: what lines they have, of losses over steps and of metrics along the clips."""
import numpy as np
import pytest

from tests.evaluation.helpers import moving, noisy, write_clips
from tests.report.report_page import make_losses, shown
from timecyclegan.report.charts import MAX_POINTS, smooth, thin

TEN = [3.0, 2.0, 4.0, 4.5, 6.0, 5.0, 7.0, 9.0, 8.0, 10.0]


def metric(values, **facts):
    return {"value": 1.0, "per_frame": values if isinstance(values, dict) else {"a": values}, **facts}


def drift(*args, **kwargs):
    """Metric -> its chart."""
    found = shown(*args, **kwargs)["drift"]
    return {chart["name"].removeprefix("drift/"): chart for chart in found["charts"]} if found else {}


def lines(chart, style="strong"):
    """The chart's lines of that style, each a list of values by frame, from 1 on."""
    found = [line for line in chart["lines"] if line["style"] == style]
    assert all(line["x"] == list(range(1, len(line["y"]) + 1)) for line in found)
    return [line["y"] for line in found]


def near(values):
    """As far as five digits go."""
    return [value if value is None else pytest.approx(value, rel=1e-4) for value in values]


def test_points_stand_at_their_frames_and_values(tmp_path):
    chart = drift(tmp_path, metrics={"tof": metric(TEN, title="tOF", unit="px", better="lower")})["tof"]
    assert lines(chart) == [TEN] and len(chart["lines"]) == 1
    assert (chart["title"], chart["number"], chart["unit"], chart["better"]) == ("tOF", "3 → 10", "px", "lower")


def test_what_is_undefined_is_a_gap(tmp_path):
    values = [None, *TEN[:4], None, 5.0, None, None, 7.0, 8.0, None]
    chart = drift(tmp_path, metrics={"psnr": metric(values)})["psnr"]
    assert lines(chart) == [values] and chart["number"] == "3 → 8"


def test_mean_over_sequences_of_different_lengths(tmp_path):
    clips = {"a": TEN, "b": [1.0, 1, 1, None, 2, 2, 2, 2], "short": [99.0] * 7, "undefined": [None] * 20}
    found = shown(tmp_path, metrics={"tof": metric(clips)})["drift"]
    chart, = found["charts"]
    assert lines(chart) == [[2.0, 1.5, 2.5, 4.5, 4.0, 3.5, 4.5, 5.5, 8.0, 10.0]]
    assert lines(chart, "faint") == [TEN, [*clips["b"], None, None]]
    assert found["several"] and found["few"] and found["end_apart"] and found["left_out"] and not found["smoothed"]


@pytest.mark.parametrize(("count", "faint"), [(1, 0), (6, 6), (7, 0)])
def test_single_sequences_are_drawn_where_they_can_be_told_apart(tmp_path, count, faint):
    chart = drift(tmp_path, metrics={"tof": metric({str(i): TEN for i in range(count)})})["tof"]
    assert len(lines(chart, "faint")) == faint


@pytest.mark.parametrize("count", [1, 7])
def test_long_clips_are_smoothed_and_shorter_ones_not(tmp_path, count):
    values = np.random.default_rng(0).uniform(4, 6, (count, 60)) + np.arange(60) / 3
    chart = drift(tmp_path, metrics={"tof": metric({str(i): list(clip) for i, clip in enumerate(values)})})["tof"]
    mean = values.mean(axis=0)
    cut = mean.clip(*np.percentile(mean, (0.5, 99.5)))
    assert lines(chart)[0][3:-3] == near([cut[t - 3:t + 4].mean() for t in range(3, 57)])
    assert lines(chart, "faint") == [near(mean)]
    short = drift(tmp_path, metrics={"tof": metric(list(values[0, :49]))})["tof"]
    assert lines(short) == [near(values[0, :49])]


@pytest.mark.parametrize(("kind", "beside"), [("paired", True), ("unpaired", True), ("unconditional", False)])
def test_the_reference_is_beside_it_where_it_moves_alike(tmp_path, kind, beside):
    real = [4.0, 4, 5, 5, 4, 4, 5, None, 5, 4]
    metrics = {"flicker": metric(TEN, real_per_frame={"a": real})}
    chart = drift(tmp_path, metrics=metrics, facts={"kind": kind})["flicker"]
    assert lines(chart, "real") == ([real] if beside else []) and lines(chart) == [TEN]


def test_the_comparison_is_beside_it_if_it_was_measured_alike(tmp_path):
    past = {"tof": metric(TEN[::-1], definition="tof-1"), "e_warp": metric(TEN[::-1], definition="another")}
    now = {"tof": metric(TEN, definition="tof-1"), "e_warp": metric(TEN, definition="one")}
    found = drift(tmp_path, metrics=now, past=past)
    assert lines(found["tof"], "earlier") == [TEN[::-1]] and lines(found["e_warp"], "earlier") == []


@pytest.mark.parametrize("values", [{}, {"a": []}, {"a": [1.0] * 7}, {"a": [None] * 9}])
def test_without_drift_to_see_there_is_no_chart(tmp_path, values):
    assert not drift(tmp_path, metrics={"fid": metric(values)})
    assert list(drift(tmp_path, metrics={"fid": metric(values), "tof": metric(TEN)})) == ["tof"]


def test_noise_that_grows_in_a_real_evaluation_is_seen(tmp_path):
    from timecyclegan.evaluation.compute_metrics import evaluate

    real = {name: moving(frames, seed=frames) for name, frames in (("a", 12), ("b", 10))}
    fake = {name: [noisy([frame], 2 * t, t)[0] for t, frame in enumerate(clip)] for name, clip in real.items()}
    evaluation = evaluate(write_clips(tmp_path / "real", real), write_clips(tmp_path / "fake", fake),
                          only=["tof", "flicker", "l1"])
    drawn = drift(tmp_path, metrics=evaluation["metrics"], facts={"kind": "paired"})
    assert list(drawn) == ["tof", "flicker", "l1"]
    errors = [np.mean([np.abs(clip[t].astype(float) - real[name][t]).mean() for name, clip in fake.items()
                       if t < len(clip)]) for t in range(12)]
    assert lines(drawn["l1"]) == [near(errors)] and errors[-1] > errors[5] > errors[1] > errors[0] == 0
    change = [1 - np.mean([np.abs(clip[t].astype(float) - clip[t - 1]).mean() / 255 for clip in real.values()
                           if t < len(clip)]) for t in range(1, 12)]
    assert lines(drawn["flicker"], "real") == [near([None, *change])]


# ---- Losses


def losses(path, folder):
    """Group -> its charts."""
    return shown(folder, losses_csv=path)["losses"]


def test_loss_curves(tmp_path):
    found = losses(make_losses(tmp_path), tmp_path)
    assert {group: [(chart["name"], chart["title"]) for chart in charts] for group, charts in found.items()} == {
        "Generator": [("Loss/Generator/gan", "gan"), ("Loss/Generator/l<1>", "l<1>")],
        "Discriminator": [("Loss/Discriminator/image", "image")]}  # and none of what was never logged
    for chart in [*found["Generator"], *found["Discriminator"]]:
        assert [line["style"] for line in chart["lines"]] == ["faint", "strong"]
        assert all(len(line["x"]) == len(line["y"]) == MAX_POINTS for line in chart["lines"])
    assert found["Discriminator"][0]["warning"] == "9 values are NaN or infinite, the first at step 29910"


def test_losses_are_read_with_gaps_and_a_cut_line(tmp_path):
    gan, l1 = losses(make_losses(tmp_path, rows=7), tmp_path)["Generator"]
    assert gan["lines"][0]["y"] == [0, 41, 82, 22, 63, 3, 44, 1]
    assert l1["lines"][0]["x"] == [0, 30, 60]


@pytest.mark.parametrize("content", [None, "", "step,epoch\n", "step,epoch,Loss/a\n"])
def test_missing_losses(tmp_path, content):
    path = tmp_path / "losses.csv"
    if content is not None:
        path.write_text(content)
    assert losses(path, tmp_path) == losses(None, tmp_path) == {}


def test_a_loss_that_was_never_finite_is_named(tmp_path):
    (tmp_path / "losses.csv").write_text("step,epoch,Loss/Generator/gan\n0,0,nan\n1,0,inf\n")
    chart, = losses(tmp_path / "losses.csv", tmp_path)["Generator"]
    assert chart["warning"] == "2 values are NaN or infinite, the first at step 0"
    assert (chart["lines"], chart["number"]) == ([], "–")


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
    chart, = losses(tmp_path / "losses.csv", tmp_path)["Losses"]
    assert (chart["title"], chart["number"]) == ("gan", f"{values[-5:].mean():.3g}")


@pytest.mark.parametrize("column", ["learning_rate", "Loss/learning_rate"])
def test_learning_rate_is_no_loss(tmp_path, column):
    rows = [f"{step},0,{0.25 if step < 70 else 0.125},{step},7\n" for step in range(78)]
    (tmp_path / "losses.csv").write_text(f"step,epoch,{column},gan,Loss/Generator/l1\n" + "".join(rows))
    found = losses(tmp_path / "losses.csv", tmp_path)
    assert {group: [chart["name"] for chart in charts] for group, charts in found.items()} == {
        "Losses": ["gan"], "Generator": ["Loss/Generator/l1"], "Schedule": [column]}
    assert list(found)[-1] == "Schedule"
    assert found["Schedule"][0]["number"] == "0.125"  # as set, not a mean with what was set before


def test_smoothing_leaves_gaps_and_averages_what_is_there():
    values = np.random.default_rng(2).uniform(0, 1, 80)
    values[[0, 20, 21, 40]] = np.nan
    cut = values.clip(*np.nanpercentile(values, (0.5, 99.5)))
    line = smooth(values)
    assert (np.isnan(line) == np.isnan(values)).all()
    for t in (4, 19, 22, 38, 60):
        assert line[t] == pytest.approx(np.nanmean(cut[t - 4:t + 5]))
    assert line[1] == pytest.approx(np.nanmean(cut[:6]))
