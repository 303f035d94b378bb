"""prepare_cityscapes on a small tree with gaps and with cities whose sequence numbers say nothing."""
import io
import json

import numpy as np
from PIL import Image

from tests.data.killing import check_killed_anywhere, contents, write
from timecyclegan.data.prepare_cityscapes import main
from timecyclegan.datasets.labels import CITYSCAPES
from timecyclegan.video.frames import find_sequences, match_sequences, read_image

FLAGS = ("--snippet_length", 3)
# Frames by (split, city, sequence), and where each is to go.
FRAMES = {
    ("train", "aachen", 0): [0, 1, 2, 4, 5],                      # one is missing
    ("train", "aachen", 7): [0, 1, 2, 3],                         # more than a snippet, but sequences are as they are
    ("train", "bochum", 0): [10, 11, 12, 13, 14, 15, 99, 100, 1000, 1001, 1002],
    ("val", "frankfurt", 0): [5, 6],
    ("val", "frankfurt", 1): [7, 8, 9, 10],                       # does not go on with the sequence before
    ("val", "bochum", 2): [1, 2],                                 # of another split: its numbers are consistent
    ("demoVideo", "stuttgart_00", 0): [1, 2],
}
PLACES = {
    "train/aachen_000000": (0, [0, 1, 2, 4, 5]), "train/aachen_000007": (7, [0, 1, 2, 3]),
    "train/bochum_000000": (0, [10, 11, 12]), "train/bochum_000001": (0, [13, 14, 15]),
    "train/bochum_000002": (0, [99, 100]), "train/bochum_000003": (0, [1000, 1001, 1002]),
    "val/frankfurt_000000": (0, [5, 6]), "val/frankfurt_000001": (1, [7, 8, 9]), "val/frankfurt_000002": (1, [10]),
    "val/bochum_000002": (2, [1, 2]), "demoVideo/stuttgart_00_000000": (0, [1, 2]),
}
SNIPPETS = {"train/bochum": [[0, 10], [0, 13], [0, 99], [0, 1000]], "val/frankfurt": [[0, 5], [1, 7], [1, 10]]}
LABELLED = [("train", "aachen", 0, 1), ("train", "bochum", 0, 14), ("val", "frankfurt", 1, 10)]
LABEL_PLACES = ["train/aachen_000000/000001.png", "train/bochum_000001/000014.png", "val/frankfurt_000002/000010.png"]


def picture(split, city, sequence, number):
    """No image, but bytes of its own: pictures are not read."""
    return f"{split} {city} {sequence} {number}".encode()


def png(array):
    file = io.BytesIO()
    Image.fromarray(np.asarray(array, np.uint8)).save(file, "PNG")
    return file.getvalue()


def pictures(package="leftImg8bit_sequence"):
    return {f"{package}/{split}/{city}/{city}_{sequence:06}_{number:06}_leftImg8bit.png":
            picture(split, city, sequence, number)
            for (split, city, sequence), numbers in FRAMES.items() for number in numbers}


def label_maps():
    return {f"gtFine/{split}/{city}/{city}_{sequence:06}_{number:06}_gtFine_{kind}": content
            for split, city, sequence, number in LABELLED
            for kind, content in (("labelIds.png", png([[7, 26, number]])), ("instanceIds.png", b"-"),
                                  ("color.png", png([[(1, 2, 3, 255)]])), ("polygons.json", b"{}"))}


def sorted_pictures():
    """{path: bytes} of the pictures where they should be, and where snippets begin."""
    begins = {"snippets.json": json.dumps(SNIPPETS, indent=1).encode() + b"\n"}
    return begins | {f"{place}/{number:06}.png": picture(*place[:-7].split("/"), sequence, number)
                     for place, (sequence, numbers) in PLACES.items() for number in numbers}


def colour_maps():
    colour = {label.id: label.colour for label in CITYSCAPES}
    return {f"gtFine/{place}": png([[colour[7], colour[26], colour[number]]])
            for place, (*_, number) in zip(LABEL_PLACES, LABELLED, strict=True)}


def done(*arguments):
    assert main([*map(str, arguments)]) == 0


def below(name, files):
    return {f"{name}/{path}": content for path, content in files.items()}


def test_pictures_keep_their_content_and_label_maps_are_coloured_wherever_killed(tmp_path):
    strays = {"leftImg8bit_sequence/license.txt": b"free", "README": b"?"}
    check_killed_anywhere(tmp_path, pictures() | label_maps() | strays, sorted_pictures() | colour_maps(),
                          lambda *folders: done(*folders, *FLAGS), stride=7)


def test_label_maps_find_the_snippets_of_their_pictures_whatever_else_is_there(tmp_path, capsys):
    """Of bochum, frame 14 lies in snippet 1 though it is the first that is given."""
    write(tmp_path / "in", pictures() | label_maps())
    assert main([str(tmp_path / "in/gtFine"), str(tmp_path / "out"), *map(str, FLAGS)]) == 2
    assert "prepare the pictures first" in capsys.readouterr().err and not (tmp_path / "out").exists()
    for folder in ("in/leftImg8bit_sequence", "in/gtFine"):
        done(tmp_path / folder, tmp_path / "out", *FLAGS)
    assert contents(tmp_path / "out") == sorted_pictures() | colour_maps()


