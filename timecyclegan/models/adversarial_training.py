"""One training step: the discriminators' update, then the generators', on named and weighted losses."""
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from timecyclegan.losses import Losses, Term, total
from timecyclegan.losses.gan import discriminator_terms, frozen, gan_loss
from timecyclegan.util.errors import UserError


class NonFiniteLoss(UserError):
    """A loss became infinite or not a number; nothing was updated with it."""


class AdversarialTraining:
    """How a ``BaseModel`` is trained; it has the networks of the roles "G" and "D", names for
    what belongs to a domain, options and optimizers."""

    def make_optimizers(self) -> None:
        """Adam (Kingma and Ba 2015) for the generator side and, where there is one, the discriminator side."""
        for role in ("G", "D"):
            # A dictionary keeps the order and holds each parameter once, shared networks included.
            parameters = {p: None for network in self.networks(role).values() for p in network.parameters()}
            if parameters:
                self.optimizers[role] = torch.optim.Adam(parameters, lr=self.options.learning_rate, betas=(0.5, 0.999))

    def generator_losses(self) -> Losses:
        """The terms that the generator side minimises, for what the last :meth:`forward` made."""
        return {}

    def discriminator_losses(self) -> Losses:
        """The terms that the discriminators minimise."""
        return {}

    def training_step(
        self, batch: Mapping[str, Any], scaler: torch.amp.GradScaler, amp: torch.dtype | None = None,
        show: Callable[[dict[str, Tensor]], object] | None = None,
    ) -> dict[str, float]:
        """One forward pass, then the discriminators' update, then the generator's.

        Args:
            show: called with what :meth:`visuals` gives, before the step ends.

        Returns:
            The losses by name, unweighted, ``Generator/...`` and ``Discriminator/...``, and their weighted ``total``.

        Raises:
            NonFiniteLoss: a term is not finite; the networks it belongs to were not updated.
        """
        device = next(self.parameters()).device
        with torch.autocast(device.type, amp, enabled=amp is not None):
            self(**{key: batch[key].to(device, non_blocking=True) for key in self.inputs})
        logs: dict[str, float] = {}
        for role, name, losses in (
            ("D", "Discriminator", self.discriminator_losses),
            ("G", "Generator", self.generator_losses),
        ):
            if role in self.optimizers:
                with torch.autocast(device.type, amp, enabled=amp is not None):
                    terms = self._terms(role, losses)
                logs |= self._update(role, name, terms, scaler)
        scaler.update()
        if show:
            show(self.visuals())
        return logs

    def _terms(self, role: str, losses: Callable[[], Losses]) -> Losses:
        if role == "D":
            return losses()
        with frozen(*self.networks("D").values()):
            return losses()

    def _update(self, role: str, name: str, terms: Losses, scaler: torch.amp.GradScaler) -> dict[str, float]:
        optimizer = self.optimizers[role]
        # One transfer for all terms: on a GPU each would wait for the device.
        values = dict(zip(terms, torch.stack([t.value.detach().float() for t in terms.values()]).tolist(), strict=True))
        for key, value in values.items():
            if not -float("inf") < value < float("inf"):
                raise NonFiniteLoss(
                    f"the loss {name}/{key} became {value}: training stopped before using it"
                )
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(total(terms)).backward()
        scaler.step(optimizer)
        values["total"] = sum(term.weight * values[key] for key, term in terms.items())
        return {f"{name}/{key}": value for key, value in values.items()}

    # ---- adversarial terms, the same for every discriminator

    def criterion_GAN(self, prediction: Tensor, is_real: bool) -> Tensor:
        """``losses.gan.gan_loss`` with the mode of the options."""
        return gan_loss(prediction, is_real, self.options.gan_mode)

    def adversarial_D(
        self, name: str, discriminator: nn.Module, real: Tensor, fake: Tensor, domain: str = "target"
    ) -> Losses:
        """``losses.gan.discriminator_terms`` with the mode of the options, as they are called in ``domain``."""
        penalised = self.options.gan_mode == "wgangp"
        terms = discriminator_terms(name, discriminator, real, fake, self.criterion_GAN, penalised)
        return {self.name_in(domain, key): term for key, term in terms.items()}

    def adversarial_G(self, name: str, discriminator: nn.Module, fake: Tensor, domain: str = "target") -> Losses:
        """How far ``discriminator`` is from taking ``fake`` for real, as ``name`` is called in ``domain``."""
        return {self.name_in(domain, name): Term(self.criterion_GAN(discriminator(fake), True))}

    # ---- going on with a run

    def training_state(self) -> dict[str, Any]:
        """What a run needs to go on besides networks and optimizers: tensors and plain values, on the CPU."""
        return {}

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """Take back what :meth:`training_state` gave."""
