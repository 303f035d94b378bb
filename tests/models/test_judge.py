"""One judge for everything that a step shows to a discriminator: how often it is called, and that it says the same."""
import collections
import copy
import functools
import types

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from timecyclegan import SeqDMixin, TimeCycle, TimeCycleMixin
from timecyclegan.losses.gan import gan_loss
from timecyclegan.models import default_options, get_model, get_task
from timecyclegan.models.adversarial_terms import Case, discriminator_terms, generator_terms, judges_each_alone
from timecyclegan.models.judge import Judge
from timecyclegan.models.networks.patchgan import PatchGAN
from timecyclegan.util.errors import UserError

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


# ---- discriminators as people have them


def conv(channels=3, seed=0, out=1):
    torch.manual_seed(seed)
    return nn.Conv2d(channels, out, 3).double()


class MultiScale(nn.Module):
    """Two scales, the second at half the size; ``form`` says what it returns of features f and predictions p."""

    def __init__(self, form):
        super().__init__()
        self.form, self.inner = form, nn.ModuleList([conv(out=5), conv(5, 1), conv(out=5, seed=2), conv(5, 3)])

    def forward(self, x):
        small = nn.functional.avg_pool2d(x, 2)
        f, g = self.inner[0](x).tanh(), self.inner[2](small).tanh()
        return self.form(f, self.inner[1](f), g, self.inner[3](g))

    def plain(self, x):
        """The predictions."""
        self.form, form = lambda f, p, g, q: (p, q), self.form
        found = self(x)
        self.form = form
        return found


def first(f, p, g, q):
    return p


