"""What LPIPS and tLP look through: perceptual distances (Zhang et al. 2018) by the network of the ``lpips`` package.

LPIPS compares features of AlexNet, those after each ReLU, normalised over channels: the sum over layers of the mean
over pixels of the squared differences, weighted by channel. So a frame has a vector

    e = sqrt(w / (height width)) f / (|f| + 1e-10), all layers one after the other,

and the distance of two frames is |e - e'|^2. The vectors take nearly all of the time; each is computed once.
"""
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from timecyclegan.evaluation.base import Settings, Step, View
from timecyclegan.util.device import pick_device
from timecyclegan.util.errors import UserError
from timecyclegan.util.hub import hub_file, load_published, sha256
from timecyclegan.video.frames import to_video

URL = "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"
SMALLEST = 31  # pixels on each side, for AlexNet's strides and poolings to leave one
TOO_SMALL = f"AlexNet needs frames of {SMALLEST}x{SMALLEST} pixels or more"
EPS = 1e-10
PIXELS = 2**20  # that the network sees at once, to bound the memory: a vector has ten numbers per pixel


def distance(first: Tensor | None, second: Tensor | None) -> float | None:
    """LPIPS of two frames by their vectors (D,); None if there is only one."""
    return None if first is None or second is None else (first - second).square_().sum().item()


class Perceptual(NamedTuple):
    """Distances of frame t: of the real one from the fake one, and of both from their predecessors.

    None where there is no such pair, and where the frames are too small.
    """
    between: float | None = None
    real: float | None = None
    fake: float | None = None


class PerceptualView(View):
    """The perceptual distances of each frame, a :class:`Perceptual`: LPIPS v0.1 (alex).

    Raises:
        UserError: AlexNet's weights are in torch hub's cache neither before nor after an attempt to fetch them, or the
            file there does not hold them.
    """
    looks_at, fetched = "full frame", True

    def __init__(self, settings: Settings) -> None:
        device = pick_device(settings.gpu)
        state = load_published(URL, "LPIPS (AlexNet)", "leave out LPIPS and tLP")
        import lpips  # takes a second
        from lpips.pretrained_networks import alexnet

        with torch.device("meta"), warnings.catch_warnings():  # of torchvision, about how lpips calls it
            warnings.simplefilter("ignore")
            network = alexnet(pretrained=False)
        try:  # slice2.3.weight is features.3.weight
            weights = {name: state[f"features.{name.split('.', 1)[1]}"] for name in network.state_dict()}
            network.load_state_dict(weights, assign=True)
        except (AttributeError, KeyError, RuntimeError, TypeError) as error:
            raise UserError(f"{hub_file(URL)} does not hold AlexNet's weights; fetch it again from {URL}") from error
        network = nn.Sequential(lpips.ScalingLayer(), network.float().requires_grad_(False).eval())
        self._network = network.to(device, memory_format=torch.channels_last)
        file = Path(lpips.__file__).parent / "weights/v0.1/alex.pth"
        linear = torch.load(file, map_location=device, weights_only=True)
        self._scales = [linear[f"lin{layer}.model.1.weight"].flatten().sqrt() for layer in range(5)]
        self._device = device
        self._previous: tuple[Tensor | None, Tensor | None] = None, None
        self.facts = {
            "network": "AlexNet of LPIPS 0.1", "weights": hub_file(URL).name, "weights_sha256": sha256(hub_file(URL)),
            "linear_weights": file.name, "linear_weights_sha256": sha256(file),
            "input": f"RGB, -1 to 1, {self.looks_at}"}

    def part(self, image: np.ndarray) -> np.ndarray | None:
        """What is looked at of a frame, uint8 (H, W, 3); None if it is too small."""
        return image if min(image.shape[:2]) >= SMALLEST else None

    @torch.inference_mode()
    def __call__(self, steps: Sequence[Step]) -> list[Perceptual]:
        parts = [(self.part(step.real) if step.real is not None else None, self.part(step.fake)) for step in steps]
        if parts[0][1] is None:
            return [Perceptual()] * len(steps)
        some, found = max(1, PIXELS // parts[0][1][..., 0].size), []
        for at in range(0, len(steps), some):
            sides = zip(*parts[at:at + some], strict=True)
            vectors = [[None] * len(side) if side[0] is None else self.vectors(side) for side in sides]
            for step, real, fake in zip(steps[at:at + some], *vectors, strict=True):
                before = (None, None) if step.first else self._previous
                found.append(Perceptual(distance(real, fake), distance(before[0], real), distance(before[1], fake)))
                self._previous = real, fake
            # Copies, so that the batch's memory is free.
            self._previous = tuple(None if vector is None else vector.clone() for vector in self._previous)
        return found

    # Not with TF32, which GPUs use for convolutions by default: its rounding would show in the distances.
    @torch.inference_mode()
    @torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
    def vectors(self, frames: Sequence[np.ndarray]) -> Tensor:
        """N frames of one size, each uint8 (H, W, 3) with sides of 31 or more, to float32 (N, D)."""
        x = to_video(frames).to(self._device, memory_format=torch.channels_last)
        features = [layer.permute(0, 2, 3, 1) for layer in self._network(x)]
        sizes = [layer[0].numel() for layer in features]
        vectors = x.new_empty(len(x), sum(sizes))
        for layer, scale, part in zip(features, self._scales, vectors.split(sizes, 1), strict=True):
            part = part.unflatten(1, layer.shape[1:])  # in place: new memory costs more than the arithmetic
            torch.mul(layer, layer, out=part)
            norm = part.sum(3, keepdim=True).sqrt_().add_(EPS)
            torch.div(layer, norm.mul_(math.sqrt(layer[0, ..., 0].numel())), out=part).mul_(scale)
        return vectors
