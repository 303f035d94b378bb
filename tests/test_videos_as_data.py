"""Videos where folders of frames stand: a run on videos is, bit for bit, the run on their frames."""
import importlib
import json
import sys
from pathlib import Path

import pytest

from tests.clips import decode, moving, write_clip
from tests.training.helpers import P, losses, train, weights
from timecyclegan.video.frames import write_image

ROOT = Path(__file__).parents[1]


@pytest.fixture
def both(tmp_path, monkeypatch):
    """{"videos", "frames"}: (source, target), two sequences of the same pictures, where the tests then are."""
    monkeypatch.chdir(tmp_path)
    for name, length in (("a", 7), ("b", 5)):
        for seed, (side, suffix) in enumerate((("source", "mp4"), ("target", "webm"))):
            (tmp_path / "videos" / side).mkdir(parents=True, exist_ok=True)
            path = tmp_path / "videos" / side / f"{name}.{suffix}"
            write_clip(path, moving(length, seed=seed), "libx264" if suffix == "mp4" else "libvpx-vp9")
            for t, frame in enumerate(decode(path)):
                write_image(tmp_path / "frames" / side / name / f"{t:05}.png", frame)
    return {kind: (tmp_path / kind / "source", tmp_path / kind / "target") for kind in ("videos", "frames")}


@pytest.mark.parametrize("options", [
    P, {**P, "threads": 2}, {"model_type": "timecyclep2", "warp_loss_weight": 1.0, "flow_cache": "flow"},
    {"model_type": "seqcyclegan", "l1_loss_weight": 0.0}, {"model_type": "pix2pix", "block_size": 1},
], ids=["timecycle", "workers", "flow_cache", "unpaired", "frames"])  # fmt: skip
def test_training(both, options):
    for kind, data in both.items():
        train(data, kind, **options)
    assert weights("videos") == weights("frames") and losses("videos") == losses("frames")


def test_validating(both, monkeypatch):
    train(both["frames"], "run", **P)
    monkeypatch.syspath_prepend(str(ROOT))
    for kind, data in both.items():
        monkeypatch.delitem(sys.modules, "val", raising=False)
        monkeypatch.setattr(sys, "argv", ["val.py", "run", *map(str, data), "-gpu", "-1", "-to", f"of_{kind}"])
        assert importlib.import_module("val").main() == 0
    pictures, metrics = {}, {}
    for kind in both:
        folder = Path(f"of_{kind}/run")
        pictures[kind] = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.png")}
        found = json.loads((folder / "metrics.json").read_text())["metrics"]
        metrics[kind] = {name: (metric["value"], metric.get("real")) for name, metric in found.items()}
        assert (folder / "report.html").exists()
        assert {path.name for path in (folder / "videos").iterdir()} == {"a.webm", "b.webm"}
    assert len(pictures["videos"]) == 12 and pictures["videos"] == pictures["frames"]
    assert metrics["videos"] == metrics["frames"] and metrics["videos"]["psnr"][0] > 0
