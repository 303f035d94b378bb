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
    """TimeCycleGAN-U: from noise it makes a clip x; y is a real clip.

    | network | name | sees |
    |---|---|---|
    | G | ``generator`` | x_(t-1), and makes x_t; before x_0 stands noise |
    | D, of frames | ``discriminator`` | a frame, any |
    | S_i, of sequences | ``sequence_discriminator_i`` | n frames at stride n^i, from frame 1 on |
    | M, the motion model | ``timecycles.target`` | two frames before or after frame t, and makes it; from frame 1 on |

    The walk goes from the last two frames of x back in time by M, and forward again.
    """

    parts = (SEQUENCES, WALK)
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
            self.timecycle_forward(fake, ignore_first_n=1)
            self.set_timecycle_discriminator_input(target, ignore_first_n=1)
        return fake

    def generator_losses(self) -> Losses:
        """What G and M minimise: the sum of these terms, each times its weight. A weight that is not named is 1."""
        return {
            # gan: D shall take x_t for real. gan_sequence_i: S_i shall take x for real.
            **self.generator_terms(self.gan_cases()),
            **self.seq_D_terms(),
            # timecycle: the walk shall meet the frames of x, and end where it began: --timecycle_loss_weight.
            # timecycle_warp: one step of M from each two frames shall meet the next: --timecycle_warp_loss_weight.
            # timecycle_gan: D and S_0 shall take the images of the walk for real.
            **self.timecycle_terms(),
        }

    def discriminator_losses(self) -> Losses:
        """What D and S_i minimise: for each term (real + fake) / 2; ``--gan_mode`` says how they are measured."""
        return self.discriminator_terms([
            *self.gan_cases(),  # gan: D on y_t and x_t
            *self.seq_D_cases(),  # gan_sequence_i: S_i on y and x
            *self.timecycle_cases(),  # timecycle_discriminator: D and S_0 on y and the images of the walk, added up
        ])  # fmt: skip
