"""TimeCycleMixin and TimeCycle on hosts of every kind, against plain computations; float64."""
import copy
import itertools
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests import naive
from timecyclegan import TimeCycle, TimeCycleMixin
from timecyclegan.losses.gan import gan_loss
from timecyclegan.util.errors import UserError

C, C_C, N, H, W = 2, 1, 2, 6, 7
MODES = ("lsgan", "vanilla", "wgangp", "hinge")


def network(in_channels, out_channels=C):
    """Small, nonlinear, per-sample normalised: a motion model, a generator or a discriminator."""
    return nn.Sequential(
        nn.Conv2d(in_channels, 4, 3, padding=1), nn.InstanceNorm2d(4), nn.Tanh(), nn.Conv2d(4, out_channels, 3)
        if out_channels == 1 else nn.Conv2d(4, out_channels, 3, padding=1),
    ).double()  # fmt: skip


def video(length, channels=C, seed=0):
    values = torch.randn(N, length, channels, H, W, dtype=torch.double, generator=torch.Generator().manual_seed(seed))
    return values.requires_grad_(True)


class PlainHost:
    """A GAN that is no nn.Module and knows nothing of TimeCycle."""

    def __init__(self, size, *, flavour="plain"):
        self.size, self.flavour = size, flavour


class ModuleHost(nn.Module):
    def __init__(self, size, *, flavour="plain"):
        super().__init__()
        self.size, self.flavour = size, flavour
        self.generator, self.discriminator = network(C_C), network(C_C + C, 1)


class Plain(TimeCycleMixin, PlainHost):
    pass


class Module(TimeCycleMixin, ModuleHost):
    pass


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


HOSTS = pytest.mark.parametrize("host", [Plain, Module])


def close(ours, plain):
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-10)


def small(host, *, separate=False, **options):
    """A host with a small motion model that the mixin builds."""
    own = {"timecycle_motion_model_architecture": "resnet_1blocks", "timecycle_motion_model_filters": 2}
    gan = host(3, timecycle_separate_motion_models=separate, **own, **options)
    gan.define_timecycle(C + C_C, C)
    return gan


# ---- the host


@HOSTS
def test_other_arguments_are_passed_on(host):
    gan = host(5, flavour="sweet", timecycle_loss_weight=2.0)
    assert (gan.size, gan.flavour) == (5, "sweet")
    with pytest.raises(TypeError, match="unknown_option"):
        host(5, unknown_option=1)


def test_between_cooperating_classes():
    class Other:
        def __init__(self, *args, other, **kwargs):
            super().__init__(*args, **kwargs)
            self.other = other

    class Both(Other, TimeCycleMixin, ModuleHost):
        pass

    gan = Both(1, other=2, flavour="x", timecycle_type="unconditional")
    assert (gan.other, gan.flavour, gan.timecycle_type) == (2, "x", "unconditional")


@pytest.mark.parametrize("separate", [False, True])
def test_motion_models_are_submodules_of_a_module(separate):
    plain = Module(3)
    gan = small(Module, separate=separate)
    added = set(gan.state_dict()) - set(plain.state_dict())
    assert added and all("timecycles.target." in name for name in added)
    motion = gan.timecycle_parameters()
    listed = [id(p) for p in gan.parameters()]
    assert len(listed) == len(set(listed)) == len(list(plain.parameters())) + len(motion)
    assert {id(p) for p in motion} <= set(listed)
    assert len(added) == len(motion)
    gan.double()
    assert all(p.dtype == torch.double for p in motion)


@pytest.mark.parametrize("separate", [False, True])
@HOSTS
def test_parameters_once_each(host, separate):
    """A shared motion model must not be in the optimizer twice."""
    parameters = small(host, separate=separate).timecycle_parameters()
    assert len({id(p) for p in parameters}) == len(parameters)
    # resnet_1blocks has 3 + 2 + 3 convolutions with a bias each
    assert len(parameters) == 16 * (2 if separate else 1)
    torch.optim.Adam(parameters)  # which warns of duplicates


def test_one_motion_model_in_two_cycles_counts_once():
    gan, motion = Module(3), network(C + C_C)
    gan.define_timecycle(C + C_C, C, "a", motion)
    gan.define_timecycle(C + C_C, C, "b", (motion, motion))
    assert len(gan.timecycle_parameters()) == len(list(motion.parameters()))


def test_discriminators_stay_the_hosts():
    gan = small(Module)
    before = list(gan.state_dict())
    count = len(list(gan.parameters()))
    gan.add_timecycle_discriminator(gan.discriminator)
    gan.add_timecycle_discriminator(network(C, 1))
    assert list(gan.state_dict()) == before and len(list(gan.parameters())) == count
    motion = {id(p) for p in gan.timecycle_parameters()}
    assert not motion & {id(p) for p in gan.discriminator.parameters()}


