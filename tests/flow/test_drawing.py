"""Drawing the flow of folders: what is written, in which scale, from how much memory."""
import itertools
import weakref

import numpy as np
import pytest
import torch

from tests.evaluation.helpers import moving, texture, write_clips
from timecyclegan.evaluation.compute_metrics import evaluate
from timecyclegan.evaluation.flow import load_flow
from timecyclegan.flow import flow_backend
from timecyclegan.flow.opencv import farneback
from timecyclegan.flow.pictures import draw_folders, flow_picture, flow_scale, with_legend
from timecyclegan.util.errors import UserError
from timecyclegan.video.frames import read_image

CPU = torch.device("cpu")
SIZE = (48, 64)


def draw(clips, tmp_path, backend=None, **options):
    found = write_clips(tmp_path / "in", clips)
    return draw_folders(backend or flow_backend("farneback"), found, tmp_path / "out", SIZE, CPU, **options)


def test_pictures_are_those_of_the_flow_in_one_scale_for_a_sequence(tmp_path):
    clips = {"a/b": moving(4, *SIZE, step=3), "c": moving(3, *SIZE, seed=1)}
    written, scales = draw(clips, tmp_path, threads=0)
    for name, clip in clips.items():
        flows = [farneback(frame, previous) for previous, frame in itertools.pairwise(clip)]
        assert scales[name] == max(map(flow_scale, flows))
        expected = [np.zeros((*SIZE, 2)), *flows]
        assert [path.relative_to(tmp_path / "out").as_posix() for path in written[name]] == [
            f"{name}/{t:04}.png" for t in range(len(clip))]
        for path, flow in zip(written[name], expected, strict=True):
            shown = with_legend(flow_picture(flow, scales[name]), scales[name])
            np.testing.assert_array_equal(read_image(path), shown)
    assert 2.5 < scales["a/b"] < 5 and 0.8 < scales["c"] < 2
    assert (read_image(written["c"][0])[:30] == 255).all()  # no flow leads to a first frame
    assert {path.suffix for path in (tmp_path / "out").rglob("*") if path.is_file()} == {".png"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a", "c"}  # nothing temporary is left


@pytest.mark.parametrize("save", ["flo", "npz"])
def test_flow_in_files(tmp_path, save):
    def backend(frame, previous):
        n, _, height, width = frame.shape
        flow = torch.tensor([1.5, -2.0]).view(1, 2, 1, 1).expand(n, 2, height, width)
        return flow, (torch.arange(width) / (width - 1)).expand(n, 1, height, width)

    draw({"a": moving(3)}, tmp_path, backend, save=save)
    files = sorted(path.name for path in (tmp_path / "out/a").iterdir() if path.suffix != ".png")
    assert files == [f"0001.{save}", f"0002.{save}"]
    for name in files:
        if save == "npz":
            flow, visible = load_flow(tmp_path / "out/a" / name)
            assert not visible[:, :32].any() and visible[:, 32:].all()
        else:
            flow = np.fromfile(tmp_path / "out/a" / name, "<f4", offset=12).reshape(*SIZE, 2)
        assert (flow == (1.5, -2.0)).all()


def test_saved_flow_serves_the_metrics(tmp_path):
    """A clip that moves by whole pixels, warped by its flow, is itself, up to the flow's error."""
    clip = moving(3, *SIZE, step=2)
    draw({"a": clip}, tmp_path, save="npz")
    found = write_clips(tmp_path / "in", {"a": clip})
    metric = evaluate(found, found, tmp_path / "out", only=["e_warp"])["metrics"]["e_warp"]
    assert metric["definition"] == "ewarp-fwd-true-flow-1" and 0 < metric["value"] < 1e-3


def test_one_frame_has_no_flow(tmp_path):
    written, scales = draw({"a": [texture(*SIZE)]}, tmp_path)
    assert scales == {"a": 0} and (read_image(written["a"][0])[:30] == 255).all()


def test_memory_does_not_grow_with_the_sequence(tmp_path):
    """Of the frames that a back end is shown no more than two are alive at a time."""
    alive, most = [], []

    def backend(frame, previous):
        alive.append(weakref.ref(frame))
        most.append(sum(reference() is not None for reference in alive))
        return torch.zeros(1, 2, *SIZE), torch.ones(1, 1, *SIZE)

    draw({"a": [texture(*SIZE)] * 21}, tmp_path, backend)
    assert len(most) == 20 and max(most) <= 2


def test_what_fails_leaves_no_picture_and_nothing_temporary(tmp_path):
    def failing(frame, previous):
        if next(calls) == 2:
            raise UserError("no more")
        return flow_backend("farneback")(frame, previous)

    calls = itertools.count()
    with pytest.raises(UserError, match="no more"):
        draw({"a": moving(5)}, tmp_path, failing)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(UserError, match=f"cannot write {tmp_path}/out: {tmp_path}/out is not a folder"):
        draw({"a": moving(2)}, tmp_path)
