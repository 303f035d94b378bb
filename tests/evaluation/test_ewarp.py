from itertools import pairwise

import numpy as np
import pytest

from tests.evaluation.helpers import moving, noisy, texture
from timecyclegan.evaluation.base import Step
from timecyclegan.evaluation.compute_ewarp import EWarp, e_warp
from timecyclegan.evaluation.flow import TrueFlow, Warp

ALL = np.ones((24, 32), bool)


def bilinear(image, x, y):
    """One pixel of a float image (H, W, C), straight from the definition of bilinear interpolation."""
    height, width = image.shape[:2]
    x, y = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
    x0, y0 = min(int(x), width - 2), min(int(y), height - 2)
    a, b = x - x0, y - y0
    return ((1 - a) * (1 - b) * image[y0, x0] + a * (1 - b) * image[y0, x0 + 1]
            + (1 - a) * b * image[y0 + 1, x0] + a * b * image[y0 + 1, x0 + 1])


def naive(previous, frame, backward, forward=None, visible=None):
    """E_warp of one pair, pixel by pixel; (error, number of pixels that count)."""
    height, width = frame.shape[:2]
    total, count = 0.0, 0
    for y in range(height):
        for x in range(width):
            back = backward[y, x].astype(float)
            px, py = x + back[0], y + back[1]
            if not (0 <= px <= width - 1 and 0 <= py <= height - 1):
                continue
            if visible is not None:
                seen = visible[y, x]
            else:
                there = bilinear(forward.astype(float), px, py)
                seen = ((there + back) ** 2).sum() <= 0.01 * ((there ** 2).sum() + (back ** 2).sum()) + 0.5
            if seen:
                total += ((bilinear(previous / 255, px, py) - frame[y, x] / 255) ** 2).sum()
                count += 1
    return total / (3 * count), count


def flows(seed, sigma):
    rng = np.random.default_rng(seed)
    backward = rng.normal(1, 1, (24, 32, 2))
    return -backward + rng.normal(0, sigma, backward.shape), backward


def test_estimated_flow_agrees_with_the_naive_loop():
    forward, backward = flows(seed=0, sigma=0.3)
    previous, frame = texture(24, 32, 1), texture(24, 32, 2)
    warp = Warp.from_estimates(forward, backward)
    expected, count = naive(previous, frame, backward, forward=forward)
    assert 20 < count < 700  # some pixels count and some do not
    assert warp.mask.sum() == count
    assert warp.error(previous, frame) == pytest.approx(expected, rel=1e-12)


def test_true_flow_agrees_with_the_naive_loop():
    _, backward = flows(seed=3, sigma=0)
    visible = np.random.default_rng(4).uniform(size=(24, 32)) < 0.5
    previous, frame = texture(24, 32, 1), texture(24, 32, 2)
    warp = Warp(backward, visible)
    expected, count = naive(previous, frame, backward, visible=visible)
    assert warp.mask.sum() == count
    assert warp.error(previous, frame) == pytest.approx(expected, rel=1e-12)


def test_true_integer_motion_leaves_nothing():
    previous, frame = moving(2, step=3)
    warp = Warp(np.full((24, 32, 2), (3.0, 0.0)), ALL)
    assert warp.error(previous, frame) == 0
    assert not warp.mask[:, -3:].any() and warp.mask[:, :-3].all()  # what came in at the right has no past
    assert Warp(np.full((24, 32, 2), (-3.0, 0.0)), ALL).error(previous, frame) > 1e-3


def test_known_difference_under_zero_flow():
    still = TrueFlow(np.zeros((24, 32, 2)), ALL)
    gray = [np.full((24, 32, 3), level, np.uint8) for level in (100, 151)]
    assert e_warp(*gray, *gray, still).fake == pytest.approx((51 / 255) ** 2)
    red = gray[0].copy()
    red[..., 0] = 151
    assert e_warp(*gray, gray[0], red, still).fake == pytest.approx((51 / 255) ** 2 / 3)


def test_fake_equal_to_real_is_at_the_floor():
    previous, frame = moving(2)
    fake, real = e_warp(previous, frame, previous, frame)
    assert fake == real
    worse, floor = e_warp(previous, frame, *noisy([previous, frame]))
    assert floor == real and worse > floor


@pytest.mark.parametrize("truth", [None, TrueFlow(np.full((24, 32, 2), (1.0, 0.0)), ALL)])
def test_class_agrees_with_function(truth):
    real = moving(3)
    fake = noisy(real)
    metric = EWarp()
    metric.start("a")
    metric.add(metric.measure(Step(real[0], fake[0])))
    for t in (1, 2):
        metric.add(metric.measure(Step(real[t], fake[t], real[t - 1], fake[t - 1], truth)))
    expected = [e_warp(real[t - 1], real[t], fake[t - 1], fake[t], truth) for t in (1, 2)]
    result = metric.result()
    assert result.per_frame["a"] == [None, *(pair.fake for pair in expected)]
    assert result.value == pytest.approx(sum(pair.fake for pair in expected) / 2)
    assert result.real == pytest.approx(sum(pair.real for pair in expected) / 2)


def test_mean_is_over_sequences_and_empty_masks_are_left_out():
    gray = {level: np.full((24, 32, 3), level, np.uint8) for level in (0, 51, 102)}
    seen, unseen = (TrueFlow(np.zeros((24, 32, 2)), mask) for mask in (ALL, ~ALL))
    metric = EWarp()
    for name, levels, flow in (("a", (0, 51, 0, 51), seen), ("b", (0, 102), seen), ("c", (0, 51), unseen)):
        metric.start(name)
        metric.add(metric.measure(Step(gray[0], gray[levels[0]])))
        for before, now in pairwise(levels):
            metric.add(metric.measure(Step(gray[0], gray[now], gray[0], gray[before], flow)))
    result = metric.result()
    assert result.per_sequence == {"a": pytest.approx(0.04), "b": pytest.approx(0.16), "c": None}
    assert result.value == pytest.approx(0.10)  # over pairs it would be 0.07
    assert (result.pairs, result.skipped) == (5, 1) and "visible" in result.skipped_because
