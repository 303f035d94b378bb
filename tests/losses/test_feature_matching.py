"""Feature matching against values computed by hand."""
import pytest
import torch

from timecyclegan.losses.feature_matching import feature_matching_loss


def test_mean_over_layers_of_mean_distances():
    fake = [torch.tensor([[1.0, 2.0]]), torch.zeros(1, 4)]
    real = [torch.tensor([[0.0, 4.0]]), torch.full((1, 4), -3.0)]
    # layer 1: (1 + 2) / 2, layer 2: 3; layers count alike, however large they are
    assert feature_matching_loss(fake, real).item() == pytest.approx((1.5 + 3) / 2)


def test_target_gets_no_gradient():
    fake, real = (torch.randn(2, 3, dtype=torch.double, requires_grad=True) for _ in range(2))
    feature_matching_loss([fake, 2 * fake], [real, 2 * real]).backward()
    assert real.grad is None
    # d/df of (|f - r| + 2 |f - r|) / (2 * 6)
    torch.testing.assert_close(fake.grad, 3 * torch.sign(fake - real).detach() / 12)


def test_number_of_layers_must_agree():
    with pytest.raises(ValueError):
        feature_matching_loss([torch.zeros(1)], [torch.zeros(1), torch.zeros(1)])
