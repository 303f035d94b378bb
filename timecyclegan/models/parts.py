"""What models have beside their baseline: recurrence, sequence discriminators, a walk, the real clip's flow.

For each part the options that describe it, what it asks of them, and how it is built. The models' own pages say who is
shown what, and which terms they minimise.
"""
import dataclasses
from collections.abc import Callable
from typing import Any

from torch import Tensor

from timecyclegan.flow import check_backend, flow_backend
from timecyclegan.models.judge import Judge
from timecyclegan.models.mixins.host import Place
from timecyclegan.models.networks import Architecture, define_motion_model, generator
from timecyclegan.util.choices import CYCLE_TYPES
from timecyclegan.util.errors import UserError
from timecyclegan.util.options import Options, TimeCycleOptions

Model, Kind = Any, Any  # a ``BaseModel``, which has parts, and its class

MOTION_MODEL = "--timecycle_motion_model_architecture"


@dataclasses.dataclass(frozen=True)
class Part:
    """Something that a class of models has.

    Attributes:
        uses: the options that have an effect because of it.
        check: (class, options, training) refuses options that it cannot work with, by a ``UserError``.
        further_networks: (class, options) to the architectures that training builds for it, by flag.
        idle: (class, options) to those of ``uses`` that have nothing to do with these options, and with which.
    """

    uses: frozenset[str]
    check: Callable[[Kind, Options, bool], None] = lambda *_: None
    further_networks: Callable[[Kind, Options], dict[str, Architecture]] = lambda *_: {}
    idle: Callable[[Kind, Options], dict[str, str]] = lambda *_: {}


# ---- recurrence


def recurrence_arguments(options: Options) -> dict[str, Any]:
    """What ``SequentialMixin`` is told by the options."""
    return {"n_frames_generator": options.n_frames_generator, "generator_bptt": options.bptt,
            "generator_checkpointing": options.checkpointing}  # fmt: skip


def _idle_recurrence(kind: Kind, options: Options) -> dict[str, str]:
    frames = options.block_size or kind.default_block_size
    return {"bptt": f"clips of {frames} frames (--block_size)"} if options.bptt >= frames else {}


RECURRENCE = Part(frozenset({"n_frames_generator", "bptt"}), idle=_idle_recurrence)


# ---- sequence discriminators


def sequence_shape(kind: Kind, options: Options) -> tuple[int, int]:
    """How many frames a sequence discriminator sees, and how many discriminators there are for a domain."""
    judged = (options.block_size or kind.default_block_size) - kind.n_frames_ignored()
    n_frames = options.n_frames_discriminator or judged
    # While a run grows in time its clips may be too short for anything that looks at sequences.
    return n_frames, options.discriminator_temporal_scales if 2 <= n_frames <= judged else 0


def _check_sequences(kind: Kind, options: Options, training: bool) -> None:
    """Clips that have no window for a sequence discriminator: it would be left out without a word."""
    scales, block = options.discriminator_temporal_scales, options.block_size or kind.default_block_size
    n_frames = options.n_frames_discriminator or max(block - kind.n_frames_ignored(), 2)
    if training and n_frames < 2:
        raise UserError(f"--n_frames_discriminator {n_frames} is no sequence: use 2 or more, or 0")
    if training and scales:
        flags = f"--n_frames_discriminator {n_frames} with --discriminator_temporal_scales {scales}"
        kind.check_clip_length(options, (n_frames - 1) * n_frames ** (scales - 1) + 1, flags)


def add_sequence_discriminators(model: Model, channels: Callable[[int], int] | None = None) -> None:
    """Give a model with ``SeqDMixin`` its sequence discriminators for each domain, ``sequence_discriminator_0``, ...

    Args:
        channels: how many a discriminator of n frames sees; those of the frames alone where None.
    """
    n_frames, scales = sequence_shape(type(model), model.options)
    seen = channels(n_frames) if channels else n_frames * model.channels
    for domain in model.domains:
        places = []
        for scale in range(scales):
            name = model.name_in(domain, f"sequence_discriminator_{scale}")
            model.add_network(name, model.define_discriminator(seen), role="D")
            places.append(Place(model, name))
        model.define_seq_D(n_frames, scales, model.n_frames_ignored(), seq_D_name=domain, discriminators=places)


