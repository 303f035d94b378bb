"""Feature matching: a fake should excite a discriminator's layers as the real image does."""
import torch.nn.functional as F
from torch import Tensor


def feature_matching_loss(fake_features: list[Tensor], real_features: list[Tensor]) -> Tensor:
    """Mean over layers of the L1 distance between the features of fake and real (Wang et al. 2018, pix2pixHD, eq. 4).

    Args:
        fake_features: a discriminator's features of the fake, one tensor per layer, *without* its prediction.
        real_features: the same for the real image; they are detached, being the target.

    Returns:
        A scalar.
    """
    distances = [F.l1_loss(f, r.detach()) for f, r in zip(fake_features, real_features, strict=True)]
    return sum(distances) / len(distances)
