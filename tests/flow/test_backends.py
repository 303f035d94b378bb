"""Back ends on known motion; confidence from its definition."""
import cv2
import numpy as np
import pytest
import torch
from torchvision.models import optical_flow

from tests.flow.known_motion import ROTATION, TRANSLATION, end_point_error, moved
from tests.seeded import seeded_weights
from timecyclegan.flow import (
    BACKENDS,
    WITHOUT_WEIGHTS,
    check_backend,
    choose_backend,
    flow_backend,
    photometric_confidence,
)
from timecyclegan.flow.networks import Network
from timecyclegan.losses.warp import warp
from timecyclegan.models.networks.flownet2_pytorch import FlowNet2
from timecyclegan.util.errors import UserError
from timecyclegan.video.frames import to_video


def texture(height=64, width=96, seed=0):
    """(1, 3, H, W) in [-1, 1], smooth enough to follow."""
    noise = np.random.default_rng(seed).random((height, width, 3)).astype(np.float32)
    image = cv2.GaussianBlur(noise, (0, 0), 2)
    image = (image - image.min()) / (image.max() - image.min()) * 2 - 1
    return torch.from_numpy(image).movedim(-1, 0)[None]


@pytest.fixture(autouse=True)
def empty_hub(tmp_path):
    """No published weights, and no way to fetch them."""
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path / "hub"))
    yield tmp_path / "hub" / "checkpoints"
    torch.hub.set_dir(before)


@pytest.mark.parametrize("name", WITHOUT_WEIGHTS)
@pytest.mark.parametrize(("dx", "dy"), [(3, 0), (0, 2), (-2, 1)])
def test_flow_leads_back_to_the_frame_before(name, dx, dy):
    """What was at p in the frame before is at p + (dx, dy) now."""
    previous = torch.cat([texture(), texture(seed=1)])
    frame = previous.roll((dy, dx), dims=(2, 3))
    flow, confidence = flow_backend(name)(frame, previous)
    assert flow.shape == (2, 2, 64, 96) and confidence.shape == (2, 1, 64, 96)
    assert flow.dtype == frame.dtype
    inside = flow[:, :, 12:-12, 12:-12]
    expected = torch.tensor([-dx, -dy], dtype=torch.float32).view(1, 2, 1, 1).expand_as(inside)
    assert (inside - expected).norm(dim=1).mean() < 0.2
    assert confidence[:, :, 12:-12, 12:-12].mean() > 0.95


# End-point errors measured on textures of 256x256 pixels, in pixels: a translation by 3.5, a rotation by 2 degrees.
FIGURES = {"farneback": (0.01, 0.08), "dis": (0.03, 0.06)}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", WITHOUT_WEIGHTS)
def test_known_motion_is_found_as_precisely_as_measured(name, seed):
    for matrix, figure in zip((TRANSLATION, ROTATION), FIGURES[name], strict=True):
        *images, true = moved(matrix, seed)
        flow, _ = flow_backend(name)(*(to_video(image[None]) for image in images))
        inner = slice(16, -16), slice(16, -16)  # windows that reach over the border see less
        assert round(end_point_error(flow[0].movedim(0, -1).numpy(), true, inner), 2) <= figure


def test_known_motion_by_hand():
    *_, flow = moved(TRANSLATION)
    assert (flow == (-3.5, 0)).all()
    *_, flow = moved(ROTATION)
    sine, cosine = np.sin(np.radians(2)), np.cos(np.radians(2))
    x, y = 10 - 127.5, 200 - 127.5  # OpenCV's positive angles turn counterclockwise to the eye; y points down
    expected = (cosine * x - sine * y - x, sine * x + cosine * y - y)
    assert flow[200, 10] == pytest.approx(expected, abs=1e-9)
    assert end_point_error(np.zeros((4, 4, 2)), np.full((4, 4, 2), (3.0, 4.0))) == 5


# Odd and even, wide and high, below and above what the networks ask for.
SIZES = [(17, 23), (23, 17), (5, 9), (31, 300), (64, 64), (97, 131), (128, 127), (200, 33), (257, 255), (300, 500)]


def any_size(backend, height, width):
    frame, previous = texture(height, width), texture(height, width, seed=1)
    flow, confidence = backend(frame, previous)
    assert flow.shape == (1, 2, height, width) and flow.isfinite().all() and flow.dtype == frame.dtype
    assert confidence.shape == (1, 1, height, width) and confidence.min() >= 0 and confidence.max() <= 1


@pytest.mark.parametrize("name", WITHOUT_WEIGHTS)
def test_any_size(name):
    for height, width in SIZES:
        any_size(flow_backend(name), height, width)


def raft_with_weights(name, path):
    """RAFT from a file of seeded weights."""
    network = {"raft": optical_flow.raft_large, "raft_small": optical_flow.raft_small}[name](weights=None).state_dict()
    shapes = {key: value.shape for key, value in network.items() if value.is_floating_point() and value.ndim != 1}
    torch.save(network | seeded_weights(shapes), path)
    return flow_backend(name, str(path))


def test_raft_at_any_size(tmp_path):
    backend = raft_with_weights("raft_small", tmp_path / "raft_small.pth")
    for height, width in (SIZES[2], SIZES[3], SIZES[5], SIZES[8]):
        any_size(backend, height, width)


