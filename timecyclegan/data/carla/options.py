"""The options of ``generate_carla``."""
import dataclasses

from timecyclegan.data import CommandOptions, between
from timecyclegan.util.errors import UserError
from timecyclegan.util.options import NON_NEGATIVE, option


@dataclasses.dataclass(frozen=True)
class CarlaOptions(CommandOptions):
    """What is recorded, and where the server is."""

    output_dir: str = option("carla", None, "folder in which source, target and flow are made")
    num_runs: int = option(1, None, "sequences that the folder shall hold; those that are there stay",
                           between(1, 1000))
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

    @property
    def period(self) -> int:
        """Ticks between two images of a camera."""
        return max(1, round(self.sensor_tick * self.fps))

    @property
    def every_tick(self) -> bool:
        """Whether each tick is recorded: CARLA's flow goes back by one."""
        return self.period == self.time_inter == 1
