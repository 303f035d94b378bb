"""What tests that need a GPU run on. ``TIMECYCLEGAN_TESTS_ON=cpu pytest -m gpu`` rehearses them on the CPU.

In a rehearsal ``tests.recorder`` stands in for CUDA graphs.
"""
import contextlib
import os

import torch

from tests.recorder import Recording, recorder

# Before CUDA begins: deterministic matrix products need it.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
CUDA = os.environ["TIMECYCLEGAN_TESTS_ON"] == "cuda"
DEVICE = torch.device("cuda", 0) if CUDA else torch.device("cpu")
RECORDER = None if CUDA else recorder


@contextlib.contextmanager
def reading_nothing():
    """What waits for the device, as reading a value does, is an error in this block."""
    if not CUDA:
        with Recording():
            yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@contextlib.contextmanager
def exactly(warn_only=False):
    """Float32 as it is, not as TF32, and the same bits each time; an operation that cannot do so raises, or warns."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32
    cudnn.allow_tf32 = matmul.allow_tf32 = False
    torch.use_deterministic_algorithms(True, warn_only=warn_only)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)
        cudnn.allow_tf32, matmul.allow_tf32 = before


def ahead(tensors):
    """As a loader hands them over to a GPU: in pinned memory."""
    return {name: tensor.pin_memory() if CUDA else tensor for name, tensor in tensors.items()}
