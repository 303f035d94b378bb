"""Fréchet distance, and MMD, of two sets of pictures or clips by any network that was saved as TorchScript.

    python -m timecyclegan.evaluation.compute_frechet REAL FAKE --extractor i3d.pt --clip 16 --resize 224

With I3D this is FVD, with the encoder of VideoMAE CD-FVD; which number it is comparable with depends on the file, the
length of the clips and how pixels are treated, so all of that is written beside it.
"""
import argparse
import ast
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from timecyclegan.evaluation.comparing import Clip, Sampling, add_arguments, run
from timecyclegan.util.device import pick_device
from timecyclegan.util.errors import UserError, command
from timecyclegan.util.hub import sha256
from timecyclegan.util.torchscript import brief, load_torchscript


@dataclass(frozen=True)
class Treatment:
    """How pixels come to the network.

    Attributes:
        length: frames per clip.
        resize: (height, width), bilinear without antialiasing; None keeps the size.
        range: what 0 and 255 become.
        layout: the order of the input's dimensions n, t, c, h, w; without t for clips of one frame.
        arguments: keyword arguments of the network's ``forward``.
    """
    length: int = 1
    resize: tuple[int, int] | None = None
    range: tuple[float, float] = (-1.0, 1.0)
    layout: str = "nchw"
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, clips: Sequence[Clip], device: torch.device) -> Tensor:
        """float32, of the layout.

        Raises:
            UserError: frames have different sizes.
        """
        low, high = self.range
        frames = [self._resized(torch.tensor(frame, device=device)) for clip in clips for frame in clip]
        sizes = sorted({f"{frame.shape[3]}x{frame.shape[2]}" for frame in frames})
        if len(sizes) > 1:
            raise UserError(f"frames have different sizes, {sizes[0]} and {sizes[1]}; give --resize")
        x = torch.cat(frames).unflatten(0, (len(clips), self.length)) * ((high - low) / 255) + low
        if "t" not in self.layout:
            x = x[:, 0]
        present = "ntchw" if "t" in self.layout else "nchw"
        return x.permute([present.index(letter) for letter in self.layout]).contiguous()

    def _resized(self, frame: Tensor) -> Tensor:
        x = frame.permute(2, 0, 1)[None].float()
        return functional.interpolate(x, self.resize, mode="bilinear", align_corners=False) if self.resize else x


