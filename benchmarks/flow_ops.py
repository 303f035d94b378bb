"""FlowNet2's operations in plain PyTorch against the built kernels, side by side, round by round, in one process.

    python benchmarks/flow_ops.py [--device cuda] [--network]

Correlation has the size that it has in FlowNetC for pictures of 256x256 (256 channels, 32x32). Prints the medians and
their ratio. ``--network`` adds the whole of FlowNet2, with random weights.
"""
import argparse
import functools
import statistics
import sys
import time
from collections.abc import Callable

import torch

from timecyclegan.models.networks.flownet2_pytorch import FlowNet2
from timecyclegan.models.networks.flownet2_pytorch.ops import kernels, pytorch

VERSIONS = (pytorch, torch.ops.timecyclegan)
BUILT = kernels.BUILT


def cases(device: str) -> dict[str, Callable]:
    """What is timed: a function of the version, by name; an operation, and with its gradient."""
    def random(channels: int, size: int) -> torch.Tensor:
        return torch.randn(1, channels, size, size, device=device, requires_grad=True)

    inputs = {"correlation": [random(256, 32), random(256, 32)], "resample2d": [random(3, 256), random(2, 256)],
              "channelnorm": [random(3, 256)]}  # fmt: skip
    numbers = {"correlation": (10, 2)}

    def forward(version, name: str) -> torch.Tensor:
        with torch.no_grad():
            return getattr(version, name)(*inputs[name], *numbers.get(name, ()))

    def both(version, name: str) -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad(getattr(version, name)(*inputs[name], *numbers.get(name, ())).sum(), inputs[name])

    return {f"{name}{text}": functools.partial(function, name=name)
            for name in inputs for text, function in (("", forward), (", with gradient", both))}


def network(device: str) -> Callable:
    """The whole net on one pair of pictures of 256x256."""
    net = FlowNet2().to(device).eval()
    pictures = 255 * torch.rand(1, 3, 2, 256, 256, device=device)

    def run(version) -> torch.Tensor:
        kernels.BUILT = () if version is pytorch else BUILT
        with torch.no_grad():
            return net(pictures)

    return run


def seconds(function: Callable, version, device: str) -> float:
    """Wall time of one call."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    function(version)
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--network", action="store_true", help="time the whole net, too")
    args = parser.parse_args()
    if not kernels.describe(args.device).startswith("built"):
        sys.exit(f"error: no kernels were built for {args.device}: {kernels.INSTALL}")
    torch.set_num_threads(args.threads)
    functions = cases(args.device) | ({"FlowNet2": network(args.device)} if args.network else {})
    print(f"torch {torch.__version__}, {args.device}, {args.threads} threads, {kernels.describe(args.device)}")
    print("| | PyTorch | built | ratio |\n|---|---|---|---|")
    for name, function in functions.items():
        rounds = [[seconds(function, version, args.device) for version in VERSIONS] for _ in range(args.rounds + 2)]
        plain, built = (1000 * statistics.median(times) for times in zip(*rounds[2:], strict=True))  # two warm up
        print(f"| {name} | {plain:.2f} ms | {built:.2f} ms | {plain / built:.1f} |")


if __name__ == "__main__":
    main()
