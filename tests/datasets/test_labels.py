"""The label tables against CARLA's own package, and the way from ids to colours and back."""
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from tests.datasets.helpers import message
from timecyclegan.datasets.labels import (
    CARLA,
    CITYSCAPES,
    CITYSCAPES_TRAIN,
    carla_labels,
    colours_to_ids,
    ids_to_colours,
    in_cityscapes,
)

TABLES = {"cityscapes": CITYSCAPES, "train": CITYSCAPES_TRAIN, **CARLA}


@pytest.mark.parametrize("labels", TABLES.values(), ids=TABLES)
def test_ids_and_names_are_unique_and_the_way_back_ends_at_a_label_of_the_same_colour(labels):
    ids = np.array([[label.id for label in labels]], np.uint8)
    assert len(set(ids[0])) == len(labels) == len({label.name for label in labels})
    colours = ids_to_colours(ids, labels)
    assert [tuple(colour) for colour in colours[0].tolist()] == [label.colour for label in labels]
    back = colours_to_ids(colours, labels)
    colour_of = {label.id: label.colour for label in labels}
    assert [colour_of[i] for i in back[0].tolist()] == [label.colour for label in labels]
    assert all(found <= given for found, given in zip(back[0], ids[0], strict=True))  # the first of several
    if labels in CARLA.values():
        np.testing.assert_array_equal(back, ids)


def test_the_newest_carla_labels_are_those_of_the_installed_package():
    carla = pytest.importorskip("carla")
    labels = CARLA["0.9.14"]
    same = {"Roads": "road", "Sidewalks": "sidewalk", "Buildings": "building", "Walls": "wall", "Fences": "fence",
            "Poles": "pole", "TrafficSigns": "traffic sign", "Pedestrians": "pedestrian", "RoadLines": "road line",
            "NONE": "unlabeled"}
    theirs = {number: str(name) for number, name in carla.CityObjectLabel.values.items() if number < 255}
    squeezed = {number: same.get(name, name).replace(" ", "").lower() for number, name in theirs.items()}
    assert squeezed == {label.id: label.name.replace(" ", "") for label in labels}
    library = Path(importlib.util.find_spec("carla.libcarla").origin).read_bytes()
    palette = bytes(value for label in labels for value in label.colour)
    assert palette in library  # the table from which the package colours a semantic image
    assert bytes(value for label in CARLA["0.9.10"] for value in label.colour) not in library


@pytest.mark.parametrize("version, first", [
    ("0.9.5", "0.9.5"), ("0.9.9.4", "0.9.5"), ("0.9.10", "0.9.10"), ("0.9.13-dirty", "0.9.10"), ("0.9.14", "0.9.14"),
    ("0.9.16", "0.9.14"), ("0.10.0", "0.9.14"), ("1.0", "0.9.14")])
def test_a_version_has_the_labels_of_its_generation(version, first):
    assert carla_labels(version) is CARLA[first]


def test_carla_in_cityscapes_colours():
    colour = {label.name: label.colour for label in CITYSCAPES}
    for labels in CARLA.values():
        twins = in_cityscapes(labels)
        assert [twin.id for twin in twins] == [label.id for label in labels]
        mapped = {label.name: twin for label, twin in zip(labels, twins, strict=True)}
        assert all(twin.colour == colour[twin.name] for twin in twins)
        for theirs, ours in (("road", "road"), ("road line", "road"), ("pedestrian", "person"), ("wall", "wall")):
            assert mapped[theirs].name == ours
    assert in_cityscapes(CARLA["0.9.5"])[10].name == "car"


def test_unknown_ids_and_colours_are_named():
    text = message(ids_to_colours, np.array([[0, 19, 255, 200]], np.uint8), CITYSCAPES_TRAIN, "map.png")
    assert text.startswith("map.png holds ids that are no labels: 19, 200; known are 0 to 18, 255")
    picture = np.zeros((2, 3, 3), np.uint8)
    picture[0, :2] = 1, 2, 3
    text = message(colours_to_ids, picture, CITYSCAPES, "map.png")
    assert text.startswith("map.png holds 1 colour of no label: (1, 2, 3) in 2 pixels")
    picture[1, 2] = 255, 255, 255  # beyond the last known code
    assert "2 colours of no label: (1, 2, 3), (255, 255, 255) in 3 pixels" in message(
        colours_to_ids, picture, CITYSCAPES)
    for version in ("0.9.4", "0.8", "dirty", ""):
        assert "expected 0.9.5 or newer" in message(carla_labels, version)
