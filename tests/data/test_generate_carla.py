"""Recording from CARLA, against a stand-in: pairs of one tick, labels, flow, and a server that is left as it was."""
import ast
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.data import carla_standin
from tests.data.carla_standin import CLASSES, MOTION, Simulator, street
from tests.datasets.helpers import message
from timecyclegan.data.carla import scene as carla_scene
from timecyclegan.data.carla.scene import CarlaOptions
from timecyclegan.data.generate_carla import generate, main
from timecyclegan.datasets.labels import CITYSCAPES
from timecyclegan.evaluation.flow import load_flow
from timecyclegan.util.errors import UserError
from timecyclegan.video.frames import find_sequences, match_sequences, read_image

COLOURS = {label.name: label.colour for label in CITYSCAPES}
H, W, FRAMES = 24, 40, 3
SMALL = {"num_frames": FRAMES, "window_height": H, "window_width": W, "vehicles": 2, "pedestrians": 1, "fps": 10}


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(carla_scene, "WARM_UP_SECONDS", 0.1)
    monkeypatch.setattr(carla_scene, "IMAGE_SECONDS", 0.05)


@pytest.fixture
def record(monkeypatch, tmp_path):
    """Record against a simulator into ``tmp_path / "out"``, with small pictures."""

    def call(simulator, **options):
        monkeypatch.setitem(sys.modules, "carla", simulator._package())
        generate(CarlaOptions(output_dir=str(tmp_path / "out"), **{**SMALL, **options}))

    return call


def frames_of(out: Path, run="000"):
    """The tick of each recorded pair; fails where the two pictures are not of one tick."""
    ticks = []
    for t in range(FRAMES):
        picture, classes = (read_image(out / side / run / f"{t:05d}.png") for side in ("target", "source"))
        tick = next(n for n in range(1000) if np.array_equal(street(n, H, W)[0], picture))
        names = dict(zip(CLASSES, ("road", "car", "vegetation"), strict=True))
        expected = np.array([COLOURS[names[i]] for i in street(tick, H, W)[1].ravel()]).reshape(H, W, 3)
        assert np.array_equal(expected, classes)
        ticks.append(tick)
    return ticks


def assert_left_as_found(simulator, out):
    assert not simulator._alive
    assert vars(simulator._settings) == vars(carla_standin.WorldSettings(simulator))
    assert not simulator._manager._synchronous
    assert not (out / ".partial").exists()


def test_pairs_are_of_one_tick_and_as_training_wants_them(record, tmp_path):
    simulator, out = Simulator(), tmp_path / "out"
    record(simulator, num_runs=2)
    assert_left_as_found(simulator, out)
    for run in ("000", "001"):
        first, *rest = frames_of(out, run)
        assert rest == [first + 1, first + 2]
    pairs = match_sequences(*(find_sequences(out / side) for side in ("source", "target")), out / "source", out)
    assert {name: len(frames) for name, frames in pairs.items()} == {"000": FRAMES, "001": FRAMES}


def test_the_traffic_is_what_was_asked_for(record, monkeypatch):
    simulator, seen = Simulator(), []
    simulator._at_tick = lambda frame: seen.append(sorted(actor.type_id for actor in simulator._alive.values()))
    record(simulator)
    assert [name.split(".")[0] for name in seen[-1]] == ["controller", *["sensor"] * 3, *["vehicle"] * 3, "walker"]
    assert sum(name == "Vehicle.set_autopilot" for name in simulator._calls) == 3


def test_flow_leads_back_to_where_pixels_came_from(record, tmp_path, capsys):
    record(Simulator())
    out = tmp_path / "out"
    assert sorted(path.name for path in (out / "flow" / "000").iterdir()) == ["00001.npz", "00002.npz"]
    flow, seen = load_flow(out / "flow" / "000" / "00001.npz")
    assert np.allclose(flow, [-MOTION[0], -MOTION[1]], atol=1e-5)
    assert seen[MOTION[1]:, MOTION[0]:].all()  # all moves together
    assert not seen[:MOTION[1]].any() and not seen[:, :MOTION[0]].any()
    assert "does not fit" not in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [(0.5, 0.5), (-0.5, -0.5), (-1.0, 1.0), (-0.25, 0.25)])
def test_flow_that_does_not_fit_is_told_with_what_fits(record, capsys, wrong):
    record(Simulator(), flow_scale=wrong, window_height=64, window_width=96)
    assert "--flow_scale -0.5 0.5 --overwrite" in capsys.readouterr().err


@pytest.mark.parametrize("options", [
    {"without": ["sensor.camera.optical_flow"]}, {"time_inter": 2}, {"sensor_tick": 0.2}])
def test_no_flow_without_the_camera_or_between_frames_that_are_not_neighbours(record, tmp_path, options):
    simulator = Simulator(without=options.pop("without", ()))
    record(simulator, **options)
    first, *rest = frames_of(tmp_path / "out")
    assert rest == ([first + 2, first + 4] if options else [first + 1, first + 2])
    assert not (tmp_path / "out" / "flow").exists()