@HOSTS
def test_pingpong_generator_stays_the_hosts(host):
    gan, generator = host(1), network(C + C_C)
    gan.define_timecycle_pingpong(generator)
    assert gan.timecycle_parameters() == []
    if host is Module:
        assert not any("timecycles" in name for name in gan.state_dict())
    x, c = video(4), video(4, C_C, 1)
    gan.timecycle_forward(x, c)
    close(gan.timecycle_backward(), naive.pingpong_loss(x.unbind(1), c.unbind(1), generator))


@HOSTS
@pytest.mark.parametrize("how", ["module", "tuple", "list"])
def test_own_motion_models(host, how):
    forward = network(C + C_C)
    backward = forward if how == "module" else network(C + C_C)
    gan = host(1)
    gan.define_timecycle(C + C_C, C, motion_model={"module": forward, "tuple": (forward, backward),
                                                   "list": [forward, backward]}[how])  # fmt: skip
    assert {id(p) for p in gan.timecycle_parameters()} == {
        id(p) for m in (forward, backward) for p in m.parameters()
    }
    x, c = video(4), video(4, C_C, 1)
    gan.timecycle_forward(x, c)
    close(gan.timecycle_backward(), naive.conditional_loss(x.unbind(1), c.unbind(1), backward, forward))


@HOSTS
def test_separate_models_are_two(host):
    gan = small(host, separate=True)
    backward, forward = gan.timecycles["target"]._walkers
    assert backward is not forward
    a, b = (next(m.parameters()) for m in (backward, forward))
    assert not torch.equal(a, b)


def test_host_can_be_copied_and_pickled():
    """For averaged weights and for processes that are spawned; the copy asks itself for its criterion."""
    gan = small(Module, timecycle_gan_mode="vanilla").double()
    gan.add_timecycle_discriminator(gan.discriminator)
    for twin in (copy.deepcopy(gan), pickle.loads(pickle.dumps(gan))):
        twin.timecycle_gan_mode = "lsgan"
        x, c = video(3), video(3, C_C, 1)
        losses = []
        for model in (gan, twin):
            model.timecycle_gan_mode = "lsgan" if model is twin else "vanilla"
            model.timecycle_forward(x, c)
            model.set_timecycle_discriminator_input(video(3, C, 2), c)
            losses.append(model.timecycle_backward().item())
        gan.timecycle_gan_mode = "lsgan"
        gan.timecycle_forward(x, c)
        gan.set_timecycle_discriminator_input(video(3, C, 2), c)
        assert losses[0] != losses[1] == gan.timecycle_backward().item()
        assert next(twin.discriminator.parameters()) is not next(gan.discriminator.parameters())


# ---- the loss, computed plainly


def judged(cycle_images, x, c, K, n_frames, conditional):
    """What a discriminator is to see: a list (over kinds) of lists of pictures, one by one."""
    back, returned = cycle_images

    def with_condition(t, image):
        return torch.cat([c[t], image], 1) if conditional else image

    if n_frames == 1:
        kinds = [[with_condition(t, image) for t, image in enumerate(kind)] for kind in back]
        return kinds + [[with_condition(len(c) - 1, image) for image in kind] for kind in returned]
    return [windows_of([*kind, *x[K:]], c, n_frames, conditional) for kind in back]


def windows_of(frames, c, n, conditional):
    found, start = [], 0
    while start + n <= len(frames):
        conditions = list(c[start : start + n]) if conditional else []
        found.append(torch.cat([*conditions, *frames[start : start + n]], 1))
        start += n - 1
    return found


def mean(values):
    values = list(values)
    return sum(values) / len(values)


DISCRIMINATORS = {
    "none": [],
    "frame": [(1, False)],
    "conditional frame": [(1, True)],
    "sequence": [(3, False)],
    "conditional sequence": [(3, True)],
    "windows of two": [(2, True)],
    "all": [(1, False), (1, True), (3, False), (4, True), (2, False)],
}


