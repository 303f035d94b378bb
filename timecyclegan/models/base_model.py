"""What all models share: named networks, named loss terms, one training step, inference frame by frame.

A model makes videos of one domain, "target", or of two, "target" and "source". Where there are two, names of networks
and losses end in the domain that the network makes or judges: ``generator_target``, ``gan_target``.
"""
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from timecyclegan.losses.timecycle import draw_returns
from timecyclegan.models import networks as architectures
from timecyclegan.models.adversarial_terms import Case
from timecyclegan.models.adversarial_training import AdversarialTraining, NonFiniteLoss
from timecyclegan.models.judge import Exhibit, Judge
from timecyclegan.models.mixins.host import Place, Step
from timecyclegan.models.parts import FLOW, Part, returned_frames
from timecyclegan.models.recompute import recomputed
from timecyclegan.models.sequential.sequential_mixin import rollout
from timecyclegan.util.errors import UserError
from timecyclegan.util.options import Options

__all__ = ["BaseModel", "Generated", "NonFiniteLoss", "PairedModel", "UnconditionalModel", "UnpairedModel"]


OTHER = {"target": "source", "source": "target"}
_NOT_WITH_BATCH_NORM = {
    ("gan_mode", "wgangp"): "its gradient penalty is taken of each picture by itself; use --norm instance",
    ("amp", "float16"): "what overflows stays in the running statistics; use --amp bfloat16",
}


class Generated(NamedTuple):
    """A generated training clip, (N, T, 3, H, W), beside the real clip of its domain and what it was made of."""

    fake: Tensor
    real: Tensor
    condition: Tensor | None  # None: made of nothing


