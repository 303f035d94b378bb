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
    first, last = state[kernels[0]], state[kernels[-1]]
    if kernels[0] == "model.model.0.weight" and "model.model.3.weight" in state:
        depth = 1 + sum(key.endswith(".model.1.weight") for key in kernels)
        return Description(f"unet_{2**depth}", first.shape[0], first.shape[1], state["model.model.3.weight"].shape[1])
    if kernels[0] == "model.1.weight":
        blocks = len({key.split(".conv_block.")[0] for key in kernels if ".conv_block." in key})
        resized = any(re.fullmatch(r"model\.\d+\.2\.weight", key) for key in kernels)
        return Description(f"resnet_{blocks}blocks", first.shape[0], first.shape[1], last.shape[0],
                           "resize" if resized else "transposed")  # fmt: skip
    if kernels[0] == "net.0.weight":
        return Description("pixel", first.shape[0], first.shape[1], last.shape[0])
    if kernels[0] == "model.0.weight" and "model.0.bias" in state:
        layers = len(kernels) - 2
        return Description("basic" if layers == 3 else f"{layers}_layers", first.shape[0], first.shape[1],
                           last.shape[0])  # fmt: skip
    return None


def check_fit(name: str, found: State, own: State, origin: object) -> None:
    """Refuse the parameters ``found`` if the network called ``name``, whose own are ``own``, cannot take them.

    Raises:
        UserError: names the network, the first parameter that does not fit, both shapes, and what would fit.
    """
    for key, value in own.items():
        if key not in found:
            raise UserError(f"{origin}: {name} lacks the parameter {key}; {_remedy(name, found, own)}")
        if found[key].shape != value.shape:
            raise UserError(
                f"{origin}: {name} does not fit, its {key} is {tuple(found[key].shape)} where the model has "
                f"{tuple(value.shape)}; {_remedy(name, found, own)}"
            )
    if surplus := sorted(set(found) - set(own)):
        raise UserError(
            f"{origin}: {name} has a parameter {surplus[0]} that the model does not know; {_remedy(name, found, own)}"
        )


def _remedy(name: str, found: State, own: State) -> str:
    """The flags in which the network that ``found`` belongs to differs from the model's, as far as one can tell."""
    theirs, ours = describe(found), describe(own)
    kind = re.split(r"_|$", name, maxsplit=1)[0]
    if theirs is None or ours is None or kind not in FLAGS:
        return "use the options that it was trained with"
    flags = [f"{FLAGS[kind]}_{field} {getattr(theirs, field)}"
             for field in ("architecture", "filters") if getattr(theirs, field) != getattr(ours, field)]  # fmt: skip
    if theirs.upsample != ours.upsample:
        flags.append(f"--upsample {theirs.upsample}")
    text = f"use {' '.join(flags)}" if flags else ""
    if (theirs.inputs, theirs.outputs) != (ours.inputs, ours.outputs):
        text += f"{'; ' if text else ''}{_channels(name, kind, theirs, ours)}"
    return text or "is it damaged?"


def _channels(name: str, kind: str, theirs: Description, ours: Description) -> str:
    """What to do about other numbers of channels than the model's."""
    seen = f"it sees {theirs.inputs} channels and makes {theirs.outputs}"
    if theirs.inputs % 3 or (kind not in ("discriminator", "sequence") and theirs.outputs % 3):
        return f"{seen}, but frames have 3: train it on colour pictures"
    frames = theirs.inputs // 3
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
