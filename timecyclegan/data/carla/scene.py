"""A connection to a CARLA server, and traffic in one of its towns with a car that films.

The world moves tick by tick for a while, and then is as it was. Calls are those of the package ``carla`` 0.9.16,
blueprints those of its catalogue.
"""
import contextlib
import dataclasses
import queue
import random
import sys
from collections.abc import Callable, Iterator
from typing import Any

from timecyclegan.data import CommandOptions, between
from timecyclegan.util.errors import UserError, unknown
from timecyclegan.util.options import NON_NEGATIVE, option
from timecyclegan.util.signals import signals

CAMERAS = {"target": "sensor.camera.rgb", "source": "sensor.camera.semantic_segmentation",
           "flow": "sensor.camera.optical_flow"}
"""The blueprints of the cameras by the folder that their images go to. Flow exists from CARLA 0.9.12 on."""

CONNECT_SECONDS = 5.0  # an idle server answers at once
CALL_SECONDS = 60.0  # loading a town takes long
RESTORE_SECONDS = 10.0  # per call; a server that died must not hold us up for long
IMAGE_SECONDS = 20.0
WARM_UP_SECONDS = 2.0  # simulated: cars fall to the ground and start, the exposure adapts
_BEHIND_THE_WINDSCREEN = (1.6, 0.0, 1.7)  # metres to the front, to the right, up, from the middle of the car's floor


class MissedTick(Exception):
    """A camera sent no image of a tick, or one of another tick than the others."""


@dataclasses.dataclass(frozen=True)
class CarlaOptions(CommandOptions):
    """What is recorded, and where the server is."""

    output_dir: str = option("carla", None, "folder in which source, target and flow are made", path=True)
    num_runs: int = option(1, None, "sequences that the folder shall hold; those that are there stay", between(1, 1000))
    num_frames: int = option(100, None, "frames of each run", between(1, 100000))
    fps: int = option(20, None, "ticks per simulated second; for fewer frames see time_inter", between(10, 1000))
    time_inter: int = option(1, None, "record each n-th image of the cameras; flow needs 1", between(1, 10000))
    sensor_tick: float = option(0.0, None, "simulated seconds between two images of a camera, a multiple of 1 / fps; "
                                "0 is each tick, which flow needs", NON_NEGATIVE)
    vehicles: int = option(50, None, "other vehicles", between(0, 1000))
    pedestrians: int = option(30, None, "pedestrians", between(0, 1000))
    window_width: int = option(1024, None, "width of the pictures", between(16, 8192))
    window_height: int = option(512, None, "height of the pictures", between(16, 8192))
    fov: float = option(90.0, None, "horizontal field of view in degrees", between(1, 170))
    town: str = option("", None, "map to load, such as Town03; else the one that is loaded")
    ego: str = option("vehicle.tesla.model3", None, "blueprint of the car that films")
    seed: int = option(0, None, "run n places its traffic by seed + n; CARLA does not promise to repeat a drive",
                       between(0, 2**31 - 1001))
    label_set: str = option("", None, "CARLA version whose classes the server has, where it does not tell its own")
    flow_scale: tuple[float, ...] = option(
        (-0.5, 0.5), None, "widths and heights of the picture, from a pixel back to where it came from, that 1 "
        "means in the x and y of CARLA's flow")  # fmt: skip
    host: str = option("localhost", None, "machine of the server")
    port: int = option(2000, None, "port of the server", between(1, 65535))
    tm_port: int = option(8000, None, "port for the traffic manager", between(1, 65535))
    overwrite: bool = option(False, None, "record the runs that are there anew, too")
    dry_run: bool = option(False, None, "ask the server, say what would be recorded, change nothing")

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.flow_scale) != 2:
            raise UserError(f"--flow_scale takes two numbers, for x and y, not {len(self.flow_scale)}")
        ticks = self.sensor_tick * self.fps
        if abs(ticks - round(ticks)) > 1e-6:
            raise UserError(f"--sensor_tick {self.sensor_tick} is no multiple of a tick, 1 / {self.fps} s; "
                            f"with --fps {self.fps} try {max(1, round(ticks)) / self.fps:g}")


