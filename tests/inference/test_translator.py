"""Translating videos, by ``timecyclegan.load`` and by ``test.py --video``, against translating frames one by one."""
import importlib
import itertools
import os
import re
import signal
import sys
import weakref
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import timecyclegan
from tests.clips import decode, hide_codec, moving, rotate, write_clip
from tests.training.helpers import TINY, message, train, write_data
from tests.video.test_scene_cuts import shot
from timecyclegan.datasets.derived_sources import MAKERS
from timecyclegan.inference import translator
from timecyclegan.inference.streaming import PictureStream, stream
from timecyclegan.inference.trained import load_model, load_options
from timecyclegan.util.errors import UserError
from timecyclegan.video.frames import read_image, resize_image, to_uint8, to_video
from timecyclegan.video.panels import side_by_side
from timecyclegan.video.reader import VideoFile
from timecyclegan.video.writer import VideoWriter

ROOT = Path(__file__).parents[2]
H, W = TINY["image_height"], TINY["image_width"]


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    """A folder with two runs, "run" (paired, recurrent) and "two" (unpaired)."""
    path, before = tmp_path_factory.mktemp("runs"), Path.cwd()
    os.chdir(path)
    data = write_data("data", (4,), H, W)
    train(data, "run", model_type="timecycle", timecycle_loss_weight=1.0, num_epochs=1)
    train(data, "two", model_type="seqcyclegan", num_epochs=1, l1_loss_weight=0.0, pool_size=0)
    yield path
    os.chdir(before)


@pytest.fixture(scope="module")
def clip(folder):
    return write_clip(folder / "clip.mkv", moving(14), rate=Fraction(24000, 1001), sound=("libopus", 0.5))


def plainly(name, images, domain="target", seed=0):
    """Each image resized to the trained size, the sequence translated, and each result resized back."""
    model = load_model(name, load_options(name))
    sources = to_video(np.stack([resize_image(image, H, W) for image in images]))
    made = stream(model, {".": sources}, seed, domain)
    return [resize_image(to_uint8(frame), *images[0].shape[:2]) for _, frame in made]


def stored(images, like):
    """The frames of a video of ``images`` with the rate and times of ``like``: what encoding makes of them."""
    path = like.with_name(f"stored{like.suffix}")
    with VideoFile(like) as video:
        times = [time for _, time in video.frames()]
        with VideoWriter(path, video.rate, *images[0].shape[:2], tick=video.tick) as writer:
            for image, time in zip(images, times, strict=True):
                writer.write(image, time)
    return decode(path)


# --- frames

def test_five_lines(folder):
    model = timecyclegan.load("run", gpu=-1)
    frames = moving(6)
    generated = list(model.frames(frames))
    np.testing.assert_array_equal(generated, plainly("run", frames))


def test_frames_come_back_as_what_they_were():
    model, frames = timecyclegan.load("run"), moving(5)
    expected = list(model.frames(frames))
    for kind in (list(frames), iter(frames)):
        np.testing.assert_array_equal(list(model.frames(kind)), expected)
    for kind in (to_video(frames), list(to_video(frames))):
        found = list(model.frames(kind))
        assert all(isinstance(frame, torch.Tensor) for frame in found)
        np.testing.assert_array_equal(to_uint8(torch.stack(found)), expected)
    other = timecyclegan.load("run", image_height=24, image_width=36)
    assert {frame.shape for frame in other.frames(frames)} == {(24, 36, 3)}


def test_frames_of_another_kind_are_refused():
    for frame, found in (
        (torch.zeros(3, 48, 64, dtype=torch.uint8), "Tensor of torch.uint8 (3, 48, 64)"),
        (torch.zeros(48, 64), "Tensor of torch.float32 (48, 64)"), (torch.zeros(1, 48, 64), "(1, 48, 64)"),
        (np.zeros((48, 64), np.uint8), "ndarray of uint8 (48, 64)"), (np.zeros((48, 64, 4), np.uint8), "(48, 64, 4)"),
        (np.zeros((48, 64, 3)), "ndarray of float64 (48, 64, 3)"), (Image.new("RGB", (64, 48)), "got Image"),
    ):  # fmt: skip
        for scene_cuts in translator.SCENE_CUTS:
            with pytest.raises(ValueError, match=r"expected frames as uint8 arrays \(H, W, 3\)") as caught:
                list(timecyclegan.load("run").frames([frame], scene_cuts))
            assert found in str(caught.value)


