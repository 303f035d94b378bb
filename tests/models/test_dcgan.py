"""Video from noise: what is drawn for whom, frame by frame and as whole clips."""
import pytest
import torch

from timecyclegan.models import default_options, get_model

SIDE = 64


def build(model_type, training=False, **changes):
    torch.manual_seed(0)
    small = {"image_height": SIDE, "image_width": SIDE, "generator_filters": 2, "discriminator_filters": 2}
    return get_model(model_type, default_options(model_type, **small, **changes), training).double()


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def generate(model, length, *seeds):
    """(N, T, 3, H, W), frame by frame, as testing does; row i from seed i."""
    nothing = torch.zeros(len(seeds), 0, SIDE, SIDE, dtype=torch.double)  # source frames have no channels
    state, frames = model.initial_state(generators(*seeds), nothing), []
    for _ in range(length):
        frame, state = model.translate_frame(nothing[:, None], state)
        assert frame.shape == (len(seeds), 3, SIDE, SIDE) and frame.abs().max() <= 1
        frames.append(frame)
    return torch.stack(frames, dim=1)


@pytest.mark.parametrize("model_type", ["dcgan", "seqdcgan", "timecycledcgan"])
def test_a_video_follows_its_seed_whatever_stands_beside_it(model_type):
    model = build(model_type)
    together = generate(model, 3, 7, 8, 9)
    for row, seed in enumerate((7, 8, 9)):
        torch.testing.assert_close(generate(model, 3, seed)[0], together[row], rtol=0, atol=1e-10)
    torch.testing.assert_close(generate(model, 3, 9, 7)[0], together[2], rtol=0, atol=1e-10)
    torch.testing.assert_close(generate(model, 2, 8)[0], together[1, :2], rtol=0, atol=1e-10)  # however long it gets
    assert (together[0] - together[1]).abs().max() > 1e-3


def test_every_frame_of_dcgan_has_a_code_of_its_own():
    model, codes = build("dcgan"), []
    model.generator.register_forward_pre_hook(lambda _, inputs: codes.append(inputs[0]))
    frames = generate(model, 40, 1, 2, 3)
    codes = torch.stack(codes, dim=1)
    assert codes.shape == (3, 40, 100, 1, 1)
    flat = codes.flatten(0, 1).flatten(1)
    assert len(flat.unique(dim=0)) == 120
    assert abs(flat.mean()) < 5 / flat.numel() ** 0.5 and flat.var().item() == pytest.approx(1, abs=0.1)
    assert (flat**4).mean().item() == pytest.approx(3, rel=0.2)  # normal, not uniform
    correlation = torch.corrcoef(flat) - torch.eye(120)
    assert correlation.abs().max() < 0.6  # independent: the standard deviation is 0.1
    assert (frames[:, 0] - frames[:, 1]).abs().max() > 1e-3


def test_training_draws_a_code_for_every_frame_of_every_clip():
    model, codes = build("dcgan", training=True, block_size=3), []
    model.generator.register_forward_pre_hook(lambda _, inputs: codes.append(inputs[0]))
    target = torch.rand(2, 3, 3, SIDE, SIDE, dtype=torch.double)
    assert model(target).shape == target.shape
    model(target)
    assert torch.cat(codes).flatten(1).unique(dim=0).shape == (12, 100)


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("model_type", ["seqdcgan", "timecycledcgan"])
def test_frames_one_by_one_equal_the_whole_clip(model_type, n):
    """From the same noise, what testing does is what training does."""
    model = build(model_type, n_frames_generator=n)
    past = torch.stack([torch.randn(n, 3, SIDE, SIDE, generator=g) for g in generators(4, 5)]).double()
    frames = list(past.unbind(1))
    for _ in range(4):
        frames.append(model.generator(torch.cat(frames[-n:], dim=1)))
    torch.testing.assert_close(generate(model, 4, 4, 5), torch.stack(frames[n:], 1), rtol=0, atol=1e-10)
    torch.manual_seed(6)
    clip = model(torch.empty(2, 4, 3, SIDE, SIDE, dtype=torch.double))
    torch.manual_seed(6)
    frames = list(torch.randn(2, n, 3, SIDE, SIDE).double().unbind(1))
    for _ in range(4):
        frames.append(model.generator(torch.cat(frames[-n:], dim=1)))
    torch.testing.assert_close(clip, torch.stack(frames[n:], 1), rtol=0, atol=1e-10)


def test_the_recurrent_generator_goes_by_way_of_a_code():
    model = build("seqdcgan", n_frames_generator=2)
    codes = []
    model.generator.encoder.register_forward_hook(lambda _, __, output: codes.append(output))
    generate(model, 1, 0)
    assert codes[0].shape == (1, 100, 1, 1)


@pytest.mark.parametrize("model_type", ["seqdcgan", "timecycledcgan"])
def test_other_generators_from_pictures_will_do(model_type):
    model = build(model_type, generator_architecture="resnet_1blocks")
    assert generate(model, 2, 0, 1).shape == (2, 2, 3, SIDE, SIDE)
