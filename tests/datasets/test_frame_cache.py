"""Frames decoded once: the same bits as decoded anew, from one store, whole or not there, whoever is killed."""
import contextlib
import errno
import itertools
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.clips import moving, write_clip
from tests.data.killing import really_killed_before
from tests.datasets.helpers import H, W, frame, message, write_tree
from tests.training import helpers
from timecyclegan.datasets import frame_cache
from timecyclegan.datasets.frame_cache import FOLDER, FrameCache
from timecyclegan.datasets.loading import loading_threads, make_loader
from timecyclegan.datasets.video_dataset import PairedVideoDataset, UnpairedVideoDataset
from timecyclegan.util import device
from timecyclegan.util.device import to_device, to_floats
from timecyclegan.util.options import Options
from timecyclegan.video.frames import read_image, to_video, video_frames, write_image

ON = "ram", "disk", "auto"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(frame_cache, "FRAMES", 2)  # chunks of two frames, and of what is left


@pytest.fixture
def decoded(monkeypatch):
    """How often each frame was decoded by this process."""
    count, lock = Counter(), threading.Lock()

    def counting(path):
        with lock:
            count[str(path)] += 1
        return read_image(path)

    monkeypatch.setattr(frame_cache, "read_image", counting)
    return count


def at_work():
    """Threads of ours that do not end (a bar's own may stay)."""
    ours = [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPool")]
    for thread in ours:  # a pool does not know of one that was just starting when it was interrupted
        thread.join(2)
    return [thread for thread in ours if thread.is_alive()]


def stored():
    return sorted(path.relative_to(FOLDER) for path in FOLDER.rglob("*.npy"))


def batches(dataset, threads):
    loader = make_loader(dataset, 2, threads, seed=4)
    return [[tuple(x.numpy().tobytes() if isinstance(x, torch.Tensor) else x for x in batch.values())
             for batch in loader] for _ in range(2)]  # fmt: skip


@pytest.mark.parametrize("kind", [PairedVideoDataset, UnpairedVideoDataset])
def test_samples_are_the_same_bits_with_every_cache_and_any_number_of_workers(tree, decoded, kind):
    def dataset(cache):
        return kind(*tree, 3, 10, 12, 16, 24, seed=4, pixels={"source": "labels", "target": "pictures"}, cache=cache)

    expected = batches(dataset("off"), 0)
    assert max(decoded.values()) > 1
    for cache, threads in (("ram", 0), ("ram", 2), ("disk", 2), ("disk", 0), ("auto", 1)):
        decoded.clear()
        assert batches(dataset(cache), threads) == expected
        # Each of the 32 once, before the first epoch; those on disk, never again.
        assert sorted(decoded.values()) == ([] if (cache, threads) == ("disk", 0) else [1] * 32)


@pytest.mark.parametrize("mode", ON)
def test_what_is_stored_is_the_resized_file(tmp_path, decoded, mode):
    pictures = np.random.default_rng(0).integers(0, 256, (5, H, W, 3), dtype=np.uint8)
    frames = [tmp_path / f"{t}.png" for t in range(5)]
    for path, picture in zip(frames, pictures, strict=True):
        write_image(path, picture)
    for size in ((11, 23), (H, W)):
        cache = FrameCache(mode, *size)
        cache.fill([(frames, False), (frames, True), (frames, False)])
        assert sorted(decoded.values()) == [2] * 5  # the two ways of resizing make two pictures
        decoded.clear()
        for path, picture in zip(frames, pictures, strict=True):
            for nearest, by in ((False, Image.Resampling.BICUBIC), (True, Image.Resampling.NEAREST)):
                expected = np.asarray(Image.fromarray(picture).resize(size[::-1], by))
                np.testing.assert_array_equal(cache.frame(path, nearest), expected)
        assert not decoded


def test_a_file_that_changed_is_decoded_anew_and_no_other(tree, decoded, tmp_path):
    frames = [Path(shutil.copy(tree[0] / f"10/{t}.png", tmp_path)) for t in range(7)]

    def fill():
        decoded.clear()
        cache = FrameCache("disk", H, W)
        cache.fill([(frames, False)])
        return cache, {int(path.rsplit("/", 1)[1].split(".")[0]) for path in decoded}

    assert fill()[1] == set(range(7)) and fill()[1] == set()
    os.utime(frames[2], ns=(0, frames[2].stat().st_mtime_ns + 1))
    assert fill()[1] == {2, 3}  # it and the other one of its chunk
    stamp = frames[6].stat().st_mtime_ns
    write_image(frames[6], np.full((5, 7, 3), 9, np.uint8))
    os.utime(frames[6], ns=(0, stamp))  # another size in bytes alone
    cache, anew = fill()
    assert anew == {6} and (cache.frame(frames[6]) == 9).all()
    assert fill()[1] == set()


def test_a_damaged_store_is_made_anew_and_a_removed_one_is_no_harm(tree, decoded):
    frames = [tree[0] / f"10/{t}.png" for t in range(4)]
    cache = FrameCache("disk", H, W)
    cache.fill([(frames, False)])
    first, second = (FOLDER / path for path in stored())
    first.write_bytes(first.read_bytes()[:-1])
    np.save(second, np.zeros((2, 3, H, W + 1), np.uint8))
    decoded.clear()
    again = FrameCache("disk", H, W)
    again.fill([(frames, False)])
    assert sorted(decoded.values()) == [1] * 4
    shutil.rmtree(FOLDER)
    frame_cache._mapped.cache_clear()
    for t, path in enumerate(frames):
        np.testing.assert_array_equal(again.frame(path), frame("10", t, 0))


def test_videos_are_decoded_in_order_and_by_one_thread_each(tmp_path, monkeypatch):
    asked = {}

    def read(frame):
        asked.setdefault(frame.video, []).append((threading.get_ident(), frame.index))
        return read_image(frame)

    monkeypatch.setattr(frame_cache, "read_image", read)
    monkeypatch.setattr(frame_cache, "cores", lambda: 3)
    clips = [video_frames(write_clip(tmp_path / f"{i}.mp4", moving(9, seed=i), options={"g": "9"})) for i in range(2)]
    expected = [[frame.read() for frame in clip] for clip in clips]
    for mode in ON:
        cache = FrameCache(mode, *expected[0][0].shape[:2])
        cache.fill([(clip, False) for clip in clips])
        assert all([index for _, index in calls] == list(range(9)) for calls in asked.values())
        assert [len({thread for thread, _ in calls}) for calls in asked.values()] == [1, 1]
        asked.clear()
        for clip, pictures in zip(clips, expected, strict=True):
            np.testing.assert_array_equal([cache.frame(frame) for frame in clip], pictures)
        assert not asked


# ---- killed, interrupted, refused

def check_whole(frames):
    """All that is stored is whole and right, and filling brings the rest."""
    for path in FOLDER.rglob("*.npy") if FOLDER.exists() else ():
        assert path.name.startswith(".") or np.load(path).shape[1:] == (3, H, W)
    cache = FrameCache("disk", H, W)
    cache.fill([(frames, False)])
    for t, path in enumerate(frames):
        np.testing.assert_array_equal(cache.frame(path), frame("10", t, 0))
    assert not list(FOLDER.rglob(".*.tmp*")) and len(stored()) == 2


def test_killed_at_any_moment(tree):
    frames = [tree[0] / f"10/{t}.png" for t in range(4)]
    for number in itertools.count():
        killed = really_killed_before(number, lambda: FrameCache("disk", H, W).fill([(frames, False)]))
        check_whole(frames)
        shutil.rmtree(FOLDER)
        if not killed:
            break
    assert number > 5  # it was killed amid and between its writes


@pytest.mark.parametrize("mode", ON)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_interrupts_it(tree, monkeypatch, mode, number):
    frames, count = [tree[0] / f"10/{t}.png" for t in range(4)], itertools.count()

    def read(path):
        if next(count) == 2:
            os.kill(os.getpid(), number)
            time.sleep(0.2)  # the main thread hears it
        return read_image(path)

    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        patch.setattr(frame_cache, "read_image", read)
        patch.setattr(frame_cache, "cores", lambda: 1)
        with pytest.raises(KeyboardInterrupt):
            FrameCache(mode, H, W).fill([(frames, False)])
    assert signal.getsignal(number) is before and not at_work()
    assert len(stored()) < 2
    check_whole(frames)


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGINT])
def test_a_training_that_is_stopped_while_it_decodes_goes_on(tmp_path, monkeypatch, capsys, number):
    """It ends as at any other time: saved, with the line that says how to go on."""
    options = {"model_type": "pix2pix", "block_size": 1, "num_epochs": 1}
    data, count = helpers.write_data(tmp_path / "data", (4,)), itertools.count()

    def read(path):
        if next(count) == 2:
            os.kill(os.getpid(), number)
            time.sleep(0.2)  # the main thread hears it
        return read_image(path)

    helpers.train(data, "whole", **options)
    with monkeypatch.context() as patch:
        patch.setattr(frame_cache, "read_image", read)
        assert helpers.train(data, "run", **options) is False
    assert f"stopped by {number.name}; saved. Go on with --resume" in capsys.readouterr().out
    assert helpers.latest("run")["position"]["step"] == 0 and not at_work()
    assert helpers.train(data, "run", resume=True, **options)
    assert helpers.weights("run") == helpers.weights("whole") and helpers.losses("run") == helpers.losses("whole")


