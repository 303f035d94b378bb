"""What has weight 0 is neither built nor run, for every model; what has weight is."""
import pytest
import torch

from tests.models.test_first_step import TYPES, SmallFeatures
from timecyclegan.models import MODELS, default_options, get_model, get_task, model_class
from timecyclegan.models.networks import vgg19
from timecyclegan.util.options import Options

# need VGG19's features, or optical flow
EXPENSIVE = {"perceptual_loss_weight", "warp_loss_weight", "flow_loss_weight", "mask_loss_weight"}
JUDGE_SEQUENCES = TYPES.keys() - {"timecyclevid2vid"}  # vid2vid's sequence discriminators need flow: left out here
TERMS = {  # weight: the losses that it weighs
    "l1_loss_weight": ["l1"], "feature_matching_loss_weight": ["feature_matching", "feature_matching_sequence_0"],
    "perceptual_loss_weight": ["perceptual"], "warp_loss_weight": ["warp"], "recycle_loss_weight": ["recycle",
    "predictor"], "timecycle_loss_weight": ["timecycle", "timecycle_gan", "timecycle_discriminator"],
    "timecycle_warp_loss_weight": ["timecycle_warp", "timecycle_gan", "timecycle_discriminator"],
    "flow_loss_weight": ["flow", "flow_warp"], "mask_loss_weight": ["mask"],
}  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_expensive(monkeypatch):
    def forbidden(*_):
        raise AssertionError("computed although it has weight 0")

    monkeypatch.setattr(vgg19, "VGG19Features", forbidden)
    monkeypatch.setattr("timecyclegan.models.mixins.warp_loss_mixin.WarpLossMixin._flow_of", forbidden)


def build(model_type, training=True, **changes):
    small = {"generator_filters": 2, "discriminator_filters": 2, "timecycle_motion_model_filters": 2,
             "recycle_predictor_architecture": "resnet_1blocks", "recycle_predictor_filters": 2}  # fmt: skip
    if get_task(model_type) == "unconditional":
        small |= {"image_height": 64, "image_width": 64}
    else:
        small |= {"image_height": 16, "image_width": 18, "generator_architecture": "resnet_1blocks",
                  "discriminator_architecture": "1_layers"}  # fmt: skip
    if "vid2vid" in model_type:
        small["discriminator_temporal_scales"] = 0
    return get_model(model_type, default_options(model_type, **small | changes), training)


def run(model):
    """One forward pass and both losses: the losses' names, and how often each network was called."""
    calls = dict.fromkeys(model.networks(), 0)

    def count(name):
        def hook(*_):
            calls[name] += 1

        return hook

    for name, network in model.networks().items():
        next(m for m in network.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.ConvTranspose2d))) \
            .register_forward_hook(count(name))  # fmt: skip
    size = 3, model.options.image_height, model.options.image_width
    model(**{name: torch.rand(1, model.options.block_size, *size) for name in model.inputs})
    return set(model.discriminator_losses()), set(model.generator_losses()), calls


def in_domains(model, *names):
    """What losses or networks are called that every domain has."""
    return {model.name_in(domain, name) for name in names for domain in model.domains}


@pytest.mark.parametrize("model_type", MODELS)
def test_without_weights_there_is_the_plain_gan(model_type):
    """Whoever generates makes each frame once; whoever judges sees real and generated frames at once, then generated
    ones again."""
    model = build(model_type)
    losses_D, losses_G, calls = run(model)
    sequences = ["_sequence_0"] if model_type in JUDGE_SEQUENCES else []
    assert losses_D == losses_G == in_domains(model, "gan", *(f"gan{name}" for name in sequences))
    length, recycles = model.options.block_size, "recycle" in model_type
    expected = dict.fromkeys(in_domains(model, "generator"), 1)
    if model.recurrent:
        expected = dict.fromkeys(expected, length - 1 if model_type == "seqrecyclegan" else length)
    expected |= dict.fromkeys(in_domains(model, "discriminator"), 2)
    expected |= dict.fromkeys(in_domains(model, "sequence_discriminator_0") if sequences else (), 2)
    expected |= dict.fromkeys(in_domains(model, "predictor") if recycles else (), 1)
    assert calls == expected
    registered = {name.split(".")[0] for name, _ in model.named_parameters()}
    assert registered == model.networks().keys()


