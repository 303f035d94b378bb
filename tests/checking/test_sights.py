"""What check_mixin tells from how the host's own modules see the clips, and in whose words."""
import contextlib

import pytest
import torch
from torch import nn

from tests.checking.test_healthy import HOSTS, Host, Recurrent, Volumes, videos
from timecyclegan import TimeCycle, check_mixin


def found(gan, batch=None, **replaced):
    vars(gan).update(replaced)
    return {finding.name: finding.text for finding in check_mixin(gan, batch or videos(), verbose=False)}


def walking(gan, turn_clip=None, turn_condition=None, turn_real=None, context=contextlib.nullcontext):
    """The GAN, whose step gives its videos to the cycle after these changes."""
    cycle, same = gan.cycle, lambda video: video
    turn_clip, turn_condition, turn_real = (turn or same for turn in (turn_clip, turn_condition, turn_real))

    def train_step(source, real):
        fake = gan.generate(source)
        with context():
            cycle(turn_clip(fake), turn_condition(source))
        cycle.set_discriminator_input(turn_real(real), source)
        loss_G, loss_D = gan.losses(source, real, fake)
        for optimizer, loss in ((gan.optimizer_G, lambda: loss_G), (gan.optimizer_D, loss_D)):
            value = loss()
            optimizer.zero_grad()
            value.backward()
            optimizer.step()

    gan.train_step = train_step
    return gan


def turned(video):
    return video.transpose(1, 2)


@pytest.mark.parametrize("host", [Host, Recurrent, Volumes])
def test_frames_and_channels_swapped_where_both_fit(host):
    """Three frames of three channels."""
    assert found(walking(host())) == {}
    for turns in ({"turn_clip": turned}, {"turn_condition": turned}, {"turn_real": turned},
                  {"turn_clip": turned, "turn_condition": turned, "turn_real": turned}):  # fmt: skip
        if host is Volumes and "turn_condition" in turns and len(turns) == 1:
            continue  # nobody but the generator sees it, and as a volume
        names = found(walking(host(), **turns))
        assert "frames and channels swapped" in names, turns
        assert "clip.transpose(1, 2)" in names["frames and channels swapped"]


