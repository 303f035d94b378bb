"""Any name that the file system allows goes through every command and every file that is written."""
import csv
import html
import json
import os
import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.test_commands import P, script  # noqa: F401 (a fixture)
from timecyclegan.data import check_data, prepare_video, rename_images
from timecyclegan.evaluation import compute_metrics, report
from timecyclegan.inference.translator import load
from timecyclegan.video.frames import find_sequences, write_image
from timecyclegan.video.writer import VideoWriter

SMALL = [*P, "-ih", "12", "-iw", "20"]
RUN = os.fsdecode(b"r\xfan\n<b>")
NFC, NFD = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
SEQUENCES = [os.fsdecode(b"0 caf\xe9 \xff"), "new\nline", "a=b,c;d#e?f%20<b>&\"'", " 😀שׁ ", "L" * 251, NFC]


def write(root, form="NFC", sequences=SEQUENCES):
    rng = np.random.default_rng(0)
    for name in (unicodedata.normalize(form, name) for name in sequences):
        for t in range(3):
            write_image(root / name / f"{name[:200]}{t}.png", rng.integers(0, 256, (12, 20, 3), np.uint8))
    return root


@pytest.fixture
def data(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return write(tmp_path / "in"), write(tmp_path / "real", "NFD")


def texts(value):
    """All texts in what came of JSON."""
    if isinstance(value, str):
        yield value
    for inside in [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from texts(inside)


def test_from_training_to_the_report(data, script, capsys):  # noqa: F811
    assert script("train", RUN, *data, *SMALL) == 0
    assert script("train", RUN, data[0], write(data[1].parent / "again"), *SMALL, "--resume", "-ne", "2") == 0
    assert script("val", RUN, *data, "--per_frame") == 0
    folder, names = Path("results", RUN), set(SEQUENCES)
    assert set(find_sequences(folder)) == names
    assert {path.stem for path in folder.glob("videos/*.webm")} >= names - {"L" * 251}
    frames, *rows = (list(csv.DictReader(path.read_text("utf-8", "surrogateescape").splitlines(keepends=True)))
                     for path in (folder / "per_frame.csv", Path("metrics.csv"), Path("train_log.csv")))  # fmt: skip
    assert {row["sequence"] for row in frames} == names and len(frames) == 3 * len(names)
    assert all((folder / row["sequence"] / row["frame"]).is_file() for row in frames)
    assert all(row["name"] == RUN for table in rows for row in table)
    evaluation = json.loads((folder / "metrics.json").read_text())
    assert evaluation["name"] == RUN and set(evaluation["metrics"]["psnr"]["per_frame"]) == names
    page = (folder / "report.html").read_text("utf-8")  # a browser reads nothing else
    assert html.escape("r\\xfan\n<b>") in page
    shown = [json.loads(text) for text in re.findall(r'<script type="application/json".*?>(.*)</script>', page)]
    assert {"0 caf\\xe9 \\xff", *SEQUENCES[2:4]} <= set(texts(shown))
    events = EventAccumulator(str(Path("runs", "r\\xfan\n<b>"))).Reload()
    assert events.Tags()["scalars"] and Path("runs", RUN, "losses.csv").is_file()
    assert capsys.readouterr().err.count("error") == 0
    assert compute_metrics.main([str(data[1]), str(folder), "--gpu", "-1", "--only", "psnr,l1", "--json", RUN]) == 0
    assert report.main([RUN]) == 0


def test_videos(data, script):  # noqa: F811
    assert script("train", NFD, *data, *SMALL) == 0
    for name in SEQUENCES:
        with VideoWriter(f"in/{name}.mp4", 20, 12, 20) as video:
            for frame in np.random.default_rng(1).integers(0, 256, (3, 12, 20, 3), np.uint8):
                video.write(frame)
    assert check_data.main(["in", "real", "--no-estimate", *SMALL]) == 2  # there is no such folder
    assert check_data.main(["in", "in", "--no-estimate", "--contact_sheet", f"{RUN}.png", *SMALL]) == 0
    assert Image.open(f"{RUN}.png").size[0] > 0
    for _ in range(2):  # the second time all is there
        assert prepare_video.main(["in", RUN, "--source", "gray"]) == 0
    assert len(list(Path(RUN, "source").iterdir())) == len(SEQUENCES)
    assert script("test", NFC, f"in/{SEQUENCES[0]}.mp4", "--video", f"{RUN}.mp4") == 0
    assert find_sequences(f"{RUN}.mp4")["."]
    assert "3 frames" in load(NFC).translate(Path(f"in/{NFD}.mp4"), f"{RUN}2.mp4")


def test_renaming_and_back(data):
    assert rename_images.main([str(data[1]), "new", "--names", RUN]) == 0
    assert rename_images.main(["new", "back", "--undo", RUN]) == 0
    before, after = ({path.relative_to(root).as_posix() for path in root.rglob("*.png")}
                     for root in (data[1], Path("back")))  # fmt: skip
    assert after == before and len(before) == 3 * len(SEQUENCES)


def test_a_damaged_frame_is_named_in_one_line(data, script, capsys):  # noqa: F811
    (data[0] / "new\nline/new\nline1.png").write_bytes(b"no image")
    assert script("train", "run", *data, *SMALL, "-t", "1") == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(errors) == 1 and "in/new\\nline/new\\nline1.png: it is damaged" in errors[0]


def test_names_that_look_like_flags_or_like_our_own_folders(data, script):  # noqa: F811
    names = ["videos", "epoch1", "source_to_target", "metrics.json", "report.html", "per_frame.csv", "metrics_.json"]
    roots = [write(Path(name), sequences=names) for name in ("-b", "-gpu")]
    assert script("train", *SMALL, "--", "-run", *roots) == 0
    assert script("val", "-gpu", "-1", "--per_frame", "--", "-run", *roots) == 0
    folder = Path("results/-run")
    assert set(json.loads((folder / "metrics__.json").read_text())["metrics"]["psnr"]["per_frame"]) == set(names)
    assert (folder / "report_.html").is_file() and (folder / "per_frame_.csv").is_file()
    assert list(find_sequences(folder)) == sorted(names)
    assert sorted(path.stem for path in folder.glob("videos_/*")) == sorted(names)
