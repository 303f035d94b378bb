"""Translating sequences as streams."""
import dataclasses
import gc
import weakref

import pytest
import torch

from tests.training.helpers import TINY
from timecyclegan import inference
from timecyclegan.models import get_model
from timecyclegan.util.options import Options

H, W = 12, 20


def model(model_type="seqpix2pix", training=False, **options):
    torch.manual_seed(0)
    return get_model(model_type, Options(**{**TINY, **options}), training).eval()


def clip(length, seed=0):
    return torch.rand(length, 3, H, W, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def translate(net, sources, **options):
    found = {name: [] for name in sources}
    for name, frame in inference.translate(net, sources, **options):
        found[name].append(frame)
    return {name: torch.stack(frames) for name, frames in found.items()}


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_stream_is_the_same_as_the_clip_at_once(n):
    """Frame by frame with carried state == the recurrence that training unrolls, from the same noise."""
    net, source = model(n_frames_generator=n), clip(6)
    noise = torch.randn(n, 3, H, W, generator=inference.noise_generator(0, "a"))
    frames = list(noise)
    with torch.no_grad():
        for t in range(6):
            frames.append(net.generator(torch.cat([source[t], *frames[-n:]])[None])[0])
    torch.testing.assert_close(translate(net, {"a": source})["a"], torch.stack(frames[n:]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("block", [1, 2, 3, 4, 5])
def test_blockwise_pix2pix_shows_the_middle_of_the_block_around_each_frame(block):
    net, source = model("pix2pix", block_size=block), clip(6)
    half = block // 2
    padded = torch.cat([source[:1].expand(half, -1, -1, -1), source, source[-1:].expand(half, -1, -1, -1)])
    with torch.no_grad():
        expected = [net.run(net.generator, padded[None, t : t + block])[0, half] for t in range(6)]
    torch.testing.assert_close(translate(net, {"a": source})["a"], torch.stack(expected), rtol=0, atol=1e-6)


@pytest.mark.parametrize("model_type", ["seqpix2pix", "pix2pix"])
def test_neighbours_in_a_batch_change_nothing(model_type):
    net = model(model_type)
    sources = {"a": clip(5, 1), "b": clip(2, 2), "c": clip(3, 3), "d": clip(5, 4)}
    together = translate(net, sources)
    for name, source in sources.items():
        torch.testing.assert_close(together[name], translate(net, {name: source})[name], rtol=0, atol=1e-5)
        assert len(together[name]) == len(source)


def test_the_noise_belongs_to_the_sequence_and_the_seed():
    net, source = model(), clip(2)
    first = translate(net, {"a": source})["a"]
    assert torch.equal(first, translate(net, {"a": source})["a"])
    assert not torch.equal(first, translate(net, {"b": source})["b"])
    assert not torch.equal(first, translate(net, {"a": source}, seed=1)["a"])


@pytest.mark.parametrize(("model_type", "context"), [("seqpix2pix", 0), ("pix2pix", 1)])
def test_memory_does_not_grow_with_the_video(model_type, context):
    """Of 300 frames of a stream, only those around the current one are alive."""
    net, alive, most = model(model_type, n_frames_generator=2), weakref.WeakSet(), 0

    def stream():
        for seed in range(300):
            frame = clip(1, seed)[0]
            alive.add(frame)
            yield frame

    outputs = weakref.WeakSet()
    for count, (_, frame) in enumerate(inference.translate(net, {"a": stream()}), 1):
        outputs.add(frame)
        if count % 100 == 0:
            gc.collect()
        most = max(most, len(alive), len(outputs))
    assert count == 300
    assert most <= 2 * context + 4


def test_nothing_is_recorded_for_gradients():
    (_, frame), *_ = inference.translate(model(), {"a": clip(2)})
    assert frame.is_inference() and not frame.requires_grad


def test_no_sequences_no_frames():
    assert list(inference.translate(model(), {})) == []
    assert list(inference.translate(model(), {"a": []})) == []


@pytest.mark.parametrize("model_type", ["timecycle", "seqpix2pix", "pix2pix"])
def test_inference_builds_no_training_network(model_type):
    """SPEC 7 item 8: a perceptual network was fetched and run, even for testing."""
    net = model(model_type, perceptual_loss_weight=1.0, timecycle_loss_weight=1.0)
    assert set(net.networks()) == {"generator"}
    assert {name.split(".")[0] for name, _ in net.named_parameters()} == {"generator"}


def test_a_picture_too_small_for_a_discriminator_can_still_be_translated():
    options = dataclasses.replace(Options(**TINY), discriminator_architecture="5_layers")
    assert set(get_model("timecycle", options, training=False).networks()) == {"generator"}
