"""Progressive growing: first in space on short clips, then in time at full size (``--spatial_scaling`` and
``--temporal_scaling``), one training stage after the other."""
import dataclasses
import math

from timecyclegan.models import calculate_block_size
from timecyclegan.util.options import Options


def growth_stages(options: Options) -> list[Options]:
    """The options of each stage: picture and load size, block size and batch size scaled.

    All spatial steps run at the first temporal one, then the temporal ones at full size. Sizes below the full one
    are rounded to multiples of 4, so that no stage pads; the batch grows by 2**ceil(log2(1 / temporal scale)), so
    that short clips fill the memory that long ones will need. Without growing there is one stage.
    """
    space, time = options.spatial_scaling, options.temporal_scaling
    steps = [(scale, time[0]) for scale in space] + [(1.0, scale) for scale in time[1:]]
    return [_scaled(options, *step) for step in steps]


def _scaled(options: Options, space: float, time: float) -> Options:
    def size(full: int) -> int:
        return full if space == 1 or not full else max(4, 4 * math.floor(full * space / 4 + 0.5))

    return dataclasses.replace(
        options,
        image_height=size(options.image_height),
        image_width=size(options.image_width),
        load_height=size(options.load_height),
        load_width=size(options.load_width),
        block_size=max(1, round(calculate_block_size(options) * time)),
        batch_size=options.batch_size * 2 ** math.ceil(math.log2(1 / time)),
    )


def describe(stage: Options) -> str:
    """One line for the user."""
    return (
        f"{stage.image_height}x{stage.image_width} pixels, clips of {stage.block_size} frames, batches of "
        f"{stage.batch_size}"
    )
