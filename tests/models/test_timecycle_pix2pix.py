"""TimeCycleGAN-P's first step against a plain computation, frame by frame, from the formulae."""
import pytest
import torch

from tests import naive
from timecyclegan.models import get_model
from timecyclegan.util.options import Options

T, H, W = 5, 24, 28


@pytest.fixture(params=[False, True], ids=["shared", "separate"])
def model(request):
    torch.manual_seed(0)
    options = Options(
        image_height=H, image_width=W, generator_architecture="resnet_1blocks", generator_filters=4,
        discriminator_architecture="2_layers", discriminator_filters=4, timecycle_motion_model_filters=4,
        timecycle_separate_motion_models=request.param, l1_loss_weight=10, feature_matching_loss_weight=5,
        timecycle_loss_weight=7, timecycle_warp_loss_weight=3,
    )  # fmt: skip
    return get_model("timecycle", options).double()


def test_named_losses_equal_plain_computation(model):
    source, target = torch.rand(2, 1, T, 3, H, W, dtype=torch.double) * 2 - 1
    torch.manual_seed(1)
    model(source, target)
    torch.manual_seed(1)
    past = torch.randn(1, 1, 3, H, W).double()
    c, real = source.unbind(1), target.unbind(1)
    fake = naive.recurrent_generator(model.generator, c, past.unbind(1))
    torch.testing.assert_close(model.fake, torch.stack(fake, 1), rtol=0, atol=1e-10)

    forward, backward = model.timecycles["target"]._walkers[1], model.timecycles["target"]._walkers[0]
    frames, clips = naive.p_walk(fake, c, backward, forward)
    D, seq_D = model.discriminator, model.sequence_discriminator_0
    plain_D = naive.p_discriminator_losses(D, seq_D, fake, real, c, frames, clips)
    plain_G = naive.p_generator_losses(D, seq_D, fake, real, c, frames, clips, backward, forward)
    weights = {"l1": 10, "feature_matching": 5, "feature_matching_sequence_0": 5, "timecycle_target": 7,
               "timecycle_warp_target": 3}  # fmt: skip
    for ours, plain in ((model.discriminator_losses(), plain_D), (model.generator_losses(), plain_G)):
        assert ours.keys() == plain.keys()
        for name, term in ours.items():
            torch.testing.assert_close(term.value, plain[name], rtol=0, atol=1e-9, msg=name)
            assert term.weight == weights.get(name, 1), name
    # Gradients of the whole objective reach the generator and the motion model alike.
    ours = sum(term.weight * term.value for term in model.generator_losses().values())
    plain = sum(weights.get(name, 1) * value for name, value in plain_G.items())
    parameters = [p for network in model.networks("G").values() for p in network.parameters()]
    for mine, theirs in zip(torch.autograd.grad(ours, parameters), torch.autograd.grad(plain, parameters), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-9)


def test_terms_of_weight_zero_are_absent():
    options = Options(image_height=H, image_width=W, generator_architecture="resnet_1blocks", generator_filters=4,
                      discriminator_architecture="2_layers", discriminator_filters=4)  # fmt: skip
    model = get_model("timecycle", options)
    assert set(model.networks()) == {"generator", "discriminator", "sequence_discriminator_0"}
    model(*torch.rand(2, 1, T, 3, H, W))
    assert set(model.generator_losses()) == {"gan", "gan_sequence_0"}
