"""DCGAN (Radford et al. 2016): pictures from noise; as a video, every frame on its own."""
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from timecyclegan.losses import Losses
from timecyclegan.models.base_model import UnconditionalModel
from timecyclegan.models.networks.dcgan import CODE
from timecyclegan.util.options import Options


class DCGANModel(UnconditionalModel):
    """Generator and discriminator of single pictures, square, with a side that is a power of two from 64 on."""

    takes_code = True
    defaults: ClassVar = {"generator_architecture": "dcgan", "discriminator_architecture": "dcgan"}

    def __init__(self, options: Options, training: bool = True, **kwargs: Any):
        super().__init__(options, training, **kwargs)
        self.add_generators()
        if training:
            self.add_discriminators(self.channels)

    # ---- what the generator starts from; the recurrent one starts from its last outputs

    def generator_input_channels(self) -> int:
        return CODE

    def run(self, generator: nn.Module, source: Tensor, before: Tensor | None = None) -> Tensor:
        batch, length = source.shape[:2]
        # Drawn on the CPU, so that a seed means the same on every device.
        return generator(torch.randn(batch * length, CODE, 1, 1).to(source)).unflatten(0, (batch, length))

    def initial_state(self, noise: list[torch.Generator], first: Tensor) -> Tensor:
        """(N,), a seed for each sequence; every frame is drawn from the seed that the frame before left."""
        return torch.stack([_draw_seed(generator) for generator in noise])

    def translate_frame(self, source: Tensor, state: Tensor, domain: str = "target") -> tuple[Tensor, Tensor]:
        rows = [torch.Generator().manual_seed(int(seed)) for seed in state]
        codes = torch.stack([torch.randn(CODE, 1, 1, generator=row) for row in rows])
        return self.network("generator", domain)(codes.to(source)), self.initial_state(rows, source)

    # ---- losses

    def discriminator_losses(self) -> Losses:
        real, fake = self.fold(self.target), self.fold(self.fake)
        return {**super().discriminator_losses(), **self.adversarial_D("gan", self.discriminator, real, fake)}

    def generator_losses(self) -> Losses:
        fake = self.fold(self.fake)
        return {**super().generator_losses(), **self.adversarial_G("gan", self.discriminator, fake)}


def _draw_seed(generator: torch.Generator) -> Tensor:
    return torch.randint(2**62, (), generator=generator)