@pytest.mark.parametrize("judges", DISCRIMINATORS)
@pytest.mark.parametrize("kind", ["conditional", "unconditional"])
@HOSTS
def test_backward_equals_plain_computation(host, kind, judges):
    T, ignored, weight, warp_weight = 6, 1, 3.0, 0.7
    history = 1 if kind == "conditional" else 2
    forward, backward = (network(C + C_C if kind == "conditional" else 2 * C) for _ in range(2))
    gan = host(1, timecycle_type=kind, timecycle_loss="l2", timecycle_loss_weight=weight,
               timecycle_warp_loss_weight=warp_weight)  # fmt: skip
    gan.define_timecycle(3, C, motion_model=(forward, backward))
    discriminators = []
    for n, conditional in DISCRIMINATORS[judges]:
        D = network(n * (C + (C_C if conditional else 0)), 1)
        gan.add_timecycle_discriminator(D, n, conditional=conditional)
        discriminators.append((D, n, conditional))
    fake, real, source = video(T), video(T, C, 1), video(T, C_C, 2)
    gan.timecycle_forward(fake, source if kind == "conditional" else None, ignored)
    gan.set_timecycle_discriminator_input(real, source, ignored)

    x, y, c = (v.unbind(1)[ignored:] for v in (fake, real, source))
    K = len(x) - history
    if kind == "conditional":
        p, s, rl, rs = naive.conditional_cycle(x, c, backward, forward)
        images = [p, s], [rl, rs]
        cycle = naive.conditional_loss(x, c, backward, forward, "l2")
        warp = naive.motion_warp_loss(x, c, backward, forward)
    else:
        p, rl = naive.unconditional_cycle(x, backward, forward)
        images = [p], [rl]
        cycle = naive.returning_loss(x, p, rl, "l2")
        warp = naive.motion_warp_loss_history_2(x, backward, forward)
    plain, plain_D = weight * cycle + warp_weight * warp, 0
    for D, n, conditional in discriminators:
        fakes = judged(images, x, c, K, n, conditional)
        reals = judged(([y[:K]], []), y, c, K, n, conditional)[0]
        plain = plain + mean(mean(gan_loss(D(z), True) for z in kind_of) for kind_of in fakes)
        on_fake = mean(mean(gan_loss(D(z.detach()), False) for z in kind_of) for kind_of in fakes)
        plain_D = plain_D + (mean(gan_loss(D(z), True) for z in reals) + on_fake) / 2
    assert gan.timecycle_losses() == {}

    ours, ours_D = gan.timecycle_backward(), gan.timecycle_backward_D()
    close(ours, plain)
    close(ours_D, torch.as_tensor(plain_D, dtype=torch.double))
    # gradients of the generator's part: the sequence and the motion models get them, no discriminator does
    inputs = [fake, *forward.parameters(), *backward.parameters()]
    for a, b in zip(torch.autograd.grad(ours, inputs, retain_graph=True), torch.autograd.grad(plain, inputs),
                    strict=True):  # fmt: skip
        close(a, b)
    ours.backward()
    assert all(p.grad is None for D, *_ in discriminators for p in D.parameters())
    for v in (fake, real, source, *gan.timecycle_parameters()):
        v.grad = None
    if discriminators:
        # and of the discriminators' part: only they
        theirs = [p for D, *_ in discriminators for p in D.parameters()]
        for a, b in zip(torch.autograd.grad(ours_D, theirs, retain_graph=True), torch.autograd.grad(plain_D, theirs),
                        strict=True):  # fmt: skip
            close(a, b)
        ours_D.backward()
        assert all(v.grad is None for v in (fake, source, real, *gan.timecycle_parameters()))
    losses = gan.timecycle_losses()
    expected = {"timecycle_target": cycle, "timecycle_warp_target": warp}
    if discriminators:
        expected |= {"timecycle_gan_target": ours - weight * cycle - warp_weight * warp,
                     "timecycle_discriminator_target": ours_D}  # fmt: skip
    assert losses.keys() == expected.keys()
    for name, value in losses.items():
        close(value, expected[name].detach())
        assert not value.requires_grad


