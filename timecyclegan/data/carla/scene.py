"""Traffic in a CARLA town, and a car with cameras in it; the blueprints are those of CARLA's catalogue."""
import queue
import random
import sys
from collections.abc import Callable
from typing import Any

from timecyclegan.data.carla.options import CarlaOptions
from timecyclegan.data.carla.server import Server
from timecyclegan.util.errors import UserError, unknown

CAMERAS = {"target": "sensor.camera.rgb", "source": "sensor.camera.semantic_segmentation",
           "flow": "sensor.camera.optical_flow"}
"""The blueprints of the cameras by the folder that their images go to. Flow exists from CARLA 0.9.12 on."""

IMAGE_SECONDS = 20.0
WARM_UP_SECONDS = 2.0  # simulated: cars fall to the ground and start, the exposure adapts
_BEHIND_THE_WINDSCREEN = (1.6, 0.0, 1.7)  # metres to the front, to the right, up, from the middle of the car's floor


class MissedTick(Exception):
    """A camera sent no image of a tick, or one of another tick than the others."""


class Scene:
    """A car with cameras, driven by the traffic manager, among vehicles and pedestrians.

    As a context manager: what it spawned is destroyed at the end, whatever happens.

    Args:
        world, manager: from :meth:`Server.synchronous`.
        seed: of what is spawned where. CARLA itself does not promise to repeat a drive.
        check: called before every tick and whatever is spawned; raises to leave.
    """

    def __init__(self, server: Server, world: Any, manager: Any, options: CarlaOptions, seed: int,
                 check: Callable[[], None]):
        self._server, self._world, self._manager, self._options = server, world, manager, options
        self._random, self._seed, self._check = random.Random(seed), seed, check
        self._actors: list[Any] = []  # all, in the order in which they were spawned
        self._stopped: list[Any] = []  # cameras and controllers, which have to be stopped first
        self._images: dict[str, queue.SimpleQueue] = {}

    def __enter__(self) -> "Scene":
        try:
            self._world.set_pedestrians_seed(self._seed)
            self._manager.set_random_device_seed(self._seed)
            self._library = self._world.get_blueprint_library()
            self._add_cameras(self._add_vehicles())
            self._add_pedestrians()
            self._world.tick()  # the first images of new cameras may come late
            for _ in range(round(WARM_UP_SECONDS * self._options.fps / self._options.period)):
                self.step()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        """Destroy what was spawned, latest first: sensors before the car, controllers before the pedestrians."""
        def stop() -> None:
            for actor in self._stopped:
                if actor.is_alive:
                    actor.stop()

        if self._actors:
            destroy = self._server.carla.command.DestroyActor
            self._server.put_back({
                "stop cameras and pedestrians": stop,
                f"destroy {len(self._actors)} actors; restart the server": lambda: self._server.client.apply_batch_sync(
                    [destroy(actor.id) for actor in reversed(self._actors)]),
            })
        self._actors.clear()

    def step(self) -> dict[str, Any]:
        """Move on to the cameras' next images: ``carla.Image`` by folder, all of the same tick.

        Raises:
            MissedTick: they are not.
        """
        ticks, images = [], {}
        for _ in range(self._options.period):
            self._check()
            ticks.append(self._world.tick())
        for folder, sent in self._images.items():
            try:
                image = sent.get(timeout=IMAGE_SECONDS)
                while image.frame < ticks[0]:  # late ones are of no use
                    image = sent.get(timeout=IMAGE_SECONDS)
            except queue.Empty:
                raise MissedTick(f"{CAMERAS[folder]} sent no image of tick {ticks[-1]}") from None
            images[folder] = image
        if len({image.frame for image in images.values()}) > 1:
            raise MissedTick("the cameras' images are of " + ", ".join(
                f"tick {image.frame} ({CAMERAS[folder]})" for folder, image in images.items()))
        return images

    def _spawn(self, blueprint: Any, place: Any, parent: Any = None) -> Any | None:
        """A new actor, or None where something else stands."""
        self._check()
        actor = self._world.try_spawn_actor(blueprint, place, attach_to=parent)
        if actor is not None:
            self._actors.append(actor)
        return actor

    def _blueprints(self, pattern: str) -> list[Any]:
        return sorted(self._library.filter(pattern), key=lambda blueprint: blueprint.id)

    def _add_vehicles(self) -> Any:
        """Spawn and start the car that films, which is returned, and the others."""
        own, others = self._blueprints(self._options.ego), self._blueprints("vehicle.*")
        if not own:
            raise unknown("--ego", self._options.ego, [blueprint.id for blueprint in others])
        own[0].set_attribute("role_name", "hero")
        places = list(self._world.get_map().get_spawn_points())
        self._random.shuffle(places)
        vehicles: list[Any] = []
        for place in places:
            if len(vehicles) == 1 + self._options.vehicles:
                break
            blueprint = self._random.choice(others) if vehicles else own[0]
            if blueprint.has_attribute("color"):
                blueprint.set_attribute("color", self._random.choice(
                    list(blueprint.get_attribute("color").recommended_values)))
            if (vehicle := self._spawn(blueprint, place)) is not None:
                vehicles.append(vehicle)
        if not vehicles:
            raise UserError("the town has no free place for a car; remove other actors, or choose another --town")
        _say_fewer("vehicles", len(vehicles) - 1, self._options.vehicles)
        for vehicle in vehicles:
            vehicle.set_autopilot(True, self._manager.get_port())
        return vehicles[0]

    def _add_pedestrians(self) -> None:
        """Spawn pedestrians, each with a controller that lets it walk somewhere."""
        carla, wanted = self._server.carla, self._options.pedestrians
        people, mind = self._blueprints("walker.pedestrian.*"), self._library.find("controller.ai.walker")
        walking: list[tuple[Any, float]] = []  # controllers and speeds
        for _ in range(3 * wanted):  # some places are taken
            if len(walking) == wanted:
                break
            place, blueprint = self._world.get_random_location_from_navigation(), self._random.choice(people)
            if place is None or (walker := self._spawn(blueprint, carla.Transform(place))) is None:
                continue
            if (controller := self._spawn(mind, carla.Transform(), walker)) is not None:
                self._stopped.append(controller)
                still_walking_running = blueprint.get_attribute("speed").recommended_values
                walking.append((controller, float(still_walking_running[1])))
        _say_fewer("pedestrians", len(walking), wanted)
        self._world.tick()  # controllers know their pedestrians only after it
        for controller, speed in walking:
            controller.start()
            controller.go_to_location(self._world.get_random_location_from_navigation())
            controller.set_max_speed(speed)

    def _add_cameras(self, car: Any) -> None:
        carla, options = self._server.carla, self._options
        values = {"image_size_x": options.window_width, "image_size_y": options.window_height, "fov": options.fov,
                  "sensor_tick": options.sensor_tick}
        place = carla.Transform(carla.Location(*_BEHIND_THE_WINDSCREEN))
        for folder, kind in CAMERAS.items():
            found = self._blueprints(kind)
            if folder == "flow" and not (found and options.every_tick):
                continue
            if not found:
                raise UserError(f"this CARLA server has no {kind}; use a newer one")
            for name, value in values.items():
                found[0].set_attribute(name, str(value))
            camera = self._spawn(found[0], place, car)
            if camera is None:
                raise UserError(f"this CARLA server could not make a {kind}; restart it")
            self._stopped.append(camera)
            self._images[folder] = queue.SimpleQueue()
            camera.listen(self._images[folder].put)


def _say_fewer(what: str, found: int, wanted: int) -> None:
    if found < wanted:
        print(f"note: {found} of {wanted} {what} found a place", file=sys.stderr)
