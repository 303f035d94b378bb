"""What all models share: named networks, named loss terms, one training step, inference frame by frame.

A model makes videos of one domain, "target", or of two, "target" and "source". Where there are two, names of networks
and losses end in the domain that the network makes or judges: ``generator_target``, ``gan_target``.
"""
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from timecyclegan.models import networks as architectures
from timecyclegan.models.adversarial_training import AdversarialTraining, NonFiniteLoss
from timecyclegan.util.errors import UserError
from timecyclegan.util.options import Options

__all__ = ["BaseModel", "Generated", "NonFiniteLoss", "PairedModel", "UnconditionalModel", "UnpairedModel"]


OTHER = {"target": "source", "source": "target"}


class Generated(NamedTuple):
    """A generated training clip, (N, T, 3, H, W), beside the real clip of its domain and what it was made of."""

    fake: Tensor
    real: Tensor
    condition: Tensor | None  # None: made of nothing


class BaseModel(AdversarialTraining, nn.Module):
    """A GAN on videos (N, T, C, H, W) in [-1, 1].

    A subclass adds its networks with :meth:`add_network`, and its losses by extending :meth:`generator_losses` and
    :meth:`discriminator_losses`: dictionaries from the loss's name to its :class:`Term`. The total that is minimised,
    the logs and the progress bar follow from these names. What has weight 0 is left out and never computed.

    Args:
        options: see ``util.options``.
        training: also build what only training needs (discriminators, motion models, perceptual networks).
    """

    task: str  # "paired", "unpaired", "unconditional": what data the model is trained on
    domains = ("target",)  # what it makes videos of
    inputs: tuple[str, ...]  # what :meth:`forward` takes of a batch
    channels = 3
    condition_channels = 3  # of the frame that a frame is made of
    frames_per_call = 1  # how many frames one call of a generator makes
    default_block_size = 1  # frames of a training clip
    defaults: ClassVar[Mapping[str, Any]] = {}  # the options that have another default; bases' count too
    # which of the options on recurrence, discriminators and losses have an effect; bases' count too
    uses: frozenset[str] = frozenset({"gan_mode", "discriminator_architecture", "discriminator_filters"})
    recurrent = False  # whether a generator sees its last outputs
    takes_code = False  # whether a generator starts from a code instead of pictures
    predicts = False  # whether there is a predictor of frames for each domain
    discriminator_sees_condition = False  # whether frame discriminators see [condition, frame]

    def __init__(self, options: Options, training: bool = True, **kwargs: Any):
        super().__init__(**kwargs)
        self.options = options
        self.roles: dict[str, str] = {}  # submodule -> the optimizer that trains it, "G" or "D"
        self.optimizers: dict[str, torch.optim.Optimizer] = {}

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        bases = [vars(base) for base in reversed(cls.__mro__)]
        cls.defaults = {key: value for base in bases for key, value in base.get("defaults", {}).items()}
        cls.uses = frozenset().union(*(base.get("uses", ()) for base in bases))

    @classmethod
    def check(cls, options: Options, training: bool = True) -> None:
        """Refuse options that this model cannot work with, before anything is built or read.

        Args:
            training: also look at what only training builds.

        Raises:
            UserError: an unknown architecture, or pictures of a size that a network cannot take.
        """
        size, flag = (options.image_height, options.image_width), "--generator_architecture"
        name = options.generator_architecture
        found = {flag: architectures.generator(name)}
        if found[flag].takes_code != cls.takes_code:
            other = "a code, this model's sees pictures" if not cls.takes_code else "pictures, this model's from a code"
            use = "dcgan" if cls.takes_code else cls.defaults.get("generator_architecture", "resnet_6blocks")
            raise UserError(f"{flag} {name} makes pictures from {other}: use {use}")
        if training:
            further = cls.further_networks(options)
            for flag, network in further.items():
                if network.takes_code:
                    raise UserError(f"{flag} dcgan makes pictures from a code, not from pictures: use resnet_1blocks")
            judge = architectures.discriminator(options.discriminator_architecture)
            found |= {"--discriminator_architecture": judge, **further}
        for flag, network in found.items():
            if wrong := network.size_error(*size):
                given = "--image_height, --image_width"
                given += "" if options.spatial_scaling == (1.0,) else ", --spatial_scaling"
                raise UserError(f"{flag}: {wrong}, not {size[0]}x{size[1]} ({given})")

    @classmethod
    def further_networks(cls, options: Options) -> dict[str, architectures.Architecture]:
        """By flag, the architectures beside generator and discriminator that training with ``options`` builds."""
        return {}

    @classmethod
    def n_frames_ignored(cls) -> int:
        """How many frames at the beginning of a clip losses on sequences leave out: a recurrent one is made of noise.
        """
        return int(cls.recurrent)

    @classmethod
    def check_clip_length(cls, options: Options, n_frames: int, flag: str) -> None:
        """Refuse clips that have fewer than the ``n_frames`` judged frames that ``flag`` needs.

        A run that grows may begin with clips that are too short: the loss is then absent from its first stages.
        """
        block, ignored = options.block_size or cls.default_block_size, cls.n_frames_ignored()
        if n_frames + ignored > block and options.temporal_scaling == (1.0,):
            because = " (the first is not judged)" if ignored else ""
            raise UserError(f"{flag} needs clips of {n_frames + ignored} frames{because}, --block_size is {block}")

    # ---- networks

    def name_in(self, domain: str, name: str) -> str:
        """What the network or loss ``name`` is called in ``domain``."""
        return name if len(self.domains) == 1 else f"{name}_{domain}"

    def network(self, name: str, domain: str = "target") -> nn.Module:
        """The network ``name`` of ``domain``."""
        return getattr(self, self.name_in(domain, name))

    def add_network(self, name: str, network: nn.Module, role: str) -> None:
        """Register ``network`` under ``name`` (dotted if it is registered already); ``role`` is "G" or "D"."""
        if "." not in name:
            setattr(self, name, network)
        self.roles[name] = role

    def add_generators(self) -> None:
        """Build the generator of each domain as the options say."""
        for domain in self.domains:
            network = self.define_generator(self.channels * self.frames_per_call)
            self.add_network(self.name_in(domain, "generator"), network, role="G")

    def define_generator(self, channels: int, output: nn.Module | None = None) -> nn.Module:
        """A generator that makes ``channels`` channels, as the options say; ``output``: in place of its last tanh."""
        options = self.options
        return architectures.define_generator(
            options.generator_architecture, self.generator_input_channels(), channels, options.generator_filters,
            options.upsample, size=options.image_height, output=output,
        )  # fmt: skip

    def generator_input_channels(self) -> int:
        """Channels that a generator sees."""
        return self.condition_channels * self.frames_per_call

    def add_discriminators(self, channels: int) -> None:
        """Build the frame discriminator of each domain; it sees ``channels`` channels."""
        for domain in self.domains:
            self.add_network(self.name_in(domain, "discriminator"), self.define_discriminator(channels), role="D")

    def define_discriminator(self, channels: int) -> nn.Module:
        """A discriminator as the options say."""
        options = self.options
        return architectures.define_discriminator(
            options.discriminator_architecture, channels, options.discriminator_filters, size=options.image_height
        )

    def networks(self, role: str | None = None) -> dict[str, nn.Module]:
        """The networks by name, all or those that one optimizer trains; names are those of the weight files."""
        return {
            path.replace(".", "_"): self.get_submodule(path) for path, r in self.roles.items() if role in (None, r)
        }

    # ---- videos and the per-frame networks

    def fold(self, video: Tensor) -> Tensor:
        """(N, T, C, H, W) as the pictures of one call each, (N * T / k, k * C, H, W) with k frames per call."""
        return video.unflatten(1, (-1, self.frames_per_call)).flatten(2, 3).flatten(0, 1)

    def run(self, generator: nn.Module, source: Tensor, before: Tensor | None = None) -> Tensor:
        """The video that ``generator`` makes of ``source`` (N, T, C_c, H, W), frame by frame: (N, T, C, H, W).

        Args:
            before: (N, n, C_c, H, W), source frames that came before; they matter to recurrent generators.
        """
        pictures = generator(self.fold(source))
        return pictures.unflatten(0, (source.shape[0], -1)).unflatten(2, (-1, self.channels)).flatten(1, 2)

    def generated(self) -> dict[str, Generated]:
        """By domain, what the last :meth:`forward` made."""
        raise NotImplementedError

    def visuals(self) -> dict[str, Tensor]:
        """The videos of the last :meth:`forward` to look at, (N, T, 3, H, W) each."""
        raise NotImplementedError

    # ---- inference, one frame at a time

    def context(self) -> int:
        """How many source frames on each side of a frame :meth:`translate_frame` wants to see."""
        return self.frames_per_call // 2

    def initial_state(self, noise: list[torch.Generator], first: Tensor) -> Tensor | None:
        """What is carried from frame to frame, before the ``first`` source frames (N, C_c, H, W).

        Row i belongs to sequence i and draws from ``noise[i]``.
        """
        return None

    def translate_frame(
        self, source: Tensor, state: Tensor | None, domain: str = "target"
    ) -> tuple[Tensor, Tensor | None]:
        """The frame of ``domain`` for the middle frame of ``source`` (N, 2 * context + 1, C_c, H, W): (N, 3, H, W).

        Returns:
            The frame, and the next state. For an unconditional model a source frame has no channels.
        """
        block = self.run(self.network("generator", domain), source[:, : self.frames_per_call])
        return block[:, self.context()], state


