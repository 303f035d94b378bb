"""The batched method against the naive one: values and gradients, float64, 1e-10."""
import itertools
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from tests import naive
from timecyclegan.losses.timecycle import draw_returns, motion_warp_loss, timecycle_loss, walk

C, C_C, N, H, W = 2, 3, 2, 6, 7


def motion_model(channels):
    """Small, nonlinear and per-sample normalised, as the method's motion models are."""
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3, padding=1), nn.InstanceNorm2d(4), nn.Tanh(), nn.Conv2d(4, C, 3, padding=1)
    ).double()


@pytest.fixture(params=["shared", "separate"])
def models(request):
    def make(channels):
        torch.manual_seed(1)
        backward = motion_model(channels)
        return backward, backward if request.param == "shared" else motion_model(channels)

    return make


def video(length, channels, seed=0):
    values = torch.randn(N, length, channels, H, W, dtype=torch.double, generator=torch.Generator().manual_seed(seed))
    return values.requires_grad_(True)


def assert_same(ours, oracle, inputs):
    """Equal values and equal gradients with respect to every input."""
    torch.testing.assert_close(ours, oracle, rtol=0, atol=1e-10)
    for mine, theirs in zip(
        torch.autograd.grad(ours, inputs, allow_unused=True),
        torch.autograd.grad(oracle, inputs, allow_unused=True),
        strict=True,
    ):
        assert (mine is None) == (theirs is None)
        if mine is not None:
            torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)


def parameters(*modules):
    return list(dict.fromkeys(p for m in modules for p in m.parameters()))


@pytest.mark.parametrize("distance", ["l1", "l2"])
@pytest.mark.parametrize("length", range(1, 8))
def test_conditional_equals_oracle(models, length, distance):
    B, F = models(C + C_C)
    x, c = video(length, C), video(length, C_C, seed=1)
    cycle = walk(x, B, F, condition=c)
    if length < 2:
        assert cycle is None
        return
    oracle = naive.conditional_loss(x.unbind(1), c.unbind(1), B, F, distance)
    assert_same(timecycle_loss(cycle, distance), oracle, [x, c, *parameters(B, F)])
    images = naive.conditional_cycle(x.unbind(1), c.unbind(1), B, F)
    for ours, theirs in zip(cycle.backward_images() + cycle.returned_images(), images, strict=True):
        torch.testing.assert_close(ours, torch.stack(theirs, 1), rtol=0, atol=1e-10)


@pytest.mark.parametrize("distance", ["l1", "l2"])
@pytest.mark.parametrize("sharpness", [0.5, 1.0])
def test_sharpness_equals_oracle(models, sharpness, distance):
    """Each sample by itself: the plain loss, over its own detail to the power."""
    B, F = models(C + C_C)
    x, c = video(4, C), video(4, C_C, seed=1)
    oracle = 0
    for n in range(N):
        mine, condition = ([frame[n : n + 1] for frame in clip.unbind(1)] for clip in (x, c))
        scale = naive.kept_sharp(x.unbind(1), n, distance, sharpness)
        oracle = oracle + naive.conditional_loss(mine, condition, B, F, distance) * scale / N
    cycle = walk(x, B, F, condition=c)
    assert_same(timecycle_loss(cycle, distance, sharpness), oracle, [x, c, *parameters(B, F)])
    assert timecycle_loss(cycle, distance, sharpness).item() == timecycle_loss(cycle, distance).item()


@pytest.mark.parametrize(("distance", "degree"), [("l1", 1), ("l2", 2)])
def test_less_contrast_gains_nothing_at_sharpness_1(distance, degree):
    """Where the motion model is linear, the loss is homogeneous in the sequence, and by Euler's theorem its derivative
    along the contrast of the sequence is its degree times its value; with sharpness k it is (1 - k) of that."""
    torch.manual_seed(1)
    linear = nn.Conv2d(C, C, 3, padding=1, bias=False).double()
    x = video(5, C)
    for sharpness in (0.0, 0.5, 1.0, 2.0):
        loss = timecycle_loss(walk(x, linear, linear), distance, sharpness)
        (gradient,) = torch.autograd.grad(loss, x)
        along = (gradient * x).sum().item()
        assert along == pytest.approx(degree * (1 - sharpness) * loss.item(), abs=0.01 * loss.item())  # _FLAT's share


