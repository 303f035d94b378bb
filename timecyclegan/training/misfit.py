"""Whether weights fit a network, and where they do not, the flags that describe the network that they would fit."""
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from timecyclegan.util.errors import UserError

State = Mapping[str, Tensor]

# The first part of a network's name: what its flags begin with, and those that set its numbers of channels.
FLAGS = {
    "generator": ("--generator", "--model_type, --n_frames_generator or --block_size"),
    "discriminator": ("--discriminator", "--model_type"),
    "sequence": ("--discriminator", "--n_frames_discriminator"),
    "predictor": ("--recycle_predictor", "--model_type"),
    "timecycles": ("--timecycle_motion_model", "--timecycle_type"),
}


def describe(state: State) -> dict[str, Any]:
    """What parameters of these names and shapes say about their network; empty if that is none of ours.

    Its "architecture" (as ``models.networks`` names it), "filters", "upsample" and "norm", whether it is "residual",
    and its "channels": how many it sees and how many it makes.
    """
    state = {key.removeprefix("backward_model."): value for key, value in state.items()
             if not key.startswith("forward_model.")}  # fmt: skip
    residual = all(key.startswith("network.") for key in state)
    state = {key.removeprefix("network."): value for key, value in state.items()}
    kernels = [key for key, value in state.items() if key.endswith(".weight") and value.dim() == 4]
    if not kernels:
        return {}
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
        return {}
    norm = "batch" if has_batch_norm(state) else "instance"
    return {"architecture": architecture, "filters": filters, "upsample": upsample, "norm": norm,
            "residual": residual, "channels": (inputs, outputs)}  # fmt: skip


def has_batch_norm(state: State) -> bool:
    """Whether there are layers with running statistics; ``foreign`` drops those of instance norm, which has no use for
    them."""
    return any(key.endswith(".running_mean") for key in state)


def check_norm(name: str, found: State, own: State, origin: object) -> None:
    """Refuse kernels of another norm, which would fit but not do what they did.

    Raises:
        UserError: names the network and the flag.
    """
    if found and has_batch_norm(found) != has_batch_norm(own):
        theirs = "batch" if has_batch_norm(found) else "instance"
        raise UserError(f"{origin}: {name} has {theirs} norm; use --norm {theirs}")


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
    theirs, ours, kind = describe(found), describe(own), name.split("_")[0]
    if not theirs or not ours or kind not in FLAGS:
        raise UserError(f"{origin}: {name} {text}; use the options that it was trained with")
    stem, channels = FLAGS[kind]
    flags = {"architecture": f"{stem}_architecture", "filters": f"{stem}_filters", "upsample": "--upsample",
             "norm": "--norm"}  # fmt: skip
    differing = [f"{flag} {theirs[key]}" for key, flag in flags.items() if theirs[key] != ours[key]]
    if theirs["residual"] != ours["residual"]:
        differing.append("--timecycle_motion_model_residual" if theirs["residual"] else
                         "--no-timecycle_motion_model_residual")  # fmt: skip
    if any(key.startswith("forward_model.") for key in found) > any(key.startswith("forward_model.") for key in own):
        differing.append("--timecycle_separate_motion_models")
    advice = [f"use {' '.join(differing)}"] if differing else []
    if theirs["channels"] != ours["channels"]:
        (seen, made), (see, make) = theirs["channels"], ours["channels"]
        advice.append(f"it sees {seen} channels and makes {made}, the model's sees {see} and makes {make}, 3 for each "
                      f"frame: use another {channels}")  # fmt: skip
    raise UserError(f"{origin}: {name} {text}; {'; '.join(advice) or 'is it damaged?'}")
