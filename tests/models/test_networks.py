"""Networks: published parameter names, any picture size, initialisation, lookup by name."""
import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from timecyclegan.models.networks import (
    define_discriminator,
    define_generator,
    define_motion_model,
    discriminator,
    generator,
)
from timecyclegan.models.networks.norm import ReflectionPad2d, norm_layer
from timecyclegan.models.networks.patchgan import PatchGAN
from timecyclegan.models.networks.resnet import ResnetGenerator
from timecyclegan.models.networks.unet import UnetGenerator
from timecyclegan.util.errors import UserError

# ---- the layout of pytorch-CycleGAN-and-pix2pix with instance norm, written out as facts


def convolution(name, shape, transposed=False):
    return {f"{name}.weight": shape, f"{name}.bias": (shape[1 if transposed else 0],)}


def resnet_layout(blocks):
    layout = {
        **convolution("model.1", (64, 3, 7, 7)),
        **convolution("model.4", (128, 64, 3, 3)),
        **convolution("model.7", (256, 128, 3, 3)),
    }
    for block in range(10, 10 + blocks):
        layout |= convolution(f"model.{block}.conv_block.1", (256, 256, 3, 3))
        layout |= convolution(f"model.{block}.conv_block.5", (256, 256, 3, 3))
    up = {6: (16, 19, 23), 9: (19, 22, 26)}[blocks]
    layout |= convolution(f"model.{up[0]}", (256, 128, 3, 3), transposed=True)
    layout |= convolution(f"model.{up[1]}", (128, 64, 3, 3), transposed=True)
    return layout | convolution(f"model.{up[2]}", (3, 64, 7, 7))


def unet_layout(downsamplings):
    """From the outside in: (outer, inner) channels; the outermost block has its parts at 0, 1, 3, others at 1, 3, 5."""
    widths = [(64, 128), (128, 256), (256, 512)] + [(512, 512)] * (downsamplings - 4)
    layout = convolution("model.model.0", (64, 3, 4, 4)) | convolution("model.model.3", (128, 3, 4, 4), True)
    prefix = "model.model.1"
    for depth, (outer, inner) in enumerate(widths):
        layout |= convolution(f"{prefix}.model.1", (inner, outer, 4, 4))
        if depth == len(widths) - 1:  # the innermost has nothing inside
            layout |= convolution(f"{prefix}.model.3", (inner, outer, 4, 4), transposed=True)
        else:
            layout |= convolution(f"{prefix}.model.5", (2 * inner, outer, 4, 4), transposed=True)
        prefix += ".model.3"
    return layout


GENERATORS = {
    "resnet_6blocks": resnet_layout(6),
    "resnet_9blocks": resnet_layout(9),
    "unet_128": unet_layout(7),
    "unet_256": unet_layout(8),
}
DISCRIMINATORS = {
    "basic": {
        **convolution("model.0", (64, 6, 4, 4)),
        **convolution("model.2", (128, 64, 4, 4)),
        **convolution("model.5", (256, 128, 4, 4)),
        **convolution("model.8", (512, 256, 4, 4)),
        **convolution("model.11", (1, 512, 4, 4)),
    },
    "4_layers": {
        **convolution("model.0", (64, 6, 4, 4)),
        **convolution("model.2", (128, 64, 4, 4)),
        **convolution("model.5", (256, 128, 4, 4)),
        **convolution("model.8", (512, 256, 4, 4)),
        **convolution("model.11", (512, 512, 4, 4)),
        **convolution("model.14", (1, 512, 4, 4)),
    },
    "pixel": {
        **convolution("net.0", (64, 6, 1, 1)),
        **convolution("net.2", (128, 64, 1, 1)),
        **convolution("net.5", (1, 128, 1, 1)),
    },
}


def shapes(network):
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def test_networks_have_the_published_parameters():
    with torch.device("meta"):
        assert {name: shapes(generator(name).build(3, 3, 64)) for name in GENERATORS} == GENERATORS
        assert {name: shapes(discriminator(name).build(6, 64)) for name in DISCRIMINATORS} == DISCRIMINATORS
        assert shapes(define_discriminator("basic", 3, 2)) == shapes(PatchGAN(3, 2, layers=3))


def test_number_of_parameters_of_the_published_networks():
    """As pytorch-CycleGAN-and-pix2pix prints them: 11.378 M (ResNet, 9 blocks) and 2.765 M."""
    with torch.device("meta"):
        networks = generator("resnet_9blocks").build(3, 3, 64), discriminator("basic").build(3, 64)
    counts = [sum(p.numel() for p in network.parameters()) for network in networks]
    assert [round(n / 1e6, 3) for n in counts] == [11.378, 2.765]


