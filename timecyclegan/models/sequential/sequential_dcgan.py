"""DCGAN with a recurrent generator."""
from typing import Any, ClassVar

from timecyclegan.models.baselines.dcgan_model import DCGANModel
from timecyclegan.models.parts import RECURRENCE, recurrence_arguments
from timecyclegan.models.sequential.sequential_mixin import SequentialMixin
from timecyclegan.util.options import Options


class SequentialDCGAN(SequentialMixin, DCGANModel):
    """DCGAN that makes a frame from a code, which it makes from its last outputs; noise stands before the first."""

    recurrent = True
    default_block_size = 5
    parts = (RECURRENCE,)
    takes_code = draws_frames = False
    defaults: ClassVar = {"generator_architecture": "dcgan_enc"}

    def __init__(self, options: Options, training: bool = True, **kwargs: Any):
        super().__init__(options, training, **recurrence_arguments(options), **kwargs)
