"""TimeCycleGAN for video from noise: TimeCycle and sequence discriminators on a recurrent DCGAN."""
from typing import Any, ClassVar

from torch import Tensor

from timecyclegan.losses import Losses
from timecyclegan.models.mixins.seq_d_mixin import SeqDMixin
from timecyclegan.models.mixins.timecycle_mixin import TimeCycleMixin
from timecyclegan.models.parts import (
    SEQUENCES,
    WALK,
    add_sequence_discriminators,
    add_walk,
    sequence_arguments,
    walk_arguments,
)
from timecyclegan.models.sequential.sequential_dcgan import SequentialDCGAN
from timecyclegan.util.options import Options


class TimeCycleDCGAN(TimeCycleMixin, SeqDMixin, SequentialDCGAN):
    """TimeCycleGAN-U: from noise it makes a clip x; y is a real clip; frames are t = 0 .. L.

    | network | name | sees |
    |---|---|---|
    | G | ``generator`` | x_(t-1), and makes x_t; noise stands before x_0 |
    | D | ``discriminator`` | one frame, x_t or y_t |
    | S_i | ``sequence_discriminator_i`` | n frames at stride n^i |
    | M | ``timecycles.target`` | frames t+2 and t+1, or t-2 and t-1, and makes frame t |

    x_0 is made of noise: D sees it, S_i and the walk begin with frame 1. The walk: M goes back from x_L and x_(L-1),
    frame by frame on what it made (p_t), and from every p_t and p_(t+1) forward again to frame L (rl_t).
    """

    parts = (WALK, SEQUENCES)
    defaults: ClassVar = {"timecycle_type": "unconditional"}

    def __init__(self, options: Options, training: bool = True, **kwargs: Any):
        super().__init__(options, training, **walk_arguments(options), **sequence_arguments(options), **kwargs)
        if training:  # G and D are there
            add_sequence_discriminators(self)  # S_i
            # M. Its images are judged by D and S_0.
            add_walk(self, "target", judges=[self.frame_judge(), *self.seq_Ds["target"].judges[:1]])

    def forward(self, target: Tensor) -> Tensor:
        fake = super().forward(target)
        if self.seq_Ds:
            self.set_seq_D_input(fake, target)
        if self.timecycles:
            self.timecycle_forward(fake, ignore_first_n=1, returns=self.drawn.get("returns"))
            self.set_timecycle_discriminator_input(target, ignore_first_n=1)
        return fake

    def generator_losses(self) -> Losses:
        """What G and M minimise: the sum of these terms, each times its weight. Adversarial terms weigh 1."""
        return {
            # gan: D shall take every x_t for real, as --gan_mode measures it. gan_sequence_i: S_i windows of x.
            **self.generator_terms(self.gan_cases()),
            **self.seq_D_terms(),
            # timecycle: p_t shall be x_t, and rl_t shall be x_L: --timecycle_loss_weight.
            # timecycle_warp: x_t shall be what M makes of its neighbours, detached: --timecycle_warp_loss_weight.
            # timecycle_gan: D and S_0 shall take the images of the walk for real.
            **self.timecycle_terms(),
        }

    def discriminator_losses(self) -> Losses:
        """What D and S_i minimise: the sum of these terms; each is (real + fake) / 2 for every judge."""
        return self.discriminator_terms([
            *self.gan_cases(),  # gan: D on every y_t and x_t
            *self.seq_D_cases(),  # gan_sequence_i: S_i on windows of y and x
            *self.timecycle_cases(),  # timecycle_discriminator: D and S_0 on y and on the images of the walk
        ])  # fmt: skip
