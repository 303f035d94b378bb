"""Recurrent generators against a plain loop, in training and frame by frame; float64."""
import pytest
import torch
from torch import nn

from timecyclegan.models import get_model
from timecyclegan.models.sequential import sequential_pix2pix
from timecyclegan.models.sequential.sequential_mixin import SequentialMixin, rollout
from timecyclegan.util.errors import UserError
from timecyclegan.util.options import Options

N, T, C, C_C, H, W = 2, 5, 2, 3, 8, 12


def close(ours, plain):
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-10)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def plain_rollout(generator, source, past, past_sources=None):
    """One frame after the other, with the history kept as plain lists."""
    history, sources, video = list(past.unbind(1)), [], []
    if past_sources is not None:
        sources = list(past_sources.unbind(1))
    for t in range(source.shape[1]):
        frame = generator(torch.cat([source[:, t], *sources, *history], dim=1))
        video.append(frame)
        history = [*history[1:], frame]
        if sources:
            sources = [*sources[1:], source[:, t]]
    return torch.stack(video, 1)


@pytest.mark.parametrize("conditioning", [False, True])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_rollout_equals_plain_loop(n, conditioning):
    channels = C_C + n * C + (n * C_C if conditioning else 0)
    generator = nn.Sequential(nn.Conv2d(channels, C, 3, padding=1), nn.Tanh()).double()
    source, past, past_sources = (
        torch.randn(N, length, c, H, W, dtype=torch.double).requires_grad_(True)
        for length, c in ((T, C_C), (n, C), (n, C_C))
    )
    inputs = (source, past, *([past_sources] if conditioning else []))
    ours, plain = rollout(generator, *inputs), plain_rollout(generator, *inputs)
    assert ours.shape == (N, T, C, H, W)
    close(ours, plain)
    wanted = [*inputs, *generator.parameters()]
    gradients = zip(
        torch.autograd.grad(ours.square().sum(), wanted), torch.autograd.grad(plain.square().sum(), wanted), strict=True
    )
    for a, b in gradients:
        close(a, b)


@pytest.mark.parametrize("bptt", [0, 1, 2, 3, T, T + 1])
def test_truncated_gradients_of_a_linear_recurrence(bptt):
    """x_t = a x_(t-1) + c_t. In a segment that begins at s, x_t is a^(t-s+1) x_(s-1) plus the sum over i = s .. t of
    a^(t-i) c_i. There x_(s-1) is a constant, and the gradients of a and c are those of this polynomial."""
    a = torch.tensor(0.7, dtype=torch.double, requires_grad=True)
    c, w = torch.randn(2, T, dtype=torch.double)
    source, noise = c.view(1, T, 1, 1, 1).clone().requires_grad_(True), torch.randn(1, 1, 1, 1, 1, dtype=torch.double)
    made = rollout(lambda z: z[:, :1] + a * z[:, 1:], source, noise, bptt=bptt)
    by_a, by_c = torch.autograd.grad((made.flatten() * w).sum(), [a, source])

    x, A = [noise.item()], a.item()
    for t in range(T):
        x.append(A * x[t] + c[t].item())
    expected_a, expected_c = 0.0, [0.0] * T
    for t in range(T):
        s = t - t % bptt if bptt else 0
        expected_a += w[t] * ((t - s + 1) * A ** (t - s) * x[s] +
                              sum((t - i) * A ** (t - i - 1) * c[i] for i in range(s, t)))  # fmt: skip
        for i in range(s, t + 1):
            expected_c[i] += w[t] * A ** (t - i)
    close(made.flatten(), torch.tensor(x[1:], dtype=torch.double))
    close(by_a, expected_a)
    close(by_c.flatten(), torch.stack(expected_c))


def test_a_cut_leaves_no_way_around_it():
    """With three frames of history, none of those before the cut is reached from behind it."""
    source = torch.randn(1, T, C_C, H, W, dtype=torch.double).requires_grad_(True)
    generator = nn.Conv2d(C_C + 3 * C, C, 1).double()
    past = torch.randn(1, 3, C, H, W, dtype=torch.double)
    made = rollout(generator, source, past, bptt=2)
    for t in range(T):
        (reached,) = torch.autograd.grad(made[:, t].sum(), source, retain_graph=True)
        frames = [i for i in range(T) if reached[:, i].any()]
        assert frames == list(range(t - t % 2, t + 1))


def test_no_cut_before_the_first_frame():
    with pytest.raises(UserError, match="generator_bptt must be 0 or more, not -1"):
        Recurrent(6, generator_bptt=-1)