@pytest.mark.parametrize(("version", "ids", "names"), [
    ("0.9.5", (7, 10, 9), ("road", "car", "vegetation")), ("0.9.13", (6, 18, 13), ("road", "traffic light", "sky")),
    ("0.9.15-dirty", (24, 13, 11), ("road", "rider", "sky"))])
def test_classes_have_cityscapes_colours_in_each_generation(record, tmp_path, monkeypatch, version, ids, names):
    monkeypatch.setattr(carla_standin, "CLASSES", ids)
    record(Simulator(version))
    shown = np.unique(read_image(tmp_path / "out" / "source" / "000" / "00000.png").reshape(-1, 3), axis=0)
    assert {tuple(colour) for colour in shown.tolist()} == {COLOURS[name] for name in names}


def test_a_version_that_is_none_needs_a_label_set(record, tmp_path):
    assert "--label_set" in message(record, Simulator("0a1b2c3"))
    record(Simulator("0a1b2c3"), label_set="0.9.16")
    assert frames_of(tmp_path / "out")


@pytest.mark.parametrize("fault", ["_lost", "_late"])
@pytest.mark.parametrize("camera", ["rgb", "semantic_segmentation", "optical_flow"])
def test_a_missed_tick_throws_the_run_away_and_never_shifts_a_pair(record, tmp_path, capsys, camera, fault):
    simulator = Simulator()
    getattr(simulator, fault).add((f"sensor.camera.{camera}", 12))  # the second frame's
    record(simulator)
    assert "run 000 missed a tick" in capsys.readouterr().err
    first, *rest = frames_of(tmp_path / "out")
    assert first > 12 and rest == [first + 1, first + 2]
    assert_left_as_found(simulator, tmp_path / "out")


def test_a_camera_that_always_misses_is_an_error(record, tmp_path):
    simulator = Simulator()
    simulator._lost = {("sensor.camera.rgb", tick) for tick in range(1000)}
    with pytest.raises(UserError, match=r"sensor\.camera\.rgb sent no image of tick"):
        record(simulator)
    assert_left_as_found(simulator, tmp_path / "out")


def test_an_actor_that_the_server_destroyed_needs_no_stop(record, tmp_path, capsys):
    simulator = Simulator()

    def lose_the_pedestrian(frame):
        if frame == 11:
            gone = [number for number, actor in simulator._alive.items() if not actor.type_id.startswith(("v", "s"))]
            assert [simulator._alive.pop(number).type_id for number in gone]

    simulator._at_tick = lose_the_pedestrian
    record(simulator)
    assert_left_as_found(simulator, tmp_path / "out")
    assert "warning" not in capsys.readouterr().err


def test_whatever_fails_all_is_put_back(record, tmp_path, capsys):
    """Each call fails once, in turn; what puts things back is tried again, all else ends the recording."""
    good = Simulator()
    record(good, overwrite=True)
    out, failed = tmp_path / "out", 0
    for number in range(1, len(good._calls) + 1):
        simulator = Simulator(fail=lambda count, name, number=number: count == number)
        try:
            record(simulator, overwrite=True)
        except UserError as error:
            failed += 1
            assert "\n" not in str(error)
        assert_left_as_found(simulator, out)
        assert frames_of(out)  # the run of before, or a whole new one
    assert failed > 50
    assert "warning" not in capsys.readouterr().err


def test_a_server_that_dies_is_an_error_and_what_may_be_left_is_said(record, tmp_path, capsys):
    simulator = Simulator(fail=lambda count, name: simulator._frame >= 11)
    with pytest.raises(UserError, match=r"the CARLA server failed: time-out in World.tick of the simulator"):
        record(simulator)
    error = capsys.readouterr().err
    assert "could not destroy" in error and "could not restore the world's settings" in error
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("again", [False, True])
def test_signals_end_it_and_all_is_put_back(monkeypatch, tmp_path, number, again):
    simulator, out = Simulator(), tmp_path / "out"

    def fail(count, name):  # not a failure: the moment for the signals
        if (name == "World.tick" and simulator._frame == 10) or (again and name.endswith("apply_batch_sync")):
            os.kill(os.getpid(), number)
        return False

    simulator._fail = fail
    monkeypatch.setitem(sys.modules, "carla", simulator._package())
    before = signal.getsignal(number)
    options = [f"--{name}={value}" for name, value in SMALL.items()]
    assert main([*options, "--output_dir", str(out), "--num_runs", "2"]) == 130
    assert signal.getsignal(number) is before
    assert_left_as_found(simulator, out)
    assert not (out / "target").exists()


def test_a_second_call_goes_on_with_the_next_run(record, tmp_path, capsys):
    out = tmp_path / "out"
    record(Simulator(), num_runs=2)
    kept = {path: path.read_bytes() for path in out.rglob("*.*") if "000" in path.parts}
    os.replace(out / "target" / "001", tmp_path / "gone")  # as if killed while 001 was moved to its place
    (out / ".partial" / "source" / "001").mkdir(parents=True)
    (out / "source" / "001" / "stale.png").touch()
    record(Simulator(), num_runs=3)
    assert {path: path.read_bytes() for path in kept} == kept
    assert sorted(path.name for path in (out / "target").iterdir()) == ["000", "001", "002"]
    assert len(frames_of(out, "001")) == len(list((out / "source" / "001").iterdir())) == FRAMES
    again = Simulator()
    record(again, num_runs=3)
    assert not again._calls and "holds 3 runs already" in capsys.readouterr().out


