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
    """TimeCycleGAN-P: from a source clip c it makes x, beside the real clip y; ``--block_size`` frames, t = 0 .. L.

    | network | name | sees |
    |---|---|---|
    | G | ``generator`` | [c_t, x_(t-1)], and makes x_t; gradients run back through all frames; noise before x_0 |
    | D | ``discriminator`` | one frame with its condition: [c_t, x_t], [c_t, y_t] |
    | S_i | ``sequence_discriminator_i`` | n frames at stride n^i, without conditions, in windows |
    | M | ``timecycles.target`` | [c_t, a frame after or before t], and makes frame t: one network for both ways |

    There are ``--discriminator_temporal_scales`` S_i (one), n is ``--n_frames_discriminator`` (all of x_1 .. x_L). x_0
    is made of noise: D sees it, S_i and the walk begin with frame 1.

    The walk (``--timecycle_type conditional``, the default): M goes back from x_L, frame by frame on its images (p_t),
    and from x_L to each frame in one step (s_t). Then forward again to frame L: from every p_t frame by frame (rl_t),
    from every s_t in one step (rs_t).
    """

    parts = (WALK, SEQUENCES)

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
            self.set_seq_D_input(fake, target)  # without frame 0: add_sequence_discriminators says so
        if self.timecycles:
            self.timecycle_forward(fake, source, ignore_first_n=1, returns=self.drawn.get("returns"))
            if target is not None:
                self.set_timecycle_discriminator_input(target, source, ignore_first_n=1)
        return fake

    def generator_losses(self) -> Losses:
        """What G and M minimise: the sum of these terms, each times its weight."""
        options = self.options
        return {
            # gan: D shall take every [c_t, x_t] for real, as --gan_mode measures it: --gan_loss_weight, of 1.
            # feature_matching: D's features of [c_t, x_t] shall be those of [c_t, y_t]: --feature_matching_loss_weight.
            **self.generator_terms(self.gan_cases(), options.feature_matching_loss_weight),
            # l1: x and y, pixel by pixel, all frames: --l1_loss_weight.
            **self.l1_terms(options.l1_loss_weight),
            # perceptual: x and y in the features of VGG19: --perceptual_loss_weight.
            **self.perceptual_terms(options.perceptual_loss_weight),
            # gan_sequence_i: S_i shall take windows of x for real: --sequence_gan_loss_weight, of 1.
            # feature_matching_sequence_i: S_i's features of x shall be those of y: --feature_matching_loss_weight.
            **self.seq_D_terms(),
            # timecycle: p_t and s_t shall be x_t, rl_t and rs_t shall be x_L, each a quarter of it, nothing detached:
            #   --timecycle_loss_weight; the distance is --timecycle_loss, --timecycle_sharpness asks for detail.
            # timecycle_warp: x_t shall be what M makes of x_(t+1), plus what M makes of x_(t-1), which is detached, so
            #   it trains G alone: --timecycle_warp_loss_weight.
            # timecycle_gan: D shall take [c_t, p_t], [c_t, s_t], [c_L, rl_t], [c_L, rs_t] for real, all in one mean;
            #   plus S_0 windows of [p_1 .. x_L] and [s_1 .. x_L]: --timecycle_gan_loss_weight, of 1. It is there if one
            #   of the two weights before is not 0.
            **self.timecycle_terms(),
        }

    def discriminator_losses(self) -> Losses:
        """What D and S_i minimise: the sum of these terms; each is (real + fake) / 2 for every judge, all weigh 1."""
        return self.discriminator_terms([
            *self.gan_cases(),  # gan: D on every [c_t, y_t] and [c_t, x_t]
            *self.seq_D_cases(),  # gan_sequence_i: S_i on windows of y and x
            # timecycle_discriminator: D on [c_t, y_t], t = 1 .. L-1, and the images of the walk as in timecycle_gan;
            # plus S_0 on windows of y, and on those of the walk
            *self.timecycle_cases(),
        ])  # fmt: skip


class TimeCyclePix2PixWarp(WarpLossMixin, TimeCyclePix2Pix):
    """TimeCycleGAN-P++: P, and ``warp``: x_t shall be x_(t-1), moved as y moves (``--warp_loss_weight``)."""

    parts = (FLOW,)

    def __init__(self, options: Options, training: bool = True, **kwargs: Any):
        super().__init__(options, training, **warp_arguments(type(self), options, training), **kwargs)

    def generator_losses(self) -> Losses:
        losses = super().generator_losses()
        if self.warp_loss_weight and self.step.fake.shape[1] > 2:
            self.warp_forward(self.step.fake, None, 1, *real_flow(self))  # without frame 0
            losses |= self.warp_terms()
        return losses
