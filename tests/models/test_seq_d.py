"""Sequence discriminators against a plain loop over windows; float64."""
import pytest
import torch
from torch import nn

from timecyclegan.losses.gan import gan_loss
from timecyclegan.models.base_model import BaseModel
from timecyclegan.models.mixins.seq_d_mixin import SeqDMixin, SeqDMixinPaired, windows
from timecyclegan.util.options import Options

N, C, H, W = 2, 3, 24, 25


def video(length, seed=0, channels=C):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(N, length, channels, H, W, dtype=torch.double, generator=generator)


def frames_of_windows(length, n, stride):
    """Which frames each window has, by walking: the next window begins with the last frame of this one."""
    found, start = [], 0
    while start + (n - 1) * stride < length:
        found.append([start + k * stride for k in range(n)])
        start = found[-1][-1]
    return found


@pytest.mark.parametrize(
    ("length", "n", "scale", "expected"),
    [
        (5, 3, 0, [[0, 1, 2], [2, 3, 4]]),
        (6, 3, 0, [[0, 1, 2], [2, 3, 4]]),
        (7, 3, 1, [[0, 3, 6]]),
        (6, 3, 1, []),
        (13, 3, 1, [[0, 3, 6], [6, 9, 12]]),
        (4, 2, 0, [[0, 1], [1, 2], [2, 3]]),
        (5, 2, 1, [[0, 2], [2, 4]]),
        (5, 2, 2, [[0, 4]]),
        (5, 5, 0, [[0, 1, 2, 3, 4]]),
        (4, 5, 0, []),
        (0, 2, 0, []),
    ],
)
def test_frames_by_hand(length, n, scale, expected):
    """Windows at stride n**scale that share their end frames."""
    assert frames_of_windows(length, n, n**scale) == expected
    pictures = windows(torch.arange(float(length)).view(1, length, 1, 1, 1), n, scale)
    assert (pictures.flatten(1).tolist() if pictures is not None else []) == expected


def test_single_frames():
    assert windows(torch.arange(3.0).view(1, 3, 1, 1, 1), 1).flatten().tolist() == [0, 1, 2]


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("length", range(1, 12))
@pytest.mark.parametrize("scale", [0, 1])
@pytest.mark.parametrize("n", [2, 3])
def test_windows_equal_plain_loop(n, scale, length, conditional):
    x, c = video(length), video(length, 1, channels=2)
    plain = []
    for frames in frames_of_windows(length, n, n**scale):
        seen = ([c[:, t] for t in frames] if conditional else []) + [x[:, t] for t in frames]
        plain.append(torch.cat(seen, dim=1))
    ours = windows(x, n, scale, c if conditional else None)
    if not plain:
        assert ours is None
    else:
        assert torch.equal(ours, torch.cat(plain))


class Host(SeqDMixin, BaseModel):
    """Of a model only what the mixin asks for."""

    def __init__(self, n, scales, ignored=0, conditional=False, **options):
        super().__init__(Options(discriminator_architecture="1_layers", discriminator_filters=2, **options))
        torch.manual_seed(0)
        self.define_seq_D(n, scales, ignored, conditional)
        self.double()


def plain_losses(host, n, scale, ignored, conditional, real, fake, source):
    """D's loss, G's adversarial loss and feature matching of one scale, window by window; None without a window."""
    network = host.get_submodule(f"sequence_discriminator_{scale}")
    real, fake, source = (v[:, ignored:] for v in (real, fake, source))
    sums, count = [0.0, 0.0, 0.0], 0
    for frames in frames_of_windows(fake.shape[1], n, n**scale):
        def picture(x, frames=frames):
            return torch.cat([source[:, t] for t in frames if conditional] + [x[:, t] for t in frames], dim=1)

        on_real, on_fake = network(picture(real)), network(picture(fake))
        sums[0] += (gan_loss(on_real, True) + gan_loss(on_fake, False)) / 2
        sums[1] += gan_loss(on_fake, True)
        pairs = list(zip(network.features(picture(fake))[:-1], network.features(picture(real))[:-1], strict=True))
        sums[2] += sum((a - b).abs().mean() for a, b in pairs) / len(pairs)
        count += 1
    return [value / count for value in sums] if count else None


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize(("n", "scales", "ignored", "length"), [(3, 1, 1, 6), (2, 3, 0, 7), (3, 2, 1, 9), (3, 2, 0, 6)])
def test_losses_equal_plain_loop(n, scales, ignored, length, conditional):
    host = Host(n, scales, ignored, conditional)
    real, fake, source = (video(length, seed) for seed in range(3))
    losses_D = host.seq_D_discriminator_losses(real, fake, source)
    losses_G = host.seq_D_generator_losses(fake, source, real, 4.0)
    expected_D, expected_G = {}, {}
    for scale in range(scales):
        plain = plain_losses(host, n, scale, ignored, conditional, real, fake, source)
        if plain:
            expected_D[f"gan_sequence_{scale}"] = (plain[0], 1)
            expected_G[f"gan_sequence_{scale}"] = (plain[1], 1)
            expected_G[f"feature_matching_sequence_{scale}"] = (plain[2], 4)
    for ours, plain in ((losses_D, expected_D), (losses_G, expected_G)):
        assert ours.keys() == plain.keys()
        for name, term in ours.items():
            torch.testing.assert_close(term.value, plain[name][0], rtol=0, atol=1e-10)
            assert term.weight == plain[name][1]
    assert len(expected_D) == (1 if length == 6 else scales)