def test_options_and_arguments_cut(build):
    """--bptt and generator_bptt: the same video, other gradients."""
    source = torch.rand(N, T, 3, H, W, dtype=torch.double)

    def gradient(model):
        torch.manual_seed(5)
        made = model.generate_sequence(model.generator, source)
        return made, torch.autograd.grad(made.square().sum(), list(model.generator.parameters()))[0]

    (whole, all_of_it), (same, cut) = gradient(build()), gradient(build(bptt=2))
    assert torch.equal(whole, same) and not torch.allclose(all_of_it, cut)
    own = build()
    own.generator_bptt = 2
    assert torch.equal(gradient(own)[1], cut)


def test_order_of_inputs_by_hand():
    """[c_t, sources t-2, t-1, outputs t-2, t-1], told apart by their numbers."""
    seen = []

    def generator(x):
        seen.append(x.flatten().tolist())
        return x[:, :1] + 100  # output t is 100 + t

    source = torch.arange(3.0).view(1, 3, 1, 1, 1)
    past, before = torch.tensor([98.0, 99.0]).view(1, 2, 1, 1, 1), torch.tensor([-2.0, -1.0]).view(1, 2, 1, 1, 1)
    rollout(generator, source, past, before)
    assert seen == [[0, -2, -1, 98, 99], [1, -1, 0, 99, 100], [2, 0, 1, 100, 101]]


def options(**changes):
    return Options(
        **{"image_height": H, "image_width": W, "generator_filters": 2, "generator_architecture": "resnet_1blocks",
           "discriminator_architecture": "pixel", "discriminator_filters": 2, **changes}
    )  # fmt: skip


@pytest.fixture(params=[False, True], ids=["", "G_input_conditioning"])
def build(request, monkeypatch):
    """Build a recurrent pix2pix, with the sources of its history or without."""

    def make(training=False, **changes):
        monkeypatch.setattr(sequential_pix2pix.SequentialPix2Pix, "G_input_conditioning", request.param)
        torch.manual_seed(3)
        return get_model("seqpix2pix", options(**changes), training=training).double()

    return make


@pytest.mark.parametrize("n", [1, 2, 3])
def test_generate_is_the_rollout_from_noise(build, n):
    model = build(n_frames_generator=n)
    source = torch.rand(N, T, 3, H, W, dtype=torch.double)
    torch.manual_seed(5)
    fake = model.run(model.generator, source)
    torch.manual_seed(5)
    noise = torch.randn(N, n, 3, H, W).double()
    before = source[:, :1].expand(-1, n, -1, -1, -1) if model.G_input_conditioning else None
    close(fake, plain_rollout(model.generator, source, noise, before))
    # other noise, another video; and a new one for every clip
    assert not torch.equal(model.run(model.generator, source), fake)


@pytest.mark.parametrize("n", [1, 3])
def test_first_history_is_noise_of_the_right_size(build, n, monkeypatch):
    """N(0, 1), (N, n, 3, H, W), height before width."""
    seen = {}

    def spy(generator, source, past, past_sources=None, bptt=0):
        seen["past"] = past
        return torch.zeros(*source.shape[:2], 3, *source.shape[3:])

    model = build(n_frames_generator=n)
    monkeypatch.setattr("timecyclegan.models.sequential.sequential_mixin.rollout", spy)
    model.run(model.generator, torch.zeros(2, 2, 3, 40, 72))
    past = seen["past"]
    assert past.shape == (2, n, 3, 40, 72)
    count = past.numel()
    assert abs(past.mean().item()) < 5 / count**0.5
    assert past.var().item() == pytest.approx(1, abs=5 * (2 / count) ** 0.5)
    assert past.square().square().mean().item() == pytest.approx(3, rel=0.2)  # normal, not uniform

    state = model.initial_state([torch.Generator().manual_seed(s) for s in (1, 2)], torch.ones(2, 3, 40, 72))
    assert state.shape == (2, n, 6 if model.G_input_conditioning else 3, 40, 72)
    noise = state[:, :, :3]
    assert abs(noise.mean().item()) < 5 / count**0.5 and noise.var().item() == pytest.approx(1, abs=0.1)
    assert (state[:, :, 3:] == 1).all()


@pytest.mark.parametrize("n", [1, 2, 3])
def test_frames_one_by_one_equal_the_whole_clip(build, n):
    """What testing does with a carried state is what training does with a whole clip."""
    model = build(n_frames_generator=n)
    source = torch.rand(N, T, 3, H, W, dtype=torch.double)
    assert model.context() == 0
    state = model.initial_state([torch.Generator().manual_seed(s) for s in range(N)], source[:, 0])
    past = torch.stack([torch.randn(n, 3, H, W, generator=torch.Generator().manual_seed(s)) for s in range(N)]).double()
    before = source[:, :1].expand(-1, n, -1, -1, -1) if model.G_input_conditioning else None
    whole = plain_rollout(model.generator, source, past, before)
    for t in range(T):
        frame, state = model.translate_frame(source[:, t : t + 1], state)
        assert frame.shape == (N, 3, H, W)
        close(frame, whole[:, t])


