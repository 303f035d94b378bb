"""What find_sequences finds: videos where folders of images stand, what it leaves out and says so, names, pairs."""
import os
import socket
import struct
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.clips import moving, write_clip
from tests.video.test_frames import message, touch
from timecyclegan.video.frames import find_sequences, match_sequences, read_image, write_image
from timecyclegan.video.listing import holds_more
from timecyclegan.video.random_access import VideoFrame
from timecyclegan.video.reader import VideoFile


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", moving(4))


def put(clip, root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(clip.read_bytes())
    return root


def test_each_video_is_a_sequence(clip, tmp_path):
    put(clip, tmp_path, "10.mp4", "9.MOV", "b/c2.m.mkv", "b/c10.mp4", ".hidden.mp4")
    touch(tmp_path, "readme.md")
    found = find_sequences(tmp_path)
    assert list(found) == ["9", "10", "b/c2.m", "b/c10"]
    assert found["b/c2.m"] == [VideoFrame(tmp_path / "b/c2.m.mkv", i) for i in range(4)]


def test_a_video_may_be_the_root(clip):
    assert find_sequences(str(clip)) == {".": [VideoFrame(clip, i) for i in range(4)]}


def test_videos_in_a_tree_of_images_are_left_out_with_a_note(clip, tmp_path, capsys):
    """As in a folder of results, whose side-by-side videos were made of the images."""
    write_image(tmp_path / "s0/0.png", moving(1)[0])
    put(clip, tmp_path, "videos/s0.mp4")
    assert list(find_sequences(tmp_path)) == ["s0"]
    assert capsys.readouterr().out == f"note: {tmp_path} holds images; its video files are not used: videos/s0.mp4\n"


def test_images_beside_videos_are_a_user_error(clip, tmp_path):
    put(clip, touch(tmp_path, "a/1.png"), "a/x.mp4")
    assert f"{tmp_path}/a holds images (1.png) beside videos (x.mp4)" in message(find_sequences, tmp_path)


def test_videos_that_would_share_their_results_are_a_user_error(clip, tmp_path):
    put(clip, tmp_path / "one", "a.mp4", "a.mkv")
    assert "two videos of one name: a.mkv and a.mp4" in message(find_sequences, tmp_path / "one")
    put(clip, tmp_path / "two", "a.mp4", "a/b/c.mp4")
    assert f"{tmp_path}/two/a.mp4 is called like the folder of c.mp4" in message(find_sequences, tmp_path / "two")


def test_a_damaged_video_is_named(tmp_path):
    touch(tmp_path, "a.mp4")
    assert f"cannot read video {tmp_path}/a.mp4" in message(find_sequences, tmp_path)


def test_frames_of_videos_are_paired_by_their_order(clip, tmp_path):
    put(clip, tmp_path / "s", "a.mp4")
    touch(tmp_path / "t", *[f"a/{i}.png" for i in (1, 2, 3, 4)])  # overlaps 00000 to 00003 in part, if they were names
    touch(tmp_path / "u", *[f"a/0000{i}.png" for i in (1, 2, 3, 4)])
    for other in ("t", "u", "s"):
        roots = tmp_path / "s", tmp_path / other
        pairs = match_sequences(*map(find_sequences, roots), *roots)["a"]
        assert [source.index for source, _ in pairs] == [0, 1, 2, 3]
    touch(tmp_path / "v", "a/1.png")
    roots = tmp_path / "s", tmp_path / "v"
    assert "sequence a (4 and 1)" in message(match_sequences, *map(find_sequences, roots), *roots)


# --- nothing is left out in silence ---

NFC, NFD = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))


def test_links_that_lead_nowhere_are_errors_and_named(tmp_path):
    """Were they dropped, from both domains even, training would take the jump in time for motion."""
    for place, (name, leads, why) in enumerate([
        ("3.png", "gone.png", "a link to gone.png, which is not there"), ("3.mp4", "gone.mp4", "which is not there"),
        ("s1", "/gone/s1", "a link to /gone/s1, which is not there"), ("3.png", "3.png", "a link to itself"),
        ("s1", "s1", "a link to itself"),
    ]):  # fmt: skip
        root = touch(tmp_path / str(place), "s0/1.png", "s0/2.png", "s0/4.png")
        folder = root if name == "s1" else root / "s0"
        (folder / name).symlink_to(leads)
        assert f"{root} holds what cannot be read: {folder / name} (" in (text := message(find_sequences, root))
        assert f"{why}); mend or remove it" in text
    (tmp_path / "root").symlink_to("nowhere")
    assert f"{tmp_path}/root is a link to nowhere, which is not there" in message(find_sequences, tmp_path / "root")
    (tmp_path / "ring").symlink_to("ring")
    assert f"{tmp_path}/ring is a link to itself" in message(find_sequences, tmp_path / "ring")


def test_what_is_called_like_a_frame_but_is_no_file_is_an_error(tmp_path):
    touch(tmp_path, "1.png", "2.png")
    os.mkfifo(tmp_path / "3.png")
    assert f"{tmp_path}/3.png (no file, but a pipe, socket or device)" in message(find_sequences, tmp_path)


