"""Those defects of the 2020 release that no other test covers (the numbers are the specification's)."""
import dataclasses

import pytest
import torch

from tests.models.test_first_step import TYPES
from tests.training.helpers import TINY, P, given, small, train, write_data
from timecyclegan.models import MODELS, get_model
from timecyclegan.util.options import Options


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
        get_model("pix2pix", Options(**{**TINY, "image_height": 16}, perceptual_loss_weight=1.0))


RECYCLE = [(model_type, kind) for model_type, kinds in TYPES.items() if "recycle" in model_type for kind in kinds]


@pytest.mark.parametrize(("model_type", "kind"), RECYCLE)
def test_10_timecycle_on_recyclegan_trains_and_logs(data, tmp_path, model_type, kind):
    """One could not be built, the other crashed when logging; all its losses and pictures are there."""
    options = given(model_type, timecycle_type=kind, recycle_predictor_gan=True, num_epochs=1, log_images_every=1)
    assert train(data, **options)
    header, *steps = (tmp_path / "runs/run/losses.csv").read_text().splitlines()
    columns = header.split(",")
    for domain in ("target", "source"):
        for name in ("gan", "recycle", "predictor", "gan_predictor", "gan_sequence_0", "timecycle", "timecycle_gan"):
            assert f"Loss/Generator/{name}_{domain}" in columns
        for name in ("gan", "gan_predictor", "gan_sequence_0", "timecycle_discriminator"):
            assert f"Loss/Discriminator/{name}_{domain}" in columns
    assert steps and all("" not in step.split(",") for step in steps)
    assert list((tmp_path / "runs/run").glob("events.*"))


@pytest.mark.parametrize(("model_type", "kind"), [
    *((name, "conditional") for name in ("cyclegan", "recyclegan", "seqcyclegan", "seqrecyclegan")),
    *(("tricyclegan", kind) for kind in TYPES["tricyclegan"]), *RECYCLE,
])  # fmt: skip
def test_10_each_domain_is_judged_by_its_own_discriminators(model_type, kind):
    """Source predictions were judged by the target's discriminator.

    Here whatever belongs to the target is above 0 and whatever belongs to the source below, by the end of the name of
    the network that makes it.
    """
    changes = {"timecycle_type": kind, "timecycle_separate_motion_models": True, "recycle_predictor_gan": True}
    model = get_model(model_type, Options(**small(model_type, **changes)))
    sign = {"target": 1, "source": -1}
    seen = {domain: [] for domain in sign}
    for name, network in model.networks().items():
        domain = name.rpartition("_")[2]
        if name.startswith("timecycles"):
            for walker in (network.backward_model, network.forward_model):
                walker.register_forward_hook(lambda _, __, made, domain=domain: sign[domain] * (made.abs() + 0.1))
        elif "discriminator" in name:
            network.register_forward_pre_hook(
                lambda _, inputs, domain=domain: seen[domain].append(inputs[0])
            )
        else:
            network.register_forward_hook(lambda _, __, made, domain=domain: sign[domain] * (made.abs() + 0.1))
    size = 1, model.options.block_size, 3, model.options.image_height, model.options.image_width
    model(source=-0.1 - torch.rand(size), target=0.1 + torch.rand(size))
    model.discriminator_losses()
    model.generator_losses()
    for domain, pictures in seen.items():
        assert len(pictures) >= 2 and all((sign[domain] * shown > 0).all() for shown in pictures)


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
    generator = {k.split("/")[1]: v.item() for k, v in logs.items() if k.startswith("Generator/")}
    expected = sum(weights.get(k, 1) * v for k, v in generator.items() if k != "total")
    assert expected == pytest.approx(generator["total"], rel=1e-6) == pytest.approx(totals[1].item(), rel=1e-5)
