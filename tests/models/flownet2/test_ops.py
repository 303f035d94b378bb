"""The three operations of FlowNet2: against another implementation, loops and closed forms, in every version."""
import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.models.flownet2 import DATA
from timecyclegan.models.networks.flownet2_pytorch import ops
from timecyclegan.models.networks.flownet2_pytorch.ops import kernels

CASES = np.load(DATA / "ops_parity.npz")
TOLERANCE = {torch.float32: 3e-6, torch.float64: 1e-13}


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def dtype(request):
    return request.param


def compare(case: str, function, inputs: tuple[str, ...], device: str, dtype: torch.dtype) -> None:
    """A case's output and, where it has them, gradients: each within the tolerance."""
    tensors = [torch.from_numpy(CASES[f"{case}_{name}"]).to(device, dtype).requires_grad_() for name in inputs]
    out = function(*tensors)
    found, names = [out], ["out"]
    if f"{case}_gout" in CASES:
        found += torch.autograd.grad(out, tensors, torch.from_numpy(CASES[f"{case}_gout"]).to(device, dtype))
        names += [f"g{name}" for name in inputs]
    for tensor, name in zip(found, names, strict=True):
        expected = torch.from_numpy(CASES[f"{case}_{name}"])
        scale = max(1, expected.abs().max().item())
        torch.testing.assert_close(tensor.cpu().double(), expected, rtol=0, atol=scale * TOLERANCE[dtype])


@pytest.mark.parametrize("case", ["flownet", "small", "d1", "padlt", "padgt", "stride1_2"])
def test_correlation_equals_the_reference(version, dtype, case):
    pad, kernel, *others = CASES[f"corr_{case}_params_pad_kernel_maxdisp_stride1_stride2"].tolist()
    assert kernel == 1
    compare(f"corr_{case}", lambda a, b: correlation(a, b, pad, *others), ("in1", "in2"), version.device, dtype)


@pytest.mark.parametrize("case", ["inside", "outside", "integer", "edge", "zero"])
def test_resample2d_equals_the_reference(version, dtype, case):
    compare(f"resample_{case}", ops.resample2d, ("img", "flow"), version.device, dtype)


@pytest.mark.parametrize("case", ["c1", "c2", "c3"])
def test_channelnorm_equals_the_reference(version, dtype, case):
    compare(f"channelnorm_{case}", ops.channelnorm, ("in",), version.device, dtype)


def correlation(a, b, pad, most, stride1, stride2):
    """FlowNet's correlation in all its generality: more or less padding is a larger map or a cut result."""
    surplus = pad - most
    if surplus > 0:
        a, b = (F.pad(x, (surplus,) * 4) for x in (a, b))
    out, lost = ops.correlation(a, b, most // stride2, stride2), max(-surplus, 0)
    return out[..., lost : out.shape[2] - lost : stride1, lost : out.shape[3] - lost : stride1]


def random(*shape, seed=0, dtype=torch.float64, device="cpu"):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(device, dtype)


@pytest.mark.parametrize(("shape", "radius", "stride"), [
    ((2, 3, 5, 7), 2, 2), ((1, 9, 3, 17), 4, 1), ((1, 1, 1, 1), 1, 3), ((1, 8, 4, 33), 0, 1), ((1, 2, 2, 3), 5, 2)])
def test_correlation_equals_loops_over_pixels(version, shape, radius, stride):
    a, b = random(*shape, seed=1), random(*shape, seed=2)
    side = 2 * radius + 1
    expected = torch.zeros(shape[0], side, side, *shape[2:], dtype=torch.float64)
    for j, i, y, x in itertools.product(range(side), range(side), range(shape[2]), range(shape[3])):
        v, u = y + (j - radius) * stride, x + (i - radius) * stride
        if 0 <= v < shape[2] and 0 <= u < shape[3]:
            expected[:, j, i, y, x] = (a[:, :, y, x] * b[:, :, v, u]).mean(1)
    found = version.ops.correlation(a.to(version.device), b.to(version.device), radius, stride)
    torch.testing.assert_close(found.cpu(), expected.flatten(1, 2), rtol=1e-12, atol=1e-12)


def test_correlation_finds_a_shift(version):
    # b is a moved by 4 down and 6 left, so every inner pixel is most like the one at that displacement
    a = F.normalize(random(1, 16, 24, 28, device=version.device), dim=1)
    b = a.roll((4, -6), (2, 3))
    best = ops.correlation(a, b)[:, :, 10:-10, 10:-10].argmax(1)
    assert (best == (4 // 2 + 10) * 21 + (-6 // 2 + 10)).all()


@pytest.mark.parametrize(("shape", "size"), [((2, 3, 6, 9), (6, 9)), ((1, 1, 1, 1), (3, 2)), ((1, 5, 4, 7), (8, 5))])
def test_resample2d_equals_grid_sample(version, shape, size):
    image, flow = random(*shape, seed=1), 4 * random(shape[0], 2, *size, seed=2)
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in size), indexing="ij")
    grid = torch.stack([x, y], dim=-1) + flow.movedim(1, -1)
    extent = torch.tensor([shape[3] - 1, shape[2] - 1]).clamp(min=1)
    expected = F.grid_sample(image, 2 * grid / extent - 1, padding_mode="border", align_corners=True)
    found = version.ops.resample2d(image.to(version.device), flow.to(version.device))
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-12, atol=1e-12)


