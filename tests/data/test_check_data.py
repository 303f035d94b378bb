"""check_data: says what training says, names what is wrong in the frames, writes nothing but the contact sheet."""
import re

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from tests.clips import moving, write_clip
from tests.data.killing import contents
from tests.training.helpers import write_data
from timecyclegan.data import check_data, resize_images
from timecyclegan.data.check_data import main
from timecyclegan.models import default_options
from timecyclegan.training.run import Run
from timecyclegan.util.errors import UserError
from timecyclegan.video.frames import read_image, write_image
from timecyclegan.video.writer import VideoWriter

FLAGS = "-ih 12 -iw 20 -g resnet_1blocks -gf 2 -d pixel -df 2 -tcmmf 2 -b 3 -t 0 -gpu -1 -tclw 5"


@pytest.fixture
def data(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return write_data(tmp_path / "data", lengths=(8, 7))


@pytest.fixture
def run(capsys):
    def run(*arguments, flags=FLAGS, code=0):
        assert main([*map(str, arguments), *flags.split()]) == code
        return capsys.readouterr()

    return run


def picture(level=0, seed=0, height=12, width=20):
    noise = np.random.default_rng(seed).integers(0, 40, (height, width, 3), dtype=np.uint8)
    return noise + np.uint8(level)


def fill(folder, pictures):
    for name, image in pictures.items():
        write_image(folder / name, image)
    return folder


def test_good_data_would_be_trained_on_and_nothing_is_written(data, run, tmp_path):
    before = contents(tmp_path)
    said = run(*data).out
    assert contents(tmp_path) == before and not list((tmp_path / "here").iterdir())
    assert f"{data[0]}: 2 sequences of 7 to 8 frames, 15 in all; height x width 12x20; 8-bit colour\n" in said
    assert "note:" not in said and said.endswith("training would start\n")
    estimate = re.search(r"estimate \(cpu\): (\d+) steps an epoch, each \S+ m?s and .* for --num_epochs 10; "
                         r"\d+\.\d GB of memory\n", said)
    assert int(estimate[1]) == 8 // 3 + 7 // 3


def test_few_exact_colours_are_said_once(data, run):
    areas = np.kron([[0, 90], [200, 30]], np.ones((6, 10)))[..., None].repeat(3, -1)
    for path in data[0].rglob("*.png"):
        write_image(path, areas.astype(np.uint8))
    for folders in (data, data[:1]):
        said = run(*folders).out
        assert said.count("exact colours") == 1 and f"note: the frames of {data[0]} have few exact colours (4)" in said


def break_number(source, target):
    (target / "s0/3.png").unlink()


def break_names(source, target):
    (target / "s1/0.png").rename(target / "s1/7.png")


def break_length(source, target):
    for root in (source, target):
        for path in (*root.glob("s*/[2-9].png"),):
            path.unlink()


@pytest.mark.parametrize("spoil, changes", [
    (break_number, {}), (break_names, {}), (break_length, {}), (None, {"load_height": 4}),
    (None, {"l1_loss_weight": -1.0}), (None, {"n_frames_generator": 3, "block_size": 2}),
    (None, {"model_type": "cyclegan", "l1_loss_weight": 2.0})])
def test_the_verdict_is_that_of_training(data, run, spoil, changes):
    if spoil:
        spoil(*data)
    small = {"image_height": 12, "image_width": 20, "generator_architecture": "resnet_1blocks", "generator_filters": 2,
             "discriminator_architecture": "pixel", "discriminator_filters": 2, "block_size": 3, "gpu": -1}
    flags = f"{FLAGS} {' '.join(f'--{name} {value}' for name, value in changes.items())}"
    try:
        Run("run", *data, default_options(**small | {"timecycle_loss_weight": 5.0} | changes))
    except UserError as error:
        said = run(*data, flags=flags, code=2)
        assert said.err == f"error: {error}\n" and said.out.endswith("training would not start\n")
    else:
        assert run(*data, "--no-estimate", flags=flags).err == ""
        assert "model_type" in changes


def test_a_broken_frame_is_named_though_training_would_begin(data, run):
    path = data[1] / "s0/5.png"
    path.write_bytes(path.read_bytes()[:-30])
    said = run(*data, code=2)
    assert said.err.startswith(f"error: cannot read image {path}") and said.err.count("\n") == 1
    assert "estimate" not in said.out
    run(*data, "--headers_only", "--no-estimate")  # the header is whole


def test_what_may_not_be_meant_is_said(tmp_path, run):
    smooth = {f"a/{t}.png": picture(t, seed=1) for t in (0, 1, 2, 3, 6, 7, 8, 9, 10)}  # 4 and 5 are missing
    smooth["a/3.png"] = smooth["a/2.png"]
    cut = {f"b/{5 * t:02}.png": picture(10 if t < 6 else 200, seed=2) + np.uint8(t) for t in range(12)}
    fill(tmp_path, smooth | cut | {"c/0.png": smooth["a/7.png"], "c/1.png": picture(99, height=24, width=20)})
    Image.fromarray(np.full((12, 20), 700, np.uint16)).save(tmp_path / "c/2.png")
    Image.fromarray(np.dstack([picture(50), picture(50)[..., :1]])).save(tmp_path / "c/3.png")
    cv2.imwrite(str(tmp_path / "c/4.png"), picture(60).astype(np.uint16) * 257)
    said = run(tmp_path).out
    assert f"{tmp_path}: 3 sequences of 5 to 12 frames, 26 in all; height x width 12x20, 24x20; " in said
    assert all(kind in said for kind in ("8-bit colour", "16-bit gray", "16-bit colour", "8-bit colour with alpha"))
    notes = [line.removeprefix(f"note: {tmp_path}: ") for line in said.splitlines() if line.startswith("note")]
    assert "frames differ in size; all are resized to one: 12x20 (25), 24x20 (1)" in notes
    assert "pixels of 16 bits are read with 8" in notes
    assert "alpha is dropped, the colours below it are kept" in notes
    assert "numbers are missing between (1): a/3 and 6" in notes  # b has every fifth
    assert "frames with the very picture of the frame before (1): a/3" in notes
    assert "pictures in several places (1): a/7 = c/0" in notes
    assert "by the alphabet the order would be another one (10 before 9) in (1): a" in notes
    assert any(note.startswith("scene cuts") and note.endswith("(1): b/30") for note in notes)
    assert "frames are stretched to 12x20 (height x width), by 2; see --image_height and --image_width" in notes
    assert "estimate" not in said


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("low, high, levels", [(0, 5000, 20), (30000, 35000, 20), (0, 65535, 0), (100, 40000, 0)])
def test_16_bits_of_which_a_sliver_is_used(tmp_path, run, capsys, colour, low, high, levels):
    """As of cameras of 12 bits; what the note proposes uses all levels."""
    for t in range(4):
        pixels = np.linspace(low, high, 12 * 20).round().astype(np.uint16).reshape(12, 20)[::1 - 2 * (t % 2)]
        (tmp_path / "in").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / f"in/{t}.png"), np.dstack([pixels] * 3) if colour else pixels)
    said = run(tmp_path / "in", "--no-estimate").out
    note = (f"note: {tmp_path}/in: pixels of 16 bits use a sliver of their range, {low} to {high}: {levels} of 256 "
            "levels when they are read; python -m timecyclegan.data.resize_images FOLDER OUT --range "
            f"{low} {high} spreads them")
    assert (note in said.splitlines()) == ("use a sliver" in said) == (levels > 0)
    assert len(np.unique(read_image(tmp_path / "in/0.png"))) in ((levels, levels + 1) if levels else range(129, 257))
    if levels:
        spread = ["--range", str(low), str(high)]
        assert resize_images.main([str(tmp_path / "in"), str(tmp_path / "out"), *spread]) == 0
        assert len(np.unique(read_image(tmp_path / "out/0.png"))) == 240  # as many as it has pixels in a plane


