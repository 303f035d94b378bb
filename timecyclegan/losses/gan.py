"""Adversarial objectives."""
import contextlib
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from timecyclegan.util.choices import GAN_MODES

GRADIENT_PENALTY_WEIGHT = 10.0  # Gulrajani et al. 2017


def gan_loss(prediction: Tensor, is_real: bool, mode: str = "lsgan") -> Tensor:
    """How far a discriminator's ``prediction`` (any shape, no sigmoid) is from calling its input real or fake.

    ``lsgan``: mean (D - 1)^2 or mean D^2 (Mao et al. 2017). ``vanilla``: binary cross entropy on logits (Goodfellow
    et al. 2014; the generator uses the non-saturating form, that is ``is_real=True``). ``wgangp``: -mean D or mean D
    (Arjovsky et al. 2017), which needs :func:`gradient_penalty` beside it.

    Returns:
        A scalar, the mean over all elements.
    """
    if mode == "wgangp":
        return -prediction.mean() if is_real else prediction.mean()
    target = torch.full_like(prediction, float(is_real))
    if mode == "lsgan":
        return F.mse_loss(prediction, target)
    if mode == "vanilla":
        return F.binary_cross_entropy_with_logits(prediction, target)
    raise ValueError(f"gan mode must be one of {', '.join(GAN_MODES)}, not {mode!r}")


def gradient_penalty(discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """E[(|grad_z D(z)|_2 - 1)^2] at points z between ``real`` and ``fake`` (N, C, H, W); Gulrajani et al. 2017, eq. 3.

    D(z) is the mean of all that the discriminator says of a sample: so does ``gan_loss`` weigh patches, and it is that
    critic whose slope is to be 1. The norm is taken over each whole sample, the points are uniform on the line between
    the two. Where one side has fewer pictures, the others of the other side have no partner and are left out.
    """
    pairs = min(len(real), len(fake))
    real, fake = real[:pairs], fake[:pairs]
    mix = torch.rand(real.shape[0], 1, 1, 1, dtype=real.dtype).to(real.device)
    between = (mix * real + (1 - mix) * fake).detach().requires_grad_(True)
    critic = discriminator(between).reshape(pairs, -1).mean(dim=1)  # (N, 1, h, w) to (N,)
    (gradient,) = torch.autograd.grad(critic.sum(), between, create_graph=True)  # samples do not mix
    return (gradient.flatten(1).norm(dim=1) - 1).square().mean()


@contextlib.contextmanager
def frozen(*networks: nn.Module) -> Iterator[None]:
    """While the block runs, what is computed with ``networks`` sends gradients to its input but not to them.

    For the generator's adversarial term, which must not train a discriminator.
    """
    parameters = [p for network in networks for p in network.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
