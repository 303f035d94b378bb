"""What people have in their folders: other sizes and kinds of pictures, strays, nothing at all."""
import json

import numpy as np
import pytest
from PIL import Image

from tests.evaluation.helpers import moving, noisy, write_clips
from timecyclegan.evaluation.compute_metrics import main

REAL = moving(3)
FAKE = noisy(REAL, 20)


@pytest.fixture
def folders(tmp_path):
    write_clips(tmp_path / "real", {"a": REAL})
    write_clips(tmp_path / "fake", {"a": FAKE})
    return tmp_path / "real", tmp_path / "fake"


def measured(capsys, folders, *flags):
    """Exit code, the evaluation if there is one, and what was said about what went wrong."""
    written = folders[0].parent / "m.json"
    code = main([*map(str, folders), *flags, "--json", str(written)])
    return code, json.loads(written.read_text()) if code == 0 else None, capsys.readouterr().err


def rewrite(folder, suffix, convert):
    for path in sorted((folder / "a").iterdir()):
        image = Image.open(path)
        path.unlink()
        convert(image).save(path.with_suffix(suffix))


def values(evaluation):
    return {name: facts["value"] for name, facts in evaluation["metrics"].items()}


def test_an_alpha_channel_and_capital_suffixes_change_nothing(folders, capsys):
    _, plain, _ = measured(capsys, folders)
    rewrite(folders[0], ".PNG", lambda image: Image.merge("RGBA", (*image.split(), Image.new("L", image.size, 7))))
    code, found, _ = measured(capsys, folders)
    assert code == 0 and values(found) == values(plain)


def test_gray_and_16_bit_pictures_are_those_of_8_bits(folders, capsys):
    rewrite(folders[0], ".png", lambda image: image.convert("L"))
    _, eight, _ = measured(capsys, folders)
    rewrite(folders[0], ".png", lambda image: Image.fromarray(np.asarray(image).astype(np.uint16) * 257))
    code, sixteen, _ = measured(capsys, folders)
    assert code == 0 and values(sixteen) == values(eight)


def test_jpeg_and_strays_beside_the_frames(folders, capsys):
    rewrite(folders[1], ".JPG", lambda image: image)
    (folders[0] / "a/notes.txt").write_text("not a frame")
    (folders[1] / ".DS_Store").write_bytes(b"\0")
    code, found, _ = measured(capsys, folders)
    assert code == 0 and found["metrics"]["tof"]["pairs"] == 2


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (23, 31), (33, 17)])
def test_odd_and_tiny_sizes_lose_only_what_is_undefined_there(folders, capsys, size):
    for folder in folders:
        rewrite(folder, ".png", lambda image: image.resize(size[::-1]))
    code, found, _ = measured(capsys, folders)
    assert code == 0 and found["frame_size"] == list(size)
    for name in ("tof", "flicker", "l1"):
        assert found["metrics"][name]["value"] is not None
    for facts in found["metrics"].values():
        assert (facts["value"] is None) == bool(facts["reason"])


def test_real_frames_of_mixed_sizes_are_all_brought_to_the_generated_size(folders, capsys):
    Image.open(folders[0] / "a/0001.png").resize((50, 41)).save(folders[0] / "a/0001.png")
    code, found, _ = measured(capsys, folders)
    assert code == 0 and found["resized_real"] == [[41, 50]]


@pytest.mark.parametrize(("fault", "words"), [
    ("mixed sizes", ("0001.png", "9x8", "32x24")), ("empty", ("holds no images", "fake")),
    ("fewer frames", ("(3 and 2)",)), ("damaged", ("0001.png", "damaged")), ("a picture of text", ("0001.png",)),
    ("no video", ("clip.mp4",))])
def test_what_cannot_be_measured_ends_in_one_line(folders, capsys, fault, words):
    frame = folders[1] / "a/0001.png"
    if fault == "mixed sizes":
        Image.new("RGB", (9, 8)).save(frame)
    elif fault == "damaged":
        frame.write_bytes(frame.read_bytes()[:200])
    elif fault == "a picture of text":
        frame.write_text("this is no picture")
    elif fault == "fewer frames":
        frame.unlink()
    else:
        for path in (folders[1] / "a").iterdir():
            path.unlink()
        if fault == "no video":
            (folders[1] / "clip.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(99))
    code, _, error = measured(capsys, folders)
    assert code == 2 and error.count("\n") == 1 and error.startswith("error: ")
    assert all(word in error for word in words), error
    assert not (folders[0].parent / "m.json").exists()