class Recorder(nn.Module):
    """A discriminator that keeps what it was shown."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.append(x.detach())
        return x.mean(dim=(2, 3))


@pytest.mark.parametrize("length", [2, 5])
def test_each_image_is_judged_with_the_condition_of_its_frame(length):
    """Predictions with c_t, reconstructions with c_K (and not with the condition they started from)."""
    gan, D = Plain(1), Recorder()
    gan.define_timecycle(C + C_C, C, motion_model=network(C + C_C))
    gan.add_timecycle_discriminator(D, conditional=True)
    source = torch.arange(float(length), dtype=torch.double).view(1, length, 1, 1, 1).expand(N, length, C_C, H, W)
    fake = video(length)
    gan.timecycle_forward(fake, source)
    gan.set_timecycle_discriminator_input(video(length, C, 1), source)
    gan.timecycle_backward()
    K = length - 1
    cycle = gan.timecycles["target"].cycle
    shown = {round(z[C_C:].sum().item(), 8): z[0, 0, 0].item() for z in D.seen[0]}
    for t in range(K):
        for n in range(N):
            for image in (cycle.predictions, cycle.skips):
                assert shown[round(image[n, t].sum().item(), 8)] == t
            for image in (cycle.reconstructions, cycle.skip_reconstructions):
                assert shown[round(image[n, t].sum().item(), 8)] == K
    assert D.seen[0].shape[0] == 4 * K * N
    gan.timecycle_backward_D()
    assert [z[0, 0, 0].item() for z in D.seen[1]] == [t for t in range(K) for _ in range(N)]


@pytest.mark.parametrize("length", [2, 3, 6])
def test_warp_loss_is_that_of_one_pair_whatever_the_length(length):
    """It is divided by the number of pairs in the loss as in the log: with equal pairs the length does not matter."""
    gan = Plain(1, timecycle_loss_weight=0, timecycle_warp_loss_weight=2.0)
    gan.define_timecycle(C + C_C, C, motion_model=lambda z: z[:, C_C:] + 0.25)
    x = torch.zeros(N, length, C, H, W, dtype=torch.double)
    gan.timecycle_forward(x, x[:, :, :C_C])
    assert gan.timecycle_backward().item() == pytest.approx(2.0 * (0.25 + 0.25))
    assert gan.timecycle_losses()["timecycle_warp_target"].item() == pytest.approx(0.5)


def test_warp_loss_does_not_train_the_motion_model():
    gan, motion = Plain(1, timecycle_loss_weight=0, timecycle_warp_loss_weight=1.0), network(C + C_C)
    gan.define_timecycle(C + C_C, C, motion_model=motion)
    x = video(4)
    gan.timecycle_forward(x, video(4, C_C, 1))
    gan.timecycle_backward().backward()
    assert x.grad.abs().sum() > 0
    assert all(p.grad is None for p in motion.parameters())


# ---- the adversarial objective


def cross_entropy(prediction, is_real):
    return F.binary_cross_entropy_with_logits(prediction, torch.full_like(prediction, float(is_real)))


@pytest.mark.parametrize("where", ["criterion_GAN", "criterionGAN", *MODES])
@HOSTS
def test_objective_is_the_hosts_or_by_name(host, where):
    gan = host(1, timecycle_gan_mode=where if where in MODES else None, timecycle_loss_weight=0)
    gan.define_timecycle(C + C_C, C, motion_model=network(C + C_C))
    D = network(C, 1)
    gan.add_timecycle_discriminator(D)
    if where not in MODES:
        setattr(gan, where, lambda prediction, is_real: 3 * cross_entropy(prediction, is_real))
    x, c, y = video(4), video(4, C_C, 1), video(4, C, 2)
    gan.timecycle_forward(x, c)
    gan.set_timecycle_discriminator_input(y)

    def objective(prediction, is_real):
        if where == "hinge":
            return F.relu(1 - prediction if is_real else 1 + prediction).mean()
        return gan_loss(prediction, is_real, where) if where in MODES else 3 * cross_entropy(prediction, is_real)

    images = [image for kind in naive.conditional_cycle(x.unbind(1), c.unbind(1), *[_walker(gan)] * 2)
              for image in kind]  # fmt: skip
    close(gan.timecycle_backward(), mean(-D(z).mean() if where == "hinge" else objective(D(z), True) for z in images))
    real = mean(objective(D(z), True) for z in y.unbind(1)[:3])
    terms = gan.timecycle_terms_D()
    close(terms["timecycle_discriminator_target"].value, (real + mean(objective(D(z), False) for z in images)) / 2)
    penalty = {"timecycle_discriminator_gradient_penalty_target": 10.0} if where == "wgangp" else {}
    assert {name: term.weight for name, term in terms.items()} == {"timecycle_discriminator_target": 1.0, **penalty}


def _walker(gan):
    return gan.timecycles["target"]._walkers[0]


def test_unknown_options_are_refused_at_once():
    with pytest.raises(UserError, match=r"timecycle_type must be one of conditional.*'sideways'"):
        Plain(1, timecycle_type="sideways")
    with pytest.raises(UserError, match=r"timecycle_loss must be one of l1, l2.*'l3'"):
        Plain(1, timecycle_loss="l3")
    with pytest.raises(UserError, match=r"timecycle_gan_mode must be one of lsgan, vanilla, wgangp, hinge, not 'hing'"):
        Plain(1, timecycle_gan_mode="hing")
    with pytest.raises(ValueError, match=r"cycle_type must be one of conditional.*'sideways'"):
        TimeCycle(nn.Identity(), "sideways")
    with pytest.raises(ValueError, match=r"loss must be one of l1, l2.*'l3'"):
        TimeCycle(nn.Identity(), loss="l3")
    with pytest.raises(UserError, match="timecycle_motion_model_architecture 'resnet'"):
        Plain(1, timecycle_motion_model_architecture="resnet").define_timecycle(3, 2)


def gradient_of_a_walk(kind, length, **options):
    """The norm of the TimeCycle loss's gradient at a clip that a fresh motion model walks."""
    torch.manual_seed(0)
    gan = Plain(1, timecycle_type=kind, timecycle_motion_model_filters=8, **options)
    gan.define_timecycle(6, 3)
    picture = F.interpolate(torch.rand(1, 3, 4, 8) * 2 - 1, (24, 56), mode="bicubic")
    moving = torch.stack([picture[..., t : t + 24] for t in range(length)], 1).requires_grad_()
    gan.timecycle_forward(moving, moving.detach().flip(2) if kind == "conditional" else None)
    (gradient,) = torch.autograd.grad(gan.timecycle_backward(), moving)
    return gradient.norm().item()


