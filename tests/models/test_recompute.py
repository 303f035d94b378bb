"""What is computed again in the backward pass: the same gradients, of little that was kept; float64, bit for bit."""
import copy
from unittest import mock

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from tests.models.test_first_step import BUILT, WALKS, WEIGHTS, build, small_flow
from tests.ranks import on_two_ranks
from timecyclegan import TimeCycle
from timecyclegan.losses import total
from timecyclegan.losses.timecycle import draw_returns, walk
from timecyclegan.models import MODELS, get_task, model_class, recompute
from timecyclegan.models.adversarial_terms import judges_each_alone
from timecyclegan.models.mixins import timecycle
from timecyclegan.models.networks import vgg19
from timecyclegan.models.parts import FLOW
from timecyclegan.models.recompute import recomputed
from timecyclegan.models.sequential.sequential_mixin import SequentialMixin

C, H, W = 2, 12, 10


class Own(nn.Module):
    """Somebody's own code, which draws numbers, and learns a number from being called."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(C, C, 1)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls.add_(1)
        return self.layer(x * torch.rand_like(x)).tanh() / (1 + self.calls.clone())


def networks():
    def around(layer):
        return nn.Sequential(nn.Conv2d(C, 4, 3, padding=1), layer, nn.Tanh(), nn.Conv2d(4, C, 3, padding=1))

    return {
        "instance norm": around(nn.InstanceNorm2d(4)), "batch norm": around(nn.BatchNorm2d(4)),
        "spectral norm": spectral_norm(nn.Conv2d(C, C, 3, padding=1)), "dropout": around(nn.Dropout(0.5)),
        "own": Own(), "in place": around(nn.ReLU(True)),
    }  # fmt: skip


def chained(call, x):
    """Three calls, each of what the last one made."""
    for _ in range(3):
        x = call(x)
    return x.square().sum()


def gradients(network, call, x):
    torch.manual_seed(5)
    x = x.clone().requires_grad_(True)
    return torch.autograd.grad(chained(call, x), [x, *network.parameters()])


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("kind", networks())
def test_gradients_and_buffers_are_those_of_plain_calls(kind, wrapped):
    torch.manual_seed(0)
    plain = networks()[kind].double()
    twin = copy.deepcopy(plain)
    x = torch.randn(3, C, H, W, dtype=torch.double)
    ours = gradients(twin, recomputed((lambda x: twin(x)) if wrapped else twin, split=True), x)
    theirs = gradients(plain, plain, x)
    assert all(map(torch.equal, ours, theirs))
    for (name, one), (_, other) in zip(twin.named_buffers(), plain.named_buffers(), strict=True):
        assert torch.equal(one, other), name


def test_a_kept_graph_is_computed_again_each_time():
    network = networks()["batch norm"].double()
    x = torch.randn(3, C, H, W, dtype=torch.double)
    loss = chained(recomputed(network), x)
    first, second = (torch.autograd.grad(loss, list(network.parameters()), retain_graph=True) for _ in range(2))
    assert all(map(torch.equal, first, second))


def kept(run):
    """Bytes that the graph of what ``run`` makes keeps, parameters aside, each storage once."""
    found = {}

    def pack(x):
        if not isinstance(x, nn.Parameter):
            found[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        alive = run()
    del alive
    return sum(found.values())


def test_a_call_keeps_its_input_alone():
    network = networks()["instance norm"].double()
    x = torch.randn(3, C, H, W, dtype=torch.double)
    assert kept(lambda: recomputed(network)(x)) == x.nbytes < kept(lambda: network(x)) / 4


@pytest.mark.parametrize("kind", ["instance norm", "batch norm"])
def test_calls_are_split_where_pictures_are_seen_alone(kind, monkeypatch):
    monkeypatch.setattr(recompute, "PIXELS", 2 * H * W)
    network, seen = networks()[kind].double(), []
    network.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    x = torch.randn(5, C, H, W, dtype=torch.double)
    alone = kind == "instance norm"
    ours = gradients(network, recomputed(network, split=True), x)
    assert seen[:3] == [2, 2, 1] if alone else [5, 5, 5]
    assert {len(x)} == {5, *seen} if not alone else max(seen) == 2
    for one, other in zip(ours, gradients(network, network, x), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    seen.clear()
    with torch.no_grad():
        recomputed(network, split=True)(x)
    assert seen == ([2, 2, 1] if alone else [5])


def test_mixed_precision_is_that_of_the_call():
    network = networks()["instance norm"]
    x = torch.randn(3, C, H, W)
    with torch.autocast("cpu", torch.bfloat16):
        ours, theirs = (chained(call, x) for call in (recomputed(network), network))
    found = [torch.autograd.grad(loss, list(network.parameters())) for loss in (ours, theirs)]
    assert all(map(torch.equal, *found))


def test_a_compiled_network_runs_as_it_would_without():
    network = networks()["instance norm"]
    x, plain = torch.randn(3, C, H, W), copy.deepcopy(network)
    theirs = gradients(plain, plain, x)
    built = []
    network.compile(backend=lambda graph, _: built.append(graph) or graph)
    assert all(map(torch.equal, gradients(network, recomputed(network), x), theirs)) and not built
    network(x)
    assert built


# ---- models

CASES = [(model_type, {}) for model_type in MODELS]
CASES += [(model_type, {"timecycle_type": kind, "timecycle_separate_motion_models": True}) for model_type, kind in BUILT
          if kind == "unconditional"]  # fmt: skip
CASES += [("timecycle", {"timecycle_type": "pingpong"}), ("timecycle", {"gan_mode": "wgangp"}),
          ("timecycle", {"norm": "batch"}), ("tricyclegan", {"norm": "batch", "timecycle_type": "pingpong"}),
          ("cyclegan", {"norm": "batch", "block_size": 2}), ("seqpix2pix", {"n_frames_generator": 2, "bptt": 2})]


def one_step(model_type, changes):
    """Losses, gradients of both sides, and buffers, after a forward pass and both backward passes."""
    model = build(model_type, changes)
    model.warp_flow_backend = small_flow
    size = model.options.image_height, model.options.image_width
    torch.manual_seed(1)
    batch = torch.rand(2, 2, model.options.block_size, 3, *size, dtype=torch.double) * 2 - 1
    batch = dict(zip(("source", "target"), batch, strict=True))
    model(**{name: batch[name] for name in model.inputs})
    found = {}
    for role, losses in (("D", model.discriminator_losses), ("G", model.generator_losses)):
        terms = losses()
        found |= {f"{role} {name}": term.value.detach() for name, term in terms.items()}
        total(terms).backward()
        found |= {f"{role} {network} {name}": parameter.grad for network, module in model.networks(role).items()
                  for name, parameter in module.named_parameters()}  # fmt: skip
        model.zero_grad(set_to_none=True)
    return {**found, **dict(model.named_buffers())}


@pytest.mark.parametrize(("model_type", "changes"), CASES, ids=[f"{m}-{'-'.join(map(str, c.values()))}"
                                                                 for m, c in CASES])  # fmt: skip
def test_a_step_with_checkpointing_is_the_same_step(model_type, changes, monkeypatch):
    monkeypatch.setattr(vgg19, "VGG19Features", lambda: lambda x: [x, x * x])
    given = {"perceptual_loss_weight": 0.0} if get_task(model_type) == "paired" else {}
    plain, ours = (one_step(model_type, {**given, **changes, "checkpointing": on}) for on in (False, True))
    assert plain.keys() == ours.keys() and len(plain) > 10
    for name, value in plain.items():
        assert value is ours[name] is None or torch.equal(value, ours[name]), name


@pytest.mark.parametrize("model_type", MODELS)
def test_what_our_networks_do_is_known(model_type):
    """No state of random numbers is read, for which a GPU would have to be waited for; calls may be split."""
    for name, network in build(model_type, {"perceptual_loss_weight": 0.0}).networks("G").items():
        walkers = [network] if "timecycles" not in name else [network.backward_model]
        assert all(judges_each_alone(one) and not recompute._may_draw(one) for one in walkers), name


@pytest.mark.parametrize("model_type", ["timecycle", "tricyclegan", "timecycledcgan", "cyclegan", "timerecycleganv2"])
def test_a_step_with_checkpointing_keeps_little(model_type):
    def made(on):
        weights = {"perceptual_loss_weight": 0.0} if model_type == "timecycle" else {}
        model = build(model_type, {"checkpointing": on, "block_size": 6, **weights})
        size = model.options.image_height, model.options.image_width
        batch = torch.rand(2, 1, 6, 3, *size, dtype=torch.double)
        batch = dict(zip(("source", "target"), batch, strict=True))
        return kept(lambda: model(**{name: batch[name] for name in model.inputs}))

    assert made(True) < made(False) / 4
    assert WEIGHTS["timecycle_loss_weight"] > 0  # so it walks


@pytest.mark.parametrize(("model_type", "kind"), [walk for walk in WALKS if FLOW not in model_class(walk[0]).parts])
def test_no_value_is_read_in_a_step_of_little_memory(model_type, kind):
    """On the meta device there is none; what a step draws comes with the batch."""
    model = build(model_type, {"timecycle_type": kind, "checkpointing": True, "max_return": 1, "bptt": 2,
                               "block_size": 5, "perceptual_loss_weight": 0.0})  # fmt: skip
    model.to("meta")
    drawn = model.draws(0, 0, [1])[0]
    assert ("returns" in drawn) == (kind != "pingpong")
    noise = {name: torch.empty(1, *shape) for name, shape in model.noise_shapes().items()}
    model.drawn = {name: value.to("meta") for name, value in {**noise, **drawn}.items()}
    size = model.options.image_height, model.options.image_width
    clip = torch.empty(1, 5, 3, *size, dtype=torch.double, device="meta")
    model(**dict.fromkeys(model.inputs, clip))
    for losses in (model.discriminator_losses, model.generator_losses):
        total(losses()).backward()


def test_a_step_returns_from_the_frames_that_were_drawn_for_it():
    model = build("timecycle", {"max_return": 2, "block_size": 7, "perceptual_loss_weight": 0.0})
    batch = dict.fromkeys(("source", "target"), torch.rand(1, 7, 3, 16, 18, dtype=torch.double) * 2 - 1)
    seen, known = [], model.draws(0, 3, [1])[0]
    assert known["returns"].tolist() == draw_returns(0, 3, 5, 2).tolist()
    model.make_optimizers()
    with mock.patch.object(timecycle, "walk", lambda *given: seen.append(given[-1]) or walk(*given)):
        for _ in range(2):
            model.training_step({**batch, "draws": [known]}, torch.amp.GradScaler(enabled=False))
    assert len(seen) == 2 and all(torch.equal(one, known["returns"]) for one in seen)


# ---- beside other GANs


class Host(SequentialMixin, nn.Module):
    pass


def test_a_recurrent_generator_and_a_walk_beside_a_gan_of_ones_own():
    found = []
    for on in (False, True):
        torch.manual_seed(0)
        host = Host(generator_checkpointing=on)
        generator, motion_model = (nn.Sequential(nn.Conv2d(6, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 3, 1))
                                   for _ in range(2))  # fmt: skip
        cycle = TimeCycle(motion_model, warp_weight=1.0, checkpointing=on)
        cycle.add_discriminator(nn.Conv2d(6, 1, 3))
        source = torch.rand(2, 4, 3, H, W)
        fake = host.generate_sequence(generator, source)
        cycle(fake, source, 1)
        cycle.set_discriminator_input(source, source, 1)
        cycle.discriminator_loss().backward()
        cycle.generator_loss().backward()
        found.append([p.grad for network in (generator, motion_model) for p in network.parameters()])
    assert all(map(torch.equal, *found))


def test_a_motion_model_in_plain_ddp(tmp_path):
    """Its second call, in the backward pass, must not prepare for the gradients again."""

    def on_a_rank(rank):
        found = []
        for on in (False, True):
            torch.manual_seed(0)
            motion_model = nn.parallel.DistributedDataParallel(nn.Conv2d(6, 3, 3, padding=1).double())
            cycle = TimeCycle(motion_model, checkpointing=on)
            torch.manual_seed(rank)
            clip, source = torch.rand(2, 1, 4, 3, 6, 6).double()
            cycle(clip, source)
            called = []
            motion_model.register_forward_pre_hook(lambda *_, called=called: called.append(1))
            cycle.generator_loss().backward()
            found.append([p.grad for p in motion_model.parameters()])
        return all(map(torch.equal, *found)), found[1][0].sum().item(), len(called)

    one, other = on_two_ranks(on_a_rank, tmp_path)
    assert one == other == (True, one[1], 0)