@pytest.mark.parametrize("size", [(H, W), (H, 1), (1, 1)])
def test_sharpness_of_a_flat_clip_is_no_matter(size):
    x = torch.zeros(1, 4, C, *size, dtype=torch.double, requires_grad=True)
    loss = timecycle_loss(walk(x, lambda last: last + 0.5, lambda last: last + 0.5), "l1", 1.0)
    (gradient,) = torch.autograd.grad(loss, x)
    assert loss.item() > 0 and gradient.isfinite().all()


def test_sharpness_does_not_overflow_in_half_precision():
    """At the scale that float16 training begins with, and with little detail, as a clip has it."""
    gradients = []
    for kind in (torch.float64, torch.float16):
        x = (video(4, C).detach() * 0.02).to(kind).requires_grad_(True)
        loss = timecycle_loss(walk(x, lambda last: last * 0.5 + 0.1, lambda last: last * 0.5 + 0.1), "l1", 1.0)
        gradients += torch.autograd.grad(loss * 65536, x)
    torch.testing.assert_close(gradients[1].double(), gradients[0], rtol=0.02, atol=0.02 * gradients[0].abs().max())


@pytest.mark.parametrize("distance", ["l1", "l2"])
@pytest.mark.parametrize("history", [1, 2])
@pytest.mark.parametrize("length", range(1, 8))
def test_unconditional_equals_oracle(models, length, history, distance):
    """Also the type timerecycle, which is this one with given networks."""
    B, F = models(C * history)
    x = video(length, C)
    cycle = walk(x, B, F, history=history)
    if length <= history:
        assert cycle is None
        return
    oracle = naive.unconditional_cycle if history == 2 else naive.unconditional_cycle_history_1
    p, rl = oracle(x.unbind(1), B, F)
    assert_same(timecycle_loss(cycle, distance), naive.returning_loss(x.unbind(1), p, rl, distance),
                [x, *parameters(B, F)])


@pytest.mark.parametrize("length", range(1, 8))
def test_pingpong_equals_oracle(length):
    torch.manual_seed(1)
    G = motion_model(C + C_C)
    x, c = video(length, C), video(length, C_C, seed=1)
    cycle = walk(x, G, condition=c)
    if length < 2:
        assert cycle is None
        return
    assert cycle.skips is None and cycle.reconstructions is None
    assert_same(timecycle_loss(cycle), naive.pingpong_loss(x.unbind(1), c.unbind(1), G), [x, c, *parameters(G)])


@pytest.mark.parametrize("length", range(1, 8))
def test_motion_warp_equals_oracle(models, length):
    B, F = models(C + C_C)
    x, c = video(length, C), video(length, C_C, seed=1)
    loss = motion_warp_loss(x, B, F, condition=c)
    if length < 2:
        assert loss is None
        return
    assert_same(loss, naive.motion_warp_loss(x.unbind(1), c.unbind(1), B, F), [x, *parameters(B, F)])


@pytest.mark.parametrize("length", range(3, 8))
def test_motion_warp_with_two_frames_of_history(models, length):
    B, F = models(2 * C)
    x = video(length, C)
    assert_same(motion_warp_loss(x, B, F, history=2), naive.motion_warp_loss_history_2(x.unbind(1), B, F), [x])


def test_return_trip_takes_one_call_per_frame():
    calls = []

    def forward(z):
        calls.append(z.shape[0])
        return z[:, :C]

    K = 5
    walk(video(K + 1, C), lambda z: z[:, :C], forward, condition=video(K + 1, C_C))
    assert len(calls) == K
    # chains 1, 2, ..., K, the K - 1 skips with the last of them
    assert calls == [N * n for n in (1, 2, 3, 4, 5 + 4)]


def test_perfect_motion_models_have_no_loss():
    """x_t = x_0 + t: the exact model of a constant change arrives where it started."""
    x = torch.arange(5.0).view(1, 5, 1, 1, 1).expand(1, 5, C, H, W)
    cycle = walk(x, lambda z: 2 * z[:, C:] - z[:, :C], lambda z: 2 * z[:, C:] - z[:, :C], history=2)
    assert timecycle_loss(cycle).item() == 0
    late = walk(x, lambda z: 2 * z[:, C:] - z[:, :C] + 1, lambda z: z[:, C:] + 1, history=2)
    assert timecycle_loss(late).item() > 0


