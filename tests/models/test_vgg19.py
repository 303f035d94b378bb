"""VGG19 features with weights from a hub cache that the test makes; nothing is downloaded."""
import pytest
import torch
import torchvision

from tests.seeded import seeded_weights
from timecyclegan.models import get_model
from timecyclegan.models.networks import vgg19
from timecyclegan.util.errors import UserError
from timecyclegan.util.hub import hub_file
from timecyclegan.util.options import Options

FILE = "vgg19-dcbb9e9d.pth"


def feature_shapes():
    """Shapes by name of VGG19's convolutions up to relu5_1 (Simonyan and Zisserman 2015, configuration E)."""
    shapes, channels, layer = {}, 3, 0
    for width, convolutions in ((64, 2), (128, 2), (256, 4), (512, 4), (512, 1)):
        for _ in range(convolutions):
            shapes[f"features.{layer}.weight"] = (width, channels, 3, 3)
            shapes[f"features.{layer}.bias"] = (width,)
            channels, layer = width, layer + 2  # a ReLU follows
        layer += 1  # and the pooling after each group
    return shapes


@pytest.fixture(scope="module")
def weights():
    return seeded_weights(feature_shapes())


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty hub cache without a way to the internet."""

    def refuse(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)  # what torch.hub.set_dir would have set
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_seeded_weights_are_the_published_ones(weights):
    """Two numbers of the rule, worked out in plain integers."""

    def value(name, j, scale):
        import zlib

        h = (zlib.crc32(name.encode()) + j * 0x9E3779B1) % 2**32
        h = (h ^ (h >> 16)) * 0x85EBCA6B % 2**32
        h = (h ^ (h >> 13)) * 0xC2B2AE35 % 2**32
        return scale * ((h ^ (h >> 16)) / 2**31 - 1)

    assert weights["features.0.bias"][63].item() == pytest.approx(value("features.0.bias", 63, 0.1), abs=1e-8)
    assert weights["features.0.weight"].flatten()[1727].item() == pytest.approx(
        value("features.0.weight", 1727, (6 / 27) ** 0.5), abs=1e-7
    )


def test_features_equal_torchvisions(weights, cache):
    torch.save(weights, cache / FILE)
    network = vgg19.VGG19Features().double()
    with torch.device("meta"):
        reference = torchvision.models.vgg19(weights=None).features[:30]
    reference.load_state_dict({k.removeprefix("features."): v.clone() for k, v in weights.items()}, assign=True)
    reference.double()

    x = (torch.rand(2, 3, 32, 48, dtype=torch.double) * 2 - 1).requires_grad_(True)
    mean, std = (torch.tensor(v).double() for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))  # rounded alike
    y = torchvision.transforms.functional.normalize((x + 1) / 2, mean, std)
    expected = []
    for index, layer in enumerate(reference):
        y = layer(y)
        if index in (1, 6, 11, 20, 29):
            expected.append(y.clone())  # torchvision's ReLUs work in place
    found = network(x)
    assert [tuple(f.shape[1:]) for f in found] == [(64, 32, 48), (128, 16, 24), (256, 8, 12), (512, 4, 6), (512, 2, 3)]
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.abs().max() > 0
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-9)
    gradients = [torch.autograd.grad(sum(f.square().mean() for f in features), x)[0] for features in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-9)


def test_size_error_is_true(weights, cache):
    torch.save(weights, cache / FILE)
    network = vgg19.VGG19Features()
    for size in ((16, 16), (16, 31), (15, 16), (40, 15)):
        try:
            works = network(torch.zeros(1, 3, *size))[-1].numel() > 0
        except RuntimeError:
            works = False
        assert works == (vgg19.size_error(*size) is None), size


def test_weights_are_frozen_but_gradients_reach_the_input(weights, cache):
    torch.save(weights, cache / FILE)
    network = vgg19.VGG19Features()
    assert not network.training
    x = torch.rand(1, 3, 16, 16, requires_grad=True)
    network(x)[-1].sum().backward()
    assert x.grad.abs().sum() > 0
    assert all(p.grad is None and not p.requires_grad for p in network.parameters())


def test_set_dir_moves_the_cache(weights, cache, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "checkpoints").mkdir(parents=True)
    torch.save(weights, elsewhere / "checkpoints" / FILE)
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    torch.hub.set_dir(str(elsewhere))
    assert hub_file(vgg19.URL) == elsewhere / "checkpoints" / FILE
    vgg19.VGG19Features()


def options(**changes):
    return Options(
        **{"model_type": "pix2pix", "image_height": 24, "image_width": 24, "generator_filters": 2,
           "generator_architecture": "resnet_1blocks", "discriminator_filters": 2, **changes}
    )  # fmt: skip


def test_missing_file_says_what_to_do(cache):
    with pytest.raises(UserError) as error:
        get_model("pix2pix", options(perceptual_loss_weight=1.0))
    message = str(error.value)
    assert "\n" not in message
    for part in (str(cache / FILE), f"https://download.pytorch.org/models/{FILE}", "--perceptual_loss_weight",
                 "no network"):
        assert part in message


@pytest.mark.parametrize("wrong", ["other network", "other shapes", "no state dict", "no file of torch", "empty"])
def test_wrong_file_is_refused(wrong, weights, cache):
    path = cache / FILE
    if wrong == "other network":
        torch.save({"features.0.weight": torch.zeros(64, 3, 11, 11)}, path)
    elif wrong == "other shapes":
        torch.save({**weights, "features.28.bias": torch.zeros(7)}, path)
    elif wrong == "no state dict":
        torch.save([1, 2], path)
    else:
        path.write_bytes(b"" if wrong == "empty" else b"<html>not found</html>")
    with pytest.raises(UserError) as error:
        vgg19.VGG19Features()
    assert str(path) in str(error.value) and vgg19.URL in str(error.value)


def test_weight_0_and_inference_never_build_it(monkeypatch):
    def refuse(*args):
        raise AssertionError("VGG19 was built")

    monkeypatch.setattr(vgg19, "VGG19Features", refuse)
    get_model("pix2pix", options())
    get_model("pix2pix", options(perceptual_loss_weight=1.0), training=False)
    with pytest.raises(AssertionError):
        get_model("pix2pix", options(perceptual_loss_weight=1.0))


def test_it_is_neither_saved_nor_trained(weights, cache):
    torch.save(weights, cache / FILE)
    plain = get_model("pix2pix", options())
    model = get_model("pix2pix", options(perceptual_loss_weight=1.0))
    assert model.state_dict().keys() == plain.state_dict().keys()
    assert len(list(model.parameters())) == len(list(plain.parameters()))
