"""Colour maps by a user's network: the networks name the nearest colour, so a picture in the colours is its own map."""
import numpy as np
import pytest
import torch

from tests.data.segmentation_networks import COLOURS, Nearest, frozen_graph, onnx_file, tarball, torchscript
from timecyclegan.data import run_deeplab as run_deeplab_module
from timecyclegan.data.deeplab.segmentation import Segmenter
from timecyclegan.data.run_deeplab import DeepLabOptions, main
from timecyclegan.util.errors import UserError
from timecyclegan.video.frames import read_image, write_image
from timecyclegan.video.writer import VideoWriter


def run_deeplab(frames, out, model, batch_size=4, gpu=-1, overwrite=False, dry_run=False, **options):
    run_deeplab_module.run_deeplab(frames, out, model, DeepLabOptions(**options), batch_size, gpu, overwrite, dry_run)


def coloured(seed, height=10, width=14):
    classes = np.random.default_rng(seed).integers(0, len(COLOURS), (height, width))
    return COLOURS[classes].astype(np.uint8)


@pytest.fixture
def frames(tmp_path):
    """Two sequences; the second's frames differ in size."""
    for t in range(5):
        write_image(tmp_path / "in" / "a" / f"{t}.png", coloured(t))
    for t in range(2):
        write_image(tmp_path / "in" / "b" / "c" / f"{t}.png", coloured(9 + t, width=14 + t))
    return tmp_path / "in"


@pytest.fixture
def network(tmp_path):
    return torchscript(tmp_path / "network.pt")


def maps_of(out):
    return {path.relative_to(out).as_posix(): read_image(path) for path in sorted(out.rglob("*.png"))}


def assert_maps_are_the_frames(frames, out):
    found, expected = maps_of(out), maps_of(frames)
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], picture) for name, picture in expected.items())


@pytest.mark.parametrize("batch_size", [1, 3])
def test_torchscript(frames, network, tmp_path, batch_size):
    run_deeplab(frames, tmp_path / "out", network, batch_size=batch_size)
    assert_maps_are_the_frames(frames, tmp_path / "out")


@pytest.mark.parametrize("classes", [False, True])
def test_onnx(frames, tmp_path, classes):
    model = onnx_file(tmp_path / "network.onnx", pytest.importorskip("onnx"), classes)
    run_deeplab(frames, tmp_path / "out", model)
    assert_maps_are_the_frames(frames, tmp_path / "out")


def test_deeplab_tarball_is_cut_to_its_network(frames, tmp_path):
    """OpenCV could run neither the preparation of the picture nor what follows the scores."""
    model = tarball(tmp_path / "deeplab.tar.gz", notes=b"", frozen_inference_graph=frozen_graph(-1, 1))
    run_deeplab(frames, tmp_path / "out", model)
    assert_maps_are_the_frames(frames, tmp_path / "out")


@pytest.mark.parametrize(("options", "low", "high", "deeplab"), [
    ({}, 0, 1, False), ({"range": (0, 255)}, 0, 255, False), ({"output": "logits"}, 0, 1, False),
    ({"input": "sub_7", "output": "logits", "range": (-1, 1)}, -1, 1, True)])
def test_frozen_graph(frames, tmp_path, options, low, high, deeplab):
    (tmp_path / "graph.pb").write_bytes(frozen_graph(low, high, deeplab))
    run_deeplab(frames, tmp_path / "out", tmp_path / "graph.pb", **options)
    assert_maps_are_the_frames(frames, tmp_path / "out")


def test_mean_and_std_are_those_of_the_network(frames, tmp_path):
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    model = torchscript(tmp_path / "network.pt", Nearest(mean, std))
    run_deeplab(frames, tmp_path / "out", model, mean=mean, std=std)
    assert_maps_are_the_frames(frames, tmp_path / "out")


def test_a_size_that_the_network_wants_leaves_maps_in_the_frames_size(tmp_path):
    """Quarters of one colour each; the network sees 32 x 48 pixels, the map has 20 x 30."""
    picture = np.repeat(np.repeat(coloured(3, 2, 2), 10, axis=0), 15, axis=1)
    write_image(tmp_path / "in" / "0.png", picture)

    class Fixed(Nearest):
        def forward(self, x):
            return super().forward(x.reshape(-1, 3, 32, 48))

    model = torchscript(tmp_path / "network.pt", Fixed(), size=(32, 48))
    run_deeplab(tmp_path / "in", tmp_path / "out", model, size=(32, 48))
    found = read_image(tmp_path / "out" / "0.png")
    inner = np.ones((20, 30), bool)
    inner[8:12], inner[:, 13:17] = False, False  # bicubic and bilinear scaling mix at the edges
    assert found.shape == picture.shape and np.array_equal(found[inner], picture[inner])