def sequence_arguments(options: Options, matching_weight: float = 0.0) -> dict[str, Any]:
    """What ``SeqDMixin`` is told by the options."""
    return {"seq_D_gan_mode": options.gan_mode, "seq_D_gan_weight": options.sequence_gan_loss_weight,
            "seq_D_feature_matching_weight": matching_weight}  # fmt: skip


def _idle_sequences(_kind: Kind, options: Options) -> dict[str, str]:
    if options.discriminator_temporal_scales:
        return {}
    return dict.fromkeys(("n_frames_discriminator", "sequence_gan_loss_weight"), "--discriminator_temporal_scales 0")


SEQUENCES = Part(
    frozenset({"n_frames_discriminator", "discriminator_temporal_scales", "sequence_gan_loss_weight"}),
    _check_sequences, idle=_idle_sequences,
)  # fmt: skip


# ---- the walk


def _check_walk(kind: Kind, options: Options, training: bool) -> None:
    cycle_type, frames = options.timecycle_type, options.n_frames_generator
    if lacking := _lacks(kind, cycle_type):
        known = " or ".join(known for known in CYCLE_TYPES if not _lacks(kind, known))
        raise UserError(f"--timecycle_type {cycle_type} needs {lacking}, which --model_type {options.model_type} does "
                        f"not have: use {known}")  # fmt: skip
    if cycle_type == "pingpong" and frames != 1:
        raise UserError(f"--timecycle_type pingpong feeds the generator one frame: use --n_frames_generator 1, not "
                        f"{frames}")  # fmt: skip
    if training and walks(options):
        kind.check_clip_length(options, CYCLE_TYPES[cycle_type].history + 1, f"--timecycle_type {cycle_type}")


def _lacks(kind: Kind, cycle_type: str) -> str | None:
    """What a walk of this type needs and the model does not have."""
    if CYCLE_TYPES[cycle_type].conditional and not kind.condition_channels:
        return "a source"
    if cycle_type == "timerecycle" and not kind.predicts:
        return "RecycleGAN's predictor"
    return "a recurrent generator" if cycle_type == "pingpong" and not kind.recurrent else None


def _motion_model(kind: Kind, options: Options) -> dict[str, Architecture]:
    if not walks(options) or options.timecycle_type not in ("conditional", "unconditional"):
        return {}
    return {MOTION_MODEL: generator(options.timecycle_motion_model_architecture, flag=MOTION_MODEL)}


def walks(options: Options) -> bool:
    """Whether training walks at all."""
    return bool(options.timecycle_loss_weight or options.timecycle_warp_loss_weight)


def walk_arguments(options: Options) -> dict[str, Any]:
    """What ``TimeCycleMixin`` is told by the options."""
    own = {key: value for key, value in vars(options).items() if key.startswith("timecycle_")}
    return {**own, "timecycle_checkpointing": options.checkpointing, "timecycle_max_return": options.max_return}


def returned_frames(kind: Kind, options: Options) -> tuple[int, int] | None:
    """(L, K) of ``losses.timecycle.draw_returns`` for clips of these options: how many frames are walked, and from how
    many of them the walk returns; None where that is from all, or there is no way back."""
    if WALK not in kind.parts or not walks(options) or not CYCLE_TYPES[options.timecycle_type].returns:
        return None
    length = (options.block_size or kind.default_block_size) - kind.n_frames_ignored()
    length -= CYCLE_TYPES[options.timecycle_type].history
    return (length, options.max_return) if 0 < options.max_return < length else None


