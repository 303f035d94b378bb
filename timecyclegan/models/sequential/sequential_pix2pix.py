"""pix2pix with a recurrent generator."""
from typing import Any

from timecyclegan.models.baselines.pix2pix_model import Pix2PixModel
from timecyclegan.models.parts import RECURRENCE, recurrence_arguments
from timecyclegan.models.sequential.sequential_mixin import SequentialMixin
from timecyclegan.util.options import Options


class SequentialPix2Pix(SequentialMixin, Pix2PixModel):
    """Pix2Pix whose generator sees its last outputs; the discriminator still judges every frame on its own."""

    recurrent = True
    default_block_size = 5
    parts = (RECURRENCE,)

    def __init__(self, options: Options, training: bool = True, **kwargs: Any):
        super().__init__(options, training, **recurrence_arguments(options), **kwargs)
