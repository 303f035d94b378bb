import gc
import itertools
import multiprocessing
import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image

from timecyclegan.datasets import video_dataset
from timecyclegan.datasets.frames import resize_image, to_uint8, write_image
from timecyclegan.datasets.video_dataset import EpochSampler, PairedVideoDataset, make_loader, read_frames
from timecyclegan.util.errors import UserError, command

H, W = 20, 36
LENGTHS = {"2": 7, "10": 9}  # natural order, and neither a multiple of the clip length 3


def frame(sequence, t, domain, height=H, width=W):
    """Pixels that say where they come from: red is the row, green the column, blue the frame."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.arange(height)[:, None] + 100 * domain
    image[..., 1] = np.arange(width)
    image[..., 2] = 16 * list(LENGTHS).index(sequence) + t + 100 * domain
    return image


def write_tree(root, lengths=LENGTHS, **size):
    for domain, side in enumerate(("source", "target")):
        for sequence, length in lengths.items():
            for t in range(length):
                write_image(root / side / sequence / f"{t}.png", frame(sequence, t, domain, **size))
    return root / "source", root / "target"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return write_tree(tmp_path_factory.mktemp("tree"))


def samples(dataset, epochs=range(6)):
    return [dataset[epoch, index] for epoch in epochs for index in range(len(dataset))]


def message(call, *args, **options):
    with pytest.raises(UserError) as caught:
        call(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- samples ---

def test_an_epoch_draws_length_div_n_clips_of_each_sequence(tree):
    dataset = PairedVideoDataset(*tree, 3, H, W)
    assert len(dataset) == 7 // 3 + 9 // 3
    assert [dataset[0, index]["sequence"] for index in range(5)] == ["2", "2", "10", "10", "10"]
    with pytest.raises(IndexError):
        dataset[0, 5]


def test_whole_frames_without_a_load_size(tree):
    for sample in samples(PairedVideoDataset(*tree, 3, H, W, flip=False)):
        name, start = sample["sequence"], sample["start"]
        for domain, side in enumerate(("source", "target")):
            assert sample[side].shape == (3, 3, H, W)
            assert sample[side].dtype == torch.float32
            expected = np.stack([frame(name, start + t, domain) for t in range(3)])
            np.testing.assert_array_equal(to_uint8(sample[side]), expected)


def test_clips_start_anywhere(tree):
    starts = {(s["sequence"], s["start"]) for s in samples(PairedVideoDataset(*tree, 3, H, W), range(40))}
    assert starts == {(name, t) for name, length in LENGTHS.items() for t in range(length - 2)}


def test_a_sequence_of_exactly_one_clip(tree):
    dataset = PairedVideoDataset(*tree, 9, H, W)
    assert len(dataset) == 1
    assert dataset[0, 0]["start"] == 0


def test_crop_and_flip_are_the_same_for_all_frames_and_both_domains(tmp_path):
    tree = write_tree(tmp_path, height=H + 4, width=W + 6)
    seen = set()
    for sample in samples(PairedVideoDataset(*tree, 3, H, W, H + 4, W + 6), range(25)):
        pixels = to_uint8(sample["source"])
        top, left, mirrored = pixels[0, 0, 0, 0], pixels[0, 0, :, 1].min(), pixels[0, 0, 0, 1] > pixels[0, 0, -1, 1]
        seen.add((int(top), int(left), bool(mirrored)))
        for domain, side in enumerate(("source", "target")):
            for t, image in enumerate(to_uint8(sample[side])):
                whole = frame(sample["sequence"], sample["start"] + t, domain, H + 4, W + 6)
                crop = whole[top:top + H, left:left + W]
                np.testing.assert_array_equal(image, crop[:, ::-1] if mirrored else crop)
    assert {top for top, *_ in seen} == set(range(5))
    assert {left for _, left, _ in seen} == set(range(7))
    assert {mirrored for *_, mirrored in seen} == {False, True}


def test_no_flip_unless_asked_and_then_every_second_time(tree):
    def mirrored(flip):
        return [bool(s["source"][0, 1, 0, 0] > 0) ^ bool(s["source"][0, 1, 0, 0] > s["source"][0, 1, 0, -1])
                for s in samples(PairedVideoDataset(*tree, 3, H, W, flip=flip), range(40))]
    assert not any(mirrored(False))
    assert 70 < sum(mirrored(True)) < 130  # of 200: 4 standard deviations


def test_switching_the_flip_off_changes_nothing_else(tree):
    for with_flip, without in zip(*(samples(PairedVideoDataset(*tree, 3, 10, 12, H, W, flip=flip))
                                    for flip in (True, False)), strict=True):
        assert with_flip["start"] == without["start"]
        assert torch.equal(with_flip["source"], without["source"]) or \
            torch.equal(with_flip["source"], without["source"].flip(-1))


@pytest.mark.parametrize("size, load", [((10, 30), (0, 0)), ((10, 30), (14, 50)), ((30, 18), (0, 40))])
def test_images_are_resized_to_the_load_size(tree, size, load):
    height, width = load[0] or size[0], load[1] or size[1]
    for sample in samples(PairedVideoDataset(*tree, 2, *size, *load, flip=False), range(2)):
        whole = resize_image(frame(sample["sequence"], sample["start"], 1), height, width)
        image = to_uint8(sample["target"])[0]
        assert image.shape == (*size, 3)
        assert any(np.array_equal(image, whole[top:top + size[0], left:left + size[1]])
                   for top in range(height - size[0] + 1) for left in range(width - size[1] + 1))


def test_frames_and_domains_of_different_sizes_are_fine(tmp_path):
    tree = write_tree(tmp_path, {"2": 2})
    write_image(tree[1] / "2/1.png", frame("2", 1, 1, 50, 40))
    assert PairedVideoDataset(*tree, 2, H, W)[0, 0]["target"].shape == (2, 3, H, W)


def test_a_sample_is_a_function_of_seed_epoch_and_index_only(tree):
    def draw(key, seed=5):
        sample = PairedVideoDataset(*tree, 2, 10, 12, H, W, seed=seed)[key]
        return sample["start"], sample["source"].numpy().tobytes()

    keys = list(itertools.product(range(3), range(3)))
    np.random.seed(1)
    first = [draw(key) for key in keys]
    np.random.seed(2)
    torch.manual_seed(3)
    assert [draw(key) for key in reversed(keys)] == first[::-1]
    assert len({first[keys.index((epoch, 0))] for epoch in range(3)}) == 3
    assert len({first[keys.index((0, index))] for index in range(3)}) == 3  # three clips of one sequence
    assert [draw(key, seed=6) for key in keys] != first


# --- what users get wrong ---

@pytest.mark.parametrize("load, line", [
    ((19, 0), "--load_height 19 is smaller than --image_height 20"),
    ((0, 35), "--load_width 35 is smaller than --image_width 36")])
def test_load_size_smaller_than_the_crop(tree, load, line):
    assert line in message(PairedVideoDataset, *tree, 3, H, W, *load)


def test_too_short_sequences_are_skipped_and_reported(tree):
    dataset = PairedVideoDataset(*tree, 8, H, W)
    assert (len(dataset), dataset.skipped) == (1, {"2": 7})
    assert dataset.skipped_warning() == "1 of 2 sequences are not used, they have fewer than 8 frames: 2 (7)"
    assert dataset[0, 0]["sequence"] == "10"
    assert PairedVideoDataset(*tree, 7, H, W).skipped_warning() is None


def test_no_sequence_is_long_enough(tree):
    text = message(PairedVideoDataset, *tree, 10, H, W)
    assert f"no sequence in {tree[0]} has the 10 frames" in text
    assert "the longest has 9; use --block_size 9 or less" in text


def test_unpaired_folders_are_refused(tmp_path):
    tree = write_tree(tmp_path)
    (tree[1] / "2/6.png").unlink()
    assert "sequence 2 (7 and 6)" in message(PairedVideoDataset, *tree, 3, H, W)


def test_clips_without_frames_are_a_programming_error():
    with pytest.raises(ValueError, match="n_frames"):
        video_dataset.Clips({"a": 3}, 0, "root")


# --- order ---

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


def test_batches_that_fill_the_epoch_exactly():
    assert len(EpochSampler(8, 4, 0)) == 2
    assert [len(batch) for batch in EpochSampler(8, 4, 0)] == [4, 4]


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

    plain, workers = loader(0), loader(2)
    expected = [[flat(batch) for batch in plain] for _ in range(3)]
    assert len(plain) == len(expected[0]) == 3
    assert next(iter(loader(0)))["source"].shape == (2, 3, 3, 10, 12)
    assert [[flat(batch) for batch in workers] for _ in range(2)] == expected[:2]
    workers.batch_sampler.set_position(1, 2)
    assert [flat(batch) for batch in workers] == expected[1][2:]
    for _ in workers:  # left early, with batches read ahead
        break
    workers.batch_sampler.set_position(2, 1)
    assert [flat(batch) for batch in workers] == expected[2][1:]


def test_an_epoch_that_is_left_early_is_followed_by_the_next(tree):
    for threads in (0, 2):
        loader = make_loader(PairedVideoDataset(*tree, 3, H, W), 2, threads, seed=0)
        for _ in loader:
            break
        assert loader.batch_sampler.epoch == 1


@pytest.mark.parametrize("threads", [0, 2])
def test_loading_leaves_the_global_generators_alone(tree, threads):
    torch.manual_seed(0)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    loader = make_loader(PairedVideoDataset(*tree, 3, H, W), 2, threads, seed=0)
    for _ in range(2):
        list(loader)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)


@pytest.mark.parametrize("threads", [0, 2])
def test_a_damaged_frame_is_one_line_also_from_a_worker(tmp_path, capsys, threads):
    tree = write_tree(tmp_path, {"2": 3})
    path = tree[1] / "2/1.png"
    path.write_bytes(path.read_bytes()[:60])

    @command
    def main():
        list(make_loader(PairedVideoDataset(*tree, 3, H, W), 1, threads, seed=0))

    assert main() == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: cannot read image {path}: it is damaged or no image")
    assert error.count("\n") == 1


def test_workers_end_at_once_after_an_error(tmp_path):
    tree = write_tree(tmp_path, {"2": 3})
    (tree[1] / "2/1.png").write_bytes(b"")
    message(lambda: list(make_loader(PairedVideoDataset(*tree, 3, H, W), 1, 2, seed=0)))
    start = time.monotonic()
    gc.collect()  # a loader that only the collector ends waits 5 seconds for each worker
    assert time.monotonic() - start < 4
    assert not multiprocessing.active_children()


def test_only_who_asks_for_pinned_memory_touches_a_gpu(tree, monkeypatch):
    asked = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: asked.append(True))
    dataset = PairedVideoDataset(*tree, 3, H, W)
    plain = make_loader(dataset, 2, 0, seed=0)
    assert not asked and plain.pin_memory is False
    assert make_loader(dataset, 2, 0, seed=0, pin_memory=True).pin_memory is True


def test_programming_errors_are_not_hidden():
    class Broken(torch.utils.data.Dataset):
        def __len__(self):
            return 1

        def __getitem__(self, key):
            raise RuntimeError("bug")

    with pytest.raises(RuntimeError, match="bug"):
        list(make_loader(Broken(), 1, 0, seed=0))


# --- frames for testing ---

@pytest.mark.parametrize("threads", [0, 1, 3])
def test_read_frames_in_order_and_of_the_size_asked_for(tree, threads):
    paths = [tree[0] / f"10/{t}.png" for t in range(9)]
    for height, width in ((H, W), (10, 30)):
        frames = list(read_frames(iter(paths), height, width, threads))
        expected = [np.asarray(Image.open(path).resize((width, height), Image.BICUBIC)) for path in paths]
        np.testing.assert_array_equal(frames, expected)
    assert list(read_frames([], H, W, threads)) == []


@pytest.mark.parametrize("threads", [0, 2])
def test_read_frames_reads_a_bounded_number_ahead(monkeypatch, threads):
    asked = []
    monkeypatch.setattr(video_dataset, "read_image", lambda path: np.zeros((H, W, 3), np.uint8))
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

    monkeypatch.setattr(video_dataset, "read_image", read)
    before = threading.active_count()
    assert [frame[0, 0, 0] for frame in read_frames(range(9), H, W, 3)] == list(range(9))
    assert threading.active_count() == before


@pytest.mark.parametrize("threads", [0, 2])
def test_read_frames_raises_when_the_damaged_frame_is_due(tmp_path, threads):
    paths = [tmp_path / f"{t}.png" for t in range(4)]
    for path in paths:
        write_image(path, np.zeros((H, W, 3), np.uint8))
    paths[2].write_bytes(b"")
    frames = read_frames(paths, H, W, threads)
    next(frames), next(frames)
    assert f"cannot read image {paths[2]}" in message(next, frames)