def test_one_network_for_each_scale():
    host = Host(3, 2, conditional=True)
    assert list(host.networks("D")) == ["sequence_discriminator_0", "sequence_discriminator_1"]
    assert not host.networks("G")
    for network in host.networks("D").values():
        assert next(network.parameters()).shape[1] == 3 * (C + C)
    assert next(Host(3, 1).parameters()).shape[1] == 3 * C
    kernels = [next(network.parameters()) for network in host.networks("D").values()]
    assert not torch.equal(*kernels)


def test_no_window_contributes_nothing():
    host = Host(3, 1, ignored=1)
    assert host.seq_D_discriminator_losses(video(3), video(3, 1)) == {}
    assert host.seq_D_generator_losses(video(3), None, video(3, 1), 1.0) == {}
    assert set(host.seq_D_generator_losses(video(4))) == {"gan_sequence_0"}


def test_ignored_frames_are_not_seen():
    host = Host(2, 1, ignored=2)
    real, fake = video(5).requires_grad_(True), video(5, 1).requires_grad_(True)
    host.seq_D_generator_losses(fake)["gan_sequence_0"].value.backward()
    assert not fake.grad[:, :2].any() and fake.grad[:, 2:].flatten(2).any(dim=2).all()
    host.seq_D_discriminator_losses(real, fake.detach())["gan_sequence_0"].value.backward()
    assert not real.grad[:, :2].any() and real.grad[:, 2:].any()


def test_losses_are_means_over_the_batch():
    host = Host(3, 1)
    real, fake = video(5), video(5, 1)
    together = host.seq_D_discriminator_losses(real, fake)["gan_sequence_0"].value
    alone = [host.seq_D_discriminator_losses(real[n : n + 1], fake[n : n + 1]) for n in range(N)]
    torch.testing.assert_close(together, sum(one["gan_sequence_0"].value for one in alone) / N, rtol=0, atol=1e-10)


def test_gradients_go_where_they_should():
    host = Host(3, 1)
    real, fake = video(5).requires_grad_(True), video(5, 1).requires_grad_(True)
    host.seq_D_discriminator_losses(real.detach(), fake)["gan_sequence_0"].value.backward()
    assert fake.grad is None and all(p.grad is not None for p in host.parameters())
    terms = host.seq_D_generator_losses(fake, None, real, 1.0)
    sum(term.value for term in terms.values()).backward()
    assert fake.grad.abs().sum() > 0 and real.grad is None


def test_wgangp_has_its_penalty():
    losses = Host(3, 2, gan_mode="wgangp").seq_D_discriminator_losses(video(7), video(7, 1))
    assert {name: term.weight for name, term in losses.items()} == {
        "gan_sequence_0": 1, "gan_sequence_0_gradient_penalty": 10,
        "gan_sequence_1": 1, "gan_sequence_1_gradient_penalty": 10,
    }  # fmt: skip


class Base:
    def generator_losses(self):
        return {"base": 1}

    def discriminator_losses(self):
        return {"base": 2}


def test_paired_adds_to_the_models_terms():
    class Paired(SeqDMixinPaired, Base):
        options = Options(feature_matching_loss_weight=2.0)
        criterion_GAN = staticmethod(gan_loss)
        seq_D_frames, seq_D_ignored, seq_D_conditional, seq_D_names = 3, 0, False, ["d"]
        adversarial_D = BaseModel.adversarial_D

    model = Paired()
    model.d = Host(3, 1).sequence_discriminator_0
    assert isinstance(model.d, nn.Module)
    model.source, model.target, model.fake = video(5), video(5, 1), video(5, 2)
    losses = model.generator_losses()
    assert list(losses) == ["base", "gan_sequence_0", "feature_matching_sequence_0"]
    torch.testing.assert_close(losses["gan_sequence_0"].value,
                               gan_loss(model.d(windows(model.fake, 3)), True))  # fmt: skip
    assert list(model.discriminator_losses()) == ["base", "gan_sequence_0"]