def _fill(frames, barrier, log):
    def read(path):
        with open(log, "a") as file:
            file.write(f"{path}\n")
        return read_image(path)

    frame_cache.read_image = read
    cache = FrameCache("disk", H, W)
    barrier.wait()
    cache.fill([(frames, False)])
    right = all((cache.frame(path) == frame("10", t, 0)).all() for t, path in enumerate(frames))
    os._exit(0 if right else 1)


def test_processes_share_the_work(tree, tmp_path):
    """One decodes, the others wait for it; nothing is decoded twice."""
    context, frames = multiprocessing.get_context("fork"), [tree[0] / f"10/{t}.png" for t in range(9)]
    barrier = context.Barrier(3)
    processes = [context.Process(target=_fill, args=(frames, barrier, tmp_path / "log")) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert sorted((tmp_path / "log").read_text().splitlines()) == sorted(map(str, frames))


def test_memory_is_shared_with_processes_that_are_forked(tree):
    frames = [tree[0] / f"10/{t}.png" for t in range(4)]
    cache = FrameCache("ram", H, W)
    cache.fill([(frames, False)])
    child = os.fork()
    if child == 0:
        cache.frame(frames[3])[:] = 77
        os._exit(0)
    os.waitpid(child, 0)
    assert (cache.frame(frames[3]) == 77).all()


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(tree, monkeypatch):
    frames, save, calls = [tree[0] / f"10/{t}.png" for t in range(4)], np.save, itertools.count()

    def full(file, array):
        if next(calls):
            file.write(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(file, array)

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", full)
        assert "No space left on device" in message(FrameCache("disk", H, W).fill, [(frames, False)])
    assert not list(FOLDER.rglob(".*.tmp*")) and len(stored()) <= 1
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(0, 0, 100))
    text = message(FrameCache("disk", H, W).fill, [(frames, False)])
    assert "--cache disk" in text and "make room there, or give --cache off" in text
    FOLDER.rename("away")
    FOLDER.write_text("a file")
    assert "cannot write cache" in message(FrameCache("disk", H, W).fill, [(frames, False)])


def test_what_does_not_fit_into_memory(tree, monkeypatch, decoded, capsys):
    frames = [tree[0] / f"10/{t}.png" for t in range(4)]
    need = 4 * H * W * 3
    for free, mode, fits in ((2 * need, "auto", True), (2 * need - 2, "auto", False), (need, "ram", True)):
        monkeypatch.setattr(frame_cache, "free_memory", lambda free=free: free)
        cache = FrameCache(mode, H, W)
        for _ in range(3):  # epochs
            cache.fill([(frames, False)])
        decoded.clear()
        for t, path in enumerate(frames):
            np.testing.assert_array_equal(cache.frame(path), frame("10", t, 0))
        assert sum(decoded.values()) == (0 if fits else 4)
        said = capsys.readouterr().out
        assert said.count("\n") == (not fits) and ("--cache disk keeps them in cache/" in said) != fits
    monkeypatch.setattr(frame_cache, "free_memory", lambda: need - 1)
    assert "give --cache disk, or off" in message(FrameCache("ram", H, W).fill, [(frames, False)])


@pytest.mark.parametrize("mode", ON)
def test_a_damaged_frame_is_told_before_training_begins(tmp_path, mode):
    tree = write_tree(tmp_path / "data", {"2": 6})
    path = tree[1] / "2/4.png"
    path.write_bytes(path.read_bytes()[:60])
    loader = make_loader(PairedVideoDataset(*tree, 3, H, W, cache=mode), 1, 0, seed=0)
    for _ in range(2):  # asked again, it is not left out
        assert f"cannot read image {path}" in message(lambda: next(iter(loader)))
    assert not at_work() and not list(tmp_path.rglob("*.tmp*"))


def test_sequences_too_short_for_a_clip_are_not_decoded(tree, decoded):
    PairedVideoDataset(*tree, 8, H, W, cache="ram").prepare()  # of 7 and 9 frames
    assert len(decoded) == 18 and not any("/2/" in path for path in decoded)


# ---- levels

def test_levels_become_the_floats_that_they_were():
    levels = np.arange(256, dtype=np.uint8)
    video = np.broadcast_to(levels[None, :, None, None], (2, 256, 3, 3))
    expected = levels.astype(np.float32) / np.float32(127.5) - np.float32(1)
    floats = to_floats(torch.from_numpy(video.transpose(0, 3, 1, 2).copy()))
    assert floats.dtype == torch.float32 and floats.is_contiguous() and torch.equal(floats, to_video(video))
    np.testing.assert_array_equal(floats[1, 2, :, 0].numpy(), expected)
    flow = torch.rand(2, 2, 5, 5)
    batch = to_device({"target": torch.full((1, 3), 255, dtype=torch.uint8), "flow_1": flow, "sequence": ["a"]},
                      ("target", "flow_1"), torch.device("cpu"))  # fmt: skip
    assert set(batch) == {"target", "flow_1"} and torch.equal(batch["flow_1"], flow) and (batch["target"] == 1).all()


def test_a_step_on_levels_is_the_step_on_floats(tmp_path):
    data = helpers.write_data(tmp_path / "data", (4,))
    batch = next(iter(helpers.trainer(data, **helpers.P).loader))
    assert batch["source"].dtype == torch.uint8 and batch["source"].shape == (1, 3, 3, 12, 20)
    floats = {key: to_video(batch[key][0].permute(0, 2, 3, 1).numpy())[None] for key in ("source", "target")}
    losses = []
    for given in (batch, batch | floats):
        run = helpers.trainer(data, **helpers.P)
        losses.append(run.model.training_step(given, run.scaler))
    assert losses[0] == losses[1]


def test_training_ends_in_the_same_bytes_and_goes_on_with_another_cache(tmp_path, monkeypatch):
    options = {"model_type": "pix2pix", "block_size": 1, "num_epochs": 1, "save_minutes": 0.0}
    data = helpers.write_data(tmp_path / "data", (4,), 14, 22)
    helpers.train(data, "off", **options, cache="off")
    for first, then in itertools.pairwise(("off", "ram", "disk", "off")):
        helpers.killed(monkeypatch, data, 3, **options, cache=first, name=first + then)
        assert helpers.latest(first + then)["position"]["step"] == 2
        helpers.train(data, first + then, resume=True, **options, cache=then)
        assert helpers.weights(first + then) == helpers.weights("off")
        assert helpers.losses(first + then) == helpers.losses("off")


def test_a_run_of_before_there_was_a_choice_goes_on():
    assert Options.from_dict({"threads": 1}).threads == 1 and Options.from_dict({}).cache == "auto"


# ---- the machine

def test_workers_by_the_processors_that_this_process_may_use(monkeypatch):
    bound = os.sched_getaffinity(0)
    assert device.cores() <= len(bound)
    with contextlib.ExitStack() as stack:
        stack.callback(os.sched_setaffinity, 0, bound)
        os.sched_setaffinity(0, {min(bound)})
        assert device.cores() == 1
    for count, ranks, expected in ((1, 1, 1), (2, 1, 1), (4, 1, 3), (9, 1, 8), (64, 1, 8), (64, 8, 7), (8, 8, 1)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _process, count=count: range(count))
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(ranks))
        assert loading_threads(-1) == expected
        assert [loading_threads(n) for n in (0, 1, 20)] == [0, 1, 20]


def test_the_limits_of_a_container(monkeypatch, tmp_path):
    """Version 2 of control groups, at the place where a container has its own."""
    files = {"cpu.max": "150000 100000\n", "memory.max": "1000000\n", "memory.current": "900000\n",
             "memory.stat": "anon 1\ninactive_file 250000\nactive_file 7\n"}  # fmt: skip
    monkeypatch.setattr(device, "_GROUP", tmp_path)
    free, bound = device.free_memory(), device.cores()
    assert free > 2**20 and bound >= 1  # of this machine
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert device.free_memory() == 350000 and device.cores() == 1
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")  # each of torchrun's processes has its own
    assert device.free_memory() == 175000 and device.cores() == 1
    monkeypatch.delenv("LOCAL_WORLD_SIZE")
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert device.free_memory() > 2**20 and device.cores() == bound
