import errno
import gc
import itertools
import multiprocessing
import os
import signal
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from tests.datasets.helpers import H, W, message, write_tree
from timecyclegan.datasets import loading
from timecyclegan.datasets.loading import (
    EpochSampler,
    LostWorker,
    VideoLoader,
    _begin_worker,
    make_loader,
    read_frames,
)
from timecyclegan.datasets.video_dataset import PairedVideoDataset
from timecyclegan.util.errors import UserError, command

# --- order

def test_every_epoch_visits_every_index_once_in_its_own_order():
    sampler = EpochSampler(10, 4, seed=1)
    epochs = [list(sampler) for _ in range(3)]
    orders = [[index for batch in epoch for _, index in batch] for epoch in epochs]
    assert [[len(batch) for batch in epoch] for epoch in epochs] == [[4, 4, 2]] * 3
    assert len(sampler) == 3
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    assert [{number for batch in epoch for number, _ in batch} for epoch in epochs] == [{0}, {1}, {2}]
    assert list(EpochSampler(10, 4, seed=2)) != epochs[0]
    assert [len(batch) for batch in EpochSampler(8, 4, 0)] == [4, 4] and len(EpochSampler(8, 4, 0)) == 2


def test_set_position_goes_on_where_a_run_stopped():
    sampler, resumed = EpochSampler(10, 3, 1), EpochSampler(10, 3, 1)
    whole = [list(sampler) for _ in range(4)]
    resumed.set_position(2, 3)
    assert list(resumed) == whole[2][3:]
    assert list(resumed) == whole[3]
    resumed.set_position(1)
    assert list(resumed) == whole[1]
    resumed.set_position(1, len(resumed))
    assert list(resumed) == []
    for position in ((-1, 0), (0, 5), (0, -1)):
        with pytest.raises(ValueError, match="no position"):
            resumed.set_position(*position)


def test_the_order_is_not_the_stream_of_sample_0():
    order = [index for batch in EpochSampler(50, 1, 3) for _, index in batch]
    assert order != np.random.default_rng([3, 0, 0]).permutation(50).tolist()


# --- loading ---

def flat(batch):
    return [batch["source"].numpy().tobytes(), batch["target"].numpy().tobytes(), batch["sequence"],
            batch["start"].tolist()]


def test_batches_do_not_depend_on_the_workers_and_resume_exactly(tree):
    def loader(threads):
        return make_loader(PairedVideoDataset(*tree, 3, 10, 12, H, W, seed=4), 2, threads, seed=4)

    torch.manual_seed(0)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    plain, workers = loader(0), loader(2)
    expected = [[flat(batch) for batch in plain] for _ in range(3)]
    assert len(plain) == len(expected[0]) == 3
    assert next(iter(loader(0)))["source"].shape == (2, 3, 3, 10, 12)
    assert [[flat(batch) for batch in workers] for _ in range(2)] == expected[:2]
    workers.batch_sampler.set_position(1, 2)
    assert [flat(batch) for batch in workers] == expected[1][2:]
    for _ in workers:  # left early, with batches read ahead
        break
    assert workers.batch_sampler.epoch == 3
    workers.batch_sampler.set_position(2, 1)
    assert [flat(batch) for batch in workers] == expected[2][1:]
    # the global generators were left alone
    assert torch.equal(torch.get_rng_state(), before) and np.array_equal(np.random.get_state()[1], numpy_before)


@pytest.mark.parametrize("threads", [0, 2])
def test_a_damaged_frame_is_one_line_also_from_a_worker(tmp_path, capsys, threads):
    tree = write_tree(tmp_path, {"2": 3})
    path = tree[1] / "2/1.png"
    path.write_bytes(path.read_bytes()[:60])

    @command
    def main():
        list(make_loader(PairedVideoDataset(*tree, 3, H, W), 1, threads, seed=0))

    assert main() == 2
    start = time.monotonic()
    gc.collect()  # a loader that only the collector ends waits 5 seconds for each worker
    assert time.monotonic() - start < 4 and not multiprocessing.active_children()
    error = capsys.readouterr().err
    assert error.startswith(f"error: cannot read image {path}: it is damaged or no image")
    assert error.count("\n") == 1


def test_only_who_asks_for_pinned_memory_touches_a_gpu(tree, monkeypatch):
    asked = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: asked.append(True))
    dataset = PairedVideoDataset(*tree, 3, H, W)
    plain = make_loader(dataset, 2, 0, seed=0)
    assert not asked and plain.pin_memory is False
    assert make_loader(dataset, 2, 0, seed=0, pin_memory=True).pin_memory is True


