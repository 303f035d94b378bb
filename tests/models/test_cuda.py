"""A training step on a GPU, kernel by kernel and captured; needs CUDA, ``pytest -m gpu`` (see ``tests.gpu``)."""
import copy

import pytest
import torch

from tests.gpu import CUDA, DEVICE, RECORDER, ahead, exactly, reading_nothing
from tests.models.test_device_step import TYPES, build, step_of, tensors
from tests.models.test_first_step import SmallFeatures
from timecyclegan.models.networks import vgg19
from timecyclegan.util.cuda_graph import WARM_UPS, CapturedFunction

pytestmark = pytest.mark.gpu
HALVES = [(model_type, amp) for model_type in ("timecyclep2", "tricyclegan", "timecycledcgan")
          for amp in (torch.bfloat16, torch.float16)]  # fmt: skip


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    monkeypatch.setattr(vgg19, "VGG19Features", SmallFeatures)
    with exactly(warn_only=True):
        yield


def values(losses):
    return {name: value.item() for name, value in losses.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("model_type", TYPES)
def test_a_step_is_that_of_the_cpu(model_type, dtype):
    model = build(model_type).to(dtype)
    twin = copy.deepcopy(model).to(DEVICE)
    ours, theirs = step_of(model), step_of(twin)
    # Adam's first update is the sign of a gradient, which rounding decides where the true one is 0. Such parameters
    # change no loss, but in float32 they are not the only ones whose gradient is small.
    steps, near = (1, {"rel": 2e-3, "abs": 2e-4}) if dtype == torch.float32 else (3, {"rel": 1e-5, "abs": 1e-7})
    for step in range(steps):
        batches = ({name: value.to(dtype) if value.is_floating_point() else value
                    for name, value in tensors(one, step).items()} for one in (model, twin))  # fmt: skip
        expected, found = (values(call(**batch)) for call, batch in zip((ours, theirs), batches, strict=True))
        assert found == pytest.approx(expected, **near), step


@pytest.mark.parametrize(("model_type", "amp"), HALVES)
def test_mixed_precision(model_type, amp):
    model = build(model_type)
    twin = copy.deepcopy(model).to(DEVICE)
    expected, found = values(step_of(model)(**tensors(model, 0))), values(step_of(twin, amp)(**tensors(twin, 0)))
    # The discriminators' terms come before any update; the generators' after one, which float16 may have left out.
    for name, value in expected.items():
        if not name.endswith("/total"):
            assert found[name] == pytest.approx(value, rel=0.03 if name.startswith("D") else 0.2, abs=0.02), name


@pytest.mark.parametrize(("model_type", "amp"), [*((model_type, None) for model_type in TYPES), *HALVES])
def test_a_captured_step_goes_on_as_the_eager_one(model_type, amp):
    """Other batches, pools that fill, a smaller batch in between, another learning rate."""
    model = build(model_type).to(DEVICE)
    twin = copy.deepcopy(model)
    eager, captured = step_of(twin, amp), CapturedFunction(step_of(model, amp), DEVICE, "a step", RECORDER)
    for step in range(WARM_UPS + 6):
        if CUDA and step == WARM_UPS + 3:  # on a CPU the rate is a number, which is recorded
            for one in (model, twin):
                one.set_learning_rate(5e-5)
        samples = 1 if step == WARM_UPS + 2 else 2
        expected = values(eager(**tensors(twin, step, samples)))
        found = values(captured(**ahead(tensors(model, step, samples))))
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-9, nan_ok=True), step
    assert len(captured._recorded) == 1
    for (name, one), other in zip(model.state_dict().items(), twin.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7, msg=name)


@pytest.mark.parametrize(("model_type", "amp"), [*((model_type, None) for model_type in TYPES), *HALVES])
def test_a_step_waits_for_nothing(model_type, amp):
    model = build(model_type).to(DEVICE)
    step, batches = step_of(model, amp), [ahead(tensors(model, number)) for number in range(2)]
    step(**batches[0])  # libraries begin with this one
    with reading_nothing():
        losses = step(**batches[1])
    assert losses["Generator/total"].device == DEVICE


def test_a_captured_step_leaves_a_bad_update_out():
    model = build("timecycle").to(DEVICE)
    captured = CapturedFunction(step_of(model), DEVICE, "a step", RECORDER)
    for step in range(WARM_UPS + 2):
        captured(**ahead(tensors(model, step)))
    before = copy.deepcopy(model.state_dict())
    moments = {role: copy.deepcopy(optimizer.state_dict()["state"]) for role, optimizer in model.optimizers.items()}
    bad = tensors(model, step + 1)
    bad["target"][0, 1, 0, 3, 4] = float("nan")
    found = values(captured(**ahead(bad)))
    assert found["Generator/l1"] != found["Generator/l1"] and found["Generator/total"] != found["Generator/total"]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    for role, optimizer in model.optimizers.items():
        for number, state in optimizer.state_dict()["state"].items():
            assert all(torch.equal(moments[role][number][name], value) for name, value in state.items()), role
    assert all(value == value for value in values(captured(**ahead(tensors(model, step + 2)))).values())
    assert any(not torch.equal(before[name], value) for name, value in model.state_dict().items())
