"""Sequence discriminators against a plain loop over windows; float64."""
import pytest
import torch
from torch import nn

from timecyclegan.losses.gan import gan_loss
from timecyclegan.models import default_options, get_model
from timecyclegan.models.judge import Judge
from timecyclegan.models.mixins.seq_d_mixin import SeqDMixin

N, C, H, W = 2, 3, 24, 25


def video(length, seed=0, channels=C):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(N, length, channels, H, W, dtype=torch.double, generator=generator)


def windows(video, n, scale=0, condition=None):
    """What a judge of n frames at stride n ** scale is shown; None where there is no window."""
    shown = Judge(None, n, n**scale).show(video, condition)
    return shown[0].pictures() if shown else None


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


class Plain:
    """A GAN that knows nothing of sequences."""


class Host(SeqDMixin, nn.Module):
    def __init__(self, n, scales, ignored=0, conditional=False, matching=0.0, mode="lsgan"):
        super().__init__(seq_D_gan_mode=mode, seq_D_feature_matching_weight=matching)
        torch.manual_seed(0)
        self.define_seq_D(n, scales, ignored, conditional, channels=C, condition_channels=C,
                          architecture="1_layers", filters=2)  # fmt: skip
        self.double()

    def on(self, fake, real, source=None):
        self.set_seq_D_input(fake, real, source)
        return self


def plain_losses(host, n, scale, ignored, conditional, real, fake, source):
    """D's loss, G's adversarial loss and feature matching of one scale, window by window; None without a window."""
    network = host.seq_Ds["target"].networks[scale]
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
    host = Host(n, scales, ignored, conditional, matching=4.0)
    real, fake, source = (video(length, seed) for seed in range(3))
    host.set_seq_D_input(fake, real, source)
    losses_D, losses_G = host.seq_D_terms_D(), host.seq_D_terms()
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
    networks = host.seq_Ds["target"].networks
    assert len(networks) == 2 and set(host.parameters()) == set(host.seq_D_parameters())
    for network in networks:
        assert next(network.parameters()).shape[1] == 3 * (C + C)
    assert next(Host(3, 1).parameters()).shape[1] == 3 * C
    assert not torch.equal(*(next(network.parameters()) for network in networks))


def test_no_window_contributes_nothing():
    host = Host(3, 1, ignored=1, matching=1.0).on(video(3), video(3, 1))
    assert host.seq_D_terms() == host.seq_D_terms_D() == {}
    assert host.seq_D_backward() == host.seq_D_backward_D() == 0
    assert set(Host(3, 1, ignored=1).on(video(4), video(4, 1)).seq_D_terms()) == {"gan_sequence_0"}


def test_ignored_frames_are_not_seen():
    real, fake = video(5), video(5, 1).requires_grad_(True)
    host = Host(2, 1, ignored=2).on(fake, real)
    judged = host.seq_D_backward_D()
    host.seq_D_backward().backward()
    assert not fake.grad[:, :2].any() and fake.grad[:, 2:].flatten(2).any(dim=2).all()
    others = [torch.cat([video(2, seed), real[:, 2:]], dim=1) for seed in (7, 8)]
    assert all(host.on(fake, other).seq_D_backward_D() == judged for other in others)
    assert host.on(fake, video(5, 9)).seq_D_backward_D() != judged


def test_losses_are_means_over_the_batch():
    host = Host(3, 1)
    real, fake = video(5), video(5, 1)
    together = host.on(fake, real).seq_D_backward_D()
    alone = [host.on(fake[n : n + 1], real[n : n + 1]).seq_D_backward_D() for n in range(N)]
    torch.testing.assert_close(together, sum(alone) / N, rtol=0, atol=1e-10)


def test_gradients_go_where_they_should():
    """The discriminators' loss to them alone, the generator's to the clip alone."""
    real, fake = video(5).requires_grad_(True), video(5, 1).requires_grad_(True)
    host = Host(3, 1, matching=1.0).on(fake, real)
    host.seq_D_backward_D().backward()
    assert fake.grad is None and all(p.grad is not None for p in host.parameters())
    host.zero_grad(set_to_none=True)
    real.grad = None
    host.seq_D_backward().backward()
    assert fake.grad.abs().sum() > 0 and real.grad is None
    assert all(p.grad is None and p.requires_grad for p in host.parameters())


