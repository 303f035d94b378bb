"""A connection to a CARLA server: its world moves tick by tick for a while, then is as it was.

The calls are those of the package ``carla`` 0.9.16.
"""
import contextlib
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

from timecyclegan.util.errors import UserError
from timecyclegan.util.signals import signals

CONNECT_SECONDS = 5.0  # an idle server answers at once
CALL_SECONDS = 60.0  # loading a town takes long
RESTORE_SECONDS = 10.0  # per call; a server that died must not hold us up for long


class Server:
    """A connection to a server: ``carla`` (the package), ``client``, ``version``.

    Raises:
        UserError: the package is not installed, or nothing answers.
    """

    def __init__(self, host: str, port: int):
        try:
            import carla
        except ImportError as error:
            raise UserError("recording needs CARLA's Python package: pip install carla, in the version of your "
                            f"server ({error})") from error
        self.carla: types.ModuleType = carla
        try:
            self.client = carla.Client(host, port)  # raises for a name that is no machine
            self.client.set_timeout(CONNECT_SECONDS)
            self.version: str = self.client.get_server_version()
            self.client.set_timeout(CALL_SECONDS)
        except RuntimeError as error:
            raise UserError(f"no CARLA server answers at {host}:{port} ({_line(error)}); start one (CarlaUE4.sh), or "
                            "say where it is with --host and --port") from error

    def towns(self) -> list[str]:
        """The names of the maps that the server can load."""
        return sorted({path.rsplit("/", 1)[-1] for path in self.client.get_available_maps()})

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """What the package raises inside the block, about a server that hangs or died, as an error of the user's."""
        try:
            yield
        except RuntimeError as error:
            if type(error) is not RuntimeError:  # one of Python's or ours
                raise
            raise UserError(f"the CARLA server failed: {_line(error)}") from error

    @contextlib.contextmanager
    def synchronous(self, town: str, fps: int, tm_port: int) -> Iterator[tuple[Any, Any]]:
        """Let the world move only by ``tick()``, by 1 / ``fps`` s each; yields it and its traffic manager.

        At the end the settings are those that were found. A ``town`` that had to be loaded stays.
        """
        world = self.client.get_world()
        found = world.get_settings()
        manager = None
        try:
            if town and town != world.get_map().name.rsplit("/", 1)[-1]:
                world = self.client.load_world(town)
            settings = world.get_settings()
            settings.synchronous_mode, settings.fixed_delta_seconds = True, 1 / fps
            settings.no_rendering_mode = False
            world.apply_settings(settings)
            manager = self.client.get_trafficmanager(tm_port)
            manager.set_synchronous_mode(True)
            yield world, manager
        finally:
            with self.restoring():
                if manager is not None:
                    try_twice(lambda: manager.set_synchronous_mode(False), "release the traffic manager")
                try_twice(lambda: world.apply_settings(found), "restore the world's settings; restart the server")

    @contextlib.contextmanager
    def restoring(self) -> Iterator[None]:
        """Inside the block nothing waits for long, and a signal is heard only if it is repeated."""
        with signals(lambda number: None):
            try_twice(lambda: self.client.set_timeout(RESTORE_SECONDS), "shorten the time-out")
            yield
            try_twice(lambda: self.client.set_timeout(CALL_SECONDS), "lengthen the time-out")


def try_twice(call: Callable[[], Any], what: str) -> None:
    """A call that puts something back: a failure is said, and the next thing is put back all the same."""
    for attempt in (1, 2):
        try:
            call()
            return
        except RuntimeError as error:
            if attempt == 2:
                print(f"warning: could not {what} ({_line(error)})", file=sys.stderr)


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
