"""Flow of files on disk: the same as computed, computed once, by whatever it depends on."""
import itertools
import multiprocessing
import os
import signal

import numpy as np
import pytest
import torch

from tests.data.killing import really_killed_before
from timecyclegan.flow import cache as module
from timecyclegan.flow import flow_backend
from timecyclegan.flow.cache import FlowCache
from timecyclegan.util.errors import UserError
from timecyclegan.video.frames import read_image, resize_image, to_video, write_image

SIZE = (20, 28)


def load(path):
    return to_video(resize_image(read_image(path), *SIZE)[None])[0]


@pytest.fixture
def frames(tmp_path):
    rng = np.random.default_rng(0)
    paths = [tmp_path / "frames" / f"{t}.png" for t in range(3)]
    for path in paths:
        write_image(path, rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8))
    return paths


@pytest.fixture
def computed(monkeypatch):
    """How often a back end was asked."""
    calls = []

    def counting(name, weights=""):
        backend = flow_backend(name, weights)
        return lambda *pair: calls.append(name) or backend(*pair)

    monkeypatch.setattr(module, "flow_backend", counting)
    return calls


def files(folder):
    return sorted(folder.rglob("*.npz"))


def test_first_computed_then_read(frames, tmp_path, computed):
    cache = FlowCache(tmp_path / "flow", "farneback")
    flow, confidence = flow_backend("farneback")(load(frames[1])[None], load(frames[0])[None])
    for _ in range(2):
        found = cache.flow(frames[1], frames[0], SIZE, load)
        assert torch.equal(found[0], flow[0]) and torch.equal(found[1], confidence[0])
    assert computed == ["farneback"] and len(files(tmp_path / "flow")) == 1


def test_everything_that_the_flow_depends_on_is_in_its_name(frames, tmp_path, computed):
    def ask(frame=1, previous=0, size=SIZE, backend="farneback"):
        def loading(path):
            return to_video(resize_image(read_image(path), *size)[None])[0]

        FlowCache(tmp_path / "flow", backend).flow(frames[frame], frames[previous], size, loading)
        return len(computed)

    assert [ask(), ask(frame=2), ask(previous=2), ask(size=(24, 28)), ask(backend="dis")] == [1, 2, 3, 4, 5]
    assert ask() == ask(size=(24, 28)) == 5
    write_image(frames[0], np.zeros((*SIZE, 3), np.uint8))
    assert ask() == 6


def test_a_damaged_file_is_made_anew(frames, tmp_path, computed):
    cache = FlowCache(tmp_path / "flow", "farneback")
    whole, _ = cache.flow(frames[1], frames[0], SIZE, load)
    (path,) = files(tmp_path / "flow")
    for count, content in enumerate((b"nonsense", path.read_bytes()[:-40]), 2):
        path.write_bytes(content)
        for _ in range(2):
            assert torch.equal(cache.flow(frames[1], frames[0], SIZE, load)[0], whole)
        assert len(computed) == count


def _ask(arguments):
    folder, frame, previous = arguments
    return FlowCache(folder, "farneback").flow(frame, previous, SIZE, load)[0].sum().item()


def test_processes_share_a_folder(frames, tmp_path):
    with multiprocessing.get_context("fork").Pool(3) as pool:
        found = pool.map(_ask, [(tmp_path / "flow", frames[1], frames[0])] * 9)
    assert len(set(found)) == 1
    assert [path for path in (tmp_path / "flow").rglob("*") if path.is_file()] == files(tmp_path / "flow")


def test_a_frame_that_has_gone(frames, tmp_path):
    frames[0].unlink()
    with pytest.raises(UserError, match=f"cannot read {frames[0]}: No such file"):
        FlowCache(tmp_path / "flow", "farneback").flow(frames[1], frames[0], SIZE, load)


# ---- before training

CPU = torch.device("cpu")


def pairs(frames):
    return [(frames[1], frames[0]), (frames[2], frames[1]), (frames[2], frames[0])]


class Shift:
    """A back end "of a network": dx is the number of its call, dy how far the means differ; says what it was given."""

    file = None

    def __init__(self):
        self.given = []

    def __call__(self, frame, previous):
        self.given.append((len(frame), frame.device.type))
        dy = (frame - previous).mean((1, 2, 3)).view(-1, 1, 1, 1).expand(-1, 1, *frame.shape[2:])
        return torch.cat([torch.full_like(dy, len(self.given)), dy], dim=1), torch.ones_like(dy)


