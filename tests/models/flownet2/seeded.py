"""Weights and pictures from a rule that any program can follow, in place of a download of 650 MB.

Element i of a tensor is the splitmix64 hash of crc32(name) * 2**32 + i, its upper 40 bits mapped to [-1, 1). Kernels
are scaled by gain * sqrt(3 / fan_in), where the gains keep every network's flow at some pixels; biases by 0.05.
"""
import hashlib
import math
import zlib

import numpy as np
import torch

# sha256 over all tensors in the order of their names, as little-endian float32.
DIGEST = "2f00c061a0e44daa493ca99e5ba0b8aa5407df4fe3f7a8eeba9cdab5652df9e8"
GAINS = {  # of the first that a name begins with
    "flownetc.conv1.": 3.0, "flownetc.conv2.": 3.0, "flownetc.conv3.": 3.0, "flownetc.conv_redir.": 0.5,
    "flownetc.predict_flow": 0.5, "flownets_1.predict_flow": 2.0, "flownets_2.predict_flow": 2.0,
    "flownets_d.predict_flow2": 240.0, "flownets_d.predict_flow": 2.0, "flownetfusion.predict_flow": 1.5,
}  # fmt: skip


def uniform(name: str, count: int) -> np.ndarray:
    """``count`` numbers in [-1, 1), float64."""
    z = np.arange(count, dtype=np.uint64)
    z += np.uint64((zlib.crc32(name.encode()) << 32) + 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z ^= z >> np.uint64(shift)
        z *= np.uint64(factor)
    z ^= z >> np.uint64(31)
    z >>= np.uint64(40)
    return z / 2.0**23 - 1


def tensor(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """One parameter, float32."""
    values = uniform(name, math.prod(shape))
    if name.endswith("bias"):
        values *= 0.05
    else:
        upwards = "upsampled_flow" in name
        inputs = shape[0] / 4 if upwards or "deconv" in name else shape[1]
        gain = next((gain for start, gain in GAINS.items() if name.startswith(start)), 1.0 if upwards else 1.4)
        values *= gain * math.sqrt(3 / (inputs * shape[2] * shape[3]))
    return torch.from_numpy(values.astype(np.float32)).view(shape)


def state_dict(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """All parameters."""
    return {name: tensor(name, shape) for name, shape in shapes.items()}


def digest(state: dict[str, torch.Tensor]) -> str:
    """To be compared with :data:`DIGEST`."""
    sha = hashlib.sha256()
    for name in sorted(state):
        sha.update(state[name].numpy().astype("<f4").tobytes())
    return sha.hexdigest()


def pictures(samples: int, height: int, width: int, dx: float, dy: float) -> torch.Tensor:
    """(N, 3, 2, H, W) in 0..255, whole numbers: waves that move by (n + 1) (dx, dy) pixels in sample n."""
    n, c, f, y, x = np.meshgrid(*map(np.arange, (samples, 3, 2, height, width)), indexing="ij", sparse=True)
    x, y = x - f * dx * (n + 1), y - f * dy * (n + 1)
    waves = np.sin(0.13 * x + 0.05 * y + c) + np.sin(0.031 * x - 0.21 * y + 2 * c + n)
    waves = waves + np.sin(0.37 * x + 0.29 * y - c) + np.sin(0.011 * x * 1.7 + 0.017 * y + 0.5 * n)
    return torch.from_numpy(np.clip(np.rint(127.5 + 28 * waves), 0, 255).astype(np.float32))
