"""What a command line asks for and does not get: options that do nothing, and losses that are not there."""
import dataclasses
from collections.abc import Collection

from timecyclegan.models import PRESETS, get_task, model_class
from timecyclegan.models.parts import FLOW, WALK, walks
from timecyclegan.util.options import (
    DiscriminatorOptions,
    LossOptions,
    ModelOptions,
    Options,
    RunOptions,
    TestOptions,
    TimeCycleOptions,
)

# Those of which a class says by ``uses`` that they concern it at all.
_OPTIONAL = ("n_frames_generator", "bptt", *(
    field.name for concern in (DiscriminatorOptions, LossOptions, TimeCycleOptions)
    for field in dataclasses.fields(concern)))  # fmt: skip
_FEW = 5  # frames, beyond which a walk's gradients may grow too large
_MEASURING = "metric_flow_backend", "metric_flow_weights", "also", "require", "fid_dims", "per_frame", "beside"
_VIDEO_TESTS = {"test_init_epoch", "test_seed", "test_unpaired_target_to_source"}  # test options that --video reads
_LOSSES = {"timecycle_loss_weight": "TimeCycle", "l1_loss_weight": "L1", "cycle_loss_weight": "cycle",
           "warp_loss_weight": "warp", "flow_loss_weight": "flow"}  # fmt: skip


def training_notes(options: Options, given: Collection[str], begins: bool = True) -> list[str]:
    """What is to be said of options before training: a line each.

    Args:
        given: the options that were.
        begins: the run is new; of one that goes on, what it lacks was said when it began.
    """
    lines = idle_options(options, given) + growing_gradients(options)
    return lines + missing_losses(options, given) if begins else lines


def idle_options(options: Options, given: Collection[str]) -> list[str]:
    """A line for each of the ``given`` options that does nothing, where the user may believe otherwise.

    A model does not know it, or other options leave it nothing to do (``BaseModel.idle``). What is 0 or empty is asked
    to do nothing; a flag that begins with ``--no-`` is not.
    """
    kind = model_class(options.model_type)
    because = {name: f"with {reason}" for name, reason in kind.idle(options).items()}
    because |= dict.fromkeys({*_OPTIONAL} - kind.uses, f"on --model_type {options.model_type}")
    usual = Options()
    return [f"--{'' if value else 'no-'}{name} has no effect {because[name]}" for name, value in vars(options).items()
            if name in given and name in because and (value or getattr(usual, name) is True)]  # fmt: skip


def growing_gradients(options: Options) -> list[str]:
    """A line where a walk's gradients multiply over more frames than is good (docs/MODELS.md, "The motion model")."""
    kind = model_class(options.model_type)
    frames = options.block_size or kind.default_block_size
    direct = options.timecycle_type == "pingpong" or not options.timecycle_motion_model_residual
    if WALK not in kind.parts or not walks(options) or not direct or frames <= _FEW:
        return []
    remedy = "another --timecycle_type" if options.timecycle_type == "pingpong" else "--timecycle_motion_model_residual"
    return [f"--block_size {frames}: this walk's gradients multiply with every frame, and may drown all other losses "
            f"beyond {_FEW} frames; with {remedy} they do not"]


def idle_in_testing(options: Options, given: Collection[str], metrics: bool, video: bool, saved: bool) -> list[str]:
    """As :func:`idle_options`, of what is given to ``test.py`` and ``val.py``.

    Args:
        metrics: whether anything is measured.
        video: whether one video file is translated into another.
        saved: whether the run has options of its own, which those given were compared with.
    """
    kind, task = model_class(options.model_type), get_task(options.model_type)
    this = f"on --model_type {options.model_type}"
    because: dict[str, str] = {}
    if not saved:  # the weights are another program's, or there are none
        known = {field.name for concern in (ModelOptions, RunOptions) for field in dataclasses.fields(concern)}
        if task == "other":
            known = {"model_type", "gpu", "image_height", "image_width", "threads", *kind.uses}
        because = dict.fromkeys(vars(options).keys() - known, "on testing" if task != "other" else this)
        because |= {name: f"with {reason}" for name, reason in kind.idle(options).items()}
    if not metrics:
        because |= dict.fromkeys(_MEASURING, "on test, which measures nothing: val does")
    if task == "other":
        because |= dict.fromkeys(("test_batch_size", "test_seed"), this)
    elif task != "unconditional" and not kind.recurrent:
        because["test_seed"] = f"{this}, which begins with no noise"
    if video:
        tests = {field.name for field in dataclasses.fields(TestOptions)}
        because |= dict.fromkeys({"threads", *tests} - _VIDEO_TESTS, "on --video")
    return [f"--{name} has no effect {because[name]}" for name in given if name in because]


def missing_losses(options: Options, given: Collection[str]) -> list[str]:
    """A line on the losses that a model lacks although it is made for them, and what has weights for them.

    A model with TimeCycle has it, one with a warp loss has that, unless it is vid2vid's, which can learn to warp from
    TimeCycle, and no model but those that start from noise learns from its discriminators alone. Losses of which the
    weight 0 was ``given`` are not meant.
    """
    kind = model_class(options.model_type)
    weights = [name for name in _LOSSES if name in kind.uses]
    off = {name for name in weights if not getattr(options, name)}
    if options.recycle_loss_weight and "recycle_loss_weight" in kind.uses:  # another name of the same
        off.discard("cycle_loss_weight")
    alone = not any(getattr(options, name) for name in kind.uses
                    if name.endswith("_loss_weight") and not name.endswith("gan_loss_weight"))  # fmt: skip
    if not alone:
        walking = WALK in kind.parts and walks(options)
        learns_to_warp = walking and "flow_loss_weight" in kind.uses
        essential = {"timecycle_loss_weight": WALK in kind.parts and not walking,
                     "warp_loss_weight": FLOW in kind.parts and not kind.flow_strides(options) and not learns_to_warp}
        off = {name for name in off if essential.get(name)}
    off = [name for name in weights if name in off and name not in given]
    if not off:
        return []
    preset = next((name for name, flags in PRESETS.items() if flags["model_type"] == options.model_type), None)
    remedy = f"--preset {preset} has weights that work" if preset else "there is no preset for it: give the weights"
    return [f"--model_type {options.model_type} is trained without these losses: {', '.join(map(_LOSSES.get, off))} "
            f"({', '.join(f'--{name}' for name in off)}: 0); {remedy}"]
