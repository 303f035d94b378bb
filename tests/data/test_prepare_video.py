"""From videos to training data, killed on the way and run again."""
import itertools
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from tests.clips import decode, moving, remux, with_times, write_clip
from tests.data.killing import contents, killed_before
from tests.datasets.helpers import message
from tests.video.test_scene_cuts import shot
from timecyclegan.data import prepare_video as module
from timecyclegan.data.prepare_video import Settings, main, prepare_video
from timecyclegan.datasets import derived_sources
from timecyclegan.flow.opencv import farneback
from timecyclegan.flow.pictures import flow_picture
from timecyclegan.video.frames import find_sequences, match_sequences, read_image, resize_image


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """"cuts" with scenes of 10, 8 and 9 frames at 10 per second, and "plain" with 6 frames."""
    folder = tmp_path_factory.mktemp("videos")
    write_clip(folder / "cuts.mp4", np.concatenate([shot(0, 10), shot(1, 8), shot(2, 9)]), rate=10)
    (folder / "sub").mkdir()
    write_clip(folder / "sub/plain.mkv", moving(6), rate=10)
    return folder


def made(out):
    """{folder: frame numbers}"""
    found = {}
    for path in sorted(Path(out).rglob("*.png")):
        found.setdefault(path.parent.relative_to(out).as_posix(), []).append(int(path.stem))
    return found


def test_every_scene_of_every_clip_is_a_sequence(videos, tmp_path, capsys):
    prepare_video(videos, tmp_path / "out", Settings())
    assert made(tmp_path / "out") == {
        "target/cuts_000": list(range(10)), "target/cuts_001": list(range(10, 18)),
        "target/cuts_002": list(range(18, 27)), "target/sub/plain_000": list(range(6)),
    }  # fmt: skip
    assert f"{tmp_path}/out/target: 4 sequences, 33 frames, the longest has 10" in capsys.readouterr().out
    for clip, name in (("cuts.mp4", "cuts_*"), ("sub/plain.mkv", "sub/plain_*")):
        images = [read_image(path) for path in sorted((tmp_path / "out/target").glob(f"{name}/*.png"))]
        np.testing.assert_array_equal(images, decode(videos / clip))
    prepare_video(videos / "cuts.mp4", tmp_path / "one", Settings(scene_cuts="off"))
    assert made(tmp_path / "one") == {"target/cuts": list(range(27))}


def test_a_clip_that_lies_gives_its_true_frames_at_their_true_times(tmp_path, capsys):
    """It declares 1000 frames per second, its times repeat, and its name is of another kind of file."""
    times = [40 * t for t in range(30)]
    times[5] = times[4]
    clip = write_clip(tmp_path / "clip.mkv", moving(30), "mjpeg", pix_fmt="yuvj420p", rate=1000, times=range(30))
    remux(clip, tmp_path / "b.mkv", with_times(times)).rename(tmp_path / "b.mts")
    prepare_video(tmp_path / "b.mts", tmp_path / "out", Settings(start=0.3, end=0.9, scene_cuts="off"))
    assert made(tmp_path / "out") == {"target/b": list(range(8, 23))}
    images = [read_image(path) for path in sorted((tmp_path / "out").rglob("*.png"))]
    np.testing.assert_array_equal(images, decode(clip)[8:23])
    assert "note: " in (out := capsys.readouterr().out) and "goes back (1 of 30)" in out


def test_parts_of_a_clip(videos, tmp_path):
    prepare_video(videos / "cuts.mp4", tmp_path / "out", Settings(every=2, start=0.3, end=2.2, split=0.8))
    assert made(tmp_path / "out") == {
        "train/target/cuts_000": [3, 5, 7, 9], "train/target/cuts_001": [11, 13, 15, 17],
        "val/target/cuts_002": [19, 21],
    }  # fmt: skip


def test_times_count_where_the_rate_varies(tmp_path):
    times = [500 + t for t in (0, 40, 50, 400, 1000, 1033)]
    clip = write_clip(tmp_path / "a.mkv", moving(6), times=times)
    prepare_video(clip, tmp_path / "out", Settings(start=0.045, end=1.0, scene_cuts="off"))
    assert made(tmp_path / "out") == {"target/a": [2, 3]}


