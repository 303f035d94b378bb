"""A training step on a GPU is that of the CPU; needs CUDA, run with ``pytest -m gpu``."""
import copy

import pytest
import torch

from tests.models.test_step_ends import build
from timecyclegan.models import MODELS

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """Float32 as it is, not as TF32."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)


def trained(model, batch, steps=2):
    model.make_optimizers()
    torch.manual_seed(1)
    scaler = torch.amp.GradScaler(next(model.parameters()).device.type, enabled=False)
    return [model.training_step(batch, scaler) for _ in range(steps)]


@pytest.mark.parametrize("model_type", MODELS)
def test_a_step_is_that_of_the_cpu(model_type):
    torch.manual_seed(0)
    model, batch = build(model_type)
    twin = copy.deepcopy(model).cuda()
    ours, theirs = trained(model, batch), trained(twin, batch)
    # Adam's first update is the gradient's sign: where a gradient is rounding alone, the two go different ways.
    for one, other, tolerance in zip(ours, theirs, (2e-3, 5e-2), strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            assert other[name] == pytest.approx(value, rel=tolerance, abs=2e-4), name
    assert copy.deepcopy(twin).training_step(batch, torch.amp.GradScaler("cuda", enabled=False))


@pytest.mark.parametrize("amp", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("model_type", ["timecycle", "tricyclegan", "timecycledcgan"])
def test_mixed_precision(model_type, amp):
    torch.manual_seed(0)
    model, batch = build(model_type)
    twin = copy.deepcopy(model).cuda()
    twin.make_optimizers()
    scaler = torch.amp.GradScaler("cuda", enabled=amp == torch.float16)
    torch.manual_seed(1)
    (expected,) = trained(model, batch, steps=1)
    torch.manual_seed(1)
    found = twin.training_step(batch, scaler, amp)
    # The first updates of float16 may be skipped until the scale fits, and the generator's loss comes after one.
    assert found["Discriminator/total"] == pytest.approx(expected["Discriminator/total"], rel=0.02)
    assert found["Generator/total"] == pytest.approx(expected["Generator/total"], rel=0.2)
