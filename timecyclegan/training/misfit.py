"""Whether weights fit a network, and where they do not, the flags that describe the network that they would fit."""
import re
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from timecyclegan.util.errors import UserError

State = Mapping[str, Tensor]

# The first part of a network's name: what its flags begin with.
FLAGS = {
    "generator": "--generator", "discriminator": "--discriminator", "sequence": "--discriminator",
    "predictor": "--recycle_predictor", "timecycles": "--timecycle_motion_model",
}  # fmt: skip


class Description(NamedTuple):
    """What a network's parameters say about it."""

    architecture: str
    filters: int
    inputs: int  # channels that it sees
    outputs: int  # channels that it makes
    upsample: str = "transposed"


def describe(state: State) -> Description | None:
    """The architecture (as ``models.networks`` names it) that has parameters of these names; None if it is unknown."""
    state = {key.removeprefix("backward_model."): value for key, value in state.items()}
    kernels = [key for key, value in state.items() if key.endswith(".weight") and value.dim() == 4]
    if not kernels:
        return None
    filters, inputs, *_ = state[kernels[0]].shape
    outputs, upsample = state[kernels[-1]].shape[0], "transposed"
    if kernels[0] == "model.model.0.weight" and "model.model.3.weight" in state:
        architecture = f"unet_{2 ** (1 + sum(key.endswith('.model.1.weight') for key in kernels))}"
        outputs = state["model.model.3.weight"].shape[1]
    elif kernels[0] == "model.1.weight":
        architecture = f"resnet_{len({key.split('.conv_block.')[0] for key in kernels if '.conv_block.' in key})}blocks"
        if any(re.fullmatch(r"model\.\d+\.2\.weight", key) for key in kernels):
            upsample = "resize"
    elif kernels[0] == "net.0.weight":
        architecture = "pixel"
    elif kernels[0] == "model.0.weight" and "model.0.bias" in state:
        architecture = "basic" if len(kernels) == 5 else f"{len(kernels) - 2}_layers"
    else:
        return None
    return Description(architecture, filters, inputs, outputs, upsample)


def check_fit(name: str, found: State, own: State, origin: object) -> None:
    """Refuse the parameters ``found`` if the network called ``name``, whose own are ``own``, cannot take them.

    Raises:
        UserError: names the network, the first parameter that does not fit, both shapes, and what would fit.
    """
    wrong = next((key for key in [*own, *sorted(set(found) - set(own))]
                  if key not in own or key not in found or found[key].shape != own[key].shape), None)  # fmt: skip
    if wrong is None:
        return
    if wrong not in found:
        text = f"lacks the parameter {wrong}"
    elif wrong not in own:
        text = f"has a parameter {wrong} that the model does not know"
    else:
        shapes = tuple(found[wrong].shape), tuple(own[wrong].shape)
        text = f"does not fit, its {wrong} is {shapes[0]} where the model has {shapes[1]}"
    raise UserError(f"{origin}: {name} {text}; {_remedy(name, describe(found), describe(own))}")


def _remedy(name: str, theirs: Description | None, ours: Description | None) -> str:
    """The flags in which two networks called ``name`` differ, as far as one can tell."""
    kind = re.split(r"_|$", name, maxsplit=1)[0]
    if theirs is None or ours is None or kind not in FLAGS:
        return "use the options that it was trained with"
    flags = [f"{FLAGS[kind]}_{field} {getattr(theirs, field)}"
             for field in ("architecture", "filters") if getattr(theirs, field) != getattr(ours, field)]  # fmt: skip
    if theirs.upsample != ours.upsample:
        flags.append(f"--upsample {theirs.upsample}")
    advice = [f"use {' '.join(flags)}"] if flags else []
    if (theirs.inputs, theirs.outputs) != (ours.inputs, ours.outputs):
        advice.append(_channels(name, kind, theirs, ours))
    return "; ".join(advice) or "is it damaged?"


def _channels(name: str, kind: str, theirs: Description, ours: Description) -> str:
    """What to do about other numbers of channels than the model's."""
    seen, frames = f"it sees {theirs.inputs} channels and makes {theirs.outputs}", theirs.inputs // 3
    if theirs.inputs % 3 or (kind not in ("discriminator", "sequence") and theirs.outputs % 3):
        return f"{seen}, but frames have 3: train it on colour pictures"
    if kind == "sequence":
        return f"it sees {frames} frames: use --n_frames_discriminator {frames}"
    if kind != "generator":
        return f"{seen} where the model's sees {ours.inputs} and makes {ours.outputs}: use another --model_type"
    unpaired = name != "generator"
    if theirs.outputs > 3:
        return f"it makes {theirs.outputs // 3} frames at once: use --model_type pix2pix --block_size {frames}"
    if frames == 1:
        return f"it sees one frame alone: use --model_type {'cyclegan' if unpaired else 'pix2pix --block_size 1'}"
    recurrent = "seqcyclegan or tricyclegan" if unpaired else "seqpix2pix or timecycle"
    return (f"it sees a frame and its last outputs, {frames - 1}: use --n_frames_generator {frames - 1} with a "
            f"recurrent --model_type, {recurrent}")  # fmt: skip


def lacking(name: str, states: Mapping[str, object]) -> str:
    """Why there may be no weights for the network ``name`` among ``states``, to end a message with; may be empty."""
    if name.startswith("generator_") and "generator" in states:
        return ("; its one generator translates one way: use --model_type pix2pix, or name its file for its direction, "
                "latest_net_G_A.pth from source to target, latest_net_G_B.pth back")  # fmt: skip
    if name.startswith("generator_") and any(other.startswith("generator_") for other in states):
        return "; to translate one way only, give - for the folder of the other"
    if name == "generator" and "generator_target" in states:
        return "; it translates both ways: use an unpaired --model_type such as cyclegan"
    return ""