def test_resample2d_by_whole_pixels_is_exact(version):
    image = random(1, 2, 6, 8, dtype=torch.float32, device=version.device)
    assert torch.equal(ops.resample2d(image, image.new_zeros(1, 2, 6, 8)), image)
    flow = image.new_tensor([2.0, -1.0]).view(1, 2, 1, 1).expand(1, 2, 6, 8)
    assert torch.equal(ops.resample2d(image, flow)[..., 1:, :-2], image[..., :-1, 2:])


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 1e30, -1e30])
def test_resample2d_survives_flow_from_nowhere(version, value):
    image, flow = (torch.ones(1, channels, 3, 4, device=version.device) for channels in (3, 2))
    flow[0, 0, 1, 2] = value
    image.requires_grad_(), flow.requires_grad_()
    out = ops.resample2d(image, flow)
    out.sum().backward()
    elsewhere = torch.ones(3, 4, dtype=torch.bool, device=version.device)
    elsewhere[1, 2] = math.isfinite(value)
    assert (out[..., elsewhere] == 1).all()
    assert out[..., ~elsewhere].isnan().all()


def test_gradient_of_channelnorm_at_zero_is_zero(version):
    x = torch.tensor([0.0, 0.0, 3.0, 4.0], device=version.device).view(2, 2, 1, 1).requires_grad_()
    norm = ops.channelnorm(x)
    norm.sum().backward()
    assert norm.flatten().tolist() == [0, 5]
    assert x.grad.flatten().tolist() == pytest.approx([0, 0, 0.6, 0.8])


@pytest.mark.parametrize(("shape", "pad", "most", "stride1", "stride2"), [
    ((1, 2, 3, 4), 4, 4, 1, 2), ((2, 9, 4, 3), 2, 2, 1, 1), ((1, 2, 6, 5), 1, 2, 2, 1), ((1, 1, 3, 3), 3, 2, 2, 2)])
def test_gradient_of_correlation(version, shape, pad, most, stride1, stride2):
    a, b = (random(*shape, seed=seed, device=version.device).requires_grad_() for seed in (1, 2))
    assert torch.autograd.gradcheck(lambda a, b: correlation(a, b, pad, most, stride1, stride2), (a, b))


