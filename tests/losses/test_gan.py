"""Adversarial objectives against their closed forms, and the freezing of discriminators."""
import math

import pytest
import torch
from torch import nn

from timecyclegan.losses import Term, total
from timecyclegan.losses.gan import frozen, gan_loss, gradient_penalty

PREDICTION = (0.5, -1.0, 2.0, 0.0)


def softplus(x):
    return math.log1p(math.exp(x))


@pytest.mark.parametrize(
    ("mode", "is_real", "expected"),
    [
        ("lsgan", True, (0.25 + 4 + 1 + 1) / 4),
        ("lsgan", False, (0.25 + 1 + 4 + 0) / 4),
        ("vanilla", True, sum(softplus(-x) for x in PREDICTION) / 4),
        ("vanilla", False, sum(softplus(x) for x in PREDICTION) / 4),
        ("wgangp", True, -1.5 / 4),
        ("wgangp", False, 1.5 / 4),
    ],
)
def test_closed_forms(mode, is_real, expected):
    prediction = torch.tensor(PREDICTION, dtype=torch.double).view(2, 1, 1, 2)
    loss = gan_loss(prediction, is_real, mode)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("mode", ["lsgan", "vanilla", "wgangp"])
@pytest.mark.parametrize("is_real", [True, False])
def test_gradients(mode, is_real):
    prediction = torch.randn(2, 1, 2, 3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p: gan_loss(p, is_real, mode), prediction)


def test_lsgan_is_the_default():
    prediction = torch.full((2, 3), 3.0)
    assert gan_loss(prediction, True).item() == 4
    assert gan_loss(prediction, False).item() == 9


def test_unknown_mode_names_the_known_ones():
    with pytest.raises(ValueError, match=r"lsgan, vanilla, wgangp.*'hinge'"):
        gan_loss(torch.zeros(1), True, "hinge")


class Linear(nn.Module):
    """D(z) = <w, z>, whose gradient is w everywhere."""

    def __init__(self, w):
        super().__init__()
        self.w = nn.Parameter(w)

    def forward(self, z):
        return (z * self.w).sum(dim=(1, 2, 3))


@pytest.mark.parametrize("norm", [0.25, 1.0, 3.0])
def test_penalty_of_a_linear_discriminator(norm):
    w = torch.randn(2, 3, 4, dtype=torch.double)
    network = Linear(norm * w / w.norm())
    real, fake = torch.randn(2, 5, 2, 3, 4, dtype=torch.double)
    penalty = gradient_penalty(network, real, fake)
    assert penalty.item() == pytest.approx((norm - 1) ** 2, abs=1e-12)
    # d/dw (|w| - 1)^2 = 2 (|w| - 1) w / |w|
    (gradient,) = torch.autograd.grad(penalty, network.w)
    torch.testing.assert_close(gradient, 2 * (norm - 1) * network.w.detach() / norm, rtol=0, atol=1e-10)


@pytest.mark.parametrize("patches", [1, 36])
def test_penalty_is_that_of_the_mean_over_patches(patches):
    """Each patch says <w, z>, and so does their mean, however many there are; the sum's slope would be |w| for each."""
    w = torch.randn(3, 4, 4, dtype=torch.double)
    w *= 3 / w.norm()
    real, fake = torch.randn(2, 5, 3, 4, 4, dtype=torch.double)

    def network(z):
        return (z * w).sum(dim=(1, 2, 3), keepdim=True).expand(-1, patches, 1, 1)

    assert gradient_penalty(network, real, fake).item() == pytest.approx(4, abs=1e-12)
    between = torch.zeros(1, 3, 4, 4, dtype=torch.double, requires_grad=True)
    (slope,) = torch.autograd.grad(gan_loss(network(between), False, "wgangp"), between)
    assert slope.norm().item() == pytest.approx(3, abs=1e-12)  # the critic that is trained


def test_penalty_is_taken_between_real_and_fake_for_each_sample():
    """D(z) = |z|^2 / 2 has the gradient z: the penalty shows at which point it was taken."""
    real, fake = torch.ones(64, 1, 1, 1, dtype=torch.double), torch.full((64, 1, 1, 1), 3.0, dtype=torch.double)
    seen = []

    def network(z):
        seen.append(z)
        return z.square() / 2

    penalty = gradient_penalty(network, real, fake)
    points = seen[0].detach().flatten()
    assert points.min() >= 1 and points.max() <= 3 and points.std() > 0.3  # uniform on [1, 3] has 0.58
    assert penalty.item() == pytest.approx((points - 1).square().mean().item(), abs=1e-12)


def test_penalty_gives_fake_and_real_no_gradient():
    network = nn.Conv2d(1, 1, 2).double()
    real, fake = (torch.randn(2, 1, 3, 3, dtype=torch.double, requires_grad=True) for _ in range(2))
    gradient_penalty(network, real, fake).backward()
    assert real.grad is None and fake.grad is None
    assert network.weight.grad.abs().sum() > 0


def test_penalty_gradcheck():
    torch.manual_seed(0)
    w = torch.randn(3, 2, 2, 2, dtype=torch.double, requires_grad=True)
    real, fake = torch.randn(2, 2, 2, 4, 4, dtype=torch.double)

    def penalty(weight):
        torch.manual_seed(1)  # the points between real and fake are drawn anew in every call
        return gradient_penalty(lambda z: torch.tanh(nn.functional.conv2d(z, weight)), real, fake)

    assert torch.autograd.gradcheck(penalty, w)


def test_frozen_passes_gradients_through_but_not_in():
    network = nn.Conv2d(1, 1, 3)
    x = torch.randn(1, 1, 5, 5, requires_grad=True)
    with frozen(network):
        loss = network(x).sum()
    loss.backward()  # after the block: what counts is where the graph was made
    assert x.grad.abs().sum() > 0
    assert all(p.grad is None for p in network.parameters())
    assert all(p.requires_grad for p in network.parameters())
    network(x).sum().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_frozen_restores_flags_as_they_were():
    network = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    network[0].requires_grad_(False)
    before = [p.requires_grad for p in network.parameters()]
    with pytest.raises(RuntimeError, match="inside"), frozen(network):
        assert not any(p.requires_grad for p in network.parameters())
        raise RuntimeError("inside")
    assert [p.requires_grad for p in network.parameters()] == before == [False, False, True, True]


def test_total_is_weighted():
    assert total({"a": Term(torch.tensor(2.0), 0.5), "b": Term(torch.tensor(3.0))}).item() == 4
    assert total({}) == 0