def test_a_scene_cut_begins_anew():
    model = timecyclegan.load("run")
    one, two = shot(0, 12), shot(1, 9)
    both = np.concatenate([one, two])
    np.testing.assert_array_equal(list(model.frames(both)), plainly("run", one) + plainly("run", two))
    np.testing.assert_array_equal(list(model.frames(both, scene_cuts="off")), plainly("run", both))
    assert "scene_cuts 'of' is not known; did you mean off?" in message(next, model.frames(both, scene_cuts="of"))


def test_the_way_back_and_the_seed():
    frames = moving(4)
    np.testing.assert_array_equal(list(timecyclegan.load("two", domain="source").frames(frames)),
                                  plainly("two", frames, "source"))  # fmt: skip
    np.testing.assert_array_equal(list(timecyclegan.load("run").frames(frames, seed=3)),
                                  plainly("run", frames, seed=3))  # fmt: skip
    assert "timecycle is paired: it generates no source" in message(timecyclegan.load, "run", domain="source")
    assert "there is no run called none" in message(timecyclegan.load, "none")


@pytest.mark.parametrize("source", MAKERS)
def test_a_source_that_was_derived_is_derived_again(source):
    """As ``prepare_video`` does, of frames of the generator's size, anew in every scene."""
    scenes = [np.stack([resize_image(frame, H, W) for frame in shot(seed, 9)]) for seed in (0, 1)]
    seen = [[MAKERS[source](frame, before) for frame, before in zip(scene, [None, *scene[:-1]], strict=True)]
            for scene in scenes]  # fmt: skip
    found = list(timecyclegan.load("run", source=source).frames(np.concatenate([shot(0, 9), shot(1, 9)])))
    expected = [resize_image(frame, *found[0].shape[:2]) for scene in seen for frame in plainly("run", scene)]
    np.testing.assert_array_equal(found, expected)
    assert "--source 'edge' is not known; did you mean edges?" in message(timecyclegan.load, "run", source="edge")


@pytest.mark.parametrize("scene_cuts", ["auto", "off"])
def test_frames_are_not_kept(scene_cuts):
    alive, most = weakref.WeakSet(), 0

    class Frame(np.ndarray):
        pass

    def endless():
        for frame in moving(20).repeat(15, 0):
            frame = frame.view(Frame)
            alive.add(frame)
            yield frame

    Frame.__hash__ = object.__hash__
    count = 0
    for _ in timecyclegan.load("run").frames(endless(), scene_cuts=scene_cuts):
        count, most = count + 1, max(most, len(alive))
    assert count == 300 and most < 12


# --- video files

def test_a_video_becomes_a_video(folder, clip, capfd):
    """Size, rate, times, number of frames, sound: as they were; the pictures: as if translated one by one."""
    summary = timecyclegan.load("run").translate(clip, folder / "out.mkv")
    assert re.sub(r"[\d.e+]+ frames/s", "N frames/s", summary) == (
        f"{folder}/out.mkv: 14 frames of 64x48 at 23.976 per second; 1 scene; N frames/s; generated at {W}x{H} "
        "and resized; sound copied")
    with VideoFile(clip) as before, VideoFile(folder / "out.mkv") as after:
        assert after.rate == before.rate
        times, (images, found) = [time for _, time in before.frames()], zip(*after.frames(), strict=True)
        assert list(found) == times
        assert len(after.container.streams.audio) == 1
    np.testing.assert_array_equal(images, stored(plainly("run", decode(clip)), clip))
    assert capfd.readouterr() == ("", "")


def test_side_by_side_shows_what_the_generator_sees(folder, clip):
    frames = decode(clip)
    edges = [MAKERS["edges"](resize_image(frame, H, W), None) for frame in frames]
    for source, seen in {"": frames, "edges": edges}.items():
        out = folder / f"beside{source}.mkv"
        timecyclegan.load("run", source=source).translate(clip, out, side_by_side=True, sound=False)
        made = [resize_image(frame, 48, 64) for frame in plainly("run", seen)]
        pairs = zip([resize_image(frame, 48, 64) for frame in seen], made, strict=True)
        expected = stored([side_by_side(pair, ["source", "generated"]) for pair in pairs], clip)
        np.testing.assert_array_equal(decode(out), expected)
        with VideoFile(out) as video:
            assert not video.container.streams.audio


def test_scenes_are_counted(folder):
    write_clip(folder / "cuts.mp4", np.concatenate([shot(0, 10), shot(1, 8), shot(2, 9)]))
    model = timecyclegan.load("run")
    assert "; 3 scenes" in model.translate(folder / "cuts.mp4", folder / "out.mp4")
    assert "; 1 scene;" in model.translate(folder / "cuts.mp4", folder / "out.mp4", scene_cuts="off")


