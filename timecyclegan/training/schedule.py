"""The course of a run: its growth stages, the position in them, and the learning rate there."""
import dataclasses
import math
from typing import Any

from timecyclegan.models import calculate_block_size
from timecyclegan.util.errors import UserError
from timecyclegan.util.options import Options


@dataclasses.dataclass
class Position:
    """What comes next: this batch of this epoch of this stage. ``step`` counts the steps that are done, ``earlier`` the
    epochs of the stages that are done."""

    stage: int = 0
    epoch: int = 0
    batch: int = 0
    step: int = 0
    earlier: int = 0

    @classmethod
    def saved(cls, checkpoint: dict[str, Any]) -> "Position":
        """That of a checkpoint; older ones, whose stages all had as many epochs, did not write ``earlier``."""
        position = checkpoint["position"]
        return cls(**{"earlier": position["stage"] * checkpoint["options"]["num_epochs"], **position})


def learning_rate(options: Options, epoch: int) -> float:
    """Constant for the first half of the epochs, then linearly to 0, which it reaches when the last one ends."""
    constant = (options.num_epochs + 1) // 2
    steps = options.num_epochs - constant + 1
    return options.learning_rate * min(1.0, (options.num_epochs - epoch) / steps)


def check_growth(options: Options) -> None:
    """Refuse growing that ends before the full size: what testing generates would never have been trained.

    Raises:
        UserError: the last one of ``--spatial_scaling`` or ``--temporal_scaling`` is not 1.
    """
    for flag, full in (("spatial_scaling", "--image_height and --image_width"), ("temporal_scaling", "--block_size")):
        scales = getattr(options, flag)
        grown = flag == "spatial_scaling" and len(options.temporal_scaling) > 1  # growing in time is done at full size
        if scales[-1] != 1 and not grown:
            given = " ".join(f"{scale:g}" for scale in scales)
            raise UserError(f"--{flag} {given} ends at {scales[-1]:g} of {full}, but testing is at all of it: let it "
                            f"end with 1 (--{flag} {given} 1), or give a smaller {full}")  # fmt: skip


def rate_note(epochs_before: int, options: Options, position: Position) -> str:
    """How the learning rate moves in a run that was begun with other ``--num_epochs``; empty if nothing is left."""
    if options.num_epochs == epochs_before or position.epoch >= options.num_epochs:
        return ""
    last = learning_rate(dataclasses.replace(options, num_epochs=epochs_before),
                         position.epoch if position.batch else max(0, position.epoch - 1))
    now, constant = learning_rate(options, position.epoch), (options.num_epochs + 1) // 2
    stays = f", stays there until epoch {constant} ends" * (position.epoch < constant)
    return (f"--num_epochs {options.num_epochs} instead of {epochs_before}: the learning rate was {last:.3g} and goes "
            f"on at {now:.3g}{stays}, and falls linearly to 0, which it reaches when epoch {options.num_epochs} ends")


def growth_stages(options: Options) -> list[Options]:
    """The options of each stage of progressive growing: first in space on short clips, then in time at full size.

    All of ``--spatial_scaling`` runs at the first of ``--temporal_scaling``, then the rest of that at full size. Sizes
    below the full one are rounded to multiples of 4, so that no stage pads; with ``--grow_batch`` the batch grows by
    2**ceil(log2(1 / temporal scale)), so that short clips fill the memory that long ones will need. Without growing
    there is one stage.
    """

    def size(full: int, scale: float) -> int:
        return full if scale == 1 or not full else max(4, 4 * math.floor(full * scale / 4 + 0.5))

    sizes = "image_height", "image_width", "load_height", "load_width"
    first, *later = options.temporal_scaling
    return [
        dataclasses.replace(
            options,
            **{name: size(getattr(options, name), space) for name in sizes},
            block_size=max(1, round(calculate_block_size(options) * time)),
            batch_size=options.batch_size * (2 ** math.ceil(math.log2(1 / time)) if options.grow_batch else 1),
        )
        for space, time in [*((scale, first) for scale in options.spatial_scaling), *((1.0, scale) for scale in later)]
    ]


def describe(stage: Options) -> str:
    """One line for the user."""
    return (
        f"{stage.image_height}x{stage.image_width} pixels, clips of {stage.block_size} frames, batches of "
        f"{stage.batch_size}"
    )
