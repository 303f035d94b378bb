"""TimeCycleGAN for unpaired translation: TimeCycle and sequence discriminators on a recurrent CycleGAN."""
from typing import Any

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
from timecyclegan.models.sequential.sequential_cyclegan import SequentialCycleGAN
from timecyclegan.util.options import Options


class TimeCycleCycleGAN(TimeCycleMixin, SeqDMixin, SequentialCycleGAN):
    """TimeCycleGAN-UP: from a clip c of one domain it makes a clip x of the other, and back.

    All networks exist twice, once for each domain d (target, source) that they make or judge:

    | network | name | sees |
    |---|---|---|
    | G_d | ``generator_d`` | [c_t, x_(t-1)], and makes x_t; before x_0 stands noise |
    | D_d, of frames | ``discriminator_d`` | a frame, any |
    | S_i_d, of sequences | ``sequence_discriminator_i_d`` | n frames at stride n^i, from frame 1 on |
    | M_d, the motion model | ``timecycles.d`` | [c_t, a neighbour of frame t], and makes frame t; from frame 1 on |

    The walk goes from the last frame of x back in time by M_d, and forward again; ``--timecycle_type`` has other ways.
    """

    parts = (SEQUENCES, WALK)

    def __init__(self, options: Options, training: bool = True, **kwargs: Any):
        super().__init__(options, training, **walk_arguments(options), **sequence_arguments(options), **kwargs)
        if training:  # G_d and D_d are there
            add_sequence_discriminators(self)  # S_i_d
            for domain in self.domains:
                # M_d. Its images are judged by D_d and S_0_d.
                add_walk(self, domain, judges=[self.frame_judge(domain), *self.seq_Ds[domain].judges[:1]])

    def forward(self, source: Tensor, target: Tensor) -> dict[str, Tensor]:
        made = super().forward(source, target)
        for domain, (fake, real, condition) in self.generated().items():
            if self.seq_Ds:
                self.set_seq_D_input(fake, real, seq_D_name=domain)
            if self.timecycles:
                self.timecycle_forward(fake, condition, 1, domain)
                self.set_timecycle_discriminator_input(real, None, 1, domain)
        return made

    def generator_losses(self) -> Losses:
        """What G_d and M_d minimise: the sum of these terms, each times its weight. A weight that is not named is 1."""
        return {
            # gan_d: D_d shall take x_t for real.
            **self.generator_terms(self.gan_cases()),
            # cycle_d: to the other domain and back, a clip shall be what it was. identity_d: G_d shall leave clips of
            # its own domain as they are; half the weight.
            **self.cycle_terms(self.options.cycle_loss_weight),
            # gan_sequence_i_d: S_i_d shall take x for real.
            **self.seq_D_terms(),
            # timecycle_d: the walk shall meet the frames of x, and end where it began: --timecycle_loss_weight.
            # timecycle_warp_d: one step of M_d from each frame shall meet the next: --timecycle_warp_loss_weight.
            # timecycle_gan_d: D_d and S_0_d shall take the images of the walk for real.
            **self.timecycle_terms(),
        }

    def discriminator_losses(self) -> Losses:
        """What D_d and S_i_d minimise: for each term (real + fake) / 2; ``--gan_mode`` says how they are measured."""
        return self.discriminator_terms([
            *self.pooled_gan_cases(),  # gan_d: D_d on the real frames and on x_t of this and earlier steps
            *self.seq_D_cases(),  # gan_sequence_i_d: S_i_d on the real clip and x
            *self.timecycle_cases(),  # timecycle_discriminator_d: D_d, S_0_d on the real clip and the walk
        ])  # fmt: skip
