"""Weights that any implementation can make from a parameter's name and shape alone, in place of a download.

Element j (row-major) of tensor K is the 32-bit MurmurHash3 finaliser of crc32(K) + j * 0x9E3779B1, mapped to [-1, 1);
kernels are scaled by sqrt(6 / fan_in), biases by 0.1. A batch norm keeps near to the identity: weight 1 + 0.1 u, bias
and running mean 0.1 u, running variance 1 + 0.5 u.
"""
import math
import zlib

import torch


def _times(h, factor):
    """h * factor modulo 2**32; the product of two 32-bit numbers would not fit the signed 64 bits, so by halves."""
    low, high = factor & 0xFFFF, factor >> 16
    return (h * low + ((h * high & 0xFFFF) << 16)) & 0xFFFFFFFF


def uniform(name, count):
    """``count`` numbers in [-1, 1), float64."""
    h = (zlib.crc32(name.encode()) + _times(torch.arange(count), 0x9E3779B1)) & 0xFFFFFFFF
    h = _times(h ^ (h >> 16), 0x85EBCA6B)
    h = _times(h ^ (h >> 13), 0xC2B2AE35)
    return (h ^ (h >> 16)).double() / 2**31 - 1


def _centre_and_scale(name, shape, shapes):
    layer, _, part = name.rpartition(".")
    if part in ("bias", "running_mean"):
        return 0.0, 0.1
    if part == "running_var":
        return 1.0, 0.5
    if f"{layer}.running_mean" in shapes:
        return 1.0, 0.1
    return 0.0, math.sqrt(6 / math.prod(shape[1:]))


def seeded_weights(shapes):
    """A state dict of float32 convolutions, linear layers and batch norms, from their shapes by name."""
    state = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.zeros((), dtype=torch.long)
            continue
        centre, scale = _centre_and_scale(name, shape, shapes)
        state[name] = (centre + scale * uniform(name, math.prod(shape))).float().view(*shape)
    return state


def checksum(state):
    """A number by which two implementations can compare their weights: the sum of element j times (j mod 97) + 1."""
    return sum(float(value.double().flatten() @ (torch.arange(value.numel()) % 97 + 1).double())
               for value in state.values())
