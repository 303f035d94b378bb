"""val.py's numbers, and what its row of metrics.csv says of them: of small pictures where the real ones are larger."""
import csv
import json
import os
import shlex
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.evaluation.helpers import moving, write_clips
from tests.evaluation.test_fid import distance
from tests.ranks import on_two_ranks
from timecyclegan import commands
from timecyclegan.commands import train, translate
from timecyclegan.training.distributed import Peers
from timecyclegan.util.argparser import parse
from timecyclegan.util.errors import UserError
from timecyclegan.video.frames import find_sequences, read_image, resize_image

SIZE = (24, 32)
TINY = shlex.split("-g resnet_1blocks -gf 2 -d pixel -df 2 -b 3 -ih 24 -iw 32 -ne 1 -t 0 -gpu -1 --no-flip")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with two trained models, and clips of two domains, of other lengths, larger than what they generate."""
    folder = tmp_path_factory.mktemp("runs")
    sizes = {"source": (5, 48, 64, 1), "target": (5, 48, 64, 2), "more": (7, 48, 64, 3)}
    for name, (frames, height, width, seed) in sizes.items():
        write_clips(folder / name, {"a": [frame // (3 if name == "source" else 1) for frame in moving(
            frames, height, width, seed=seed)]})
    flow = {"flow": np.zeros((48, 64, 2)), "visible": np.ones((48, 64), bool)}
    (folder / "true/flow/a").mkdir(parents=True)
    shutil.copytree(folder / "target", folder / "true/target")
    for t in range(1, 5):
        np.savez(folder / f"true/flow/a/{t:04}.npz", **flow)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        train(parse("train", ["p", "source", "target", "-m", "pix2pix", *TINY]))
        train(parse("train", ["u", "source", "target", "-m", "cyclegan", *TINY]))
    return folder


@pytest.fixture
def inside(runs, monkeypatch):
    monkeypatch.chdir(runs)
    for table in runs.glob("metrics.csv"):
        table.unlink()
    return runs


def val(*arguments):
    translate(parse("val", [*arguments, "-gpu", "-1"]), metrics=True)


def rows():
    with open("metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def pictures(folder):
    return [resize_image(read_image(path), *SIZE) for paths in find_sequences(folder).values() for path in paths]


@pytest.mark.usefixtures("inception_file", "inside")
def test_fid_of_a_paired_model(inception):
    val("p", "source", "target", "--fid_dims", "64", "-to", "out")
    expected = distance(inception(64), pictures("target"), pictures("out/p/a"))
    row, = rows()
    assert float(row["fid"]) == pytest.approx(expected, rel=1e-4)
    assert row["fid_definition"] == "fid-inception2015-64-1-generated-size"
    assert (row["kind"], row["frame_size"], row["n_frames"], row["n_pairs"], row["n_sequences"]) == (
        "paired", "32x24", "5", "4", "1")


@pytest.mark.usefixtures("inception_file", "inside")
def test_fid_of_an_unpaired_model_is_of_the_domain_that_is_generated(inception):
    val("u", "source", "more", "--fid_dims", "64", "-to", "both")
    found = {row["direction"]: row for row in rows()}
    for way, domain, count in (("source_to_target", "more", 7), ("target_to_source", "source", 5)):
        expected = distance(inception(64), pictures(domain), pictures(f"both/u/{way}/a"))
        assert float(found[way]["fid"]) == pytest.approx(expected, rel=1e-4), way
        assert (found[way]["kind"], found[way]["n_images"]) == ("unpaired", str(count))
        assert found[way]["tof_definition"] == "tof-farneback-1-source" and found[way]["psnr_definition"] == ""
        evaluation = json.loads(Path(f"both/u/{way}/metrics.json").read_text())
        assert evaluation["metrics"]["fid"]["details"]["real_frames"] == count


@pytest.mark.usefixtures("inside")
def test_a_row_says_by_which_flow_each_value_is():
    """An older file, whose last line lacks its end, is widened; its row stays."""
    Path("metrics.csv").write_text("name,fid,lpips,tlp,tof,flow_backend\nold,1,,,2,farneback")
    val("p", "source", "target", "-to", "estimated")
    val("p", "source", "true/target", "-to", "known")
    val("p", "source", "target", "-to", "dis", "--metric_flow_backend", "dis")
    old, estimated, known, dis = rows()
    assert [old[name] for name in ("name", "fid", "tof", "flow_backend")] == ["old", "1", "2", "farneback"]
    assert [row["flow_backend"] for row in (estimated, known, dis)] == [
        "farneback", "farneback for tOF, true-flow for E_warp", "dis"]
    assert [row["e_warp_definition"] for row in (estimated, known, dis)] == [
        "ewarp-fwd-farneback-1", "ewarp-fwd-true-flow-1", "ewarp-fwd-dis-1"]
    assert old["e_warp_definition"] == old["kind"] == ""


@pytest.mark.parametrize(("name", "direction"), [("p", ""), ("u", "source_to_target")])
def test_another_run_stands_beside_this_one_in_the_report(inside, name, direction):
    """Its frames between the source and this run's, and its numbers; the same as ``report.html`` of its own has."""
    shutil.rmtree("results", ignore_errors=True)
    shutil.copytree(f"checkpoints/{name}", f"checkpoints/{name}2", dirs_exist_ok=True)
    for model in (f"{name}2", name):
        (Path("results") / model).exists() or val(model, "source", "target", "--test_seed", "1")
    val(name, "source", "target", "--beside", f"{name}2")
    page = (Path("results") / name / direction / "report.html").read_text("utf-8")
    data, clip, *_ = (json.loads(part.split("</script>")[0].split(">", 1)[1])
                      for part in page.split('<script type="application/json"')[1:])
    order = ["source", f"generated by {name}2", "generated"]
    assert list(clip["panels"])[:3] == list(clip["slices"])[:3] == order and data["label"] == f"{name}2"
    assert clip["panels"]["generated"] == clip["panels"][order[1]]  # the same weights
    assert data["others"]["flicker"]["value"] == data["evaluation"]["metrics"]["flicker"]["value"]


