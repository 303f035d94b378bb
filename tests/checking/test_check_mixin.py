"""check_mixin on data, hosts and options of many kinds: what it says, and where it must be silent."""
import re

import pytest
import torch
from torch import nn

from tests.checking.test_planted import ADD_GROUP, DEFINE, PLANTED, WALK
from tests.example_gans import FRAMES, example, source
from timecyclegan import TimeCycle, TimeCycleMixin, check_mixin
from timecyclegan.models import default_options, get_model
from timecyclegan.util.errors import UserError


def names(gan, batch, step=None):
    return [finding.name for finding in check_mixin(gan, batch, step, verbose=False)]


@pytest.mark.parametrize("name", ["plain_class", "separate_steps", "pix2pix_style", "dcgan_script"])
def test_a_sequence_with_nothing_to_walk(name):
    """One frame, or the two of an unconditional model's history; with one more there is a cycle."""
    shortest = 3 if name == "dcgan_script" else 2
    for frames in range(1, shortest + 1):
        one = example(name)
        one.module.n_frames = frames
        assert names(one.gan, one.batch(frames), one.step) == ["cycle of length 0"] * (frames < shortest)


def test_ignored_frames_do_not_count():
    for ignored, expected in ((FRAMES - 2, []), (FRAMES - 1, ["cycle of length 0"])):
        call = f"self.timecycle_forward(self.fake, self.source, {ignored})"
        one = example("plain_class", (WALK["plain_class"], call))
        assert names(one.gan, one.batch()) == expected


SCALES = {
    "0 to 255": (lambda video: (video + 1) * 127.5, "values outside [-1, 1]"),
    "just outside": (lambda video: video.clamp(-0.9, 0.9) + 0.11, "values outside [-1, 1]"),
    "rounded": (lambda video: video.clamp(-1, 1) * 1.0001, None),
    "0 to 1": (lambda video: (video + 1) / 2, None),
    "not a number": (lambda video: torch.where(video > 0, video, torch.nan), "not a number"),
    "infinite": (lambda video: torch.where(video > 0, video, torch.inf), "not a number"),
}


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", ["plain_class", "separate_steps", "dcgan_script"])
def test_the_range_of_the_data(name, scale):
    """Of the condition, and of the real frames where a discriminator sees them."""
    change, expected = SCALES[scale]
    one = example(name)
    batch = one.batch()
    if name == "dcgan_script":
        batch = change(batch)
    else:
        maps, video = batch
        batch = change(maps), (change(video) if name == "separate_steps" else video)
    findings = check_mixin(one.gan, batch, one.step, verbose=False)
    found = {finding.name for finding in findings}
    assert not expected or any("sequence" in text or "condition" in text for name, text in findings if name == expected)
    if scale == "0 to 1" and name != "plain_class":  # where the real clip is given, and the generator ends in tanh
        expected = "real clip in [0, 1]"
    if name == "separate_steps" and scale in ("not a number", "infinite"):
        found -= {"the step failed"}
    assert found == ({expected} if expected else set())


def test_findings_say_what_was_seen_and_what_to_do():
    def text(name, *changes, frames=FRAMES):
        one = example(name, *changes)
        (finding,) = check_mixin(one.gan, one.batch(frames), one.step, verbose=False)
        return finding.text

    wrong = text("plain_class", *PLANTED["input channels"][1]["plain_class"])
    assert "shown 4 channels (1 of the condition, 1 frame(s) of 3)" in wrong and "to have 6 channels" in wrong
    assert "define_timecycle(input_channels=4, output_channels=3)" in wrong
    wrong = text("dcgan_script", *PLANTED["output channels"][1]["dcgan_script"])
    assert "makes (C, H, W) = (1, 32, 32), a frame is (3, 32, 32)" in wrong
    wrong = text("separate_steps", ("(self.discriminator)  #", "(self.discriminator, conditional=False)  #"))
    assert "to have 4 channels, but got 3 channels" in wrong and "conditional (False" in wrong
    wrong = text("dcgan_script", *PLANTED["frames instead of a sequence"][1]["dcgan_script"])
    assert "to have 3 channels, but got 6 channels" in wrong and "n_frames, " in wrong
    wrong = text("separate_steps", *PLANTED["shorter condition"][1]["separate_steps"])
    assert "sequence (2, 4, 3, 16, 16) and condition (2, 3, 1, 16, 16) differ in N, T, H or W" in wrong
    wrong = text("plain_class", *PLANTED["half of it in the optimizer"][1]["plain_class"])
    assert "8 of its 16 parameters" in wrong and "optimizer_G, optimizer_D" in wrong
    assert "is given 1 frame(s) and needs 2 or more" in text("plain_class", frames=1)


