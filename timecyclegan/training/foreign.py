"""Weights that other programs saved: which file holds which network, and what its parameters are called here.

Besides its own checkpoints the package reads two layouts of a folder, one plain ``state_dict`` to a file:

- the 2020 release's: ``generator.pth`` is the newest, ``generator_5.pth`` that of epoch 5; networks are called as here;
- pytorch-CycleGAN-and-pix2pix's: ``latest_net_G.pth``, ``5_net_G.pth``. Its CycleGAN translates domain A to B with
  ``G_A`` and back with ``G_B``; ``D_A`` judges what ``G_A`` makes, that is pictures of B, and ``D_B`` those of A.
"""
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from timecyclegan.util.errors import UserError

# pytorch-CycleGAN-and-pix2pix's names, with A as the source and B as the target.
PIX2PIX = {
    "G": "generator", "D": "discriminator", "G_A": "generator_target", "G_B": "generator_source",
    "D_A": "discriminator_target", "D_B": "discriminator_source",
}  # fmt: skip
DIRECTIONS = {"generator_source_to_target": "generator_target", "generator_target_to_source": "generator_source"}


def identify(stem: str) -> tuple[int, str, str]:
    """What the name of a weight file says: (epoch, 0 for the newest; network; what to put before its parameters)."""
    if match := re.fullmatch(r"(latest|[1-9]\d*)_net_(\w+)", stem):
        epoch, name = match.groups()
        return 0 if epoch == "latest" else int(epoch), PIX2PIX.get(name, name), ""
    # The number of a sequence discriminator is not an epoch.
    numbered = r"sequence_discriminator(?:_source|_target)?_\d+"
    name, epoch = re.fullmatch(rf"({numbered}|.+?)(?:_([1-9]\d*))?", stem).groups()
    if match := re.fullmatch(r"(?:timecycle_)?motion_model(?:_(source|target))?(?:_(forward|backward))?", name):
        # One motion model walks both ways, and is then the backward one (``models.mixins.timecycle.TimeCycle``).
        return int(epoch or 0), f"timecycles_{match[1] or 'target'}", f"{match[2] or 'backward'}_model."
    return int(epoch or 0), DIRECTIONS.get(name, name), ""


def plain_parameters(content: Any, path: Path) -> dict[str, Tensor]:
    """A network's parameters by their names here, from what was read from ``path``.

    Taken away are a ``state_dict`` around them, the ``module.`` of ``nn.DataParallel``, and the running statistics
    that old versions of PyTorch saved with InstanceNorm layers. Dropout is a layer of
    pytorch-CycleGAN-and-pix2pix's residual blocks and moves their second convolution from 5 to 6; here it is 5 again.

    Raises:
        UserError: ``content`` is anything but tensors by name, or it has BatchNorm layers: statistics with weights.
    """
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not content:
        raise UserError(f"{path} holds no weights: expected a state_dict, tensors by name")
    state = {key: value for key, value in content.items() if key != "_metadata"}
    if wrong := [key for key, value in state.items() if not (isinstance(key, str) and isinstance(value, Tensor))]:
        raise UserError(f"{path} holds no plain weights: {wrong[0]!r} is no tensor; expected a state_dict")
    if all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    # A convolution's weights have four dimensions. DCGAN's own norm layers have weights, but no statistics.
    flat = [key.removesuffix(".weight") for key, value in state.items() if key.endswith(".weight") and value.dim() == 1]
    if norms := [f"{layer}.weight" for layer in flat if f"{layer}.running_mean" in state]:
        raise UserError(
            f"{path} has a norm layer with weights ({norms[0]}), as BatchNorm has; the networks here have instance "
            "norm without any: train it with instance norm (--norm instance in pytorch-CycleGAN-and-pix2pix)"
        )
    statistics = re.compile(r"(.+)\.(?:running_mean|running_var|num_batches_tracked)")
    stray = [key for key in state if (match := statistics.fullmatch(key)) and f"{match[1]}.weight" not in state]
    state = {key: value for key, value in state.items() if key not in stray}
    shifted = [key.removesuffix(".6.weight") for key in state if key.endswith(".conv_block.6.weight")]
    shifted = [block for block in shifted if f"{block}.5.weight" not in state]
    moved = {f"{block}.6.{kind}": f"{block}.5.{kind}" for block in shifted for kind in ("weight", "bias")}
    return {moved.get(key, key): value for key, value in state.items()}


class Weights(Mapping[str, Mapping[str, Tensor]]):
    """Parameters by network, of an epoch's files in a folder; read, and said on stdout, when first asked for.

    Args:
        epoch: 0 is the newest.
        load: reads a file.

    Raises:
        UserError: there are none (names the epochs that there are), or two files are the same network.
    """

    def __init__(self, folder: Path, epoch: int, load: Callable[[Path], Any]):
        paths = [path for path in sorted(folder.glob("*.pth")) if not path.name.startswith(".")]
        identified = [(path, *identify(path.stem)) for path in paths]
        self._load = load
        self._states: dict[str, Mapping[str, Tensor]] = {}
        self._files: dict[str, dict[Path, str]] = {}  # by network, its files and what each puts before its parameters
        for path, number, name, prefix in identified:
            if number == epoch:
                files = self._files.setdefault(name, {})
                for other, its_prefix in files.items():
                    if prefix == its_prefix or not (prefix and its_prefix):
                        raise UserError(f"{other} and {path} are both weights for {name}: move one of them away")
                files[path] = prefix
        if not self._files:
            epochs = ", ".join(map(str, sorted({number for _, number, *_ in identified})))
            if epoch:
                known = f"there are epochs {epochs}" if epochs else "there are none at all"
                raise UserError(f"no weights of epoch {epoch} in {folder}: {known}")
            hint = f"there are epochs {epochs}, ask for one" if epochs else "train first, or check the name"
            raise UserError(f"no checkpoint {folder / 'latest.pth'}, nor weights of another program: {hint}")

    def __getitem__(self, name: str) -> Mapping[str, Tensor]:
        if name not in self._states:
            state = {}
            for path, prefix in self._files[name].items():
                parameters = plain_parameters(self._load(path), path)
                state |= {prefix + key: value for key, value in parameters.items()}
                print(f"{path} -> {name}")
            self._states[name] = state
        return self._states[name]

    def __contains__(self, name: object) -> bool:
        return name in self._files  # without reading it

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def origin(self, name: str) -> str:
        """The file of a network, for messages."""
        return " and ".join(map(str, self._files[name]))

    def note_unused(self, networks: Iterable[str]) -> None:
        """Say which files are none of these networks'."""
        names = set(networks)
        if unused := [self.origin(name) for name in self if name not in names]:
            print(f"note: not used: {', '.join(unused)}")