@pytest.mark.parametrize("kind", ["conditional", "unconditional"])
@pytest.mark.parametrize("separate", [False, True])
def test_gradients_do_not_grow_with_the_walk(kind, separate):
    norms = [gradient_of_a_walk(kind, length, timecycle_separate_motion_models=separate)
             for length in (3, 5, 9, 17, 33)]  # fmt: skip
    assert max(norms) < 2 * min(norms), norms


def test_the_motion_model_of_2020_predicts_the_frame_itself():
    """And its gradients grow, which is why it is not the default."""
    gan = Plain(1, timecycle_motion_model_residual=False, timecycle_motion_model_filters=2)
    gan.define_timecycle(6, 3)
    assert next(iter(gan.timecycles["target"].state_dict())) == "backward_model.model.1.weight"
    short, long = (gradient_of_a_walk("unconditional", t, timecycle_motion_model_residual=False) for t in (3, 17))
    assert long > 100 * short


@pytest.mark.parametrize("kind", ["pingpong", "timerecycle"])
def test_cycles_of_the_hosts_networks_build_none(kind):
    """A motion model built here would be trained by nobody."""
    gan = Plain(1, timecycle_type=kind)
    with pytest.raises(ValueError, match=kind):
        gan.define_timecycle(C + C_C, C)
    gan.define_timecycle(C + C_C, C, motion_model=network(C + C_C))
    assert gan.timecycle_parameters() == []


# ---- sequences, names, lengths, errors


@HOSTS
@pytest.mark.parametrize("ignored", [0, 1, 2])
def test_lists_are_tensors_and_frames_are_ignored(host, ignored):
    gan, D = host(1), network(C_C + C, 1)
    gan.define_timecycle(C + C_C, C, motion_model=network(C + C_C))
    gan.add_timecycle_discriminator(D)
    x, c, y = video(5), video(5, C_C, 1), video(5, C, 2)
    losses = []
    for given in (
        [x[:, ignored:], c[:, ignored:], y[:, ignored:], 0], [x, c, y, ignored],
        [list(x.unbind(1)), tuple(c.unbind(1)), list(y.unbind(1)), ignored],
    ):  # fmt: skip
        sequence, condition, real, n = given
        gan.timecycle_forward(sequence, condition, ignore_first_n=n)
        gan.set_timecycle_discriminator_input(real, condition, ignore_first_n=n)
        losses.append((gan.timecycle_backward(), gan.timecycle_backward_D()))
    for loss, loss_D in losses[1:]:
        close(loss, losses[0][0])
        close(loss_D, losses[0][1])
    plain = naive.conditional_loss(x.unbind(1)[ignored:], c.unbind(1)[ignored:], *[_walker(gan)] * 2)
    close(gan.timecycle_losses()["timecycle_target"], plain.detach())


def test_real_input_may_come_before_the_walk():
    gan, D = Plain(1), network(C_C + C, 1)
    gan.define_timecycle(C + C_C, C, motion_model=network(C + C_C))
    gan.add_timecycle_discriminator(D)
    x, c, y = video(4), video(4, C_C, 1), video(4, C, 2)
    gan.timecycle_forward(x, c)
    gan.set_timecycle_discriminator_input(y, c)
    expected = gan.timecycle_backward_D().item()
    other = Plain(1)
    other.define_timecycle(C + C_C, C, motion_model=_walker(gan))
    other.add_timecycle_discriminator(D)
    other.set_timecycle_discriminator_input(y, c)
    other.timecycle_forward(x, c)
    assert other.timecycle_backward_D().item() == expected


@HOSTS
def test_several_cycles(host):
    gan = host(1, timecycle_loss_weight=2.0)
    models = {name: network(C + C_C) for name in ("source", "target")}
    judges = {name: network(C, 1) for name in models}
    for name, model in models.items():
        gan.define_timecycle(C + C_C, C, name, model)
        gan.add_timecycle_discriminator(judges[name], timecycle_name=name)
        gan.timecycle_forward(video(4, C, len(name)), video(4, C_C, 1), timecycle_name=name)
        gan.set_timecycle_discriminator_input(video(4, C, 3), timecycle_name=name)
    one, other = gan.timecycle_backward("source"), gan.timecycle_backward("target")
    assert one.item() != other.item()
    close(gan.timecycle_backward(), one + other)
    close(gan.timecycle_backward_D(), gan.timecycle_backward_D("source") + gan.timecycle_backward_D("target"))
    assert set(gan.timecycle_losses()) == {
        f"timecycle_{term}{name}" for term in ("", "gan_", "discriminator_") for name in models
    }
    assert len(gan.timecycle_parameters()) == 2 * len(list(models["source"].parameters()))
    terms = gan.timecycle_terms()
    close(sum(term.weight * term.value for term in terms.values()), one + other)
    assert {name: term.weight for name, term in terms.items() if "gan" not in name} == {
        "timecycle_source": 2.0, "timecycle_target": 2.0
    }  # fmt: skip


@pytest.mark.parametrize(("kind", "shortest"), [("conditional", 2), ("unconditional", 3), ("pingpong", 2),
                                                ("timerecycle", 3)])  # fmt: skip
