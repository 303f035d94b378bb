"""Files with published weights: where they are looked for, and what is said where they are missing."""
from pathlib import Path
from typing import Any

import torch

from timecyclegan.util.errors import UserError


def hub_file(name: str) -> Path:
    """Where a file, named or by its URL, is looked for: torch hub's cache (``TORCH_HOME`` or ``torch.hub.set_dir``)."""
    return Path(torch.hub.get_dir()) / "checkpoints" / name.rsplit("/", 1)[-1]


def load_published(url: str, who: str, instead: str) -> dict[str, Any]:
    """The state dict at ``url``, from torch hub's cache or fetched into it; its hash is part of its name.

    Raises:
        UserError: it is not there and cannot be fetched: says that ``who`` needs it, where to put it, and what to do
            ``instead``.
    """
    path = hub_file(url)
    try:
        return torch.hub.load_state_dict_from_url(url, map_location="cpu", weights_only=True, check_hash=True)
    except Exception as error:  # urllib, ssl, pickle and zip errors alike: the user can only put the file there
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        raise UserError(f"{who} needs weights: put {url} at {path}, or {instead} ({reason})") from error