@pytest.mark.parametrize(("shape", "size"), [((2, 3, 4, 5), (4, 5)), ((1, 1, 3, 2), (5, 4))])
def test_gradient_of_resample2d(version, shape, size):
    # Positions between pixels: at a pixel the derivative by the flow is one-sided. Some are far out on every side, some
    # between the border and the first pixel outside.
    image = random(*shape, seed=1, device=version.device).requires_grad_()
    whole = torch.randint(-7, 8, (shape[0], 2, *size), generator=torch.Generator().manual_seed(2))
    part = torch.rand(whole.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * 0.8 + 0.1
    flow = (whole + part).to(version.device).requires_grad_()
    assert torch.autograd.gradcheck(ops.resample2d, (image, flow))


def test_gradient_of_channelnorm(version):
    assert torch.autograd.gradcheck(ops.channelnorm, random(2, 3, 2, 4, device=version.device).requires_grad_())


ARGUMENTS = {
    "correlation": lambda: (random(2, 3, 4, 5), random(2, 3, 4, 5, seed=1), 2, 2),
    "resample2d": lambda: (random(2, 3, 4, 5), random(2, 2, 6, 3, seed=1)),
    "channelnorm": lambda: (random(2, 3, 4, 5),),
}


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("name", ARGUMENTS)
def test_operators_are_what_torch_expects(device, name, layout):
    """Schema, shapes for tracing, autograd, and all of it in a traced graph."""
    if not kernels.computes(device):
        pytest.skip(f"no kernels were built for {device}: {kernels.INSTALL}")
    args = [x.to(device, memory_format=layout).requires_grad_() if isinstance(x, torch.Tensor) else x
            for x in ARGUMENTS[name]()]
    torch.library.opcheck(getattr(torch.ops.timecyclegan, name).default, args)
    tensors = [x.detach() for x in args if isinstance(x, torch.Tensor)]
    out = getattr(torch.ops.timecyclegan, name)(*args).detach()
    saved = [*tensors, out] if name == "channelnorm" else tensors
    backward = getattr(torch.ops.timecyclegan, f"{name}_backward").default
    torch.library.opcheck(backward, [torch.ones_like(out), *saved, *args[len(tensors):]])


@pytest.mark.slow
@pytest.mark.parametrize("name", ARGUMENTS)
def test_operators_do_not_break_a_compiled_graph(name):
    args = [x.float().requires_grad_() for x in ARGUMENTS[name]() if isinstance(x, torch.Tensor)]
    compiled = torch.compile(getattr(ops, name), backend="aot_eager", fullgraph=True)
    grads = [torch.autograd.grad(function(*args).square().sum(), args) for function in (getattr(ops, name), compiled)]
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ARGUMENTS)
def test_half_precision_is_computed_in_float32(version, name, half):
    args = [x.to(version.device, half).requires_grad_() for x in ARGUMENTS[name]() if isinstance(x, torch.Tensor)]
    wide = [x.detach().float().requires_grad_() for x in args]
    out, expected = (getattr(ops, name)(*tensors) for tensors in (args, wide))
    assert out.dtype == half
    assert torch.equal(out, expected.to(half))
    for grad, wanted in zip(*(torch.autograd.grad(x.sum(), of) for x, of in ((out, args), (expected, wide))),
                            strict=True):
        assert torch.equal(grad, wanted.to(half))


def test_mixed_types_are_computed_in_the_wider(version):
    image, flow = random(1, 3, 4, 5, dtype=torch.float16, device=version.device), random(1, 2, 4, 5).to(version.device)
    assert torch.equal(ops.resample2d(image, flow), ops.resample2d(image.double(), flow).half())


@pytest.mark.parametrize("name", ARGUMENTS)
def test_no_samples_and_no_pixels(version, name):
    for samples, height in ((0, 4), (2, 0)):
        args = [x[:samples, :, :height].to(version.device) for x in ARGUMENTS[name]() if isinstance(x, torch.Tensor)]
        if name == "correlation" and not height:
            continue
        if name == "resample2d":
            args[0] = torch.zeros(samples, 3, 4, 5, device=version.device, dtype=torch.float64)
        args = [x.requires_grad_() for x in args]
        out = getattr(ops, name)(*args)
        assert out.shape[0] == samples
        assert out.numel() == 0
        for grad in torch.autograd.grad(out.sum(), args):
            assert not grad.any()


def test_all_versions_agree_at_the_size_of_a_picture(version):
    # as FlowNetC sees 256x256, where vectors and threads have more than one round
    a, b, grad = (random(1, channels, 32, 32, seed=seed, dtype=torch.float32, device=version.device)
                  for seed, channels in enumerate((256, 256, 441)))
    def results(operations, *tensors):
        a, b, grad = (x.detach().requires_grad_() for x in tensors)
        out = operations.correlation(a, b, 10, 2)
        return out, *torch.autograd.grad(out, (a, b), grad)

    found = results(version.ops, a, b, grad)
    for x, y in zip(found, results(ops.pytorch, *(x.double() for x in (a, b, grad))), strict=True):
        torch.testing.assert_close(x.double(), y, rtol=0, atol=2e-6)