def test_a_run_counts_only_when_all_of_it_is_in_its_place(record, tmp_path, monkeypatch):
    """Moving a run's folders fails at each of its steps, in turn."""
    out, replace, moved = tmp_path / "out", os.replace, []

    def fail(source, target):
        if os.path.isdir(source):
            moved.append(target)
            if len(moved) == number:
                raise OSError(28, "No space left on device")
        replace(source, target)

    for number in range(1, 8):
        record(Simulator(), overwrite=True)
        kept = frames_of(out)
        moved.clear()
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", fail)
            try:
                record(Simulator(start=50), overwrite=True)
                assert number == 7  # three folders out of the way, three to their place
            except UserError as error:
                assert "No space left" in str(error)
        if (out / "target" / "000").exists():
            assert (frames_of(out) == kept) == (number == 1)
            assert len(list((out / "flow" / "000").iterdir())) == FRAMES - 1


def test_a_town_is_loaded_only_if_it_is_another(record):
    for town, loaded in (("Town01", False), ("Town03", True)):
        simulator = Simulator()
        record(simulator, town=town, overwrite=True)
        assert ("Client.load_world" in simulator._calls) == loaded
        assert simulator._settings.no_rendering_mode  # as it was found before the town was loaded


def test_dry_run_changes_nothing(record, tmp_path, capsys):
    simulator = Simulator()
    record(simulator, dry_run=True, num_runs=5)
    assert set(simulator._calls) <= {"Client.set_timeout", "Client.get_server_version", "Client.get_available_maps"}
    assert "000, 001, 002 and 2 more" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_wrong_options_are_one_line(record, tmp_path):
    for options, text in [
        ({"town": "Town3"}, "did you mean Town03"),
        ({"ego": "vehicle.tesla.model4"}, "did you mean vehicle.tesla.model3"),
        ({"fps": 5}, "--fps must be 10 to 1000"),
        ({"sensor_tick": 0.15}, "--sensor_tick 0.15 is no multiple"), ({"flow_scale": (1.0,)}, "takes two numbers"),
        ({"num_runs": 0}, "--num_runs must be 1 to 1000"),
    ]:
        simulator = Simulator()
        assert text in message(record, simulator, **options)
        assert_left_as_found(simulator, tmp_path / "out")


def test_folder_that_cannot_be_written(record, tmp_path):
    (tmp_path / "out").touch()
    simulator = Simulator()
    assert "cannot write" in message(record, simulator)
    assert_left_as_found(simulator, tmp_path / "out")


def test_no_package_and_no_server_are_one_line_each(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "carla", None)
    assert main(["--output_dir", str(tmp_path / "out")]) == 2
    assert "pip install carla" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "carla", Simulator(fail=lambda count, name: count > 1)._package())
    assert main(["--output_dir", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: no CARLA server answers at localhost:2000 (time-out") and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_stand_in_has_no_names_that_carla_has_not(record):
    """So nothing is called that the package does not have; nor with more arguments, by its type stubs."""
    carla = pytest.importorskip("carla")
    simulator = Simulator()
    package = simulator._package()
    record(simulator, town="Town03")
    for name in (name for name in vars(package) if not name.startswith("_")):
        assert hasattr(carla, name)
    assert hasattr(carla.command, "DestroyActor")
    stubs = ast.parse(Path(carla.__file__).with_name("libcarla.pyi").read_text())
    classes = {node.name: node for node in stubs.body if isinstance(node, ast.ClassDef)}
    flat = [each for thing in simulator._things for each in (thing if isinstance(thing, list) else [thing])]
    kinds = {type(thing): thing for thing in flat if isinstance(thing, carla_standin.Thing)}
    image = carla_standin.picture(kinds[carla_standin.Sensor], 0, 0)
    kinds |= {type(image): image}
    assert len(kinds) >= 12
    for kind, thing in kinds.items():
        for name in (name for name in dir(thing) if not name.startswith("_")):
            assert hasattr(getattr(carla, kind.__name__), name), f"{kind.__name__}.{name}"
            stub = [node for node in ast.walk(classes[kind.__name__])
                    if isinstance(node, ast.FunctionDef) and node.name == name]
            if name in vars(kind) and callable(vars(kind)[name]) and stub:
                ours = vars(kind)[name].__wrapped__.__code__.co_argcount
                assert ours <= len(stub[0].args.args), f"{kind.__name__}.{name}"
    assert "attach_to=None" in carla.World.try_spawn_actor.__doc__
    carla.Transform(carla.Location(1.6, 0.0, 1.7)), carla.Transform(), carla.command.DestroyActor(3)