class TorchScript:
    """A network from a file as :class:`~timecyclegan.evaluation.comparing.Extractor`.

    Raises:
        UserError: the file is missing or holds no TorchScript; when called: it does not take such clips, or gives no
            finite (N, D).
    """

    def __init__(self, path: str, treatment: Treatment, gpu: int = -1) -> None:
        self._path, self._treatment, self._device = path, treatment, pick_device(gpu)
        self._size: tuple[int, ...] | None = None
        self._network = load_torchscript(path, self._device, "--extractor")
        resize = None if treatment.resize is None else list(treatment.resize)
        self.facts: Mapping[str, Any] = {
            "network": Path(path).name, "weights_sha256": sha256(path), "clip": treatment.length, "resize": resize,
            "range": list(treatment.range), "layout": treatment.layout,
            "arguments": {name: str(value) for name, value in sorted(treatment.arguments.items())}}

    def __call__(self, clips: Sequence[Clip]) -> np.ndarray:
        x = self._treatment(clips, self._device)
        first, self._size = self._size or x.shape[1:], x.shape[1:]
        if self._size != first:
            raise UserError(f"frames have different sizes: clips are {tuple(first)} and {tuple(self._size)} "
                            f"({self._treatment.layout[1:]}); give --resize")
        try:
            features = self._run(x)
        except Exception as error:
            raise UserError(f"{self._path} cannot take clips of shape {tuple(x.shape)} ({self._treatment.layout}): "
                            f"{brief(error)}; see --clip, --resize, --layout and --arguments") from error
        if not isinstance(features, Tensor) or features.ndim < 2 or len(features) != len(clips) \
                or math.prod(features.shape[2:]) != 1:
            found = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise UserError(f"{self._path} gives {found} for {len(clips)} clips; expected features (N, D): wrap it in "
                            "a module that picks them and averages or flattens what is left")
        if not torch.isfinite(features).all():
            raise UserError(f"{self._path} gives features that are not finite numbers; check --range and --resize")
        return features.flatten(1).double().cpu().numpy()

    # Not with TF32, which GPUs use for convolutions by default: its rounding would show in the distance.
    @torch.inference_mode()
    @torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
    def _run(self, x: Tensor) -> Any:
        return self._network(x, **self._treatment.arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="compute_frechet", description="Fréchet distance of two sets of pictures or "
                                     "clips, by the features of any TorchScript network.")
    add_arguments(parser)
    parser.add_argument("--extractor", metavar="FILE", help="TorchScript that makes features (N, D) of clips; not "
                        "needed between saved statistics")
    parser.add_argument("--clip", type=int, default=1, metavar="T", help="frames per clip (default: 1, pictures)")
    parser.add_argument("--stride", type=int, metavar="S", help="frames from the begin of a clip to that of the next "
                        "(default: T, so that none overlap)")
    parser.add_argument("--resize", metavar="SIZE", help="side, or HEIGHTxWIDTH, bilinear without antialiasing "
                        "(default: as the frames are)")
    parser.add_argument("--range", type=float, nargs=2, default=(-1.0, 1.0), metavar=("LOW", "HIGH"), help="what "
                        "pixels of 0 and 255 become: -1 1 (default), 0 1 or 0 255")
    parser.add_argument("--layout", help="order of the network's input: n clips, t frames, c channels, h, w (default: "
                        "ncthw; nchw where T is 1)")
    parser.add_argument("--arguments", nargs="+", default=[], metavar="NAME=VALUE", help="for the network, such as "
                        "return_features=True")
    parser.add_argument("--batch_size", type=int, default=8, help="clips at once (default: 8)")
    parser.add_argument("--mmd", action="store_true", help="the squared MMD too, with KID's kernel; all features are "
                        "kept in memory")
    parser.add_argument("--subsets", type=int, metavar="N", help="the MMD's mean over so many random subsets of 1000 "
                        "(default: of all clips at once)")
    return parser


@command
def main(arguments: list[str] | None = None) -> None:
    """Print the distance of two sets."""
    args = _parser().parse_args(arguments)
    treatment, sampling = _treatment(args), Sampling(args.clip, args.stride or args.clip, args.batch_size)

    @cache
    def extractor() -> TorchScript:
        if args.extractor is None:
            raise UserError("--extractor FILE is needed to make features of pictures or clips")
        return TorchScript(args.extractor, treatment, args.gpu)

    subsets = (args.subsets or 0) if args.mmd else None
    run(args, "Fréchet distance", "frechet-{network}-{clip}", extractor, sampling, subsets)


def _treatment(args: argparse.Namespace) -> Treatment:
    """
    Raises:
        UserError: a flag's value makes no sense.
    """
    for flag in ("clip", "stride", "batch_size", "subsets"):
        if (value := getattr(args, flag)) is not None and value < 1:
            raise UserError(f"--{flag} {value}: expected 1 or more")
    if args.subsets and not args.mmd:
        raise UserError("--subsets is of the MMD; give --mmd too")
    layout = args.layout or ("ncthw" if args.clip > 1 else "nchw")
    allowed = ("chntw", "chnw") if args.clip == 1 else ("chntw",)
    if "".join(sorted(layout)) not in allowed or layout[0] != "n":
        raise UserError(f"--layout {layout}: expected n first, then t, c, h and w in the network's order, such as ncthw"
                        + (" or nchw" if args.clip == 1 else ""))
    resize = _size(args.resize) if args.resize else None
    return Treatment(args.clip, resize, tuple(args.range), layout, dict(map(_argument, args.arguments)))


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not re.fullmatch("[1-9][0-9]*(x[1-9][0-9]*)?", text):
        raise UserError(f"--resize {text}: expected a side, such as 224, or a height and a width, such as 128x256")
    return int(height), int(width or height)


def _argument(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise UserError(f"--arguments {text}: expected NAME=VALUE, such as return_features=True")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


if __name__ == "__main__":
    sys.exit(main())