class PairedModel(BaseModel):
    """A model that translates a source video into a target video, frame for frame."""

    task = "paired"
    inputs = ("source", "target")

    def forward(self, source: Tensor, target: Tensor | None = None) -> Tensor:
        """Generate the video for ``source``; both (N, T, 3, H, W). Kept as ``self.source, self.target, self.fake``."""
        self.source, self.target = source, target
        self.fake = self.run(self.generator, source)
        return self.fake

    def generated(self) -> dict[str, Generated]:
        return {"target": Generated(self.fake, self.target, self.source)}

    def visuals(self) -> dict[str, Tensor]:
        return {"source": self.source, "fake": self.fake.detach(), "real": self.target}


class UnconditionalModel(BaseModel):
    """A model that makes videos from noise.

    It is a model whose source frames have no channels: they say how many frames to make, and how large.
    """

    task = "unconditional"
    inputs = ("target",)
    condition_channels = 0

    def forward(self, target: Tensor) -> Tensor:
        """Generate a video as long and as large as ``target`` (N, T, 3, H, W), kept as ``self.fake``."""
        self.target = target
        self.fake = self.run(self.generator, target[:, :, :0])
        return self.fake

    def generated(self) -> dict[str, Generated]:
        return {"target": Generated(self.fake, self.target, None)}

    def visuals(self) -> dict[str, Tensor]:
        return {"fake": self.fake.detach(), "real": self.target}


class UnpairedModel(BaseModel):
    """A model that translates between two domains, both ways, and learns from clips that do not belong together."""

    task = "unpaired"
    domains = ("target", "source")
    inputs = ("source", "target")

    def forward(self, source: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Translate both clips (N, T, 3, H, W); kept by domain as ``self.real`` and ``self.fake``."""
        self.real = {"target": target, "source": source}
        self.fake = {domain: self.translate(domain, self.real[OTHER[domain]]) for domain in self.domains}
        return self.fake

    def translate(self, domain: str, clip: Tensor, before: Tensor | None = None) -> Tensor:
        """A clip of the other domain as one of ``domain``; both (N, T, 3, H, W)."""
        return self.run(self.network("generator", domain), clip, before)

    def generated(self) -> dict[str, Generated]:
        return {domain: Generated(self.fake[domain], self.real[domain], self.real[OTHER[domain]])
                for domain in self.domains}  # fmt: skip

    def visuals(self) -> dict[str, Tensor]:
        """Each real clip above what was made of it."""
        return {"source": self.real["source"], "fake_target": self.fake["target"].detach(),
                "target": self.real["target"], "fake_source": self.fake["source"].detach()}  # fmt: skip
