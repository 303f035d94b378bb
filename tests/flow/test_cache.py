"""Flow of files on disk: the same as computed, computed once, by whatever it depends on."""
import multiprocessing

import numpy as np
import pytest
import torch

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
