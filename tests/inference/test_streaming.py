"""Translating sequences as streams."""
import dataclasses
import gc
import itertools
import weakref

import pytest
import torch

from tests.training.helpers import TINY, small
from timecyclegan.inference.streaming import noise_generator, stream
from timecyclegan.models import MODELS, get_model, get_task
from timecyclegan.util.options import Options

H, W = 12, 20


def model(model_type="seqpix2pix", training=False, **options):
    torch.manual_seed(0)
    return get_model(model_type, Options(**{**TINY, **options}), training).eval()


def clip(length, seed=0):
    return torch.rand(length, 3, H, W, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def translate(net, sources, **options):
    found = {name: [] for name in sources}
    for name, frame in stream(net, sources, **options):
        found[name].append(frame)
    return {name: torch.stack(frames) for name, frames in found.items()}


def test_a_stream_is_the_same_as_the_clip_at_once():
    """Frame by frame with carried state == the recurrence that training unrolls, from the same noise."""
    for n in (1, 2, 3):
        net, source = model(n_frames_generator=n), clip(6)
        frames = list(torch.randn(n, 3, H, W, generator=noise_generator(0, "a")))
        with torch.no_grad():
            for t in range(6):
                frames.append(net.generator(torch.cat([source[t], *frames[-n:]])[None])[0])
        torch.testing.assert_close(translate(net, {"a": source})["a"], torch.stack(frames[n:]), rtol=0, atol=1e-6)


def test_blockwise_pix2pix_shows_the_middle_of_the_block_around_each_frame():
    for block, length in itertools.product((1, 2, 3, 5), (6, 1)):
        net, source, half = model("pix2pix", block_size=block), clip(length), block // 2
        padded = torch.cat([source[:1].expand(half, -1, -1, -1), source, source[-1:].expand(half, -1, -1, -1)])
        with torch.no_grad():
            expected = [net.run(net.generator, padded[None, t : t + block])[0, half] for t in range(length)]
        torch.testing.assert_close(translate(net, {"a": source})["a"], torch.stack(expected), rtol=0, atol=1e-6)


def any_model(model_type):
    torch.manual_seed(0)
    net = get_model(model_type, Options(**small(model_type)), training=False).eval()
    empty = (0, 64, 64) if net.task == "unconditional" else None

    def source(length, seed):
        return clip(length, seed) if empty is None else torch.empty(length, *empty)

    return net, source


@pytest.mark.parametrize("model_type", MODELS)
def test_neighbours_in_a_batch_change_nothing(model_type):
    net, source = any_model(model_type)
    net.double()  # in single precision a warped history of noise makes much of rounding
    sources = {"a": source(5, 1), "b": source(2, 2), "c": source(3, 3), "d": source(5, 4)}
    sources = {name: frames.double() for name, frames in sources.items()}
    for domain in net.domains:
        together = translate(net, sources, domain=domain)
        for name, frames in sources.items():
            alone = translate(net, {name: frames}, domain=domain)[name]
            torch.testing.assert_close(together[name], alone, rtol=0, atol=1e-10)
            assert together[name].shape == (len(frames), 3, *frames.shape[2:])
            assert together[name].abs().max() <= 1 and together[name].std() > 0


@pytest.mark.parametrize("model_type", [name for name in MODELS if get_task(name) == "unpaired"])
def test_each_domain_has_its_own_generator(model_type):
    """With the two exchanged, each direction gives what the other gave."""
    net, source = any_model(model_type)
    frames = {"a": source(3, 1)}
    forth, back = (translate(net, frames, domain=domain)["a"] for domain in ("target", "source"))
    assert not torch.allclose(forth, back, atol=1e-3)
    net.generator_target, net.generator_source = net.generator_source, net.generator_target
    assert torch.equal(translate(net, frames, domain="source")["a"], forth)
    assert torch.equal(translate(net, frames)["a"], back)


@pytest.mark.parametrize("model_type", [name for name in MODELS if get_task(name) == "unconditional"])
def test_frames_from_nothing_differ_and_follow_the_seed(model_type):
    net, source = any_model(model_type)
    made = translate(net, {"a": source(3, 0), "b": source(3, 0)})
    frames = [*made["a"], *made["b"], *translate(net, {"a": source(3, 0)}, seed=1)["a"]]
    assert not any(torch.allclose(x, y, atol=1e-4) for x, y in itertools.combinations(frames, 2))
    assert torch.equal(translate(net, {"a": source(5, 0)})["a"][:3], translate(net, {"a": source(3, 0)})["a"])


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

    def endless():
        for seed in range(300):
            frame = clip(1, seed)[0]
            alive.add(frame)
            yield frame

    outputs = weakref.WeakSet()
    for count, (_, frame) in enumerate(stream(net, {"a": endless()}), 1):
        outputs.add(frame)
        if count % 100 == 0:
            gc.collect()
        most = max(most, len(alive), len(outputs))
    assert count == 300
    assert most <= 2 * context + 4


def test_no_sequences_no_frames_and_no_gradients():
    assert list(stream(model(), {})) == list(stream(model(), {"a": []})) == []
    (_, frame), *_ = stream(model(), {"a": clip(2)})
    assert frame.is_inference() and not frame.requires_grad


@pytest.mark.parametrize("model_type", MODELS)
def test_inference_builds_no_training_network(model_type):
    """SPEC 7 item 8: a perceptual network was fetched and run, even for testing."""
    net = get_model(model_type, Options(**{**small(model_type), "perceptual_loss_weight": 1.0}), training=False)
    expected = {net.name_in(domain, "generator") for domain in net.domains}
    assert set(net.networks()) == expected
    assert {name.split(".")[0] for name, _ in net.named_parameters()} == expected


def test_a_picture_too_small_for_a_discriminator_can_still_be_translated():
    options = dataclasses.replace(Options(**TINY), discriminator_architecture="5_layers")
    assert set(get_model("timecycle", options, training=False).networks()) == {"generator"}
