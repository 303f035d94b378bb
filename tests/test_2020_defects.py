"""The defects of the 2020 release, one by one: where each is tested, and what no other test covers."""
import dataclasses
import importlib

import pytest
import torch

from tests.training.helpers import TINY, P, train, write_data
from timecyclegan.models import MODELS, get_model
from timecyclegan.util.options import Options

# Number in the specification's list -> tests that fail if it returns, "module::function".
TESTED = {
    1: ["test_import::test_importing_from_any_folder_costs_little", "test_commands::test_help_of_the_script_itself",
        "test_commands::test_trainval"],
    2: ["test_commands::test_height_is_height", "test_commands::test_another_size_for_testing"],
    3: ["evaluation.test_reference", "evaluation.test_flow"],
    4: ["training.test_schedule::test_the_optimizers_and_the_log_have_it",
        "training.test_schedule::test_a_resumed_run_keeps_its_optimizers"],
    5: ["test_2020_defects::test_5_every_parameter_is_in_one_optimizer_once"],
    6: ["test_commands::test_trainval", "test_2020_defects::test_6_the_default_model_exists"],
    7: ["util.test_options::test_weights_are_floats", "test_2020_defects::test_7_wgangp_has_its_gradient_penalty"],
    8: ["test_inference::test_inference_builds_no_training_network",
        "test_2020_defects::test_8_a_perceptual_weight_of_0_needs_no_vgg19"],
    9: ["training.test_growing::test_a_run_whose_discriminator_changes_shape",
        "training.test_checkpoint::test_initial_weights_that_do_not_exist"],
    12: ["test_2020_defects::test_12_logged_terms_are_those_of_the_loss"],
    13: ["losses.test_timecycle"],  # the condition of the frame that an image depicts
    14: ["util.test_logs::test_without_a_repository_the_commit_is_empty",
         "util.test_logs::test_without_git_the_commit_is_empty",
         "training.test_checkpoint::test_files_are_read_onto_the_cpu_and_without_code"],
}  # fmt: skip


@pytest.mark.parametrize("entry", [entry for entries in TESTED.values() for entry in entries])
def test_what_the_table_names_exists(entry):
    module, _, function = entry.partition("::")
    found = importlib.import_module(f"tests.{module}")
    assert hasattr(found, function) if function else any(name.startswith("test") for name in dir(found))


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_data(tmp_path / "data", lengths=(6,))


@pytest.mark.parametrize("changes", [
    {}, {"timecycle_separate_motion_models": True}, {"timecycle_type": "pingpong", "timecycle_warp_loss_weight": 0.0},
    {"timecycle_type": "unconditional", "block_size": 4},
], ids=str)  # fmt: skip
def test_5_every_parameter_is_in_one_optimizer_once(changes):
    model = get_model("timecycle", Options(**{**TINY, **P, **changes}))
    model.make_optimizers()
    held = [id(p) for o in model.optimizers.values() for group in o.param_groups for p in group["params"]]
    assert len(held) == len(set(held)) == len(list(model.parameters()))
    assert set(held) == {id(p) for p in model.parameters()}


def test_6_the_default_model_exists():
    assert Options().model_type in MODELS
    small = dataclasses.replace(Options(), generator_filters=2, discriminator_filters=2)
    assert get_model(small.model_type, small).task == "paired"


@pytest.mark.parametrize("changes", [{"model_type": "pix2pix"}, P], ids=["pix2pix", "timecycle"])
def test_7_wgangp_has_its_gradient_penalty(data, tmp_path, changes):
    train(data, gan_mode="wgangp", num_epochs=1, **changes)
    header = (tmp_path / "runs/run/losses.csv").read_text().splitlines()[0]
    assert "Loss/Discriminator/gan_gradient_penalty" in header.split(",")
    assert ("gan_sequence_0_gradient_penalty" in header) == (changes is P)


def test_8_a_perceptual_weight_of_0_needs_no_vgg19(data, monkeypatch):
    from timecyclegan.models.networks import vgg19

    def fetched(*_):
        raise AssertionError("VGG19 was built")

    monkeypatch.setattr(vgg19, "VGG19Features", fetched)
    assert train(data, num_epochs=1, **P)
    with pytest.raises(AssertionError, match="VGG19"):  # the trap works
        get_model("pix2pix", Options(**TINY, perceptual_loss_weight=1.0))


def test_12_logged_terms_are_those_of_the_loss(monkeypatch):
    """The motion warp loss was divided by the number of pairs in the log but not in the loss."""
    from timecyclegan.losses import total
    from timecyclegan.models import adversarial_training

    totals = []

    def spy(terms):
        totals.append(total(terms))
        return totals[-1]

    monkeypatch.setattr(adversarial_training, "total", spy)
    options = Options(**{**TINY, **P, "block_size": 5})
    model = get_model("timecycle", options)
    model.make_optimizers()
    batch = {name: torch.rand(1, 5, 3, 12, 20) * 2 - 1 for name in ("source", "target")}
    logs = model.training_step(batch, torch.amp.GradScaler("cpu", enabled=False))
    weights = {"l1": 10, "timecycle_target": 5, "timecycle_warp_target": 1}
    generator = {k.split("/")[1]: v for k, v in logs.items() if k.startswith("Generator/")}
    expected = sum(weights.get(k, 1) * v for k, v in generator.items() if k != "total")
    assert expected == pytest.approx(generator["total"], rel=1e-6) == pytest.approx(totals[1].item(), rel=1e-5)
