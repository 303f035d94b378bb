"""A stand-in for the ``carla`` package: a street that moves past the camera, and a record of every call.

What it lacks cannot be called, and its public names are checked against the real package's.
"""
import copy
import functools
import types

import numpy as np

MOTION = (2, 1)  # pixels to the right and down that everything in the picture moves per tick
CLASSES = (1, 14, 9)  # ids of road, car and vegetation from CARLA 0.9.14 on


def recorded(kind):
    """Let every public method report to the simulator, which may make it fail."""
    for name, method in list(vars(kind).items()):
        if isinstance(method, types.FunctionType) and not name.startswith("_"):
            setattr(kind, name, _reporting(kind, name, method))
    return kind


def _reporting(kind, name, method):
    @functools.wraps(method)
    def report(self, *args, **kwargs):
        self._simulator._report(f"{kind.__name__}.{name}")
        result = method(self, *args, **kwargs)
        self._simulator._things.append(result)
        return result

    return report


class Simulator:
    """The server's state; its own names are not CARLA's."""

    def __init__(self, version="0.9.16", without=(), fail=lambda number, name: False, start=7):
        self._version, self._without, self._fail = version, without, fail
        self._calls, self._things, self._alive, self._ids = [], [], {}, 100
        self._settings = WorldSettings(self)
        self._frame, self._town = start, "Carla/Maps/Town01"
        self._manager, self._lost, self._late, self._at_tick = TrafficManager(self), set(), set(), lambda frame: None

    def _report(self, name):
        self._calls.append(name)
        if self._fail(len(self._calls), name):
            raise RuntimeError(f"time-out in {name}\nof the simulator")

    def _package(self):
        package = types.ModuleType("carla")
        package.Client = functools.partial(_client, self)
        package.Location, package.Transform = Location, Transform
        package.command = types.SimpleNamespace(DestroyActor=lambda actor: actor)
        return package

    def _cameras(self):
        return [actor for actor in self._alive.values() if isinstance(actor, Sensor) and actor._callback]


def _client(simulator, host, port):
    simulator._things.append(client := Client(simulator))
    return client


class Thing:
    def __init__(self, simulator):
        self._simulator = simulator


class Location:
    def __init__(self, x=0.0, y=0.0, z=0.0):
        self.x, self.y, self.z = x, y, z


class Transform:
    def __init__(self, location=None):
        self.location = location or Location()


class WorldSettings(Thing):
    def __init__(self, simulator):
        super().__init__(simulator)
        self.synchronous_mode, self.fixed_delta_seconds, self.no_rendering_mode = False, None, True


@recorded
class Client(Thing):
    def set_timeout(self, seconds):
        pass

    def get_server_version(self):
        return self._simulator._version

    def get_available_maps(self):
        return ["/Game/Carla/Maps/Town01", "/Game/Carla/Maps/Town03"]

    def get_world(self):
        return World(self._simulator)

    def load_world(self, map_name):
        self._simulator._town = f"Carla/Maps/{map_name}"
        self._simulator._alive.clear()
        self._simulator._settings = WorldSettings(self._simulator)
        self._simulator._settings.no_rendering_mode = False  # the defaults, not what was found
        return World(self._simulator)

    def get_trafficmanager(self, port):
        return self._simulator._manager

    def apply_batch_sync(self, commands):
        for actor in commands:
            self._simulator._alive.pop(actor, None)
        return []


@recorded
class World(Thing):
    def get_settings(self):
        return copy.copy(self._simulator._settings)

    def apply_settings(self, settings):
        self._simulator._settings = copy.copy(settings)
        return self._simulator._frame

    def get_map(self):
        return Map(self._simulator)

    def get_blueprint_library(self):
        return BlueprintLibrary(self._simulator)

    def set_pedestrians_seed(self, seed):
        pass

    def get_random_location_from_navigation(self):
        return Location()

    def try_spawn_actor(self, blueprint, transform, attach_to=None):
        simulator = self._simulator
        kinds = {"vehicle": Vehicle, "walker": Walker, "controller": WalkerAIController, "sensor": Sensor}
        simulator._ids += 1
        if simulator._ids % 5 == 4 and blueprint.id.startswith("vehicle"):  # something stands there
            return None
        actor = simulator._alive[simulator._ids] = kinds[blueprint.id.split(".")[0]](simulator, blueprint)
        return actor

    def tick(self):
        simulator = self._simulator
        assert simulator._settings.synchronous_mode
        simulator._frame += 1
        simulator._at_tick(simulator._frame)
        for camera in simulator._cameras():
            if camera._due(simulator) and (camera.type_id, simulator._frame) not in simulator._lost:
                late = (camera.type_id, simulator._frame) in simulator._late
                camera._callback(picture(camera, simulator._frame, simulator._frame + 1 if late else simulator._frame))
        return simulator._frame


