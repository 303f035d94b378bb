"""Options that do nothing are noted, and no others: training with and without them is the oracle."""
import dataclasses

import pytest
import torch
from torch import nn

from tests.training.helpers import TINY, same
from timecyclegan.models import MODELS, PRESETS, default_options, get_model
from timecyclegan.models.notes import growing_gradients, idle_in_testing, idle_options, missing_losses
from timecyclegan.util.options import DiscriminatorOptions, LossOptions, Options, TimeCycleOptions

OTHER = {  # a value that is not the default
    "n_frames_generator": 2, "upsample": "resize", "discriminator_architecture": "1_layers", "discriminator_filters": 3,
    "n_frames_discriminator": 3, "discriminator_temporal_scales": 2, "gan_mode": "vanilla", "flow_backend": "dis",
    "recycle_predictor_architecture": "resnet_2blocks", "recycle_predictor_filters": 3, "recycle_predictor_gan": True,
    "pool_size": 1, "timecycle_loss": "l2", "timecycle_sharpness": 1.0,
    "timecycle_motion_model_architecture": "resnet_2blocks",
    "timecycle_motion_model_filters": 3, "timecycle_motion_model_residual": False,
    "timecycle_separate_motion_models": True, "timecycle_type": "unconditional", "max_return": 2, "bptt": 2,
    **{field.name: 0.5 if field.default else 1.0
       for concern in (LossOptions, TimeCycleOptions) for field in dataclasses.fields(concern)
       if field.name.endswith("_weight") and field.name != "perceptual_loss_weight"},
}  # fmt: skip
NEED_FILES = {"flow_weights", "flow_cache", "perceptual_loss_weight"}


def weights(model):
    return {name: {k: v.clone() for k, v in net.state_dict().items()} for name, net in model.networks().items()}


def outcome(model_type, **changes):
    """All that training begins with, a step of it, and where that leads."""
    given = {**TINY, "l1_loss_weight": 0.0, "recycle_predictor_architecture": "resnet_1blocks", "block_size": 6,
             "recycle_predictor_filters": 2, "flow_backend": "farneback", "n_frames_discriminator": 2,
             **changes}  # fmt: skip
    options = default_options(model_type, **given)
    torch.manual_seed(2)
    model = get_model(model_type, options)
    model.make_optimizers()
    start = weights(model)
    smooth = nn.functional.interpolate(torch.rand(1, 18, 3, 5), (12, 20), mode="bilinear").unflatten(1, (6, 3)) * 2 - 1
    batch = dict.fromkeys(("source", "target"), smooth[:, : options.block_size])
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    return options, (start, model.training_step(batch, scaler), weights(model))


@pytest.mark.parametrize(("model_type", "base", "options"), [
    ("timecycle", {}, ""), ("timecycle", {"timecycle_loss_weight": 1.0}, "timecycle_"),
    ("timecyclep2", {"timecycle_loss_weight": 1.0, "timecycle_type": "pingpong"}, "timecycle_"),
    ("timecycle", {"timecycle_loss_weight": 1.0}, ("max_return", "bptt")),
    ("timecycle", {"timecycle_loss_weight": 1.0, "timecycle_type": "pingpong"}, "max_return"),
    ("timecycle", {"timecycle_loss_weight": 1.0, "block_size": 4}, "max_return"),
    ("timecycle", {"block_size": 2, "discriminator_temporal_scales": 0}, "bptt"),
    ("timecyclep2", {"warp_loss_weight": 1.0}, "flow_"), ("vid2vid", {"discriminator_temporal_scales": 0}, ""),
    ("cyclegan", {}, ""),
    ("timerecyclegan", {"timecycle_type": "timerecycle", "timecycle_warp_loss_weight": 1.0}, "timecycle_"),
])  # fmt: skip
def test_what_changes_nothing_is_noted_and_nothing_else(model_type, base, options):
    """Of the options whose names begin like that."""
    _, plain = outcome(model_type, **base)
    noted, idle = set(), set()
    tried = {name: value for name, value in OTHER.items() if base.get(name) != value and name.startswith(options)}
    if base.get("discriminator_temporal_scales") == 0:
        tried.pop("discriminator_temporal_scales", None)  # contradicts what is asked
    for name, value in tried.items():
        chosen, changed = outcome(model_type, **{**base, name: value})
        flag = f"--{'no-' if value is False else ''}{name}"
        noted |= {name for line in idle_options(chosen, {name}) if line.startswith(f"{flag} has no effect ")}
        idle |= {name} if same(plain, changed) else set()
    assert noted == idle


