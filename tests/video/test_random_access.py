"""Frames of video files in any order, against decoding the file plainly from its beginning."""
import functools
import gc
import os
import pickle
import random
import shutil
import weakref
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.clips import KINDS, decode, moving, write_clip, write_kind
from timecyclegan.datasets.loading import make_loader, read_frames
from timecyclegan.datasets.video_dataset import PairedVideoDataset
from timecyclegan.util.errors import UserError
from timecyclegan.video import random_access as module
from timecyclegan.video.frames import image_size, read_image
from timecyclegan.video.random_access import VideoFrame, video_frames, video_times
from timecyclegan.video.reader import VideoFile, survey, version


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    return {name: write_kind(folder, name) for name in KINDS}


def packets(path):
    with av.open(str(path)) as file:
        return [packet for packet in file.demux(video=0) if packet.size]


def test_the_clips_have_what_makes_seeking_hard(clips):
    for name in ("b_frames.mp4", "open_gop.mp4", "b_frames.mkv", "b_frames.avi", "b_frames.mov"):
        times = [packet.pts for packet in packets(clips[name])]
        assert times != sorted(times), name  # decoded in another order than shown
    for name in set(KINDS) - {"small.gif"}:
        assert sum(packet.is_keyframe for packet in packets(clips[name])) > 1, name
    stored = [packet.pts for packet in packets(clips["open_gop.mp4"])]
    keys = [packet.pts for packet in packets(clips["open_gop.mp4"]) if packet.is_keyframe]
    assert any(time < key for key in keys for time in stored[stored.index(key):])  # leading frames


@pytest.mark.parametrize("name", KINDS)
def test_any_order_gives_what_plain_decoding_gives(clips, name):
    expected, frames = decode(clips[name]), video_frames(clips[name])
    assert len(frames) == len(expected) == 40
    order = [39, 0, 38, 1, *random.Random(0).sample(range(40), 40), 20, 19, 18, *range(5, 15), 39, 39]
    for index in order:
        np.testing.assert_array_equal(frames[index].read(), expected[index], err_msg=f"frame {index}")


@pytest.mark.parametrize("name", ["b_frames.mp4", "b_frames.mkv", "vp9.webm", "b_frames.avi", "b_frames.mov"])
def test_frames_in_order_are_decoded_once(clips, name, monkeypatch):
    monkeypatch.setattr(module, "_decoders", [module._new_decoders()])
    count, plain = [], module._decoded

    def counting(*args):
        for found in plain(*args):
            count.append(found[0])
            yield found

    monkeypatch.setattr(module, "_decoded", counting)
    for frame in video_frames(clips[name])[2:]:
        frame.read()
    assert count == list(range(40))
    clip = video_frames(clips[name])[20:26]  # a random clip costs no more than the way from its key frame
    del count[:]
    for frame in clip:
        frame.read()
    assert len(count) <= 8 + len(clip) + 1  # and perhaps one that was too far


def test_threads_may_ask_out_of_order(clips):
    expected, frames = decode(clips["b_frames.mp4"]), video_frames(clips["b_frames.mp4"])
    order = [i ^ 1 for i in range(40)] + random.Random(1).sample(range(40), 40)
    with ThreadPoolExecutor(4) as pool:
        for index, image in zip(order, pool.map(lambda i: frames[i].read(), order), strict=True):
            np.testing.assert_array_equal(image, expected[index])
    streamed = list(read_frames(frames, 48, 64, threads=3))
    np.testing.assert_array_equal(streamed, expected)


def test_videos_that_are_read_side_by_side_are_opened_once(tmp_path, monkeypatch):
    opened, plain = [], module.VideoFile
    paths = [write_clip(tmp_path / f"{i}.mp4", moving(12, seed=i)) for i in range(5)]
    sequences = [video_frames(path) for path in paths]
    monkeypatch.setattr(module, "VideoFile", lambda path: opened.append(path) or plain(path))
    for images in zip(*(read_frames(frames, 48, 64, threads=0) for frames in sequences), strict=True):
        assert len(images) == 5
    assert sorted(opened) == paths


def test_what_is_read_no_more_is_closed(tmp_path, monkeypatch):
    """At once, without the garbage collector: a decoder holds decoded frames and a file."""
    monkeypatch.setattr(module, "_decoders", [functools.lru_cache(1)(module._Decoder)])
    first, other = (video_frames(write_clip(tmp_path / f"{i}.mp4", moving(12, seed=i))) for i in range(2))
    first[3].read()
    decoder = weakref.ref(module._decoders[-1](first[0].video, *version(first[0].video)))
    gc.disable()
    try:
        other[0].read()
        assert decoder() is None
    finally:
        gc.enable()


