"""What pixels mean: motion in colours leads the other way in a mirror, label maps get no colours that they have not."""
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.helpers import P, train, trainer, write_data
from timecyclegan.data import resize_images
from timecyclegan.data.prepare_video import Settings, prepare_video
from timecyclegan.datasets.derived_sources import MAKERS
from timecyclegan.datasets.pixels import mirror, pixels_of
from timecyclegan.datasets.video_dataset import PairedVideoDataset, UnpairedVideoDataset
from timecyclegan.flow.pictures import flow_picture
from timecyclegan.inference import folders, translator
from timecyclegan.inference.streaming import PictureStream
from timecyclegan.inference.trained import load_model, load_options
from timecyclegan.models import default_options
from timecyclegan.util.options import Options
from timecyclegan.video.frames import find_sequences, to_uint8, write_image
from timecyclegan.video.writer import VideoWriter

CLASSES = np.array([(0, 0, 0), (128, 64, 128), (70, 130, 180), (220, 20, 60), (107, 142, 35)], np.uint8)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def colours(frames):
    return set(map(tuple, np.asarray(frames).reshape(-1, 3).tolist()))


def label_map(t=0, height=36, width=60):
    """Areas of exact colours, which move."""
    y, x = np.mgrid[:height, :width]
    return CLASSES[(y // 9 + (x + 2 * t) // 13) % len(CLASSES)]


def write_labels(root, size=(36, 60), lengths=(5,)):
    """ROOT/source: label maps; ROOT/target: noise."""
    data = write_data(root, lengths, *size)
    for path in data[0].rglob("*.png"):
        write_image(path, label_map(int(path.stem), *size))
    return data


# --- motion in colours

def test_a_mirror_turns_motion_round():
    """The picture of motion in a mirror is that of (-dx, dy) at the mirrored place."""
    flow = np.random.default_rng(0).normal(0, 3, (40, 30, 2))
    shown = mirror(flow_picture(flow, 5.0), "flow")
    expected = flow_picture(flow[:, ::-1] * [-1, 1], 5.0)
    assert abs(shown.astype(int) - expected).max() <= 1  # pictures are rounded
    assert np.array_equal(mirror(shown, "flow"), flow_picture(flow, 5.0))
    right, left = (np.full((4, 4, 3), colour, np.uint8) for colour in ((255, 0, 0), (0, 255, 255)))
    assert np.array_equal(mirror(right, "flow"), left) and np.array_equal(mirror(right, "pictures"), right)


def moving_clip(path, step=3, frames=8, height=48, width=96):
    """A texture that moves to the right by ``step`` pixels a frame."""
    rng = np.random.default_rng(3)
    texture = np.kron(rng.integers(0, 256, (12, 60, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    with VideoWriter(path, 10, height, width) as writer:
        for t in range(frames):
            writer.write(np.roll(texture, step * t, axis=1)[:, :width])


def test_a_mirrored_clip_shows_the_mirrored_motion():
    """It moves to the left, and so say the colours: as if they had been made of the mirrored frames."""
    moving_clip("clip.mp4")
    prepare_video(Path("clip.mp4"), Path("data"), Settings(source="flow", scene_cuts="off"))
    run = trainer((Path("data/source"), Path("data/target")), image_height=48, image_width=96, **P)
    assert run.options.source_pixels == "flow" and run.options.target_pixels == "pictures"
    dataset, seen = run.loader.dataset.dataset, set()  # without its noise
    for epoch in range(8):
        sample = dataset[epoch, 0]
        source, target = to_uint8(sample["source"]), to_uint8(sample["target"])
        made = MAKERS["flow"](target[2], target[1])
        inner = np.s_[8:-8, 16:-16]
        assert abs(source[2][inner].astype(int) - made[inner]).mean() < 8
        # Flow leads back to the frame before: cyan (left) where the clip moves to the right.
        red, _, blue = source[2][inner].mean((0, 1))
        mirrored = dataset.draw((epoch, 0))[2].mirrored
        assert (red > blue + 20) if mirrored else (blue > red + 20)
        seen.add(mirrored)
    assert seen == {True, False}


@pytest.mark.parametrize("made", ["results/run", "data/train"])
def test_whose_motion_it_is(made):
    """Drawn by test.py -m flownet, or made by prepare_video; a sequence of it as well."""
    for t in range(3):
        write_image(Path(made) / "source/clip" / f"{t}.png", flow_picture(np.full((8, 8, 2), t - 1.0), 2.0))
    if made == "results/run":
        facts = {"flow_backend": "dis", "flow_weights": None, "scale_px": {"clip": 2.0}}
        (Path(made) / "source/flow.json").write_text(json.dumps(facts))
    else:
        Path("data/prepare_video.json").write_text(json.dumps({"settings": {"source": "flow", "every": 1}}))
    for root in (Path(made) / "source", Path(made) / "source/clip"):
        assert pixels_of(root, find_sequences(root)) == ("flow", 0)


def test_motion_of_which_nothing_is_known_is_asked_about(capsys):
    """A folder that was moved. It is not turned unless that is said."""
    data = write_data(Path("data"))
    for path in data[0].rglob("*.png"):
        flow = np.random.default_rng(int(path.stem)).normal(0, 3, (12, 20, 2))
        write_image(path, flow_picture(flow, 5.0))
    assert trainer(data, **P).options.source_pixels == "pictures"
    said = capsys.readouterr().out
    assert said.count("look like motion in colours") == 1 and "--source_pixels flow" in said and str(data[0]) in said
    trainer(data, **P, source_pixels="flow")
    trainer(data, **P, flip=False)
    trainer(data[::-1], **P, target_pixels="pictures")
    assert "look like" not in capsys.readouterr().out


# --- label maps

def rounded_gray():
    levels = np.linspace(0, 19, 60).round()[None, :, None] + np.zeros((36, 1, 3))
    return (levels + 20).astype(np.uint8)


PICTURES = {
    "noise": lambda t: np.random.default_rng(t).integers(0, 256, (36, 60, 3), dtype=np.uint8),
    "dithered": lambda t: CLASSES[np.random.default_rng(t).integers(0, 5, (36, 60))],
    "smooth, of 20 levels": lambda t: rounded_gray(),
    "edges": lambda t: MAKERS["edges"](np.roll(label_map(), t, 1), None),
    "of one colour": lambda t: np.full((36, 60, 3), 20 * t, np.uint8),
    "smaller than any area": lambda t: np.full((2, 2, 3), t, np.uint8),
}


@pytest.mark.parametrize("name", PICTURES)
def test_what_is_no_label_map(name):
    for t in range(4):
        write_image(Path("frames") / f"{t}.png", PICTURES[name](t))
    assert pixels_of(Path("frames"), find_sequences(Path("frames"))) == ("pictures", 0)


def test_label_maps_are_found_and_said(capsys):
    data = write_labels(Path("data"), lengths=(5, 4))
    run = trainer(data, **P)
    assert (run.options.source_pixels, run.options.target_pixels) == ("labels", "pictures")
    said = [line for line in capsys.readouterr().out.splitlines() if "exact colours" in line]
    assert len(said) == 1 and f"{data[0]} have few exact colours (5)" in said[0] and "--source_pixels" in said[0]
    trainer(data, **P, source_pixels="pictures")
    assert "exact colours" not in capsys.readouterr().out


@pytest.mark.parametrize("load", [(0, 0), (17, 29)])
def test_training_sees_no_class_that_there_is_not(load):
    data = write_labels(Path("data"))
    for pixels, exact in (("auto", True), ("labels", True), ("pictures", False)):
        run = trainer(data, **P, source_pixels=pixels, load_height=load[0], load_width=load[1])
        seen = colours(to_uint8(run.loader.dataset[0, 0]["source"]))
        assert (seen <= colours(CLASSES)) is exact


def test_testing_does_as_training_did(monkeypatch, capsys):
    """A folder of other frames, and a video: what was found when training began counts, not what they look like."""
    train(write_labels(Path("data")), **P)
    other = label_map(0, 50, 70)
    write_image(Path("other/a/0.png"), other)
    seen, plain = [], PictureStream.__call__

    def spy(self, sources, *rest):
        (name, frames), = sources.items()
        yield from plain(self, {name: (seen.append(frame) or frame for frame in frames)}, *rest)

    monkeypatch.setattr(PictureStream, "__call__", spy)
    options = load_options("run")
    assert options.source_pixels == "labels"
    assert Options.load("checkpoints/run/options.json") == options
    folders.translate_folders(load_model("run", options), find_sequences(Path("other")), Path("out"), options)
    list(translator.load("run").frames([other]))
    assert len(seen) == 2 and colours(np.stack(seen)) <= colours(CLASSES)


def test_a_run_goes_on_as_it_began(capsys):
    """Also one that began before there was a choice: it goes on with a smooth filter."""
    data = write_labels(Path("data"))
    train(data, **P, num_epochs=1)
    capsys.readouterr()
    again = trainer(data, resume=True, **P, num_epochs=2)
    assert again.options.source_pixels == again.stage.source_pixels == "labels"
    assert "exact colours" not in capsys.readouterr().out
    saved = torch.load("checkpoints/run/latest.pth")
    for name in ("source_pixels", "target_pixels"):
        del saved["options"][name]
    torch.save(saved, "checkpoints/run/latest.pth")
    older = trainer(data, resume=True, **P, num_epochs=2)
    assert not older.options.label_maps("source")
    assert not colours(to_uint8(older.loader.dataset[0, 0]["source"])) <= colours(CLASSES)


def test_unpaired_label_maps_of_the_target(tmp_path):
    data = write_labels(Path("data"))[::-1]
    options = vars(default_options("cyclegan", image_height=12, image_width=20, gpu=-1, threads=0,
                                   generator_filters=2, generator_architecture="resnet_1blocks",
                                   discriminator_architecture="pixel"))  # fmt: skip
    run = trainer(data, **options)
    assert (run.options.source_pixels, run.options.target_pixels) == ("pictures", "labels")
    assert colours(to_uint8(run.loader.dataset[0, 0]["target"])) <= colours(CLASSES)


def test_a_dataset_by_itself_finds_out_too():
    data = write_labels(Path("data"))
    for kind in (PairedVideoDataset, UnpairedVideoDataset):
        dataset = kind(*data, 3, 12, 20)
        assert dataset.pixels == {"source": "labels", "target": "pictures"}
        assert colours(to_uint8(dataset[0, 0]["source"])) <= colours(CLASSES)


def test_resizing_label_maps_smoothly_is_noted(capsys):
    data = write_labels(Path("data"))
    for folder, flags, noted in ((data[0], [], True), (data[0], ["--nearest"], False), (data[1], [], False)):
        resize_images.main([str(folder), f"out{folder.name}{len(flags)}", "--height", "20", *flags])
        assert ("few exact colours: for label maps say --nearest" in capsys.readouterr().out) is noted