def test_turned_and_uneven_videos(folder):
    times = [0, 40, 50, 400, 1000, 1033]
    path = write_clip(folder / "turned.mp4", moving(6), times=times)
    rotate(path, (0, 1, -1, 0))
    summary = timecyclegan.load("run").translate(path, folder / "out.mp4")
    assert "at the times that they had" in summary
    with VideoFile(folder / "out.mp4") as video:
        images, found = zip(*video.frames(), strict=True)
    assert images[0].shape == (64, 48, 3) and [round(1000 * time) for time in found] == times
    np.testing.assert_array_equal(images, stored(plainly("run", decode(path)), path))
    assert "was made even" in timecyclegan.load("run").translate(path, folder / "out.avi")


def test_odd_sizes_are_said(folder):
    path = write_clip(folder / "odd.webm", [np.full((33, 47, 3), 90, np.uint8)] * 3, "libvpx-vp9")
    summary = timecyclegan.load("run").translate(path, folder / "out.mp4")
    assert "3 frames of 47x33" in summary and "stored as 48x34, since sizes are even" in summary
    assert decode(folder / "out.mp4")[0].shape == (34, 48, 3)


def test_anamorphic_pixels_stay_so(folder):
    def squeeze(stream):
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)

    path = write_clip(folder / "wide.mp4", moving(4), setup=squeeze)
    timecyclegan.load("run").translate(path, folder / "out.mp4")
    with VideoFile(folder / "out.mp4") as video:
        assert video.pixel_aspect(np.empty((48, 64, 3))) == Fraction(4, 3)
        assert video.pixel_aspect(np.empty((64, 48, 3))) == Fraction(3, 4)  # of a video that is turned


def test_what_cannot_be_writes_nothing(folder, clip, monkeypatch, capfd):
    (folder / "text.mp4").write_text("no video")
    (folder / "cut.mkv").write_bytes(clip.read_bytes()[:-3000])
    model, before = timecyclegan.load("run"), sorted(folder.iterdir())
    for source, output, words in (
        ("cut.mkv", "a.mp4", "cut.mkv"),  # found amid translating, the others before
        ("nowhere.mp4", "a.mp4", "cannot read video .*nowhere.mp4: No such"), ("clip.mkv", "a.gif", "ending in .mp4"),
        ("clip.mkv", "clip.mkv", "is the video to translate"), ("text.mp4", "a.mp4", "it is damaged or no video"),
        ("clip.mkv", "text.mp4/a.mp4", "a.mp4: text.mp4 is not a folder"),
    ):  # fmt: skip
        if source != "cut.mkv":
            monkeypatch.setattr(model, "pictures", None)
            capfd.readouterr()
        with pytest.raises(UserError, match=words):
            model.translate(source, output, progress=True)
        assert sorted(folder.iterdir()) == before
        assert source == "cut.mkv" or capfd.readouterr().err == ""  # no bar


# --- the command

@pytest.fixture
def script(monkeypatch, capsys):
    """Run test.py; returns its exit code, stdout and the last line of stderr."""
    def run(*argv):
        monkeypatch.syspath_prepend(str(ROOT))
        monkeypatch.delitem(sys.modules, "test", raising=False)
        monkeypatch.setattr(sys, "argv", ["test.py", *map(str, argv)])
        code = importlib.import_module("test").main()
        found = capsys.readouterr()
        return code, found.out, (found.err.splitlines() or [""])[-1]

    yield run
    sys.modules.pop("test", None)


def test_the_command_does_the_same(script, folder, clip):
    timecyclegan.load("run").translate(clip, folder / "api.mkv")
    code, out, _ = script("run", clip, "--video", "command.mkv")
    assert code == 0 and out.startswith("command.mkv: 14 frames of 64x48")
    np.testing.assert_array_equal(decode(folder / "command.mkv"), decode(folder / "api.mkv"))
    assert not (folder / "results").exists()


def test_a_kill_leaves_nothing_half_written(script, folder, clip, monkeypatch):
    def killed(*_args):
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("it goes on")

    before = sorted(path.name for path in folder.iterdir())
    monkeypatch.setattr(PictureStream, "__call__", killed)
    handler = signal.signal(signal.SIGTERM, lambda *_: None)  # else this process would end
    try:
        assert script("run", clip, "--video", "killed.mp4")[::2] == (130, "interrupted")
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert sorted({path.name for path in folder.iterdir()} - {"command_log.txt"}) == [
        name for name in before if name != "command_log.txt"]


def test_flags_of_no_effect_are_said(script, folder, clip):
    code, out, _ = script("run", clip, "--video", "fps.mp4", "--fps", "3", "--test_seed", "1")
    assert code == 0 and out.startswith("note: --fps has no effect on --video\nfps.mp4: ")


