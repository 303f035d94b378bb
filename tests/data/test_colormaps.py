"""colormaps: every form into every other, unknown labels named."""
import numpy as np
import pytest
from PIL import Image

from tests.data.killing import check_killed_anywhere
from tests.datasets.helpers import message
from timecyclegan.data.colormaps import main
from timecyclegan.datasets.labels import CITYSCAPES, CITYSCAPES_TRAIN, FORMS, Translation, carla_labels

TRAIN = {label.name: label.id for label in CITYSCAPES_TRAIN}
FULL = {label.name: label.id for label in CITYSCAPES}


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(array, np.uint8)).save(path)
    return path


def read(path):
    with Image.open(path) as image:
        return np.asarray(image)


def gray(ids):
    return np.array([list(ids)] * 2, np.uint8)


def done(*arguments):
    assert main([*map(str, arguments)]) == 0


def refused(capsys, *arguments):
    assert main([*map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize("origin, goal, given, expected", [
    ("cityscapes_ids", "cityscapes_colours", [7, 26, 0], [(128, 64, 128), (0, 0, 142), (0, 0, 0)]),
    ("cityscapes_colours", "cityscapes_ids", [(128, 64, 128), (0, 0, 142), (0, 0, 0)], [7, 26, 0]),
    ("cityscapes_train_ids", "cityscapes_colours", [0, 13, 255], [(128, 64, 128), (0, 0, 142), (0, 0, 0)]),
    ("cityscapes_train_ids", "cityscapes_ids", [0, 18, 255], [7, 33, 0]),
    ("cityscapes_ids", "cityscapes_train_ids", [7, 33, 9, 4], [0, 18, 255, 255]),
    ("cityscapes_colours", "cityscapes_train_ids", [(0, 80, 100), (250, 170, 160)], [16, 255]),
    ("carla_ids", "carla_colours", [1, 24, 22], [(128, 64, 128), (157, 234, 50), (55, 90, 80)]),
    ("carla_colours", "carla_ids", [(128, 64, 128), (157, 234, 50)], [1, 24]),
    ("carla_ids", "cityscapes_colours", [1, 24, 12, 22, 21], [(128, 64, 128), (128, 64, 128), (220, 20, 60), (0, 0, 0),
                                                              (111, 74, 0)]),
    ("carla_ids", "cityscapes_ids", [1, 24, 12, 14, 28], [7, 7, 24, 26, 14]),
    ("carla_colours", "cityscapes_train_ids", [(157, 234, 50), (45, 60, 150)], [0, 255]),
])
def test_labels_become_what_they_should(tmp_path, origin, goal, given, expected):
    given, expected = np.array([given], np.uint8), np.array([expected], np.uint8)
    write(tmp_path / "in/a/1.png", given)
    done(tmp_path / "in", tmp_path / "out", "--from", origin, "--to", goal)
    np.testing.assert_array_equal(read(tmp_path / "out/a/1.png"), expected)
    np.testing.assert_array_equal(read(tmp_path / "in/a/1.png"), given)


@pytest.mark.parametrize("version, road, person, car", [
    ("0.9.5", 7, 4, 10), ("0.9.13", 7, 4, 10), ("0.9.15", 1, 12, 14)])
def test_carla_ids_differ_by_version(tmp_path, version, road, person, car):
    write(tmp_path / "in/1.png", [[road, person, car]])
    done(tmp_path / "in", tmp_path / "out", "--from", "carla_ids", "--to", "cityscapes_ids", "--carla_version", version)
    assert read(tmp_path / "out/1.png").tolist() == [[FULL["road"], FULL["person"], FULL["car"]]]


@pytest.mark.parametrize("form", FORMS)
def test_there_and_back(tmp_path, form):
    """Ids of colours that no two labels share survive every way that comes back."""
    labels = {"cityscapes": CITYSCAPES_TRAIN if "train" in form else CITYSCAPES, "carla": carla_labels("0.9.16")}
    colours = [label.colour for label in labels[form.split("_")[0]]]
    own = [label for label in labels[form.split("_")[0]] if colours.count(label.colour) == 1]
    start = np.array([[label.colour if form.endswith("colours") else label.id for label in own]], np.uint8)
    for other in FORMS:
        if other.split("_")[0] != form.split("_")[0] or "train" in other:
            continue
        write(tmp_path / "1.png", start)
        Image.fromarray(Translation(form, other)(tmp_path / "1.png")).save(tmp_path / "2.png")
        np.testing.assert_array_equal(Translation(other, form)(tmp_path / "2.png"), start)


def test_ids_are_read_from_gray_palette_red_channel_and_16_bits(tmp_path):
    ids = gray([7, 26])
    Image.fromarray(ids).save(tmp_path / "gray.png")
    palette = Image.fromarray(ids)
    palette.putpalette([value for label in range(256) for value in (label, 0, 99)])
    palette.save(tmp_path / "palette.png")
    raw = np.zeros((*ids.shape, 4), np.uint8)  # as CARLA's raw semantic images
    raw[..., 0], raw[..., 3] = ids, 255
    Image.fromarray(raw).save(tmp_path / "raw.png")
    Image.fromarray(np.stack([ids] * 3, -1)).save(tmp_path / "grayrgb.png")
    Image.fromarray(ids.astype(np.uint16)).save(tmp_path / "deep.png")
    translation = Translation("cityscapes_ids", "cityscapes_train_ids")
    for path in sorted(tmp_path.iterdir()):
        np.testing.assert_array_equal(translation(path), gray([TRAIN["road"], TRAIN["car"]]), str(path))


def test_what_is_no_label_is_named(tmp_path, capsys):
    folder, out = tmp_path / "in", tmp_path / "out"

    def said(origin, goal):
        return refused(capsys, folder, out, "--from", origin, "--to", goal)

    write(folder / "2.png", gray([7, 77]))
    assert f"{folder}/2.png holds ids that are no labels: 77" in said("cityscapes_ids", "cityscapes_colours")
    write(folder / "2.png", [[(1, 2, 3)]])
    assert "2.png holds no ids" in said("carla_ids", "carla_colours")
    assert f"{folder}/2.png holds 1 colour of no label: (1, 2, 3)" in said("cityscapes_colours", "cityscapes_ids")
    write(folder / "1.jpg", [[(0, 0, 142)]])
    assert "1.jpg: this kind of file loses colours" in said("cityscapes_colours", "cityscapes_ids")
    assert "no way from" in message(Translation, "cityscapes_ids", "carla_ids")
    assert "expected 0.9.5 or newer" in message(Translation, "carla_ids", "carla_colours", "0.9")
    assert not out.exists()


def test_wherever_it_is_killed(tmp_path):
    write(tmp_path / "given.png", gray([7, 26, 0]))
    write(tmp_path / "made.png", gray([0, 13, 255]))
    given, made = (dict.fromkeys(("a/1.png", "b/1.png"), (tmp_path / name).read_bytes())
                   for name in ("given.png", "made.png"))
    check_killed_anywhere(tmp_path, given, made, lambda *folders: done(
        *folders, "--from", "cityscapes_ids", "--to", "cityscapes_train_ids"))
