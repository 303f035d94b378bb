import itertools
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from tests.evaluation.helpers import CASES, moving, texture, write_flow
from timecyclegan.evaluation.flow import Estimator, TrueFlow, destinations, estimator, load_flow, resize_flow, sample
from timecyclegan.flow import BACKENDS, opencv
from timecyclegan.flow.opencv import farneback
from timecyclegan.util.errors import UserError
from timecyclegan.video.frames import read_image


def test_farneback_is_the_reference_one():
    probe = json.loads((CASES / "reference.json").read_text())["tof"]["probe_flow_real_seq0_0to1"]
    flow = farneback(*(read_image(CASES / "cases/real/seq0" / f"000{t}.png") for t in (0, 1)))
    assert flow.shape == (96, 128, 2)
    assert flow[48, 64] == pytest.approx(probe["at_y48_x64"], abs=1e-5)
    assert flow[10, 20] == pytest.approx(probe["at_y10_x20"], abs=1e-5)


def test_farneback_points_from_the_first_to_the_second_image():
    first, second = moving(2, 64, 64, step=2)
    median = np.median(farneback(first, second)[8:-8, 8:-8], axis=(0, 1))
    assert median == pytest.approx([-2, 0], abs=0.1)  # the window moves right, the picture moves left


def test_farneback_is_the_back_end():
    """One definition, and what metrics have always computed."""
    found = estimator()
    assert found == Estimator() and found.flow is farneback is opencv.farneback
    assert (found.name, found.facts["flow_weights"]) == ("farneback", None)


@pytest.mark.parametrize("name", ["dis", "net"])
def test_any_back_end_estimates_from_the_first_to_the_second_image(name, monkeypatch):
    class Net:
        """Stands for a network: DIS on tensors."""

        file = None

        def __init__(self, weights):
            pass

        def __call__(self, frame, previous):
            assert frame.dtype == torch.float32 and frame.abs().max() <= 1
            return opencv.DIS()(frame, previous)

    monkeypatch.setitem(BACKENDS, "net", (__name__, "Net"))
    monkeypatch.setattr(sys.modules[__name__], "Net", Net, raising=False)
    first, second = moving(2, 64, 64, step=2)
    found = estimator(name, gpu=-1)
    flow = found.flow(first, second)
    assert found.name == name and flow.shape == (64, 64, 2) and flow.dtype == np.float32
    np.testing.assert_array_equal(flow, opencv.dis(first, second))
    assert np.median(flow[8:-8, 8:-8], axis=(0, 1)) == pytest.approx([-2, 0], abs=0.1)


def test_a_network_runs_for_one_thread_at_a_time(monkeypatch):
    running, most = [], []

    class Net:
        file = None

        def __init__(self, weights):
            pass

        def __call__(self, frame, previous):
            running.append(1)
            time.sleep(0.002)
            most.append(len(running))
            running.pop()
            return torch.zeros(1, 2, *frame.shape[2:]), None

    monkeypatch.setitem(BACKENDS, "net", (__name__, "Net"))
    monkeypatch.setattr(sys.modules[__name__], "Net", Net, raising=False)
    flow = estimator("net", gpu=-1).flow
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: flow(*moving(2)), range(16)))
    assert most == [1] * 16


@pytest.mark.parametrize(("name", "weights", "part"), [
    ("farnebak", "", r"--metric_flow_backend 'farnebak' is not known; did you mean farneback\?"),
    ("dis", "x", "--metric_flow_weights x: --metric_flow_backend dis has no weights"),
    ("raft", "none.pth", r"none\.pth"),
])  # fmt: skip
def test_estimators_that_cannot_be(name, weights, part):
    with pytest.raises(UserError, match=part):
        estimator(name, weights, -1, "metric_flow")


