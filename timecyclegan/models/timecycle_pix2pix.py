"""TimeCycleGAN for paired translation: TimeCycle and sequence discriminators on a recurrent pix2pix."""
from typing import Any

from torch import Tensor

from timecyclegan.losses import Losses
from timecyclegan.models.mixins.seq_d_mixin import SeqDMixin
from timecyclegan.models.mixins.timecycle_mixin import TimeCycleMixin
from timecyclegan.models.mixins.warp_loss_mixin import WarpLossMixin
from timecyclegan.models.parts import (
    FLOW,
    SEQUENCES,
    WALK,
    add_sequence_discriminators,
    add_walk,
    real_flow,
    sequence_arguments,
    walk_arguments,
    warp_arguments,
)
from timecyclegan.models.sequential.sequential_pix2pix import SequentialPix2Pix
from timecyclegan.util.options import Options


class TimeCyclePix2Pix(TimeCycleMixin, SeqDMixin, SequentialPix2Pix):
    """TimeCycleGAN-P: from a source clip c, with the real clip y beside it, it makes x.

    | network | name | sees |
    |---|---|---|
    | G | ``generator`` | [c_t, x_(t-1)], and makes x_t; before x_0 stands noise |
    | D, of frames | ``discriminator`` | [c_t, a frame t], for every t |
    | S_i, of sequences | ``sequence_discriminator_i`` | n frames at stride n^i, without conditions; from frame 1 on |
    | M, the motion model | ``timecycles.target`` | [c_t, a neighbour of frame t], and makes frame t; from frame 1 on |

    The walk goes from the last frame of x back in time by M, and forward again; ``--timecycle_type`` has other ways.
    x_0 is made of noise, so neither S_i nor the walk see it.
    """

    parts = (SEQUENCES, WALK)

    def __init__(self, options: Options, training: bool = True, **kwargs: Any):
        own = walk_arguments(options) | sequence_arguments(options, options.feature_matching_loss_weight)
        super().__init__(options, training, **own, **kwargs)  # G; for training also D
        if training:
            add_sequence_discriminators(self)  # S_i
            # M. Its images are judged by D, beside the condition of the frame that they depict, and by S_0.
            add_walk(self, "target", judges=[self.frame_judge(), *self.seq_Ds["target"].judges[:1]])

    def forward(self, source: Tensor, target: Tensor | None = None, **flows: Tensor) -> Tensor:
        fake = super().forward(source, target, **flows)
        if self.seq_Ds and target is not None:
            self.set_seq_D_input(fake, target)
        if self.timecycles:
            self.timecycle_forward(fake, source, ignore_first_n=1)
            if target is not None:
                self.set_timecycle_discriminator_input(target, source, ignore_first_n=1)
        return fake

    def generator_losses(self) -> Losses:
        """What G and M minimise: the sum of these terms, each times its weight. A weight that is not named is 1."""
        options = self.options
        return {
            # gan: D shall take [c_t, x_t] for real; feature_matching: its features shall be those of [c_t, y_t].
            **self.generator_terms(self.gan_cases(), options.feature_matching_loss_weight),
            # l1: |x - y|. perceptual: the same in the features of VGG19.
            **self.l1_terms(options.l1_loss_weight),
            **self.perceptual_terms(options.perceptual_loss_weight),
            # gan_sequence_i: S_i shall take x for real; feature_matching_sequence_i, with the weight of the other.
            **self.seq_D_terms(),
            # timecycle: the walk shall meet the frames of x, and end where it began: --timecycle_loss_weight.
            # timecycle_warp: one step of M from each frame shall meet the next, trains G: --timecycle_warp_loss_weight.
            # timecycle_gan: D and S_0 shall take the images of the walk for real.
            **self.timecycle_terms(),
        }

    def discriminator_losses(self) -> Losses:
        """What D and S_i minimise: for each term (real + fake) / 2; ``--gan_mode`` says how they are measured."""
        return self.discriminator_terms([
            *self.gan_cases(),  # gan: D on [c_t, y_t] and [c_t, x_t]
            *self.seq_D_cases(),  # gan_sequence_i: S_i on y and x
            *self.timecycle_cases(),  # timecycle_discriminator: D and S_0 on y and the images of the walk, added up
        ])  # fmt: skip


class TimeCyclePix2PixWarp(WarpLossMixin, TimeCyclePix2Pix):
    """TimeCycleGAN-P++: P with a warp loss by optical flow."""

    parts = (FLOW,)

    def __init__(self, options: Options, training: bool = True, **kwargs: Any):
        super().__init__(options, training, **warp_arguments(type(self), options, training), **kwargs)

    def generator_losses(self) -> Losses:
        losses = super().generator_losses()
        if self.warp_loss_weight and self.step.fake.shape[1] > 2:
            # warp: x_t shall be x_(t-1), moved as y moves: --warp_loss_weight
            self.warp_forward(self.step.fake, None, 1, *real_flow(self))
            losses |= self.warp_terms()
        return losses
