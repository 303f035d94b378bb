"""What the mixins ask of the class that they are mixed into, which may be any class."""
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from timecyclegan.losses.gan import gan_loss
from timecyclegan.util.errors import UserError

DEFAULT_NAME = "target"  # of the only cycle, or group of sequence discriminators, that a host has
Video = Tensor | Sequence[Tensor]


def as_video(sequence: Video, ignore_first_n: int = 0) -> Tensor:
    """A (N, T, C, H, W) tensor, or a list of T tensors (N, C, H, W), as the former; without its first frames."""
    video = sequence if isinstance(sequence, Tensor) else torch.stack(list(sequence), dim=1)
    if video.dim() != 5:
        raise ValueError(f"a sequence is (N, T, C, H, W) or a list of (N, C, H, W), not {tuple(video.shape)}")
    if ignore_first_n < 0:
        raise ValueError(f"ignore_first_n is a number of frames, not {ignore_first_n}")
    return video[:, ignore_first_n:]


def not_negative(name: str, weight: float) -> None:
    """Refuse a weight below 0, which would reward what a loss punishes."""
    if not 0 <= weight < float("inf"):
        raise UserError(f"{name} must be 0 or more, not {weight}")


def host_criterion(host: Any, prediction: Tensor, is_real: bool, mode: str) -> Tensor:
    """The host's ``criterion_GAN`` or ``criterionGAN``, where it has one, else the objective ``mode``."""
    criterion = getattr(host, "criterion_GAN", None) or getattr(host, "criterionGAN", None)
    return criterion(prediction, is_real) if criterion else gan_loss(prediction, is_real, mode)


def named(parts: Mapping[str, Any], name: str | None, kind: str, remedy: str) -> dict[str, Any]:
    """Of a host's ``parts`` the one called ``name``, or all of them.

    Raises:
        ValueError: there is none of this name; says which there are, and the ``remedy``.
    """
    if name is None:
        return dict(parts.items())
    if name not in parts:
        known = ", ".join(parts.keys()) or "none"
        raise ValueError(f"there is no {kind} called {name!r} (defined: {known}): {remedy}")
    return {name: parts[name]}