class Constant(torch.nn.Module):
    """Gives the same, whatever it sees."""

    def __init__(self, result, named=False):
        super().__init__()
        self.result, self.named = torch.as_tensor(result), named

    def forward(self, x):
        result = self.result.expand(x.shape[0], *self.result.shape[1:]) + 0 * x.flatten()[0].to(self.result.dtype)
        return {"aux": x, "out": result} if self.named else result


@pytest.mark.parametrize("named", [False, True])
def test_scores_are_interpolated_before_the_best_is_chosen(tmp_path, named):
    scores = [[[[0.0, 1.0]], [[0.2, 0.2]]]]  # the first class rises: (i + 0.5) / 4 - 0.5 at pixel i, from 0 to 1
    segment = Segmenter(torchscript(tmp_path / "network.pt", Constant(scores, named)))
    found, = segment(np.zeros((1, 3, 8, 8), np.float32), [(3, 8)])
    assert found.tolist() == [[1, 1, 1, 0, 0, 0, 0, 0]] * 3


@pytest.mark.parametrize("shape", [(1, 2, 2), (1, 1, 2, 2)])
def test_classes_are_those_of_the_nearest_pixel(tmp_path, shape):
    classes = np.array([3, 18, 7, 255]).reshape(shape)
    segment = Segmenter(torchscript(tmp_path / "network.pt", Constant(classes)))
    found = segment(np.zeros((2, 3, 8, 8), np.float32), [(4, 6), (2, 2)])
    assert found[0].tolist() == [[3] * 3 + [18] * 3] * 2 + [[7] * 3 + [255] * 3] * 2
    assert found[1].tolist() == [[3, 18], [7, 255]]


@pytest.mark.parametrize(("ids", "colormap", "number", "colour"), [
    ("train", "cityscapes", 255, (0, 0, 0)), ("train", "cityscapes", 0, (128, 64, 128)),
    ("full", "cityscapes", 7, (128, 64, 128)), ("carla", "cityscapes", 24, (128, 64, 128)),
    ("carla", "carla", 24, (157, 234, 50))])
def test_ids_and_colours(tmp_path, ids, colormap, number, colour):
    write_image(tmp_path / "in" / "0.png", coloured(0))
    model = torchscript(tmp_path / "network.pt", Constant(np.full((1, 2, 2), number)))
    run_deeplab(tmp_path / "in", tmp_path / "out", model, ids=ids, colormap=colormap)
    assert (read_image(tmp_path / "out" / "0.png") == colour).all()


def test_video(tmp_path, network):
    picture = np.repeat(np.repeat(coloured(3, 2, 3), 32, axis=0), 32, axis=1)
    with VideoWriter(tmp_path / "clip.webm", 10, 64, 96) as writer:
        for _ in range(3):
            writer.write(picture)
    run_deeplab(tmp_path / "clip.webm", tmp_path / "out", network)
    found = maps_of(tmp_path / "out")
    assert list(found) == ["00000.png", "00001.png", "00002.png"]
    assert all((one[8:24, 8:24] == picture[8, 8]).all() for one in found.values())  # within a patch: video smears edges


def test_a_run_that_broke_off_goes_on(frames, network, tmp_path, capsys):
    whole, out = (frames / "a" / "3.png").read_bytes(), tmp_path / "out"
    (frames / "a" / "3.png").write_bytes(whole[:60])
    with pytest.raises(UserError, match=r"3\.png"):
        run_deeplab(frames, out, network, batch_size=1)
    assert sorted(path.name for path in out.rglob("*.*")) == ["0.png", "1.png", "2.png", "run_deeplab.json"]
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    (frames / "a" / "3.png").write_bytes(whole)
    run_deeplab(frames, out, network, batch_size=1)
    assert "3 of 7 maps are there already" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert_maps_are_the_frames(frames, out)
    write_image(out / "a" / "0.png", coloured(77))
    run_deeplab(frames, out, network, overwrite=True)
    assert_maps_are_the_frames(frames, out)


