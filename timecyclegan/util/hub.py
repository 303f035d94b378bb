"""Files with published weights: where they are looked for, and what is said where they are missing."""
import errno
import hashlib
import re
import socket
from pathlib import Path
from typing import Any

import torch

from timecyclegan.util.errors import UserError, failed

TIMEOUT = 20  # seconds without a byte; a network that lets nothing through would be waited for without end


def hub_file(name: str) -> Path:
    """Where a file, named or by its URL, is looked for: torch hub's cache (``TORCH_HOME`` or ``torch.hub.set_dir``)."""
    return Path(torch.hub.get_dir()) / "checkpoints" / name.rsplit("/", 1)[-1]


def load_published(url: str, who: str, instead: str) -> dict[str, Any]:
    """The state dict at ``url``, whose name holds its hash; fetched into torch hub's cache if it is not there yet.

    Raises:
        UserError: it cannot be read, or is not there and cannot be fetched: says that ``who`` needs it, where to put
            it, and what to do ``instead``.
    """
    path = hub_file(url)
    if not path.exists():
        print(f"fetching {url} to {path}")
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(TIMEOUT)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), hash_prefix=re.search(r"-([0-9a-f]{8})\.", path.name)[1])
        except Exception as error:  # of urllib, ssl or the disk: the user can only put the file there
            if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM):
                raise failed(f"{who} needs weights, but cannot write {path}", error, "") from error
            reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            raise UserError(f"{who} needs weights: put {url} at {path}, or {instead} ({reason})") from error
        finally:
            socket.setdefaulttimeout(before)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle and zip errors of many kinds
        what = f"{path} cannot be read"
        raise failed(what, error, f"{what} ({type(error).__name__}); fetch it again from {url}") from error


def sha256(path: str | Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