class BaseModel(AdversarialTraining, nn.Module):
    """A GAN on videos (N, T, C, H, W) in [-1, 1].

    A subclass adds its networks with :meth:`add_network`, and says what it minimises in :meth:`generator_losses` and
    :meth:`discriminator_losses`: dictionaries from the loss's name to its :class:`Term`. The total that is minimised,
    the logs and the progress bar follow from these names. What has weight 0 is left out and never computed.

    :meth:`forward` keeps the tensors of a training step as ``self.step``, for the losses; they end with the step.

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
    uses = frozenset({"gan_mode", "gan_loss_weight", "discriminator_architecture", "discriminator_filters"})
    parts: ClassVar[tuple[Part, ...]] = ()  # what it has beside its baseline; bases' count too
    recurrent = False  # whether a generator sees its last outputs: then the model is a SequentialMixin
    takes_code = False  # whether a generator starts from a code instead of pictures
    draws_frames = False  # whether :meth:`translate_frame` draws something for every frame, on the computer
    predicts = False  # whether there is a predictor of frames for each domain
    discriminator_sees_condition = False  # whether frame discriminators see [condition, frame]

    def __init__(self, options: Options, training: bool = True, **kwargs: Any):
        super().__init__(**kwargs)
        self.options = options
        self.step = Step()
        self.roles: dict[str, str] = {}  # submodule -> the optimizer that trains it, "G" or "D"
        self.optimizers: dict[str, torch.optim.Optimizer] = {}

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        bases = [vars(base) for base in reversed(cls.__mro__)]
        cls.defaults = {key: value for base in bases for key, value in base.get("defaults", {}).items()}
        cls.parts = tuple(dict.fromkeys(part for base in reversed(bases) for part in base.get("parts", ())))
        cls.uses = frozenset().union(*(base.get("uses", ()) for base in bases), *(part.uses for part in cls.parts))

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
        if training and options.compile and options.gan_mode == "wgangp":
            raise UserError("--compile does not go with --gan_mode wgangp: its gradient penalty asks for second "
                            "derivatives, which compiled networks do not have; use another --gan_mode")
        if training and options.norm == "batch":
            for (name, value), why in _NOT_WITH_BATCH_NORM.items():
                if getattr(options, name) == value:
                    raise UserError(f"--norm batch does not go with --{name} {value}: {why}")
            if options.accumulate > 1:
                raise UserError(f"--norm batch does not go with --accumulate {options.accumulate}: its statistics "
                                "would be those of a part of the batch; use --norm instance")
        for part in cls.parts:
            part.check(cls, options, training)

    @classmethod
    def further_networks(cls, options: Options) -> dict[str, architectures.Architecture]:
        """By flag, the architectures beside generator and discriminator that training with ``options`` builds."""
        return {flag: network for part in cls.parts for flag, network in part.further_networks(cls, options).items()}

    @classmethod
    def idle(cls, options: Options) -> dict[str, str]:
        """Which options have nothing to do in this combination, and which others are the reason."""
        found = {name: reason for part in cls.parts for name, reason in part.idle(cls, options).items()}
        if not options.generator_architecture.startswith("resnet"):
            found["upsample"] = f"--generator_architecture {options.generator_architecture}, which enlarges in one way"
        if options.generator_architecture.startswith("dcgan") and options.discriminator_architecture == "dcgan":
            found["norm"] = "networks of DCGAN, which have a norm of their own"
        if cls.task == "unconditional":
            found["source_pixels"] = f"--model_type {options.model_type}, which reads no source"
        if min(options.temporal_scaling) == 1:
            found["grow_batch"] = "--temporal_scaling 1, which has no shorter clips"
        for name in ("source_pixels", "target_pixels"):
            if getattr(options, name) == "flow" and not options.flip:
                found[name] = "--no-flip: it is for clips that are mirrored"
        return found

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
            options.upsample, size=options.image_height, output=output, norm=options.norm,
        )  # fmt: skip

    def generator_input_channels(self) -> int:
        """Channels that a generator sees."""
        if self.recurrent:
            return self.sequential_input_channels(self.condition_channels, self.channels)
        return self.condition_channels * self.frames_per_call

    def add_discriminators(self, channels: int) -> None:
        """Build the frame discriminator of each domain; it sees ``channels`` channels."""
        for domain in self.domains:
            self.add_network(self.name_in(domain, "discriminator"), self.define_discriminator(channels), role="D")

    def define_discriminator(self, channels: int) -> nn.Module:
        """A discriminator as the options say."""
        options = self.options
        return architectures.define_discriminator(
            options.discriminator_architecture, channels, options.discriminator_filters, size=options.image_height,
            norm=options.norm,
        )  # fmt: skip

    def networks(self, role: str | None = None) -> dict[str, nn.Module]:
        """The networks by name, all or those that one optimizer trains; names are those of the weight files."""
        return {
            path.replace(".", "_"): self.get_submodule(path) for path, r in self.roles.items() if role in (None, r)
        }

    # ---- videos and the per-frame networks

    def fold(self, video: Tensor) -> Tensor:
        """(N, T, C, H, W) as the pictures of one call each, (N * T / k, k * C, H, W) with k frames per call."""
        return video.unflatten(1, (-1, self.frames_per_call)).flatten(2, 3).flatten(0, 1)

    def run(
        self, generator: nn.Module, source: Tensor, before: Tensor | None = None, noise: Tensor | None = None
    ) -> Tensor:
        """The video that ``generator`` makes of ``source`` (N, T, C_c, H, W), frame by frame: (N, T, C, H, W).

        Args:
            before: (N, n, C_c, H, W), source frames that came before; they matter to recurrent generators.
            noise: (N, ...), what recurrent generators, and those that begin from a code, begin from; drawn by torch's
                generator where None.
        """
        if self.recurrent:
            whole = source if before is None else torch.cat([before, source], dim=1)
            made = self.generate_sequence(generator, whole, noise, channels=self.channels)
            return made[:, whole.shape[1] - source.shape[1] :]
        pictures = self.lightened(generator)(self.fold(source))
        return pictures.unflatten(0, (source.shape[0], -1)).unflatten(2, (-1, self.channels)).flatten(1, 2)

    def lightened(self, network: nn.Module) -> Callable[[Tensor], Tensor]:
        """``network``, called with many pictures at once, as ``--checkpointing`` says."""
        return recomputed(network, split=True) if self.options.checkpointing else network

    def rollouts(self) -> list[str]:
        """The videos that a training step makes of a sample, by the names of the noise that they begin from."""
        return ["fake"]

    def noise_shapes(self) -> dict[str, tuple[int, ...]]:
        options, shapes = self.options, {}
        if self.recurrent:
            past = (self.n_frames_generator, self.channels, options.image_height, options.image_width)
            shapes = dict.fromkeys(self.rollouts(), past)
        if options.gan_mode == "wgangp":
            shapes["penalty"] = (options.block_size,)  # no judge sees more pictures of a clip than it has frames
        return shapes

    def uncapturable(self) -> str:
        """Why a training step of this model cannot be captured as a CUDA graph; empty where it can."""
        options = self.options
        if options.gan_mode == "wgangp":
            return "the gradient penalty of --gan_mode wgangp is differentiated twice"
        if FLOW in self.parts and type(self).flow_strides(options) and not options.flow_cache:
            return ("--flow_backend computes flow amid the step, and waits for it; --flow_cache computes it beforehand "
                    "(docs/FLOW.md)")  # fmt: skip
        return ""

    def draws(self, seed: int, step: int, samples: Sequence[int]) -> list[dict[str, Tensor]]:
        """``returns``, with ``--max_return``: the frames that this step's walks return from."""
        found = super().draws(seed, step, samples)
        if walked := returned_frames(type(self), self.options):
            returns = torch.from_numpy(draw_returns(seed, step, *walked))
            found = [{**drawn, "returns": returns} for drawn in found]
        return found

    def noise(self, *names: str) -> Tensor | None:
        """What was drawn for these of :meth:`rollouts`, one after the other along the batch; None if nothing was."""
        return torch.cat([self.drawn[name] for name in names]) if self.drawn.keys() >= set(names) else None

    def generated(self) -> dict[str, Generated]:
        """By domain, what this step's :meth:`forward` made."""
        raise NotImplementedError

    def visuals(self) -> dict[str, Tensor]:
        """The videos of this step to look at, (N, T, 3, H, W) each."""
        raise NotImplementedError

    # ---- who judges frames

    def frame_judge(self, domain: str = "target") -> Judge:
        """The discriminator of frames, which sees [condition, frame] or the frame alone."""
        network = Place(self, self.name_in(domain, "discriminator"))
        return Judge(network, self.frames_per_call, conditional=self.discriminator_sees_condition)

    def gan_case(self, name: str, domain: str, judge: Judge, fake: list[Exhibit], real: list[Exhibit]) -> Case:
        """A case of this model's, as it is called in ``domain``, with its ``--gan_loss_weight``, and the penalty of its
        ``--gan_mode``."""
        options, suffix = self.options, self.name_in(domain, "")
        return Case(name, judge, fake, real, suffix=suffix, weight=options.gan_loss_weight,
                    penalised=options.gan_mode == "wgangp")

    def gan_cases(self) -> list[Case]:
        """``gan``: for each domain, all generated frames against all real ones, before the discriminator of frames."""
        cases = []
        for domain, (fake, real, condition) in self.generated().items():
            judge = self.frame_judge(domain)
            shown = judge.show(fake, condition), judge.show(real, condition)
            cases.append(self.gan_case("gan", domain, judge, *shown))
        return cases

    # ---- inference, one frame at a time

    def context(self) -> int:
        """How many source frames on each side of a frame :meth:`translate_frame` wants to see."""
        return self.frames_per_call // 2

    def initial_state(self, noise: list[torch.Generator], first: Tensor) -> Tensor | None:
        """What is carried from frame to frame, before the ``first`` source frames (N, C_c, H, W).

        Row i belongs to sequence i and draws from ``noise[i]``, so that a batch does not change what it draws. For a
        recurrent model it is (N, n, C, H, W): noise, and the sources as further channels where the generator sees them.
        """
        if not self.recurrent:
            return None
        shape = (self.n_frames_generator, self.channels, *first.shape[2:])
        past = torch.stack([torch.randn(shape, generator=generator) for generator in noise]).to(first)
        sources = self._sources_before(first)
        return past if sources is None else torch.cat([past, sources], dim=2)

    def translate_frame(
        self, source: Tensor, state: Tensor | None, domain: str = "target"
    ) -> tuple[Tensor, Tensor | None]:
        """The frame of ``domain`` for the middle frame of ``source`` (N, 2 * context + 1, C_c, H, W): (N, 3, H, W).

        Returns:
            The frame, and the next state. For an unconditional model a source frame has no channels.
        """
        generator = self.network("generator", domain)
        if not self.recurrent:
            return self.run(generator, source[:, : self.frames_per_call])[:, self.context()], state
        past, sources = state, None
        if self.G_input_conditioning:
            past, sources = state.split([self.channels, self.condition_channels], dim=2)
        fake = rollout(generator, source, past, sources)
        made = fake if sources is None else torch.cat([fake, source], dim=2)
        return fake[:, 0], torch.cat([state, made], dim=1)[:, 1:]


