"""Warping against exact shifts, a ramp's closed form and SciPy's interpolation; the warp loss against a plain loop."""
import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from timecyclegan.losses.warp import warp, warp_loss

N, C, H, W = 2, 3, 9, 12


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def constant(dx, dy, dtype=torch.float32):
    return torch.tensor([dx, dy], dtype=dtype).view(1, 2, 1, 1).expand(N, 2, H, W)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_flow_is_exactly_the_identity(dtype):
    """SPEC 7 item 11: it was half a pixel off at the borders."""
    image = torch.randn(N, C, H, W, dtype=dtype)
    assert torch.equal(warp(image, constant(0, 0, dtype)), image)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_flow_of_half_precision_reaches_every_pixel(dtype):
    """bfloat16 does not tell pixel 300 from 301, and float16 not 2049 from 2050."""
    image = torch.randn(1, 1, 3, 2100)
    flow = torch.zeros(1, 2, 3, 2100, dtype=dtype)
    assert torch.equal(warp(image, flow), image)
    flow[:, 0] = 0.5
    halfway = (image[..., :-1] + image[..., 1:]) / 2
    torch.testing.assert_close(warp(image, flow)[..., :-1], halfway)


@pytest.mark.parametrize(("dx", "dy"), [(3, 0), (0, -2), (-4, 5), (40, 40)])
def test_integer_flow_is_exactly_a_shift_with_the_border_repeated(dx, dy):
    image = torch.randn(N, C, H, W)
    rows = (torch.arange(H) + dy).clamp(0, H - 1)
    columns = (torch.arange(W) + dx).clamp(0, W - 1)
    assert torch.equal(warp(image, constant(dx, dy)), image[:, :, rows][:, :, :, columns])


def test_dx_comes_first_and_counts_in_pixels():
    """On the ramps x and y a fractional flow inside the frame adds itself."""
    y, x = torch.meshgrid(torch.arange(H, dtype=torch.double), torch.arange(W, dtype=torch.double), indexing="ij")
    ramps = torch.stack([x, y])[None].expand(N, -1, -1, -1)
    moved = warp(ramps, constant(1.25, -0.5, torch.double))
    inside = (slice(None), slice(None), slice(1, H), slice(0, W - 2))
    torch.testing.assert_close(moved[inside], (ramps + constant(1.25, -0.5, torch.double))[inside])


def test_equals_scipy():
    image, flow = torch.randn(N, C, H, W, dtype=torch.double), 3 * torch.randn(N, 2, H, W, dtype=torch.double)
    y, x = np.mgrid[:H, :W].astype(float)
    for n in range(N):
        for c in range(C):
            where = [y + flow[n, 1].numpy(), x + flow[n, 0].numpy()]
            plain = map_coordinates(image[n, c].numpy(), where, order=1, mode="nearest")
            np.testing.assert_allclose(warp(image, flow)[n, c].numpy(), plain, atol=1e-12)


def test_gradients():
    image = torch.randn(1, 2, 4, 5, dtype=torch.double, requires_grad=True)
    flow = (torch.rand(1, 2, 4, 5, dtype=torch.double) * 0.8 + 0.1).requires_grad_(True)  # never on a pixel's centre
    assert torch.autograd.gradcheck(warp, (image, flow))


def test_loss_equals_plain_loop():
    T = 4
    video, flow = torch.randn(N, T, C, H, W).double(), 2 * torch.randn(N, T - 1, 2, H, W).double()
    confidence = torch.rand(N, T - 1, 1, H, W).double()
    plain = [
        (confidence[:, t] * warp(video[:, t], flow[:, t]) - confidence[:, t] * video[:, t + 1]).abs().mean()
        for t in range(T - 1)
    ]
    torch.testing.assert_close(warp_loss(video, flow, confidence), sum(plain) / (T - 1))
    torch.testing.assert_close(warp_loss(video, flow), warp_loss(video, flow, torch.ones_like(confidence)))


def test_loss_is_zero_for_a_video_that_moves_as_it_should():
    still = torch.randn(N, 1, C, H, W)
    video = torch.cat([still.roll(t, dims=-1) for t in range(3)], dim=1)
    flow = torch.zeros(N, 2, 2, H, W)
    flow[:, :, 0] = -1
    confidence = torch.ones(N, 2, 1, H, W)
    confidence[..., 0] = 0  # what comes in at the left was not in the frame before
    assert warp_loss(video, flow, confidence) == 0 < warp_loss(video, flow)


def test_the_warped_frame_is_a_target():
    video = torch.randn(N, 3, C, H, W, requires_grad=True)
    warp_loss(video, torch.randn(N, 2, 2, H, W)).backward()
    assert not video.grad[:, 0].any() and video.grad[:, 1:].flatten(2).any(2).all()


@pytest.mark.parametrize(("flow", "confidence"), [((N, 3, 2, H, W), None), ((N, 2, 3, H, W), None),
                                                  ((N, 2, 2, H, W), (N, 2, 2, H, W))])  # fmt: skip
def test_shapes_that_do_not_fit(flow, confidence):
    with pytest.raises(ValueError, match="for a video"):
        warp_loss(torch.zeros(N, 3, C, H, W), torch.zeros(flow), confidence and torch.zeros(confidence))


def test_flow_that_is_no_number_reaches_the_loss():
    """So that a training that diverges is told as such, and not as an index that does not exist."""
    flow = torch.zeros(N, 2, H, W)
    flow[0, 0, 1, 1] = float("nan")
    flow[1, 1, 2, 2] = float("inf")
    moved = warp(torch.randn(N, C, H, W), flow)
    assert moved[0, :, 1, 1].isnan().all() and not moved[1, :, 2, 2].isfinite().any()
    assert moved.isfinite().sum() == moved.numel() - 2 * C


def test_flow_counts_in_its_own_precision():
    flow = torch.full((N, 1, 2, H, W), 3.3)
    video = torch.rand(N, 2, C, H, W)
    torch.testing.assert_close(warp_loss(video.bfloat16(), flow).float(), warp_loss(video.bfloat16().float(), flow))
