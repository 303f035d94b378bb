"""DCGAN with a recurrent generator."""
from typing import ClassVar

from timecyclegan.models.baselines.dcgan_model import DCGANModel
from timecyclegan.models.sequential.sequential_mixin import SequentialModel


class SequentialDCGAN(SequentialModel, DCGANModel):
    """DCGAN that makes a frame from a code, which it makes from its last outputs; noise stands before the first."""

    defaults: ClassVar = {"generator_architecture": "dcgan_enc"}
