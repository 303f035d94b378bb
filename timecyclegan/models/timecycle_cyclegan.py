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
    """TimeCycleGAN-UP: from a clip c of one domain it makes a clip x of the other, and the same the other way round.

    Every network is there twice, for each domain d (target, source) that it makes or judges; y is a real clip of d:

    | network | name | sees |
    |---|---|---|
    | G_d | ``generator_d`` | [c_t, x_(t-1)], and makes x_t; noise stands before x_0 |
    | D_d | ``discriminator_d`` | one frame, x_t or y_t |
    | S_i_d | ``sequence_discriminator_i_d`` | n frames at stride n^i |
    | M_d | ``timecycles.d`` | [c_t, frame t+1] or [c_t, frame t-1], and makes frame t |

    x_0 is made of noise: D_d sees it, S_i_d and the walk begin with frame 1. The walk is that of P
    (``timecycle_pix2pix``), with images p_t, s_t, rl_t, rs_t.
    """

    parts = (WALK, SEQUENCES)

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
                self.timecycle_forward(fake, condition, 1, domain, self.drawn.get("returns"))
                self.set_timecycle_discriminator_input(real, None, 1, domain)
        return made

    def generator_losses(self) -> Losses:
        """What G_d and M_d minimise: the sum of these terms, each times its weight. Adversarial terms weigh 1."""
        return {
            # gan_d: D_d shall take every x_t for real, as --gan_mode measures it.
            **self.generator_terms(self.gan_cases()),
            # cycle_d: a clip of d that went to the other domain and back shall be itself: --cycle_loss_weight.
            # identity_d: what G_d makes of a clip of d shall be itself: half of --cycle_loss_weight.
            **self.cycle_terms(self.options.cycle_loss_weight),
            # gan_sequence_i_d: S_i_d shall take windows of x for real.
            **self.seq_D_terms(),
            # timecycle_d: p_t and s_t shall be x_t, rl_t and rs_t the last frame of x: --timecycle_loss_weight.
            # timecycle_warp_d: x_t shall be what M_d makes of its neighbours: --timecycle_warp_loss_weight.
            # timecycle_gan_d: D_d and S_0_d shall take the images of the walk for real.
            **self.timecycle_terms(),
        }

    def discriminator_losses(self) -> Losses:
        """What D_d and S_i_d minimise: the sum of these terms; each is (real + fake) / 2 for every judge."""
        return self.discriminator_terms([
            *self.pooled_gan_cases(),  # gan_d: D_d on every y_t, and on x_t of this and of earlier steps (--pool_size)
            *self.seq_D_cases(),  # gan_sequence_i_d: S_i_d on windows of y and x
            *self.timecycle_cases(),  # timecycle_discriminator_d: D_d and S_0_d on y and on the images of the walk
        ])  # fmt: skip