def connect(host: str, port: int) -> tuple[Any, Any, str]:
    """The package ``carla``, a client, and the server's version; a UserError without the package or an answer."""
    try:
        import carla

        client = carla.Client(host, port)  # raises for a name that is no machine
        client.set_timeout(CONNECT_SECONDS)
        version = client.get_server_version()
        client.set_timeout(CALL_SECONDS)
    except ImportError as error:
        raise UserError("recording needs CARLA's Python package: pip install carla, in the version of your server "
                        f"({error})") from error
    except RuntimeError as error:
        raise UserError(f"no CARLA server answers at {host}:{port} ({_line(error)}); start one (CarlaUE4.sh), or say "
                        "where it is with --host and --port") from error
    return carla, client, version


@contextlib.contextmanager
def server_errors() -> Iterator[None]:
    """What the package raises inside the block, about a server that hangs or died, as an error of the user's."""
    try:
        yield
    except RuntimeError as error:
        if type(error) is not RuntimeError:  # one of Python's or ours
            raise
        raise UserError(f"the CARLA server failed: {_line(error)}") from error


@contextlib.contextmanager
def synchronous(client: Any, town: str, fps: int, tm_port: int) -> Iterator[tuple[Any, Any]]:
    """Let the world move only by ``tick()``, by 1 / ``fps`` s each; yields it and its traffic manager.

    At the end the settings are those that were found. A ``town`` that had to be loaded stays.
    """
    world = client.get_world()
    found = world.get_settings()
    restore = {"restore the world's settings; restart the server": lambda: world.apply_settings(found)}
    try:
        if town and town != world.get_map().name.rsplit("/", 1)[-1]:
            world = client.load_world(town)
        settings = world.get_settings()
        settings.synchronous_mode, settings.fixed_delta_seconds = True, 1 / fps
        settings.no_rendering_mode = False
        world.apply_settings(settings)
        manager = client.get_trafficmanager(tm_port)
        restore = {"release the traffic manager": lambda: manager.set_synchronous_mode(False)} | restore
        manager.set_synchronous_mode(True)
        yield world, manager
    finally:
        put_back(client, restore)


def put_back(client: Any, calls: dict[str, Callable[[], Any]]) -> None:
    """Make calls that put back what their keys name, without waiting long; one that fails twice is said."""
    calls = {"shorten the time-out": lambda: client.set_timeout(RESTORE_SECONDS), **calls,
             "lengthen the time-out": lambda: client.set_timeout(CALL_SECONDS)}
    with signals(lambda number: None):
        for what, call in calls.items():
            for attempt in (1, 2):
                try:
                    call()
                    break
                except RuntimeError as error:
                    if attempt == 2:
                        print(f"warning: could not {what} ({_line(error)})", file=sys.stderr)


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