class Refused:
    """A batch that cannot be handed over."""

    def __reduce__(self):
        raise OSError(errno.EMFILE, "Too many open files")


def test_a_batch_that_cannot_be_handed_over_is_not_waited_for():
    """Python's queues would print a traceback in the worker and go on, and the parent would wait for ever."""
    def work(queue):
        _begin_worker(0)
        queue.put(Refused())
        time.sleep(10)

    context = multiprocessing.get_context("fork")
    worker = context.Process(target=work, args=(context.Queue(),))
    worker.start()
    worker.join(5)
    assert worker.exitcode == errno.EMFILE  # which the loader puts into words


@pytest.mark.parametrize("persistent", [True, False])
@pytest.mark.parametrize(("code", "words"), [
    (errno.EMFILE, "Too many open files; lower --threads 1"), (0, "it was asked to; lower"),
    (-signal.SIGBUS, r"it was killed by SIGBUS, as happens where shared memory .* is too small;"),
])  # fmt: skip
def test_a_worker_that_ends(monkeypatch, persistent, code, words):
    loader = VideoLoader([1, 2], num_workers=1, persistent_workers=persistent, worker_init_fn=_begin_worker)
    batches = iter(loader)
    next(batches)
    iterator = loader._iterator or batches.gi_frame.f_locals["iterator"]
    (worker,) = iterator._workers

    def dying():
        worker.terminate()
        worker.join()
        monkeypatch.setattr(worker, "_popen", SimpleNamespace(poll=lambda: code, returncode=code, sentinel=read))
        raise RuntimeError("DataLoader worker exited unexpectedly")

    read, write = os.pipe()
    os.close(write)
    monkeypatch.setattr(iterator, "_next_data", dying)
    with pytest.raises(LostWorker, match=f"^a process that loads data ended: {words}"):
        next(batches)
    os.close(read)


def test_processes_that_cannot_be_started(tree, monkeypatch, capfd):
    """The second one cannot; the first is not left behind, and PyTorch's half-made iterator does not complain."""
    fork, calls = os.fork, iter([True, False])

    def refusing():
        if next(calls):
            return fork()
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refusing)
    loader = make_loader(PairedVideoDataset(*tree, 3, H, W), 1, 2, 0)
    with pytest.raises(UserError, match=r"^cannot start the 2 processes that load data: Resource"):
        next(iter(loader))
    for worker in multiprocessing.active_children():
        worker.join(10)
    assert not multiprocessing.active_children() and "Exception ignored" not in capfd.readouterr().err


def test_programming_errors_are_not_hidden():
    class Broken(torch.utils.data.Dataset):
        def __len__(self):
            return 1

        def __getitem__(self, key):
            raise RuntimeError("bug")

    with pytest.raises(RuntimeError, match="bug"):
        list(make_loader(Broken(), 1, 0, seed=0))


# --- frames for testing ---

@pytest.mark.parametrize("threads", [0, 3])
def test_read_frames(tree, tmp_path, monkeypatch, threads):
    """In order, of the size asked for, a bounded number ahead; a damaged one raises when its turn comes."""
    paths = [tree[0] / f"10/{t}.png" for t in range(9)]
    for height, width in ((H, W), (10, 30)):
        expected = [np.asarray(Image.open(path).resize((width, height), Image.BICUBIC)) for path in paths]
        np.testing.assert_array_equal(list(read_frames(iter(paths), height, width, threads)), expected)
    assert list(read_frames([], H, W, threads)) == []
    (tmp_path / "bad.png").write_bytes(b"")
    frames = read_frames([*paths[:2], tmp_path / "bad.png"], H, W, threads)
    next(frames), next(frames)
    assert f"cannot read image {tmp_path}/bad.png" in message(next, frames)
    asked = []
    monkeypatch.setattr(loading, "read_image", lambda path: np.zeros((H, W, 3), np.uint8))
    frames = read_frames((asked.append(i) or i for i in itertools.count()), H, W, threads)  # has no end
    for taken in range(1, 50):
        next(frames)
        assert len(asked) <= taken + 2 * threads
    frames.close()


def test_read_frames_works_in_parallel_and_ends_its_threads(monkeypatch):
    barrier = threading.Barrier(3, timeout=5)  # passes only if three reads are under way at once

    def read(path):
        barrier.wait()
        time.sleep(0.001 * (path % 3))
        return np.full((H, W, 3), path, np.uint8)

    monkeypatch.setattr(loading, "read_image", read)
    before = threading.active_count()
    assert [frame[0, 0, 0] for frame in read_frames(range(9), H, W, 3)] == list(range(9))
    assert threading.active_count() == before
