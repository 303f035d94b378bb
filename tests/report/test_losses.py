"""The loss curves of the report, and the lines of its charts."""
import html
import re

import numpy as np
import pytest

from tests.report.report_page import make_losses, report, visible
from timecyclegan.report.charts import MAX_POINTS, smooth, thin
from timecyclegan.report.losses import read_losses


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


def test_smoothing_leaves_gaps_and_averages_what_is_there():
    values = np.random.default_rng(2).uniform(0, 1, 80)
    values[[0, 20, 21, 40]] = np.nan
    cut = values.clip(*np.nanpercentile(values, (0.5, 99.5)))
    line = smooth(values)
    assert (np.isnan(line) == np.isnan(values)).all()
    for t in (4, 19, 22, 38, 60):
        assert line[t] == pytest.approx(np.nanmean(cut[t - 4:t + 5]))
    assert line[1] == pytest.approx(np.nanmean(cut[:6]))
