"""Adversarial objectives and criteria against their closed forms."""
import functools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from timecyclegan.losses import Term, total
from timecyclegan.losses.gan import gan_loss, gradient_penalty, objective
from timecyclegan.util.errors import UserError

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
        ("hinge", True, (0.5 + 2 + 0 + 1) / 4),
        ("hinge", False, (1.5 + 0 + 3 + 1) / 4),
    ],
)
def test_closed_forms(mode, is_real, expected):
    prediction = torch.tensor(PREDICTION, dtype=torch.double).view(2, 1, 1, 2)
    loss = gan_loss(prediction, is_real, mode)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("mode", ["lsgan", "vanilla", "wgangp", "hinge"])
@pytest.mark.parametrize("is_real", [True, False])
def test_gradients(mode, is_real):
    prediction = torch.randn(2, 1, 2, 3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p: gan_loss(p, is_real, mode), prediction)
    assert torch.autograd.gradcheck(lambda p: gan_loss(p, is_real, mode, for_discriminator=False), prediction)


def test_lsgan_is_the_default():
    prediction = torch.full((2, 3), 3.0)
    assert gan_loss(prediction, True).item() == 4
    assert gan_loss(prediction, False).item() == 9


def test_unknown_mode_names_the_known_ones():
    with pytest.raises(ValueError, match=r"lsgan, vanilla, wgangp, hinge.*'hing'"):
        gan_loss(torch.zeros(1), True, "hing")


# ---- criteria as people have them

REAL, FAKE = torch.tensor(PREDICTION).double(), torch.tensor((0.25, -2.0, 1.5)).double()


def relu(x):
    return max(0.0, x)


def mean(f, values):
    return sum(f(value) for value in values.tolist()) / len(values)


# The generator's and the discriminator's loss, by hand: of Lim and Ye 2017, eq. 2 and 3; the latter's half.
HINGE = (0.25 / 3, (mean(lambda p: relu(1 - p), REAL) + mean(lambda p: relu(1 + p), FAKE)) / 2)
LSGAN = (mean(lambda p: (p - 1) ** 2, FAKE), (mean(lambda p: (p - 1) ** 2, REAL) + mean(lambda p: p * p, FAKE)) / 2)
L1 = (mean(lambda p: abs(p - 1), FAKE), (mean(lambda p: abs(p - 1), REAL) + mean(abs, FAKE)) / 2)
VANILLA = (mean(lambda p: softplus(-p), FAKE),
           (mean(lambda p: softplus(-p), REAL) + mean(softplus, FAKE)) / 2)  # fmt: skip


class Sided(nn.Module):
    """As in SPADE: (input, target_is_real, for_discriminator)."""

    def forward(self, input, target_is_real, for_discriminator=True):
        if not for_discriminator:
            assert target_is_real
            return -input.mean()
        return -torch.min((input if target_is_real else -input) - 1, torch.zeros_like(input)).mean()


class Called(Sided):
    """SPADE's has no ``forward``."""

    forward = nn.Module.forward

    def __call__(self, input, target_is_real, for_discriminator=True):
        return Sided.forward(self, input, target_is_real, for_discriminator)


def by_disc(x, is_real, is_disc=False):
    return F.relu(1 + (-x if is_real else x)).mean() if is_disc else -x.mean()


def for_generator(x, is_real, *, for_generator):
    return Sided()(x, is_real, not for_generator)


def hinge_G(fake_pred):
    return -fake_pred  # a value for each sample


def hinge_D(prediction, is_real):
    return F.relu(1 - prediction if is_real else 1 + prediction)


class Update(nn.Module):
    """As in imaginaire."""

    def forward(self, dis_output, t_real, dis_update=True):
        return Sided()(dis_output, t_real, dis_update)


def tensors_only(prediction, target):
    """As scripted ones."""
    if not isinstance(target, torch.Tensor):
        raise RuntimeError("Expected a value of type 'Tensor'")
    return (prediction - target).square()


def generated(d_r, d_g):
    return whole(d_r, d_g)


def halves(dis_fake, dis_real):
    """As in BigGAN: two parts, to be added."""
    return F.relu(1 - dis_real).mean() / 2, F.relu(1 + dis_fake).mean() / 2


def whole(logits_real, logits_fake):
    return 0.5 * (F.relu(1 - logits_real).mean() + F.relu(1 + logits_fake).mean())


def on_targets(prediction, target):
    return (prediction - target.to(prediction)).square()  # True has no .to


class Method:
    def of(self, prediction, is_real):
        return F.mse_loss(prediction, prediction * 0 + is_real)


def truth_or_target(prediction, target):
    assert target is True or target is False or target.shape == prediction.shape
    return F.binary_cross_entropy_with_logits(prediction, target)


