"""AlexNet and Inception with seeded weights: as files in torch hub's cache, and AlexNet in other packages' LPIPS."""
import copy
import functools
from types import SimpleNamespace

import pytest
import torch
import torchvision

from tests.seeded import seeded_weights
from timecyclegan.evaluation.base import Settings
from timecyclegan.evaluation.features.alexnet import PerceptualView
from timecyclegan.evaluation.features.inception import URL as FID_WEIGHTS_URL
from timecyclegan.evaluation.features.inception import InceptionView

CONVOLUTIONS = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}


@pytest.fixture(scope="session")
def alexnet_state():
    """What the published file holds, without the classifier (Krizhevsky 2014, by torchvision's names)."""
    shapes = {}
    for layer, (width, channels, kernel) in CONVOLUTIONS.items():
        shapes |= {f"features.{layer}.weight": (width, channels, kernel, kernel), f"features.{layer}.bias": (width,)}
    return seeded_weights(shapes)


@pytest.fixture(scope="session")
def alexnet_home(alexnet_state, tmp_path_factory):
    """A TORCH_HOME where AlexNet's file lies, which has more in it than LPIPS needs, as the published one."""
    home = tmp_path_factory.mktemp("home")
    folder = home / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save({**alexnet_state, "classifier.6.bias": torch.zeros(1000)}, folder / "alexnet-owt-7be5be79.pth")
    return home


@pytest.fixture(scope="module")
def alexnet(alexnet_home):
    """For the whole of a module, torch hub's cache has AlexNet's file; gives its path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(alexnet_home))
        patch.setattr(torch.hub, "_hub_dir", None)
        yield alexnet_home / "hub" / "checkpoints" / "alexnet-owt-7be5be79.pth"


@pytest.fixture(scope="module")
def perceptual(alexnet):
    return PerceptualView(Settings())


@pytest.fixture
def torchvision_alexnet(alexnet_state, monkeypatch):
    """torchvision's own AlexNet has the seeded weights, whoever asks for it and however."""
    with torch.device("meta"):
        features = torchvision.models.alexnet(weights=None).features
    weights = {name.removeprefix("features."): value.clone() for name, value in alexnet_state.items()}
    features.load_state_dict(weights, assign=True)
    monkeypatch.setattr(torchvision.models, "alexnet",
                        lambda **options: SimpleNamespace(features=copy.deepcopy(features)))


@pytest.fixture
def plain_lpips(torchvision_alexnet):
    """The lpips package called plainly: two frames, uint8 (H, W, 3), to their distance, one pair at a time."""
    import lpips

    network = lpips.LPIPS(net="alex", verbose=False)

    @torch.no_grad()
    def compare(first, second):
        return network(*(torch.tensor(frame).permute(2, 0, 1)[None] / 127.5 - 1 for frame in (first, second))).item()

    return compare


@pytest.fixture(scope="session")
def inception_home(tmp_path_factory):
    """A TORCH_HOME where the file of FID's Inception lies."""
    with torch.device("meta"):  # FID's variant pools in another way and has the same parameters
        network = torchvision.models.inception_v3(num_classes=1008, aux_logits=False, init_weights=False)
    home = tmp_path_factory.mktemp("home")
    folder = home / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    state = seeded_weights({name: tuple(value.shape) for name, value in network.state_dict().items()})
    torch.save(state, folder / FID_WEIGHTS_URL.rsplit("/", 1)[-1])
    return home


@pytest.fixture
def inception_file(inception_home, monkeypatch):
    """Torch hub's cache has that file; gives its path."""
    monkeypatch.setenv("TORCH_HOME", str(inception_home))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    return inception_home / "hub" / "checkpoints" / FID_WEIGHTS_URL.rsplit("/", 1)[-1]


@pytest.fixture(scope="session")
def inception(inception_home):
    """Number of features -> the extractor with the seeded weights, each made once."""
    @functools.cache
    def extractor(dims):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TORCH_HOME", str(inception_home))
            patch.setattr(torch.hub, "_hub_dir", None)
            return InceptionView(Settings(fid_dims=dims)).features

    return extractor
