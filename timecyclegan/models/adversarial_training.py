"""One training step: the discriminators' update, then the generators', on named and weighted losses.

No value of a tensor reaches the host in a step, so that a device need not wait for it: an update that went wrong is
left out on the device, and ``training.log.Means`` finds that out later.
"""
import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from timecyclegan.losses import Losses, total
from timecyclegan.losses.gan import gan_loss
from timecyclegan.models.adversarial_terms import Case, discriminator_terms, generator_terms
from timecyclegan.util.device import to_device
from timecyclegan.util.errors import UserError

FUSED = ("cpu", "cuda")  # devices whose Adam leaves an update out without a word to the host
SIDES = {"D": "Discriminator", "G": "Generator"}  # by the role of an optimizer, in the order of a step


class NonFiniteLoss(UserError):
    """A loss became infinite or not a number; nothing was updated with it."""


class Part(NamedTuple):
    """A part of a batch: what :meth:`forward` takes, what chance decides, its share of all samples, and how many of its
    samples each process has."""

    inputs: dict[str, Tensor]
    drawn: dict[str, Tensor]
    share: float
    counts: Sequence[int] | None


class AdversarialTraining:
    """How a ``BaseModel`` is trained; it has the networks of the roles "G" and "D", names for
    what belongs to a domain, options and optimizers."""

    # What chance decides in this step, by name; see :meth:`draws`. Where it is empty, torch's generator is asked.
    drawn: Mapping[str, Tensor] = {}
    counts: Sequence[int] | None = None  # how many samples of this part of the batch each process has
    averages: Mapping[str, dict[str, Tensor]] = {}  # by generator, its averaged parameters, see :meth:`average`
    peers: Any = None  # the other processes that train the same model, see ``training.distributed``

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

    def average(self) -> None:
        """From now on, with ``--ema``, keep the average of each generator's parameters, which begins with them."""
        self.averages, self.averaged = {}, next(self.parameters()).new_zeros(())
        if self.options.ema:
            self.averages = {name: {key: value.detach().clone() for key, value in network.state_dict().items()}
                             for name, network in self.networks("G").items() if name.startswith("generator")}

    def _add_to_averages(self) -> None:
        """a + (1 - d) (p - a), of parameters p; buffers are those of now. In the n-th step d is min(ema, (1 + n) /
        (10 + n)), so that the first weights are soon forgotten (as TensorFlow's ExponentialMovingAverage has it)."""
        self.averaged += 1
        share = 1 - ((1 + self.averaged) / (10 + self.averaged)).clamp(max=self.options.ema)
        for name, average in self.averages.items():
            now = self.networks("G")[name]
            parameters = dict(now.named_parameters())
            means, values = [average[key] for key in parameters], [p.detach() for p in parameters.values()]
            moved = torch._foreach_sub(values, means)
            torch._foreach_mul_(moved, share)
            torch._foreach_add_(means, moved)
            for key, buffer in now.named_buffers():
                if key in average:
                    average[key].copy_(buffer)

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

    def draws(self, seed: int, step: int, samples: Sequence[int]) -> list[dict[str, Tensor]]:
        """What chance decides in a step of parts of so many ``samples``, all processes' together: for each part, by
        name. A function of (seed, step)."""
        return [{} for _ in samples]

    def training_step(
        self, batch: Mapping[str, Any], scaler: torch.amp.GradScaler, amp: torch.dtype | None = None,
        show: Callable[[dict[str, Tensor]], object] | None = None, parts: Sequence[Sequence[int]] | None = None,
    ) -> dict[str, Tensor]:  # fmt: skip
        """One forward pass, then the discriminators' update, then the generator's.

        An update of which a term or a gradient is not finite is left out. Where ``scaler`` is enabled, the next ones
        are scaled lower.

        A batch in several parts is one batch all the same: the discriminators' gradients of all parts are added up, and
        they are updated; then the parts are generated once more, with the same noise, for the generator's. A term is
        the mean over all samples, wherever they are.

        Args:
            batch: what :attr:`inputs` names, (N, T, C, H, W) each; and, where they are there, ``noise``, by name the
                numbers of :meth:`noise_shapes`, (N, ...), and ``draws``, those of :meth:`draws`.
            show: is given the videos of the step (the last part's), see :meth:`BaseModel.visuals`, before it ends.
            parts: for each part, how many of its samples each process has; with ``peers``, or for more than one part.
                A process that has none takes one of them all the same, which does not count.

        Returns:
            The losses by name, scalars on the device: unweighted, ``Generator/...`` and ``Discriminator/...``, and
            their weighted ``total``, which is not a number if the update was left out.
        """
        device = next(self.parameters()).device
        logs: dict[str, Tensor] = {}
        precision = functools.partial(torch.autocast, device.type, amp) if amp else contextlib.nullcontext
        ahead = self._parts(batch, device, parts)
        begun = None
        try:
            for role, losses in (("D", self.discriminator_losses), ("G", self.generator_losses)):
                if role not in self.optimizers:
                    continue
                self.optimizers[role].zero_grad(set_to_none=True)
                values = []
                for part in ahead:
                    if begun is not part:
                        self.end_step()
                        self.drawn, self.counts = part.drawn, part.counts
                        # With several parts, what the discriminators see is generated for them alone.
                        with precision(), torch.set_grad_enabled(role == "G" or len(ahead) == 1):
                            self(**part.inputs)
                        begun = part
                    with precision():
                        terms = losses()
                    values.append(self._back_propagate(terms, part.share, scaler))
                logs |= self._update(role, [*terms], sum(values[1:], values[0]), scaler)
            scaler.update()
            if show:
                show(self.visuals())
        except BaseException:  # also where it could not be recorded, and is called once more
            if scaler.is_enabled():
                scaler._per_optimizer_states.clear()
            for optimizer in self.optimizers.values():
                vars(optimizer).pop("found_inf", None)
            raise
        finally:
            self.end_step()
        return logs

    def _parts(
        self, batch: Mapping[str, Any], device: torch.device, parts: Sequence[Sequence[int]] | None
    ) -> list["Part"]:
        """The parts of a batch, on the device."""
        noise, draws = batch.get("noise", {}), batch.get("draws", [{}])
        inputs, noise = to_device(batch, self.inputs, device), to_device(noise, noise, device)
        draws = [to_device(drawn, drawn, device) for drawn in draws]
        if parts is None:
            return [Part(inputs, noise | draws[0], 1.0, None)]
        rank = self.peers.rank if self.peers else 0
        sizes, samples = [max(1, counts[rank]) for counts in parts], sum(map(sum, parts))
        found, first = [], 0
        for size, drawn, counts in zip(sizes, draws, parts, strict=True):
            place = slice(first, first + size)
            inner, its_noise = ({name: tensor[place] for name, tensor in all_.items()} for all_ in (inputs, noise))
            found.append(Part(inner, its_noise | drawn, counts[rank] / samples, counts))
            first += size
        return found

    def end_step(self) -> None:
        """Let go of the step's tensors, those that the mixins keep, too."""
        self.drawn, self.counts = {}, None
        for part in (self, *getattr(self, "timecycles", {}).values(), *getattr(self, "seq_Ds", {}).values()):
            part.step.clear()
        if hasattr(self, "_warp_step"):
            self._warp_step.clear()

    def _back_propagate(self, terms: Losses, share: float, scaler: torch.amp.GradScaler) -> Tensor:
        """Add a part's gradients to what is there; returns its values, those of the terms and their total.

        Args:
            share: of the batch's samples, how many are this part's.
        """
        loss = total(terms)
        values = torch.stack([*(term.value.detach().float() for term in terms.values()), loss.detach().float()])
        # A finite gradient of what is not finite (|x| has one) must not get past the check of the gradients.
        spoilt = torch.where(values.isfinite().all(), 1.0, torch.nan)
        scaler.scale(loss * (spoilt * share)).backward()
        return values * share

    def _update(
        self, role: str, names: Sequence[str], values: Tensor, scaler: torch.amp.GradScaler
    ) -> dict[str, Tensor]:
        """Step the optimizer, unless ``values`` or a gradient are not finite; returns the values by name."""
        optimizer = self.optimizers[role]
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if self.peers:
            values = self.peers.add_up(parameters, values)
        finite = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]).isfinite()
        # A fused optimizer looks at this flag itself, and so on the device. An enabled scaler sets one of its own.
        if optimizer.defaults["fused"]:
            optimizer.found_inf = (~finite).float()
        scaler.step(optimizer)
        vars(optimizer).pop("found_inf", None)
        if role == "G" and self.averages:
            self._add_to_averages()
        *terms, whole = values.unbind()
        found = zip((*names, "total"), (*terms, torch.where(finite, whole, torch.nan)), strict=True)
        return {f"{SIDES[role]}/{name}": value for name, value in found}

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
        if not self.averages:
            return {}
        states = {name: {key: value.cpu() for key, value in state.items()} for name, state in self.averages.items()}
        return {"averages": states, "averaged": self.averaged.cpu()}

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """Take back what :meth:`training_state` gave; of averages, what fits."""
        if self.averages and "averages" in state:
            self.averaged.copy_(state["averaged"])
            for name, average in self.averages.items():
                for key, value in state["averages"].get(name, {}).items():
                    if key in average and average[key].shape == value.shape:
                        average[key].copy_(value)
