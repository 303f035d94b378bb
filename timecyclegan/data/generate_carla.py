"""Record videos, semantic maps and optical flow from a CARLA server.

A car on autopilot drives among vehicles and pedestrians. OUT/target/<run>/<frame>.png is what its camera sees,
OUT/source/<run>/<frame>.png the classes of the same tick in Cityscapes' colours; training takes the two folders. From
CARLA 0.9.12 on OUT/flow/<run>/<frame>.npz is the motion into each frame but the first, as generate_synthetic writes it;
what was visible in the frame before is judged by the classes, and each run's flow is tried against its frames.

A run appears in OUT when it is whole; a second call goes on with the next one. A run in which a camera missed a tick is
thrown away and recorded again. At the end the server has its old settings and none of our actors, after errors, Ctrl-C
and SIGTERM too. The carla package has to be installed (pip install carla, in the server's version).
"""
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from timecyclegan.data import CommandParser
from timecyclegan.data.carla.images import READINGS, bgra, flow_back, reading_errors, visible
from timecyclegan.data.carla.scene import CAMERAS, CarlaOptions, MissedTick, connect, scene, server_errors, synchronous
from timecyclegan.datasets.labels import Label, carla_labels, ids_to_colours, in_cityscapes
from timecyclegan.flow.pictures import write_npz
from timecyclegan.util.errors import UserError, command, unknown
from timecyclegan.util.signals import signals
from timecyclegan.video.frames import few, write_image

ATTEMPTS = 3  # how often a run is tried in which a camera misses a tick
_LAST = "target"  # a run is whole when its folder here is there
_PARTIAL = ".partial"


def generate(options: CarlaOptions) -> None:
    """Record the runs that ``options.output_dir`` lacks, as described above.

    Raises:
        UserError: the carla package is missing, no server answers or it fails, the town or car does not exist, a run
            missed ticks too often, or the folder cannot be written to.
    """
    out = Path(options.output_dir)
    asked: list[int] = []  # signals
    runs = [run for run in (f"{number:03d}" for number in range(options.num_runs))
            if options.overwrite or not (out / _LAST / run).is_dir()]
    if not runs:
        print(f"{out} holds {options.num_runs} runs already; raise --num_runs for more, or pass --overwrite")
        return
    carla, client, version = connect(options.host, options.port)
    try:
        labels = in_cityscapes(carla_labels(options.label_set or version))
    except UserError as error:
        raise UserError(f"{error}; say whose classes the server has with --label_set, such as 0.9.15") from error
    with server_errors():
        towns = sorted({path.rsplit("/", 1)[-1] for path in client.get_available_maps()})
    if options.town and options.town not in towns:
        raise unknown("--town", options.town, towns)
    if options.dry_run:
        print(f"CARLA {version} at {options.host}:{options.port} with {len(labels)} classes; would record "
              f"{options.num_frames} frames each for {few(runs)} in {out}")
        return

    try:
        (out / _PARTIAL).mkdir(parents=True, exist_ok=True)
        with (signals(asked.append), server_errors(),
              synchronous(client, options.town, options.fps, options.tm_port) as (world, manager),
              tqdm(total=len(runs) * options.num_frames, unit="frame", disable=None) as progress):
            for run in runs:
                for attempt in range(1, ATTEMPTS + 1):
                    start = progress.n
                    shutil.rmtree(out / _PARTIAL, ignore_errors=True)  # also what a run that was killed left
                    try:
                        with scene(carla, client, world, manager, options, options.seed + int(run), asked) as step:
                            _record(step, out / _PARTIAL, run, labels, options, progress)
                        break
                    except MissedTick as error:
                        progress.update(start - progress.n)
                        found = f"run {run} missed a tick: {error}"
                        if attempt == ATTEMPTS:
                            raise UserError(f"{found}; thrown away {ATTEMPTS} times: is the server overloaded? Try "
                                            "smaller pictures or fewer vehicles") from error
                        progress.write(f"note: {found}; recorded again", file=sys.stderr)
                _move_in(out, run)
    except OSError as error:
        raise UserError(f"cannot write {error.filename or out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(out / _PARTIAL, ignore_errors=True)


def _record(step: Callable[[], dict[str, Any]], folder: Path, run: str, labels: tuple[Label, ...],
            options: CarlaOptions, progress: tqdm) -> None:
    """Write a run below ``folder``."""
    earlier, errors = None, np.zeros(len(READINGS))
    for t in range(options.num_frames):
        for _ in range(options.time_inter):
            images = step()
        picture = np.ascontiguousarray(bgra(images["target"])[..., 2::-1])
        classes = ids_to_colours(bgra(images["source"])[..., 2], labels, "CARLA's semantic image")
        write_image(folder / "target" / run / f"{t:05d}.png", picture)
        write_image(folder / "source" / run / f"{t:05d}.png", classes)
        if "flow" in images and earlier is not None:
            flow = flow_back(images["flow"], options.flow_scale)
            write_npz(folder / "flow" / run / f"{t:05d}.npz", flow, visible(flow, earlier[1], classes))
            errors += reading_errors(flow, earlier[0], picture)
        earlier = picture, classes
        progress.update()
    if errors.min() < 0.8 * errors[0]:
        scale = " ".join(f"{factor * old:g}"
                         for factor, old in zip(READINGS[errors.argmin()], options.flow_scale, strict=True))
        print(f"warning: the flow of run {run} does not fit its frames; record it again with --flow_scale {scale} "
              "--overwrite", file=sys.stderr)


def _move_in(out: Path, run: str) -> None:
    """Move a whole run to its place. The folder in ``_LAST``, by which it counts as whole, goes first, comes last."""
    folders = sorted(CAMERAS, key=lambda folder: folder == _LAST)
    for folder in reversed(folders):
        if (out / folder / run).exists():
            os.replace(out / folder / run, out / _PARTIAL / f"old-{folder}")
    for folder in folders:
        if (out / _PARTIAL / folder / run).exists():
            (out / folder).mkdir(exist_ok=True)
            os.replace(out / _PARTIAL / folder / run, out / folder / run)


@command
def main(arguments: list[str] | None = None) -> None:
    generate(**CommandParser("generate_carla", __doc__, CarlaOptions).parse(arguments))


if __name__ == "__main__":
    sys.exit(main())
