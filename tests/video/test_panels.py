"""Pictures beside each other."""
import numpy as np
import pytest

from tests.video.test_writer import BLUE, GREEN, RED, plain
from timecyclegan.video.panels import side_by_side


def test_side_by_side_keeps_the_pictures():
    frames = [plain(RED, 20, 30), plain(GREEN, 20, 40)]
    joined = side_by_side(frames, ["a", "b"])[-20:]
    gap = joined.shape[1] - 70
    assert joined.shape[0] == 20 and gap > 0
    assert (joined[:, :30] == frames[0]).all() and (joined[:, -40:] == frames[1]).all()
    assert (joined[:, 30:30 + gap] == joined[0, 30]).all()


@pytest.mark.parametrize("size", [(64, 64), (256, 256)])
def test_captions_stand_above_and_fit(size):
    frames = [plain(colour, *size) for colour in (RED, GREEN, BLUE)]
    joined = side_by_side(frames, ["source", "generated", "real"])
    strip = joined[: -size[0]]
    ink = (strip > 150).all(axis=-1)
    assert np.flatnonzero(ink.any(axis=1)).size >= 7  # high enough to be read
    gap = (joined.shape[1] - 3 * size[1]) // 2
    for i in range(3):  # a caption does not run into its neighbour's
        left = i * (size[1] + gap)
        assert ink[:, left + 1:left + size[1] - 1].any()
        assert not ink[:, left:left + 1].any() and not ink[:, left + size[1] - 1:left + size[1]].any()


def test_side_by_side_refuses_what_does_not_fit():
    for frames, captions in (([plain(RED, 20, 30), plain(RED, 21, 30)], ["a", "b"]), ([plain(RED)] * 2, ["one"])):
        with pytest.raises(ValueError):
            side_by_side(frames, captions)
