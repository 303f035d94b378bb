"""RecycleGAN (Bansal et al. 2018): unpaired translation that also predicts how a domain goes on in time."""
from typing import Any

import torch
from torch import Tensor

from timecyclegan.losses import Losses, Term
from timecyclegan.models.adversarial_terms import Case
from timecyclegan.models.base_model import OTHER, UnpairedModel
from timecyclegan.models.mixins.host import Step
from timecyclegan.models.networks import Architecture, define_motion_model, generator
from timecyclegan.util.errors import UserError
from timecyclegan.util.options import Options

PREDICTOR = "--recycle_predictor_architecture"


class RecycleGANModel(UnpairedModel):
    """Generators, discriminators, and for each domain a predictor of a frame from the two before it.

    A clip of T frames is translated up to frame T - 2; the predictor of the new domain makes frames 2 .. T - 1 of it
    from each two translated frames. Translated back, they shall be the frames of the clip (the recycle loss). The
    paper's step is T = 3; longer clips take the means over all frames that there are.
    """

    default_block_size = 3
    predicts = True
    translates_last = False  # whether the last frame is translated too, which RecycleGAN's own losses do not need
    uses = frozenset({"cycle_loss_weight", "recycle_loss_weight", "recycle_predictor_architecture",
                      "recycle_predictor_filters", "recycle_predictor_gan"})  # fmt: skip

    def __init__(self, options: Options, training: bool = True, **kwargs: Any):
        super().__init__(options, training, **kwargs)
        self.add_generators()
        if training:
            for domain in self.domains:
                network = define_motion_model(
                    options.recycle_predictor_architecture, 2 * self.channels, self.channels,
                    options.recycle_predictor_filters, self.predicts_change(options), flag=PREDICTOR,
                    size=options.image_height,
                )  # fmt: skip
                self.add_network(f"predictor_{domain}", network, role="G")
            self.add_discriminators(self.channels)

    @classmethod
    def further_networks(cls, options: Options) -> dict[str, Architecture]:
        predictor = generator(options.recycle_predictor_architecture, flag=PREDICTOR)
        return {**super().further_networks(options), PREDICTOR: predictor}

    @classmethod
    def check(cls, options: Options, training: bool = True) -> None:
        """Refuse clips from which nothing can be predicted, and two weights for one loss."""
        if training and 0 < options.block_size < 3:
            grown = "" if options.temporal_scaling == (1.0,) else ", also where --temporal_scaling shortens clips"
            raise UserError(
                f"--block_size {options.block_size}: RecycleGAN predicts a frame from two, use 3 or more{grown}"
            )
        weights = options.cycle_loss_weight, options.recycle_loss_weight
        if all(weights) and weights[0] != weights[1]:
            raise UserError(
                f"--cycle_loss_weight {weights[0]:g} and --recycle_loss_weight {weights[1]:g} both weigh RecycleGAN's "
                "recycle and predictor losses: give one of them"
            )
        super().check(options, training)

    @staticmethod
    def predicts_change(options: Options) -> bool:
        """Whether the predictor predicts the change since the newer frame; the paper's predicts the frame."""
        return False

    def rollouts(self) -> list[str]:
        return [f"{kind}_{domain}" for kind in ("fake", "recycle") for domain in self.domains]

    def predict(self, domain: str, clip: Tensor) -> Tensor:
        """Frames 2 .. T of a clip (N, T, 3, H, W) of ``domain``, each from the two before it."""
        pairs = torch.cat([clip[:, :-1], clip[:, 1:]], dim=2)
        return self.lightened(self.network("predictor", domain))(pairs.flatten(0, 1)).unflatten(0, pairs.shape[:2])

    def forward(self, source: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Translate both clips (N, T, 3, H, W) and predict how they go on; kept for the step by domain: ``real``,
        ``fake``, ``predicted`` (N, T - 2, 3, H, W).

        The last frame of ``fake`` is a prediction unless the model translates it too.
        """
        real, made, predicted = {"target": target, "source": source}, {}, {}
        for domain in self.domains:
            clip = real[OTHER[domain]]
            clip = clip if self.translates_last else clip[:, :-1]
            fake = self.translate(domain, clip, noise=self.noise(f"fake_{domain}"))
            predicted[domain] = self.predict(domain, fake[:, : real[domain].shape[1] - 1])
            if not self.translates_last:
                fake = torch.cat([fake, predicted[domain][:, -1:]], dim=1)
            made[domain] = fake
        self.step = Step(real=real, fake=made, predicted=predicted)
        return made

    def gan_cases(self) -> list[Case]:
        """``gan``: translated frames 0 .. T - 2 and predicted ones against all real ones; ``gan_predictor``: what is
        predicted of real frames, against real ones."""
        cases, step = [], self.step
        for domain, real in step.real.items():
            judge = self.frame_judge(domain)
            fake = torch.cat([step.fake[domain][:, :-1], step.predicted[domain]], dim=1)
            cases.append(self.gan_case("gan", domain, judge, judge.show(fake), judge.show(real)))
            if self.options.recycle_predictor_gan:
                shown = judge.show(self.predicted_of_real(domain)), judge.show(real, first=2)
                cases.append(self.gan_case("gan_predictor", domain, judge, *shown))
        return cases

    def predicted_of_real(self, domain: str) -> Tensor:
        """(N, T - 2, 3, H, W), frames 2 .. T - 1 of the real clip as the predictor makes them; once a step."""
        known = vars(self.step).setdefault("predicted_of_real", {})
        if domain not in known:
            known[domain] = self.predict(domain, self.step.real[domain][:, :-1])
        return known[domain]

    def discriminator_losses(self) -> Losses:
        return self.discriminator_terms(self.gan_cases())

    def generator_losses(self) -> Losses:
        weight = self.options.recycle_loss_weight or self.options.cycle_loss_weight
        return {**self.generator_terms(self.gan_cases()), **self.recycle_terms(weight)}

    def recycle_terms(self, weight: float) -> Losses:
        """``recycle``: predicted frames of the other domain, translated back, beside the real ones; ``predictor``:
        what is predicted of real frames, beside the real ones."""
        losses: Losses = {}
        for domain, real in self.step.real.items() if weight else ():
            other = OTHER[domain]
            before, noise = self.step.fake[other][:, :2], self.noise(f"recycle_{domain}")
            back = self.translate(domain, self.step.predicted[other], before, noise)
            losses[f"recycle_{domain}"] = Term((back - real[:, 2:]).abs().mean(), weight)
            losses[f"predictor_{domain}"] = Term((self.predicted_of_real(domain) - real[:, 2:]).abs().mean(), weight)
        return losses
