"""Motion-following against closed forms, and against the definition written out once more, pixel by pixel."""
import math

import numpy as np
import pytest

from tests.evaluation.helpers import moving, noisy, texture, write_clips, write_flow
from tests.evaluation.test_ewarp import bilinear
from timecyclegan.evaluation.compute_metrics import evaluate
from timecyclegan.evaluation.compute_motion import Motion, motion_following
from timecyclegan.evaluation.flow import Warp


def grains(height, width, seed=0, sigma=30):
    """uint8 (H, W, 3): gray of 128 with independent Gaussian noise on each pixel."""
    noise = np.random.default_rng(seed).normal(128, sigma, (height, width, 1)).round()
    return np.repeat(np.clip(noise, 0, 255), 3, axis=2).astype(np.uint8)


def steady(height, width, dx, dy, border=0):
    """The warp of a scene that moves by whole pixels, without the pixels whose blur meets the border of a frame."""
    visible = np.zeros((height, width), bool)
    visible[border:height - border, border:width - border] = True
    return Warp(np.full((height, width, 2), (dx, dy), float), visible)


def two_views(image, dx, dy, height, width):
    """What a window sees before and after a step: what the second shows at x, the first shows at x + (dx, dy)."""
    return image[dy:dy + height, dx:dx + width], image[2 * dy:2 * dy + height, 2 * dx:2 * dx + width]


