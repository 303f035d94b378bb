"""Weights that other programs saved: which file holds which network, and what its parameters are called here.

Besides its own checkpoints the package reads two layouts of a folder, one plain ``state_dict`` to a file:

- the 2020 release's: ``generator.pth`` is the newest, ``generator_5.pth`` that of epoch 5; networks are called as here,
  so that our own weight files are read as these are;
- pytorch-CycleGAN-and-pix2pix's: ``latest_net_G.pth``, ``5_net_G.pth``. Its CycleGAN translates domain A to B with
  ``G_A`` and back with ``G_B``; ``D_A`` judges what ``G_A`` makes, that is pictures of B, and ``D_B`` those of A.
"""
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from timecyclegan.util.errors import UserError
from timecyclegan.util.names import look_alike

# pytorch-CycleGAN-and-pix2pix's names, with A as the source and B as the target.
PIX2PIX = {
    "G": "generator", "D": "discriminator", "G_A": "generator_target", "G_B": "generator_source",
    "D_A": "discriminator_target", "D_B": "discriminator_source",
}  # fmt: skip


def identify(stem: str) -> tuple[int, str]:
    """What the name of a weight file says: the epoch, 0 for the newest, and the network."""
    if match := re.fullmatch(r"(latest|[1-9]\d*)_net_(\w+)", stem):
        epoch, name = match.groups()
        return 0 if epoch == "latest" else int(epoch), PIX2PIX.get(name, name)
    # The number of a sequence discriminator is not an epoch.
    name, epoch = re.fullmatch(r"(sequence_discriminator_\d+|.+?)(?:_([1-9]\d*))?", stem).groups()
    return int(epoch or 0), name


def plain_parameters(state: Any, path: Path) -> dict[str, Tensor]:
    """A network's parameters by their names here, from what was read from ``path``.

    Taken away are the ``module.`` of ``nn.DataParallel`` and the running statistics that old versions of PyTorch saved
    with InstanceNorm layers. Dropout is a layer of pytorch-CycleGAN-and-pix2pix's residual blocks and moves their
    second convolution from 5 to 6; here it is 5 again.

    Raises:
        UserError: ``state`` is anything but tensors by name, or it has BatchNorm layers: statistics with weights.
    """
    if not isinstance(state, Mapping) or not state:
        raise UserError(f"{path} holds no weights: expected a state_dict, tensors by name")
    if wrong := [key for key, value in state.items() if not (isinstance(key, str) and isinstance(value, Tensor))]:
        raise UserError(f"{path} holds no plain weights: {wrong[0]!r} is no tensor; expected a state_dict")
    if all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    layers = [key.removesuffix(".running_mean") for key in state if key.endswith(".running_mean")]
    weighted = [layer for layer in layers if f"{layer}.weight" in state]
    # A convolution's weights have four dimensions, a norm layer's one.
    if norms := [f"{layer}.weight" for layer in weighted if state[f"{layer}.weight"].dim() == 1]:
        raise UserError(
            f"{path} has a norm layer with weights ({norms[0]}), as BatchNorm has; the networks here have instance "
            "norm without any: train it with instance norm (--norm instance in pytorch-CycleGAN-and-pix2pix)"
        )
    stray = {f"{layer}.{name}" for layer in set(layers) - set(weighted)
             for name in ("running_mean", "running_var", "num_batches_tracked")}  # fmt: skip
    here = {key: key.replace(".conv_block.6.", ".conv_block.5.") for key in state}
    return {key if here[key] in state else here[key]: value for key, value in state.items() if key not in stray}


def find(folder: Path, epoch: int = 0) -> dict[str, Path]:
    """The weight files of an epoch in a folder, by network; 0 is the newest.

    Raises:
        UserError: there are none (names the epochs that there are), or two files are the same network.
    """
    if folder.is_file():
        raise UserError(f"{folder} is a file; give the folder that holds the weights")
    files: dict[str, Path] = {}
    epochs: set[int] = set()
    for path in sorted(folder.glob("[!.]*.pth")):
        if path.stem == "latest":  # our own, the whole state of a run
            continue
        number, name = identify(path.stem)
        epochs |= {number} - {0}
        if number == epoch and files.setdefault(name, path) != path:
            raise UserError(f"{files[name]} and {path} are both weights for {name}: move one of them away")
    if not files:
        there = f"there are epochs {', '.join(map(str, sorted(epochs)))}, ask for one" if epochs else ""
        what = f"weights of epoch {epoch} in {folder}" if epoch else f"checkpoint {folder / 'latest.pth'}"
        beside = [] if folder.is_dir() else [path.name for path in folder.parent.glob("*/")]
        raise UserError(f"no {what}, nor weights of another program: {there or 'train first, or check the name'}"
                        + look_alike(folder.name, beside))
    return files