def test_sizes(videos, tmp_path):
    images = decode(videos / "cuts.mp4")
    for height, width, size in ((0, 0, (72, 128)), (36, 0, (36, 64)), (0, 64, (36, 64)), (20, 90, (20, 90))):
        out = tmp_path / f"{height}x{width}"
        prepare_video(videos / "cuts.mp4", out, Settings(every=26, height=height, width=width, scene_cuts="off"))
        assert made(out) == {"target/cuts": [0, 26]}
        for path in out.rglob("*.png"):
            assert read_image(path).shape[:2] == size
            np.testing.assert_array_equal(read_image(path), resize_image(images[int(path.stem)], *size))


@pytest.mark.parametrize("source", derived_sources.MAKERS)
def test_a_paired_data_set_of_one_clip(videos, tmp_path, source):
    out = tmp_path / "out"
    assert main([*f"{videos}/cuts.mp4 {out} --source {source} --split 0.7 --height 36".split()]) == 0
    for split, sequences in (("train", 3), ("val", 1)):
        roots = out / split / "source", out / split / "target"
        pairs = match_sequences(*map(find_sequences, roots), *roots)
        assert len(pairs) == sequences
        for frames in pairs.values():
            targets = [read_image(target) for _, target in frames]
            for t, (path, _) in enumerate(frames):
                assert path.name == frames[t][1].name
                made = derived_sources.MAKERS[source](targets[t], targets[t - 1] if t else None)
                np.testing.assert_array_equal(read_image(path), made)


def test_what_the_sources_are():
    frames = shot(0, 2, speed=2, noise=0)
    lines = derived_sources.edges(frames[1], frames[0])
    assert set(np.unique(lines)) == {0, 255} and 0.01 < (lines > 0).mean() < 0.3
    step = np.zeros((40, 40, 3), np.uint8)
    step[:, 20:] = 200
    columns = np.flatnonzero(derived_sources.edges(step, None)[5:-5].any((0, 2)))
    assert set(columns) <= {19, 20} and columns.size
    expected = frames[1].astype(float) @ (0.299, 0.587, 0.114)
    np.testing.assert_allclose(derived_sources.gray(frames[1], None), expected[..., None].repeat(3, -1), atol=1)
    coarse = derived_sources.lowres(frames[1], None)
    assert coarse.shape == frames[1].shape and (coarse != frames[1]).any()
    before, after = (cv2.resize(image, (32, 18), interpolation=cv2.INTER_AREA).astype(int)
                     for image in (frames[1], coarse))
    assert np.abs(after - before).mean() < 4  # only detail is lost
    assert (derived_sources.flow(frames[1], None) == 255).all()
    motion = farneback(frames[1], frames[0])
    np.testing.assert_array_equal(derived_sources.flow(frames[1], frames[0]), flow_picture(motion, 128 / 20))


# --- killed, and run again

SETTINGS = Settings(every=7, height=18, split=0.6, source="flow")