@pytest.mark.parametrize("ignored", [0, 2])
def test_too_short_sequences_are_refused_unless_the_host_grows(kind, shortest, ignored):
    gan = Plain(1, timecycle_type=kind, timecycle_warp_loss_weight=1.0)
    gan.define_timecycle(C + C_C, C, motion_model=network(2 * C if shortest == 3 else C + C_C))
    gan.add_timecycle_discriminator(network(C, 1))

    def step(length):
        gan.timecycle_forward(video(total := length + ignored), video(total, C_C, 1), ignored)
        gan.set_timecycle_discriminator_input(video(total, C, 2), None, ignored)
        return gan.timecycle_backward(), gan.timecycle_backward_D()

    assert min(loss.item() for loss in step(shortest)) > 0
    for length in range(1, shortest):
        with error(rf"{kind} walk.*{length} frame\(s\)" + r" \(2 left out\)" * (ignored // 2) +
                   f" and needs {shortest} or more"):
            step(length)
    gan.timecycles["target"].skips_short = True
    for length in range(1, shortest):
        loss, loss_D = step(length)
        assert loss.item() == 0 and loss_D.item() == 0 and loss.shape == ()
        assert gan.timecycle_losses() == {} and gan.timecycle_terms() == {} and gan.timecycle_terms_D() == {}
        (video(2).sum() + loss).backward()  # it can be added to a loss


def test_a_sequence_discriminator_longer_than_the_walk_is_left_out():
    gan = Plain(1)
    gan.define_timecycle(C + C_C, C, motion_model=network(C + C_C))
    gan.add_timecycle_discriminator(network(4 * C, 1), n_frames=4, conditional=False)
    gan.timecycle_forward(video(3), video(3, C_C, 1))
    gan.set_timecycle_discriminator_input(video(3, C, 2))
    gan.timecycle_backward()
    assert gan.timecycle_backward_D().item() == 0
    assert set(gan.timecycle_losses()) == {"timecycle_target"}


def test_terms_are_those_of_the_last_step():
    gan = Plain(1)
    gan.define_timecycle(C + C_C, C, motion_model=network(C + C_C))
    gan.timecycle_forward(video(4), video(4, C_C, 1))
    gan.timecycle_backward()
    assert gan.timecycle_losses()
    gan.timecycle_forward(video(4), video(4, C_C, 1))
    assert gan.timecycle_losses() == {}


def test_weight_0_is_not_computed(monkeypatch):
    from timecyclegan.models.mixins import timecycle

    def refuse(*args):
        raise AssertionError("computed at weight 0")

    monkeypatch.setattr(timecycle, "motion_warp_loss", refuse)
    gan = small(Plain)
    x, c = video(3).float(), video(3, C_C, 1).float()
    gan.timecycle_forward(x, c)
    gan.timecycle_backward()
    monkeypatch.setattr(timecycle, "timecycle_loss", refuse)
    gan = small(Plain, timecycle_loss_weight=0)
    gan.timecycle_forward(x, c)
    assert gan.timecycle_backward().item() == 0


def error(match):
    return pytest.raises(ValueError, match=match)


def test_errors_are_clear():
    gan = Plain(1)
    x, c, y = video(4), video(4, C_C, 1), video(4, C, 2)
    with error(r"no TimeCycle called 'target' \(defined: none\).*define_timecycle"):
        gan.timecycle_forward(x, c)
    gan.define_timecycle(C + C_C, C, "up", network(C + C_C))
    with error(r"no TimeCycle called 'down' \(defined: up\)"):
        gan.timecycle_backward("down")
    with error(r"no TimeCycle called 'target' \(defined: up\)"):
        gan.add_timecycle_discriminator(network(C, 1))
    with error("called 'up' already"):
        gan.define_timecycle(C + C_C, C, "up", network(C + C_C))
    with error("walk first"):
        gan.timecycle_backward()
    with error("walk first"):
        gan.timecycle_backward_D()
    with error("needs the conditioning sequence"):
        gan.timecycle_forward(x, timecycle_name="up")
    with error(r"sequence \(2, 4, 2, 6, 7\) and condition \(2, 3, 1, 6, 7\) differ in N, T, H or W"):
        gan.timecycle_forward(x, c[:, :3], timecycle_name="up")
    with error(r"differ in N, T, H or W"):
        gan.timecycle_forward(x, c[..., 1:], timecycle_name="up")
    with error(r"a sequence is \(N, T, C, H, W\).*not \(2, 2, 6, 7\)"):
        gan.timecycle_forward(x[:, 0], c, timecycle_name="up")
    gan.timecycle_forward(x, c, timecycle_name="up")
    gan.timecycle_backward()
    gan.add_timecycle_discriminator(network(C, 1), discriminator_name="judge", timecycle_name="up", conditional=True)
    for backward in (gan.timecycle_backward, gan.timecycle_backward_D):
        with error("needs the real sequence"):
            backward()
    gan.set_timecycle_discriminator_input(y, timecycle_name="up")
    with error("judge is conditional"):
        gan.timecycle_backward()
    with error(r"real sequence .* and condition .* differ"):
        gan.set_timecycle_discriminator_input(y, c[:, 1:], timecycle_name="up")


def test_real_condition_of_another_length_is_refused():
    """It would pair images with the conditions of other frames: for example the first frames ignored only once."""
    gan = Plain(1)
    gan.define_timecycle(C + C_C, C, motion_model=network(C + C_C))
    gan.add_timecycle_discriminator(network(C_C + C, 1))
    gan.timecycle_forward(video(5), video(5, C_C, 1), ignore_first_n=1)
    gan.set_timecycle_discriminator_input(video(5, C, 2), video(5, C_C, 1))
    for backward in (gan.timecycle_backward, gan.timecycle_backward_D):
        with error(r"ignore_first_n"):
            backward()


# ---- without inheritance, and the seed's example


def test_timecycle_alone():
    motion = network(C + C_C)
    cycle = TimeCycle(motion, weight=10.0, warp_weight=2.0)
    assert list(dict(cycle.named_children())) == ["backward_model"]
    x, c = video(4), video(4, C_C, 1)
    walked = cycle(x, c)
    assert walked.length == 3
    plain = [naive.conditional_loss(x.unbind(1), c.unbind(1), motion, motion),
             naive.motion_warp_loss(x.unbind(1), c.unbind(1), motion, motion)]  # fmt: skip
    close(cycle.generator_loss(), 10 * plain[0] + 2 * plain[1])
    assert {name: value.item() for name, value in cycle.terms().items()} == {
        "cycle": pytest.approx(plain[0].item()), "warp": pytest.approx(plain[1].item())
    }  # fmt: skip


@HOSTS
def test_example_of_the_readme(host):
    """A GAN of the user's, with a forward and a backward that sets losses; ten lines make it temporally consistent."""
    base = nn.Module if host is Module else object

    class MyGAN(base):
        def __init__(self):
            super().__init__()
            self.generator, self.discriminator = network(C_C), network(C_C + C, 1)

        def forward(self, source, target):
            self.fake = self.generator(source.flatten(0, 1)).unflatten(0, source.shape[:2])

        def backward(self, source, target):
            self.loss_G = (self.fake - target).abs().mean()
            pairs = [torch.cat([source, frames], 2).flatten(0, 1) for frames in (target, self.fake.detach())]
            on_real, on_fake = map(self.discriminator, pairs)
            self.loss_D = ((on_real - 1).square().mean() + on_fake.square().mean()) / 2

    class MyGANWithTimecycle(TimeCycleMixin, MyGAN):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.define_timecycle(C_C + C, C)
            self.add_timecycle_discriminator(self.discriminator)

        def forward(self, source, target):
            super().forward(source, target)
            self.timecycle_forward(self.fake, source)
            self.set_timecycle_discriminator_input(target, source)

        def backward(self, source, target):
            super().backward(source, target)
            self.loss_G += self.timecycle_backward()
            self.loss_D += self.timecycle_backward_D()

    gan = MyGANWithTimecycle(timecycle_loss_weight=10.0, timecycle_motion_model_filters=2)
    gan.timecycles["target"].double()
    trained = [*gan.generator.parameters(), *gan.timecycle_parameters()]
    optimizer_G, optimizer_D = torch.optim.Adam(trained), torch.optim.Adam(gan.discriminator.parameters())
    source, target = torch.randn(N, 4, C_C, 8, 8).double(), torch.randn(N, 4, C, 8, 8).double()
    losses = []
    for _ in range(5):
        before = [p.detach().clone() for p in (*trained, *gan.discriminator.parameters())]
        gan.forward(source, target)
        gan.backward(source, target)
        for optimizer, loss in ((optimizer_G, gan.loss_G), (optimizer_D, gan.loss_D)):
            optimizer.zero_grad()
            loss.backward()
        optimizer_G.step(), optimizer_D.step()
        after = (*trained, *gan.discriminator.parameters())
        # biases before an instance norm have no effect; every kernel is trained
        assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True) if a.dim() > 1)
        losses.append(gan.timecycle_losses()["timecycle_target"].item())
    assert losses[-1] < losses[0]