def test_sequences_whose_frame_numbers_overlap_are_told_apart(tmp_path):
    """As in frankfurt: a number may stand in two sequences and snippets. A map without picture is left out."""
    def files(package, kind, frames):
        return {f"{package}/val/frankfurt/frankfurt_{sequence:06}_{number:06}_{kind}.png": png([[number, sequence]])
                for sequence, number in frames}

    frames = [(0, 5), (0, 6), (0, 7), (1, 6), (1, 7), (1, 8)]
    write(tmp_path / "in", files("leftImg8bit", "leftImg8bit", frames)
          | files("gtFine", "gtFine_labelIds", [(0, 7), (1, 7), (1, 9)]))
    done(tmp_path / "in/leftImg8bit", tmp_path / "out")
    done(tmp_path / "in/gtFine", tmp_path / "out")
    place, colour = tmp_path / "out/gtFine/val", {label.id: label.colour for label in CITYSCAPES}
    assert contents(place).keys() == {"frankfurt_000000/000007.png", "frankfurt_000001/000007.png"}
    for sequence in (0, 1):
        found = read_image(place / f"frankfurt_{sequence:06}/000007.png")
        assert found.tolist() == [[list(colour[7]), list(colour[sequence])]]


def test_pictures_of_a_city_that_would_be_counted_otherwise_are_refused(tmp_path, capsys):
    write(tmp_path / "in", pictures())
    done(tmp_path / "in", tmp_path / "out", *FLAGS)
    (tmp_path / "in/leftImg8bit_sequence/train/bochum/bochum_000000_000010_leftImg8bit.png").unlink()
    before = contents(tmp_path)
    for flags in (FLAGS, ("--snippet_length", 2)):
        assert main([str(tmp_path / "in"), str(tmp_path / "out"), *map(str, flags)]) == 2
        assert "holds other pictures or snippets of train/bochum" in capsys.readouterr().err
    assert contents(tmp_path) == before


def test_what_was_prepared_can_be_trained_on(tmp_path):
    frames = {("val", "ulm", 0): [3, 4], ("val", "mainz", 0): [9]}
    given = {f"{package}/{split}/{city}/{city}_{sequence:06}_{number:06}_{kind}.png": png(np.full((2, 2), 7))
             for (split, city, sequence), numbers in frames.items() for number in numbers
             for package, kind in (("leftImg8bit", "leftImg8bit"), ("gtFine", "gtFine_labelIds"))}
    given["gtFine/val/ulm/ulm_000000_000004_gtFine_color.png"] = png(np.full((2, 2, 3), 99))  # there is none of ids
    del given["gtFine/val/ulm/ulm_000000_000004_gtFine_labelIds.png"]
    write(tmp_path / "in", given)
    done(tmp_path / "in", tmp_path / "out")
    assert (read_image(tmp_path / "out/gtFine/val/ulm_000000/000004.png") == 99).all()
    assert (read_image(tmp_path / "out/gtFine/val/ulm_000000/000003.png") == (128, 64, 128)).all()
    roots = tmp_path / "out/gtFine/val", tmp_path / "out/val"
    pairs = match_sequences(*map(find_sequences, roots), *roots)
    assert {name: len(frames) for name, frames in pairs.items()} == {"mainz_000000": 1, "ulm_000000": 2}


def test_gaps_and_short_snippets_are_reported(tmp_path, capsys):
    write(tmp_path / "in", pictures())
    done(tmp_path / "in", tmp_path / "out", *FLAGS, "--dry_run")
    text = capsys.readouterr().out
    assert "note: 11 sequences, 30 frames\n" in text
    assert "note: 1 sequences jump where frames are missing: train/aachen_000000 (000003)\n" in text
    assert ("3 snippets have fewer than 3 frames: train/bochum_000002 (2), val/frankfurt_000000 (2), "
            "val/frankfurt_000002 (1)\n") in text
    assert text.count(" -> ") == 10 and "without --dry_run: 30 files, 20 of them not shown" in text
    assert contents(tmp_path) == below("in", pictures())
    write(tmp_path / "in", {"train/aachen/stray.png": b"", "train/aachen/a_000000_000001_gtFine_polygons.json": b""})
    done(tmp_path / "in", tmp_path / "out", *FLAGS, "--dry_run")
    assert (f"note: {tmp_path}/in: left out are 2 files that are neither pictures nor label maps: "
            "train/aachen/a_000000_000001_gtFine_polygons.json, train/aachen/stray.png\n") in capsys.readouterr().out


def test_errors_are_one_line_and_change_nothing(tmp_path, capsys):
    for number, (files, flags, word) in enumerate([
        ({"a.png": b""}, (), "holds no Cityscapes frames"),
        ({"ulm/ulm_000000_000000_leftImg8bit.png": b""}, (), "holds no Cityscapes frames"),  # no split
        (pictures(), ("--snippet_length", 0), "--snippet_length 0: expected 1 or more"),
        (pictures() | pictures("leftImg8bit"), (), "holds a frame twice"),
    ]):
        folder = write(tmp_path / str(number), files)
        assert main([str(folder), str(tmp_path / "out"), *map(str, flags)]) == 2
        error = capsys.readouterr().err
        assert word in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_way_is_found_before_anything_is_written(tmp_path, capsys):
    given = below("in", pictures()) | {"out/train/aachen_000007/000002.png": b"another"}
    write(tmp_path, given)
    assert main([str(tmp_path / "in"), str(tmp_path / "out"), *map(str, FLAGS)]) == 2
    assert "out/train/aachen_000007/000002.png is there and is not" in capsys.readouterr().err
    assert contents(tmp_path) == given