def test_bilinear_samples_and_what_is_in_the_frame():
    rng = np.random.default_rng(0)
    image, flow = rng.uniform(size=(13, 17, 3)), rng.normal(0, 6, (13, 17, 2))
    points, inside = destinations(flow)
    found = sample(image, points)
    for row, column in itertools.product(range(13), range(17)):
        x, y = column + flow[row, column, 0], row + flow[row, column, 1]
        assert inside[row, column] == (0 <= x <= 16 and 0 <= y <= 12)
        x, y = np.clip(x, 0, 16), np.clip(y, 0, 12)
        weights = np.outer(np.maximum(1 - abs(np.arange(13) - y), 0), np.maximum(1 - abs(np.arange(17) - x), 0))
        assert found[row, column] == pytest.approx((weights[..., None] * image).sum((0, 1)), abs=1e-12)
    assert 0 < inside.sum() < inside.size


def test_zero_flow_is_the_identity_up_to_the_border():
    image = texture(9, 14)
    points, inside = destinations(np.zeros((9, 14, 2)))
    assert inside.all()
    np.testing.assert_array_equal(sample(image, points), image)


def test_flow_file_round_trip(tmp_path):
    flow, visible = np.full((4, 6, 2), (1.5, -2.0)), np.eye(4, 6, dtype=bool)
    write_flow(tmp_path / "f.npz", flow, visible)
    loaded = load_flow(tmp_path / "f.npz")
    assert loaded.flow.dtype == np.float64 and loaded.visible.dtype == bool
    np.testing.assert_array_equal(loaded.flow, flow)
    np.testing.assert_array_equal(loaded.visible, visible)


def test_unknown_flow_is_invisible_and_spoils_no_neighbour(tmp_path):
    flow, visible = np.ones((4, 6, 2)), np.ones((4, 6), bool)
    flow[1, 2], flow[3, 3, 0] = np.nan, np.inf
    write_flow(tmp_path / "f.npz", flow, visible)
    loaded = load_flow(tmp_path / "f.npz")
    assert np.argwhere(~loaded.visible).tolist() == [[1, 2], [3, 3]]
    assert np.isfinite(resize_flow(loaded, 8, 12).flow).all()


def test_resized_flow_scales_each_axis():
    visible = np.zeros((4, 6), bool)
    visible[:2] = True
    flow, mask = resize_flow(TrueFlow(np.full((4, 6, 2), (3.0, 3.0)), visible), height=8, width=3)
    np.testing.assert_allclose(flow, np.full((8, 3, 2), (1.5, 6.0)))
    np.testing.assert_array_equal(mask, np.arange(8)[:, None].repeat(3, 1) < 4)


def test_resized_mask_is_that_of_the_nearest_pixels():
    visible = np.random.default_rng(0).uniform(size=(40, 60)) < 0.5
    mask = resize_flow(TrueFlow(np.zeros((40, 60, 2)), visible), height=17, width=23).visible
    rows, columns = (np.arange(17) + 0.5) * 40 / 17, (np.arange(23) + 0.5) * 60 / 23
    np.testing.assert_array_equal(mask, visible[np.ix_(rows.astype(int), columns.astype(int))])


@pytest.mark.parametrize(("arrays", "line"), [
    ({"flow": np.zeros((4, 6, 2))}, "visible"),
    ({"flow": np.zeros((4, 6)), "visible": np.ones((4, 6))}, r"\(4, 6\)"),
    ({"flow": np.zeros((4, 6, 2)), "visible": np.ones((6, 4))}, r"\(6, 4\)"),
    ({"flow": np.array(["a"]), "visible": np.ones((6, 4))}, "cannot read"),
])
def test_wrong_flow_files(tmp_path, arrays, line):
    np.savez(tmp_path / "f.npz", **arrays)
    with pytest.raises(UserError, match=line):
        load_flow(tmp_path / "f.npz")


def test_missing_and_damaged_flow_files(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        load_flow(tmp_path / "none.npz")
    (tmp_path / "bad.npz").write_bytes(b"no archive")
    with pytest.raises(UserError, match=r"cannot read flow file .*bad\.npz"):
        load_flow(tmp_path / "bad.npz")