def add_walk(model: Model, domain: str, judges: list[Judge]) -> None:
    """Give a model with ``TimeCycleMixin`` a TimeCycle for what it generates of ``domain``, by ``--timecycle_type``.

    ``conditional``: a motion model M sees [c_t, x_(t+1)]. ``unconditional``: M sees two frames. ``pingpong``: the
    generator itself walks. ``timerecycle``: RecycleGAN's predictor walks. Nothing is built where nothing walks.

    Args:
        judges: who judges its images.
    """
    if not walks(model.options):
        return
    kind = CYCLE_TYPES[model.timecycle_type]
    seen = kind.history * model.channels + (model.condition_channels if kind.conditional else 0)
    if model.timecycle_type == "pingpong":
        model.define_timecycle_pingpong(model.network("generator", domain), domain)
    elif model.timecycle_type == "timerecycle":
        model.define_timecycle(seen, model.channels, domain, motion_model=model.network("predictor", domain))
    else:
        options = model.options
        models = [define_motion_model(options.timecycle_motion_model_architecture, seen, model.channels,
                                      options.timecycle_motion_model_filters, options.timecycle_motion_model_residual,
                                      flag=MOTION_MODEL, size=options.image_height)
                  for _ in range(2 if options.timecycle_separate_motion_models else 1)]  # fmt: skip
        model.define_timecycle(seen, model.channels, domain, motion_model=models if len(models) == 2 else models[0])
        model.add_network(f"timecycles.{domain}", model.timecycles[domain], role="G")
    model.timecycles[domain].skips_short = True  # a run that grows begins with short clips, others were refused
    for judge in judges:
        model.add_timecycle_discriminator(
            judge.place, judge.n_frames, timecycle_name=domain, conditional=judge.conditional
        )


def _idle_walk(model: Kind, options: Options) -> dict[str, str]:
    idle, kind = {}, options.timecycle_type
    if not options.timecycle_loss_weight:
        idle |= dict.fromkeys(("timecycle_loss", "timecycle_sharpness"), "--timecycle_loss_weight 0")
    if kind not in ("conditional", "unconditional"):
        residual = {"timecycle_motion_model_residual"} if kind == "timerecycle" else set()  # the predictor may be
        idle |= {name: f"--timecycle_type {kind}, which has no motion model" for name in _WALK - residual
                 if "motion_model" in name}
    if not CYCLE_TYPES[kind].returns:
        idle["max_return"] = f"--timecycle_type {kind}, which does not return"
    elif options.max_return and not returned_frames(model, options):
        idle["max_return"] = "clips in which no more frames are walked (--block_size)"
    if not walks(options):
        idle |= dict.fromkeys(_WALK, "--timecycle_loss_weight 0 and --timecycle_warp_loss_weight 0")
    return idle


_WALK = frozenset(field.name for field in dataclasses.fields(TimeCycleOptions))
WALK = Part(_WALK, _check_walk, _motion_model, _idle_walk)


# ---- flow of the real clip


def _check_flow(kind: Kind, options: Options, training: bool) -> None:
    """A back end that does not exist, and clips without a pair of frames to compare."""
    check_backend(options.flow_backend, options.flow_weights)
    if training and options.warp_loss_weight:
        kind.check_clip_length(options, 2, "--warp_loss_weight")


def warp_arguments(kind: Kind, options: Options, training: bool) -> dict[str, Any]:
    """What ``WarpLossMixin`` is told by the options; a back end is made only where training asks one."""
    needed = training and kind.flow_strides(options) and not options.flow_cache
    backend = flow_backend(options.flow_backend, options.flow_weights) if needed else ""
    return {"warp_loss_weight": options.warp_loss_weight, "warp_flow_backend": backend}


def real_flow(model: Model, stride: int = 1) -> tuple[Tensor, Tensor]:
    """Flow and confidence of this step's real clip, its judged frames, from each frame t + stride back to frame t:
    (N, T - stride, 2, H, W) and (N, T - stride, 1, H, W); those of the batch (``--flow_cache``), or computed once."""
    known = model.step.flows
    if stride not in known:
        known[stride] = model._flow_of(model.step.target[:, model.n_frames_ignored() :], stride)
    return known[stride]


def _idle_flow(kind: Kind, options: Options) -> dict[str, str]:
    if kind.flow_strides(options):
        return {}
    return dict.fromkeys(("flow_backend", "flow_weights", "flow_cache"), "no loss that asks for flow")


FLOW = Part(frozenset({"warp_loss_weight", "flow_backend", "flow_weights", "flow_cache"}), _check_flow, idle=_idle_flow)