# ---- a GAN of one's own that computes losses and leaves the rest to a loop outside


class Computes(nn.Module):
    """Only the losses are computed here; optimizers may be its own or not."""

    def __init__(self, own=True):
        super().__init__()
        self.generator, self.discriminator = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 1, 3)
        if own:
            self.optimizer_G = torch.optim.Adam(self.generator.parameters())

    def forward(self, source, real):
        self.source, self.real = source, real
        self.fake = torch.stack([self.generator(frame).tanh() for frame in source.unbind(1)], 1)
        return self.fake

    def backward(self):
        self.loss_G = (self.discriminator(self.fake.flatten(0, 1)) - 1).square().mean()
        self.loss_D = self.discriminator(self.fake.detach().flatten(0, 1)).square().mean()


class Computing(TimeCycleMixin, Computes):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, timecycle_motion_model_filters=2, **kwargs)
        self.define_timecycle(4, 3)

    def forward(self, source, real):
        output = super().forward(source, real)
        self.timecycle_forward(self.fake, self.source)
        return output

    def backward(self):
        super().backward()
        self.loss_G = self.loss_G + self.timecycle_backward()


def videos(frames=3):
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.rand(1, frames, c, 16, 16, generator=generator) * 2 - 1 for c in (1, 3))


def test_losses_are_back_propagated_where_the_host_does_not():
    gan = Computing()
    assert names(gan, videos()) == ["motion model in no optimizer"]
    gan.optimizer_G.add_param_group({"params": gan.timecycle_parameters()})
    assert names(gan, videos()) == []
    gan.backward = lambda: (Computes.backward(gan), gan.timecycle_backward())
    assert names(gan, videos()) == ["term never back-propagated"]
    gan.backward = lambda: None
    assert names(gan, videos()) == ["nothing back-propagated"]


def test_a_host_whose_optimizers_are_elsewhere_needs_a_step():
    gan = Computing(own=False)
    optimizer = torch.optim.Adam(gan.parameters())

    def step(batch, optimizer):
        gan(*batch)
        gan.backward()
        optimizer.zero_grad()
        gan.loss_G.backward()
        optimizer.step()

    assert names(gan, videos()) == ["no optimizer"]
    assert names(gan, videos(), lambda batch: step(batch, optimizer)) == []
    late = torch.optim.Adam(gan.generator.parameters())
    assert names(gan, videos(), lambda batch: step(batch, late)) == ["motion model in no optimizer"]
    # one that only the step knows, made anew
    assert names(gan, videos(), lambda batch: step(batch, torch.optim.SGD(gan.parameters(), 0.1))) == []


def test_a_loss_that_is_returned():
    class Returning(Computing):
        def training_step(self, batch, batch_idx):
            self(*batch)
            self.backward()
            return {"loss": self.loss_G} if batch_idx == 0 else None

        backward = Computing.backward

    gan = Returning()
    gan.optimizer_G = torch.optim.Adam(gan.parameters())
    assert names(gan, videos()) == []


def test_a_host_without_a_step():
    class Bare(TimeCycleMixin):
        pass

    with pytest.raises(UserError, match=r"Bare has no training_step.*step=lambda batch"):
        check_mixin(Bare(), videos())
    with pytest.raises(UserError, match=r"forward\(source, real\) does not take this batch.*step=lambda batch"):
        check_mixin(Computing(), videos()[0])
    with pytest.raises(UserError, match="step=lambda batch"):
        check_mixin(TimeCycle(nn.Identity()), videos())


def test_a_class_that_no_module_knows():
    """As in a notebook, or in an installed package."""
    for module in ("builtins", "json", "pytest"):
        one = example("plain_class")
        type(one.gan).__module__ = module
        assert names(one.gan, one.batch()) == []


def test_where_a_step_failed_is_a_place_in_the_users_code():
    one = example("plain_class", ("nn.Conv2d(4, filters", "nn.Conv2d(5, filters"))
    (finding,) = check_mixin(one.gan, one.batch(), verbose=False)
    lines = enumerate(source("plain_class").splitlines(), 1)
    (line,) = (number for number, text in lines if "return self.discriminator(torch.cat" in text)
    assert re.search(rf"RuntimeError in .*examples/plain_class.py, line {line}: .*5 channels", finding.text)