FORMS = {  # what is returned, how many of (p, q) are its predictions, and prediction=
    "a list of one": (lambda f, p, g, q: [p], 1, None),
    "scales": (lambda f, p, g, q: [p, q], 2, None),
    "scales as a tuple": (lambda f, p, g, q: (p, q), 2, None),
    "scales of one": (lambda f, p, g, q: [[p], [q]], 2, None),
    "scales with features": (lambda f, p, g, q: [[f, p], [g, q]], 2, None),
    "scales of pairs": (lambda f, p, g, q: ((p, [f]), (q, [g])), 2, None),
    "features, prediction": (lambda f, p, g, q: (f, p), 1, None),
    "prediction, features": (lambda f, p, g, q: (p, f), 1, None),
    "prediction, list of features": (lambda f, p, g, q: (p, [f, g]), 1, None),
    "features, prediction of numbers": (lambda f, p, g, q: (f, p.mean(dim=(1, 2, 3))), 1, None),
    "no features": (lambda f, p, g, q: (p, None), 1, None),
    "names": (lambda f, p, g, q: {"features": f, "logits": p}, 1, None),
    "an index": (lambda f, p, g, q: (q, p), 1, 1),
    "a key": (lambda f, p, g, q: {"a": q, "b": p}, 1, "b"),
    "a function": (lambda f, p, g, q: (q, {"x": (f, p)}), 1, lambda output: output[1]["x"][1]),
    "a function to several": (lambda f, p, g, q: [[p, f], [q, g]], 2, lambda output: [one[0] for one in output]),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("entry", ["TimeCycle", "TimeCycleMixin", "SeqDMixin"])
def test_each_prediction_is_judged(entry, name):
    """Sums over scales of (p - 1)^2 and so on; gradients reach the pictures in one phase, the network in the other."""
    form, count, prediction = FORMS[name]
    network, real, fake = MultiScale(form), video(3, seed=1), video(3, seed=2).requires_grad_(True)
    if name == "features, prediction of numbers":
        def plain(x):
            return [network.plain(x)[0].mean(dim=(1, 2, 3))]
    else:
        def plain(x):
            return network.plain(x)[:count]
    generator, discriminator = terms_of(entry, network, fake, real, prediction=prediction)
    shown, truth = shown_by(entry, fake, real)
    wanted = sum((p - 1).square().mean() for p in plain(shown))
    torch.testing.assert_close(generator, wanted, rtol=0, atol=1e-12)
    wanted_D = sum(((p - 1).square().mean() + q.square().mean()) / 2
                   for p, q in zip(plain(truth), plain(shown.detach()), strict=True))  # fmt: skip
    torch.testing.assert_close(discriminator, wanted_D, rtol=0, atol=1e-12)
    (plain_gradient,) = torch.autograd.grad(wanted, fake)
    generator.backward()
    torch.testing.assert_close(fake.grad, plain_gradient, rtol=0, atol=1e-12)
    assert all(p.grad is None for p in network.parameters())
    fake.grad = None
    discriminator.backward()
    assert fake.grad is None and network.inner[1].weight.grad.abs().sum() > 0


def terms_of(entry, network, fake, real, condition=None, criterion="lsgan", **more):
    """The adversarial terms, of the generator and of the discriminator, on clips; a walk's motion model copies."""
    if entry == "SeqDMixin":
        host = type("WithSeqD", (SeqDMixin, PlainHost), {})(seq_D_criterion_GAN=criterion)
        host.define_seq_D(1, discriminators=[network], conditional=condition is not None, **more)
        host.set_seq_D_input(fake, real, condition)
        return host.seq_D_backward(), host.seq_D_backward_D()
    if entry == "TimeCycle":
        cycle = TimeCycle(lambda z: z[:, -3:], "conditional", weight=0.0, criterion_GAN=criterion)
        cycle.add_discriminator(network, **more)
        cycle(fake, fake[:, :, :1].detach())
        cycle.set_discriminator_input(real, condition)
        return cycle.generator_loss(), cycle.discriminator_loss()
    host = type("WithTimeCycle", (TimeCycleMixin, PlainHost), {})(timecycle_loss_weight=0.0,
                                                                  timecycle_criterion_GAN=criterion)  # fmt: skip
    host.define_timecycle(4, 3, motion_model=lambda z: z[:, -3:])
    host.add_timecycle_discriminator(network, **more)
    host.timecycle_forward(fake, fake[:, :, :1].detach())
    host.set_timecycle_discriminator_input(real, condition)
    return host.timecycle_backward(), host.timecycle_backward_D()


def shown_by(entry, fake, real):
    """The generated and the real pictures that are judged: every image of a copying walk is the last frame."""
    if entry == "SeqDMixin":
        return fake.flatten(0, 1), real.flatten(0, 1)
    return fake[:, -1], real[:, :-1].flatten(0, 1)


@pytest.mark.parametrize("form", [collections.namedtuple("Output", "logits other"), types.SimpleNamespace])
def test_a_prediction_picked_by_its_attribute(form):
    fake = video(3)
    D = conv()
    generator, _ = terms_of("TimeCycle", lambda x: form(logits=D(x), other=D(x) * 2), fake, video(3, seed=1),
                            prediction="logits")  # fmt: skip
    torch.testing.assert_close(generator, (D(fake[:, -1]) - 1).square().mean())


UNCLEAR = {
    "features alone": (lambda f, p, g, q: (f, g.mean(dim=(2, 3))), "no tensor in it has one channel"),
    "two of one channel beside features": (lambda f, p, g, q: (p, f, p * 2), "several tensors in it have one channel"),
    "a map of one channel among features": (lambda f, p, g, q: (p, [f[:, :1], f]), "several tensors"),
    "names": (lambda f, p, g, q: {"a": p, "b": p}, "several tensors"),
    "scales that differ": (lambda f, p, g, q: [p, [f, p]], "several tensors"),
    "nothing": (lambda f, p, g, q: None, "no tensor is in it"),
    "an object": (lambda f, p, g, q: object(), "returned object: no tensor"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNCLEAR)
def test_what_is_not_clear_is_refused(name):
    form, says = UNCLEAR[name]
    with pytest.raises(UserError, match=says) as error:
        terms_of("TimeCycle", MultiScale(form), video(3), video(3, seed=1), name="D of frames")
    message = str(error.value)
    assert "\n" not in message and "D of frames (MultiScale) returned" in message
    assert "prediction=" in message and ("(16, 5, 14, 16)" in message) == ("features" in name or "differ" in name)


@pytest.mark.parametrize("prediction", [1, "p", lambda output: output.nothing, lambda output: None])
def test_a_prediction_that_cannot_be_picked_is_refused(prediction):
    for form in (first, lambda *_: (_[1],), lambda f, p, g, q: [p, [q]]):
        with pytest.raises(UserError, match=r"discriminator 0 \(MultiScale\) returned .*prediction="):
            terms_of("TimeCycle", MultiScale(form), video(3), video(3, seed=1), prediction=prediction)


# ---- two arguments


def by_cond(frame, condition):
    return 3 * frame.mean(dim=(1, 2, 3)) - condition.mean(dim=(1, 2, 3)) ** 2


TWO = {
    "by its names": (by_cond, None),
    "by its names, the other way round": (lambda cond_map, x: by_cond(x, cond_map), None),
    "a partial": (functools.partial(lambda scale, x, condition: scale * by_cond(x, condition), 1.0), None),
    "frame first": (lambda a, b: by_cond(a, b), ("frame", "condition")),
    "condition first": (lambda a, b: by_cond(b, a), ["condition", "frame"]),
    "one may be left out": (lambda x, y=None: by_cond(x, y), ("frame", "condition")),
    "any number": (lambda *both: by_cond(*both), ("frame", "condition")),
}


@pytest.mark.parametrize("name", TWO)
@pytest.mark.parametrize("n_frames", [1, 2])
def test_frame_and_condition_as_two_arguments(name, n_frames):
    """Each frame, or window, with its own condition: (mean D - 1)^2 by hand."""
    network, inputs = TWO[name]
    judge = Judge(network, n_frames, inputs=inputs)
    real, fake, condition = video(4, seed=1), video(4, seed=2).requires_grad_(True), video(4, 1, seed=3)
    case = Case("gan", judge, judge.show(fake, condition), judge.show(real, condition), penalised=True)

    def says(clip):
        windows = range(0, 4 - (n_frames - 1), max(n_frames - 1, 1))
        return torch.stack([by_cond(*(v[:, t : t + n_frames].flatten(1, 2) for v in (clip, condition)))
                            for t in windows])  # fmt: skip

    value = generator_terms([case], "lsgan")["gan"].value
    torch.testing.assert_close(value, (says(fake) - 1).square().mean())
    (ours,), (plain,) = (torch.autograd.grad(one, fake) for one in (value, (says(fake) - 1).square().mean()))
    torch.testing.assert_close(ours, plain)
    losses = discriminator_terms([case], "lsgan")
    torch.testing.assert_close(losses["gan"].value, ((says(real) - 1).square().mean() + says(fake).square().mean()) / 2)
    assert losses["gan_gradient_penalty"].value > 0


@pytest.mark.parametrize("entry", ["TimeCycle", "TimeCycleMixin", "SeqDMixin"])
def test_two_arguments_are_those_of_one_picture(entry):
    """What a concatenating function is shown in two parts is what a module is shown in one."""
    D, clips = conv(4), (video(3).requires_grad_(True), video(3, seed=1), video(3, 1, seed=2))
    one = terms_of(entry, D, *clips)
    two = terms_of(entry, lambda x, cond: D(torch.cat([cond, x], dim=1)), *clips)
    for ours, plain in zip(two, one, strict=True):
        torch.testing.assert_close(ours, plain, rtol=0, atol=1e-12)
    gradients = [torch.autograd.grad(terms[0], clips[0])[0] for terms in (two, one)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)


def test_two_arguments_of_which_it_is_not_clear_which_is_which():
    clips = video(3), video(3, seed=1)
    with pytest.raises(UserError, match=r"discriminator 0 .*takes two arguments, a and b, .*inputs=\('frame', 'cond"):
        terms_of("TimeCycle", lambda a, b: a, *clips, video(3, 1))
    with pytest.raises(UserError, match=r"inputs of discriminator 0 are .*not \(\)"):
        terms_of("TimeCycle", by_cond, *clips, inputs=())
    with pytest.raises(UserError, match=r"takes two arguments, frame and condition, and there is no condition: .* "
                                        r"add a function of a picture"):  # fmt: skip
        terms_of("TimeCycle", by_cond, *clips)
    with pytest.raises(UserError, match=r"inputs of discriminator 0 are .*not 'frame'"):
        terms_of("TimeCycle", by_cond, *clips, inputs="frame")
    with pytest.raises(UserError, match=r"discriminator 0 \(Conv2d\) was called with \(16, 4, 16, 18\).*RuntimeError.*"
                                        r"expected input.*conditional.*inputs"):  # fmt: skip
        terms_of("TimeCycle", conv(), *clips, video(3, 1))
    for several in ([conv()], nn.ModuleList([conv()])):
        with pytest.raises(UserError, match=r"discriminator 0 is of type \w+ist, which cannot be called.*one by one"):
            terms_of("TimeCycle", several, *clips)


class Two(nn.Module):
    def forward(self, x, condition):
        return by_cond(x, condition)


def compiled(module):
    return torch.compile(module, backend="eager")


@pytest.mark.parametrize("form", [compiled, nn.DataParallel, lambda D: compiled(nn.DataParallel(D)),
                                  lambda D: nn.DataParallel(compiled(D)), lambda D: compiled(D.forward)])  # fmt: skip
def test_two_arguments_of_what_is_wrapped(form):
    clips = video(3), video(3, seed=1), video(3, 1, seed=2)
    for ours, plain in zip(*(terms_of("TimeCycle", D, *clips) for D in (form(Two()), by_cond)), strict=True):
        torch.testing.assert_close(ours, plain)


# ---- no trace of the generator's term


class Owner:
    def __init__(self, network):
        self.network, self.nets = network, {"D": network}

    def judge(self, x):
        return self.network(x)


class Hidden(nn.Module):
    """Has a network that is not among its modules."""

    def __init__(self, network):
        super().__init__()
        self.inner = (network,)

    def forward(self, x):
        return self.inner[0](x)


def of_a_host(network):
    """As in a script with a class: neither the function nor what it holds is a module."""
    host = Owner(network)
    return lambda x: host.nets["D"](x)


WAYS = {
    "function of a host": of_a_host,
    "module": lambda network: network,
    "function": lambda network: lambda x: network(x),
    "function of a list": lambda network: lambda x, nets=(network,): nets[0](x),
    "bound method": lambda network: Owner(network).judge,
    "method of a module": lambda network: network.forward,
    "partial": lambda network: functools.partial(lambda scale, D, x: scale * D(x), 1.0, network),
    "hidden": Hidden,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("entry", ["TimeCycle", "TimeCycleMixin", "SeqDMixin"])
def test_no_discriminator_is_trained_by_the_generators_term(entry, way):
    network = batch_normed()
    fake, real, start = video(3).requires_grad_(True), video(3, seed=1), copy.deepcopy(network.state_dict())
    terms = functools.partial(terms_of, entry, WAYS[way](network), fake, real)
    generator, _ = terms()
    generator.backward(retain_graph=True)
    assert fake.grad.abs().sum() > 0 and all(p.grad is None and p.requires_grad for p in network.parameters())
    once = fake.grad.clone()
    generator.backward()  # a graph that was kept is walked again
    torch.testing.assert_close(fake.grad, 2 * once)
    with pytest.raises(RuntimeError, match="second time"):
        generator.backward()
    with pytest.raises(UserError, match="without create_graph=True"):
        torch.autograd.grad(terms()[0], fake, create_graph=True)
    network.load_state_dict(start)
    _, discriminator = terms()
    discriminator.backward()
    assert all(p.grad is not None for p in network.parameters())


REMEMBER = {
    "batch norm": nn.BatchNorm2d, "of all batches": functools.partial(nn.BatchNorm2d, momentum=None),
    "instance norm": functools.partial(nn.InstanceNorm2d, track_running_stats=True),
    "spectral norm": lambda width: spectral_norm(nn.Conv2d(width, width, 3)),
    "spectral norm by a hook": lambda width: nn.utils.spectral_norm(nn.Conv2d(width, width, 3)),
}


@pytest.mark.parametrize("way", [way for way in WAYS if way != "hidden"])
@pytest.mark.parametrize("norm", REMEMBER)
def test_the_generators_term_leaves_buffers_as_they_are(norm, way):
    """The judgement is that of training all the same, and the discriminator's own term does update them."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), REMEMBER[norm](4), nn.Conv2d(4, 1, 3)).double()
    judge, fake = Judge(WAYS[way](network)), video(3).requires_grad_(True)
    case, before = Case("gan", judge, judge.show(fake), judge.show(video(3, seed=1))), state(network)
    value = generator_terms([case], "lsgan")["gan"].value
    assert equal(state(network), before)
    torch.testing.assert_close(value, (network(fake.transpose(0, 1).flatten(0, 1)) - 1).square().mean())
    network.load_state_dict(before)
    discriminator_terms([case], "lsgan")  # as its own training does: one call for each kind of pictures
    ours, _ = state(network), network.load_state_dict(before)
    for clip in (video(3, seed=1), fake):
        network(clip.transpose(0, 1).flatten(0, 1))
    # Spectral norm takes a step of its own for each call, and ours may be one call.
    assert not equal(ours, before) and ("spectral" in norm or equal(state(network), ours))


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.parametrize("form", [lambda D: torch.compile(D, backend="aot_eager"), torch.jit.script, nn.DataParallel])
def test_other_forms_of_a_module_are_judged_as_it_is(form):
    """A compiled network refuses a backward pass that is told to keep its graph, unless the user wants it so."""
    network = batch_normed()
    judge, before = Judge(form(network)), state(network)
    for length in (3, 4, 5):  # compiled anew for lengths that vary
        fake = video(length).requires_grad_(True)
        value = generator_terms([Case("gan", judge, judge.show(fake), ())], "lsgan")["gan"].value
        value.backward()
        assert equal(state(network), before) and all(p.grad is None for p in network.parameters())
        plain = (network(fake.transpose(0, 1).flatten(0, 1)) - 1).square().mean()
        torch.testing.assert_close(value, plain)
        torch.testing.assert_close(fake.grad, torch.autograd.grad(plain, fake)[0])
        network.load_state_dict(before)


def test_a_distributed_discriminator_between_its_forward_and_its_backward_pass(tmp_path):
    """With find_unused_parameters, which fails where parameters are frozen in between."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        network, fake, real = batch_normed(), video(3).requires_grad_(True), video(3, seed=1)
        wrapped = nn.parallel.DistributedDataParallel(network, find_unused_parameters=True)
        for _ in range(2):
            fake.grad, before = None, state(network)
            own = wrapped(real[:, 0]).square().mean()
            learned = state(network)
            generator, _ = terms_of("SeqDMixin", wrapped, fake, real)
            (own + generator).backward()
            network.load_state_dict(before)
            wanted = torch.autograd.grad(network(real[:, 0]).square().mean(), list(network.parameters()))
            for p, gradient in zip(network.parameters(), wanted, strict=True):
                torch.testing.assert_close(p.grad, gradient)
            assert fake.grad.abs().sum() > 0 and equal(state(network), learned)
            network.zero_grad()
    finally:
        torch.distributed.destroy_process_group()


def test_what_a_discriminator_does_in_place_stays_its_own():
    network, fake, real = conv(), video(3).requires_grad_(True), video(3, seed=1)
    def noisy(x):
        return network(x.add_(0.5))

    before = fake.detach().clone(), real.clone()
    generator, discriminator = terms_of("SeqDMixin", noisy, fake, real)
    plain, truth = (network(clip.flatten(0, 1) + 0.5) for clip in (fake, real))
    torch.testing.assert_close(generator, (plain - 1).square().mean())
    torch.testing.assert_close(discriminator, ((truth - 1).square().mean() + plain.square().mean()) / 2)
    assert torch.equal(fake, before[0]) and torch.equal(real, before[1])
    (ours,) = torch.autograd.grad(generator, fake)
    torch.testing.assert_close(ours, torch.autograd.grad((plain - 1).square().mean(), fake)[0])


def test_the_generators_term_keeps_no_more_for_its_backward_pass_than_the_networks_own():
    network, fake = PatchGAN(3, 4, layers=1), video(3).float().requires_grad_(True)
    judge = Judge(network)

    def kept(make):
        sizes = {}

        def pack(tensor):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            value = make()
        return sum(sizes.values()), value

    ours, _ = kept(lambda: generator_terms([Case("gan", judge, judge.show(fake), ())], "lsgan"))
    plain, _ = kept(lambda: gan_loss(network(fake.transpose(0, 1).flatten(0, 1)), True))
    assert plain <= ours < plain + 64  # a few scalars


def test_orders_of_a_step_that_work_without_it_work_with_it():
    """Both terms before either is back-propagated; gradients that add up, scaled; a discriminator's step in between."""
    network, fake, real = batch_normed(), video(3).requires_grad_(True), video(3, seed=1)
    optimizer, scaler = torch.optim.SGD(network.parameters(), 0.1), torch.amp.GradScaler("cpu", init_scale=4.0)
    generator, discriminator = terms_of("TimeCycle", network, fake, real)
    scaler.scale(generator).backward()
    once = fake.grad.clone()
    scaler.scale(discriminator).backward()
    scaler.step(optimizer)
    fake.grad, weight = None, network[0].weight.detach().clone()
    generator, discriminator = terms_of("TimeCycle", network, fake, real)  # of the network after its step
    (plain,) = torch.autograd.grad((network(fake[:, -1].repeat(2, 1, 1, 1)) - 1).square().mean(), fake)
    discriminator.backward()
    optimizer.zero_grad()
    for _ in range(2):  # two halves of a batch
        (terms_of("TimeCycle", network, fake, real)[0] / 2).backward()
    torch.testing.assert_close(fake.grad, plain)
    assert torch.equal(network[0].weight, weight) and not torch.allclose(once / 4, plain)
    optimizer.zero_grad()
    generator.backward()
    torch.testing.assert_close(fake.grad, 2 * plain)
    assert all(p.grad is None for p in network.parameters())


def test_a_walk_that_is_skipped_leaves_a_loss_that_can_be_back_propagated():
    """The parameters of a function that judges are not known."""
    cycle = TimeCycle(lambda z: z[:, -3:], weight=0.0)
    cycle.skips_short = True
    cycle.add_discriminator(lambda x: x)
    cycle(video(1), video(1)[:, :, :1])
    cycle.set_discriminator_input(video(1, seed=1))
    generator, discriminator = cycle.generator_loss(), cycle.discriminator_loss()
    assert generator == 0 and discriminator == 0
    discriminator.backward()


def state(network):
    return copy.deepcopy(network.state_dict())


def equal(one, other):
    return all(torch.allclose(one[key], other[key], rtol=0, atol=1e-12) for key in one)


def test_a_module_of_which_a_method_judges_sequences_is_known_to_the_host():
    gan = type("WithSeqD", (SeqDMixin, Host), {})()
    network = Owner(conv())
    gan.define_seq_D(1, discriminators=[conv().forward], seq_D_name="method")
    gan.define_seq_D(1, discriminators=[network.judge], seq_D_name="function")
    assert len(gan.seq_D_parameters()) == 2 and "seq_D_networks.method_0.weight" in gan.state_dict()


# ---- feature matching, penalties and criteria of lists


def test_features_that_are_returned_are_matched():
    network = MultiScale(lambda f, p, g, q: [[f, p], [g, q]])
    real, fake = video(2), video(2, seed=1).requires_grad_(True)
    host = type("WithSeqD", (SeqDMixin, PlainHost), {})(seq_D_feature_matching_weight=2.0)
    host.define_seq_D(1, discriminators=[network])
    network.features = types.MethodType(lambda self, x: [self(x)[0][0]], network)  # means something else by it
    host.set_seq_D_input(fake, real)
    terms = host.seq_D_terms()
    (f, _), (g, _) = network(fake.flatten(0, 1))
    (f_real, _), (g_real, _) = network(real.flatten(0, 1))
    wanted = ((f - f_real).abs().mean() + (g - g_real).abs().mean()) / 2
    torch.testing.assert_close(terms["feature_matching_sequence_0"].value, wanted)
    assert terms["feature_matching_sequence_0"].weight == 2
    host.seq_D_backward().backward()
    assert fake.grad.abs().sum() > 0 and all(p.grad is None for p in network.parameters())
    network.form = lambda f, p, g, q: [p, q]
    host.set_seq_D_input(fake, real)
    with pytest.raises(UserError, match=r"needs features, and sequence discriminator 0 \(MultiScale\) has neither"):
        host.seq_D_terms()


def test_each_scale_has_its_penalty():
    """D_k(z) = <w_k, z> has the gradient w_k: the penalties are (|w_k| - 1)^2."""
    w = torch.randn(2, 3, H, W, dtype=torch.double, generator=torch.Generator().manual_seed(0)) / 10
    judge = Judge(lambda x: [(x * one).sum(dim=(1, 2, 3)) for one in w])
    case = Case("gan", judge, judge.show(video(3)), judge.show(video(3, seed=1)), penalised=True)
    penalty = discriminator_terms([case], "wgangp")["gan_gradient_penalty"].value
    torch.testing.assert_close(penalty, sum((one.norm() - 1) ** 2 for one in w))


def test_a_criterion_of_lists_judges_a_lone_prediction_whole():
    """As pix2pixHD's: of a tensor it would see the last of the batch alone. So with what prediction= picks."""
    D, fake, clips = conv(), video(3), (video(3), video(3, seed=1))
    for network, prediction in ((D, None), (lambda x: (D(x), D(x) * 2), 0)):
        generator, discriminator = terms_of("SeqDMixin", network, *clips, criterion=OfLists(), prediction=prediction)
        p, q = D(fake.flatten(0, 1)), D(clips[1].flatten(0, 1))
        torch.testing.assert_close(generator, (p - 1).square().mean())
        torch.testing.assert_close(discriminator, ((q - 1).square().mean() + p.square().mean()) / 2)


class OfLists(nn.Module):
    """As pix2pixHD has it: of scales with features; of a tensor it would judge the last sample alone."""

    def __call__(self, given, target_is_real):
        if isinstance(given[0], list):
            return sum(self(scale, target_is_real) for scale in given)
        return (given[-1] - float(target_is_real)).square().mean()


def of_lists_that_are_known_to_it(scales, is_real):
    return sum((prediction - float(is_real)).square().mean() for _, prediction in scales)


@pytest.mark.parametrize(("criterion", "share"), [
    (OfLists(), 1), (of_lists_that_are_known_to_it, 1),
    (lambda p, is_real: sum(OfLists()(one, is_real) for one in p) / len(p), 0.5),
    (lambda p, is_real: (p - float(is_real)).square().mean(dim=(1, 2, 3)), 1),  # of a tensor
])  # fmt: skip
def test_a_criterion_of_lists_is_given_what_its_discriminator_returns(criterion, share):
    network, fake = MultiScale(lambda f, p, g, q: [[f, p], [g, q]]), video(3)
    generator, _ = terms_of("TimeCycle", network, fake, video(3, seed=1), criterion=criterion)
    p, q = network.plain(fake[:, -1])
    torch.testing.assert_close(generator, share * ((p - 1).square().mean() + (q - 1).square().mean()))


@pytest.mark.parametrize("form", [first, lambda f, p, g, q: [p, q], lambda f, p, g, q: [[f, p], [g, q]]])
def test_the_discriminators_hinge_is_refused_where_it_takes_lists_too(form):
    def hinge(scales, is_real):  # of a tensor it would judge sample by sample
        predictions = [one[-1] if isinstance(one, list) else one for one in scales]
        return sum((1 - p if is_real else 1 + p).relu().mean() for p in predictions)

    with pytest.raises(UserError, match="hinge is the discriminator's side of the hinge loss"):
        terms_of("TimeCycle", MultiScale(form), video(3), video(3, seed=1), criterion=hinge)


def test_a_list_that_its_criterion_knows_need_not_be_known_to_us():
    """Features of one channel beside the prediction: which is which is not clear, but its criterion takes the last."""
    D, fake = conv(), video(3)
    generator, _ = terms_of("TimeCycle", lambda x: [[x[:, :1], D(x)], [x[:, 1:2], 2 * D(x)]], fake, video(3, seed=1),
                            criterion=OfLists())  # fmt: skip
    p = D(fake[:, -1])
    torch.testing.assert_close(generator, (p - 1).square().mean() + (2 * p - 1).square().mean())


def test_an_error_of_a_criterion_names_the_discriminator():
    with pytest.raises(UserError, match=r"raised RuntimeError: .*, on the predictions of S \(Conv2d\), \(8, 1, 14"):
        terms_of("TimeCycle", conv(), 1e3 * video(2), video(2, seed=1), criterion=nn.BCELoss(), name="S")


# ---- what the caller gives


class WithCriterion:
    def __init__(self, *args, **kwargs):
        self.criterionGAN = nn.MSELoss()


@pytest.mark.parametrize(("given", "wanted"), [
    ({}, lambda p: (p - 1).square().mean()),
    ({"gan_mode": "hinge"}, lambda p: -p.mean()),
    ({"criterion_GAN": nn.L1Loss()}, lambda p: (p - 1).abs().mean()),
    ({"gan_mode": "hinge", "criterion_GAN": nn.L1Loss()}, lambda p: (p - 1).abs().mean()),
])  # fmt: skip
@pytest.mark.parametrize("mixin", [TimeCycleMixin, SeqDMixin])
def test_what_the_caller_gives_beats_what_the_host_has(mixin, given, wanted):
    start, network, fake = "timecycle_" if mixin is TimeCycleMixin else "seq_D_", conv(), video(3)
    gan = type("Gan", (mixin, WithCriterion), {})(**{start + name: value for name, value in given.items()})
    if mixin is SeqDMixin:
        gan.define_seq_D(1, discriminators=[network])
        gan.set_seq_D_input(fake, video(3, seed=1))
        torch.testing.assert_close(gan.seq_D_backward(), wanted(network(fake.flatten(0, 1))))
        return
    gan.define_timecycle(4, 3, motion_model=lambda z: z[:, -3:])
    gan.add_timecycle_discriminator(network)
    gan.timecycle_forward(fake, fake[:, :, :1])
    gan.set_timecycle_discriminator_input(video(3, seed=1))
    torch.testing.assert_close(gan.timecycle_terms()["timecycle_gan_target"].value, wanted(network(fake[:, -1])))


@pytest.mark.parametrize("its", [nn.CrossEntropyLoss(), {"adversarial": 1}, lambda real, fake: real - fake])
def test_a_criterion_that_nothing_is_judged_by_is_not_looked_at(its):
    gan = type("Gan", (TimeCycleMixin, PlainHost), {})()
    gan.criterionGAN = its
    gan.define_timecycle(4, 3, motion_model=lambda z: z[:, -3:])
    gan.timecycle_forward(video(3), video(3)[:, :, :1])
    assert gan.timecycle_backward() > 0 and gan.timecycle_backward_D() == 0


# ---- methods of the host and of its networks


class Critic(nn.Module):
    def __init__(self, seed=0):
        super().__init__()
        self.layer = conv(seed=seed)

    def rate(self, x):
        return self.layer(x)


class MethodHost:
    def __init__(self):
        super().__init__()
        self.critic = Critic()

    def judge(self, x):
        return self.critic.rate(x)


class MethodModule(MethodHost, nn.Module):
    pass


@pytest.mark.parametrize("which", [lambda gan: gan.judge, lambda gan: gan.critic.rate])
@pytest.mark.parametrize("base", [MethodHost, MethodModule])
def test_a_method_is_that_of_the_network_which_is_there_now(base, which):
    """Of another network in its place, and in a copy of the host of the copy's."""
    gan = type("WithTimeCycle", (TimeCycleMixin, base), {})(timecycle_loss_weight=0.0)
    gan.define_timecycle(4, 3, motion_model=Last())
    gan.add_timecycle_discriminator(which(gan))
    gan.critic = Critic(seed=5)
    for one in (gan, copy.deepcopy(gan)):
        one.timecycle_forward(video(3), video(3)[:, :, :1])
        one.set_timecycle_discriminator_input(video(3, seed=1))
        one.timecycle_backward_D().backward()
        assert one.critic.layer.weight.grad.abs().sum() > 0
        plain = (Critic(seed=5).rate(video(3)[:, -1]) - 1).square().mean()
        torch.testing.assert_close(one.timecycle_backward(), plain)


class Last(nn.Module):
    def forward(self, z):
        return z[:, -3:]