def test_wgangp_has_its_penalty():
    losses = Host(3, 2, mode="wgangp").on(video(7), video(7, 1)).seq_D_terms_D()
    assert {name: term.weight for name, term in losses.items()} == {
        "gan_sequence_0": 1, "gan_sequence_0_gradient_penalty": 10,
        "gan_sequence_1": 1, "gan_sequence_1_gradient_penalty": 10,
    }  # fmt: skip


def test_any_class_with_networks_of_its_own_and_lists_of_frames():
    class Any(SeqDMixin, Plain):
        pass

    class Judge(nn.Module):
        def forward(self, x):
            return x.mean(dim=(1, 2, 3))

    host = Any()
    host.define_seq_D(2, discriminators=[Judge()])
    host.define_seq_D(3, seq_D_name="other", discriminators=[Judge()])
    fake, real = video(3), video(3, 1)
    host.set_seq_D_input(fake.unbind(1), real.unbind(1))
    host.set_seq_D_input(fake, real, seq_D_name="other")
    pairs = [fake[:, t : t + 2].mean(dim=(1, 2, 3, 4)) for t in range(2)]
    judged = (torch.cat(pairs) - 1).square().mean(), (fake.mean(dim=(1, 2, 3, 4)) - 1).square().mean()
    torch.testing.assert_close(host.seq_D_backward("target"), judged[0])
    torch.testing.assert_close(host.seq_D_backward(), sum(judged))
    assert set(host.seq_D_terms()) == {"gan_sequence_0_target", "gan_sequence_0_other"}
    assert host.seq_D_parameters() == []
    with pytest.raises(ValueError, match="already: give these a seq_D_name"):
        host.define_seq_D(2, discriminators=[Judge()])
    with pytest.raises(ValueError, match=r"no group of sequence discriminators called 'x' \(defined: target, other\)"):
        host.seq_D_backward("x")


def test_criterion_of_the_host_counts():
    class Own(Plain):
        def criterionGAN(self, prediction, is_real):  # as pix2pix spells it
            return prediction.sum() * 0 + (7.0 if is_real else 5.0)

    class WithSeqD(SeqDMixin, Own):
        pass

    host = WithSeqD()
    host.define_seq_D(2, architecture="1_layers", filters=2)
    host.set_seq_D_input(video(3).float(), video(3).float())
    assert host.seq_D_backward() == 7 and host.seq_D_backward_D() == 6


@pytest.mark.parametrize("call", ["seq_D_backward", "seq_D_backward_D"])
def test_input_is_asked_for(call):
    with pytest.raises(ValueError, match="call set_seq_D_input first"):
        getattr(Host(2, 1), call)()
    with pytest.raises(ValueError, match="need the conditioning sequence"):
        Host(2, 1, conditional=True).on(video(3), video(3))


def test_models_terms_are_those_of_the_mixin():
    """One group for each domain, the model's own terms beside them, feature matching where the model knows it."""
    torch.manual_seed(0)
    small = {"image_height": 24, "image_width": 25, "discriminator_architecture": "1_layers", "generator_filters": 2,
             "discriminator_filters": 2, "generator_architecture": "resnet_1blocks"}  # fmt: skip
    model = get_model("timecycle", default_options("timecycle", feature_matching_loss_weight=2.0, **small)).double()
    source, target = video(5), video(5, 1)
    model(source, target)
    losses = model.generator_losses()
    assert list(losses) == ["gan", "feature_matching", "gan_sequence_0", "feature_matching_sequence_0"]
    D = model.sequence_discriminator_0
    torch.testing.assert_close(losses["gan_sequence_0"].value, gan_loss(D(windows(model.step.fake[:, 1:], 4)), True))
    assert list(model.discriminator_losses()) == ["gan", "gan_sequence_0"]
    both = get_model("tricyclegan", default_options("tricyclegan", feature_matching_loss_weight=2.0, **small)).double()
    both(source, target)
    assert list(both.generator_losses()) == ["gan_target", "gan_source", "gan_sequence_0_target",
                                             "gan_sequence_0_source"]  # fmt: skip
