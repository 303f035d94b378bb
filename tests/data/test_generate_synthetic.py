"""The synthetic street: layout, determinism, exact motion, ambiguous colours, noisy labels, plain errors."""
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from timecyclegan.data import generate_synthetic
from timecyclegan.data.generate_synthetic import generate, main
from timecyclegan.data.synthetic.film import worn_film
from timecyclegan.data.synthetic.labels import CITYSCAPES_COLOURS, PALETTE, noisy_classes
from timecyclegan.data.synthetic.street import ROAD, draw_street
from timecyclegan.data.synthetic.view import Viewer

FRAMES = 6


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("synthetic") / "data"
    generate(out, sequences=2, val_sequences=2, frames=FRAMES)
    return out


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def pictures(folder: Path) -> np.ndarray:
    """(T, H, W, 3) of one sequence."""
    return np.stack([read(path) for path in sorted(folder.iterdir())])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def warp(picture: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Bilinear sampling at p + flow(p), borders repeated; written apart from the package as an oracle."""
    height, width = flow.shape[:2]
    column = (np.arange(width) + flow[..., 0]).clip(0, width - 1)
    row = (np.arange(height)[:, None] + flow[..., 1]).clip(0, height - 1)
    left, top = (np.minimum(np.floor(place), size - 2).astype(int)
                 for place, size in ((column, width), (row, height)))
    across, down = (column - left)[..., None], (row - top)[..., None]
    upper = picture[top, left] * (1 - across) + picture[top, left + 1] * across
    lower = picture[top + 1, left] * (1 - across) + picture[top + 1, left + 1] * across
    return upper * (1 - down) + lower * down


def pairs(data: Path):
    """Earlier and later picture, flow and mask of every pair of the validation set."""
    for path in sorted((data / "val" / "flow").rglob("*.npz")):
        targets = pictures(data / "val" / "target" / path.parent.name).astype(float)
        motion, t = np.load(path), int(path.stem)
        yield targets[t - 1], targets[t], motion["flow"], motion["visible"]


def test_layout_and_sizes(data):
    names = [f"{t:04d}" for t in range(FRAMES)]
    for split in ("train", "val"):
        for part in ("source", "target"):
            assert sorted(path.name for path in (data / split / part).iterdir()) == ["000", "001"]
            folder = data / split / part / "001"
            assert sorted(path.name for path in folder.iterdir()) == [f"{name}.png" for name in names]
            assert pictures(folder).shape == (FRAMES, 64, 128, 3)
    flows = sorted((data / "val" / "flow" / "000").iterdir())
    assert [path.name for path in flows] == [f"{name}.npz" for name in names[1:]]
    motion = np.load(flows[0])
    assert (motion["flow"].shape, motion["flow"].dtype) == ((64, 128, 2), np.float32)
    assert (motion["visible"].shape, motion["visible"].dtype) == ((64, 128), bool)
    assert not (data / "train" / "flow").exists()
    assert sorted(path.name for path in data.iterdir()) == ["train", "val"]


def test_same_arguments_same_bytes_and_sequences_do_not_depend_on_their_number(data, tmp_path):
    generate(tmp_path / "again", sequences=1, val_sequences=1, frames=FRAMES)
    again, first = contents(tmp_path / "again"), contents(data)
    assert again.keys() == {name for name in first if "/000/" in name}
    assert all(first[name] == again[name] for name in again)


def test_splits_sequences_and_seeds_differ(data, tmp_path):
    generate(tmp_path, sequences=1, val_sequences=0, frames=1, seed=1)
    shown = [read(path / "0000.png") for path in (data / "train/target/000", data / "train/target/001",
                                                  data / "val/target/000", tmp_path / "train/target/000")]
    for index, one in enumerate(shown):
        for other in shown[index + 1:]:
            assert (one != other).any(-1).mean() > 0.8


def test_clean_sources_hold_cityscapes_colours_only(data):
    seen = {tuple(int(value) for value in colour) for split in ("train", "val") for name in ("000", "001")
            for colour in np.unique(pictures(data / split / "source" / name).reshape(-1, 3), axis=0)}
    assert seen <= set(CITYSCAPES_COLOURS.values())
    assert {CITYSCAPES_COLOURS[name] for name in ("road", "sidewalk", "building", "vegetation", "sky", "car",
                                                  "person", "pole")} <= seen


def test_flow_carries_one_picture_into_the_next(data):
    figures = {"warped": [], "still": [], "negated": [], "shifted": [], "hidden": [], "visible": []}
    for earlier, later, flow, visible in pairs(data):
        def error(motion, where=visible, earlier=earlier, later=later):
            return abs(warp(earlier, motion) - later).mean(-1)[where].mean()

        figures["warped"].append(error(flow))
        figures["still"].append(error(0 * flow))
        figures["negated"].append(error(-flow))
        figures["shifted"].append(error(flow + 1))
        figures["hidden"].append(error(flow, ~visible))
        figures["visible"].append(visible.mean())
    mean = {name: np.mean(values) for name, values in figures.items()}
    # The textures are band-limited to a pixel, so that resampling them costs a grey level or two.
    assert max(figures["warped"]) < 2.2
    assert mean["still"] > 2 * mean["warped"]
    assert mean["negated"] > 4 * mean["warped"]
    assert mean["shifted"] > 3 * mean["warped"]
    assert mean["hidden"] > 5 * mean["warped"]
    assert all(0.7 < share < 0.95 for share in figures["visible"])


def straight_ride(seed: int, yaw_only: bool = False):
    """A viewer of 96x200 pixels whose camera drives straight ahead, or stands and turns."""
    street = draw_street(np.random.default_rng(seed), 64)
    ride = replace(street.ride, weave=0.0, **({"speed": 0.0} if yaw_only else {"turn": 0.0}))
    return Viewer(replace(street, ride=ride), 96, 200), street


@pytest.mark.parametrize("seed", range(3))
def test_flow_of_a_straight_ride_is_the_textbook_expansion(seed):
    viewer, street = straight_ride(seed)
    earlier, later = viewer.view(10), viewer.view(11)
    flow, visible = viewer.flow(earlier, later)
    # Seen from `speed` metres further back, a static point at depth d is nearer the centre by d / (d + speed).
    approach = np.full(len(street.labels), street.ride.speed)
    still = np.ones(len(street.labels), bool)
    for index, quad in enumerate(street.quads, start=viewer.first_quad):
        approach[index] -= quad.speed
        still[index] = not (quad.sway or quad.swing)
    depth = later.depth.astype(float)
    before = depth + approach[later.surface]
    scale = np.divide(depth, before, out=np.ones_like(depth), where=np.isfinite(depth))
    offset = np.stack(np.meshgrid(np.arange(200.0), np.arange(96.0)), -1) - viewer.centre
    exact = still[later.surface]
    assert exact.mean() > 0.8 and len(np.unique(later.surface)) > 20
    np.testing.assert_allclose(flow[exact], (offset * (scale[..., None] - 1))[exact], atol=1e-3)
    # What is visible had that depth in the earlier frame's buffer, up to the slope of the surface.
    column, row = np.rint(offset + viewer.centre + flow).astype(int)[visible].T
    seen = earlier.depth[row, column]
    finite = exact[visible] & np.isfinite(seen)
    assert abs(seen[finite] / before[visible][finite] - 1).mean() < 0.03


def test_flow_of_a_turning_camera_is_a_rotation_of_the_directions():
    viewer, street = straight_ride(0, yaw_only=True)
    earlier, later = viewer.view(4), viewer.view(5)
    turned = street.ride.at(5)[2] - street.ride.at(4)[2]
    flow, _ = viewer.flow(earlier, later)
    angle = np.arctan((np.arange(200) - viewer.centre[0]) / viewer.focal) + turned
    expected = viewer.centre[0] + viewer.focal * np.tan(angle) - np.arange(200)
    static = later.surface < viewer.first_quad
    assert abs(turned) > 1e-3
    np.testing.assert_allclose(flow[..., 0][static], np.broadcast_to(expected, flow.shape[:2])[static], atol=1e-3)


def test_legs_swing_from_the_hip():
    viewer, street = straight_ride(3, yaw_only=True)
    street = replace(viewer.street, ride=replace(viewer.street.ride, turn=0.0, height=1.3))
    index = next(index for index, quad in enumerate(street.quads) if quad.swing > 0)
    leg = replace(street.quads[index], x=street.ride.lane, anchor=3.0, speed=0.0)
    chosen = [*range(viewer.first_quad), viewer.first_quad + index]
    viewer = Viewer(replace(street, quads=[leg], labels=[street.labels[number] for number in chosen],
                            texture=street.texture[chosen], light=street.light[chosen]), 96, 200)
    earlier, later = viewer.view(2), viewer.view(3)
    flow, visible = viewer.flow(earlier, later)
    mine = later.surface == viewer.first_quad
    assert mine.sum() > 100 and (mine & visible).sum() > 50
    depth = leg.anchor + leg.z
    above_ground = street.ride.height - (np.arange(96) - viewer.centre[1]) / viewer.focal * depth
    swing = leg.swing * (math.sin(2 * leg.rate + leg.phase) - math.sin(3 * leg.rate + leg.phase))
    sideways = swing * (leg.size[1] - above_ground) / leg.size[1] * viewer.focal / depth
    assert abs(sideways).max() > 0.3
    expected = np.broadcast_to(sideways[:, None], mine.shape)
    np.testing.assert_allclose(flow[..., 0][mine], expected[mine], atol=1e-3)
    np.testing.assert_allclose(flow[..., 1], 0, atol=1e-3)
    # It is drawn where it is said to be: in each row, its middle.
    lean = leg.swing * math.sin(3 * leg.rate + leg.phase) * (1 - above_ground / leg.size[1])
    middle = viewer.centre[0] + (leg.size[0] / 2 + lean) * viewer.focal / depth
    rows = mine.any(1)
    drawn = (mine * np.arange(200)).sum(1)[rows] / mine.sum(1)[rows]
    np.testing.assert_allclose(drawn, middle[rows], atol=1)


def test_what_is_nearest_is_seen_whatever_is_drawn_first():
    street = draw_street(np.random.default_rng(1), 64)
    last = len(street.labels) - len(street.quads)
    reverse = [*range(last), *range(len(street.labels) - 1, last - 1, -1)]
    other = replace(street, quads=street.quads[::-1], labels=[street.labels[number] for number in reverse],
                    texture=street.texture[reverse], light=street.light[reverse])
    views = [Viewer(each, 96, 200).view(7) for each in (street, other)]
    np.testing.assert_array_equal(views[0].depth, views[1].depth)
    assert len(np.unique(views[0].surface)) > 20


def test_painted_ground_stays_where_it_is(data):
    """The road alone, the largest static object, is tracked to within the rounding of the picture."""
    viewer = Viewer(replace(draw_street(np.random.default_rng(5), 64), stripes=[]), 64, 128)
    views = viewer.view(0), viewer.view(1)
    one, two = (generate_synthetic.render(viewer.street, view, viewer.focal).astype(float) for view in views)
    flow, visible = viewer.flow(*views)
    road = visible & (views[1].surface == ROAD)
    assert road.sum() > 800
    assert abs(warp(one, flow) - two)[road].mean() < 0.7
    assert abs(one - two)[road].mean() > 1.0


def test_colours_cannot_be_read_off_the_map(tmp_path):
    generate(tmp_path, sequences=8, val_sequences=0, frames=1, width=64, height=48)
    for label in ("road", "building", "car", "sky"):
        means = []
        for index in range(8):
            where = (read(tmp_path / f"train/source/{index:03d}/0000.png") == CITYSCAPES_COLOURS[label]).all(-1)
            if where.sum() > 20:
                means.append(read(tmp_path / f"train/target/{index:03d}/0000.png")[where].mean(0))
        assert len(means) >= 5 and np.std(means, axis=0).mean() > 8, label


def test_label_noise_changes_sources_only_and_grows(data, tmp_path):
    clean = pictures(data / "val/source/000")
    wrong = []
    for strength in (0.3, 0.6, 1.0, 1.4):
        out = tmp_path / str(strength)
        generate(out, sequences=0, val_sequences=1, frames=FRAMES, label_noise=strength)
        assert contents(out / "val/target/000") == contents(data / "val/target/000")
        assert contents(out / "val/flow/000") == contents(data / "val/flow/000")
        noisy = pictures(out / "val/source/000")
        assert {tuple(colour) for colour in np.unique(noisy.reshape(-1, 3), axis=0)} <= {
            tuple(colour) for colour in PALETTE}
        wrong.append((noisy != clean).any(-1))
    shares = [mask.mean() for mask in wrong]
    assert shares == sorted(shares) and shares[0] > 0.005
    assert 0.05 < shares[2] < 0.2
    # New errors in every frame: two frames share no more of them than two unrelated masks would, or little more.
    one, two = wrong[2][0], wrong[2][1]
    assert (one & two).sum() < 0.5 * min(one.sum(), two.sum())


def test_film_changes_sources_only(data, tmp_path):
    generate(tmp_path, sequences=2, val_sequences=1, frames=FRAMES, film=True)
    for part in ("val/target/000", "val/flow/000", "train/target/001"):
        assert contents(tmp_path / part) == contents(data / part)
    film, street = pictures(tmp_path / "val/source/000"), pictures(tmp_path / "val/target/000")
    assert film.shape == street.shape
    changes = [np.abs(np.diff(clip.astype(float), axis=0)).mean() for clip in (film, street)]
    assert changes[0] > 3 * changes[1]  # it flickers


def test_film_fades_flickers_and_hides():
    """Of a flat picture: by the median of a frame, which damage does not move, exposure and fading; and the damage."""
    colour = np.array([200.0, 60, 60])
    gray = colour @ (0.299, 0.587, 0.114)
    frames = np.array([worn_film(np.tile(colour.astype(np.uint8), (64, 128, 1)), np.random.default_rng(seed))
                       for seed in range(400)]).astype(float)  # fmt: skip
    levels = np.median(frames, axis=(1, 2))
    np.testing.assert_allclose(np.exp(np.log(levels).mean(axis=0)), (gray + 0.4 * (colour - gray)) * (1, 0.85, 0.65),
                               rtol=0.04)  # fmt: skip
    # The exposure is drawn for each frame; what is uneven in it has 12 values, whose smooth mean moves it little more.
    assert 0.13 < np.log(levels[:, 0]).std() < 0.18
    hidden = (np.isin(frames, (0, 255)).all(axis=3)).mean(axis=(1, 2))
    assert 0.01 < hidden.mean() < 0.06 and hidden.max() < 0.3
    assert np.corrcoef(frames[0, ..., 0].ravel(), frames[1, ..., 0].ravel())[0, 1] < 0.3  # nothing of it stays


def test_label_noise_loses_thin_objects_but_no_large_ones():
    number = np.array([list(CITYSCAPES_COLOURS).index(name) for name in ("building", "pole", "car")])
    behind = np.zeros((40, 80), int)
    surface = behind.copy()
    surface[:, 20:24], surface[5:35, 40:70] = 1, 2
    left = {1: [], 2: []}
    for frame in range(60):
        classes = noisy_classes(number, surface, behind, 1.0, np.random.default_rng(frame))
        for index, shares in left.items():
            shares.append((classes == number[index]).sum() / (surface == index).sum())
    assert 0.25 < np.mean(np.array(left[1]) < 0.02) < 0.65
    assert min(left[2]) > 0.5


@pytest.mark.parametrize("width, height", [(97, 53), (16, 16)])
def test_any_size(tmp_path, width, height):
    generate(tmp_path, sequences=0, val_sequences=1, frames=2, width=width, height=height, label_noise=0.5)
    (earlier, later, flow, visible), = pairs(tmp_path)
    assert flow.shape == (height, width, 2) and np.isfinite(flow).all() and visible.mean() > 0.3
    error = abs(warp(earlier, flow) - later).mean(-1)
    assert error[visible].mean() < 4


def test_streets_go_on_for_ever():
    """After more than a period of the street there is still a street, and the flow is still exact."""
    viewer, street = straight_ride(2)
    far = math.ceil(2.5 * 130 / street.ride.speed)
    earlier, later = viewer.view(far), viewer.view(far + 1)
    flow, visible = viewer.flow(earlier, later)
    one, two = (generate_synthetic.render(street, view, viewer.focal).astype(float) for view in (earlier, later))
    assert visible.mean() > 0.7 and abs(warp(one, flow) - two)[visible].mean() < 2.5


def test_bad_values_are_one_line_and_exit_code_2(tmp_path, capsys):
    for flags, named in [
        ("--frames 0", "--frames must be 1 to 10000"), ("--width 15", "--width must"), ("--height 8", "--height must"),
        ("--sequences -1", "--sequences must"), ("--val_sequences -2", "--val_sequences must"),
        ("--seed -1", "--seed must"), ("--label_noise -0.5", "--label_noise must"),
        ("--label_noise nan", "--label_noise must"), ("--film --label_noise 1", "--film and --label_noise 1:"),
        ("--sequences 0 --val_sequences 0", "nothing to make"),
    ]:
        assert main([str(tmp_path / "out"), *flags.split()]) == 2
        message = capsys.readouterr().err
        assert named in message and message.startswith("error: ") and message.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_old_data_stay_until_new_data_are_whole(tmp_path, monkeypatch, capsys):
    small = "--sequences 1 --val_sequences 0 --width 16 --height 16 --frames"
    assert main([str(tmp_path), *small.split(), "3"]) == 0
    before = contents(tmp_path)
    assert main([str(tmp_path), *small.split(), "2"]) == 2 and "--overwrite" in capsys.readouterr().err

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(generate_synthetic, "render", full)
        assert main([str(tmp_path), *small.split(), "2", "--overwrite"]) == 2
    assert "No space left" in capsys.readouterr().err and contents(tmp_path) == before
    assert main([str(tmp_path), *small.split(), "2", "--overwrite"]) == 0
    assert len(list((tmp_path / "train/source/000").iterdir())) == 2
    (tmp_path / "file").touch()
    assert main([str(tmp_path / "file/out"), *small.split(), "1"]) == 2 and "file" in capsys.readouterr().err