def test_what_cannot_stand_beside_is_said_before_anything_is_generated(inside):
    shutil.rmtree("results", ignore_errors=True)
    with pytest.raises(UserError, match=r"--beside q: results/q/metrics.json holds no results; validate that run on"):
        val("p", "source", "target", "--beside", "q")
    assert not Path("results").exists()
    val("p", "source", "target")
    shutil.copytree("target", "target2", dirs_exist_ok=True)
    with pytest.raises(UserError, match="is of the folders source and target, not of source and target2"):
        val("p", "source", "target2", "--beside", "p")
    Path("results/p/a/0000.png").unlink()
    with pytest.raises(UserError, match=r"results/p/a/0000.png is missing"):
        val("p", "source", "target", "--beside", "p")



@pytest.mark.usefixtures("inside")
def test_a_table_that_cannot_be_written_is_found_before_anything_is_generated():
    Path("metrics.csv").mkdir()
    try:
        with pytest.raises(UserError, match=r"cannot write metrics.csv: it is a folder"):
            val("p", "source", "target", "-to", "never")
        with pytest.raises(UserError, match=r"cannot write metrics.csv: it is a folder"):
            train(parse("trainval", ["new", "source", "target", "source", "target", "-m", "pix2pix", *TINY]))
        assert not Path("never").exists() and not Path("checkpoints/new").exists()
    finally:
        Path("metrics.csv").rmdir()


@pytest.mark.slow
def test_four_at_once_keep_four_rows(inside):
    script = Path(__file__).parents[2] / "val.py"
    Path("metrics.csv").write_text("name,fid\nold,1")
    environment = os.environ | {"PYTHONPATH": str(script.parent)}
    running = [subprocess.Popen([sys.executable, script, "p", "source", "target", "-gpu", "-1", "-to", f"at{i}"],
                                stdout=subprocess.DEVNULL, env=environment) for i in range(4)]  # fmt: skip
    assert [process.wait(timeout=300) for process in running] == [0] * 4
    assert [row["name"] for row in rows()] == ["old"] + ["p"] * 4


@pytest.mark.usefixtures("inception_file", "inside")
@pytest.mark.parametrize("name", ["p", pytest.param("u", marks=pytest.mark.slow)])
def test_two_processes_measure_what_one_does(name, monkeypatch):
    """Each has sequences of its own; what the networks make of a frame must not depend on what they look at beside."""
    for side, seed in (("from", 1), ("to", 5)):
        write_clips(Path(name, side), {f"{n}": [*moving(n, 48, 64, seed=seed + n)] for n in (3, 9, 4)})
    flags = f"{name}/from", f"{name}/to", "--fid_dims", "64", "--per_frame"
    val(name, *flags, "-to", f"{name}/alone")

    def work(rank):
        monkeypatch.setattr(commands, "joined", lambda gpu: nullcontext(Peers(torch.device("cpu"))))
        val(name, *flags, "-to", f"{name}/together")
        return [path.name for path in Path(name, "together").rglob("*.webm")]

    on_two_ranks(work, os.getcwd())
    measured = rows()
    for row in measured:
        assert row.pop("datetime") and float(row["fid"]) > 0
    assert measured[: len(measured) // 2] == measured[len(measured) // 2 :]
    alone, together = Path(name, "alone", name), Path(name, "together", name)
    files = {path.relative_to(alone) for path in alone.rglob("*") if path.is_file()}
    assert files == {path.relative_to(together) for path in together.rglob("*") if path.is_file()}
    assert sum(path.suffix == ".webm" for path in files) >= 3
    for path in files:
        if path.suffix in (".png", ".csv"):
            assert (alone / path).read_bytes() == (together / path).read_bytes(), path
        if path.name == "metrics.json":
            one, other = (json.loads((folder / path).read_text())["metrics"] for folder in (alone, together))
            for key in one:
                assert one[key] == other[key] or other[key]["value"] == pytest.approx(one[key]["value"], rel=1e-9), key