def test_raft_out_of_a_wrapper(tmp_path):
    """Its authors trained with nn.DataParallel."""
    plain = raft_with_weights("raft_small", tmp_path / "plain.pth").network.state_dict()
    wrapped = {f"module._orig_mod.{key}": value for key, value in plain.items()}
    torch.save(wrapped, tmp_path / "wrapped.pth")
    found = flow_backend("raft_small", str(tmp_path / "wrapped.pth")).network.state_dict()
    assert all(torch.equal(found[key], value) for key, value in plain.items())


@pytest.mark.slow
def test_large_raft_at_any_size(tmp_path):
    backend = raft_with_weights("raft", tmp_path / "raft.pth")
    for height, width in SIZES:
        any_size(backend, height, width)


@pytest.mark.slow
def test_flownet2_at_any_size(tmp_path):
    shapes = FlowNet2().state_dict()
    state = seeded_weights({name: value.shape for name, value in shapes.items()})
    torch.save({"epoch": 0, "state_dict": state}, tmp_path / "FlowNet2.tar")
    backend = flow_backend("flownet2", str(tmp_path / "FlowNet2.tar"))
    for height, width in SIZES:
        any_size(backend, height, width)


def test_confidence_by_hand():
    frame, previous = torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)
    previous[0, :, 0, 1] = 0.08  # 3 * 0.0064 = 0.0192
    previous[0, :, 1, 0] = 0.09  # 3 * 0.0081 = 0.0243
    found = photometric_confidence(frame, previous, torch.zeros(1, 2, 2, 2))
    assert found.flatten().tolist() == [1, 1, 0, 1]
    flow = torch.zeros(1, 2, 2, 2)
    flow[0, 0, 1, 0] = 1  # look beside it
    assert photometric_confidence(frame, previous, flow).all() and warp(previous, flow)[0, 0, 1, 0] == 0


def test_unknown_back_end_gets_a_suggestion():
    with pytest.raises(UserError, match=r"--flow_backend 'farnebak' is not known; did you mean farneback\?"):
        flow_backend("farnebak")


@pytest.mark.parametrize("name", [name for name in BACKENDS if name not in WITHOUT_WEIGHTS])
def test_missing_weights_say_which_file_goes_where(name, empty_hub, monkeypatch):
    def offline(*_args, **_kwargs):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(UserError) as error:
        flow_backend(name)
    assert str(empty_hub) in str(error.value) and "http" in str(error.value) and "\n" not in str(error.value)


def test_auto_takes_flownet2_where_its_file_is_found(empty_hub, capsys, tmp_path):
    assert choose_backend("auto") == "farneback"
    assert "farneback" in capsys.readouterr().out
    assert choose_backend("auto", str(tmp_path / "mine.tar")) == "flownet2"
    empty_hub.mkdir(parents=True)
    (empty_hub / "FlowNet2_checkpoint.pth.tar").touch()
    assert choose_backend("auto") == "flownet2"
    assert choose_backend("dis") == "dis"


@pytest.mark.parametrize("name", WITHOUT_WEIGHTS)
def test_weights_for_what_has_none(name):
    with pytest.raises(UserError, match=f"--flow_weights x: --flow_backend {name} has no weights"):
        check_backend(name, "x")


def constant_flow(dx, dy, height=8, width=10):
    return torch.tensor([dx, dy], dtype=torch.float32).view(1, 2, 1, 1).expand(1, 2, height, width).contiguous()


@pytest.mark.parametrize(("height", "width", "seen"), [(64, 64, (64, 64)), (100, 150, (96, 144)), (17, 40, (64, 160)),
                                                       (300, 500, (304, 496))])  # fmt: skip
def test_flow_at_a_networks_size(height, width, seen):
    """Sizes the network can take, nearly the same shape, and dx and dy in pixels of the frames that came."""
    class Half(Network):
        network, multiple, smallest = torch.nn.Identity(), 16 if seen != (64, 160) else 32, 64

        def pair(self, frame, previous):
            h, w = frame.shape[-2:]
            assert (h, w) == seen and previous.shape == frame.shape
            return constant_flow(0.5 * w, 0.25 * h, h, w)  # half a width to the right, a quarter of a height down

    frame = torch.zeros(1, 3, height, width)
    flow, confidence = Half()(frame, frame)
    torch.testing.assert_close(flow, constant_flow(0.5 * width, 0.25 * height, height, width))
    assert confidence.shape == (1, 1, height, width) and (confidence == 1).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_network_is_exact_inside_autocast(dtype):
    """Training in bfloat16 has the flow that training in float32 has, whatever its frames are rounded to."""

    class Convolution(Network):
        file, multiple, smallest = None, 8, 8

        def __init__(self):
            torch.manual_seed(0)
            self.network = torch.nn.Conv2d(6, 2, 3, padding=1)

        def pair(self, frame, previous):
            return 30 + self.network(torch.cat([frame, previous], dim=1))

    backend = Convolution()
    frame, previous = texture(20, 28).to(dtype), texture(20, 28, seed=1).to(dtype)
    expected = backend(frame.float(), previous.float())
    with torch.autocast("cpu", torch.bfloat16):
        found = backend(frame, previous)
    assert all(a.dtype == torch.float32 and torch.equal(a, b) for a, b in zip(found, expected, strict=True))
