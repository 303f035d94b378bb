"""Perceptual distance in the features of an image classifier."""
import torch.nn.functional as F
from torch import Tensor, nn

# pix2pixHD (Wang et al. 2018): deeper features count more.
LAYER_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)


def perceptual_loss(features: nn.Module, fake: Tensor, real: Tensor) -> Tensor:
    """Weighted sum over layers of the L1 distance between features (Johnson et al. 2016 with pix2pixHD's weights).

    Args:
        features: maps (N, 3, H, W) in [-1, 1] to five feature tensors, e.g. ``networks.vgg19.VGG19Features``.
        fake: (N, 3, H, W) in [-1, 1]; gradients flow to it.
        real: the same shape; detached, being the target.

    Returns:
        A scalar.
    """
    pairs = zip(LAYER_WEIGHTS, features(fake), features(real.detach()), strict=True)
    return sum(weight * F.l1_loss(f, r) for weight, f, r in pairs)