def test_state_of_a_sequence_does_not_depend_on_the_batch(build):
    model = build(n_frames_generator=2)
    first = torch.rand(3, 3, H, W, dtype=torch.double)

    def noise(seed):
        return torch.Generator().manual_seed(seed)

    together = model.initial_state([noise(s) for s in (7, 8, 9)], first)
    for row, seed in enumerate((7, 8, 9)):
        assert torch.equal(model.initial_state([noise(seed)], first[row : row + 1])[0], together[row])
    assert not torch.equal(together[0, :, :3], together[1, :, :3])
    # another start for the same sequence is the same: nothing is left over from the last one
    assert torch.equal(model.initial_state([noise(s) for s in (7, 8, 9)], first), together)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_generator_input(build, n):
    model = build(n_frames_generator=n)
    assert next(model.generator.parameters()).shape[1] == 3 * (1 + n + (n if model.G_input_conditioning else 0))


def test_default_clip_has_five_frames():
    assert get_model("seqpix2pix", options(), training=False).options.block_size == 5
    assert get_model("seqpix2pix", options(block_size=3), training=False).options.block_size == 3


# --- any class

class Foreign:
    """A GAN that knows nothing of time; its generator sees six channels."""

    def __init__(self, channels):
        self.generator = nn.Conv2d(channels, 3, 3, padding=1).double()


class Recurrent(SequentialMixin, Foreign):
    pass


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("conditioning", [False, True])
def test_any_class_generates_a_sequence(n, conditioning):
    class Host(Recurrent):
        G_input_conditioning = conditioning

    channels = 3 + 3 * n + (3 * n if conditioning else 0)
    host = Host(channels, n_frames_generator=n)
    assert host.sequential_input_channels() == channels
    source, past = torch.rand(N, T, 3, H, W).double(), torch.rand(N, n, 3, H, W).double()
    before = source[:, :1].expand(-1, n, -1, -1, -1) if conditioning else None
    plain = plain_rollout(host.generator, source, past, before)
    close(host.generate_sequence(host.generator, source, past), plain)
    torch.manual_seed(5)
    made = host.generate_sequence(host.generator, source)
    torch.manual_seed(5)
    noise = torch.randn(N, n, 3, H, W).double()
    close(made, plain_rollout(host.generator, source, noise, before))


def test_without_sources_the_outputs_alone_are_seen():
    host = Recurrent(6, n_frames_generator=2)
    assert host.sequential_input_channels(condition_channels=0) == 6
    nothing, past = torch.empty(N, T, 0, H, W).double(), torch.rand(N, 2, 3, H, W).double()
    frames = list(past.unbind(1))
    for _ in range(T):
        frames.append(host.generator(torch.cat(frames[-2:], dim=1)))
    close(host.generate_sequence(host.generator, nothing, past), torch.stack(frames[2:], 1))


@pytest.mark.parametrize("base", [Foreign, nn.Module])
@pytest.mark.parametrize("how", ["default", "in the class", "on the object"])
def test_the_channels_are_known_before_the_host_is_made(base, how):
    class Host(SequentialMixin, base):
        def __init__(self, *args, **kwargs):
            if how == "on the object":
                self.n_frames_generator = 2
            self.asked = self.sequential_input_channels(1, 3)
            super().__init__(*((self.asked,) if base is Foreign else ()), **kwargs)

    if how == "in the class":
        Host.n_frames_generator = 2
    n = 1 if how == "default" else 2
    host = Host()
    assert host.asked == host.sequential_input_channels(1, 3) == 1 + 3 * n and host.n_frames_generator == n
    assert Host(n_frames_generator=n).asked == 1 + 3 * n
    with pytest.raises(ValueError, match=rf"n_frames_generator={3 - n}.*sequential_input_channels.*{n}"):
        Host(n_frames_generator=3 - n)


def test_history_has_at_least_one_frame():
    with pytest.raises(ValueError, match="n_frames_generator must be 1 or more, not 0"):
        Recurrent(6, n_frames_generator=0)


def test_a_list_of_frames_is_a_sequence_too():
    host, source = Recurrent(6), torch.rand(N, T, 3, H, W).double()
    past = torch.rand(N, 1, 3, H, W).double()
    close(host.generate_sequence(host.generator, list(source.unbind(1)), past),
          host.generate_sequence(host.generator, source, past))
