"""TimeCycleGAN for paired translation."""
from timecyclegan.losses.modes import CYCLE_TYPES
from timecyclegan.models.mixins.seq_d_mixin import SeqDMixinPaired
from timecyclegan.models.mixins.timecycle_mixin import TimeCycleMixinPaired
from timecyclegan.models.sequential.sequential_pix2pix import SequentialPix2Pix
from timecyclegan.util.errors import UserError
from timecyclegan.util.options import Options


class TimeCyclePix2Pix(TimeCycleMixinPaired, SeqDMixinPaired, SequentialPix2Pix):
    """TimeCycleGAN-P: recurrent pix2pix, sequence discriminators, and TimeCycle judged by both kinds of them.

    The first frame is made from noise; sequence discriminators and the cycle leave it out.
    """

    n_frames_ignored = 1
    uses = SequentialPix2Pix.uses | {"timecycle_loss_weight", "timecycle_warp_loss_weight"}

    def __init__(self, options: Options, training: bool = True):
        super().__init__(options, training)
        if not training:
            return
        judged = options.block_size - self.n_frames_ignored
        n_frames = options.n_frames_discriminator or judged
        # While a run grows in time its clips may be too short for anything that looks at sequences.
        scales = options.discriminator_temporal_scales if 2 <= n_frames <= judged else 0
        self.define_seq_D(n_frames, scales, self.n_frames_ignored)
        if options.timecycle_loss_weight or options.timecycle_warp_loss_weight:
            sequence = [(getattr(self, name), n_frames, False) for name in self.seq_D_names[:1]]
            self.define_timecycle_paired((self.discriminator, 1, True), *sequence)

    @classmethod
    def check(cls, options: Options, training: bool = True) -> None:
        """Refuse what this model cannot do, before anything is built."""
        super().check(options, training)
        if training and options.temporal_scaling == (1.0,):  # a run that grows may begin with clips too short for all
            cls._check_clip_length(options)
        if options.timecycle_type == "timerecycle":
            raise UserError("--timecycle_type timerecycle needs RecycleGAN's predictor, which this model does not have")
        if options.timecycle_type == "pingpong" and options.n_frames_generator != 1:
            raise UserError(
                f"--timecycle_type pingpong feeds the generator one frame: use --n_frames_generator 1, "
                f"not {options.n_frames_generator}"
            )

    @classmethod
    def _check_clip_length(cls, options: Options) -> None:
        """What looks at sequences must have some: it would be left out of the training without a word."""
        block = options.block_size or cls.default_block_size
        judged = block - cls.n_frames_ignored
        n_frames = options.n_frames_discriminator or max(judged, 2)
        if n_frames < 2:
            raise UserError(f"--n_frames_discriminator {n_frames} is no sequence: use 2 or more, or 0")
        walks = options.timecycle_loss_weight or options.timecycle_warp_loss_weight
        walked = CYCLE_TYPES[options.timecycle_type].history + 1
        needed = {
            f"--timecycle_type {options.timecycle_type}": walked if walks else 0,
            f"--n_frames_discriminator {n_frames} with --discriminator_temporal_scales "
            f"{options.discriminator_temporal_scales}": _span(n_frames, options.discriminator_temporal_scales),
        }
        for flag, frames in needed.items():
            if frames > judged:
                raise UserError(
                    f"{flag} needs clips of {frames + cls.n_frames_ignored} frames (the first is not judged), "
                    f"--block_size is {block}"
                )


def _span(n_frames: int, scales: int) -> int:
    """Frames that one window of the widest of ``scales`` sequence discriminators covers; 0 without any."""
    return (n_frames - 1) * n_frames ** (scales - 1) + 1 if scales else 0