def test_what_is_left_out_is_named(data, run):
    """The same of training: its setting up is what says it."""
    Image.fromarray(picture()).save(data[0] / "s0/9.tif", save_all=True, append_images=[Image.fromarray(picture(9))])
    Image.fromarray(picture()).save(data[1] / "s0/9.png", save_all=True, append_images=[Image.fromarray(picture(9))])
    (data[0] / "s1/5.heic").touch()
    (data[1] / "s1/2.png").unlink()
    Image.fromarray(picture()).save(data[1] / "s1/2.jpg", "MPO", save_all=True,
                                    append_images=[Image.fromarray(picture())])
    said = run(*data, "--no-estimate").out
    assert f"note: {data[0]}: of several pictures in one file only the first is used: s0/9.tif\n" in said
    assert f"note: {data[1]}: of several pictures in one file only the first is used (2): s0/9, s1/2\n" in said
    assert f"note: {data[0]}: left out are pictures or videos of kinds that are not read: s1/5.heic\n" in said
    for root in data:  # dropped from both, training would take the jump for motion
        (root / "s0/3.png").unlink()
        (root / "s0/3.png").symlink_to("gone.png")
    said = run(*data, code=2).err
    assert all(f"{root}/s0/3.png (a link to gone.png, which is not there)" in said for root in data)


def test_pictures_of_both_folders_are_noticed(data, run):
    (data[0] / "s0/4.png").write_bytes((data[1] / "s1/2.png").read_bytes())
    assert f"1 pictures are both in {data[0]} and in {data[1]}, for example s0/4 = s1/2" in run(*data).out


