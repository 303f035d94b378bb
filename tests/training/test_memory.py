"""What a step holds, counted without computing it: against tensors of known sizes, and a step that was computed."""
import contextlib
import dataclasses

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from timecyclegan.models import default_options, get_model, model_class
from timecyclegan.models.parts import FLOW
from timecyclegan.training.memory import Held, footprint

SMALL = {"generator_filters": 2, "discriminator_filters": 2, "timecycle_motion_model_filters": 2, "image_height": 64,
         "image_width": 64, "recycle_predictor_filters": 2, "timecycle_loss_weight": 1.0}  # fmt: skip


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_tensors_are_counted_while_they_are_there(device):
    with Held() as held:
        one = torch.empty(1000, dtype=torch.double, device=device)
        view, other = one[10:].view(9, 110), one.float()
        assert (held.now, held.most) == (12000, 12000)
        del one
        assert held.now == 12000  # the view needs it
        del view
        other.add_(1)
        assert (held.now, held.most) == (4000, 12000)
        total = (other * other).sum()  # the product is there beside it for a moment
        assert held.now == 4004 and held.most == 12000 and total.dim() == 0


def measured(options):
    """The same of the second step that is computed here."""
    model = get_model(options.model_type, options)
    model.make_optimizers()
    size = options.image_height, options.image_width
    samples = [options.batch_size] * options.accumulate
    clip = torch.rand(sum(samples), model.options.block_size, 3, *size) * 2 - 1
    scaler, noise = torch.amp.GradScaler(enabled=False), {}
    for name, shape in model.noise_shapes().items():
        noise[name] = torch.randn(sum(samples), *shape)
    batch = {**dict.fromkeys(model.inputs, clip), "noise": noise, "draws": model.draws(0, 0, samples)}
    how = {"amp": None if options.amp == "off" else getattr(torch, options.amp),
           "parts": [[count] for count in samples] if len(samples) > 1 else None}  # fmt: skip
    with FlopCounterMode(display=False) if options.gan_mode != "wgangp" else contextlib.nullcontext() as counter:
        model.training_step(batch, scaler, **how)
    with Held() as held:
        for optimizer in model.optimizers.values():
            for parameter, state in optimizer.state.items():
                for tensor in (parameter, parameter.grad, state["exp_avg"], state["exp_avg_sq"]):
                    held.add(tensor)
        for tensor in (clip, *noise.values()):
            held.add(tensor)
        model.training_step(batch, scaler, **how)
    return held.most, counter.get_total_flops() if counter else held.flops


@pytest.mark.parametrize("options", [
    default_options("seqdcgan", **SMALL, batch_size=2, checkpointing=True), default_options("seqdcgan", **SMALL),
    default_options("dcgan", **{**SMALL, "gan_mode": "wgangp"}, block_size=2),
])  # fmt: skip
def test_a_step_that_is_computed_holds_as_much(options):
    """Of networks without a layer that does otherwise on a CPU."""
    counted, (memory, flops) = footprint(options), measured(options)
    assert counted.flops == flops
    assert counted.memory == pytest.approx(memory, rel=0.03)


@pytest.mark.parametrize(("given", "tolerance"), [
    ({"accumulate": 3}, 0.05), ({"amp": "bfloat16"}, 0.25), ({"amp": "bfloat16", "checkpointing": True}, 0.25),
])  # fmt: skip
def test_parts_and_mixed_precision_hold_as_much(given, tolerance):
    """What computes in which precision differs from device to device."""
    options = default_options("timecycle", **{**SMALL, "block_size": 3, "generator_filters": 8, **given})
    assert footprint(options).memory == pytest.approx(measured(options)[0], rel=tolerance)
    if given == {"amp": "bfloat16"}:
        assert footprint(options).memory < 0.8 * footprint(dataclasses.replace(options, amp="off")).memory


@pytest.mark.parametrize("model_type", ["pix2pix", "cyclegan", "timerecyclegan", "timecyclep2", "vid2vid"])
def test_models_of_every_kind_are_counted(model_type):
    given = {"flow_backend": "farneback", "warp_loss_weight": 1.0} if FLOW in model_class(model_type).parts else {}
    block = {} if model_type == "cyclegan" else {"block_size": 3}
    found = footprint(default_options(model_type, **{**SMALL, **given, **block, "checkpointing": True}))
    assert found.memory > 1e6 and found.flops > 1e6


def test_what_the_switches_take():
    plain, light = (footprint(default_options("timecycle", **SMALL, block_size=5, checkpointing=on))
                    for on in (False, True))  # fmt: skip
    assert light.memory < plain.memory / 1.5 and plain.flops < light.flops < 4 / 3 * plain.flops