def test_everything_else_is_named_once(tmp_path, capsys, monkeypatch):
    touch(tmp_path, "a/1.png", "a/2.heic", "a/.3.png", "a/Thumbs.db", "b/1.png", ".cache/1.png", "notes.txt",
          "c/d/e.txt", "c/d/e.zip")
    (tmp_path / "a 0.png").mkdir()
    (tmp_path / "b/up").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as place:
        place.bind("socket")
        assert list(find_sequences(tmp_path)) == list(find_sequences(tmp_path)) == ["a", "b"]
    assert capsys.readouterr().out == (
        f"note: {tmp_path}: left out are pictures or videos of kinds that are not read: a/2.heic; folders without "
        "frames: a 0.png, c; links to a folder above them: b/up; other files: pipe, socket, a/Thumbs.db and 1 more; "
        "hidden files and folders: .cache, a/.3.png\n")


def test_frames_that_are_called_like_videos_are_noted(tmp_path, capsys):
    """GIFs of one picture each: no training clip can be made of them, and the lengths alone would not say why."""
    for name in ("s/0.gif", "s/1.gif", "s/2.gif", "t/0.gif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        pages(1)[0].save(tmp_path / name)
    assert list(find_sequences(tmp_path / "s")) == ["0", "1", "2"]
    assert capsys.readouterr().out == (
        f"note: {tmp_path}/s/0.gif, {tmp_path}/s/1.gif, {tmp_path}/s/2.gif: videos of one frame, each a sequence of "
        "its own; to be the frames of one they must be images, for example PNG\n")
    find_sequences(tmp_path / "t")
    assert not capsys.readouterr().out


def test_a_folder_without_frames_says_what_it_holds(tmp_path):
    touch(tmp_path, "a/1.heic", "a/2.xyz")
    text = message(find_sequences, tmp_path)
    assert "holds no images and no videos, but pictures or videos of kinds that are not read: a/1.heic" in text
    assert "other files: a/2.xyz" in text


def pages(count, seed=0):
    return [Image.fromarray(np.random.default_rng(seed + i).integers(0, 256, (8, 12, 3), np.uint8))
            for i in range(count)]  # fmt: skip


@pytest.mark.parametrize("suffix", [".tif", ".webp", ".png", ".avif"])
def test_further_pictures_in_a_file_are_named(tmp_path, suffix, capsys):
    for count in (1, 2, 3):
        first, *others = pages(count)
        path = tmp_path / f"{count}/a{suffix}"
        path.parent.mkdir()
        first.save(path, **({"save_all": True, "append_images": others} if others else {}))
        with Image.open(path) as image:  # Pillow is the oracle
            assert holds_more(path) == (getattr(image, "n_frames", 1) > 1) == (count > 1)
        find_sequences(path.parent)
        expected = f"note: {path.parent}: of several pictures in one file only the first is used: a{suffix}\n"
        assert capsys.readouterr().out == (expected if others else "")


def test_pages_of_all_kinds_of_tiff_are_seen(tmp_path):
    """By hand: either order of bytes, offsets of 32 and of 64 bits, and what ends too early."""
    for order in "<>":
        for big in (False, True):
            for following in (0, 4711):
                mark, kinds = (b"II" if order == "<" else b"MM"), ("Q", "Q", 20) if big else ("I", "H", 12)
                head = struct.pack(f"{order}HHHQ", 43, 8, 0, 16) if big else struct.pack(f"{order}HI", 42, 8)
                entries = struct.pack(order + kinds[1], 2) + bytes(2 * kinds[2])
                whole = mark + head + entries + struct.pack(order + kinds[0], following)
                path = tmp_path / "x.tif"
                path.write_bytes(whole)
                assert holds_more(path) == (following > 0), (order, big)
                for end in (2, 5, 9, 20):
                    path.write_bytes(whole[:end])
                    assert not holds_more(path)


@pytest.mark.parametrize("suffix", ["jfif", "jpe", "avif", "jp2", "tga", "pbm", "pnm"])
def test_more_kinds_of_images_are_frames(tmp_path, suffix):
    picture = Image.fromarray(np.kron(np.arange(0, 240, 10, np.uint8).reshape(4, 6), np.ones((8, 8), np.uint8)))
    if suffix == "pbm":
        picture = picture.convert("1")
    form = {"jfif": "JPEG", "jpe": "JPEG", "pnm": "PPM", "pbm": "PPM"}.get(suffix)
    picture.save(tmp_path / f"1.{suffix}", form)
    [frame] = find_sequences(tmp_path)["."]
    assert np.abs(read_image(frame).astype(int) - np.asarray(picture.convert("RGB"))).mean() < 3


# --- names ---

def test_one_name_in_two_unicode_forms_is_one_name(tmp_path):
    touch(tmp_path, f"s/{NFC}/1{NFC}.png", f"s/{NFC}/2{NFD}.png", f"t/{NFD}/1{NFD}.png", f"t/{NFD}/2{NFC}.png")
    roots = tmp_path / "s", tmp_path / "t"
    found = [find_sequences(root) for root in roots]
    assert [list(sequences) for sequences in found] == [[NFC], [NFC]]
    pairs = match_sequences(*found, *roots)[NFC]
    assert [(s.stem, t.stem) for s, t in pairs] == [(f"1{NFC}", f"1{NFD}"), (f"2{NFD}", f"2{NFC}")]
    touch(tmp_path, f"two/{NFC}/1.png", f"two/{NFD}/1.png", f"same/{NFC}.png", f"same/{NFD}.png")
    assert "holds two sequences of one name" in (text := message(find_sequences, tmp_path / "two"))
    assert "differ in their Unicode form (NFC, NFD): U+0" in text
    assert "holds the same frame twice" in (text := message(find_sequences, tmp_path / "same"))
    assert "their Unicode form (NFC, NFD)" in text
    touch(tmp_path, f"{NFD}/1.png", f"inside/{NFC}/1.png", f"inside/{NFD}/x/1.png", f"v/{NFC}.mp4", f"v/{NFD}.mov")
    assert list(find_sequences(tmp_path / NFC)) == ["."]
    assert "is called like the folder of x beside it" in message(find_sequences, tmp_path / "inside")
    assert f"holds two videos of one name: {NFD}.mov and {NFC}.mp4" in message(find_sequences, tmp_path / "v")


def test_any_name_is_found(tmp_path):
    names = [os.fsdecode(b"caf\xe9"), "a\nb", "q\"'", " lead", "trail ", "a..b", "-x", "=", "*[a]?", "L" * 255]
    touch(tmp_path, *[f"{name}/{name[:250]}.png" for name in names])
    found = find_sequences(tmp_path)
    assert sorted(found) == sorted(names) and all(found[name][0].stem == name[:250] for name in names)


def test_what_looks_alike_is_told_apart(tmp_path):
    touch(tmp_path, "s/a/1.png", "t/A/1.png", "u/a /1.png", "v/a/1 .png", "v/a/2.png", "w/a/1.png", "w/a/2.png")
    s, t, u, v, w = (tmp_path / name for name in "stuvw")

    def said(*roots):
        return message(match_sequences, *map(find_sequences, roots), *roots)

    assert said(s, t).endswith("; 'a' and 'A' differ in case: U+0061 LATIN SMALL LETTER A against U+0041 LATIN CAPITAL "
                               "LETTER A")
    assert said(u, s).endswith("; 'a ' and 'a' differ in spaces at an end: U+0020 SPACE against nothing")
    assert said(v, w).endswith("; '1 ' and '1' differ in spaces at an end: U+0020 SPACE against nothing")
    assert message(find_sequences, tmp_path / "S").endswith("'S' and 's' differ in case: U+0053 LATIN CAPITAL LETTER S "
                                                            "against U+0073 LATIN SMALL LETTER S")


@pytest.mark.parametrize("other", ["{}.jpg", "real_{:06}.png"])
def test_unpaired_frames_are_named(tmp_path, other):
    numbers = range(100, 115)
    touch(tmp_path, *[f"s/a/{t}.png" for t in numbers], *[f"t/a/{other.format(t)}" for t in numbers if t != 108])
    roots = tmp_path / "s", tmp_path / "t"
    for sides in (roots, roots[::-1]):
        text = message(match_sequences, *map(find_sequences, sides), *sides)
        counts = "(15 and 14)" if sides == roots else "(14 and 15)"
        assert f"sequence a {counts}; without a partner: a/108 of {tmp_path}/s; every" in text


def test_paths_that_cannot_be_are_user_errors(tmp_path, monkeypatch):
    touch(tmp_path, "file.png", "home/in/1.png")
    assert f"does not exist, {tmp_path}/file.png is a file" in message(find_sequences, tmp_path / "file.png/x")
    assert "File name too long" in message(find_sequences, tmp_path / ("n" * 300))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert list(find_sequences("~/in")) == list(find_sequences(Path("~/in"))) == ["."]


def test_what_is_left_to_the_caller_is_not_looked_at(tmp_path, capsys):
    touch(tmp_path, "a/1.png", "videos/x.mp4", "epoch1/a/1.png", "x.zip", "a/x.zip")
    (tmp_path / "gone").symlink_to("nowhere")
    assert list(find_sequences(tmp_path, without=["videos", "epoch1", "x.zip", "gone"])) == ["a"]
    assert capsys.readouterr().out == f"note: {tmp_path}: left out are other files: a/x.zip\n"


@pytest.mark.parametrize("read", [find_sequences, VideoFile])
def test_a_pipe_is_no_video_and_nothing_waits_for_it(tmp_path, read):
    os.mkfifo(tmp_path / "a.mp4")
    said = message(read, tmp_path / "a.mp4")
    assert f"{tmp_path / 'a.mp4'}" in said and "is no file, but a pipe, socket or device; " in said