def test_a_gan_without_a_cycle():
    assert names(Computes(), videos()) == ["no TimeCycle"]
    gan = Computing()
    gan.timecycles = nn.ModuleDict()
    assert names(gan, videos(), lambda batch: None) == ["no TimeCycle"]


# ---- no false alarms


def test_optimizer_of_all_parameters_with_a_scheduler():
    one = Computing()
    one.optimizer_G = torch.optim.Adam(one.parameters())
    one.scheduler = torch.optim.lr_scheduler.StepLR(one.optimizer_G, 1)

    def step(batch):
        one(*batch)
        one.backward()
        one.optimizer_G.zero_grad()
        one.loss_G.backward()
        one.optimizer_G.step()
        one.scheduler.step()

    assert names(one, videos(), step) == []


@pytest.mark.parametrize("options", [
    {"timecycle_separate_motion_models": True}, {"timecycle_warp_loss_weight": 1.0}, {"timecycle_loss": "l2"},
    {"timecycle_sharpness": 1.0},
    {"timecycle_warp_loss_weight": 1.0, "timecycle_loss_weight": 0.0},
])  # fmt: skip
def test_options_of_the_cycle(options):
    gan = Computing(**options)
    gan.optimizer_G.add_param_group({"params": gan.timecycle_parameters()})
    expected = [] if options.get("timecycle_loss_weight", 1) else ["weight 0"]
    assert names(gan, videos()) == expected


def test_pingpong_has_no_parameters_of_its_own():
    change = (DEFINE, "self.define_timecycle_pingpong(self.generator)")
    for more in ([], [(ADD_GROUP, "pass")]):
        one = example("separate_steps", change, *more)
        assert names(one.gan, one.batch(), one.step) == []


def test_pingpong_with_a_network_that_nobody_trains():
    gan = Computing()
    gan.timecycles.clear()
    gan.define_timecycle_pingpong(nn.Sequential(nn.Conv2d(4, 3, 3, padding=1), nn.Tanh()))
    assert names(gan, videos()) == ["motion model in no optimizer"]


def test_gradients_that_are_accumulated():
    """No optimizer makes a step, so none can be missed."""
    gan = Computing()
    gan.optimizer_G.add_param_group({"params": gan.timecycle_parameters()})

    def step(batch):
        gan(*batch)
        gan.backward()
        (gan.loss_G / 4).backward()

    assert names(gan, videos(), step) == []


class TwoCycles(Computing):
    """One for each of two domains; the generated video of one is the condition of the other."""

    def __init__(self):
        super().__init__()
        self.back = nn.Conv2d(3, 1, 3, padding=1)
        self.define_timecycle(4, 1, "source", nn.Sequential(nn.Conv2d(4, 1, 3, padding=1), nn.Tanh()))
        self.optimizer_G = torch.optim.Adam(self.parameters())

    def forward(self, source, real):
        super().forward(source, real)
        self.made = torch.stack([self.back(frame).tanh() for frame in self.fake.unbind(1)], 1)
        self.timecycle_forward(self.made, self.fake, timecycle_name="source")


def test_cycles_under_several_names():
    gan = TwoCycles()
    assert names(gan, videos()) == []
    for p in gan.timecycles["source"].parameters():
        p.requires_grad_(False)
    gan.optimizer_G = torch.optim.Adam(gan.timecycles["source"].parameters())
    found = {finding.name: finding.text for finding in check_mixin(gan, videos(), verbose=False)}
    assert found.keys() == {"motion model in no optimizer", "motion model gets no gradient"}
    assert "cycle 'target'" in found["motion model in no optimizer"]
    assert "cycle 'source'" in found["motion model gets no gradient"]


@pytest.mark.parametrize("model_type", ["timecycle", "tricyclegan", "timecycledcgan", "timerecycleganv2"])
def test_our_own_models(model_type):
    options = default_options(
        model_type, generator_filters=2, discriminator_filters=2, timecycle_motion_model_filters=2, image_height=64,
        image_width=64, timecycle_loss_weight=1.0, recycle_predictor_filters=2,
    )  # fmt: skip
    torch.manual_seed(0)
    model = get_model(model_type, options)
    model.make_optimizers()
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    frames = model.options.block_size or type(model).default_block_size
    batch = {key: torch.rand(1, frames, 3, 64, 64) * 2 - 1 for key in model.inputs}
    assert names(model, batch, lambda batch: model.training_step(batch, scaler)) == []