def test_layers_between_the_parameters():
    """Kinds and places of the layers without parameters, which decide what published weights compute."""
    resnet = generator("resnet_6blocks").build(3, 3, 2).model
    norms = [str(i) for i, layer in enumerate(resnet) if isinstance(layer, nn.InstanceNorm2d)]
    assert norms == ["2", "5", "8", "17", "20"]
    assert all(not m.affine and not m.track_running_stats for m in resnet.modules() if isinstance(m, nn.InstanceNorm2d))
    assert isinstance(resnet[-1], nn.Tanh) and resnet[0].padding == (3, 3, 3, 3)
    patchgan = discriminator("basic").build(6, 2).model
    assert [m.stride[0] for m in patchgan if isinstance(m, nn.Conv2d)] == [2, 2, 2, 1, 1]
    assert [i for i, m in enumerate(patchgan) if isinstance(m, nn.InstanceNorm2d)] == [3, 6, 9]
    assert all(m.negative_slope == 0.2 for m in patchgan if isinstance(m, nn.LeakyReLU))


def test_unet_by_hand():
    """The forward pass written out from the layout, with plain functions."""
    torch.manual_seed(0)
    network = UnetGenerator(3, 2, filters=2, downsamplings=5).double()
    state = network.state_dict()

    def block(prefix, x, depth):
        first, up = ("0", "3") if depth == 0 else ("1", "3" if depth == 4 else "5")
        y = x if depth == 0 else F.leaky_relu(x, 0.2)
        y = F.conv2d(y, state[f"{prefix}.{first}.weight"], state[f"{prefix}.{first}.bias"], stride=2, padding=1)
        if 0 < depth < 4:
            y = F.instance_norm(y)
        if depth < 4:
            y = block(f"{prefix}.{1 if depth == 0 else 3}.model", y, depth + 1)
        weight, bias = state[f"{prefix}.{up}.weight"], state[f"{prefix}.{up}.bias"]
        y = F.conv_transpose2d(F.relu(y), weight, bias, stride=2, padding=1)
        return torch.tanh(y) if depth == 0 else torch.cat([x, F.instance_norm(y)], dim=1)

    x = torch.randn(2, 3, 32, 64, dtype=torch.double)
    torch.testing.assert_close(network(x), block("model.model", x, 0), rtol=0, atol=1e-10)


# ---- sizes


