"""FlowNet2's operations in every version that this machine can run, and the whole net with weights made by a rule."""
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.models.flownet2 import DATA, seeded
from timecyclegan.models.networks.flownet2_pytorch import FlowNet2
from timecyclegan.models.networks.flownet2_pytorch.ops import kernels, pytorch

GPU = pytest.mark.gpu


@pytest.fixture(params=["pytorch-cpu", "built-cpu", pytest.param("pytorch-cuda", marks=GPU),
                        pytest.param("built-cuda", marks=GPU)])
def version(request, monkeypatch):
    """``ops`` to call and the ``device`` to call them on; the public functions and the net use them meanwhile."""
    name, device = request.param.split("-")
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    if name == "built" and not kernels.computes(device):
        pytest.skip(f"no kernels were built for {device}: {kernels.INSTALL}")
    if name == "pytorch":
        monkeypatch.setattr(kernels, "BUILT", ())
    return SimpleNamespace(ops=pytorch if name == "pytorch" else torch.ops.timecyclegan, device=device)


@pytest.fixture(scope="module")
def parity():
    """Input and results of another implementation, with the weights of :mod:`seeded`."""
    return {name: torch.from_numpy(value) for name, value in np.load(DATA / "parity_64x64.npz").items()}


@pytest.fixture(scope="module")  # 650 MB, built in seconds
def network():
    """FlowNet2 with the weights of :mod:`seeded`, on the CPU; a test that moves it moves it back."""
    with torch.device("meta"):
        net = FlowNet2()
    state = seeded.state_dict({name: tuple(value.shape) for name, value in net.state_dict().items()})
    net.load_state_dict(state, assign=True)
    return net.requires_grad_(False).eval()