@pytest.mark.parametrize(("criterion", "expected"), [
    ("hinge", HINGE), ("lsgan", LSGAN), ("vanilla", VANILLA),
    ("wgangp", (-FAKE.mean(), (FAKE.mean() - REAL.mean()) / 2)),
    (gan_loss, LSGAN), (functools.partial(gan_loss, mode="hinge"), HINGE),
    (Sided(), HINGE), (Called(), HINGE), (by_disc, HINGE), (for_generator, HINGE), (Sided().forward, HINGE),
    (torch.compile(Sided(), backend="eager"), HINGE), (tensors_only, LSGAN),
    (Update(), HINGE), ((hinge_G, generated), HINGE), (lambda d_fake, is_real: (d_fake - is_real) ** 2, LSGAN),
    ((hinge_G, lambda gen_pred, y_real: whole(y_real, gen_pred)), HINGE),
    ((hinge_G, hinge_D), HINGE), ([hinge_G, halves], HINGE), ((hinge_G, whole), HINGE), ((hinge_D, hinge_G), HINGE),
    ((whole, hinge_G), HINGE), ((nn.BCEWithLogitsLoss(), nn.BCEWithLogitsLoss()), VANILLA), ((Sided(), Sided()), HINGE),
    ((hinge_D, hinge_D), (mean(lambda p: relu(1 - p), FAKE), HINGE[1])),
    (nn.MSELoss(), LSGAN), (nn.MSELoss(reduction="none"), LSGAN), (F.mse_loss, LSGAN), (nn.L1Loss(), L1),
    (functools.partial(F.mse_loss, reduction="none"), LSGAN), (nn.BCEWithLogitsLoss(), VANILLA),
    (lambda p, label=1: (p - float(label)).square(), LSGAN), ((lambda p, weight=2.0: -p * weight / 2, halves), HINGE),
    ((whole, lambda p, is_real: -p), HINGE), (on_targets, LSGAN), (truth_or_target, VANILLA), (Method().of, LSGAN),
    (lambda prediction, is_real: (prediction - is_real).square(), LSGAN),
])  # fmt: skip
def test_sides_of_a_criterion(criterion, expected):
    sides = objective(criterion)
    made = sides.generator(FAKE), sides.discriminator(REAL, FAKE)
    for value, wanted in zip(made, expected, strict=True):
        assert value.shape == () and value.item() == pytest.approx(float(wanted), abs=1e-12)


def test_probabilities_and_targets():
    sides = objective(nn.BCELoss())
    assert sides.generator(torch.tensor([0.25, 0.5])).item() == pytest.approx((math.log(4) + math.log(2)) / 2)
    assert sides.discriminator(torch.tensor([0.5]), torch.tensor([0.75])).item() == pytest.approx(math.log(8) / 2)


@pytest.mark.parametrize(("criterion", "says"), [
    ("hing", "did you mean hinge"), (3, "criterion_GAN 3 is no criterion"), ((hinge_G,), "is no criterion"),
    ((hinge_G, hinge_D, hinge_D), "is no criterion"), ((hinge_G, "hinge"), "is no criterion"),
    (nn.MSELoss, r"MSELoss is a class: give what it makes, MSELoss\(\.\.\.\)"),
    (nn.CrossEntropyLoss(), "CrossEntropyLoss does not compare predictions with 1 and 0: give one of lsgan"),
    (F.hinge_embedding_loss, "hinge_embedding_loss does not compare"), (nn.SoftMarginLoss(), "SoftMarginLoss does not"),
    (whole, "whole is one side of a criterion: give a pair"), (hinge_G, "hinge_G is one side of a criterion"),
    ((whole, halves), "halves is given predictions on real pictures too, as relativistic losses are"),
    ((generated, generated), "generated is given predictions on real pictures too"),
    (lambda real, fake, for_discriminator: real - fake, "is given predictions on real pictures too"),
])  # fmt: skip
def test_what_is_no_criterion_is_refused(criterion, says):
    with pytest.raises(UserError, match=says):
        objective(criterion)


@pytest.mark.parametrize("returned", [None, 3, "loss", torch.tensor(3)])
def test_what_is_no_loss_is_refused(returned):
    def own(prediction, is_real):
        return returned

    with pytest.raises(UserError, match=r"criterion_GAN .*own returned .*, not a loss"):
        objective(own).generator(FAKE)


def test_an_error_of_a_criterion_is_its_own():
    def own(prediction, is_real):
        raise TypeError("of its own")

    with pytest.raises(TypeError, match="of its own"):
        objective(own).generator(FAKE)


def test_the_discriminators_hinge_is_no_generators_loss():
    """0.990 where the host's own is -0.009: max(0, 1 - D) for -D."""
    def own(prediction, is_real):
        return F.relu(1 - prediction if is_real else 1 + prediction).mean()

    for _ in range(2):
        with pytest.raises(UserError, match=r"own is the discriminator's side of the hinge loss.*give \"hinge\" \("):
            objective(own).generator(FAKE)
    def of_scales(scales, is_real):
        return sum(own(one[-1] if isinstance(one, list) else one, is_real) for one in scales)

    for shown in ([[FAKE]], [FAKE, REAL], [[REAL.expand(2, 4), FAKE], [FAKE, REAL]]):
        for criterion in (of_scales, lambda scales, is_real: of_scales(scales, is_real) / len(scales)):
            with pytest.raises(UserError, match="is the discriminator's side of the hinge loss"):
                objective(criterion).generator(shown)
    # What agrees with it on some values is another: |D - 1| below 1, and everything of a network that says 0.
    for other in (lambda p, is_real: (p - is_real).abs(), lambda p, is_real: (p - is_real).square()):
        assert objective(other).generator(torch.zeros(3)).item() == 1


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


def test_total_is_weighted():
    assert total({"a": Term(torch.tensor(2.0), 0.5), "b": Term(torch.tensor(3.0))}).item() == 4
    assert total({}) == 0