@pytest.mark.parametrize(("model_type", "weight"), [
    (model_type, weight) for model_type in MODELS for weight in sorted(model_class(model_type).uses)
    if weight.endswith("_weight") and not getattr(Options(), weight)
])  # fmt: skip
def test_each_weight_brings_its_own_losses_only(model_type, weight, monkeypatch):
    if weight in EXPENSIVE:
        with pytest.raises(AssertionError, match="weight 0"):  # the trap works
            run(build(model_type, **{weight: 2.0}))
        monkeypatch.setattr(vgg19, "VGG19Features", SmallFeatures)
        monkeypatch.setattr("timecyclegan.models.mixins.warp_loss_mixin.WarpLossMixin._flow_of",
                            lambda _, video, stride=1: (video[:, stride:, :2], video[:, stride:, :1]))  # fmt: skip
    plain_D, plain_G, _ = run(build(model_type))
    model = build(model_type, **{weight: 2.0})
    losses_D, losses_G, calls = run(model)
    terms = TERMS.get(weight) or (["recycle", "predictor"] if "recycle" in model_type else ["cycle", "identity"])
    names = {f"{term}_{domain}" for term in terms if term.startswith("timecycle") for domain in model.domains}
    names |= in_domains(model, *(term for term in terms if not term.startswith("timecycle")))
    names -= set() if model_type in JUDGE_SEQUENCES else {"feature_matching_sequence_0"}
    assert losses_D | losses_G == plain_D | plain_G | names
    walks = weight.startswith("timecycle") and model.options.timecycle_type in ("conditional", "unconditional")
    assert walks == any(name.startswith("timecycles") for name in model.networks())
    assert all(calls.values())


@pytest.mark.parametrize("model_type", TYPES)
def test_without_temporal_scales_there_are_no_sequence_discriminators(model_type):
    model = build(model_type, discriminator_temporal_scales=0, timecycle_loss_weight=1.0)
    assert not any(name.startswith("sequence") for name in model.networks())
    losses_D, losses_G, _ = run(model)
    assert not any("sequence" in name for name in losses_D | losses_G)
    assert {f"timecycle_gan_{domain}" for domain in model.domains} <= losses_G


@pytest.mark.parametrize("model_type", TYPES)
def test_discriminators_see_no_walk_of_weight_0(model_type):
    plain_D, plain_G, plain_calls = run(build(model_type))
    model = build(model_type, timecycle_loss_weight=1.0, timecycle_gan_loss_weight=0.0)
    losses_D, losses_G, calls = run(model)
    assert losses_D == plain_D and losses_G - plain_G == {f"timecycle_{domain}" for domain in model.domains}
    assert all(calls[name] == count for name, count in plain_calls.items() if "discriminator" in name)


@pytest.mark.parametrize("model_type", [name for name in MODELS if "recycle" in name])
def test_predictors_are_judged_only_when_asked(model_type):
    plain_D, plain_G, plain_calls = run(build(model_type))
    losses_D, losses_G, calls = run(build(model_type, recycle_predictor_gan=True))
    judged = {f"gan_predictor_{domain}" for domain in ("target", "source")}
    assert losses_D - plain_D == losses_G - plain_G == judged
    assert calls["discriminator_source"] == plain_calls["discriminator_source"] + 1


@pytest.mark.parametrize("model_type", MODELS)
def test_inference_builds_generators_alone(model_type):
    weights = {name: 1.0 for name in model_class(model_type).uses if name.endswith("_weight")}
    model = build(model_type, training=False, **weights)
    assert model.networks().keys() == in_domains(model, "generator")
    assert {name.split(".")[0] for name, _ in model.named_parameters()} == model.networks().keys()
    model.make_optimizers()
    assert model.optimizers.keys() == {"G"}
