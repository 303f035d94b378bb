"""The features that FID compares: those of the Inception network that pytorch-fid publishes."""
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from timecyclegan.evaluation.base import Settings, Step, View
from timecyclegan.evaluation.features.frechet import Features
from timecyclegan.util.device import pick_device
from timecyclegan.util.errors import UserError, failed
from timecyclegan.util.hub import hub_file, load_published, sha256

URL = ("https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
       "pt_inception-2015-12-05-6726825d.pth")
BLOCKS = {64: 0, 192: 1, 768: 2, 2048: 3}  # features -> which of the network's outputs has as many
SIDE = 299
BATCH = 8  # a CPU takes longer for more at once


class InceptionView(View):
    """:class:`Features` of each frame, as pytorch-fid makes them of the same pixels, whatever their sizes.

    A picture is divided by 255, resized to 299 x 299 (bilinear, align_corners False, no antialiasing) and scaled to
    [-1, 1]. The features are the network's global average (2048) or the mean over space of an earlier block's output.

    Raises:
        UserError: ``settings.fid_dims`` is none of :data:`BLOCKS`, the weights are in torch hub's cache neither before
            nor after an attempt to fetch them, or the file there does not hold them.
    """

    fetched = True

    def __init__(self, settings: Settings) -> None:
        self.dims, self._device, weights = settings.fid_dims, pick_device(settings.gpu), hub_file(URL)
        if self.dims not in BLOCKS:
            raise UserError(f"there are no {self.dims} features of Inception; there are {', '.join(map(str, BLOCKS))}")
        load_published(URL, "FID (Inception)", "leave it out")  # or says what is wrong; the package does not
        from pytorch_fid.inception import InceptionV3  # takes a second

        try:
            network = InceptionV3([BLOCKS[self.dims]], resize_input=False).eval()
        except (TypeError, AttributeError, RuntimeError) as error:  # no dictionary, or not of these names and shapes
            raise failed(f"cannot read {weights}", error, f"{weights} does not hold the weights of FID's Inception; "
                         f"fetch it again from {URL}") from error
        self._network = network.to(self._device, memory_format=torch.channels_last)
        self.facts = {
            "network": "FID Inception of pytorch-fid", "weights": weights.name, "weights_sha256": sha256(weights),
            "input": f"RGB, bilinear to {SIDE}x{SIDE} (align_corners False, no antialiasing), -1 to 1"}

    def __call__(self, steps: Sequence[Step]) -> list[Features]:
        fake = self.features([step.fake for step in steps])
        partners = [step.real is not None and step.alike for step in steps]
        # By themselves: equal pictures in equal batches have equal features.
        real = iter(self.features([step.real for step, partner in zip(steps, partners, strict=True) if partner]))
        return [Features(own, next(real) if partner else None) for own, partner in zip(fake, partners, strict=True)]

    # Not with TF32, which GPUs use for convolutions by default: its rounding would show in the distance.
    @torch.inference_mode()
    @torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
    def features(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Any number of uint8 (H, W, 3) pictures, of any sizes, to float64 (N, dims)."""
        found = [np.empty((0, self.dims))]
        for at in range(0, len(pictures), BATCH):
            x = torch.cat([self._resized(picture) for picture in pictures[at:at + BATCH]])
            maps = self._network(x.contiguous(memory_format=torch.channels_last))[0]
            found.append(functional.adaptive_avg_pool2d(maps, 1).flatten(1).cpu().double().numpy())
        return np.concatenate(found)

    def _resized(self, picture: np.ndarray) -> Tensor:
        x = torch.tensor(picture, device=self._device).permute(2, 0, 1)[None].float() / 255
        return functional.interpolate(x, (SIDE, SIDE), mode="bilinear", align_corners=False)
