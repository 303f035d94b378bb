"""Seeded weights of Inception, put where a user would put the real ones."""
import functools

import pytest
import torch
from pytorch_fid.inception import FID_WEIGHTS_URL
from torchvision.models import inception_v3

from tests.seeded import seeded_weights
from timecyclegan.evaluation.inception import InceptionFeatures


@pytest.fixture(scope="session")
def inception_weights(tmp_path_factory):
    """A folder to be TORCH_HOME, in which there is nothing but Inception's weights."""
    with torch.device("meta"):  # FID's variant pools in another way and has the same parameters
        network = inception_v3(num_classes=1008, aux_logits=False, init_weights=False)
    home = tmp_path_factory.mktemp("torch")
    folder = home / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    state = seeded_weights({name: tuple(value.shape) for name, value in network.state_dict().items()})
    torch.save(state, folder / FID_WEIGHTS_URL.rsplit("/", 1)[-1])
    return home


@pytest.fixture
def inception_hub(inception_weights, monkeypatch):
    """Torch hub's cache is that folder."""
    monkeypatch.setenv("TORCH_HOME", str(inception_weights))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)  # what torch.hub.set_dir would have set
    return inception_weights / "hub" / "checkpoints"


@pytest.fixture(scope="session")
def inception(inception_weights):
    """Dimensions to the extractor with seeded weights, each made once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(inception_weights))
        patch.setattr(torch.hub, "_hub_dir", None)
        yield functools.cache(lambda dims: InceptionFeatures(-1, dims))
