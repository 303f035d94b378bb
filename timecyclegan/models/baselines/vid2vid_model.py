"""vid2vid (Wang et al. 2018): paired translation that moves its last frame by a flow of its own."""
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from timecyclegan.losses import Losses, Term
from timecyclegan.losses.warp import warp
from timecyclegan.models.mixins.seq_d_mixin import SeqDModel
from timecyclegan.models.mixins.warp_loss_mixin import WarpLossModel
from timecyclegan.models.networks.vid2vid import FLOW_SCALE, HEADS, Parts, Vid2VidGenerator, start_still
from timecyclegan.models.sequential.sequential_pix2pix import SequentialPix2Pix
from timecyclegan.util.options import Options


class Vid2VidModel(WarpLossModel, SeqDModel, SequentialPix2Pix):
    """Recurrent pix2pix whose generator also makes a flow and a mask: a frame is a blend of a new picture and the
    last frame, moved. Sequence discriminators see the real video's flow beside the frames."""

    uses = frozenset({"flow_loss_weight", "mask_loss_weight"})

    @classmethod
    def check(cls, options: Options, training: bool = True) -> None:
        """Refuse clips without a pair of frames that flow or mask could be compared on."""
        super().check(options, training)
        for name in ("flow_loss_weight", "mask_loss_weight"):
            if training and getattr(options, name):
                cls.check_clip_length(options, 2, f"--{name}")

    @classmethod
    def flow_strides(cls, options: Options) -> list[int]:
        n_frames, scales = cls.seq_D_shape(options)
        frames = (options.block_size or cls.default_block_size) - cls.n_frames_ignored()
        weights = options.warp_loss_weight or options.flow_loss_weight or options.mask_loss_weight
        needed = {1} if weights else set()
        return sorted(stride for stride in needed | {n_frames**scale for scale in range(scales)} if stride < frames)

    def define_generator(self, channels: int, output: nn.Module | None = None) -> nn.Module:
        network = super().define_generator(HEADS, Vid2VidGenerator.output())
        start_still(network)
        return Vid2VidGenerator(network)

    def forward(self, source: Tensor, target: Tensor | None = None, **flows: Tensor) -> Tensor:
        """As ``WarpLossModel.forward``; also keeps ``self.flow`` (N, T, 2, H, W) and ``self.mask`` (N, T, 1, H, W)."""
        made: list[Parts] = []
        with self.generator.recording(made):
            fake = super().forward(source, target, **flows)
        self.flow = torch.stack([parts.flow for parts in made], dim=1)
        self.mask = torch.stack([parts.mask for parts in made], dim=1)
        return fake

    # ---- sequence discriminators: [n - 1 flows, n frames]

    def seq_D_channels(self, n_frames: int) -> int:
        return n_frames * self.channels + (n_frames - 1) * 2

    def seq_D_between(self, domain: str) -> Sequence[Tensor | None]:
        n_frames, scales = self.seq_D_shape(self.options)
        # A stride that is longer than the clip has no window, so what it would be shown does not matter.
        known = self.flow_strides(self.options)
        strides = [n_frames**scale for scale in range(scales)]
        return [self.real_flow(stride)[0] / FLOW_SCALE if stride in known else None for stride in strides]

    # ---- losses

    def generator_losses(self) -> Losses:
        options, losses = self.options, super().generator_losses()
        first = self.n_frames_ignored()
        if self.fake.shape[1] - first < 2 or not (options.flow_loss_weight or options.mask_loss_weight):
            return losses
        # Of each pair the later frame has a flow back to the earlier one, and a mask.
        flow, mask = self.flow[:, first + 1 :], self.mask[:, first + 1 :]
        real_flow, confidence = self.real_flow()
        if weight := options.flow_loss_weight:
            earlier, later = self.target[:, first:-1], self.target[:, first + 1 :]
            moved = warp(earlier.flatten(0, 1), flow.flatten(0, 1)).unflatten(0, flow.shape[:2])
            losses["flow"] = Term((confidence * (flow - real_flow)).abs().mean(), weight)
            losses["flow_warp"] = Term((confidence * (moved - later)).abs().mean(), weight)
        if options.mask_loss_weight:
            losses["mask"] = Term((mask - (1 - confidence)).abs().mean(), options.mask_loss_weight)
        return losses
