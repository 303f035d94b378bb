"""Models by name: what is known, what is suggested, what is built."""
import pytest
import torch

from timecyclegan import get_model, get_task
from timecyclegan.models import MODELS, calculate_block_size, default_options, model_class
from timecyclegan.models.base_model import BaseModel
from timecyclegan.util.errors import UserError
from timecyclegan.util.options import Options


def options(model_type=None, **changes):
    size = (24, 28) if model_type is None or get_task(model_type) != "unconditional" else (64, 64)
    small = {"image_height": size[0], "image_width": size[1], "generator_filters": 2, "discriminator_filters": 2,
             "timecycle_motion_model_filters": 2, "recycle_predictor_filters": 2}  # fmt: skip
    if size == (24, 28):
        small["generator_architecture"] = small["recycle_predictor_architecture"] = "resnet_1blocks"
    return default_options(model_type, **{**small, **changes})


@pytest.mark.parametrize("model_type", MODELS)
@pytest.mark.parametrize("training", [True, False])
def test_every_model_can_be_built(model_type, training):
    model = get_model(model_type, options(model_type), training)
    assert isinstance(model, BaseModel) and model.options.model_type == model_type
    assert model.options.block_size == model.default_block_size
    assert get_task(model_type) == model.task
    if not training:
        assert all(name.startswith("generator") for name in model.networks())


def test_default_model_type_exists():
    assert Options().model_type in MODELS


def test_tasks_and_clips_as_specified():
    expected = {
        "dcgan": ("unconditional", 1), "pix2pix": ("paired", 1), "cyclegan": ("unpaired", 1),
        "recyclegan": ("unpaired", 3), "timecycle": ("paired", 5), "tricyclegan": ("unpaired", 5),
        "timecycledcgan": ("unconditional", 5), "timerecyclegan": ("unpaired", 3), "timerecycleganv2": ("unpaired", 5),
        "seqdcgan": ("unconditional", 5), "seqpix2pix": ("paired", 5), "seqcyclegan": ("unpaired", 5),
        "seqrecyclegan": ("unpaired", 5), "timecyclep2": ("paired", 5), "vid2vid": ("paired", 5),
        "timecyclevid2vid": ("paired", 5),
    }  # fmt: skip
    assert expected.keys() == MODELS.keys()
    for model_type, (task, frames) in expected.items():
        assert (get_task(model_type), calculate_block_size(options(model_type=model_type))) == (task, frames)
    assert calculate_block_size(options(model_type="pix2pix", block_size=3)) == 3


def test_given_options_are_not_changed():
    given = options(model_type="pix2pix")
    get_model("timecycle", given)
    assert given == options(model_type="pix2pix")


@pytest.mark.parametrize(("given", "suggested"), [("timecylce", "timecycle"), ("pixpix", "pix2pix"),
                                                  ("seq_pix2pix", "seqpix2pix")])  # fmt: skip
@pytest.mark.parametrize("ask", [get_model, get_task, model_class])
def test_unknown_name_gets_a_suggestion(ask, given, suggested):
    with pytest.raises(UserError, match=rf"--model_type '{given}' is not known; did you mean {suggested}\?"):
        ask(given)


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(UserError) as error:
        get_model("xyzzy")
    assert "did you mean" not in str(error.value)
    assert all(name in str(error.value) for name in MODELS)


def test_what_is_not_built_is_not_checked():
    """A picture that only the discriminator finds too small can be translated; so can one with an odd motion model."""
    small = {"image_height": 9, "image_width": 11}
    model = get_model("timecycle", options(**small, timecycle_loss_weight=1.0), training=False)
    frame, _ = model.translate_frame(
        torch.zeros(1, 1, 3, 9, 11), model.initial_state([torch.Generator()], torch.zeros(1, 3, 9, 11))
    )
    assert frame.shape == (1, 3, 9, 11)
    get_model("timecycle", options(timecycle_motion_model_architecture="unet_256"))
    get_model("pix2pix", options(timecycle_motion_model_architecture="unet_256", timecycle_loss_weight=1.0))


@pytest.mark.parametrize("kind", ["conditional", "unconditional", "pingpong"])
@pytest.mark.parametrize("separate", [False, True])
def test_types_of_timecycle(kind, separate):
    """All of them train a step; a shared motion model is there once, pingpong has none."""
    torch.manual_seed(0)
    model = get_model(
        "timecycle",
        options(timecycle_type=kind, timecycle_separate_motion_models=separate, timecycle_loss_weight=1.0,
                timecycle_warp_loss_weight=1.0),
    )  # fmt: skip
    model.make_optimizers()
    batch = {"source": torch.rand(1, 5, 3, 24, 28), "target": torch.rand(1, 5, 3, 24, 28)}
    logs = model.training_step(batch, torch.amp.GradScaler("cpu", enabled=False))
    assert {"Generator/timecycle_target", "Generator/timecycle_warp_target", "Generator/timecycle_gan_target",
            "Discriminator/timecycle_discriminator_target"} <= set(logs)  # fmt: skip
    in_optimizer = [p for group in model.optimizers["G"].param_groups for p in group["params"]]
    own = len(list(model.generator.parameters()))
    assert len(in_optimizer) - own == {"pingpong": 0}.get(kind, 32 if separate else 16)
    assert len({id(p) for p in in_optimizer}) == len(in_optimizer)


def test_short_clips_have_no_sequence_terms():
    """While a run grows in time; nothing crashes and nothing is judged that is not there."""
    model = get_model("timecycle", options(block_size=2, timecycle_loss_weight=1.0, temporal_scaling=(0.4, 1.0)))
    assert "sequence_discriminator_0" not in model.networks()
    model(torch.rand(1, 2, 3, 24, 28), torch.rand(1, 2, 3, 24, 28))
    assert set(model.generator_losses()) == {"gan"} and set(model.discriminator_losses()) == {"gan"}


@pytest.mark.parametrize(("model_type", "most"), [("timecycle", 8), ("tricyclegan", 8), ("timecyclevid2vid", 10)])
def test_models_have_few_ancestors(model_type, most):
    """Whoever reads a model has these to know."""
    ours = [base for base in model_class(model_type).__mro__[1:] if base.__module__.startswith("timecyclegan")]
    assert len(ours) <= most, [base.__name__ for base in ours]
