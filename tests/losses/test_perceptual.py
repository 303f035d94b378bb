"""The perceptual loss against values computed by hand, with features simple enough for that."""
import pytest
import torch

from timecyclegan.losses.perceptual import perceptual_loss


def features(x):
    return [(k + 1) * x for k in range(5)]


def test_deeper_layers_count_more():
    fake = torch.zeros(1, 3, 2, 2, dtype=torch.double)
    # the distance in layer k is 2 (k + 1), its weight 2^(k - 5), and 1 in the last layer
    expected = 2 * (1 / 32 + 2 / 16 + 3 / 8 + 4 / 4 + 5 * 1)
    assert perceptual_loss(features, fake, fake + 2).item() == pytest.approx(expected, abs=1e-12)


def test_target_gets_no_gradient():
    fake, real = (torch.randn(2, 3, 2, 2, dtype=torch.double, requires_grad=True) for _ in range(2))
    perceptual_loss(features, fake, real).backward()
    assert real.grad is None
    slope = 1 / 32 + 2 / 16 + 3 / 8 + 4 / 4 + 5
    torch.testing.assert_close(fake.grad, slope * torch.sign(fake - real).detach() / fake.numel())


def test_five_layers_are_asked_for():
    with pytest.raises(ValueError):
        perceptual_loss(lambda x: [x] * 4, torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2))