# ---- what cannot be right

@HOSTS
def test_a_loss_of_nothing_can_be_back_propagated(host):
    """A clip without a walk, in a host that back-propagates the terms by themselves."""
    gan = host(1)
    gan.define_timecycle(C + C_C, C, motion_model=network(C + C_C))
    gan.timecycles["target"].skips_short = True
    D = network(C, 1)
    gan.add_timecycle_discriminator(D)
    x = video(1).requires_grad_(True)
    gan.timecycle_forward(x, video(1, C_C, 1))
    gan.set_timecycle_discriminator_input(video(1, C, 2))
    loss, loss_D = gan.timecycle_backward(), gan.timecycle_backward_D()
    assert loss == loss_D == 0
    loss.backward()
    loss_D.backward()
    assert not x.grad.any() and not any(p.grad.any() for p in D.parameters())


@HOSTS
def test_real_frames_of_another_length_are_refused(host):
    gan = host(1)
    gan.define_timecycle(C + C_C, C, motion_model=network(C + C_C))
    gan.add_timecycle_discriminator(network(C, 1), conditional=False)
    gan.timecycle_forward(video(4), video(4, C_C, 1), ignore_first_n=1)
    gan.set_timecycle_discriminator_input(video(4, C, 2))
    for backward in (gan.timecycle_backward, gan.timecycle_backward_D):
        with pytest.raises(ValueError, match="give the same ignore_first_n to both"):
            backward()
    with pytest.raises(ValueError, match="ignore_first_n is a number of frames, not -1"):
        gan.timecycle_forward(video(4), video(4, C_C, 1), ignore_first_n=-1)