@recorded
class Map(Thing):
    @property
    def name(self):
        return self._simulator._town

    def get_spawn_points(self):
        return [Transform() for _ in range(6)]


@recorded
class TrafficManager(Thing):
    _synchronous = False

    def set_synchronous_mode(self, mode):
        self._synchronous = mode

    def set_random_device_seed(self, seed):
        pass

    def get_port(self):
        return 8000


@recorded
class BlueprintLibrary(Thing):
    _ids = ("vehicle.tesla.model3", "vehicle.audi.tt", "walker.pedestrian.0001", "controller.ai.walker",
            "sensor.camera.rgb", "sensor.camera.semantic_segmentation", "sensor.camera.optical_flow")

    def filter(self, pattern):
        return [ActorBlueprint(self._simulator, name) for name in self._ids
                if name.startswith(pattern.rstrip("*")) and name not in self._simulator._without]

    def find(self, name):
        return self.filter(name)[0]


@recorded
class ActorBlueprint(Thing):
    def __init__(self, simulator, name):
        super().__init__(simulator)
        self.id, self._values = name, {}

    def has_attribute(self, name):
        return name == "color" and self.id.startswith("vehicle")

    def get_attribute(self, name):
        return ActorAttribute(self._simulator, ["0", "1.4", "2.8"] if name == "speed" else ["255,0,0", "0,0,255"])

    def set_attribute(self, name, value):
        assert isinstance(value, str)  # Boost converts nothing
        self._values[name] = value


class ActorAttribute(Thing):
    def __init__(self, simulator, values):
        super().__init__(simulator)
        self.recommended_values = values


class Actor(Thing):
    def __init__(self, simulator, blueprint):
        super().__init__(simulator)
        self.id, self.type_id, self._values = simulator._ids, blueprint.id, blueprint._values

    @property
    def is_alive(self):
        return self.id in self._simulator._alive


@recorded
class Vehicle(Actor):
    def set_autopilot(self, enabled, port):
        assert enabled and port == 8000


class Walker(Actor):
    pass


@recorded
class WalkerAIController(Actor):
    def start(self):
        pass

    def go_to_location(self, destination):
        assert isinstance(destination, Location)

    def set_max_speed(self, speed):
        assert speed == 1.4

    def stop(self):
        if not self.is_alive:
            raise RuntimeError("trying to operate on a destroyed actor")


@recorded
class Sensor(Actor):
    _callback, _born = None, 0

    def listen(self, callback):
        self._callback, self._born = callback, self._simulator._frame

    def _due(self, simulator):
        ticks = round(float(self._values["sensor_tick"]) / simulator._settings.fixed_delta_seconds)
        return (simulator._frame - self._born) % max(1, ticks) == 0

    def stop(self):
        self._callback = None


class Image(Thing):
    def __init__(self, simulator, frame, raw):
        super().__init__(simulator)
        self.height, self.width = raw.shape[:2]
        self.frame, self.raw_data = frame, memoryview(raw.tobytes())


class OpticalFlowImage(Image):
    pass


def street(frame, height, width):
    """The picture of a tick, uint8 (H, W, 3), and its class ids (H, W): both say which tick it is."""
    y, x = np.mgrid[:height, :width]
    across, down = x - MOTION[0] * frame, y - MOTION[1] * frame
    wave = np.stack([np.sin(across / 3), np.cos(down / 2), np.sin((across + down) / 4)], axis=-1)
    return np.rint(127 + 120 * wave).astype(np.uint8), np.array(CLASSES, np.uint8)[(across // 8 + down // 8) % 3]


def picture(camera, frame, label):
    """What a camera sends of tick ``frame`` and calls ``label``."""
    height, width = int(camera._values["image_size_y"]), int(camera._values["image_size_x"])
    colours, ids = street(frame, height, width)
    if camera.type_id.endswith("optical_flow"):  # what moved to the right and down since the last tick; y is upwards
        motion = np.array([MOTION[0] / (width / 2), -MOTION[1] / (height / 2)], np.float32)
        return OpticalFlowImage(camera._simulator, label, np.broadcast_to(motion, (height, width, 2)))
    raw = np.full((height, width, 4), 255, np.uint8)  # BGRA
    raw[..., :3] = colours[..., ::-1] if camera.type_id.endswith("rgb") else np.stack([0 * ids, 0 * ids, ids], axis=-1)
    return Image(camera._simulator, label, raw)
