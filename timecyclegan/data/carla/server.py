"""A connection to a CARLA server, whose world moves tick by tick for a while and then is as it was.

The calls, here and in ``scene``, are those of the package ``carla`` 0.9.16.
"""
import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from timecyclegan.util.errors import UserError
from timecyclegan.util.signals import signals

CONNECT_SECONDS = 5.0  # an idle server answers at once
CALL_SECONDS = 60.0  # loading a town takes long
RESTORE_SECONDS = 10.0  # per call; a server that died must not hold us up for long


def connect(host: str, port: int) -> tuple[Any, Any, str]:
    """The package ``carla``, a client, and the server's version.

    Raises:
        UserError: the package is not installed, or nothing answers.
    """
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
    """Make calls that put back what their keys name; one that fails twice is said, and the others follow.

    None waits for long, and a signal is heard only if it is repeated.
    """
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
