"""Weights that other programs saved: which file holds which network, and what its parameters are called here.

Besides its own checkpoints the package reads two layouts of a folder, one plain ``state_dict`` to a file:

- the 2020 release's: ``generator.pth`` is the newest, ``generator_5.pth`` that of epoch 5; networks are called as here,
  so that our own weight files are read as these are. But ``discriminator_seq``, ``_seq_2``, ... are the sequence
  discriminators, a motion model has a file for each way, and a recurrent DCGAN's ``encoder`` one of its own;
- pytorch-CycleGAN-and-pix2pix's: ``latest_net_G.pth``, ``5_net_G.pth``. Its CycleGAN translates domain A to B with
  ``G_A`` and back with ``G_B``; ``D_A`` judges what ``G_A`` makes, that is pictures of B, and ``D_B`` those of A.
"""
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from timecyclegan.util.errors import UserError
from timecyclegan.util.names import look_alike
from timecyclegan.util.weights import load, without_wrappers

# pytorch-CycleGAN-and-pix2pix's names, with A as the source and B as the target.
PIX2PIX = {
    "G": "generator", "D": "discriminator", "G_A": "generator_target", "G_B": "generator_source",
    "D_A": "discriminator_target", "D_B": "discriminator_source",
}  # fmt: skip


# The 2020 release's, where they are not ours: two files for one network, told apart by how its parameters begin here.
_MOTION_MODEL = re.compile(r"timecycle_(target|source)_motion_model_(forward|backward)(?:_([1-9]\d*))?")
_SEQUENCES = re.compile(r"discriminator(_target|_source|)_seq(?:_([1-9]\d*))?(?:_([1-9]\d*))?")

Parts = dict[str, Path]  # the files of a network, by how the names of their parameters begin: "" for one that has all


def identify(stem: str, others: Collection[str] = ()) -> tuple[int, str, str]:
    """What the name of a weight file says: the epoch, 0 for the newest, the network, and which part of it.

    Args:
        others: the names of the files beside it. In the 2020 release ``discriminator_seq_2`` is the first sequence
            discriminator of epoch 2 as well as the newest of the second one; what else there is tells.
    """
    if match := re.fullmatch(r"(latest|[1-9]\d*)_net_(\w+)", stem):
        epoch, name = match.groups()
        return 0 if epoch == "latest" else int(epoch), PIX2PIX.get(name, name), ""
    if match := _MOTION_MODEL.fullmatch(stem):
        domain, way, epoch = match.groups()
        return int(epoch or 0), f"timecycles_{domain}", f"{way}_model."
    if match := _SEQUENCES.fullmatch(stem):
        domain, number, epoch = match.groups()
        if number and not epoch:
            second = any(re.fullmatch(rf"{stem}_\d+", other) for other in others)
            saved = any(other.endswith(f"_{number}") and not _SEQUENCES.fullmatch(other) for other in others)
            if number == "1" or (saved and not second):
                number, epoch = None, number
        return int(epoch or 0), f"sequence_discriminator_{int(number or 1) - 1}{domain}", ""
    # The number of a sequence discriminator is not an epoch.
    name, epoch = re.fullmatch(r"(sequence_discriminator_\d+|.+?)(?:_([1-9]\d*))?", stem).groups()
    return int(epoch or 0), name, ""


def read(parts: Parts) -> dict[str, Tensor]:
    """A network's parameters by their names here, from its files.

    Of two motion models that are the same the backward one is taken: the 2020 release wrote a shared one twice.

    Raises:
        UserError: see :func:`plain_parameters` and ``util.weights.load``.
    """
    states = {prefix: plain_parameters(load(path), path) for prefix, path in parts.items()}
    if {"backward_model.", "forward_model."} == states.keys():
        back, forth = states["backward_model."], states["forward_model."]
        if back.keys() == forth.keys() and all(torch.equal(back[key], forth[key]) for key in back):
            del states["forward_model."]
    return {prefix + key: value for prefix, state in states.items() for key, value in state.items()}


def plain_parameters(state: Any, path: Path) -> dict[str, Tensor]:
    """A network's parameters by their names here, from what was read from ``path``.

    Taken away are what wrappers put into names (:func:`without_wrappers`) and the running statistics that old versions
    of PyTorch saved with InstanceNorm layers, which have no weights. Those of BatchNorm, which has, stay; PyTorch
    before 0.4.1 did not count its batches. Dropout is a layer of pytorch-CycleGAN-and-pix2pix's residual blocks and
    moves what is behind it, the second convolution and its norm, from 5 and 6 to 6 and 7; here they are 5 and 6 again.

    Raises:
        UserError: ``state`` is anything but tensors by name.
    """
    if not isinstance(state, Mapping) or not state:
        raise UserError(f"{path} holds no weights: expected a state_dict, tensors by name")
    if wrong := [key for key, value in state.items() if not (isinstance(key, str) and isinstance(value, Tensor))]:
        raise UserError(f"{path} holds no plain weights: {wrong[0]!r} is no tensor; expected a state_dict")
    state = without_wrappers(state)
    for layer in [key.removesuffix(".running_mean") for key in state if key.endswith(".running_mean")]:
        # A convolution's weights have four dimensions, a norm layer's one.
        weighted = f"{layer}.weight" in state
        if weighted and state[f"{layer}.weight"].dim() == 1:
            state.setdefault(f"{layer}.num_batches_tracked", torch.tensor(0))
        elif not weighted:
            for name in ("running_mean", "running_var", "num_batches_tracked"):
                state.pop(f"{layer}.{name}", None)
    blocks = {key.removesuffix("6.weight") for key, value in state.items()
              if key.endswith(".conv_block.6.weight") and value.dim() == 4}  # fmt: skip
    for block in [block for block in blocks if f"{block}5.weight" not in state]:
        for behind, here in (("6.", "5."), ("7.", "6.")):
            moved = {key: block + here + key.removeprefix(block + behind) for key in state
                     if key.startswith(block + behind)}  # fmt: skip
            state = {moved.get(key, key): value for key, value in state.items()}
    return state


def find(folder: Path, epoch: int = 0) -> dict[str, Parts]:
    """The weight files of an epoch in a folder, by network; 0 is the newest.

    Raises:
        UserError: there are none (names the epochs that there are), or two files are the same network.
    """
    if folder.is_file():
        raise UserError(f"{folder} is a file; give the folder that holds the weights")
    files: dict[str, Parts] = {}
    epochs: set[int] = set()
    paths = [path for path in sorted(folder.glob("[!.]*.pth")) if path.stem != "latest"]  # our own: a run's whole state
    stems = [path.stem for path in paths]
    for path in paths:
        number, name, part = identify(path.stem, stems)
        epochs |= {number} - {0}
        if number == epoch and files.setdefault(name, {}).setdefault(part, path) != path:
            raise UserError(f"{files[name][part]} and {path} are both weights for {name}: move one of them away")
    if not files:
        there = f"there are epochs {', '.join(map(str, sorted(epochs)))}, ask for one" if epochs else ""
        what = f"weights of epoch {epoch} in {folder}" if epoch else f"checkpoint {folder / 'latest.pth'}"
        beside = [] if folder.is_dir() else [path.name for path in folder.parent.glob("*/")]
        raise UserError(f"no {what}, nor weights of another program: {there or 'train first, or check the name'}"
                        + look_alike(folder.name, beside))
    if "encoder" in files and "generator" in files:  # the 2020 release's recurrent DCGAN
        files["generator"] = {"encoder.": files.pop("encoder")[""], "decoder.": files["generator"][""]}
    return files
