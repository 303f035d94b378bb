"""The report page: the data that it draws is read back from the HTML and compared with what was put in."""
import base64
import importlib.resources
import io
import re

import numpy as np
import pytest
from PIL import Image

from tests.report.report_page import embedded, make_losses, report, shown
from timecyclegan.report.page import ReportSequence
from timecyclegan.report.sequences import HEAT, absolute_error, busiest_row, heat_map
from timecyclegan.util.errors import UserError


def make_sequence(folder, name="a", frames=4, height=24, width=40, real=True, source=True):
    """Random frames on disk, a different one for every panel and time; returns the sequence and its pixels."""
    rng = np.random.default_rng(0)
    pixels, paths = {}, {"source": [], "generated": [], "real": None}
    for kind, wanted in (("source", source), ("generated", True), ("real", real)):
        if not wanted:
            continue
        pixels[kind] = rng.integers(0, 256, (frames, height, width, 3), dtype=np.uint8)
        paths[kind] = [folder / kind / f"{t:04d}.png" for t in range(frames)]
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for path, frame in zip(paths[kind], pixels[kind], strict=True):
            Image.fromarray(frame).save(path)
    return ReportSequence(name, paths["source"], paths["generated"], paths["real"]), pixels


def decode(uri):
    head, data = uri.split(",")
    assert head == "data:image/webp;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


def test_a_real_clip_of_other_moments_is_shown_but_not_compared(tmp_path):
    sequence, pixels = make_sequence(tmp_path)
    other = ReportSequence("a", [], sequence.generated, example=sequence.real)
    page = report(tmp_path, [other])
    data, = embedded(page)
    assert list(data["panels"]) == ["generated", "a real clip"] and data["errors"] == []
    assert (decode(data["panels"]["a real clip"][2]) == pixels["real"][2]).all()
    assert "error" not in data["panels"] and "map" not in data
    assert data["row"] == busiest_row(pixels["generated"])  # that of the other clip says nothing about this one's


def test_small_frames_are_embedded_exactly(tmp_path):
    sequence, pixels = make_sequence(tmp_path)
    data, = embedded(report(tmp_path, [sequence]))
    assert (data["width"], data["height"], data["names"]) == (40, 24, ["0000", "0001", "0002", "0003"])
    assert list(data["panels"]) == ["source", "generated", "real", "error"]
    for name, frames in pixels.items():
        assert (np.stack([decode(uri) for uri in data["panels"][name]]) == frames).all()
    errors = np.abs(pixels["generated"].astype(float) - pixels["real"]).mean(axis=(1, 2, 3))
    assert data["errors"] == pytest.approx(errors, abs=0.01)


def test_slice_is_the_row_of_the_frames(tmp_path):
    sequence, pixels = make_sequence(tmp_path)
    data, = embedded(report(tmp_path, [sequence]))
    assert data["row"] == busiest_row(pixels["real"]) and list(data["slices"]) == ["source", "generated", "real"]
    for name, uri in data["slices"].items():
        assert (decode(uri) == pixels[name][:, data["row"]]).all()


def test_busiest_row():
    video = np.full((5, 9, 8, 3), 100, np.uint8)
    assert busiest_row(video) == 4  # nothing moves: the middle
    video[2, 6] = 110
    video[3, 1] = 90
    video[4, 1] = 130
    assert busiest_row(video) == 1


def test_error_and_its_colours():
    generated, real = np.zeros((1, 2, 2, 3), np.uint8), np.zeros((1, 2, 2, 3), np.uint8)
    generated[0, 0, 0], real[0, 0, 1] = (3, 6, 9), (255, 255, 255)
    error = absolute_error(generated, real)
    assert error[0].tolist() == [[6, 255], [0, 0]]
    assert heat_map(error[0], 12)[0, 0].tolist() == list(HEAT[2])  # half of the scale
    assert heat_map(error[0], 12)[0, 1].tolist() == list(HEAT[4])  # beyond it: the end
    assert heat_map(error[0], 12)[1, 0].tolist() == list(HEAT[0])


def test_without_real_frames_there_is_no_error(tmp_path):
    sequence, _ = make_sequence(tmp_path, real=False)
    data, = embedded(report(tmp_path, [sequence]))
    assert list(data["panels"]) == list(data["slices"]) == ["source", "generated"]
    assert "map" not in data and data["errors"] == []


