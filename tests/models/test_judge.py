"""One judge for everything that a step shows to a discriminator: how often it is called, and that it says the same."""
import pytest
import torch
from torch import nn

from timecyclegan import SeqDMixin, TimeCycleMixin
from timecyclegan.losses.gan import gan_loss
from timecyclegan.models import default_options, get_model, get_task
from timecyclegan.models.judge import Case, Judge, discriminator_terms, judges_each_alone
from timecyclegan.models.networks.patchgan import PatchGAN

N, T, H, W = 2, 5, 16, 18


def video(length=T, channels=3, seed=0):
    values = torch.rand(N, length, channels, H, W, generator=torch.Generator().manual_seed(seed))
    return (values * 2 - 1).double()


def counted(network, calls, name):
    network.register_forward_hook(lambda *_: calls.__setitem__(name, calls.get(name, 0) + 1))


# ---- our models


@pytest.mark.parametrize(("model_type", "generator", "in_D"), [
    ("timecycle", 5, 2), ("tricyclegan", 20, 4), ("timecycledcgan", 5, 2),
])  # fmt: skip
def test_calls_of_a_step(model_type, generator, in_D):
    """5 frames: UP translates and keeps (10), and translates back (10); a discriminator is called once in its phase."""
    side = 64 if get_task(model_type) == "unconditional" else 16
    options = default_options(
        model_type, generator_filters=2, discriminator_filters=2, timecycle_motion_model_filters=2, image_height=side,
        image_width=side, discriminator_architecture="1_layers", timecycle_loss_weight=1.0,
        **({"cycle_loss_weight": 1.0} if model_type == "tricyclegan" else {}),
    )  # fmt: skip
    model, made, judged = get_model(model_type, options), {}, {}
    for name, network in model.networks().items():
        counted(network, made if name.startswith("generator") else judged, name)
    model(**{name: torch.rand(1, 5, 3, side, side) * 2 - 1 for name in model.inputs})
    model.discriminator_losses()
    judged = {name: count for name, count in judged.items() if "discriminator" in name}
    assert set(judged.values()) == {1} and len(judged) == in_D
    model.generator_losses()
    assert sum(made.values()) == generator


# ---- any discriminators


