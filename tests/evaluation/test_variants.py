"""Metrics as others define them, against definitions written out once more."""
from pathlib import Path

import numpy as np
import pytest

from tests.evaluation.helpers import moving, noisy, texture, write_clips
from tests.evaluation.test_ewarp import bilinear
from timecyclegan.evaluation.base import BETTER, Metric, Sample, Step
from timecyclegan.evaluation.compute_metrics import METRICS, evaluate
from timecyclegan.evaluation.compute_tof import flow_distance
from timecyclegan.evaluation.features.alexnet import Perceptual
from timecyclegan.evaluation.flow import Estimator, sample
from timecyclegan.evaluation.variants import (
    VARIANTS,
    CroppedPerceptualView,
    TLPTecoGAN,
    TOFTecoGAN,
    WarpBack,
    WithoutEnds,
    summed_distance,
    tecogan_crop,
)
from timecyclegan.flow.opencv import farneback

# ---- TecoGAN's crop and cut


def test_the_crop_is_the_largest_that_fits():
    for size in (1, 31, 32, 47, 48, 49, 63, 64, 79, 80, 96, 111, 112, 113, 199):
        fitting = [kept for kept in range(32, size, 32) if (size - kept) // 2 >= 8]
        crop = tecogan_crop(size, 500)
        if not fitting:
            assert size < 48 and crop is None
            continue
        rows, columns = crop
        assert rows.stop - rows.start == max(fitting)
        assert rows.start == (size - max(fitting)) // 2 and size - rows.stop >= 8
        assert (columns.start, columns.stop) == (10, 490)
        assert tecogan_crop(500, size) == (columns, rows)


class Numbers(WithoutEnds):
    """10^t at each pair (t - 1, t), which says of any mean what is in it."""
    name = title = definition = "numbers"

    def sample(self, step):
        return Sample(float(10 ** step.fake))


class AllNumbers(Numbers):
    cut = 0


def count(metric: Metric, *lengths: int) -> Metric:
    """Run through sequences of so many frames, frame t being the number t."""
    for place, length in enumerate(lengths):
        metric.start(f"{place}")
        for t in range(length):
            metric.add(metric.measure(Step(t, t, None, t - 1 if t else None)))
    return metric


def test_pairs_with_an_outer_frame_are_left_out():
    result = count(Numbers(), 8, 6).result()  # frames 2 to 5 and 2 to 3 remain
    assert result.per_frame == {"0": [None] * 3 + [1e3, 1e4, 1e5] + [None] * 2, "1": [None] * 3 + [1e3] + [None] * 2}
    assert result.value == pytest.approx((1e3 + 1e4 + 1e5 + 1e3) / 4)
    assert (result.frames, result.pairs, result.skipped) == (14, 12, 8)
    assert "first and last 2 frames" in result.skipped_because


def test_without_cut_all_pairs_count():
    result = count(AllNumbers(), 3).result()
    assert result.per_frame == {"0": [None, 10, 100]} and result.skipped == 0


def test_short_clips_have_no_value_and_the_reason():
    result = count(Numbers(), 5, 1, 0).result()
    assert result.value is None and "first and last 2 frames" in result.reason
    assert result.skipped == result.pairs == 4


def test_a_result_in_between_changes_nothing():
    metric = count(Numbers(), 6)
    first = metric.result()
    assert metric.result() == first
    metric.add(metric.measure(Step(6, 6, None, 5)))
    assert metric.result().per_frame["0"] == [None] * 3 + [1e3, 1e4] + [None] * 2


def textures(height, width):
    real = moving(7, height, width, seed=1)
    return real, noisy(real, sigma=20)


def steps(real, fake, **options):
    return [Step(real[t], fake[t], real[t - 1], fake[t - 1], **options) for t in range(1, len(real))]


def test_tof_tecogan_crops_farneback_s_flow_of_whole_frames():
    real, fake = textures(60, 90)
    expected = [flow_distance(farneback(s.previous_real, s.real)[14:46, 13:77],
                              farneback(s.previous_fake, s.fake)[14:46, 13:77]) for s in steps(real, fake)]

    def other(first, second):
        return np.zeros((*first.shape[:2], 2))

    for flow in (farneback, other):  # whatever the rest is measured by
        assert [TOFTecoGAN().measure(step).fake for step in steps(real, fake, flow=flow)] == pytest.approx(expected)


def test_tof_tecogan_of_small_frames_has_no_value():
    result = TOFTecoGAN()
    result.start("a")
    for step in steps(*textures(47, 90)):
        result.add(result.measure(step))
    assert result.result().value is None and "48 pixels" in result.result().reason


# ---- tLP as TecoGAN's


def test_tlp_tecogan_is_a_hundred_times_the_difference_of_the_crops():
    for seen, expected in ((Perceptual(0.5, 0.02, 0.05), 3), (Perceptual(0.5, 0.05, 0.02), 3), (Perceptual(), None)):
        step = Step(0, 0, None, 0, seen={CroppedPerceptualView: seen})
        assert TLPTecoGAN().measure(step).fake == (expected and pytest.approx(expected))


# ---- E_warp as Lai et al. measure it


def naive_lai(earlier, later, forward, backward):
    """E of one pair and the pixels that count, pixel by pixel; flows float64 (H, W, 2)."""
    height, width = earlier.shape[:2]
    total, count = 0.0, 0
    for y in range(height):
        for x in range(width):
            here = forward[y, x]
            px, py = x + here[0], y + here[1]
            back = bilinear(backward, px, py)
            apart = ((back + here) ** 2).sum() > 0.01 * ((back ** 2).sum() + (here ** 2).sum()) + 0.5
            right = forward[y, x + 1] - here if x + 1 < width else 0 * here
            below = forward[y + 1, x] - here if y + 1 < height else 0 * here
            edge = (right ** 2).sum() + (below ** 2).sum() > 0.01 * (here ** 2).sum() + 0.002
            if not apart and not edge:
                total += ((bilinear(later / 255, px, py) - earlier[y, x] / 255) ** 2).sum()
                count += 1
    return total / (3 * count), count


def test_e_warp_lai_agrees_with_the_naive_loop():
    rng = np.random.default_rng(0)
    smooth = np.stack(np.meshgrid(np.linspace(0.5, 3, 32), np.linspace(-2, 1, 24)), axis=2)
    forward = smooth + rng.normal(0, 0.03, smooth.shape)
    forward[8:14, 10:20] += 2  # an object with edges
    backward = -forward + rng.normal(0, 0.4, forward.shape)
    earlier, later = texture(24, 32, 1), texture(24, 32, 2)
    warp = WarpBack(forward, backward)
    expected, count = naive_lai(earlier, later, forward, backward)
    assert 200 < count < 700
    assert warp.mask.sum() == count and warp.error(later, earlier) == pytest.approx(expected, rel=1e-12)


def test_e_warp_lai_goes_from_later_to_earlier_frames_and_counts_the_border():
    earlier, later = moving(2, step=3)  # what the later one shows at x, the earlier one shows at x + 3
    forward = np.full((24, 32, 2), (-3.0, 0.0))
    warp = WarpBack(forward, -forward)
    assert warp.mask.all()
    left, right = np.split(sample(later, warp.points), [3], axis=1)
    np.testing.assert_array_equal(left, np.repeat(later[:, :1], 3, axis=1))  # outside, the border stands in
    np.testing.assert_array_equal(right, earlier[:, 3:])


# ---- tOF of the 2020 release


def test_the_sum_is_of_the_absolute_differences_of_both_coordinates():
    first, second = np.zeros((4, 5, 2), np.float32), np.full((4, 5, 2), (1.5, -2), np.float32)
    assert summed_distance(first, second) == summed_distance(second, first) == 4 * 5 * 3.5


def means(first, second):
    """A flow that is easily checked: the change of the mean, everywhere, along x."""
    flow = np.zeros((*first.shape[:2], 2), np.float32)
    flow[..., 0] = second.mean() - first.mean()
    return flow


FACTS = {"flow_backend": "flownet2", "flow_weights": "some/where/f.pth", "flow_weights_sha256": "0" * 64}


def gray(*levels):
    return [np.full((4, 5, 3), level, np.uint8) for level in levels]


def test_tof_timecyclegan_looks_through_flownet2_and_never_across_clips(tmp_path):
    real = write_clips(tmp_path / "real", {"a": gray(0, 10, 20), "b": gray(200, 201)})
    fake = write_clips(tmp_path / "fake", {"a": gray(5, 16, 16), "b": gray(0, 3)})
    found = evaluate(real, fake, only=["tof-timecyclegan"], flow=Estimator("flownet2", means, FACTS))
    found = found["metrics"]["tof-timecyclegan"]
    assert found["per_frame"] == {"a": [None, 20 * 1, 20 * 10], "b": [None, 20 * 2]}
    assert found["value"] == pytest.approx(20 * 13 / 3)
    assert (found["network"]["weights"], found["network"]["weights_sha256"]) == ("f.pth", "0" * 64)


def test_tof_timecyclegan_without_weights_is_empty_and_says_which_file(tmp_path):
    clips = write_clips(tmp_path / "real", {"a": moving(3)})
    found = evaluate(clips, clips, only=["tof"], also=["tof-timecyclegan"])["metrics"]
    assert found["tof"]["value"] == 0
    assert found["tof-timecyclegan"]["value"] is None
    assert "FlowNet2_checkpoint.pth.tar" in found["tof-timecyclegan"]["reason"]


# ---- all of them


def test_names_never_meet_ours(tmp_path):
    clips = write_clips(tmp_path / "real", {"a": moving(2)})
    default = evaluate(clips, clips)["metrics"]
    everything = evaluate(clips, clips, also=[metric.name for metric in VARIANTS])["metrics"]
    assert {metric.name for metric in VARIANTS} == set(everything) - set(default)
    definitions = [facts["definition"] for facts in everything.values()]
    assert len(set(definitions)) == len(definitions)
    for metric in VARIANTS:
        assert everything[metric.name]["definition"].startswith(metric.name)


def test_clips_that_share_no_motion_have_none(tmp_path):
    clips = write_clips(tmp_path / "real", {"a": moving(7, 60, 60)})
    found = evaluate(clips, clips, kind="unconditional", only=[], also=[m.name for m in VARIANTS])["metrics"]
    assert all(found[metric.name]["value"] is None and found[metric.name]["reason"] for metric in VARIANTS)


@pytest.mark.parametrize("metric", METRICS)
def test_the_documentation_has_every_definition(metric):
    text = (Path(__file__).parents[2] / "docs/METRICS.md").read_text("utf-8")
    row = next(row for row in rows(text) if row[0] == f"`{metric.name}`")
    assert row[1] == f"`{metric.definition.format(flow='FLOW', dims='DIMS')}`"
    assert row[-1] == metric.better and metric.better in BETTER


def rows(text):
    return [[cell.strip() for cell in line.replace("\\|", "").strip("|").split("|")]
            for line in text.splitlines() if line.startswith("|")]


def test_the_readme_tells_the_same_directions():
    text = (Path(__file__).parents[2] / "README.md").read_text("utf-8").split("## Metrics")[1]
    told = {}
    for titles, _, better in (row for row in rows(text) if len(row) == 3):
        ways = better.split(", ") * (1 if "," in better else len(titles.split(", ")))
        told |= dict(zip(titles.split(", "), ways, strict=True))
    assert {title: told.get(title) for title in (metric.title for metric in METRICS if metric not in VARIANTS)} == {
        metric.title: metric.better for metric in METRICS if metric not in VARIANTS}
