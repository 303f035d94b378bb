"""Networks of the user's own, saved as TorchScript."""
import warnings
from pathlib import Path

import torch

from timecyclegan.util.errors import UserError, failed
from timecyclegan.util.names import user_path


def load_torchscript(path: str | Path, device: torch.device, flag: str) -> torch.jit.ScriptModule:
    """The network in a file, ready to be called; it needs no code but its own.

    Raises:
        UserError: there is no such file, or it is no TorchScript; names the ``flag`` that gave it.
    """
    path = user_path(path)
    if not path.is_file():
        raise UserError(f"{flag} {path} does not exist; give a TorchScript file (torch.jit.save)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # PyTorch has a successor; people's files are of this kind
            with open(path, "rb") as file:  # by name it takes no bytes that are not UTF-8
                return torch.jit.load(file, map_location=device).eval()
    except Exception as error:  # zip, pickle and compiler errors
        raise failed(f"cannot read {flag} {path}", error, f"{flag} {path} holds no TorchScript ({brief(error)}); save "
                     "the network with torch.jit.script(network).save(FILE), or torch.jit.trace") from error


def brief(error: Exception) -> str:
    """The line that says what is wrong: PyTorch's last of many, but OpenCV's first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return (lines[0] if lines[0].startswith("OpenCV") else lines[-1].removeprefix("RuntimeError: "))[:300]
