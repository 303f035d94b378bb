"""The states of all global random generators, to be put back after a step that is only made to look at it."""
import random
from typing import Any

import numpy as np
import torch


def random_state() -> tuple[Any, ...]:
    """Of PyTorch, its GPUs, NumPy and Python."""
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return torch.get_rng_state(), gpus, np.random.get_state(), random.getstate()


def set_random_state(state: tuple[Any, ...]) -> None:
    """Put back what :func:`random_state` returned."""
    cpu, gpus, of_numpy, of_python = state
    torch.set_rng_state(cpu)
    if gpus:
        torch.cuda.set_rng_state_all(gpus)
    np.random.set_state(of_numpy)
    random.setstate(of_python)
