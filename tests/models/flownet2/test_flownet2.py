"""The whole of FlowNet2: names and shapes of the published weights, and the flow of another implementation."""
import json

import pytest
import torch

from tests.models.flownet2 import DATA, seeded
from timecyclegan.models.networks.flownet2_pytorch import FlowNet2, load_checkpoint, ops
from timecyclegan.models.networks.flownet2_pytorch.flownet2 import FLOW_SCALE, FlowNetC

PIXELS = 5e-4  # how far the flow may be off
NETWORKS = ("flownetc", "flownets_1", "flownets_2", "flownets_d")


@pytest.fixture(autouse=True)
def exact_convolutions():
    """TF32, which GPUs may use for convolutions, moves the flow by up to 0.03 pixels."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def test_parameters_are_those_of_the_published_weights():
    with torch.device("meta"):
        net = FlowNet2()
    expected = {name: tuple(shape) for name, shape in json.loads((DATA / "state_dict.json").read_text())}
    assert {name: tuple(value.shape) for name, value in net.state_dict().items()} == expected
    assert {value.dtype for value in net.state_dict().values()} == {torch.float32}
    assert not list(net.buffers())
    assert sum(value.numel() for value in net.parameters()) == 162_518_834


def test_seeded_weights_are_the_agreed_ones(network):
    assert seeded.digest(network.state_dict()) == seeded.DIGEST


def test_flow_equals_the_reference(network, parity, version):
    found = {}

    def keep(name):
        return lambda module, inputs, output: found.update({name: output})

    hooks = [getattr(network, name).register_forward_hook(keep(f"{name}_flow2")) for name in NETWORKS]
    hooks.append(network.flownetc.conv3_1.register_forward_hook(
        lambda module, inputs, output: found.update(flownetc_corr=inputs[0][:, 32:])))
    try:
        found["flow"] = network.to(version.device)(parity["input"].to(version.device))
    finally:
        network.to("cpu")
        for hook in hooks:
            hook.remove()
    for name, value in found.items():
        # the small flow is divided after its network, the others are multiplied: errors in pixels
        scale = {"flow": 1, "flownetc_corr": 1, "flownets_d_flow2": 1 / FLOW_SCALE}.get(name, FLOW_SCALE)
        assert (value.cpu() - parity[name]).abs().max() * scale < PIXELS, name
    assert len(found) == 6


def test_unlikeness_is_kept_at_a_tenth(monkeypatch):
    # of the correlation; with the weights of the other tests it is never negative
    monkeypatch.setattr(ops, "correlation", lambda a, b: -torch.ones(1, 441, *a.shape[2:]))
    net, seen = FlowNetC(), []
    net.conv3_1.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        net(seeded.pictures(1, 64, 64, 3, -2).transpose(1, 2).flatten(1, 2))
    torch.testing.assert_close(seen[0][:, 32:], torch.full((1, 441, 8, 8), -0.1))


def test_samples_do_not_mix(network):
    pictures = seeded.pictures(2, 64, 64, 3, -2)
    both = network(pictures)
    assert both.shape == (2, 2, 64, 64)
    for n in range(2):
        torch.testing.assert_close(both[n:n + 1], network(pictures[n:n + 1]), rtol=0, atol=PIXELS)
    assert (both[0] - both[1]).abs().max() > 1


@pytest.mark.parametrize("shape", [(1, 3, 2, 64, 65), (1, 3, 2, 63, 64), (1, 6, 64, 64), (1, 2, 3, 64, 64),
                                   (1, 3, 2, 0, 64)])
def test_pictures_that_do_not_fit(shape):
    with torch.device("meta"), pytest.raises(ValueError, match="FlowNet2 takes"):
        FlowNet2()(torch.zeros(shape))


@pytest.mark.slow
def test_other_sizes_equal_float64(network, version):
    cases = [seeded.pictures(*case) for case in ((1, 128, 64, 2, -2), (2, 64, 192, 3, 1.5), (1, 192, 128, -4, 0))]
    net = network.to(version.device)
    found = [net(pictures.to(version.device)).cpu() for pictures in cases]
    try:
        net.double()  # and back again: float32 numbers stay what they are
        expected = [net(pictures.double().to(version.device)).cpu() for pictures in cases]
    finally:
        network.float().to("cpu")
    for flow, exact in zip(found, expected, strict=True):
        assert exact.abs().max() > 5
        assert (flow - exact).abs().max() < PIXELS


@pytest.mark.slow
def test_a_checkpoint_of_full_size(network, parity, tmp_path):
    path = tmp_path / "FlowNet2_checkpoint.pth.tar"
    torch.save({"epoch": 0, "state_dict": network.state_dict()}, path, _use_new_zipfile_serialization=False)
    loaded = load_checkpoint(path)
    assert not loaded.training
    assert torch.equal(loaded(parity["input"]), network(parity["input"]))


@pytest.mark.slow
def test_it_can_be_trained():
    torch.manual_seed(0)
    net = FlowNet2()
    net(seeded.pictures(1, 64, 64, 3, -2)).square().mean().backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in net.parameters())
    assert all(value.grad.any() for value in net.parameters())