def test_filled_in_batches_and_then_only_read(frames, tmp_path, monkeypatch):
    backend, made = Shift(), []
    monkeypatch.setattr(module, "flow_backend", lambda *name: made.append(name) or backend)
    monkeypatch.setattr(module, "BATCH", 2 * SIZE[0] * SIZE[1] + 1)
    cache = FlowCache(tmp_path / "flow", "raft")
    for _ in range(2):
        cache.fill(pairs(frames), SIZE, load, False, CPU)
        assert [count for count, _ in backend.given] == [2, 1] and made == [("raft", "")]
    for place, (frame, previous) in enumerate(pairs(frames)):
        flow, confidence = cache.flow(frame, previous, SIZE, load)
        assert (flow[0] == place // 2 + 1).all() and (confidence == 1).all()
        torch.testing.assert_close(flow[1], (load(frame) - load(previous)).mean().expand(SIZE))
    assert len(backend.given) == 2
    (files(tmp_path / "flow")[0]).write_bytes(b"cut off")
    cache.fill(pairs(frames), SIZE, load, False, CPU)
    assert [count for count, _ in backend.given] == [2, 1, 1]


def test_networks_compute_on_the_device_and_others_where_they_can(frames, tmp_path, monkeypatch):
    seen = []

    class Fake(Shift):
        def __call__(self, frame, previous):
            seen.append(frame.device.type)
            return super().__call__(torch.zeros(frame.shape), torch.zeros(frame.shape))

    monkeypatch.setattr(module, "flow_backend", lambda *name: Fake())
    for name in ("raft", "flownet2", "farneback", "dis"):
        FlowCache(tmp_path / name, name).fill(pairs(frames), SIZE, load, False, torch.device("meta"))
    assert seen == ["meta", "meta", "cpu", "cpu"]


@pytest.mark.parametrize("backend", ["farneback", "dis"])
def test_a_filled_flow_is_that_of_the_pair_alone(frames, tmp_path, backend):
    FlowCache(tmp_path / "filled", backend).fill(pairs(frames), SIZE, load, False, CPU)
    for frame, previous in pairs(frames):
        found = (FlowCache(tmp_path / name, backend).flow(frame, previous, SIZE, load) for name in ("filled", "alone"))
        for filled, alone in zip(*found, strict=True):
            assert torch.equal(filled, alone)
    assert [path.name for path in files(tmp_path / "filled")] == [path.name for path in files(tmp_path / "alone")]


def test_filling_that_is_killed_leaves_whole_files_and_goes_on(frames, tmp_path):
    for number in itertools.count(0, 3):
        folder = tmp_path / f"flow{number}"
        killed = really_killed_before(
            number, lambda folder=folder: FlowCache(folder, "farneback").fill(pairs(frames), SIZE, load, False, CPU))
        for path in files(folder):
            assert path.name.startswith(".") or np.load(path)["flow"].shape == (2, *SIZE)
        FlowCache(folder, "farneback").fill(pairs(frames), SIZE, load, False, CPU)
        assert len([path for path in files(folder) if not path.name.startswith(".")]) == 3
        if not killed:
            break
    assert number > 6


def test_a_signal_interrupts_filling(frames, tmp_path, monkeypatch):
    class Signalled(Shift):
        def __call__(self, frame, previous):
            os.kill(os.getpid(), signal.SIGTERM)
            return super().__call__(frame, previous)

    monkeypatch.setattr(module, "flow_backend", lambda *name: Signalled())
    with pytest.raises(KeyboardInterrupt):
        FlowCache(tmp_path / "flow", "raft").fill(pairs(frames), SIZE, load, False, CPU)
    assert not files(tmp_path / "flow")


def _fill(folder, frames, log):
    def counting(name, weights=""):
        backend = flow_backend(name, weights)

        def compute(frame, previous):
            with open(log, "a") as file:
                file.write("x" * len(frame))
            return backend(frame, previous)

        return compute

    module.flow_backend = counting
    FlowCache(folder, "farneback").fill(pairs(frames), SIZE, load, False, CPU)


def test_processes_that_fill_one_folder_compute_each_pair_once(frames, tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_fill, args=(tmp_path / "flow", frames, tmp_path / "log")) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert (tmp_path / "log").read_text() == "xxx" and len(files(tmp_path / "flow")) == 3