def test_unconditional_model_has_only_generated_frames(tmp_path):
    sequence, _ = make_sequence(tmp_path, real=False, source=False)
    assert list(embedded(report(tmp_path, [sequence]))[0]["panels"]) == ["generated"]


def test_no_generated_frames_is_a_user_error_and_leaves_nothing(tmp_path):
    with pytest.raises(UserError, match="sequence empty: it has no generated frames"):
        report(tmp_path, [ReportSequence("empty", [], [], None)])
    assert list(tmp_path.iterdir()) == []


def test_what_is_left_out_is_said(tmp_path):
    sequence, _ = make_sequence(tmp_path, frames=5, width=60, height=30)
    page = report(tmp_path, [sequence] * 3, max_sequences=2, max_frames=3, max_width=40)
    assert [len(data["names"]) for data in embedded(page)] == [3, 3]
    assert decode(embedded(page)[0]["panels"]["real"][2]).shape == (20, 40, 3)
    assert embedded(page, "page")[0]["sequences"] == 3  # of which the page says that it shows two
    assert embedded(page)[0]["note"] == ("40 × 20 px; the first 3 of 5 frames are shown; frames are downscaled from "
                                         "60 × 30 px")
    assert embedded(report(tmp_path, [sequence]))[0]["note"] == "60 × 30 px"


def test_panels_get_the_size_of_the_generated_frames(tmp_path):
    small, _ = make_sequence(tmp_path / "small")
    large, _ = make_sequence(tmp_path / "large", height=48, width=80)
    data, = embedded(report(tmp_path, [ReportSequence("a", large.source, small.generated, large.real)]))
    assert {decode(uris[0]).shape for uris in data["panels"].values()} == {(24, 40, 3)}


def test_names_cannot_break_the_page(tmp_path):
    evil = '</script><b id="x">&"\''
    sequence, _ = make_sequence(tmp_path, name=evil)
    sequence.generated[0].rename(tmp_path / "<b>.png")
    sequence.generated[0] = tmp_path / "<b>.png"
    metrics = {evil: {"value": 1.0, "unit": evil, "better": evil, "definition": evil, "per_sequence": {evil: 1.0},
                      "skipped": 1, "skipped_because": evil, "title": evil, "details": {"note": evil},
                      "network": {evil: evil, f"{evil}_sha256": evil}, "per_frame": {evil: [1.0] * 8}},
               "x": {"value": None, "reason": evil}}
    page = report(tmp_path, [sequence], metrics=metrics, options={evil: evil, "model_type": evil}, past=metrics,
                  facts={"flow": {"flow_backend": evil}, "reference": evil})
    assert "<b" not in page.replace("<body", "")
    assert page.count("</script>") == 3  # the page's data, the sequence's, and what draws them
    assert "run &lt;1&gt;" in page and "run <1>" not in page
    (clip,), (data,) = embedded(page), embedded(page, "page")
    assert (clip["name"], clip["names"][0]) == (evil, "<b>")
    assert data["options"][evil] == data["model"] == data["evaluation"]["reference"] == evil
    assert data["evaluation"]["metrics"]["x"]["reason"] == evil


def test_the_page_s_script_makes_no_markup_of_text():
    """All that users name reaches the page as text nodes and attributes."""
    script = importlib.resources.files("timecyclegan.report").joinpath("page.html").read_text("utf-8")
    assert not re.search(r"(inner|outer|insertAdjacent)HTML|document\.write|\beval\b|new Function|DOMParser", script)


def test_page_refers_to_nothing_outside(tmp_path):
    sequence, _ = make_sequence(tmp_path)
    metrics = {"tof": {"value": 1.0, "per_frame": {"a": [None, *[1.0] * 7, None, 1.0]}}}
    page = report(tmp_path, [sequence], metrics=metrics, losses_csv=make_losses(tmp_path))
    page = re.sub(r"base64,[^\"]*", "", page).replace('"http://www.w3.org/2000/svg"', "")  # a name, not an address
    assert not re.search(r"https?://|src=|href=|@import|url\((?!#)|<link|fetch\(|XMLHttp|import\(", page)


def test_options_and_facts(tmp_path):
    data = shown(tmp_path, options={"model_type": "timecycle", "spatial_scaling": [0.5, 1.0]},
                 facts={"libraries": {"numpy": "2.0"}})
    assert (data["model"], data["size"]) == ("timecycle", [24, 40])
    assert data["options"] == {"model_type": "timecycle", "spatial_scaling": "0.5 1.0", "numpy": "2.0"}
