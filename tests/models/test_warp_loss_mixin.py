"""The warp loss on any class, with a given flow, a callable or a back end's name, and in TimeCycleGAN-P++."""
import pytest
import torch

from timecyclegan import WarpLossMixin
from timecyclegan.flow import flow_backend
from timecyclegan.losses.warp import warp, warp_loss
from timecyclegan.models import check, default_options, get_model
from timecyclegan.util.errors import UserError

N, T, C, H, W = 2, 4, 3, 24, 28
SMALL = {"image_height": H, "image_width": W, "generator_architecture": "resnet_1blocks", "generator_filters": 2,
         "discriminator_architecture": "pixel", "discriminator_filters": 2}  # fmt: skip


class Plain:
    """A GAN that knows nothing of flow."""


class Host(WarpLossMixin, Plain):
    pass


def video(seed=0, length=T):
    return torch.rand(N, length, C, H, W, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_a_given_flow():
    flow, confidence = torch.randn(N, T - 1, 2, H, W), torch.rand(N, T - 1, 1, H, W)
    host = Host(warp_loss_weight=3.0)
    host.warp_forward(video(), flow=flow, confidence=confidence)
    torch.testing.assert_close(host.warp_backward(), 3 * warp_loss(video(), flow, confidence))
    assert set(host.warp_terms()) == {"warp"}
    host.warp_forward(list(video().unbind(1)), ignore_first_n=1, flow=flow[:, 1:])
    torch.testing.assert_close(host.warp_backward(), 3 * warp_loss(video()[:, 1:], flow[:, 1:]))


@pytest.mark.parametrize("backend", ["farneback", flow_backend("farneback")])
def test_the_flow_of_the_real_video(backend):
    """Pair by pair, from each frame back to the one before it."""
    fake, real = video(), video(1)
    host = Host(warp_flow_backend=backend)
    host.warp_forward(fake, real)
    plain = []
    for t in range(T - 1):
        flow, confidence = flow_backend("farneback")(real[:, t + 1], real[:, t])
        plain.append((confidence * (warp(fake[:, t], flow) - fake[:, t + 1])).abs().mean())
    torch.testing.assert_close(host.warp_backward(), sum(plain) / (T - 1))


def test_one_frame_has_no_loss():
    host = Host()
    host.warp_forward(video(length=1), video(1, length=1))
    assert host.warp_backward() == 0


def test_what_is_missing_is_said():
    with pytest.raises(ValueError, match="call warp_forward first"):
        Host().warp_backward()
    with pytest.raises(ValueError, match="needs the real sequence, or its flow"):
        Host().warp_forward(video())


def test_p_plus_plus_adds_the_warp_loss_to_p():
    torch.manual_seed(0)
    model = get_model("timecyclep2", default_options("timecyclep2", warp_loss_weight=2.0, **SMALL))
    model(video(length=5), video(1, length=5))
    losses = model.generator_losses()
    host = Host()
    host.warp_forward(model.step.fake, model.step.target, ignore_first_n=1)
    torch.testing.assert_close(losses["warp"].value, host.warp_backward())
    assert losses["warp"].weight == 2
    assert set(losses) == {"gan", "gan_sequence_0", "warp"}
    without = get_model("timecyclep2", default_options("timecyclep2", **SMALL))
    without(video(length=5), video(1, length=5))
    assert set(without.generator_losses()) == {"gan", "gan_sequence_0"}


def test_clips_without_a_pair_to_compare():
    options = default_options("timecyclep2", warp_loss_weight=1.0, block_size=2, discriminator_temporal_scales=0)
    with pytest.raises(UserError, match=r"--warp_loss_weight needs clips of 3 frames .*--block_size is 2"):
        check(options)
    with pytest.raises(UserError, match="--flow_backend 'x'"):
        check(default_options("timecyclep2", flow_backend="x"))


def test_flow_is_a_target_that_autocast_does_not_round():
    """Also a back end of the host's own, which knows nothing of autocast."""
    network = torch.nn.Conv2d(6, 2, 3, padding=1)

    def backend(frame, previous):
        return network(torch.cat([frame, previous], dim=1)), torch.ones_like(frame[:, :1])

    host = Host(warp_flow_backend=backend)
    exact, _ = host._flow_of(video(1))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = network(torch.rand(1, 6, 8, 8))
        flow, confidence = host._flow_of(video(1))
    assert rounded.dtype == torch.bfloat16  # autocast is on
    assert flow.dtype == confidence.dtype == torch.float32 and torch.equal(flow, exact)
