"""The built kernels: where ``build.py`` puts them, and loading them."""
import functools
import hashlib
import platform
from pathlib import Path

import torch

PACKAGE = Path(__file__).resolve().parents[1]
SOURCES = Path(__file__).parent / "csrc"
INSTALL = f"bash {PACKAGE / 'install.sh'}"


def path() -> Path:
    """Where the library of these sources for this torch and this kind of processor is, if it was built."""
    digest = hashlib.sha256()
    for source in sorted(SOURCES.glob("*.[ch]*")):
        digest.update(source.read_bytes())
    name = f"flow_ops-torch{torch.__version__}-{platform.machine()}-{digest.hexdigest()[:8]}.so"
    return PACKAGE / "build" / name


@functools.cache
def load() -> tuple[str, ...]:
    """Load the library, once, and say what it is for: "CPU" and CUDA's architectures, or nothing if none was built."""
    if not path().is_file():
        return ()
    try:
        torch.ops.load_library(path())
    except OSError as error:
        print(f"note: {path()} cannot be loaded ({error}); build it again: {INSTALL}")
        return ()
    return tuple(torch.ops.timecyclegan.built_for().split())


@functools.cache
def announce(device: str) -> None:
    """Say once for each kind of device how the operations are computed there."""
    print(f"note: FlowNet2 on {device}: {describe(device)}")


def describe(device: str) -> str:
    """How the operations are computed on a kind of device, "cpu" or "cuda" or another."""
    built = load()
    if device == "cpu" and built:
        return "built kernels"
    if device == "cuda" and len(built) > 1:
        return f"built kernels ({', '.join(built[1:])})"
    return "plain PyTorch" + (f"; faster kernels: {INSTALL}" if device in ("cpu", "cuda") else "")
