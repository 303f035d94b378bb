"""A source that ``prepare_video`` made is made again of a video: the very pictures that training saw."""
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

import timecyclegan
from tests.clips import decode, write_clip
from tests.training.helpers import TINY, P, message, train
from tests.video.test_scene_cuts import shot
from timecyclegan.data.prepare_video import Settings, prepare_video
from timecyclegan.datasets.derived_sources import MAKERS
from timecyclegan.datasets.loading import read_frames
from timecyclegan.inference.streaming import PictureStream
from timecyclegan.video.frames import find_sequences, resize_image, to_video
from timecyclegan.video.reader import VideoFile

H, W = TINY["image_height"], TINY["image_width"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_clip("clip.mp4", shot(0, 8))
    return tmp_path


def seen_of(monkeypatch, model, clip="clip.mp4"):
    """What the generator is given, uint8-exact: float32 (T, 3, H, W)."""
    found, plain = [], PictureStream.__call__

    def spy(self, sources, *rest):
        (name, frames), = sources.items()
        yield from plain(self, {name: (found.append(frame) or frame for frame in frames)}, *rest)

    monkeypatch.setattr(PictureStream, "__call__", spy)
    with VideoFile(clip) as video:
        list(model.frames([image for image, _ in video.frames()]))
    return to_video(found).numpy()


@pytest.mark.parametrize(("source", "size", "split"), [
    *((source, {"height": 30}, 0.0) for source in MAKERS),
    ("lowres", {}, 0.0), ("flow", {"height": H, "width": W}, 0.0), ("edges", {}, 0.9),
])  # fmt: skip
def test_training_and_testing_see_the_same(monkeypatch, source, size, split):
    prepare_video(Path("clip.mp4"), Path("data"), Settings(source=source, split=split, **size))
    root = Path("data/train" if split else "data")
    train((root / "source", root / "target"), **P | {"num_epochs": 1})
    (frames,) = find_sequences(root / "source").values()
    expected = to_video(read_frames(frames, H, W))
    found = seen_of(monkeypatch, timecyclegan.load("run", source=source))
    np.testing.assert_array_equal(found[: len(expected)], expected)


def test_motion_over_as_many_frames_as_training_saw(monkeypatch):
    """With --every 2 flow leads to the frame before the last one; where there is none yet, it is white."""
    prepare_video(Path("clip.mp4"), Path("data"), Settings(source="flow", every=2, scene_cuts="off"))
    train((Path("data/source"), Path("data/target")), **P | {"num_epochs": 1})
    (frames,) = find_sequences(Path("data/source")).values()
    found = seen_of(monkeypatch, timecyclegan.load("run", source="flow"))
    np.testing.assert_array_equal(found[::2], to_video(read_frames(frames, H, W)))
    assert (found[:2] == 1).all() and not (found[2:] == 1).all()
    with VideoFile("clip.mp4") as video:
        images = [image for image, _ in video.frames()]
    made = resize_image(MAKERS["flow"](images[5], images[3]), H, W)
    np.testing.assert_array_equal(found[5], to_video(made[None])[0])


def test_the_command_does_the_same(monkeypatch):
    prepare_video(Path("clip.mp4"), Path("data"), Settings(source="edges"))
    train((Path("data/source"), Path("data/target")), **P | {"num_epochs": 1})
    timecyclegan.load("run", source="edges").translate("clip.mp4", "api.mp4", side_by_side=True)
    monkeypatch.syspath_prepend(str(Path(timecyclegan.__file__).parents[1]))
    monkeypatch.delitem(sys.modules, "test", raising=False)  # Python has a package of this name
    argv = "test.py run clip.mp4 --source edges --video out.mp4 --side_by_side"
    monkeypatch.setattr(sys, "argv", argv.split())
    assert importlib.import_module("test").main() == 0
    sys.modules.pop("test")
    np.testing.assert_array_equal(decode("out.mp4"), decode("api.mp4"))


def test_what_cannot_be_known_is_said(capsys):
    prepare_video(Path("clip.mp4"), Path("data"), Settings(source="edges"))
    train((Path("data/source"), Path("data/target")), **P | {"num_epochs": 1})
    assert "--source gray: checkpoints/run was trained on edges" in message(timecyclegan.load, "run", source="gray")
    capsys.readouterr()
    timecyclegan.load("run", source="edges")
    timecyclegan.load("run")
    assert capsys.readouterr().out == ""
    Path("data/source").rename("drawn")
    train((Path("drawn"), Path("data/target")), **P | {"num_epochs": 1, "overwrite": True})
    capsys.readouterr()
    timecyclegan.load("run", source="edges")
    out = capsys.readouterr().out
    assert out.startswith("note: checkpoints/run does not say") and out.count("\n") == 1
