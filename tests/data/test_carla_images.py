"""What CARLA's cameras send, as arrays: which pixels of a flow were visible before."""
import numpy as np

from timecyclegan.data.carla.images import visible


def test_what_appears_from_behind_another_class_or_from_outside_was_not_visible():
    before, now = np.zeros((2, 5, 9, 3), np.uint8)
    before[1:4, 2:5], now[1:4, 4:7] = 200, 200  # a square goes two pixels to the right over what stands still
    flow = np.zeros((5, 9, 2))
    flow[1:4, 4:7, 0] = -2 + 1e-6  # as exact as float32 is
    flow[0, 8, 0] = 0.5  # beyond the last column's middle
    flow[4, 0] = np.nan
    expected = np.ones((5, 9), bool)
    expected[1:4, 2:4] = expected[0, 8] = expected[4, 0] = False
    assert np.array_equal(visible(flow, before, now), expected)
    flow[1:4, 6, 0] = -1.75  # between the square's last column and what lies beside it
    expected[1:4, 6] = False
    assert np.array_equal(visible(flow, before, now), expected)
