"""The global random generators are left as they were."""
import random

import numpy as np
import torch

from timecyclegan.checking.random_state import random_state, set_random_state


def test_random_states_come_back():
    state = random_state()
    first = torch.rand(3), np.random.rand(), random.random()
    torch.manual_seed(torch.initial_seed() + 1)
    set_random_state(state)
    assert torch.equal(first[0], torch.rand(3)) and first[1:] == (np.random.rand(), random.random())
