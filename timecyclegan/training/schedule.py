"""Where a training run stands, and what the learning rate is there."""
from dataclasses import dataclass

from timecyclegan.util.options import Options


@dataclass
class Position:
    """What comes next: this batch of this epoch of this stage. ``step`` counts the steps that are done."""

    stage: int = 0
    epoch: int = 0
    batch: int = 0
    step: int = 0


def learning_rate(options: Options, epoch: int) -> float:
    """Constant for the first half of the epochs, then linearly to 0, which it reaches when the last one ends."""
    constant = (options.num_epochs + 1) // 2
    steps = options.num_epochs - constant + 1
    return options.learning_rate * min(1.0, (options.num_epochs - epoch) / steps)