class PairedModel(BaseModel):
    """A model that translates a source video into a target video, frame for frame."""

    task = "paired"

    @property
    def inputs(self) -> tuple[str, ...]:
        """With ``--flow_cache`` the data hold ``flow_1`` (N, T - 1, 2, H, W), ``confidence_1``, ... by stride."""
        cached = FLOW in self.parts and self.options.flow_cache
        strides = self.flow_strides(self.options) if cached else []
        return "source", "target", *(f"{name}_{stride}" for stride in strides for name in ("flow", "confidence"))

    @classmethod
    def flow_strides(cls, options: Options) -> list[int]:
        """Between which frames of the real clip training asks for flow: those so many frames apart; of those that are
        judged, of which a run that grows in time has none or one in its first clips."""
        judged = (options.block_size or cls.default_block_size) - cls.n_frames_ignored()
        return [1] if FLOW in cls.parts and options.warp_loss_weight and judged > 1 else []

    def forward(self, source: Tensor, target: Tensor | None = None, **flows: Tensor) -> Tensor:
        """Generate the video for ``source``; both (N, T, 3, H, W).

        Kept for the step: ``source``, ``target``, ``fake``; ``flows``, what :attr:`inputs` names of the target's flow,
        by stride and without the ignored frames.
        """
        first = self.n_frames_ignored()
        known = {int(name.split("_")[1]): (flow[:, first:], flows[name.replace("flow", "confidence")][:, first:])
                 for name, flow in flows.items() if name.startswith("flow")}  # fmt: skip
        fake = self.run(self.generator, source, noise=self.noise("fake"))
        self.step = Step(source=source, target=target, fake=fake, flows=known)
        return fake

    def generated(self) -> dict[str, Generated]:
        return {"target": Generated(self.step.fake, self.step.target, self.step.source)}

    def visuals(self) -> dict[str, Tensor]:
        return {"source": self.step.source, "fake": self.step.fake.detach(), "real": self.step.target}


