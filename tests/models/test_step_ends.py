"""The tensors of a step end with it: models, hosts and cycles can be copied at any time, and hold no old graph."""
import copy
import gc
import weakref

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from tests.example_gans import EXAMPLES, example
from timecyclegan import SeqDMixin, TimeCycle, TimeCycleMixin, WarpLossMixin
from timecyclegan.models import MODELS, default_options, get_model, get_task, model_class

SIZE = 3, 16, 16


def build(model_type):
    size = {"image_height": 64, "image_width": 64} if get_task(model_type) == "unconditional" else {
        "image_height": 16, "image_width": 16, "generator_architecture": "resnet_1blocks",
        "discriminator_architecture": "1_layers"}  # fmt: skip
    left_out = ("perceptual_loss_weight", "recycle_loss_weight")
    uses = model_class(model_type).uses
    weights = {name: 1.0 for name in uses if name.endswith("_weight") and name not in left_out}
    model = get_model(model_type, default_options(
        model_type, generator_filters=2, discriminator_filters=2, timecycle_motion_model_filters=2,
        recycle_predictor_architecture="resnet_1blocks", recycle_predictor_filters=2, flow_backend="farneback",
        **size, **weights))  # fmt: skip
    model.make_optimizers()
    shape = 1, model.options.block_size, 3, model.options.image_height, model.options.image_width
    return model, {name: torch.rand(shape) * 2 - 1 for name in model.inputs}


def kept(thing):
    """What ``thing`` holds that has a history."""
    gc.collect()
    found, ahead, known = [], [thing], set()
    while ahead:
        one = ahead.pop()
        if id(one) in known or isinstance(one, (str, type)):
            continue
        known.add(id(one))
        if isinstance(one, torch.Tensor):
            found += [one] if one.grad_fn is not None else []
        elif isinstance(one, dict):
            ahead += one.values()
        elif isinstance(one, (list, tuple, set)):
            ahead += one
        elif type(one).__module__.startswith(("timecyclegan", "torch.nn", "tests", "test_")):
            ahead += vars(one).values() if hasattr(one, "__dict__") else ()
    return found


def independent(one, other):
    """Of no parameter in common."""
    return not {id(p) for p in one.parameters()} & {id(p) for p in other.parameters()}


@pytest.mark.parametrize("model_type", MODELS)
def test_models_can_be_copied_before_between_and_after_steps(model_type):
    torch.manual_seed(0)
    model, batch = build(model_type)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    twins = [copy.deepcopy(model)]
    model(**batch)
    model.discriminator_losses()
    twins.append(copy.deepcopy(model))
    model.training_step(batch, scaler)
    twins += [copy.deepcopy(model), AveragedModel(model).module]
    assert kept(model) == []
    state = copy.deepcopy(model.state_dict())
    for twin in twins:
        assert independent(model, twin)
        twin.make_optimizers()
        twin.training_step(batch, scaler)  # walks with its own motion model, judges with its own discriminators
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    # The copy of a model learns as the model would have.
    losses = []
    for one in (model, copy.deepcopy(model)):
        torch.manual_seed(1)
        losses.append(one.training_step(batch, scaler))
    assert losses[0] == losses[1]


def test_a_step_that_fails_leaves_nothing_either():
    model, batch = build("timecycle")
    batch["target"] = batch["target"] * float("nan")
    model.generator_losses = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        model.training_step(batch, torch.amp.GradScaler("cpu", enabled=False))
    assert kept(model) == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_can_be_copied_between_steps(name):
    one = example(name)
    thing = one.gan if hasattr(one.gan, "timecycles") else one.cycle
    copy.deepcopy(thing)
    one.make_step(one.batch())
    twin = copy.deepcopy(thing)
    cycles = [thing.timecycles["target"], twin.timecycles["target"]] if thing is not one.cycle else [thing, twin]
    assert independent(*cycles)
    before = copy.deepcopy(cycles[0].state_dict())
    with torch.no_grad():
        for parameter in cycles[1].parameters():
            parameter.add_(1)
    assert all(torch.equal(before[key], value) for key, value in cycles[0].state_dict().items())


class Host(nn.Module):
    def __init__(self):
        super().__init__()
        self.generator, self.discriminator = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 1, 3)


