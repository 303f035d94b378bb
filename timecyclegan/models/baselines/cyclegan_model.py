"""CycleGAN (Zhu et al. 2017): unpaired translation between two domains, frame by frame."""
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from timecyclegan.losses import Losses, Term
from timecyclegan.models.adversarial_terms import Case
from timecyclegan.models.base_model import OTHER, UnpairedModel
from timecyclegan.models.image_pool import ImagePool
from timecyclegan.models.mixins.host import Step
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

    def forward(self, source: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Translate both clips (N, T, 3, H, W); kept for the step by domain: ``real``, ``fake``, and ``identity``, the
        clips that were in the domain already, which go through the generator together with those of the other."""
        real, fake, identity = {"target": target, "source": source}, {}, {}
        for domain in self.domains:
            clips = {f"fake_{domain}": real[OTHER[domain]]}
            if self.options.cycle_loss_weight:
                clips[f"identity_{domain}"] = real[domain]
            made = self.translate(domain, torch.cat(list(clips.values())), noise=self.noise(*clips))
            fake[domain], *same = made.chunk(len(clips))
            if same:
                identity[domain] = same[0]
        self.step = Step(real=real, fake=fake, identity=identity)
        return fake

    def rollouts(self) -> list[str]:
        kinds = ("fake", "identity", "cycle") if self.options.cycle_loss_weight else ("fake",)
        return [f"{kind}_{domain}" for kind in kinds for domain in self.domains]

    def draws(self, seed: int, step: int, samples: Sequence[int]) -> list[dict[str, Tensor]]:
        found = super().draws(seed, step, samples)
        for number, (domain, pool) in enumerate(self.pools.items()):
            # The spawn key keeps these streams apart from those of the data, and from each other.
            rng = np.random.default_rng(np.random.SeedSequence([seed, step], spawn_key=(6, number)))
            for drawn, count in zip(found, samples, strict=True):
                drawn[f"pool_{domain}"] = pool.plan(count * self.options.block_size, rng)
        return found

    def pooled_gan_cases(self) -> list[Case]:
        """As :meth:`gan_cases`, with generated frames of earlier steps among those of this one: call it once a step."""
        cases = []
        for case, (domain, pool) in zip(self.gan_cases(), self.pools.items(), strict=True):
            pictures, plan = self.fold(self.step.fake[domain]).detach(), self.drawn.get(f"pool_{domain}")
            if self.peers:  # one pool for all: each process holds it whole, and shows its own part
                pictures = self.peers.own(pool.query(self.peers.gather(pictures, self.counts), plan), self.counts)
            else:
                pictures = pool.query(pictures, plan)
            cases.append(case._replace(fake=case.judge.show(pictures.unsqueeze(1))))  # (M, 1, C, H, W)
        return cases

    def discriminator_losses(self) -> Losses:
        return self.discriminator_terms(self.pooled_gan_cases())

    def generator_losses(self) -> Losses:
        return {**self.generator_terms(self.gan_cases()), **self.cycle_terms(self.options.cycle_loss_weight)}

    def cycle_terms(self, weight: float) -> Losses:
        """``cycle``: clips that went to the other domain and back, beside themselves; and, with half the weight,
        ``identity``: clips that went to the domain where they were (CycleGAN, section 5.2)."""
        if not weight:
            return {}
        step, losses = self.step, {}
        for domain, real in step.real.items():
            back = self.translate(domain, step.fake[OTHER[domain]], noise=self.noise(f"cycle_{domain}"))
            losses[f"cycle_{domain}"] = _l1(back, real, weight)
        for domain, real in step.real.items():
            losses[f"identity_{domain}"] = _l1(step.identity[domain], real, IDENTITY * weight)
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