def test_every_option_of_the_kind_is_tried():
    names = {field.name for concern in (DiscriminatorOptions, LossOptions, TimeCycleOptions)
             for field in dataclasses.fields(concern)}  # fmt: skip
    assert names - OTHER.keys() == NEED_FILES


@pytest.mark.parametrize(("given", "noted"), [
    ({"generator_architecture": "unet_128", "upsample": "resize"}, ["--upsample", "--generator_architecture unet_128"]),
    ({"timecycle_type": "unconditional"}, ["--timecycle_type", "--timecycle_loss_weight 0"]),
    ({"source_pixels": "flow", "flip": False}, ["--source_pixels", "--no-flip"]),
    ({"model_type": "timecyclep2", "flow_cache": "kept"}, ["--flow_cache", "no loss that asks for flow"]),
    ({"model_type": "dcgan", "source_pixels": "labels"}, ["--source_pixels", "reads no source"]),
])  # fmt: skip
def test_a_note_names_the_option_and_why(given, noted):
    (line,) = idle_options(default_options(**given), given)
    assert all(text in line for text in noted)


def lacks(**given):
    lines = missing_losses(default_options(**given), given)
    assert len(lines) < 2
    return lines[0] if lines else ""


def test_a_model_without_its_losses_says_so():
    """The default model type is trained without TimeCycle and L1 unless their weights are given."""
    line = lacks()
    assert "--model_type timecycle is trained without these losses: TimeCycle, L1 (" in line
    assert "--timecycle_loss_weight, --l1_loss_weight: 0" in line and "--preset p has weights that work" in line
    assert "TimeCycle (--timecycle" in lacks(l1_loss_weight=20.0)
    assert lacks(timecycle_loss_weight=1.0) == lacks(timecycle_warp_loss_weight=1.0) == ""
    assert lacks(l1_loss_weight=20.0, timecycle_loss_weight=0.0) == ""  # as it was asked
    line = lacks(model_type="timecyclep2", timecycle_loss_weight=1.0)
    assert "losses: warp (" in line and "--preset p++" in line
    assert "warp (--warp" in lacks(model_type="vid2vid", l1_loss_weight=1.0, discriminator_temporal_scales=0)
    assert lacks(model_type="timecyclevid2vid", timecycle_loss_weight=1.0) == ""  # it may learn to warp from TimeCycle
    assert "cycle (--cycle_loss_weight: 0); there is no preset" in lacks(model_type="cyclegan")
    assert lacks(model_type="recyclegan", recycle_loss_weight=1.0) == lacks(model_type="dcgan") == ""


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_switches_on_what_its_model_lacks(preset):
    assert f"--preset {preset} " in lacks(model_type=PRESETS[preset]["model_type"])
    assert missing_losses(default_options(preset=preset), ()) == []


@pytest.mark.parametrize(("changes", "noted"), [
    ({"block_size": 5}, False), ({"block_size": 9}, True),
    ({"block_size": 9, "timecycle_motion_model_residual": True}, False),
    ({"block_size": 9, "timecycle_loss_weight": 0.0}, False),
    ({"block_size": 9, "timecycle_motion_model_residual": True, "timecycle_type": "pingpong"}, True),
])  # fmt: skip
def test_gradients_that_grow_are_said(changes, noted):
    assert bool(growing_gradients(default_options(preset="p", **changes))) is noted
    assert growing_gradients(default_options("pix2pix", block_size=9)) == []


def test_what_testing_does_not_do():
    def noted(given, model_type="timecycle", metrics=False, video=False, saved=True):
        lines = idle_in_testing(Options(**{"model_type": model_type} | given.get("train", {})),
                                [*given.get("train", ()), *given.get("test", ())], metrics, video, saved)  # fmt: skip
        return {line.split()[0] for line in lines}

    measured = {"test": ("fid_dims", "also", "fps", "test_seed")}
    assert noted(measured) == {"--fid_dims", "--also"} and noted(measured, metrics=True) == set()
    assert noted(measured, "pix2pix", metrics=True) == {"--test_seed"}
    assert noted({"test": ("test_seed", "threads", "fps")}, video=True) == {"--threads", "--fps"}
    trained = {"train": {"l1_loss_weight": 1.0, "generator_architecture": "unet_128", "upsample": "resize"}}
    assert noted(trained, "pix2pix", saved=False) == {"--l1_loss_weight", "--upsample"} and noted(trained) == set()
    flow = {"train": {"generator_filters": 3, "flow_backend": "dis"}, "test": ("test_seed", "fps", "save_flow")}
    assert noted(flow, "flownet", saved=False) == {"--generator_filters", "--test_seed"}


def test_all_models_answer():
    for model_type in (*MODELS, "flownet"):
        assert idle_options(Options(model_type=model_type), ()) == []
