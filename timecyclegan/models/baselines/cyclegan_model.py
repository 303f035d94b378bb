"""CycleGAN (Zhu et al. 2017): unpaired translation between two domains, frame by frame."""
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from timecyclegan.losses import Losses, Term
from timecyclegan.models.base_model import OTHER, UnpairedModel
from timecyclegan.models.image_pool import ImagePool
from timecyclegan.util.options import Options

IDENTITY = 0.5  # of the cycle loss's weight; CycleGAN, section 5.2


class CycleGANModel(UnpairedModel):
    """Two generators and two discriminators; what goes to the other domain and back shall be what it was."""

    uses = frozenset({"cycle_loss_weight", "pool_size"})

    def __init__(self, options: Options, training: bool = True, **kwargs: Any):
        super().__init__(options, training, **kwargs)
        self.add_generators()
        if training:
            self.add_discriminators(self.channels)
            self.pools = {domain: ImagePool(options.pool_size) for domain in self.domains}

    def discriminator_losses(self) -> Losses:
        losses = super().discriminator_losses()
        for domain, (fake, real, _) in self.generated().items():
            shown = self.pools[domain].query(self.fold(fake))
            discriminator = self.network("discriminator", domain)
            losses |= self.adversarial_D("gan", discriminator, self.fold(real), shown, domain)
        return losses

    def generator_losses(self) -> Losses:
        losses = super().generator_losses()
        for domain, (fake, _, _) in self.generated().items():
            discriminator = self.network("discriminator", domain)
            losses |= self.adversarial_G("gan", discriminator, self.fold(fake), domain)
        if weight := self.options.cycle_loss_weight:
            for domain, real in self.real.items():
                losses[f"cycle_{domain}"] = _l1(self.translate(domain, self.fake[OTHER[domain]]), real, weight)
            for domain, real in self.real.items():
                losses[f"identity_{domain}"] = _l1(self.translate(domain, real), real, IDENTITY * weight)
        return losses

    def training_state(self) -> dict[str, Any]:
        return {**super().training_state(), "pools": {domain: pool.state() for domain, pool in self.pools.items()}}

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        super().load_training_state(state)
        device = next(self.parameters()).device
        for domain, pool in self.pools.items():
            pool.restore(state["pools"][domain], device)


def _l1(made: Tensor, real: Tensor, weight: float) -> Term:
    return Term(torch.mean((made - real).abs()), weight)