def test_maps_of_other_models_and_flags_are_not_mixed(frames, network, tmp_path, monkeypatch):
    out, other = tmp_path / "out", torchscript(tmp_path / "other.pt", Constant(np.full((1, 2, 2), 0)))
    run_deeplab(frames / "a", out, network)
    before = {path: path.read_bytes() for path in out.rglob("*.*")}
    for model, options, word in ((other, {}, "model_sha256"), (network, {"std": (0.5,)}, "std"),
                                 (network, {"colormap": "cityscapes", "ids": "full"}, "ids")):
        for dry_run in (True, False):
            with pytest.raises(UserError, match=f"was made with other {word} .*choose another folder"):
                run_deeplab(frames / "a", out, model, dry_run=dry_run, **options)
    with pytest.raises(UserError, match="was made with other frames"):
        run_deeplab(frames / "b", out, network)
    with pytest.raises(UserError, match="would be removed but not made again"):
        run_deeplab(frames / "b", out, other, overwrite=True)
    assert {path: path.read_bytes() for path in out.rglob("*.*")} == before

    write, count = run_deeplab_module.write_image, iter(range(3))
    with monkeypatch.context() as patch, pytest.raises(StopIteration):  # killed before the fourth
        patch.setattr(run_deeplab_module, "write_image", lambda *given: (next(count), write(*given)))
        run_deeplab(frames / "a", out, other, overwrite=True)
    assert list(maps_of(out)) == ["0.png", "1.png", "2.png"]
    run_deeplab(frames / "a", out, other)
    assert len(maps_of(out)) == 5 and all((found == (128, 64, 128)).all() for found in maps_of(out).values())
    run_deeplab(frames / "a", out, network, batch_size=1, overwrite=True)
    assert_maps_are_the_frames(frames / "a", out)


def test_images_of_unknown_origin_are_not_taken_for_maps(frames, network, tmp_path):
    write_image(tmp_path / "out" / "a" / "0.png", coloured(50))
    for overwrite in (False, True):
        with pytest.raises(UserError, match=r"holds what this command did not make \(a/0.png\)"):
            run_deeplab(frames, tmp_path / "out", network, overwrite=overwrite)


def test_dry_run_and_command(frames, network, tmp_path, capsys):
    arguments = [str(frames), str(tmp_path / "out"), "--model", str(network), "--gpu", "-1", "--batch_size", "2"]
    assert main([*arguments, "--dry_run"]) == 0
    assert "7 maps" in capsys.readouterr().out and not (tmp_path / "out").exists()
    assert main([*arguments, "--range", "0", "1", "--mean", "0", "--std", "1", "1", "1"]) == 0
    assert_maps_are_the_frames(frames, tmp_path / "out")


def test_frames_are_not_overwritten(frames, network, tmp_path):
    for folder, out in ((frames, frames), (frames, frames / "maps"), (frames / "a", frames / "a")):
        with pytest.raises(UserError, match="choose another OUT"):
            run_deeplab(folder, out, network, overwrite=True)


def bad_models(tmp_path):
    (tmp_path / "text.onnx").write_bytes(b"text")
    (tmp_path / "text.pb").write_bytes(b"text")
    (tmp_path / "text.tar.gz").write_bytes(b"text")
    (tmp_path / "graph.pb").write_bytes(frozen_graph())
    torch.save({"weight": torch.zeros(1)}, tmp_path / "weights.pt")
    torchscript(tmp_path / "one.pt", Constant([[[[0.5]]]]))
    torchscript(tmp_path / "vector.pt", Constant([[0.5, 0.5]]))
    torchscript(tmp_path / "unknown.pt", Constant([[[30]]]))
    torchscript(tmp_path / "gray.pt", torch.nn.Conv2d(3, 2, 20), size=(32, 32))
    tarball(tmp_path / "empty.tar.gz", other=b"")


@pytest.mark.parametrize(("model", "options", "text"), [
    ("none.pt", {}, "does not exist"), ("net.h5", {}, "unknown kind of file"),
    ("weights.pt", {}, "holds no TorchScript"), ("text.onnx", {}, "cannot be run by OpenCV"),
    ("text.pb", {}, "holds no frozen TensorFlow graph"), ("text.tar.gz", {}, "cannot read model"),
    ("empty.tar.gz", {}, "holds no frozen_inference_graph"),
    ("graph.pb", {"output": "logit"}, "--output 'logit' is not known; did you mean logits"),
    ("graph.pb", {"output": "ResizeBilinear_2"}, "also needs ImageTensor"),
    ("graph.pb", {"input": "logits"}, "does not depend on logits"), ("graph.pb", {"output": "w"}, "does not depend"),
    ("one.pt", {}, "expected classes, whole numbers"), ("vector.pt", {}, "expected scores"),
    ("unknown.pt", {}, "holds ids that are no labels: 30"), ("gray.pt", {}, "cannot take 4x3x10x14"),
    ("one.pt", {"batch_size": 0}, "--batch_size 0"), ("one.pt", {"size": (0, 5)}, "--size must be above 0"),
    ("one.pt", {"size": (5,)}, "--size takes 2, not 1"),
    ("one.pt", {"mean": (1.0, 2.0)}, "--mean takes one number or 3, not 2"),
    ("one.pt", {"std": (0.0,)}, "--std must be above 0"),
    ("one.pt", {"colormap": "carla"}, "no way from Cityscapes")])
def test_errors_are_one_line_and_nothing_is_written(frames, tmp_path, model, options, text):
    bad_models(tmp_path)
    with pytest.raises(UserError) as caught:
        run_deeplab(frames, tmp_path / "out", tmp_path / model, **options)
    assert text in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
