"""What all models share: named networks, named loss terms, one training step, inference frame by frame."""
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from timecyclegan.losses import Losses, Term, total
from timecyclegan.losses.gan import frozen, gan_loss, gradient_penalty
from timecyclegan.models.networks import discriminator, generator
from timecyclegan.util.errors import UserError
from timecyclegan.util.options import Options

GRADIENT_PENALTY_WEIGHT = 10.0  # Gulrajani et al. 2017


class NonFiniteLoss(UserError):
    """A loss became infinite or not a number; nothing was updated with it."""


class BaseModel(nn.Module):
    """A GAN on videos (N, T, C, H, W) in [-1, 1].

    A subclass adds its networks with :meth:`add_network`, and its losses by extending :meth:`generator_losses` and
    :meth:`discriminator_losses`: dictionaries from the loss's name to its :class:`Term`. The total that is minimised,
    the logs and the progress bar follow from these names. What has weight 0 is left out and never computed.

    Args:
        options: see ``util.options``.
        training: also build what only training needs (discriminators, motion models, perceptual networks).
    """

    task: str  # "paired", "unpaired", "unconditional": what data the model is trained on
    default_block_size = 1  # frames of a training clip
    inputs: tuple[str, ...]  # what :meth:`forward` takes of a batch
    channels = 3
    uses: frozenset[str] = frozenset()  # the optional loss options that this model knows

    def __init__(self, options: Options, training: bool = True, **kwargs: Any):
        super().__init__(**kwargs)
        self.options = options
        self.roles: dict[str, str] = {}  # submodule -> the optimizer that trains it, "G" or "D"
        self.optimizers: dict[str, torch.optim.Optimizer] = {}

    @classmethod
    def check(cls, options: Options, training: bool = True) -> None:
        """Refuse options that this model cannot work with, before anything is built or read.

        Args:
            training: also look at what only training builds.

        Raises:
            UserError: an unknown architecture, or pictures of a size that a network cannot take.
        """
        size = options.image_height, options.image_width
        networks = {"--generator_architecture": generator(options.generator_architecture)}
        if training:
            networks["--discriminator_architecture"] = discriminator(options.discriminator_architecture)
        walks = options.timecycle_loss_weight or options.timecycle_warp_loss_weight
        if training and walks and options.timecycle_type != "pingpong" and "timecycle_loss_weight" in cls.uses:
            flag = "--timecycle_motion_model_architecture"
            networks[flag] = generator(options.timecycle_motion_model_architecture, flag=flag)
        for flag, network in networks.items():
            if wrong := network.size_error(*size):
                raise UserError(f"{flag}: {wrong}, not {size[0]}x{size[1]} (--image_height, --image_width)")

    # ---- networks

    def add_network(self, name: str, network: nn.Module, role: str) -> None:
        """Register ``network`` under ``name`` (dotted if it is registered already); ``role`` is "G" or "D"."""
        if "." not in name:
            setattr(self, name, network)
        self.roles[name] = role

    def networks(self, role: str | None = None) -> dict[str, nn.Module]:
        """The networks by name, all or those that one optimizer trains; names are those of the weight files."""
        return {
            path.replace(".", "_"): self.get_submodule(path) for path, r in self.roles.items() if role in (None, r)
        }

    def make_optimizers(self) -> None:
        """Adam (Kingma and Ba 2015) for the generator side and, where there is one, the discriminator side."""
        for role in ("G", "D"):
            # A dictionary keeps the order and holds each parameter once, shared networks included.
            parameters = {p: None for network in self.networks(role).values() for p in network.parameters()}
            if parameters:
                self.optimizers[role] = torch.optim.Adam(parameters, lr=self.options.learning_rate, betas=(0.5, 0.999))

    # ---- training

    def generator_losses(self) -> Losses:
        """The terms that the generator side minimises, for what the last :meth:`forward` made."""
        return {}

    def discriminator_losses(self) -> Losses:
        """The terms that the discriminators minimise."""
        return {}

    def training_step(
        self, batch: Mapping[str, Any], scaler: torch.amp.GradScaler, amp: torch.dtype | None = None
    ) -> dict[str, float]:
        """One forward pass, then the discriminators' update, then the generator's.

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

    def adversarial_D(self, name: str, discriminator: nn.Module, real: Tensor, fake: Tensor) -> Losses:
        """(real + fake) / 2 under ``name``, and the gradient penalty beside it where the GAN mode has one."""
        fake = fake.detach()
        on_real = self.criterion_GAN(discriminator(real), True)
        losses = {name: Term((on_real + self.criterion_GAN(discriminator(fake), False)) / 2)}
        if self.options.gan_mode == "wgangp":
            penalty = gradient_penalty(discriminator, real, fake)
            losses[f"{name}_gradient_penalty"] = Term(penalty, GRADIENT_PENALTY_WEIGHT)
        return losses


class PairedModel(BaseModel):
    """A model that translates a source video into a target video, frame for frame."""

    task = "paired"
    inputs = ("source", "target")

    def forward(self, source: Tensor, target: Tensor | None = None) -> Tensor:
        """Generate the video for ``source``; both (N, T, 3, H, W). Kept as ``self.source, self.target, self.fake``."""
        self.source, self.target = source, target
        self.fake = self.generate(source)
        return self.fake

    def generate(self, source: Tensor) -> Tensor:
        """The generated video of a training clip, (N, T, 3, H, W) to the same."""
        raise NotImplementedError

    def visuals(self) -> dict[str, Tensor]:
        """The videos of the last :meth:`forward` to look at, (N, T, 3, H, W) each."""
        return {"source": self.source, "fake": self.fake.detach(), "real": self.target}

    # ---- inference, one frame at a time

    def context(self) -> int:
        """How many source frames on each side of a frame :meth:`translate_frame` wants to see."""
        return 0

    def initial_state(self, noise: list[torch.Generator], first: Tensor) -> Tensor | None:
        """What is carried from frame to frame, before the ``first`` source frames (N, 3, H, W).

        Row i belongs to sequence i and draws from ``noise[i]``.
        """
        return None

    def translate_frame(self, source: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The middle frame of ``source`` (N, 2 * context + 1, 3, H, W) as (N, 3, H, W), and the next state."""
        raise NotImplementedError