class Full(TimeCycleMixin, SeqDMixin, WarpLossMixin, Host):
    def __init__(self):
        super().__init__(timecycle_motion_model_filters=2)
        self.define_timecycle(6, 3)
        self.add_timecycle_discriminator(self.discriminator)
        self.define_seq_D(2, architecture="1_layers", filters=2)

    def walk(self, source):
        self.fake = self.generator(source.flatten(0, 1)).unflatten(0, source.shape[:2])
        self.timecycle_forward(self.fake, source)
        self.set_timecycle_discriminator_input(source)
        self.set_seq_D_input(self.fake, source)
        self.warp_forward(self.fake, source)
        self.losses = (self.timecycle_backward() + self.seq_D_backward() + self.warp_backward(),
                       self.timecycle_backward_D() + self.seq_D_backward_D())  # fmt: skip


def test_hosts_can_be_copied_amid_a_step_and_judge_by_themselves():
    torch.manual_seed(0)
    gan, source = Full(), torch.rand(1, 4, *SIZE) * 2 - 1
    gan.walk(source)
    twin = copy.deepcopy(gan)  # the host's own clip and losses have a history, too
    assert torch.equal(twin.fake, gan.fake) and twin.fake.grad_fn is None and independent(gan, twin)
    called = []
    for name, host in (("gan", gan), ("twin", twin)):
        host.discriminator.register_forward_hook(lambda *_, name=name: called.append(name))
        host.timecycles["target"].backward_model.register_forward_hook(lambda *_, name=name: called.append(name))
    twin.walk(source)
    assert set(called) == {"twin"}
    with pytest.raises(ValueError, match="walk first"):
        copy.deepcopy(gan).timecycle_backward()


class Slotted:
    __slots__ = ("__dict__", "kept")

    def __init__(self):
        self.kept, self.own = [1], {}
        self.own["self"] = self.own


class Tagged(TimeCycleMixin, Slotted):
    def __deepcopy__(self, memo):
        twin = super().__deepcopy__(memo)
        twin.tag = "copied"
        return twin


def test_hosts_of_odd_kinds_can_be_copied():
    """With slots, a container that holds itself, and a way to be copied of its own, before the mixin or behind it."""
    class Own(nn.Module):
        def __deepcopy__(self, memo):
            return "its own way"

    gan = Tagged()
    gan.own["fake"] = torch.ones(1, requires_grad=True) * 2
    twin = copy.deepcopy(gan)
    assert twin.tag == "copied" and twin.kept == [1] and twin.kept is not gan.kept
    assert twin.own["self"] is twin.own and twin.own["fake"].grad_fn is None
    assert copy.deepcopy(type("Host", (TimeCycleMixin, Own), {})()) == "its own way"


def test_the_walk_is_let_go_when_its_losses_were_back_propagated():
    gan, source = Full(), torch.rand(1, 4, *SIZE) * 2 - 1
    gan.walk(source)
    walk = weakref.ref(gan.timecycles["target"].cycle)
    predictions = weakref.ref(gan.timecycles["target"].cycle.predictions)
    gan.losses[0].backward()
    assert walk() is not None  # the discriminators' losses may still be asked for
    gan.losses[1].backward()
    del gan.losses
    gc.collect()
    assert walk() is None and predictions() is None
    for part in (gan.timecycles["target"].step, gan.seq_Ds["target"].step, gan._warp_step):
        assert not hasattr(part, "sequence") and not hasattr(part, "fake") and not hasattr(part, "terms")
    assert gan.timecycle_losses().keys() == {f"timecycle_{name}target" for name in ("", "gan_", "discriminator_")}
    with pytest.raises(ValueError, match="walk first"):
        gan.timecycle_backward()


def test_losses_that_nobody_back_propagates_leave_no_cycle_of_references():
    """Of the graph and the tensors that hang on it: the collector does not see into graphs."""
    cycle, source = TimeCycle(nn.Conv2d(6, 3, 3, padding=1)), torch.rand(1, 4, *SIZE)
    cycle(source.requires_grad_(True), source)
    cycle.generator_loss()
    predictions = weakref.ref(cycle.cycle.predictions)
    cycle(source, source)
    gc.collect()
    assert predictions() is None


def test_two_backward_passes_hold_no_graph_while_the_next_is_built():
    """The route of ``examples/pix2pix_style.py``."""
    one = example("pix2pix_style")
    one.make_step(one.batch())
    assert one.gan.timecycles["target"].cycle is None and kept(one.gan.timecycles["target"]) == []
