"""What a model is to generate when it is tested, and what it is compared with."""
import numpy as np
import pytest

from timecyclegan.directions import find_directions
from timecyclegan.util.argparser import Arguments
from timecyclegan.video.frames import write_image


@pytest.mark.parametrize(("flows", "used"), [
    ([], [None, None]), (["source"], ["source", None]), (["target"], [None, "target"]),
    (["source", "target"], ["source", "target"]), (["both"], [None, "both"])])
def test_flow_beside_both_folders_belongs_to_the_targets_frames(tmp_path, flows, used):
    """Sequences at the top of a folder too, where any folder called flow looks as if it were theirs."""
    places = {"both": tmp_path} if flows == ["both"] else {side: tmp_path / side for side in ("source", "target")}
    roots = [places.get(side, tmp_path) / f"{side}_frames" for side in ("source", "target")]
    for root in roots:
        for t in range(2):
            write_image(root / f"{t}.png", np.zeros((4, 4, 3), np.uint8))
        (root.parent / "flow/other").mkdir(parents=True, exist_ok=True)
    for name in flows:
        np.savez(places[name] / "flow/1.npz", flow=np.zeros((4, 4, 2)))
    arguments = Arguments("x", dict(zip(("test_source_dir", "test_target_dir"), roots, strict=True)), {})
    found = [direction.flow_dir for direction in find_directions(arguments, "cyclegan")]
    assert found == [name and places[name] / "flow" for name in used]
