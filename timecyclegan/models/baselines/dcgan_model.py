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

    takes_code = draws_frames = True
    defaults: ClassVar = {"generator_architecture": "dcgan", "discriminator_architecture": "dcgan"}

    def __init__(self, options: Options, training: bool = True, **kwargs: Any):
        super().__init__(options, training, **kwargs)
        self.add_generators()
        if training:
            self.add_discriminators(self.channels)

    # ---- what the generator starts from; the recurrent one starts from its last outputs

    def generator_input_channels(self) -> int:
        return super().generator_input_channels() if self.recurrent else CODE

    def noise_shapes(self) -> dict[str, tuple[int, ...]]:
        codes = {} if self.recurrent else {"fake": (self.options.block_size, CODE, 1, 1)}
        return {**super().noise_shapes(), **codes}

    def run(
        self, generator: nn.Module, source: Tensor, before: Tensor | None = None, noise: Tensor | None = None
    ) -> Tensor:
        if self.recurrent:
            return super().run(generator, source, before, noise)
        batch, length = source.shape[:2]
        if noise is None:  # drawn on the CPU, so that a seed means the same on every device
            noise = torch.randn(batch, length, CODE, 1, 1)
        return self.lightened(generator)(noise.to(source).flatten(0, 1)).unflatten(0, (batch, length))

    def initial_state(self, noise: list[torch.Generator], first: Tensor) -> Tensor:
        """(N,) on the CPU, a seed for each sequence; every frame is drawn from the seed that the frame before left."""
        if self.recurrent:
            return super().initial_state(noise, first)
        return torch.stack([_draw_seed(generator) for generator in noise])

    def translate_frame(self, source: Tensor, state: Tensor, domain: str = "target") -> tuple[Tensor, Tensor]:
        if self.recurrent:
            return super().translate_frame(source, state, domain)
        rows = [torch.Generator().manual_seed(seed) for seed in state.tolist()]
        codes = torch.stack([torch.randn(CODE, 1, 1, generator=row) for row in rows])
        return self.network("generator", domain)(codes.to(source)), self.initial_state(rows, source)

    # ---- losses

    def discriminator_losses(self) -> Losses:
        return self.discriminator_terms(self.gan_cases())

    def generator_losses(self) -> Losses:
        return self.generator_terms(self.gan_cases())


def _draw_seed(generator: torch.Generator) -> Tensor:
    return torch.randint(2**62, (), generator=generator)