class UnconditionalModel(BaseModel):
    """A model that makes videos from noise.

    It is a model whose source frames have no channels: they say how many frames to make, and how large.
    """

    task = "unconditional"
    inputs = ("target",)
    condition_channels = 0

    def forward(self, target: Tensor) -> Tensor:
        """Generate a video as long and as large as ``target`` (N, T, 3, H, W); kept for the step: both, ``fake``."""
        fake = self.run(self.generator, target[:, :, :0], noise=self.noise("fake"))
        self.step = Step(target=target, fake=fake)
        return fake

    def generated(self) -> dict[str, Generated]:
        return {"target": Generated(self.step.fake, self.step.target, None)}

    def visuals(self) -> dict[str, Tensor]:
        return {"fake": self.step.fake.detach(), "real": self.step.target}


class UnpairedModel(BaseModel):
    """A model that translates between two domains, both ways, and learns from clips that do not belong together."""

    task = "unpaired"
    domains = ("target", "source")
    inputs = ("source", "target")

    def translate(
        self, domain: str, clip: Tensor, before: Tensor | None = None, noise: Tensor | None = None
    ) -> Tensor:
        """A clip of the other domain as one of ``domain``; both (N, T, 3, H, W); see :meth:`run`."""
        return self.run(self.network("generator", domain), clip, before, noise)

    def generated(self) -> dict[str, Generated]:
        step = self.step
        return {domain: Generated(step.fake[domain], step.real[domain], step.real[OTHER[domain]])
                for domain in self.domains}  # fmt: skip

    def visuals(self) -> dict[str, Tensor]:
        """Each real clip above what was made of it."""
        real, fake = self.step.real, self.step.fake
        return {"source": real["source"], "fake_target": fake["target"].detach(),
                "target": real["target"], "fake_source": fake["source"].detach()}  # fmt: skip