def test_what_moves_as_the_flow_says_follows_it_perfectly():
    first, second = two_views(grains(70, 90), 3, 2, 60, 70)
    warp = steady(60, 70, 3, 2, border=12)  # the blur reaches 8 pixels, the motion 3
    assert motion_following(first, second, warp) == pytest.approx(1, abs=1e-12)
    assert motion_following(255 - first, second, warp) == pytest.approx(-1, abs=1e-12)
    # Neither contrast nor brightness counts, nor what is smoother than the blur.
    ramp = (second // 4 + np.arange(70, dtype=np.uint8)[:, None])
    assert motion_following(first // 4, ramp, warp) == pytest.approx(1, abs=0.02)
    assert motion_following(first, second, steady(60, 70, 2, 2, border=12)) < 0.1  # a pixel beside it


@pytest.mark.parametrize("sigma", [15, 30, 60])
def test_new_noise_lowers_it_as_its_share_of_the_variance(sigma):
    """A texture of variance S and noise of variance N, both white, leave S / (S + N) after any filter."""
    first, second = two_views(grains(210, 210, sigma=30), 3, 0, 200, 200)
    rng = np.random.default_rng(5)
    sides = [np.clip(side / 2 + 64 + rng.normal(0, sigma / 2, (200, 200, 1)), 0, 255).round().astype(np.uint8)
             for side in (first, second)]
    found = motion_following(*sides, steady(200, 200, 3, 0, border=12))
    assert found == pytest.approx(30 ** 2 / (30 ** 2 + sigma ** 2), abs=0.025)


def test_what_stands_still_while_the_scene_moves_does_not_follow():
    texture = grains(200, 200)
    assert motion_following(texture, texture, steady(200, 200, 11, 4, border=12)) == pytest.approx(0, abs=0.025)


def test_only_pixels_that_move_by_more_than_one_count():
    """Where the scene moves the clip follows, elsewhere it flickers."""
    first, second = two_views(grains(60, 90), 3, 0, 60, 80)
    warp = steady(60, 80, 3, 0, border=12)
    warp.flow[:30] = (0.6, 0.8)  # by one, and no more
    second = second.copy()
    second[:22] = grains(22, 80, seed=9)  # whose blur reaches down to row 29
    assert motion_following(first, second, warp) == pytest.approx(1, abs=1e-12)
    warp.flow[:30] = (0.61, 0.8)
    assert motion_following(first, second, warp) < 0.8


@pytest.mark.parametrize(("pixels", "defined"), [(49, False), (50, True)])
def test_few_pixels_have_no_correlation(pixels, defined):
    clip = moving(2, step=2)
    visible = np.arange(24 * 32).reshape(24, 32) % 32 < 25
    visible &= np.cumsum(visible).reshape(24, 32) <= pixels
    found = motion_following(*clip, Warp(np.full((24, 32, 2), (2.0, 0.0)), visible))
    assert (found is not None) == defined


def test_a_side_without_detail_has_none():
    flat, clip, warp = np.full((24, 32, 3), (9, 200, 77), np.uint8), moving(2, step=2), steady(24, 32, 2, 0)
    assert motion_following(flat, clip[1], warp) is motion_following(clip[0], flat, warp) is None
    assert motion_following(flat, flat, warp) is None


def naive(previous, frame, flow, visible):
    """The correlation with loops and no library, and the number of pixels it runs over."""
    height, width = visible.shape
    kernel = [math.exp(-(k ** 2) / 8) for k in range(-8, 9)]  # of sigma 2, cut at four of it
    kernel = [weight / sum(kernel) for weight in kernel]

    def inside(place, size):  # the border's pixels once more, in reverse
        return -place - 1 if place < 0 else 2 * size - 1 - place if place >= size else place

    def detail(image):
        luma = (image * (0.299, 0.587, 0.114)).sum(axis=2) / 255
        along = [[sum(kernel[k + 8] * luma[y, inside(x + k, width)] for k in range(-8, 9)) for x in range(width)]
                 for y in range(height)]
        return np.array([[luma[y, x] - sum(kernel[k + 8] * along[inside(y + k, height)][x] for k in range(-8, 9))
                          for x in range(width)] for y in range(height)])[..., None]

    earlier, later, pairs = detail(previous), detail(frame), []
    for y in range(height):
        for x in range(width):
            dx, dy = flow[y, x]
            within = 0 <= x + dx <= width - 1 and 0 <= y + dy <= height - 1
            if visible[y, x] and within and math.sqrt(dx * dx + dy * dy) > 1:
                pairs.append((bilinear(earlier, x + dx, y + dy)[0], later[y, x, 0]))
    n = len(pairs)
    mean = [sum(pair[side] for pair in pairs) / n for side in (0, 1)]
    moment = [[sum((pair[i] - mean[i]) * (pair[j] - mean[j]) for pair in pairs) for j in (0, 1)] for i in (0, 1)]
    return moment[0][1] / math.sqrt(moment[0][0] * moment[1][1]), n


def test_it_agrees_with_the_naive_loop():
    rng = np.random.default_rng(3)
    flow, visible = rng.normal((1.2, 0.4), 0.7, (22, 26, 2)), rng.uniform(size=(22, 26)) < 0.8
    previous, frame = noisy(moving(2, 22, 26, seed=4), sigma=30)
    expected, count = naive(previous, frame, flow, visible)
    assert 100 < count < 400 and 0.1 < abs(expected) < 0.9
    assert motion_following(previous, frame, Warp(flow, visible)) == pytest.approx(expected, rel=1e-9)


# --- in an evaluation

def evaluated(tmp_path, real, fake, **options):
    sides = [write_clips(tmp_path / side, clips) for side, clips in (("real", real), ("fake", fake))]
    return evaluate(*sides, only=["motion"], **options)["metrics"]["motion"]


def test_true_flow_and_the_means_of_sequences(tmp_path):
    """Two clips of different lengths weigh the same, by the real clip's flow and mask; the first pair has its own."""
    real = {name: moving(frames, 40, 48, seed, step=2) for seed, (name, frames) in enumerate({"a": 4, "b": 2}.items())}
    visible = np.zeros((40, 48), bool)
    visible[8:32, 8:37] = True
    for name, clip in real.items():
        for t in range(1, len(clip)):
            write_flow(tmp_path / f"flow/{name}/{t:04}.npz", np.full((40, 48, 2), (2.0, 0.0)), visible)
    fake = {"a": [*noisy(real["a"][:2], 20), *real["a"][2:]], "b": [texture(40, 48, 7)] * 2}
    found = evaluated(tmp_path, real, fake, flow_dir=tmp_path / "flow")
    warp = Warp(np.full((40, 48, 2), (2.0, 0.0)), visible)
    each = {name: [motion_following(*clip[t - 1:t + 1], warp) for t in range(1, len(clip))]
            for name, clip in fake.items()}
    assert found["per_frame"] == {name: [None, *pairs] for name, pairs in each.items()}
    assert found["value"] == pytest.approx((np.mean(each["a"]) + each["b"][0]) / 2, rel=1e-12)
    assert found["real"] == pytest.approx(1, abs=1e-9)
    assert (found["definition"], found["flow"]) == ("motion-detail-true-flow-1", "true-flow")
    assert found["better"] == "closer to the real clip"


def test_a_frozen_clip_and_a_still_one(tmp_path):
    """Flow is the real clip's own: the source's where something was translated."""
    real = {"a": moving(4, 48, 64, step=3)}
    frozen = {"a": [grains(48, 64)] * 4}
    for kind, name in (("paired", "motion-detail-farneback-1"), ("unpaired", "motion-detail-farneback-1-source")):
        found = evaluated(tmp_path / kind, real, frozen, kind=kind)
        assert abs(found["value"]) < 0.15 and 0.8 < found["real"] <= 1
        assert found["definition"] == name
    still = evaluated(tmp_path / "still", frozen, real)
    assert still["value"] is still["real"] is None and still["skipped"] == still["pairs"] == 3
    assert still["reason"] == Motion.undefined and "fewer than 50 pixels move by more than 1" in still["reason"]
