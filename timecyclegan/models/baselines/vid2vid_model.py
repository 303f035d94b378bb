"""vid2vid (Wang et al. 2018): paired translation that moves its last frame by a flow of its own."""
from typing import Any

import torch
from torch import Tensor, nn

from timecyclegan.losses import Losses, Term
from timecyclegan.losses.warp import warp
from timecyclegan.models.mixins.seq_d_mixin import SeqDMixin
from timecyclegan.models.mixins.warp_loss_mixin import WarpLossMixin
from timecyclegan.models.networks.vid2vid import FLOW_SCALE, HEADS, Heads, Parts, Vid2VidGenerator, start_still
from timecyclegan.models.parts import (
    FLOW,
    SEQUENCES,
    add_sequence_discriminators,
    real_flow,
    sequence_arguments,
    sequence_shape,
    warp_arguments,
)
from timecyclegan.models.sequential.sequential_pix2pix import SequentialPix2Pix
from timecyclegan.util.options import Options


class Vid2VidModel(WarpLossMixin, SeqDMixin, SequentialPix2Pix):
    """Recurrent pix2pix whose generator also makes a flow and a mask: a frame is a blend of a new picture and the
    last frame, moved. Sequence discriminators see the real video's flow beside the frames."""

    parts = (SEQUENCES, FLOW)
    uses = frozenset({"flow_loss_weight", "mask_loss_weight"})

    def __init__(self, options: Options, training: bool = True, **kwargs: Any):
        own = warp_arguments(type(self), options, training)
        own |= sequence_arguments(options, options.feature_matching_loss_weight)
        super().__init__(options, training, **own, **kwargs)
        if training:
            # of n frames and the n - 1 flows between them
            add_sequence_discriminators(self, lambda n: n * self.channels + (n - 1) * 2)

    @classmethod
    def check(cls, options: Options, training: bool = True) -> None:
        """Refuse clips without a pair of frames that flow or mask could be compared on."""
        super().check(options, training)
        for name in ("flow_loss_weight", "mask_loss_weight"):
            if training and getattr(options, name):
                cls.check_clip_length(options, 2, f"--{name}")

    @classmethod
    def flow_strides(cls, options: Options) -> list[int]:
        n_frames, scales = sequence_shape(cls, options)
        frames = (options.block_size or cls.default_block_size) - cls.n_frames_ignored()
        weights = options.warp_loss_weight or options.flow_loss_weight or options.mask_loss_weight
        needed = {1} if weights else set()
        return sorted(stride for stride in needed | {n_frames**scale for scale in range(scales)} if stride < frames)

    def define_generator(self, channels: int, output: nn.Module | None = None) -> nn.Module:
        network = super().define_generator(HEADS, Heads())
        start_still(network)
        return Vid2VidGenerator(network)

    def forward(self, source: Tensor, target: Tensor | None = None, **flows: Tensor) -> Tensor:
        """As ``PairedModel.forward``; also keeps ``flow`` (N, T, 2, H, W) and ``mask`` (N, T, 1, H, W), and shows the
        clip to the sequence discriminators, with [n - 1 flows, n frames] for each of their windows."""
        made: list[Parts] = []
        with self.generator.recording(made):
            fake = super().forward(source, target, **flows)
        self.step.flow = torch.stack([parts.flow for parts in made], dim=1)
        self.step.mask = torch.stack([parts.mask for parts in made], dim=1)
        if "target" in self.seq_Ds and target is not None:
            n_frames, scales = sequence_shape(type(self), self.options)
            # A stride that is longer than the clip has no window, so what it would be shown does not matter.
            known = self.flow_strides(self.options)
            strides = [n_frames**scale for scale in range(scales)]
            between = [real_flow(self, stride)[0] / FLOW_SCALE if stride in known else None for stride in strides]
            self.seq_Ds["target"].set_input(fake, target, between=between)
        return fake

    def discriminator_losses(self) -> Losses:
        return self.discriminator_terms([*self.gan_cases(), *self.seq_D_cases()])

    def generator_losses(self) -> Losses:
        return {**super().generator_losses(), **self.flow_terms(), **self.seq_D_terms()}

    def flow_terms(self) -> Losses:
        """Along the real clip's flow: ``warp`` of the generated frames, and, of the generated flow, its distance
        ``flow``, what it moves ``flow_warp``, and its ``mask``; on the frames after the ignored ones."""
        options, step, losses = self.options, self.step, {}
        first = self.n_frames_ignored()
        weights = options.warp_loss_weight, options.flow_loss_weight, options.mask_loss_weight
        if step.fake.shape[1] - first < 2 or not any(weights):
            return losses
        real, confidence = real_flow(self)
        if options.warp_loss_weight:
            self.warp_forward(step.fake, None, first, real, confidence)
            losses |= self.warp_terms()
        # Of each pair the later frame has a flow back to the earlier one, and a mask.
        flow, mask = step.flow[:, first + 1 :], step.mask[:, first + 1 :]
        if weight := options.flow_loss_weight:
            earlier, later = step.target[:, first:-1], step.target[:, first + 1 :]
            moved = warp(earlier.flatten(0, 1), flow.flatten(0, 1)).unflatten(0, flow.shape[:2])
            losses["flow"] = Term((confidence * (flow - real)).abs().mean(), weight)
            losses["flow_warp"] = Term((confidence * (moved - later)).abs().mean(), weight)
        if options.mask_loss_weight:
            losses["mask"] = Term((mask - (1 - confidence)).abs().mean(), options.mask_loss_weight)
        return losses
