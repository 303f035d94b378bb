"""RecycleGAN with recurrent generators."""
from typing import Any

from timecyclegan.models.baselines.recyclegan_model import RecycleGANModel
from timecyclegan.models.parts import RECURRENCE, recurrence_arguments
from timecyclegan.models.sequential.sequential_mixin import SequentialMixin
from timecyclegan.util.options import Options


class SequentialRecycleGAN(SequentialMixin, RecycleGANModel):
    """RecycleGAN whose generators see their last outputs.

    On the way back they begin with the first two translated frames and go on with the predicted ones.
    """

    recurrent = True
    default_block_size = 5
    parts = (RECURRENCE,)

    def __init__(self, options: Options, training: bool = True, **kwargs: Any):
        super().__init__(options, training, **recurrence_arguments(options), **kwargs)
