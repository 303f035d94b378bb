"""The features that FID compares: those of the Inception network that pytorch-fid publishes."""
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from timecyclegan.evaluation.base import Settings, Step, View
from timecyclegan.evaluation.features.frechet import Features
from timecyclegan.util.device import pick_device
from timecyclegan.util.errors import UserError
from timecyclegan.util.hub import hub_file, load_published, sha256

URL = ("https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
       "pt_inception-2015-12-05-6726825d.pth")
BLOCKS = {64: 0, 192: 1, 768: 2, 2048: 3}  # features -> which of the network's outputs has as many
SIDE = 299
BATCH = 8  # a CPU takes longer for more at once


class InceptionFeatures:
    """Features of pictures, as pytorch-fid makes them of the same pixels.

    A picture is divided by 255, resized to 299 x 299 (bilinear, align_corners False, no antialiasing) and scaled to
    [-1, 1]. The features are the network's global average (2048) or the mean over space of an earlier block's output.

    Args:
        gpu: its number; -1 is the CPU.
        dims: how many features, of :data:`BLOCKS`.

    Attributes:
        facts: JSON-ready, what the features depend on.

    Raises:
        UserError: ``dims`` is none of those, the weights are in torch hub's cache neither before nor after an attempt
            to fetch them, or the file there does not hold them.
    """

    def __init__(self, gpu: int = -1, dims: int = 2048) -> None:
        if dims not in BLOCKS:
            raise UserError(f"there are no {dims} features of Inception; there are {', '.join(map(str, BLOCKS))}")
        self.dims, self._device = dims, pick_device(gpu)
        self._network = _network(dims).to(self._device, memory_format=torch.channels_last)
        weights = hub_file(URL)
        self.facts: Mapping[str, Any] = {
            "network": "FID Inception of pytorch-fid", "weights": weights.name, "weights_sha256": sha256(weights),
            "input": f"RGB, bilinear to {SIDE}x{SIDE} (align_corners False, no antialiasing), -1 to 1"}

    def __call__(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Any number of uint8 (H, W, 3) pictures, of any sizes, to float64 (N, dims)."""
        batches = [pictures[at:at + BATCH] for at in range(0, len(pictures), BATCH)]
        return np.concatenate([np.empty((0, self.dims)), *map(self._features, batches)])

    # Not with TF32, which GPUs use for convolutions by default: its rounding would show in the distance.
    @torch.inference_mode()
    @torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
    def _features(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        x = torch.cat([self._resized(picture) for picture in pictures]).contiguous(memory_format=torch.channels_last)
        features = functional.adaptive_avg_pool2d(self._network(x)[0], 1)
        return features.flatten(1).cpu().double().numpy()

    def _resized(self, picture: np.ndarray) -> Tensor:
        x = torch.tensor(picture, device=self._device).permute(2, 0, 1)[None].float() / 255
        return functional.interpolate(x, (SIDE, SIDE), mode="bilinear", align_corners=False)


def _network(dims: int) -> nn.Module:
    load_published(URL, "FID (Inception)", "leave it out")  # or says what is wrong; the package does not
    from pytorch_fid.inception import InceptionV3  # takes a second

    try:
        return InceptionV3([BLOCKS[dims]], resize_input=False).eval()
    except (TypeError, AttributeError, RuntimeError) as error:  # no dictionary, or not of these names and shapes
        raise UserError(f"{hub_file(URL)} does not hold the weights of FID's Inception; fetch it again "
                        f"from {URL}") from error


class InceptionView(View):
    """:class:`Features` of each frame; pictures are taken in their own sizes."""

    def __init__(self, settings: Settings) -> None:
        self._features = InceptionFeatures(settings.gpu, settings.fid_dims)
        self.facts = self._features.facts

    def __call__(self, steps: Sequence[Step]) -> list[Features]:
        fake = self._features([step.fake_on_disk for step in steps])
        partners = [step.real_on_disk for step in steps if step.real_on_disk is not None]
        real = iter(self._features(partners))  # by themselves: equal pictures in equal batches have equal features
        return [Features(own, None if step.real_on_disk is None else next(real))
                for own, step in zip(fake, steps, strict=True)]