@pytest.mark.parametrize("weight", ["timecycle_loss_weight", "timecycle_warp_loss_weight"])
@HOSTS
def test_negative_weights_are_refused(host, weight):
    gan = host(1, **{weight: -1.0})
    with pytest.raises(UserError, match=r"weight must be 0 or more, not -1\.0"):
        gan.define_timecycle(C + C_C, C, motion_model=network(C + C_C))


# ---- walks that return from some frames


def draws(length, k):
    """Every outcome of ``draw_returns``, each as probable as any other."""
    offsets = itertools.product(range(length), repeat=k)
    return [torch.tensor([(j * length + offset) // k for j, offset in enumerate(some)]) for some in offsets]


@pytest.mark.parametrize("mode", ["lsgan", "hinge"])
@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("kind", ["conditional", "unconditional"])
def test_returning_from_some_frames_is_right_on_average(kind, alone, mode):
    """Both sides' losses and their gradients, averaged over all draws: discriminators see fewer images of the way
    forward, which weigh as much as all of them do."""
    history, conditions = (1, C_C) if kind == "conditional" else (2, 0)
    length, k = 4, 2
    motion_model, frames, sequences = network(conditions + history * C), network(C, 1), network(2 * C, 1)
    x, y = video(length + history), video(length + history, C, 2)
    c = video(length + history, C_C, 1) if conditions else None

    def found(returns):
        cycle = TimeCycle(motion_model, kind, weight=3.0, criterion_GAN=mode, max_return=0 if returns is None else k)
        judge = frames if alone else lambda picture: frames(picture)  # it is shown real and generated pictures apart
        cycle.add_discriminator(judge, conditional=False)
        cycle.add_discriminator(sequences, 2, conditional=False)
        cycle(x, c, returns=returns)
        cycle.set_discriminator_input(y)
        losses = cycle.discriminator_loss(), cycle.generator_loss()
        inputs = [*frames.parameters(), *sequences.parameters()], [x, *motion_model.parameters()]
        return [value for loss, some in zip(losses, inputs, strict=True)
                for value in (loss, *torch.autograd.grad(loss, some, retain_graph=True))]  # fmt: skip

    outcomes = [found(returns) for returns in draws(length, k)]
    for mean, whole in zip(zip(*outcomes, strict=True), found(None), strict=True):
        torch.testing.assert_close(torch.stack(mean).mean(0), whole, rtol=0, atol=1e-12)
    assert len({outcome[0].item() for outcome in outcomes}) > 1


@HOSTS
def test_the_frames_to_return_from_are_given_or_drawn(host):
    gan = host(1, timecycle_max_return=2)
    gan.define_timecycle(C + C_C, C, motion_model=network(C + C_C))
    x, c = video(6), video(6, C_C, 1)

    def walked(returns=None):
        gan.timecycle_forward(x, c, returns=returns)
        return gan.timecycles["target"].cycle.reconstructions

    whole = host(1)
    whole.define_timecycle(C + C_C, C, motion_model=_walker(gan))
    whole.timecycle_forward(x, c)
    all_of_them = whole.timecycles["target"].cycle.reconstructions

    def frames(made):
        return [[torch.equal(one, other) for other in all_of_them.unbind(1)].index(True) for one in made.unbind(1)]

    assert frames(walked(torch.tensor([1, 4]))) == [1, 4]
    torch.manual_seed(1)
    drawn = [frames(walked()) for _ in range(12)]
    assert len(set(map(tuple, drawn))) > 5
    torch.manual_seed(1)
    assert [frames(walked()) for _ in range(12)] == drawn  # so a run that is resumed draws what it would have drawn
    for bound in (5, 9):  # at most so many: all
        cycle = TimeCycle(_walker(gan), max_return=bound)
        assert torch.equal(cycle(x, c, returns=torch.tensor([0])).reconstructions, all_of_them)
    with pytest.raises(UserError, match="max_return must be 0 or more, not -1"):
        TimeCycle(_walker(gan), max_return=-1)
