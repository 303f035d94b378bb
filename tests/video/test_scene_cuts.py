"""Cuts are found; fades, flashes, fast motion and noise are none."""
import weakref

import numpy as np
import pytest

from timecyclegan.video.scene_cuts import REACH, mark_cuts

H, W = 72, 128


def place(seed):
    """A picture (H, 4 W, 3) to look at parts of: blobs of a few colours that belong to it."""
    rng = np.random.default_rng(seed)
    palette = rng.integers(0, 256, (5, 3))
    return np.kron(palette[rng.integers(0, 5, (H // 24, W // 6))], np.ones((24, 24, 1))).astype(np.uint8)


def shot(seed, count, speed=1, noise=4):
    """A camera that pans by ``speed`` pixels a frame, with sensor noise."""
    rng, picture = np.random.default_rng(seed), place(seed)
    frames = np.stack([np.roll(picture, -speed * t, axis=1)[:, :W] for t in range(count)])
    return np.clip(frames + rng.normal(0, noise, frames.shape), 0, 255).astype(np.uint8)


def cuts(*parts):
    frames = np.concatenate(parts)
    found = list(mark_cuts(iter(frames)))
    assert all((item == frame).all() for (item, _), frame in zip(found, frames, strict=True))
    return [t for t, (_, begins) in enumerate(found) if begins]


def test_cuts_are_found_where_they_are():
    for speed in (0, 1, 4, 8):
        shots = (shot(seed, length, speed) for seed, length in enumerate((20, 12, 7, 30)))
        assert cuts(*shots) == [0, 20, 32, 39], speed


def test_fast_motion_is_no_cut():
    for speed in (8, 16, 24, 50):
        assert cuts(shot(0, 40, speed)) == [0]
        assert cuts(shot(1, 15, 0), shot(1, 15, speed)) == [0]  # a camera that begins to move


def test_a_jump_within_a_scene_is_a_cut():
    frames = shot(2, 60)
    assert cuts(frames[:10], frames[50:]) == [0, 10]


def test_a_cut_between_shots_of_low_contrast():
    """Too small a difference for a jump within a scene, but into other colours."""
    assert cuts(shot(0, 12) // 6 + 45, shot(1, 12) // 6 + 65) == [0, 12]


@pytest.mark.parametrize("length", [6, 12, 25])
def test_fades_are_no_cuts(length):
    one, two = shot(0, 40), shot(1, 40)
    down = np.linspace(1, 0, length)[:, None, None, None]
    black = (one[10 : 10 + length] * down).astype(np.uint8)
    again = (two[:length] * down[::-1]).astype(np.uint8)
    assert cuts(one[:10], black, again, two[length:]) == [0]
    dissolve = (one[:1] * down + two[:1] * (1 - down)).astype(np.uint8)
    assert cuts(one[:1].repeat(10, 0), dissolve, two[:1].repeat(10, 0)) == [0]


@pytest.mark.parametrize("length", [1, 2, 3, REACH])
def test_flashes_are_no_cuts(length):
    frames = shot(3, 30)
    frames[12 : 12 + length] = frames[12 : 12 + length] // 8 + 222
    assert cuts(frames) == [0]


def test_cuts_beside_the_ends_and_beside_each_other():
    one, two, three = shot(0, 20), shot(1, 20), shot(2, 20)
    assert cuts(one[:1], two) == [0, 1]
    assert cuts(one, two[:1]) == [0, 20]
    assert cuts(one, two[: REACH + 1], three) == [0, 20, 20 + REACH + 1]
    assert cuts(one[:1], two[:1]) == [0, 1]
    assert cuts(one[:1]) == [0]
    assert list(mark_cuts([])) == []


def test_a_still_is_no_cut():
    assert cuts(np.repeat(place(0)[None, :, :W], 20, 0)) == [0]
    assert cuts(np.zeros((9, H, W, 3), np.uint8), np.full((9, H, W, 3), 6, np.uint8)) == [0]


def test_only_a_few_frames_are_kept():
    alive, most = weakref.WeakSet(), 0

    class Item:
        def __init__(self, frame):
            self.frame = frame

    def stream():
        for frame in shot(0, 300):
            item = Item(frame)
            alive.add(item)
            yield item

    for item, _ in mark_cuts(stream(), lambda item: item.frame):
        assert item.frame.shape == (H, W, 3)
        most = max(most, len(alive))
    assert most <= REACH + 3
