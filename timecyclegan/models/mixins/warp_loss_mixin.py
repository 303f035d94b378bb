"""The warp loss for any GAN class by inheritance."""
from typing import Any

import torch
from torch import Tensor

from timecyclegan.flow import FlowBackend, check_backend, flow_backend
from timecyclegan.losses import Losses, Term, total
from timecyclegan.losses.warp import warp_loss
from timecyclegan.models.mixins.host import Step, Video, as_video, check_ignored, copy_host, not_negative


class WarpLossMixin:
    """Adds the warp loss to a GAN class: put it before the GAN among the base classes.

    The generated video shall move as the real one does: the real video's flow, from each frame back to the one before
    it, says where what a generated frame shows was in the frame before. The host needs nothing but a cooperative
    ``super().__init__(*args, **kwargs)``::

        self.warp_forward(self.fake, self.real)       # in every step
        loss_G = loss_G + self.warp_backward()

    Args:
        warp_loss_weight: weight of the loss.
        warp_flow_backend: the name of a flow back end, or a callable like one (see ``timecyclegan.flow``); not used
            where the flow is given.
    """

    def __init__(
        self, *args: Any, warp_loss_weight: float = 1.0, warp_flow_backend: str | FlowBackend = "farneback",
        **kwargs: Any,
    ):  # fmt: skip
        super().__init__(*args, **kwargs)
        not_negative("warp_loss_weight", warp_loss_weight)
        if warp_flow_backend and isinstance(warp_flow_backend, str):
            check_backend(warp_flow_backend, option="warp_flow")
        self.warp_loss_weight = warp_loss_weight
        self.warp_flow_backend = warp_flow_backend
        self._warp_step = Step()

    def warp_forward(
        self, sequence: Video, real_sequence: Video | None = None, ignore_first_n: int = 0,
        flow: Tensor | None = None, confidence: Tensor | None = None,
    ) -> None:  # fmt: skip
        """Take a generated ``sequence``, (N, T, C, H, W) or a list of T (N, C, H, W), in [-1, 1].

        Args:
            real_sequence: of the same form, whose flow is computed where none is given.
            ignore_first_n: frames at the beginning that the loss leaves out; flow is given for the others.
            flow: (N, T - 1, 2, H, W) in pixels, entry t leads from frame t + 1 back to frame t of the real sequence.
            confidence: (N, T - 1, 1, H, W) in [0, 1]; 1 where None.

        Raises:
            ValueError: neither a flow nor a real sequence, or one that does not fit.
        """
        check_ignored(ignore_first_n)
        video = as_video(sequence)[:, ignore_first_n:]
        self._warp_step = Step("generator", terms={})
        if video.shape[1] < 2:
            return
        if flow is None:
            if real_sequence is None:
                raise ValueError("the warp loss needs the real sequence, or its flow")
            flow, confidence = self._flow_of(as_video(real_sequence)[:, ignore_first_n:])
        self._warp_step.terms["warp"] = Term(warp_loss(video, flow, confidence), self.warp_loss_weight)

    def warp_backward(self) -> Tensor | float:
        """The weighted loss, a scalar to add to the generator's; 0 where the sequence has one frame."""
        return total(self.warp_terms())

    def warp_terms(self) -> Losses:
        """What :meth:`warp_backward` adds up, as a named term with its weight."""
        if not hasattr(self._warp_step, "terms"):
            raise ValueError("call warp_forward first, in every step")
        return self._warp_step.taken("generator", self._warp_step.terms)

    __deepcopy__ = copy_host

    def _flow_of(self, video: Tensor, stride: int = 1) -> tuple[Tensor, Tensor]:
        """Flow and confidence of a real ``video`` (N, T, C, H, W) from each frame t + stride back to frame t:
        (N, T - stride, 2, H, W) and (N, T - stride, 1, H, W)."""
        if isinstance(self.warp_flow_backend, str):
            self.warp_flow_backend = flow_backend(self.warp_flow_backend)
        backend = self.warp_flow_backend
        pairs = (video.shape[0], video.shape[1] - stride)
        video = video.to(torch.promote_types(video.dtype, torch.float32))
        with torch.no_grad(), torch.autocast(video.device.type, enabled=False):  # a target is as exact as it can be
            flow, confidence = backend(video[:, stride:].flatten(0, 1), video[:, :-stride].flatten(0, 1))
        return flow.unflatten(0, pairs), confidence.unflatten(0, pairs)
