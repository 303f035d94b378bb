"""What a step asks of the device: compiled networks, casts of the weights."""
import collections
import copy

import pytest
import torch
from torch import nn
from torch._dynamo.backends.registry import lookup_backend
from torch.utils._python_dispatch import TorchDispatchMode

from tests.models.test_step_ends import build
from timecyclegan.models import check, default_options
from timecyclegan.models.networks import compile_networks, define_motion_model
from timecyclegan.util.errors import UserError

SCALER = torch.amp.GradScaler("cpu", enabled=False)


# ---- --compile


def compiling(model):
    """Let it be compiled, each graph as a whole, for autograd but for no machine; returns the list of what was."""
    graphs, aot_eager = [], lookup_backend("aot_eager")

    def backend(graph, examples):
        graphs.append(graph)
        return aot_eager(graph, examples)

    compile_networks(model, backend)
    graphs.clear()  # that of the trial
    return graphs


def losses_and_gradients(model, batch):
    """Of both sides, before any update."""
    torch.manual_seed(1)
    model(**batch)
    found = {}
    for role, losses in (("D", model.discriminator_losses), ("G", model.generator_losses)):
        terms = losses()
        found |= {f"{role}/{name}": term.value.detach() for name, term in terms.items()}
        model.zero_grad()
        sum(term.weight * term.value for term in terms.values()).backward()
        found |= {f"{role}/{name}": p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.end_step()
    return found


@pytest.mark.parametrize("model_type", [
    "seqpix2pix", *(pytest.param(name, marks=pytest.mark.slow)
                    for name in ("timecycle", "tricyclegan", "timecycledcgan", "timecyclevid2vid")),
])  # fmt: skip
def test_a_compiled_step_is_the_eager_one(model_type):
    torch.manual_seed(0)
    model, batch = build(model_type)
    model, batch = model.double(), {name: video.double() for name, video in batch.items()}
    twin, names = copy.deepcopy(model), list(model.state_dict())
    graphs = compiling(model)
    expected, found = losses_and_gradients(twin, batch), losses_and_gradients(model, batch)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-9)
    networks = len(model.networks())
    assert networks <= len(graphs) <= 5 * networks  # by which gradients are asked for, not by number of pictures
    assert list(model.state_dict()) == names
    twin.load_state_dict(model.state_dict())


@pytest.mark.slow
def test_numbers_of_pictures_are_not_compiled_one_by_one():
    """A picture alone is one graph; others come with the second number of pictures, and where PyTorch changes its way
    of computing a convolution; then there are no more, however many pictures there are."""
    torch.manual_seed(0)
    network = define_motion_model("resnet_1blocks", 6, 3, 2)
    graphs, counts = compiling(nn.ModuleList([network])), []
    for pictures in (*range(1, 9), 40, 20, 31, 57):
        network(torch.rand(pictures, 6, 16, 16)).sum().backward()
        counts.append(len(graphs))
    assert counts[0] == 1 and counts[2] == counts[7] and counts[8] == counts[-1] <= 4


def test_second_derivatives_are_refused_before_anything_is_built():
    options = default_options("timecycle", compile=True, gan_mode="wgangp")
    with pytest.raises(UserError, match=r"^--compile does not go with --gan_mode wgangp: [^\n]*$"):
        check(options)


def test_a_machine_that_cannot_compile_says_so():
    def backend(graph, examples):
        raise RuntimeError("no compiler\nat all")

    model, _ = build("timecycle")
    with pytest.raises(UserError, match=r"^--compile cannot compile here \([^\n]*\): [^\n]*$"):
        compile_networks(model, backend)


# ---- mixed precision


class Casts(TorchDispatchMode):
    """Counts, by name, how often the parameters of a model are cast."""

    def __init__(self, model):
        super().__init__()
        self.names = {p.data_ptr(): name for name, p in model.named_parameters()}
        self.counts = collections.Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten._to_copy.default and args[0].data_ptr() in self.names:
            self.counts[self.names[args[0].data_ptr()]] += 1
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("model_type", ["timecycle", "tricyclegan", "timecycledcgan"])
def test_weights_are_not_cast_for_every_call(model_type):
    """Once for what is generated and once for the losses of each side: between these a discriminator is updated."""
    torch.manual_seed(0)
    model, batch = build(model_type)
    model.make_optimizers()
    with Casts(model) as casts:
        model.training_step(batch, SCALER, torch.bfloat16)
    weights = {name for name, _ in model.named_parameters() if name.endswith("weight")}
    assert len(casts.counts.keys() & weights) > 0.6 * len(weights)
    assert max(casts.counts.values()) <= 2
