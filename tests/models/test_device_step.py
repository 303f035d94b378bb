"""A training step is the device's work alone: it reads nothing, draws nothing, and can be recorded and repeated."""
import copy

import pytest
import torch

from tests.models.test_first_step import SmallFeatures
from tests.recorder import recorder
from tests.training.helpers import small
from timecyclegan.models import MODELS, get_model, get_task, model_class
from timecyclegan.models.networks import vgg19
from timecyclegan.util import cuda_graph
from timecyclegan.util.cuda_graph import CapturedFunction
from timecyclegan.util.options import Options

TYPES = [model_type for model_type in MODELS if get_task(model_type) != "other"]
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _small_features(monkeypatch):
    monkeypatch.setattr(vgg19, "VGG19Features", SmallFeatures)


def build(model_type, **changes):
    """With every loss that it knows, and flow that comes with the batch."""
    if "perceptual_loss_weight" in model_class(model_type).uses:
        changes |= {"perceptual_loss_weight": 2.0, "image_height": 16}
    torch.manual_seed(0)
    return get_model(model_type, Options(**small(model_type, flow_cache="there", **changes)))


def tensors(model, step, samples=2):
    """A batch, with all that chance decides."""
    generator, options = torch.Generator().manual_seed(step), model.options
    video = samples, options.block_size, 3, options.image_height, options.image_width
    made = {}
    for name in model.inputs:
        stride = int(name.split("_")[1]) if "_" in name else 0
        channels = {"flow": 2, "confidence": 1}.get(name.split("_")[0], 3)
        drawn = torch.rand(samples, video[1] - stride, channels, *video[3:], generator=generator)
        made[name] = drawn if channels == 1 else drawn * 2 - 1
    noise = {name: torch.randn(samples, *shape, generator=generator) for name, shape in model.noise_shapes().items()}
    return made | {f"noise/{name}": drawn for name, drawn in (noise | model.draws(7, step, [samples])[0]).items()}


def step_of(model, amp=None):
    model.make_optimizers()
    cuda = next(model.parameters()).is_cuda
    scaler = torch.amp.GradScaler("cuda" if cuda else "cpu", enabled=amp == torch.float16)

    def step(**given):
        noise = {name.removeprefix("noise/"): drawn for name, drawn in given.items() if name.startswith("noise/")}
        return model.training_step({**given, "noise": noise}, scaler, amp)

    return step


@pytest.mark.parametrize("gan_mode", ["lsgan", "wgangp"])
@pytest.mark.parametrize("model_type", TYPES)
def test_a_step_has_no_need_of_values(model_type, gan_mode):
    """On the meta device there are none."""
    model = build(model_type, gan_mode=gan_mode)
    batch = {name: value.to("meta") for name, value in tensors(model, 0).items()}
    with torch.device("meta"):
        losses = step_of(model.to("meta"))(**batch)
    assert losses.keys() >= {"Generator/total", "Discriminator/total"}
    assert all(value.is_meta for value in losses.values())


@pytest.mark.parametrize(("model_type", "amp"), [
    *((model_type, None) for model_type in TYPES),
    *((model_type, amp) for model_type in ("timecyclep2", "tricyclegan") for amp in (torch.bfloat16, torch.float16)),
])  # fmt: skip
def test_a_recorded_step_goes_on_as_the_step_would(model_type, amp, monkeypatch):
    """Other batches, other noise, a pool that fills: nothing of the step that was recorded is in the later ones."""
    monkeypatch.setattr(cuda_graph, "WARM_UPS", 1)
    model = build(model_type)
    twin = copy.deepcopy(model)
    plain, captured = step_of(twin, amp), CapturedFunction(step_of(model, amp), CPU, "a step", recorder)
    for step in range(4):
        expected, found = plain(**tensors(twin, step)), captured(**tensors(model, step))
        assert {name: value.item() for name, value in found.items()} == pytest.approx(
            {name: value.item() for name, value in expected.items()}, rel=0, abs=0, nan_ok=True), step
    assert captured._recorded
    for (name, one), other in zip(model.state_dict().items(), twin.state_dict().values(), strict=True):
        assert torch.equal(one, other), name


@pytest.mark.parametrize("amp", [None, torch.float16])
def test_a_step_that_cannot_be_recorded_goes_on_as_it_is(monkeypatch, amp):
    """It fails amid the generator's losses, when the discriminators' optimizer was stepped."""
    monkeypatch.setattr(cuda_graph, "WARM_UPS", 1)
    model = build("timecycle")

    def broken():
        raise RuntimeError("operation not permitted when stream is capturing")

    def failing(call):
        with monkeypatch.context() as patch:
            patch.setattr(model, "generator_losses", broken)
            return recorder(call)

    step = CapturedFunction(step_of(model, amp), CPU, "a step", failing)
    for number in range(4):
        losses = step(**tensors(model, number))
        assert losses["Generator/l1"].isfinite() and not step._recorded
    assert not vars(model.optimizers["D"]).get("found_inf")
