"""CycleGAN with recurrent generators."""
from typing import Any

from timecyclegan.models.baselines.cyclegan_model import CycleGANModel
from timecyclegan.models.parts import RECURRENCE, recurrence_arguments
from timecyclegan.models.sequential.sequential_mixin import SequentialMixin
from timecyclegan.util.options import Options


class SequentialCycleGAN(SequentialMixin, CycleGANModel):
    """CycleGAN whose generators see their last outputs; whole clips go to the other domain and back."""

    recurrent = True
    default_block_size = 5
    parts = (RECURRENCE,)

    def __init__(self, options: Options, training: bool = True, **kwargs: Any):
        super().__init__(options, training, **recurrence_arguments(options), **kwargs)