def test_videos_are_frames_too(tmp_path, run):
    for side in ("source", "target"):
        (tmp_path / side).mkdir()
        with VideoWriter(tmp_path / side / "clip.mp4", 20, 12, 20) as video:
            for t in range(7):
                video.write(picture(4 * t, seed=len(side) + t))
    said = run(tmp_path / "source", tmp_path / "target").out
    assert "1 sequence of 7 frames, 7 in all; height x width 12x20; video" in said and "estimate" in said
    assert "height x width 12x20; video" in run(tmp_path / "source", "--headers_only").out
    clip = tmp_path / "target/clip.mp4"
    clip.write_bytes(clip.read_bytes()[:300])
    said = run(tmp_path / "source", tmp_path / "target", code=2)
    assert str(clip) in said.err and said.err.count("\n") == 1


def test_a_video_that_changes_its_size_on_the_way(tmp_path, run):
    """As two recordings behind each other: each size is counted as often as it is there."""
    parts = [write_clip(tmp_path / name, moving(count, *size)).read_bytes()
             for name, count, size in (("a.ts", 6, (48, 64)), ("b.ts", 5, (96, 128)))]  # fmt: skip
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips/c.ts").write_bytes(b"".join(parts))
    said = run(tmp_path / "clips", "--no-estimate").out
    assert "1 sequence of 11 frames, 11 in all; height x width 48x64, 96x128; video" in said
    assert "frames differ in size; all are resized to one: 48x64 (6), 96x128 (5)" in said


def test_paths_as_users_write_them(data, run, tmp_path, monkeypatch):
    """Home folders, a folder that is called ~ (which is another one), and names that look like flags."""
    monkeypatch.setenv("HOME", str(tmp_path / "data"))
    assert "training would start" in run("~/source", "~/target", "--no-estimate").out
    monkeypatch.setenv("HOME", str(tmp_path / "gone"))
    (tmp_path / "here/~").symlink_to(tmp_path / "data")
    assert "training would start" in run("./~/source", "./~/target", "--no-estimate").out
    assert "does not exist" in run("~/source", "~/target", "--no-estimate", code=2).err
    for side in data:
        (tmp_path / f"here/-{side.name}").symlink_to(side)
    assert main([*FLAGS.split(), "--no-estimate", "--", "-source", "-target"]) == 0


def test_other_models_and_single_folders(data, run, tmp_path):
    assert "estimate" in run(*data, "-m", "tricyclegan").out
    short = "-m timecycledcgan -ih 64 -iw 64 -gf 2 -df 2 -b 3 -gpu -1"
    for folders in (("-", data[1]), (data[1],), data):
        said = run(*folders, flags=short).out
        assert "estimate" in said and ("is not read" in said) == (folders == data) and f"{data[0]}: " not in said
    said = run(data[1], flags=f"{FLAGS} -b 8").out
    assert "estimate" not in said and f"note: 1 of 2 sequences in {data[1]} are not used" in said
    assert "it needs source_dir" in run("-", data[1], code=2).err
    assert "SRC is -" in run("-", code=2).err
    assert "does not exist" in run(tmp_path / "gone", code=2).err


def test_growing_is_estimated_at_full_size(data, run):
    """At half of the time there would be 4 steps: 7 clips in batches of 2."""
    for growing in ("", " -ss 0.5 1 -ts 0.5 1"):
        assert "estimate (cpu): 3 steps an epoch" in run(*data, flags=f"{FLAGS} -b 4{growing}").out


def test_the_first_steps_may_fail(data, run, monkeypatch):
    def fail(*_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(check_data, "measure", fail)
    assert "the GPU's memory is too small" in run(*data, code=2).err


def test_the_contact_sheet_shows_frames_of_both_sides(data, run, tmp_path):
    for t in range(8):
        write_image(data[0] / f"s0/{t}.png", np.full((12, 20, 3), 20 * t, np.uint8))
    (data[1] / "s1/0.png").write_bytes(b"broken")
    sheet = tmp_path / "sheets/sheet.png"
    run(*data, "--contact_sheet", sheet, "--no-estimate", code=2)
    image = np.asarray(Image.open(sheet))
    rows, tile = 4, 160  # source and target of two sequences; 96 pixels high, in shape
    assert image.shape[0] > rows * 96 and image.shape[1] > 8 * tile
    gap = (image.shape[1] - 8 * tile) // 7
    height = image.shape[0] // rows
    for t in range(8):  # the first row is the first source
        left = t * (tile + gap)
        assert (image[height - 90:height - 5, left + 5:left + tile - 5] == 20 * t).all()
    assert sorted(path.name for path in sheet.parent.iterdir()) == ["sheet.png"]
    assert "ends in .png" in run(*data, "--contact_sheet", tmp_path / "sheet.jpg", code=2).err


def test_durations_are_read_easily():
    assert [check_data.duration(seconds) for seconds in (0.0123, 2.34, 61.2, 600, 7300, 400000)] == [
        "0.012 s", "2.3 s", "61 s", "10 min", "2 h", "111 h"]