def test_channel_counts_that_would_hide_swapped_frames_are_not_suggested():
    """Eight frames of three channels, (N, C, T, H, W): the motion model is not to be built for eight channels."""
    clips = tuple(torch.rand(2, 8, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1 for _ in range(2))
    assert found(walking(Host()), clips) == {}
    both = {"turn_clip": turned, "turn_condition": turned}
    for channels in (6, 5):  # a motion model that fits, and one that does not either way
        gan = walking(Host(), **both)
        gan.cycle.backward_model[0] = nn.Conv2d(channels, 8, 3, padding=1)
        gan.optimizer_G = torch.optim.Adam([*gan.netG.parameters(), *gan.cycle.parameters()])
        texts = found(gan, clips)
        assert texts.keys() == {"frames and channels swapped"} and "input_channels" not in str(texts), channels
    functions = walking(Host(), **both)  # where no module shows how it is meant
    weights = [functions.netG[0].weight]
    functions.generate = lambda source: torch.tanh(source * weights[0].mean())
    functions.judge = lambda source, video: [video.mean() + 0 * functions.netD[0].weight.sum()]
    functions.cycle.judges.clear()
    functions.cycle.backward_model[0] = nn.Conv2d(5, 8, 3, padding=1)
    functions.optimizer_G = torch.optim.Adam([*functions.netG.parameters(), *functions.cycle.parameters()])
    functions.losses = lambda source, real, fake: (fake.mean() + functions.cycle.generator_loss(), lambda: 1)
    (text,) = found(functions, clips).values()
    assert "transpose(1, 2)" in text and "input_channels" not in text


def test_a_condition_in_another_order():
    """Of the walk, and of the real clip; a permutation of time is seen, whoever permutes it."""
    def backwards(video):
        return video.flip(1)

    for turns in ({"turn_clip": backwards}, {"turn_condition": backwards}, {"turn_real": backwards}):
        assert [*found(walking(Host(), **turns))] == ["condition in another order of time"], turns
    assert found(walking(Recurrent(), turn_condition=lambda video: video.roll(1, 1))).keys() == {
        "condition in another order of time"}  # fmt: skip


# ---- walks that nothing is recorded of


@pytest.mark.parametrize("judged", [False, True])
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_a_walk_in_no_grad_is_said_to_be_one(judged, context):
    gan = Host()
    if not judged:
        gan.cycle.judges.clear()
        gan.losses = lambda source, real, fake: (
            gan.loss_G(gan.judge(source, fake)) + gan.cycle.generator_loss(),
            lambda: gan.loss_D(gan.judge(source, real), gan.judge(source, fake.detach())))  # fmt: skip
    names = found(walking(gan, context=context))
    assert names.keys() == {"motion model gets no gradient"}
    assert "torch.no_grad()" in str(names) and "inputs=" not in str(names)


def test_a_term_computed_in_no_grad():
    gan = Host()
    gan.cycle.generator_loss = torch.no_grad()(gan.cycle.generator_loss)
    names = found(gan)
    assert names.keys() == {"motion model gets no gradient"} and "cycle.generator_loss() ran under" in str(names)


# ---- a discriminator that is no module


class Callable:
    def __init__(self, network):
        self.call, self.parameters = network.forward, network.parameters

    def __call__(self, pictures):
        return self.call(pictures)


def test_a_discriminator_that_is_no_module():
    gan = Host()
    gan.cycle.judges[0].place = Callable(gan.netD)
    assert found(gan) == {}
    gan.cycle.judges[0].place = Callable(nn.Conv2d(5, 1, 3))
    assert found(gan).keys() == {"discriminator with the wrong input"}


def test_a_function_ends_in_words():
    """Whether the cycle can use it or not."""
    gan = Host()
    gan.cycle.judges[0].place = lambda pictures: gan.netD(pictures)
    assert len(found(gan)) <= 1


class OfTwoArguments(Host):
    """Hinge losses, a discriminator of frame and condition apart, and a function that returns a list."""

    inputs = ("frame", "condition")

    def finish(self):
        class Judge(nn.Sequential):
            def forward(self, frame, other):
                return super().forward(torch.cat([frame, other], 1))

        self.netD, self.scales = Judge(*self.netD), nn.ModuleList([nn.Conv2d(3, 1, 3), nn.Conv2d(3, 1, 5)])
        self.optimizer_D = torch.optim.Adam([*self.netD.parameters(), *self.scales.parameters()])
        self.cycle.judges.clear()
        self.cycle.criterion_GAN = "hinge"
        self.cycle.add_discriminator(self.netD, inputs=self.inputs)
        self.cycle.add_discriminator(lambda pictures: [scale(pictures) for scale in self.scales], conditional=False)

    def judge(self, source, video):
        return [self.netD(video.flatten(0, 1), source.flatten(0, 1)), *(D(video.flatten(0, 1)) for D in self.scales)]


class OfTwoArgumentsExchanged(OfTwoArguments):
    inputs = ("condition", "frame")


def test_frame_and_condition_exchanged():
    """Both have three channels: nothing else would tell."""
    assert found(OfTwoArguments()) == {}
    assert [*found(OfTwoArgumentsExchanged())] == ["discriminator with the wrong input"]


# ---- what is met in the step only is restored


def test_networks_that_only_a_function_knows():
    norm, hidden = nn.BatchNorm2d(3), nn.Linear(1, 1)
    optimizer = torch.optim.SGD(hidden.parameters(), 0.1, momentum=0.9)
    gan = Host()
    inner = gan.netG

    def generate(video):
        optimizer.zero_grad()
        hidden(torch.ones(1, 1)).sum().backward()
        optimizer.step()
        return norm(inner(video))

    gan.loss_G = lambda judged, plain=gan.loss_G: plain(judged) + 0 * generate(torch.ones(1, 3, 8, 8)).sum()
    before = [*map(torch.clone, [*norm.state_dict().values(), *hidden.state_dict().values()])]
    check_mixin(gan, videos(), verbose=False)
    after = [*norm.state_dict().values(), *hidden.state_dict().values()]
    assert all(map(torch.equal, before, after)) and not optimizer.state_dict()["state"]
    assert all(p.grad is None for p in [*norm.parameters(), *hidden.parameters(), *gan.cycle.parameters()])


@pytest.mark.parametrize("host", HOSTS)
def test_hooks_are_gone(host):
    gan = host()
    check_mixin(gan, videos(), verbose=False)
    for parameter in gan.cycle.parameters():
        assert not parameter._backward_hooks and not parameter._post_accumulate_grad_hooks and parameter.grad is None
    assert not torch.nn.modules.module._global_forward_hooks and TimeCycle.forward.__name__ == "forward"
    assert not hasattr(TimeCycle.forward, "__wrapped__")


# ---- real or not


def test_the_generated_clip_as_the_real_one_whenever_it_is_given():
    """Before or after the walk, with its history or without."""
    for before in (True, False):
        for attached in (True, False):
            gan = Host()

            def step(source, real, gan=gan, before=before, attached=attached):
                fake = gan.generate(source)
                given = fake if attached else fake.detach()
                if before:
                    gan.cycle.set_discriminator_input(given, source)
                gan.cycle(fake, source)
                if not before:
                    gan.cycle.set_discriminator_input(given, source)
                loss_G, _ = gan.losses(source, real, fake)
                gan.optimizer_G.zero_grad()
                loss_G.backward()
                gan.optimizer_G.step()

            gan.train_step = step
            assert "generated clip given as real" in found(gan), (before, attached)


class OfVolumes:
    """An unconditional GAN of clips (N, C, T, H, W), three frames of three channels."""

    def __init__(self):
        torch.manual_seed(0)
        self.netG = nn.Sequential(nn.ConvTranspose3d(8, 3, (3, 16, 16)), nn.Tanh())
        self.netD = nn.Sequential(nn.utils.spectral_norm(nn.Conv3d(3, 8, 3)), nn.LeakyReLU(0.2), nn.Conv3d(8, 1, 1))
        motion = nn.Sequential(nn.Conv2d(6, 3, 3, padding=1), nn.Tanh())
        self.cycle, self.turn = TimeCycle(motion, "unconditional"), turned
        self.optimizer_G = torch.optim.Adam([*self.netG.parameters(), *self.cycle.parameters()])
        self.optimizer_D = torch.optim.Adam(self.netD.parameters())

    def train_step(self, real):
        fake = self.netG(torch.randn(2, 8, 1, 1, 1))
        self.cycle(self.turn(fake))
        self.optimizer_D.zero_grad()
        ((self.netD(real) - 1).square().mean() + self.netD(fake.detach()).square().mean()).backward()
        self.optimizer_D.step()
        self.optimizer_G.zero_grad()
        ((self.netD(fake) - 1).square().mean() + self.cycle.generator_loss()).backward()
        self.optimizer_G.step()


def test_a_gan_of_volumes():
    real = videos()[1]
    assert found(OfVolumes(), (real,)) == {}
    assert found(OfVolumes(), (real,), turn=lambda video: video).keys() == {"frames and channels swapped"}
    assert found(OfVolumes(), ((real + 1) / 2,)).keys() == {"real clip in [0, 1]"}
