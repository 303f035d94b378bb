import itertools

import numpy as np
import pytest
import torch

from tests.datasets.helpers import H, W, frame, message, write_tree
from timecyclegan.datasets.video_dataset import (
    Clips,
    PairedVideoDataset,
    UnconditionalVideoDataset,
    UnpairedVideoDataset,
)
from timecyclegan.video.frames import resize_image, to_uint8, write_image


def samples(dataset, epochs=range(6)):
    return [dataset[epoch, index] for epoch in epochs for index in range(len(dataset))]


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
            assert sample[side].dtype == torch.uint8
            expected = np.stack([frame(name, start + t, domain) for t in range(3)])
            np.testing.assert_array_equal(to_uint8(sample[side]), expected)


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
        return [bool(s["source"][0, 1, 0, 0] > 127) ^ bool(s["source"][0, 1, 0, 0] > s["source"][0, 1, 0, -1])
                for s in samples(PairedVideoDataset(*tree, 3, H, W, flip=flip), range(40))]
    assert not any(mirrored(False))
    assert 70 < sum(mirrored(True)) < 130  # of 200: 4 standard deviations


def test_switching_the_flip_off_changes_nothing_else(tree):
    for with_flip, without in zip(*(samples(PairedVideoDataset(*tree, 3, 10, 12, H, W, flip=flip))
                                    for flip in (True, False)), strict=True):
        assert with_flip["start"] == without["start"]
        assert torch.equal(with_flip["source"], without["source"]) or \
            torch.equal(with_flip["source"], without["source"].flip(-1))


def test_images_are_resized_to_the_load_size(tree):
    for size, load in (((10, 30), (0, 0)), ((10, 30), (14, 50)), ((30, 18), (0, 40))):
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


# --- domains that share nothing ---

def write_domain(root, lengths, height=H, width=W, number=0):
    """Frames that say where they come from: red is the sequence, green the frame, blue the column (unless resized)."""
    for place, (sequence, length) in enumerate(lengths.items()):
        for t in range(length):
            image = np.full((height, width, 3), (10 * place + 100 * number, t, 0), np.uint8)
            image[..., 2] = np.arange(width)
            write_image(root / sequence / f"{t}.png", image)
    return root


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    """Two domains with other sequences, sizes and counts: 5 and 13 clips of 2 frames."""
    root = tmp_path_factory.mktemp("apart")
    return (write_domain(root / "a", {"x": 6, "y": 4}, 8, 10),
            write_domain(root / "b", {"p": 9, "q": 8, "r": 10}, 12, 30, number=1))


