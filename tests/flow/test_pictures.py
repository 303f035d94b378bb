"""Colours of flow by hand, the legend's place, and files against the format's definition."""
import struct

import numpy as np
import pytest

from timecyclegan.evaluation.flow import load_flow
from timecyclegan.flow.pictures import flow_picture, flow_scale, with_legend, write_flo, write_npz


def test_colours():
    """Hue by direction, saturation by distance up to the scale; no motion at all is white."""
    for motion, colour in {
        (0, 0): (255, 255, 255), (4, 0): (255, 0, 0), (-4, 0): (0, 255, 255), (0, 4): (128, 255, 0),
        (0, -4): (128, 0, 255), (2, 0): (255, 128, 128), (8, 0): (255, 0, 0),
    }.items():  # fmt: skip
        picture = flow_picture(np.full((3, 5, 2), motion, np.float32), scale=4)
        assert picture.shape == (3, 5, 3) and picture.dtype == np.uint8
        assert (np.abs(picture.astype(int) - colour) <= 1).all(), motion
    assert (flow_picture(np.zeros((2, 2, 2)), 0.0) == 255).all()


def test_one_pixel_does_not_set_the_scale():
    flow = np.full((20, 20, 2), (3.0, 4.0))
    flow[0, 0] = 1000
    assert flow_scale(flow) == 5


@pytest.mark.parametrize(("height", "width"), [(48, 48), (64, 100), (300, 200)])
def test_legend(height, width):
    """In the lower left corner: a wheel with red at its right and cyan at its left; nothing else changes."""
    picture = np.full((height, width, 3), 77, np.uint8)
    shown = with_legend(picture, 12.345)
    side = min(height, width) // 5 | 1
    assert shown.shape == picture.shape and (picture == 77).all()
    assert (shown[: height - side - 4] == 77).all()
    middle = height - 2 - side // 2 - 1
    right, left = shown[middle, 1 + side].astype(int), shown[middle, 2].astype(int)
    assert right[0] > 250 > 60 > right[1] and left[0] < 60 < 250 < left[1]
    text = shown[height - side - 4 :, side + 4 : min(width, 3 * side)]
    assert text.min() < 120  # dark letters on white


def test_small_pictures_have_no_room_for_a_legend():
    picture = np.zeros((40, 100, 3), np.uint8)
    assert with_legend(picture, 1.0) is picture


def test_flo(tmp_path):
    flow = np.arange(2 * 3 * 2, dtype=np.float32).reshape(2, 3, 2)
    write_flo(tmp_path / "a.flo", flow)
    content = (tmp_path / "a.flo").read_bytes()
    assert content[:4] == b"PIEH" and struct.unpack("<ii", content[4:12]) == (3, 2)
    assert struct.unpack("<12f", content[12:]) == tuple(range(12))


def test_npz_is_what_the_metrics_read(tmp_path):
    flow, visible = np.random.default_rng(0).normal(size=(4, 5, 2)), np.eye(4, 5) > 0
    write_npz(tmp_path / "a.npz", flow, visible)
    found = load_flow(tmp_path / "a.npz")
    np.testing.assert_array_equal(found.flow, flow.astype(np.float32))
    np.testing.assert_array_equal(found.visible, visible)