def test_a_forked_process_decodes_by_itself(tmp_path):
    """It shares the parent's place in the file: used by both, it would be lost to both."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 96, 128, 3), dtype=np.uint8)
    path = write_clip(tmp_path / "a.avi", noise, "rawvideo")  # bytes from another place are not noticed as damage
    assert path.stat().st_size > 400_000  # more than is read at once
    expected, frames = decode(path), video_frames(path)
    np.testing.assert_array_equal(frames[0].read(), expected[0])
    child = os.fork()
    if child == 0:  # nothing here may run pytest's own ending
        right = all((frames[i].read() == expected[i]).all() for i in range(1, 40))
        os._exit(0 if right else 1)
    for i in range(1, 40):
        np.testing.assert_array_equal(frames[i].read(), expected[i])
    assert os.waitpid(child, 0)[1] == 0


def test_training_with_workers_sees_what_one_process_sees(tmp_path):
    for side in ("source", "target"):
        (tmp_path / side).mkdir()
        for i in range(2):
            write_clip(tmp_path / side / f"{i}.mp4", moving(20, seed=i), options={"g": "6"})
    dataset = PairedVideoDataset(tmp_path / "source", tmp_path / "target", 4, 24, 32)
    assert len(dataset) == 10 and list(dataset.pairs) == ["0", "1"]
    one, two = ([batch["target"] for batch in make_loader(dataset, 2, threads, seed=0)] for threads in (0, 2))
    for a, b in zip(one, two, strict=True):
        assert (a == b).all() and a.float().std() > 0
    sample = dataset[0, 3]
    assert (sample["source"] == sample["target"]).all()


def test_a_file_that_changed_is_read_anew(tmp_path):
    path = write_clip(tmp_path / "a.mp4", moving(6))
    assert len(video_frames(path)) == 6
    video_frames(path)[3].read()
    write_clip(path, moving(9, seed=1))
    assert len(video_frames(path)) == 9
    np.testing.assert_array_equal(video_frames(path)[3].read(), decode(path)[3])


def test_a_video_frame_stands_where_a_path_stands(clips):
    frame = VideoFrame(clips["vp9.webm"], 12)
    assert (frame.stem, frame.name, frame.parent) == ("00012", "00012", clips["vp9.webm"])
    assert str(frame) == f"{clips['vp9.webm']} frame 12"
    assert pickle.loads(pickle.dumps(frame)) == frame and hash(frame) == hash(VideoFrame(frame.video, 12))
    assert frame.stat() == clips["vp9.webm"].stat() and frame.resolve().video.is_absolute()
    assert image_size(frame) == (48, 64) == read_image(frame).shape[:2]


@pytest.mark.parametrize(("shift", "left"), [(3, 37), (11, 29)])
def test_frames_that_were_cut_away_without_encoding_do_not_count(clips, tmp_path, shift, left):
    """An edit list leaves them in the file, as others are decoded from them."""
    with av.open(str(clips["b_frames.mp4"])) as source, av.open(str(tmp_path / "a.mp4"), "w") as file:
        stream = file.add_stream_from_template(source.streams.video[0], opaque=True)
        for packet in source.demux(video=0):
            if packet.size:
                packet.pts, packet.dts = packet.pts - shift * 512, packet.dts - shift * 512
                packet.stream = stream
                file.mux(packet)
    assert any(packet.is_discard for packet in packets(tmp_path / "a.mp4"))
    expected, frames = decode(clips["b_frames.mp4"])[shift:], video_frames(tmp_path / "a.mp4")
    assert len(frames) == left
    assert video_times(tmp_path / "a.mp4") == [Fraction(t, 25) for t in range(left)]
    for index in random.Random(0).sample(range(left), left):
        np.testing.assert_array_equal(frames[index].read(), expected[index])


def test_times_that_tell_nothing(clips, tmp_path, monkeypatch):
    """A file without presentation times is counted by decoding it, and its frames are found by counting."""
    def untimed(video):
        for packet in plain(video):
            packet.pts = None
            yield packet

    plain = module.VideoFile.packets
    monkeypatch.setattr(module, "_decoders", [module._new_decoders()])
    monkeypatch.setattr(module.VideoFile, "packets", untimed)
    path = shutil.copy(clips["b_frames.mp4"], tmp_path / "a.mp4")  # what is known of the other file is remembered
    expected, frames = decode(clips["b_frames.mp4"]), video_frames(Path(path))
    assert len(frames) == 40 and survey(frames[0].video).stamps is None
    for index in (7, 3, 39, 0):
        np.testing.assert_array_equal(frames[index].read(), expected[index])


def test_a_frame_that_cannot_be_decoded_is_named(tmp_path):
    path = write_clip(tmp_path / "a.avi", moving(30), "mpeg4", {"g": "10"})
    sizes = [(packet.pos, packet.size) for packet in packets(path)]
    data = bytearray(path.read_bytes())
    place, size = sizes[13]
    data[place + 20 : place + size] = bytes(size - 20)
    path.write_bytes(data)
    frames = video_frames(path)
    frames[9].read(), frames[25].read()
    with pytest.raises(UserError, match=f"frame 13 of video {path}.*damaged.*replace"):
        frames[13].read()
    with pytest.raises(UserError, match=f"cannot read frame 13 of video {path}: it is damaged"):
        list(VideoFile(path).frames())


def test_a_file_that_vanished_is_named(tmp_path):
    path = write_clip(tmp_path / "a.mp4", moving(3))
    frame = video_frames(path)[1]
    path.unlink()
    with pytest.raises(UserError, match=f"cannot read video {path}: No such file or directory"):
        frame.read()
    assert Path(frame.video) == path