def clips_drawn(dataset, epoch):
    """By domain, (sequence, its frames' numbers) of each index, read from the pixels."""
    drawn = {"source": [], "target": []}
    for index in range(len(dataset)):
        sample = dataset[epoch, index]
        for number, (domain, clips) in enumerate(drawn.items()):
            pixels = to_uint8(sample[domain])
            assert (pixels[..., 0] == pixels[0, 0, 0, 0]).all()
            sequence = list(dataset.sequences[domain])[(int(pixels[0, 0, 0, 0]) - 100 * number) // 10]
            assert sample[f"{domain}_sequence"] == sequence
            times = [int(frame[0, 0, 1]) for frame in pixels]
            assert times == list(range(sample[f"{domain}_start"], sample[f"{domain}_start"] + len(pixels)))
            clips.append((sequence, times[0]))
    return drawn


def test_unpaired_domains_need_nothing_in_common(apart):
    dataset = UnpairedVideoDataset(*apart, 2, 6, 7, 8, 10)
    assert len(dataset) == 9 // 2 + 8 // 2 + 10 // 2 == 13  # the longer one's epoch
    assert {sample[domain].shape for sample in samples(dataset, [0]) for domain in ("source", "target")} == {
        (2, 3, 6, 7)}
    with pytest.raises(IndexError):
        dataset[0, 13]


def test_an_epoch_visits_the_longer_domain_once_and_the_other_evenly(apart):
    for long, short, roots in (("target", "source", apart), ("source", "target", apart[::-1])):
        dataset = UnpairedVideoDataset(*roots, 2, 8, 10)
        for epoch in range(3):
            names = {domain: [dataset[epoch, i][f"{domain}_sequence"] for i in range(13)] for domain in (long, short)}
            assert {name: names[long].count(name) for name in "pqr"} == {"p": 4, "q": 4, "r": 5}
            x, y = (names[short].count(name) for name in "xy")  # 3 and 2 clips, each twice or three times
            assert x + y == 13 and 6 <= x <= 9 and 4 <= y <= 6


def test_unpaired_domains_are_drawn_independently(tmp_path):
    """SPEC 7 item 13: they were paired by index. Here both are the same folder, where that would always meet."""
    root = write_domain(tmp_path, {f"s{i}": 5 for i in range(8)}, 8, 12)
    dataset = UnpairedVideoDataset(root, root, 5, 6, 9, 8, 12)
    assert len(dataset) == 8
    draws, meetings = [dataset[epoch, i] for epoch in range(40) for i in range(8)], set()
    same = 0
    for sample in draws:
        meetings.add((sample["source_sequence"], sample["target_sequence"]))
        same += sample["source_sequence"] == sample["target_sequence"]
    assert len(meetings) > 60  # any two of 8 meet
    assert 20 < same < 60  # of 320, an eighth: 3 standard deviations
    views = {domain: [s[domain][0, 2, 0, :2].tolist() for s in draws] for domain in ("source", "target")}
    equal = np.mean([a == b for a, b in zip(*views.values(), strict=True)])
    assert equal < 0.3  # of 4 columns and 2 mirrorings
    for domain in ("source", "target"):
        assert len(set(map(str, views[domain]))) == 8
    starts = samples(UnpairedVideoDataset(root, root, 4, 8, 10), range(20))
    assert {(s["source_start"], s["target_start"]) for s in starts} == set(itertools.product(range(2), range(2)))


def test_an_unpaired_sample_is_a_function_of_seed_epoch_and_index_only(apart):
    def draw(key, seed=5):
        sample = UnpairedVideoDataset(*apart, 2, 6, 7, 8, 10, seed=seed)[key]
        return {k: v.numpy().tobytes() if isinstance(v, torch.Tensor) else v for k, v in sample.items()}

    keys = list(itertools.product(range(2), range(13)))
    first = [draw(key) for key in keys]
    np.random.seed(2)
    torch.manual_seed(3)
    assert [draw(key) for key in reversed(keys)] == first[::-1]
    assert [draw(key, seed=6) for key in keys] != first
    assert first[:13] != first[13:]


def test_a_domain_does_not_notice_the_other(apart, tmp_path):
    """Another source of fewer clips than the target, which sets the epoch's length: the target's clips stay."""
    other = write_domain(tmp_path, {"o": 11})
    first, second = (UnpairedVideoDataset(source, apart[1], 2, 6, 7, 8, 10) for source in (apart[0], other))
    assert all(torch.equal(first[0, i]["target"], second[0, i]["target"]) for i in range(13))


def test_short_sequences_of_both_domains_are_reported(apart):
    dataset = UnpairedVideoDataset(*apart, 5, 6, 7)
    assert dataset.warnings() == [f"1 of 2 sequences in {apart[0]} are not used, they have fewer than 5 frames: y (4)"]
    first, second = UnpairedVideoDataset(apart[1], apart[1], 10, 6, 7).warnings()
    assert first == second and "2 of 3 sequences" in first and "p (9), q (8)" in first
    assert f"no sequence in {apart[0]} has the 7 frames" in message(UnpairedVideoDataset, *apart, 7, 6, 7)


def test_targets_alone(apart):
    dataset = UnconditionalVideoDataset(None, apart[1], 2, 8, 10)
    assert len(dataset) == 13
    assert set(dataset[0, 0]) == {"target", "target_sequence", "target_start"}
    assert sorted(dataset[0, i]["target_sequence"] for i in range(13)) == ["p"] * 4 + ["q"] * 4 + ["r"] * 5
    assert len(UnconditionalVideoDataset("/nowhere", apart[1], 2, 8, 10)) == 13  # the source is not read


# --- what users get wrong ---

def test_what_cannot_be_trained_on(tree, tmp_path):
    for load, line in (((19, 0), "--load_height 19 is smaller than --image_height 20"),
                       ((0, 35), "--load_width 35 is smaller than --image_width 36")):
        assert line in message(PairedVideoDataset, *tree, 3, H, W, *load)
    text = message(PairedVideoDataset, *tree, 10, H, W)
    assert f"no sequence in {tree[0]} has the 10 frames" in text
    assert "the longest has 9; use longer sequences, or --block_size 9 or less" in text
    other = write_tree(tmp_path)
    (other[1] / "2/6.png").unlink()
    assert "sequence 2 (7 and 6)" in message(PairedVideoDataset, *other, 3, H, W)


def test_too_short_sequences_are_skipped_and_reported(tree):
    dataset = PairedVideoDataset(*tree, 8, H, W)
    assert len(dataset) == 1
    expected = f"1 of 2 sequences in {tree[0]} are not used, they have fewer than 8 frames: 2 (7)"
    assert dataset.warnings() == [expected]
    assert dataset[0, 0]["sequence"] == "10"
    assert PairedVideoDataset(*tree, 7, H, W).warnings() == []


def test_an_epoch_sees_all_parts_of_a_sequence():
    """The places to begin are shared out among the clips: none is drawn twice, and over many epochs all are drawn."""
    for length, n_frames in ((14, 1), (14, 3), (15, 3), (3, 3), (11, 4)):
        clips, drawn = Clips({"a": length, "b": length}, n_frames, "root"), set()
        for epoch in range(60):
            rng = np.random.default_rng(epoch)
            starts = [clips.draw(index, rng) for index in range(len(clips))]
            assert len(set(starts)) == len(starts) == 2 * (length // n_frames)
            a = [start for name, start in starts if name == "a"]
            assert a == sorted(a) and (n_frames > 1 or a == list(range(length)))
            drawn |= set(a)
        assert drawn == set(range(length - n_frames + 1))
