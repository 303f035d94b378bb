"""The features that FVD compares: those of the I3D network (Carreira and Zisserman 2017), as TorchScript.

The file is the one that circulates with StyleGAN-V (Skorokhodov et al. 2022), made of the network of the first FVD
(Unterthiner et al. 2018).
"""
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from timecyclegan.evaluation.base import Settings, Step, View
from timecyclegan.evaluation.features.frechet import Features
from timecyclegan.util.device import pick_device
from timecyclegan.util.errors import UserError, failed
from timecyclegan.util.hub import hub_file, sha256
from timecyclegan.util.torchscript import brief, load_torchscript

FILE = "i3d_torchscript.pt"
LENGTH = 16  # frames of a clip
ARGUMENTS = {"rescale": True, "resize": True, "return_features": True}


class I3DView(View):
    """:class:`Features` of each clip, at its last frame; clips follow each other and do not overlap.

    Frames are taken in the sizes that they have. What is left at the end of a sequence is not used. The network is
    given float32 (1, 3, 16, H, W) in [0, 255], which it scales to [-1, 1] and resizes to 224 x 224 (bilinear) by
    itself; the features are what it has before its softmax.

    Raises:
        UserError: the network's file is not in torch hub's cache, holds no TorchScript, or another network; when
            called: the frames of a clip have different sizes.
    """

    def __init__(self, settings: Settings) -> None:
        path, self._device = hub_file(FILE), pick_device(settings.gpu)
        if not path.is_file():
            raise UserError(f"FVD (I3D) needs weights: put {FILE}, the TorchScript file that StyleGAN-V circulates, at "
                            f"{path}, or leave it out")
        self._network = load_torchscript(path, self._device, "FVD's network")
        try:
            shape = tuple(self._run(np.zeros((LENGTH, 32, 32, 3), np.uint8)).shape)
        except Exception as error:  # it compiles and runs code of others
            raise failed(f"cannot run {path}", error, f"{path} takes no clips with {', '.join(ARGUMENTS)} "
                         f"({brief(error)}); expected the I3D of StyleGAN-V") from error
        if len(shape) != 2 or shape[0] != 1:
            raise UserError(f"{path} gives {shape} for a clip; expected StyleGAN-V's I3D, which gives (1, D)")
        self.facts = {
            "network": "I3D (TorchScript)", "weights": path.name, "weights_sha256": sha256(path), "clip": LENGTH,
            "input": "RGB, 0 to 255, " + ", ".join(f"{name}={value}" for name, value in ARGUMENTS.items())}
        self._clip: list[tuple[np.ndarray, np.ndarray | None]] = []

    def __call__(self, steps: Sequence[Step]) -> list[Features]:
        found = []
        for step in steps:
            if step.first:
                self._clip = []
            self._clip.append((step.fake, step.real if step.alike else None))  # the pictures of one clip, and no more
            if len(self._clip) < LENGTH:
                found.append(Features())
                continue
            # Each side by itself: equal clips have equal features.
            found.append(Features(*(None if side[0] is None else self.features(side)
                                    for side in zip(*self._clip, strict=True))))
            self._clip = []
        return found

    def features(self, clip: Sequence[np.ndarray]) -> np.ndarray:
        """16 frames of one size, each uint8 (H, W, 3), to float64 (D,)."""
        if len({frame.shape for frame in clip}) > 1:
            sizes = sorted({f"{frame.shape[1]}x{frame.shape[0]}" for frame in clip})
            raise UserError(f"FVD needs clips of one size, and a sequence has {' and '.join(sizes)}; give --resize, or "
                            "bring them to one")
        return self._run(np.stack(clip))[0].double().cpu().numpy()

    # Not with TF32, whose rounding would show in the distance; nor with the compiler, whose code changes after a call.
    @torch.inference_mode()
    @torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
    def _run(self, clip: np.ndarray) -> Any:
        x = torch.from_numpy(clip).to(self._device).float().permute(3, 0, 1, 2)[None]  # (1, C, T, H, W)
        with torch.jit.optimized_execution(False):
            return self._network(x.contiguous(), **ARGUMENTS)