def test_the_size_may_be_chosen(script, folder, clip):
    flags = "--video size.mp4 -ih 24 -iw 36 --no-sound --scene_cuts off"
    code, out, _ = script("run", clip, *flags.split())
    said = r"size.mp4: 14 frames of 36x24 at 23.976 per second; 1 scene; [\d.e+]+ frames/s\n"
    assert code == 0 and re.fullmatch(said, out)
    assert decode(folder / "size.mp4")[0].shape == (24, 36, 3)


def test_sound_that_does_not_fit_is_said(script, folder):
    write_clip(folder / "aac.mp4", moving(5), sound=("aac", 0.2))
    code, out, _ = script("run", "aac.mp4", "--video", "aac.webm")
    assert code == 0 and "its sound (aac) was left out, .webm cannot hold it, .mkv can" in out


def test_a_track_that_nobody_knows_is_left_out_and_named(script, folder):
    hide_codec(write_clip(folder / "phone.mov", moving(20), sound=("aac+pcm_s16le", 0.4)))
    for suffix in ("mp4", "avi", "mkv", "mov"):
        code, out, _ = script("run", "phone.mov", "--video", f"aac.{suffix}")
        assert code == 0 and "sound copied; its sound track 2 was left out, its codec is unknown to FFmpeg" in out
    code, out, _ = script("run", "phone.mov", "--video", "aac.webm")
    assert code == 0 and "its sound (aac) was left out, .webm cannot hold it, .mkv can; its sound track 2" in out


@pytest.mark.parametrize(("name", "options", "seconds"), [
    ("fast.mp4", {"rate": Fraction(120000, 1001)}, 30 * 1001 / 120000),
    ("phone.mp4", {"times": [33 * t + (t % 4) for t in range(30)]}, 0.998),
    ("lying.webm", {"codec": "libvpx-vp9", "rate": 1000, "times": [33 * t for t in range(30)]}, 0.99),
    ("gap.mkv", {"times": [40 * t + 5000 * (t > 9) for t in range(30)]}, 6.2),
])  # fmt: skip
def test_an_even_rate_keeps_the_length(script, folder, name, options, seconds):
    write_clip(folder / name, moving(30), **options)
    assert script("run", name, "--video", "even.avi")[0] == 0
    with VideoFile(folder / "even.avi") as video:
        assert len(list(video.frames())) == 30
        assert 30 / float(video.rate) == pytest.approx(seconds, rel=0.005)


def test_what_the_video_says_wrongly_is_noted(script, folder):
    write_clip(folder / "tv.mts", moving(8), options={"flags": "+ildct", "x264-params": "tff=1"})
    code, out, _ = script("run", "tv.mts", "--video", "tv.mp4")
    assert code == 0 and "; it is interlaced, each picture weaves two moments together; deinterlace it first" in out


def test_the_way_back_by_command(script, folder, clip):
    for argv in (["two", "-", clip], ["two", clip, "-tts"]):
        assert script(*argv, "--video", "back.mkv")[0] == 0
        expected = stored(plainly("two", decode(clip), "source"), clip)
        np.testing.assert_array_equal(decode(folder / "back.mkv"), expected)


def test_mistakes_are_one_line(script, folder, clip):
    before = {*folder.iterdir(), folder / "command_log.txt"}
    for argv, words in (
        ("run clip.mkv --side_by_side", "give the file to write"), ("run data/source --video a.mp4", "not data/source"),
        ("run nowhere.mp4 --video a.mp4", "nowhere.mp4: No such"), ("run clip.mkv --video a.txt", "in .mp4"),
        ("run clip.mkv clip.mkv --video a.mp4", "one video"), ("two - - --video a.mp4", "nothing to translate"),
        ("none clip.mkv -m flownet --video a.mp4", "flownet translates no video"),
        ("run clip.mkv --video a.mp4 --scene_cuts on", "--scene_cuts must be one of auto, off"),
    ):  # fmt: skip
        code, out, line = script(*argv.split())
        assert code == 2 and line.startswith("error: ") and words in line and not out
        assert {*folder.iterdir(), folder / "command_log.txt"} == before


def test_a_video_as_a_sequence_gives_the_same_frames(script, folder, clip):
    """``test.py`` without ``--video`` takes videos, too, and writes their frames."""
    assert script("run", clip, "-to", "frames")[0] == 0
    model = timecyclegan.load("run", image_height=H, image_width=W)
    paths = sorted((folder / "frames/run").glob("*.png"))
    assert [path.name for path in paths] == [f"{t:05}.png" for t in range(14)]
    for path, made in itertools.zip_longest(paths, model.frames(decode(clip))):
        np.testing.assert_array_equal(read_image(path), made)
