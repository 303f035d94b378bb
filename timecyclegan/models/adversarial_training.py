"""One training step: the discriminators' update, then the generators', on named and weighted losses."""
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from timecyclegan.losses import Losses, total
from timecyclegan.losses.gan import gan_loss
from timecyclegan.models.adversarial_terms import Case, discriminator_terms, generator_terms
from timecyclegan.util.device import to_device
from timecyclegan.util.errors import UserError

OVERFLOWS = 20  # steps in a row that float16 may fail; the scale of its gradients is then a millionth of what it was


class NonFiniteLoss(UserError):
    """A loss became infinite or not a number; nothing was updated with it."""


class AdversarialTraining:
    """How a ``BaseModel`` is trained; it has the networks of the roles "G" and "D", names for
    what belongs to a domain, options and optimizers."""

    _overflows = 0  # steps in a row in which float16 overflowed

    def make_optimizers(self) -> None:
        """Adam (Kingma and Ba 2015) for the generator side and, where there is one, the discriminator side."""
        for role in ("G", "D"):
            # A dictionary keeps the order and holds each parameter once, shared networks included.
            parameters = {p: None for network in self.networks(role).values() for p in network.parameters()}
            if parameters:
                self.optimizers[role] = torch.optim.Adam(parameters, lr=self.options.learning_rate, betas=(0.5, 0.999))

    def generator_losses(self) -> Losses:
        """The terms that the generator side minimises, for what this step's :meth:`forward` made."""
        raise NotImplementedError

    def discriminator_losses(self) -> Losses:
        """The terms that the discriminators minimise."""
        raise NotImplementedError

    def training_step(
        self, batch: Mapping[str, Any], scaler: torch.amp.GradScaler, amp: torch.dtype | None = None,
        show: Callable[[dict[str, Tensor]], object] | None = None,
    ) -> dict[str, float]:  # fmt: skip
        """One forward pass, then the discriminators' update, then the generator's.

        Where ``scaler`` is enabled, an update that overflowed is left out and the next ones are scaled lower.

        Args:
            show: is given the videos of the step, see :meth:`BaseModel.visuals`, before it ends.

        Returns:
            The losses by name, unweighted, ``Generator/...`` and ``Discriminator/...``, and their weighted ``total``.

        Raises:
            NonFiniteLoss: a term is not finite, or updates overflowed in :data:`OVERFLOWS` steps in a row; the networks
                they belong to were not updated.
        """
        device = next(self.parameters()).device
        logs: dict[str, float] = {}
        scale = scaler.get_scale()
        try:
            with torch.autocast(device.type, amp, enabled=amp is not None):
                self(**to_device(batch, self.inputs, device))
            for role, name, losses in (
                ("D", "Discriminator", self.discriminator_losses),
                ("G", "Generator", self.generator_losses),
            ):
                if role in self.optimizers:
                    with torch.autocast(device.type, amp, enabled=amp is not None):
                        terms = losses()
                    logs |= self._update(role, name, terms, scaler)
            scaler.update()
            self._count_overflows(scaler.get_scale() < scale)
            if show:
                show(self.visuals())
        finally:
            self.end_step()
        return logs

    def end_step(self) -> None:
        """Let go of the step's tensors, those that the mixins keep, too."""
        for part in (self, *getattr(self, "timecycles", {}).values(), *getattr(self, "seq_Ds", {}).values()):
            part.step.clear()
        if hasattr(self, "_warp_step"):
            self._warp_step.clear()

    def _update(self, role: str, name: str, terms: Losses, scaler: torch.amp.GradScaler) -> dict[str, float]:
        optimizer = self.optimizers[role]
        # One transfer for all terms: on a GPU each would wait for the device.
        values = dict(zip(terms, torch.stack([t.value.detach().float() for t in terms.values()]).tolist(), strict=True))
        wrong = next((key for key, value in values.items() if not math.isfinite(value)), None)
        if wrong and not scaler.is_enabled():
            raise NonFiniteLoss(f"the loss {name}/{wrong} became {values[wrong]}: training stopped before using it")
        optimizer.zero_grad(set_to_none=True)
        loss = total(terms)
        # A finite gradient of what is not finite (|x| has one) must not get past the scaler either.
        scaler.scale(loss * math.nan if wrong else loss).backward()
        scaler.step(optimizer)
        values["total"] = sum(term.weight * values[key] for key, term in terms.items())
        return {f"{name}/{key}": value for key, value in values.items()}

    def _count_overflows(self, overflowed: bool) -> None:
        self._overflows = self._overflows + 1 if overflowed else 0
        if self._overflows == OVERFLOWS:
            raise NonFiniteLoss(f"--amp float16 overflowed in {OVERFLOWS} steps in a row, however low gradients were"
                                " scaled: training stopped; --amp bfloat16 and --amp off have room for larger numbers")

    # ---- adversarial terms

    def criterion_GAN(self, prediction: Tensor, is_real: bool, for_discriminator: bool = True) -> Tensor:
        """``losses.gan.gan_loss`` with the mode of the options."""
        return gan_loss(prediction, is_real, self.options.gan_mode, for_discriminator)

    def discriminator_terms(self, cases: list[Case]) -> Losses:
        """``adversarial_terms.discriminator_terms`` with the mode of the options: one call of each discriminator."""
        return discriminator_terms(cases, self.criterion_GAN)

    def generator_terms(self, cases: list[Case], matching_weight: float = 0.0) -> Losses:
        """``adversarial_terms.generator_terms`` with the mode of the options."""
        return generator_terms(cases, self.criterion_GAN, matching_weight)

    # ---- going on with a run

    def training_state(self) -> dict[str, Any]:
        """What a run needs to go on besides networks and optimizers: tensors and plain values, on the CPU."""
        return {}

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """Take back what :meth:`training_state` gave."""