@pytest.fixture(scope="module")
def expected(videos, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "out"
    prepare_video(videos, out, SETTINGS)
    return contents(out)


def test_it_is_killed_anywhere(videos, tmp_path, expected):
    untouched = contents(videos)
    for number in itertools.count(0, 3):
        out = tmp_path / str(number)
        if not killed_before(number, lambda out=out: prepare_video(videos, out, SETTINGS)):
            break
        prepare_video(videos, out, SETTINGS)
        assert contents(out) == expected, f"killed before operation {number}"
    assert number > len(expected) and contents(out) == expected
    assert contents(videos) == untouched


def test_what_was_found_and_written_is_not_done_again(videos, tmp_path, monkeypatch, expected):
    out = tmp_path / "out"
    prepare_video(videos, out, SETTINGS)
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    monkeypatch.setattr(module, "read_image", None)
    prepare_video(videos, out, SETTINGS)
    assert stamps == {path: path.stat().st_mtime_ns for path in out.rglob("*")}


def test_files_that_were_lost_are_made_again(videos, tmp_path):
    settings = Settings(every=3, height=18, source="flow", scene_cuts="off")
    prepare_video(videos / "cuts.mp4", tmp_path / "out", settings)
    before = contents(tmp_path / "out")
    for path in sorted((tmp_path / "out/source").rglob("*.png"))[1::2]:
        path.unlink()
    prepare_video(videos / "cuts.mp4", tmp_path / "out", settings)
    assert contents(tmp_path / "out") == before


def test_a_dry_run_writes_nothing(videos, tmp_path, capsys):
    prepare_video(videos, tmp_path / "out", SETTINGS, dry_run=True)
    text = capsys.readouterr().out
    assert list(tmp_path.iterdir()) == [] and "nothing was written" in text
    prepare_video(videos, tmp_path / "out", SETTINGS)
    assert capsys.readouterr().out == text.replace("nothing was written\n", "")


# --- what is refused

def test_folders_that_hold_something_else(videos, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    for overwrite in (False, True):
        assert "holds what this command did not make (thesis.txt)" in message(
            prepare_video, videos, out, SETTINGS, overwrite=overwrite)
    assert contents(out) == {"thesis.txt": b"years of work"}


def test_another_command_is_not_mixed_in(videos, tmp_path, expected):
    out = tmp_path / "out"
    prepare_video(videos, out, Settings(every=9))
    before = contents(out)
    assert "was made with other settings" in message(prepare_video, videos, out, SETTINGS)
    assert contents(out) == before
    prepare_video(videos, out, SETTINGS, overwrite=True)
    assert contents(out) == expected
    assert not any(path.is_dir() and not list(path.iterdir()) for path in out.rglob("*"))


def test_overwriting_removes_nothing_else(videos, tmp_path):
    out = tmp_path / "out"
    prepare_video(videos, out, Settings(every=9))
    for place in ("notes.txt", "train/mine.txt", "target/cuts_000/mine.png", "source/cuts_000/99999.png", "val"):
        (out / place).parent.mkdir(parents=True, exist_ok=True)
        (out / place).symlink_to(videos) if place == "val" else (out / place).write_text("mine")
        before = contents(out)
        assert f"did not make ({place})" in message(prepare_video, videos, out, SETTINGS, overwrite=True)
        assert contents(out) == before
        (out / place).unlink()


def test_a_bad_clip_may_be_replaced(videos, tmp_path):
    """Where nothing was made yet, another command is as good as the first."""
    (tmp_path / "a").mkdir()
    data = write_clip(tmp_path / "a/a.avi", moving(20), "mpeg4", {"g": "1"})
    packets = [packet for packet in av.open(str(data)).demux(video=0) if packet.size]
    whole, damaged = data.read_bytes(), bytearray(data.read_bytes())
    damaged[packets[9].pos + 20 : packets[9].pos + packets[9].size] = bytes(packets[9].size - 20)
    data.write_bytes(damaged + bytes(8))
    assert "frame 9 of video" in message(prepare_video, tmp_path / "a", tmp_path / "out", Settings())
    data.write_bytes(whole)
    prepare_video(tmp_path / "a", tmp_path / "out", Settings())
    assert made(tmp_path / "out") == {"target/a_000": list(range(20))}


def test_a_clip_too_short_to_split_is_said(tmp_path, capsys):
    write_clip(tmp_path / "a.mp4", moving(1))
    prepare_video(tmp_path / "a.mp4", tmp_path / "out", Settings(split=0.8))
    assert f"note: --split 0.8 leaves no frames for {tmp_path}/out/val" in capsys.readouterr().out


def test_bad_values(videos, tmp_path, capsys):
    for flags, words in [
        ("--width 20000000", "--width must be 0 to 16384"), ("--every 0", "--every must be above 0"),
        ("--split 1", "--split must be 0 or more, and below 1"), ("--start 3 --end 2", "--start 3.0 --end 2.0"),
        ("--start 100", "give an earlier --start"), ("--source edge", "did you mean edges"), ("--start x", "--start"),
    ]:
        assert main([str(videos), str(tmp_path / "out"), *flags.split()]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and words in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_bad_videos(videos, tmp_path):
    (tmp_path / "empty.mp4").touch()
    assert "cannot read video" in message(prepare_video, tmp_path / "empty.mp4", tmp_path / "out", SETTINGS)
    assert "lies in" in message(prepare_video, videos, videos / "out", SETTINGS)
    (tmp_path / "images").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "images/0.png")
    assert "holds images" in message(prepare_video, tmp_path / "images", tmp_path / "out", SETTINGS)
    assert not (tmp_path / "out").exists()