@contextlib.contextmanager
def scene(carla: Any, client: Any, world: Any, manager: Any, options: CarlaOptions, seed: int,
          asked: list[int]) -> Iterator[Callable[[], dict[str, Any]]]:
    """A car with cameras, driven by the traffic manager, among vehicles and pedestrians.

    Yields a function that moves on to the cameras' next images, all of one tick: ``carla.Image`` by folder. It raises
    :class:`MissedTick` where they are not. What was spawned is destroyed at the end, whatever happens.

    Args:
        carla: the package.
        world, manager: from :func:`synchronous`.
        seed: of what is spawned where.
        asked: holds the signals that ask to leave, which is looked at before every tick and whatever is spawned.
    """
    rng, period = random.Random(seed), max(1, round(options.sensor_tick * options.fps))  # ticks between two images
    actors: list[Any] = []  # all, in the order in which they were spawned
    stopped: list[Any] = []  # cameras and controllers, which have to be stopped before they are destroyed
    sent: dict[str, queue.SimpleQueue] = {}

    def spawn(blueprint: Any, place: Any, parent: Any = None) -> Any | None:
        """A new actor, or None where something else stands."""
        if asked:
            raise KeyboardInterrupt
        actor = world.try_spawn_actor(blueprint, place, attach_to=parent)
        if actor is not None:
            actors.append(actor)
        return actor

    def blueprints(pattern: str) -> list[Any]:
        return sorted(library.filter(pattern), key=lambda blueprint: blueprint.id)

    def step() -> dict[str, Any]:
        ticks, images = [], {}
        for _ in range(period):
            if asked:
                raise KeyboardInterrupt
            ticks.append(world.tick())
        for folder, waiting in sent.items():
            try:
                while (image := waiting.get(timeout=IMAGE_SECONDS)).frame < ticks[0]:  # late ones are of no use
                    pass
            except queue.Empty:
                raise MissedTick(f"{CAMERAS[folder]} sent no image of tick {ticks[-1]}") from None
            images[folder] = image
        if len({image.frame for image in images.values()}) > 1:
            raise MissedTick("the cameras' images are of " + ", ".join(
                f"tick {image.frame} ({CAMERAS[folder]})" for folder, image in images.items()))
        return images

    try:
        world.set_pedestrians_seed(seed)
        manager.set_random_device_seed(seed)
        library = world.get_blueprint_library()

        # Vehicles, first the one that films.
        own, others, vehicles = blueprints(options.ego), blueprints("vehicle.*"), []
        if not own:
            raise unknown("--ego", options.ego, [blueprint.id for blueprint in others])
        own[0].set_attribute("role_name", "hero")
        places = list(world.get_map().get_spawn_points())
        rng.shuffle(places)
        for place in places:
            if len(vehicles) == 1 + options.vehicles:
                break
            blueprint = rng.choice(others) if vehicles else own[0]
            if blueprint.has_attribute("color"):
                blueprint.set_attribute("color", rng.choice(list(blueprint.get_attribute("color").recommended_values)))
            if (vehicle := spawn(blueprint, place)) is not None:
                vehicles.append(vehicle)
        if not vehicles:
            raise UserError("the town has no free place for a car; remove other actors, or choose another --town")
        for vehicle in vehicles:
            vehicle.set_autopilot(True, manager.get_port())

        # Cameras.
        values = {"image_size_x": options.window_width, "image_size_y": options.window_height, "fov": options.fov,
                  "sensor_tick": options.sensor_tick}
        for folder, kind in CAMERAS.items():
            found = blueprints(kind)
            if folder == "flow" and not (found and period == options.time_inter == 1):  # it goes back by one tick
                continue
            if not found:
                raise UserError(f"this CARLA server has no {kind}; use a newer one")
            for name, value in values.items():
                found[0].set_attribute(name, str(value))
            camera = spawn(found[0], carla.Transform(carla.Location(*_BEHIND_THE_WINDSCREEN)), vehicles[0])
            if camera is None:
                raise UserError(f"this CARLA server could not make a {kind}; restart it")
            stopped.append(camera)
            sent[folder] = queue.SimpleQueue()
            camera.listen(sent[folder].put)

        # Pedestrians, each with a controller that lets it walk somewhere.
        people, mind = blueprints("walker.pedestrian.*"), library.find("controller.ai.walker")
        walking: list[tuple[Any, float]] = []  # controllers and speeds; a pedestrian's are standing, walking, running
        for _ in range(3 * options.pedestrians):  # some places are taken
            if len(walking) == options.pedestrians:
                break
            place, blueprint = world.get_random_location_from_navigation(), rng.choice(people)
            if place is None or (walker := spawn(blueprint, carla.Transform(place))) is None:
                continue
            if (controller := spawn(mind, carla.Transform(), walker)) is not None:
                stopped.append(controller)
                walking.append((controller, float(blueprint.get_attribute("speed").recommended_values[1])))
        for what, found, wanted in (("vehicles", len(vehicles) - 1, options.vehicles),
                                    ("pedestrians", len(walking), options.pedestrians)):
            if found < wanted:
                print(f"note: {found} of {wanted} {what} found a place", file=sys.stderr)
        world.tick()  # controllers know their pedestrians only after it
        for controller, speed in walking:
            controller.start()
            controller.go_to_location(world.get_random_location_from_navigation())
            controller.set_max_speed(speed)

        world.tick()  # the first images of new cameras may come late
        for _ in range(round(WARM_UP_SECONDS * options.fps / period)):
            step()
        yield step
    finally:
        if actors:
            # The latest first: sensors before the car, controllers before the pedestrians.
            put_back(client, {
                "stop cameras and pedestrians": lambda: [actor.stop() for actor in stopped if actor.is_alive],
                f"destroy {len(actors)} actors; restart the server": lambda: client.apply_batch_sync(
                    [carla.command.DestroyActor(actor.id) for actor in reversed(actors)])})