@pytest.mark.parametrize("upsample", ["transposed", "resize"])
def test_resnet_takes_any_size(upsample):
    """The result is that of the picture continued by its last row and column up to a multiple of 4, cut back."""
    torch.manual_seed(0)
    network = ResnetGenerator(2, 3, filters=2, blocks=1, upsample=upsample).double()
    for height, width in ((100, 150), (17, 23), (16, 24), (5, 8), (8, 61)):
        x = torch.randn(2, 2, height, width, dtype=torch.double)
        rows = torch.arange(-(-height // 4) * 4).clamp(max=height - 1)
        columns = torch.arange(-(-width // 4) * 4).clamp(max=width - 1)
        expected = network.model(x[:, :, rows][:, :, :, columns])[:, :, :height, :width]
        assert network(x).shape == (2, 3, height, width)
        torch.testing.assert_close(network(x), expected, rtol=0, atol=1e-10)


def works(network, height, width):
    try:
        return network(torch.zeros(1, 1, height, width)).numel() > 0
    except (RuntimeError, ValueError, UserError):
        return False


def test_size_errors_are_true():
    """A network takes exactly the sizes that it says it takes."""
    cases = [(discriminator(f"{n}_layers"), (1, 1), [(3 * 2**n + more, 6 * 2**n) for more in (-2, -1, 0, 1)])
             for n in (1, 2, 3, 4)]  # fmt: skip
    cases += [(generator("resnet_1blocks", upsample), (1, 1, 1),
               [size for n in range(1, 12) for size in ((n, 16), (n, n))]) for upsample in ("transposed", "resize")]
    cases += [(generator(f"unet_{n}"), (1, 1, 1), [(n, n), (n, 2 * n), (n, n // 2), (n + 2, n)]) for n in (128, 256)]
    for architecture, channels, sizes in cases:
        network = architecture.build(*channels)
        for height, width in sizes:
            for size in ((height, width), (width, height)):
                assert works(network, *size) == (architecture.size_error(*size) is None), (architecture, size)
    assert discriminator("pixel").size_error(1, 2) is None
    assert define_discriminator("pixel", 1, 2)(torch.zeros(1, 1, 1, 2)).shape == (1, 1, 1, 2)


def test_unet_refuses_sizes_in_one_clear_line():
    with pytest.raises(UserError, match=r"^unet_128 needs .* multiples of 128, not 64x128$"):
        UnetGenerator(3, 3, filters=1, downsamplings=7)(torch.zeros(1, 3, 64, 128))


# ---- features, initialisation, lookup


@pytest.mark.parametrize("name", ["basic", "1_layers", "4_layers", "pixel"])
def test_features_end_with_the_prediction(name):
    torch.manual_seed(0)
    network = define_discriminator(name, 3, 2)
    x = torch.randn(2, 3, 48, 50)
    features = network.features(x)
    kept = [feature.clone() for feature in features]
    assert torch.equal(features[-1], network(x))
    activations = sum(isinstance(m, nn.LeakyReLU) for m in network.modules())
    assert len(features) == activations + 1
    # what is matched is what the layers show after their activation
    layers = next(network.children())
    first = F.leaky_relu(layers[0](x), 0.2)
    torch.testing.assert_close(features[0], first)
    assert all(map(torch.equal, kept, network.features(x)))  # not overwritten by later layers


@pytest.mark.parametrize("name", ["resnet_2blocks", "unet_128"])
def test_initialisation_is_normal(name):
    torch.manual_seed(0)
    network = define_generator(name, 3, 3, 32)
    layers = [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]
    assert layers
    for layer in layers:
        n = layer.weight.numel()
        assert layer.weight.std().item() == pytest.approx(0.02, rel=5 / n**0.5)
        assert abs(layer.weight.mean().item()) < 0.02 * 5 / n**0.5
        assert not layer.bias.any()
    # normal, not uniform: the fourth moment of N(0, s) is 3 s^4, that of a uniform one 1.8 s^4
    weight = layers[-2].weight
    assert (weight**4).mean().item() / 0.02**4 == pytest.approx(3, rel=0.1)


@pytest.mark.parametrize("name", ["resnet_1blocks", "unet_128", "dcgan_enc"])
def test_a_motion_model_begins_at_the_nearest_known_frame(name):
    """The last frame of its input, give or take a hundredth of what such a network would make of it."""
    side = 64 if name == "dcgan_enc" else 128
    known = torch.rand(2, 6, side, side) * 2 - 1
    predicted = define_motion_model(name, 6, 3, 4, size=side)(known)
    change = (predicted - known[:, 3:]).abs()
    assert 0 < change.max() < 0.05
    direct = define_motion_model(name, 6, 3, 4, residual=False, size=side)
    fresh = define_generator(name, 6, 3, 4, size=side)
    assert {k: v.shape for k, v in direct.state_dict().items()} == {k: v.shape for k, v in fresh.state_dict().items()}


def test_unknown_names_are_said_with_their_flag():
    for name in ("resnet", "resnet_0blocks", "resnet_6block", "unet_64", "", "resnet_6blocks\n"):
        with pytest.raises(UserError, match=r"^--generator_architecture .*resnet_Nblocks.*unet_128"):
            define_generator(name, 3, 3, 4)
    with pytest.raises(UserError, match=r"^--timecycle_motion_model_architecture "):
        define_generator("unet_64", 3, 3, 4, flag="--timecycle_motion_model_architecture")
    for name in ("n_layers", "0_layers", "3layers", "patch", ""):
        with pytest.raises(UserError, match=r"^--discriminator_architecture .*basic.*N_layers.*pixel"):
            define_discriminator(name, 3, 4)


# ---- DCGAN's networks


def dcgan_layers(network):
    return [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]


@pytest.mark.parametrize(("size", "widths"), [
    (64, (1, 2, 4, 8)), (128, (1, 2, 4, 8, 8)), (256, (1, 2, 4, 8, 8, 8)),
])  # fmt: skip
def test_dcgan_by_size(size, widths):
    """Each doubling of the side adds a layer; widths at 64x64 go as in Radford et al. 2016, figure 1."""
    filters, n = 3, 2
    decoder = define_generator("dcgan", 100, 3, filters, size=size)
    judge = define_discriminator("dcgan", 6, filters, size=size)
    translator = define_generator("dcgan_enc", 6, 3, filters, size=size)
    picture = torch.rand(n, 6, size, size)
    with torch.no_grad():
        made, translated = decoder(torch.randn(n, 100, 1, 1)), translator(picture)
        assert made.shape == translated.shape == (n, 3, size, size)
        assert judge(picture).shape == (n, 1, 1, 1) and translator.encoder(picture).shape == (n, 100, 1, 1)
    assert made.abs().max() <= 1 and translated.abs().max() <= 1 and made.min() < 0 < made.max()
    channels = [filters * width for width in widths]
    assert [layer.weight.shape[1] for layer in dcgan_layers(decoder)] == [*channels[::-1], 3]
    assert [layer.weight.shape[0] for layer in dcgan_layers(judge)] == [*channels, 1]
    assert [layer.weight.shape[1] for layer in dcgan_layers(judge)] == [6, *channels]
    assert dcgan_layers(translator.encoder)[-1].weight.shape == (100, channels[-1], 4, 4)
    for layer in dcgan_layers(decoder) + dcgan_layers(judge):
        assert layer.kernel_size == (4, 4) and layer.bias is None
    assert [layer.stride[0] for layer in dcgan_layers(decoder)] == [1, *[2] * len(widths)]
    assert [layer.stride[0] for layer in dcgan_layers(judge)] == [*[2] * len(widths), 1]


def test_dcgan_by_hand():
    """The 64x64 networks written out with plain functions."""
    torch.manual_seed(0)
    decoder, judge = define_generator("dcgan", 100, 3, 2).double(), define_discriminator("dcgan", 3, 2).double()
    for parameter in [*decoder.parameters(), *judge.parameters()]:
        nn.init.normal_(parameter, std=0.3)

    def parts(network):
        """The weights of its convolutions; a picture's norm over all channels between them, with weight and bias."""
        norms = iter([m for m in network.modules() if isinstance(m, nn.GroupNorm)])

        def norm(x):
            layer, flat = next(norms), x.flatten(1)
            flat = (flat - flat.mean(dim=1, keepdim=True)) / (flat.var(dim=1, correction=0, keepdim=True) + 1e-5).sqrt()
            return flat.view_as(x) * layer.weight.view(-1, 1, 1) + layer.bias.view(-1, 1, 1)

        return [layer.weight for layer in dcgan_layers(network)], norm

    code = torch.randn(2, 100, 1, 1, dtype=torch.double)
    (first, *others), norm = parts(decoder)
    x = F.conv_transpose2d(code, first)
    for weight in others:
        x = F.conv_transpose2d(F.relu(norm(x)), weight, stride=2, padding=1)
    x = torch.tanh(x)
    torch.testing.assert_close(decoder(code), x, rtol=0, atol=1e-10)
    (first, *others, last), norm = parts(judge)
    y = F.leaky_relu(F.conv2d(x, first, stride=2, padding=1), 0.2)
    for weight in others:
        y = F.leaky_relu(norm(F.conv2d(y, weight, stride=2, padding=1)), 0.2)
    torch.testing.assert_close(judge(x), F.conv2d(y, last), rtol=0, atol=1e-10)


def test_dcgan_size_error_is_true():
    architectures = generator("dcgan"), generator("dcgan_enc"), discriminator("dcgan")
    assert [architecture.takes_code for architecture in architectures] == [True, False, False]
    for architecture in architectures:
        assert all(architecture.size_error(size, size) is None for size in (64, 128, 256, 512))
        for size in ((32, 32), (96, 96), (64, 128), (128, 64), (63, 63), (0, 0), (65, 65), (192, 192)):
            assert "square pictures whose side is a power of two, 64 or more" in architecture.size_error(*size)


def test_samples_of_a_batch_do_not_see_each_other():
    """There is no batch norm: a picture is a function of its own input, in training and testing alike."""
    torch.manual_seed(0)
    pictures, codes = torch.randn(3, 3, 64, 64, dtype=torch.double), torch.randn(3, 100, 1, 1, dtype=torch.double)
    for network, x in ((define_generator("dcgan", 100, 3, 2), codes), (define_discriminator("dcgan", 3, 2), pictures),
                       (define_generator("dcgan_enc", 3, 3, 2), pictures), (define_generator("resnet_1blocks", 3, 3, 2),
                       pictures), (define_discriminator("basic", 3, 2), pictures)):  # fmt: skip
        network.double()
        alone = torch.cat([network(sample) for sample in x.split(1)])
        torch.testing.assert_close(network(x), alone, rtol=0, atol=1e-10)
        assert torch.equal(network(x), network.eval()(x))
        assert not torch.allclose(alone[0], alone[1])


# ---- layout in memory


def channels_last(x):
    return x.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
def test_instance_norm_by_hand_in_both_layouts(layout):
    """(x - mean) / sqrt(variance + 1e-5) of each channel of each picture; first and second derivatives too."""
    torch.manual_seed(0)
    norm = norm_layer("instance", 3)
    assert isinstance(norm, nn.InstanceNorm2d) and not list(norm.state_dict())
    x = (5 + torch.randn(2, 3, 5, 4, dtype=torch.double)).to(memory_format=layout).requires_grad_()

    def by_hand(x):
        mean = x.flatten(2).mean(2)[..., None, None]
        variance = ((x - mean) ** 2).flatten(2).mean(2)[..., None, None]
        return (x - mean) / (variance + 1e-5).sqrt()

    assert norm(x).is_contiguous(memory_format=layout) and not norm(x)._is_view()
    found = []
    for function in (norm, by_hand):
        made = function(x)
        (slope,) = torch.autograd.grad((made * made.detach().roll(1, 3)).sin().sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(slope.square().sum(), x)
        found.append((made, slope, second))
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-11)
    with pytest.raises(ValueError, match=r"more than one pixel"):
        norm(torch.zeros(2, 3, 1, 1).to(memory_format=layout))


def test_instance_norm_of_half_precision_keeps_float_statistics():
    """A mean of 100 with deviations of 1, which bfloat16 can just tell apart, in the two layouts."""
    torch.manual_seed(0)
    x = (100 + 8 * torch.randn(2, 3, 16, 16)).bfloat16()
    expected = F.instance_norm(x.float())
    for layout in (torch.contiguous_format, torch.channels_last):
        made = norm_layer("instance", 3)(x.to(memory_format=layout))
        assert made.dtype == torch.bfloat16
        torch.testing.assert_close(made.float(), expected, rtol=2**-8, atol=2**-6)


@pytest.mark.parametrize(("name", "side"), [
    ("resnet_2blocks", 16), ("resize", 16), ("unet_128", 128), ("dcgan_enc", 64), ("basic", 64), ("pixel", 16),
])  # fmt: skip
def test_channels_last_is_kept_by_every_layer_and_changes_nothing(name, side):
    torch.manual_seed(0)
    if name in ("basic", "pixel"):
        network = define_discriminator(name, 6, 4)
    else:
        upsample, name = ("resize", "resnet_1blocks") if name == "resize" else ("transposed", name)
        network = define_generator(name, 6, 3, 4, upsample, size=side)
    network = network.double()
    twin = copy.deepcopy(network).to(memory_format=torch.channels_last)
    wrong, seen = [], []

    def look(layer, inputs, made):
        seen.append(layer)
        if not channels_last(made):
            wrong.append(layer)

    for layer in twin.modules():
        layer.register_forward_hook(look)
    x = torch.randn(2, 6, side, side, dtype=torch.double)
    y = x.to(memory_format=torch.channels_last).clone(memory_format=torch.channels_last)
    made = [one(given.requires_grad_()) for one, given in ((network, x), (twin, y))]
    assert not wrong and len(seen) > 5
    torch.testing.assert_close(*made, rtol=1e-12, atol=1e-12)
    for one in made:
        one.square().sum().backward()
    for mine, theirs in zip([y, *twin.parameters()], [x, *network.parameters()], strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-9, atol=1e-12 * (1 + theirs.grad.abs().max().item()))
    assert network.state_dict().keys() == twin.state_dict().keys()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_reflection_by_exact_operations_is_that_of_pytorch(layout):
    """Deterministic algorithms, which PyTorch's own gradient of it is none of on a GPU."""
    x = torch.randn(2, 3, 5, 6, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    x, pad = x.to(memory_format=layout).requires_grad_(), ReflectionPad2d((1, 3, 4, 2))
    torch.use_deterministic_algorithms(True)
    try:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as record:
            made = pad(x)
        called = {event.key for event in record.key_averages()}
    finally:
        torch.use_deterministic_algorithms(False)
    expected = F.pad(x, (1, 3, 4, 2), mode="reflect")
    assert torch.equal(made, expected) and not any("reflection" in name for name in called)
    weights = torch.arange(made.numel(), dtype=torch.double).view_as(made)
    found, true = (torch.autograd.grad((weights * video).sum(), x)[0] for video in (made, expected))
    torch.testing.assert_close(found, true, rtol=1e-12, atol=0)