@pytest.mark.parametrize(("history", "condition"), [(1, None), (2, None), (1, video(3, C_C))])
def test_a_motion_model_that_makes_no_frame(history, condition):
    """A distance would broadcast one channel, or a smaller picture, without a word."""
    for wrong in (lambda z: z[:, -1:], lambda z: z[:, -C:, :1]):
        with pytest.raises(ValueError, match=r"a motion model makes .*, a frame is \(2, 6, 7\)"):
            walk(video(3, C), wrong, None, condition, history)


# ---- a walk that returns from some frames

STRETCHES = [(4, 2), (5, 2), (4, 3), (3, 1)]


def all_draws(length, k):
    """Every outcome of the draw, each as probable as any other: r_j from 0 .. L-1, t_j = floor((j L + r_j) / K)."""
    return [[Fraction(j * length + offset, k).__floor__() for j, offset in enumerate(offsets)]
            for offsets in itertools.product(range(length), repeat=k)]  # fmt: skip


@pytest.mark.parametrize("kind", ["conditional", "unconditional", "one frame of history"])
@pytest.mark.parametrize(("length", "k"), STRETCHES)
def test_returning_from_some_frames_is_right_on_average(models, kind, length, k):
    """Loss and gradients, averaged over all draws, are those of the whole walk; each draw has images of the whole."""
    history, conditions = (2, 0) if kind == "unconditional" else (1, C_C if kind == "conditional" else 0)
    B, F = models(C * history + conditions)
    x = video(length + history, C)
    c = video(length + history, C_C, seed=1) if conditions else None
    inputs = [x, *([c] if conditions else []), *parameters(B, F)]

    def found(returns):
        cycle = walk(x, B, F, c, history, None if returns is None else torch.tensor(returns))
        loss = timecycle_loss(cycle)
        return cycle, [loss, *torch.autograd.grad(loss, inputs)]

    whole, expected = found(None)
    draws = all_draws(length, k)
    mean = [torch.zeros_like(value) for value in expected]
    for returns in draws:
        cycle, values = found(returns)
        for ours, theirs in zip(cycle.returned_images(), whole.returned_images(), strict=True):
            torch.testing.assert_close(ours, theirs[:, returns], rtol=0, atol=1e-12)
        torch.testing.assert_close(cycle.predictions, whole.predictions, rtol=0, atol=0)
        mean = [total + value / len(draws) for total, value in zip(mean, values, strict=True)]
    for ours, theirs in zip(mean, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_drawn_frames_are_of_seed_and_step_and_as_probable_as_they_should_be():
    length, k, steps = 5, 2, 4000
    draws = np.stack([draw_returns(3, step, length, k) for step in range(steps)])
    assert draws.dtype == np.int64 and draws.shape == (steps, k)
    assert (draws == np.stack([draw_returns(3, step, length, k) for step in range(steps)])).all()
    assert (draws != np.stack([draw_returns(4, step, length, k) for step in range(steps)])).mean() > 0.5
    expected = {outcome: count / length**k for outcome, count in Counter(map(tuple, all_draws(length, k))).items()}
    counted = Counter(map(tuple, draws.tolist()))
    assert counted.keys() == expected.keys()
    assert sum((counted[o] - steps * p) ** 2 / (steps * p) for o, p in expected.items()) < 30  # chi^2, at most 11 free
    assert (draw_returns(0, 0, 7, 7) == np.arange(7)).all()


def test_what_is_computed_depends_on_the_number_of_returns_alone():
    """So that a captured graph serves every step: the same calls for all draws, and no value is read on the host."""

    def calls(device, returns):
        seen = []

        def forward(z):
            seen.append(z.shape[0])
            return z[:, -C:]

        x, c = (torch.zeros(1, 7, channels, H, W, device=device) for channels in (C, C_C))
        walk(x, lambda z: z[:, -C:], forward, c, returns=torch.tensor(returns, device=device))
        return seen

    # stretches of two frames: one chain is there from frame 0, two from frame 2, three from frame 4; with 3 skips
    assert calls("cpu", [0, 2, 4]) == calls("cpu", [1, 3, 5]) == calls("meta", [1, 2, 5]) == [1, 1, 2, 2, 3, 3 + 3]


@pytest.mark.parametrize("count", [0, 4])
def test_more_returns_than_frames(count):
    with pytest.raises(ValueError, match=f"a walk of 3 frame.s. returns from 1 to 3 of them, not {count}"):
        walk(video(4, C), lambda z: z, lambda z: z, returns=torch.zeros(count, dtype=torch.int64))