class Mean(nn.Module):
    """Of a user's, with a ``forward`` that may do anything: here it looks at its batch."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 1, 3).double()
        self.shown = []

    def forward(self, x):
        self.shown.append(len(x))
        made = self.layer(x)
        return made - made.mean(dim=0, keepdim=True)


def batch_normed():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.LeakyReLU(0.2), nn.Conv2d(4, 1, 3)).double()


@pytest.mark.parametrize("make", [Mean, batch_normed])
def test_what_looks_at_its_batch_sees_real_and_generated_apart(make):
    torch.manual_seed(0)
    network, real, fake = make(), video(seed=1), video(seed=2).requires_grad_(True)
    judge, calls = Judge(network), {}
    counted(network, calls, "D")
    losses = discriminator_terms([Case("gan", judge, judge.show(fake), judge.show(real))], gan_loss)
    assert calls == {"D": 2} and not judges_each_alone(network)
    plain = [network(clip.transpose(0, 1).flatten(0, 1)) for clip in (real, fake)]
    torch.testing.assert_close(losses["gan"].value, (gan_loss(plain[0], True) + gan_loss(plain[1], False)) / 2)
    losses["gan"].value.backward()
    assert fake.grad is None and all(p.grad is not None for p in network.parameters())


def test_batch_norm_that_no_longer_learns_is_called_once():
    network = batch_normed()
    network.eval()
    assert judges_each_alone(network) and judges_each_alone(PatchGAN(3, 2))
    assert not judges_each_alone(nn.Sequential(nn.InstanceNorm2d(3, track_running_stats=True)))
    assert not judges_each_alone(lambda x: x)
    assert not judges_each_alone(nn.Sequential(nn.Conv2d(3, 1, 3), nn.Flatten(0)))
    assert not judges_each_alone(nn.Softmax(dim=0)) and judges_each_alone(nn.Softmax(dim=1))
    assert judges_each_alone(torch.compile(PatchGAN(3, 2), backend="eager"))


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("n_frames", [1, 2])
def test_real_pictures_that_cases_share_are_judged_once(n_frames, conditional):
    """Frames 2 .. 3 of a clip that is shown whole: the loss on them is what it would be alone."""
    torch.manual_seed(0)
    real, condition, fakes = video(), video(channels=1, seed=1), [video(seed=2), video(3, seed=3)]
    network = PatchGAN(n_frames * (4 if conditional else 3), 2, layers=1).double()
    judge, sizes = Judge(network, n_frames, conditional=conditional), []
    network.register_forward_hook(lambda _, args, out: sizes.append(len(args[0])))
    cases = [Case("all", judge, judge.show(fakes[0], condition), judge.show(real, condition)),
             Case("some", judge, judge.show(fakes[1], condition[:, :3]), judge.show(real, condition, 2, 4))]
    together = discriminator_terms(cases, gan_loss)
    windows = T - n_frames + 1
    assert sizes == [N * (windows + windows + (3 - n_frames + 1))]
    for case in cases:
        (alone,) = discriminator_terms([case], gan_loss).values()
        torch.testing.assert_close(together[case.name].value, alone.value, rtol=0, atol=1e-12)
    # another clip with the same values is another clip
    sizes.clear()
    discriminator_terms([cases[0], cases[1]._replace(real=judge.show(real.clone(), condition, 2, 4))], gan_loss)
    assert sizes[0] > N * (windows + windows + (3 - n_frames + 1))


def test_losses_of_one_name_add_up_and_are_told_to_their_owner():
    class Owner:
        def judged(self, losses):
            self.losses = losses

    torch.manual_seed(0)
    owner, real, fake = Owner(), video(), video(seed=1)
    judges = [Judge(PatchGAN(3, 2, layers=1).double()) for _ in range(2)]
    cases = [Case("d", judge, judge.show(fake), judge.show(real), "timecycle_", "_target", owner=owner)
             for judge in judges]
    losses = discriminator_terms(cases, gan_loss)
    parts = [discriminator_terms([case._replace(owner=None)], gan_loss)["timecycle_d_target"].value for case in cases]
    torch.testing.assert_close(losses["timecycle_d_target"].value, sum(parts))
    assert owner.losses.keys() == {"d"} and owner.losses["d"].value is losses["timecycle_d_target"].value


# ---- networks are looked up where they live


class Host(nn.Module):
    def __init__(self):
        super().__init__()
        self.generator = nn.Conv2d(3, 3, 3, padding=1)
        self.nets = nn.ModuleDict({"D": nn.Conv2d(3, 1, 3)})


class PlainHost:
    def __init__(self):
        self.generator, self.nets = nn.Conv2d(3, 3, 3, padding=1), {"D": nn.Conv2d(3, 1, 3)}


@pytest.mark.parametrize("base", [Host, PlainHost])
def test_a_network_that_was_put_in_the_place_of_another_is_called(base):
    gan = type("WithTimeCycle", (TimeCycleMixin, base), {})(timecycle_type="pingpong")
    gan.define_timecycle_pingpong(gan.generator)
    gan.add_timecycle_discriminator(gan.nets["D"])
    calls, before = {}, [gan.generator, gan.nets["D"]]
    gan.generator, gan.nets["D"] = nn.Sequential(gan.generator), nn.Sequential(gan.nets["D"])  # wrapped
    for network, name in ((gan.generator, "G"), (gan.nets["D"], "D")):
        counted(network, calls, name)
    clip = video().float()
    gan.generator[0] = nn.Conv2d(6, 3, 3, padding=1)  # [condition, frame]
    gan.timecycle_forward(clip, clip)
    gan.set_timecycle_discriminator_input(clip)
    gan.timecycle_backward_D()
    assert calls == {"G": T - 1, "D": 1} and before[0] is not gan.generator


def test_a_sequence_discriminator_of_the_host_s_is_looked_up_too():
    gan = type("WithSeqD", (SeqDMixin, Host), {})()
    gan.S, calls = nn.Conv2d(6, 1, 3), {}
    gan.define_seq_D(2, discriminators=[gan.S])
    gan.S = nn.Sequential(gan.S)
    counted(gan.S, calls, "S")
    gan.set_seq_D_input(video().float(), video().float())
    gan.seq_D_backward()
    assert calls["S"] == 1 and set(gan.seq_D_parameters()) == set(gan.S.parameters())


def test_a_motion_model_of_the_host_s_is_looked_up_too():
    gan = type("WithTimeCycle", (TimeCycleMixin, Host), {})()
    gan.motion = nn.Conv2d(6, 3, 3, padding=1)
    gan.define_timecycle(6, 3, motion_model=gan.motion)
    calls, parameters = {}, gan.timecycle_parameters()
    gan.motion = nn.Sequential(gan.motion)
    counted(gan.motion, calls, "M")
    gan.timecycle_forward(video().float(), video().float())
    assert calls["M"] > 0 and set(parameters) == set(gan.motion.parameters()) == set(gan.timecycle_parameters())
