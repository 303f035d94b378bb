"""One training step: the discriminators' update, then the generators', on named and weighted losses.

No value of a tensor reaches the host in a step, so that a device need not wait for it: an update that went wrong is left
out on the device, and ``training.log.Means`` finds that out later.
"""
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from timecyclegan.losses import Losses, total
from timecyclegan.losses.gan import gan_loss
from timecyclegan.models.adversarial_terms import Case, discriminator_terms, generator_terms
from timecyclegan.util.errors import UserError

FUSED = ("cpu", "cuda")  # devices whose Adam leaves an update out without a word to the host
SIDES = {"D": "Discriminator", "G": "Generator"}  # by the role of an optimizer, in the order of a step


class NonFiniteLoss(UserError):
    """A loss became infinite or not a number; nothing was updated with it."""


class AdversarialTraining:
    """How a ``BaseModel`` is trained; it has the networks of the roles "G" and "D", names for
    what belongs to a domain, options and optimizers."""

    # What chance decides in this step, by name; see :meth:`draws`. Where it is empty, torch's generator is asked.
    drawn: Mapping[str, Tensor] = {}

    def make_optimizers(self) -> None:
        """Adam (Kingma and Ba 2015) for the generator side and, where there is one, the discriminator side."""
        device, rate = next(self.parameters()).device, self.options.learning_rate
        cuda = device.type == "cuda"
        for role in ("G", "D"):
            # A dictionary keeps the order and holds each parameter once, shared networks included.
            parameters = {p: None for network in self.networks(role).values() for p in network.parameters()}
            if parameters:
                # A captured step repeats what it was captured with: there the rate has to be a tensor.
                self.optimizers[role] = torch.optim.Adam(
                    parameters, lr=torch.tensor(rate, device=device) if cuda else rate, betas=(0.5, 0.999),
                    fused=device.type in FUSED, capturable=cuda,
                )  # fmt: skip

    def set_learning_rate(self, rate: float) -> None:
        """Let both sides learn at this rate from now on."""
        for group in [group for optimizer in self.optimizers.values() for group in optimizer.param_groups]:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    def generator_losses(self) -> Losses:
        """The terms that the generator side minimises, for what this step's :meth:`forward` made."""
        raise NotImplementedError

    def discriminator_losses(self) -> Losses:
        """The terms that the discriminators minimise."""
        raise NotImplementedError

    def noise_shapes(self) -> dict[str, tuple[int, ...]]:
        """By name, the shape of the N(0, 1) numbers that a sample of a training step needs."""
        return {}

    def draws(self, seed: int, step: int, samples: int) -> dict[str, Tensor]:
        """What a step decides by chance for all its ``samples`` together, by name: a function of (seed, step)."""
        return {}

    def training_step(
        self, batch: Mapping[str, Any], scaler: torch.amp.GradScaler, amp: torch.dtype | None = None,
        show: Callable[[dict[str, Tensor]], object] | None = None,
    ) -> dict[str, Tensor]:  # fmt: skip
        """One forward pass, then the discriminators' update, then the generator's.

        An update of which a term or a gradient is not finite is left out. Where ``scaler`` is enabled, the next ones
        are scaled lower.

        Args:
            batch: what :attr:`inputs` names, (N, T, C, H, W) each; and ``noise``, where it is there, by name the
                numbers of :meth:`noise_shapes`, (N, ...), and of :meth:`draws`.
            show: is given the videos of the step, see :meth:`BaseModel.visuals`, before it ends.

        Returns:
            The losses by name, scalars on the device: unweighted, ``Generator/...`` and ``Discriminator/...``, and
            their weighted ``total``, which is not a number if the update was left out.
        """
        device = next(self.parameters()).device
        logs: dict[str, Tensor] = {}
        try:
            self.drawn = {name: there.to(device, non_blocking=True) for name, there in batch.get("noise", {}).items()}
            with torch.autocast(device.type, amp, enabled=amp is not None):
                self(**{key: batch[key].to(device, non_blocking=True) for key in self.inputs})
            for role, losses in (("D", self.discriminator_losses), ("G", self.generator_losses)):
                if role in self.optimizers:
                    with torch.autocast(device.type, amp, enabled=amp is not None):
                        terms = losses()
                    logs |= self._update(role, terms, scaler)
            scaler.update()
            if show:
                show(self.visuals())
        finally:
            self.end_step()
        return logs

    def end_step(self) -> None:
        """Let go of the step's tensors, those that the mixins keep, too."""
        self.drawn = {}
        for part in (self, *getattr(self, "timecycles", {}).values(), *getattr(self, "seq_Ds", {}).values()):
            part.step.clear()
        if hasattr(self, "_warp_step"):
            self._warp_step.clear()

    def _update(self, role: str, terms: Losses, scaler: torch.amp.GradScaler) -> dict[str, Tensor]:
        optimizer = self.optimizers[role]
        values = torch.stack([term.value.detach().float() for term in terms.values()])
        loss = total(terms)
        optimizer.zero_grad(set_to_none=True)
        # A finite gradient of what is not finite (|x| has one) must not get past the check of the gradients.
        spoilt = torch.where(values.isfinite().all(), 1.0, torch.nan)
        scaler.scale(loss * spoilt).backward()
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        finite = torch.nn.utils.get_total_norm(gradients).isfinite()
        # A fused optimizer looks at this flag itself, and so on the device. An enabled scaler sets one of its own.
        optimizer.found_inf = (~finite).float()
        scaler.step(optimizer)
        vars(optimizer).pop("found_inf", None)
        whole = torch.where(finite, loss.detach().float(), torch.nan)
        named = zip((*terms, "total"), torch.cat([values, whole[None]]).unbind(), strict=True)
        return {f"{SIDES[role]}/{key}": value for key, value in named}

    # ---- adversarial terms

    def criterion_GAN(self, prediction: Tensor, is_real: bool, for_discriminator: bool = True) -> Tensor:
        """``losses.gan.gan_loss`` with the mode of the options."""
        return gan_loss(prediction, is_real, self.options.gan_mode, for_discriminator)

    def discriminator_terms(self, cases: list[Case]) -> Losses:
        """``adversarial_terms.discriminator_terms`` with the mode of the options: one call of each discriminator."""
        return discriminator_terms(cases, self.criterion_GAN, self.drawn.get("penalty"))

    def generator_terms(self, cases: list[Case], matching_weight: float = 0.0) -> Losses:
        """``adversarial_terms.generator_terms`` with the mode of the options."""
        return generator_terms(cases, self.criterion_GAN, matching_weight)

    # ---- going on with a run

    def training_state(self) -> dict[str, Any]:
        """What a run needs to go on besides networks and optimizers: tensors and plain values, on the CPU."""
        return {}

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """Take back what :meth:`training_state` gave."""
