"""What fits into this machine's memory: the longest clip, the largest pictures, the largest batch. An estimate."""
import bisect
import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from timecyclegan.models import calculate_block_size, check
from timecyclegan.training.memory import footprint
from timecyclegan.util.device import free_memory
from timecyclegan.util.errors import UserError
from timecyclegan.util.options import Options

# Of the free memory, what a step's tensors may not fill: workspace of convolutions, what the allocator rounds up to and
# keeps in reserve, and what a count on the meta device does not see.
MARGIN = 0.2
LIBRARIES = 2**28  # bytes that libraries take besides, however small the step: measured on the CPU, 0.2 GB
FRAMES, SIDE, CLIPS = 64, 4096, 1024  # beyond which nothing is looked for
COUNTED = 32  # frames of the longest clip that is counted: a count takes time with every frame
CLOSE = 0.05  # of a size: a count so near to another one says no more
COUNTS = 3  # after the first one, of clips, of pictures, and of batches
MATTERS = 0.95  # of the memory: a switch that leaves more of it is not worth a line
SWITCHES = "checkpointing", "bptt", "max_return", "accumulate", "amp"  # that change what a step needs


def room(device: torch.device) -> int:
    """Bytes that the tensors of a step may fill on ``device``: what is free or this process's already (of a GPU), or
    what this process may still take of the memory, less :data:`LIBRARIES` and the :data:`MARGIN`."""
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    else:
        free = free_memory()
    return int(max(free - LIBRARIES, 0) * (1 - MARGIN))


class Forecast:
    """What fits into ``limit`` bytes with ``options``, each of three sizes with the other two as they are.

    A step is counted (``training.memory``) with the options as they are and at a few more sizes, near the answer; what
    lies between them follows a parabola through the nearest counts. Growth counts at its end, the full size.
    """

    def __init__(self, options: Options, limit: int):
        self.limit = limit
        self.options = dataclasses.replace(options, block_size=calculate_block_size(options), spatial_scaling=(1.0,),
                                           temporal_scaling=(1.0,))  # fmt: skip
        self.memory, _, self.kept = footprint(self.options)

    def clip(self) -> int | None:
        """Frames of the longest clip, at most :data:`FRAMES` unless more are given; None where none fits."""
        frames = [n for n in range(1, max(FRAMES, self.options.block_size) + 1) if self._goes(block_size=n)]
        return self._largest(frames, lambda n: n, lambda n: {"block_size": n}, self.options.block_size,
                             most=max(COUNTED, self.options.block_size))  # fmt: skip

    def size(self) -> tuple[int, int] | None:
        """Height and width of the largest pictures of this shape, sides of at most :data:`SIDE`, that all networks
        take; None where none fits. Multiples of 4, as growing has them, so that nothing is padded."""
        given = self.options.image_height, self.options.image_width

        def sides(size: tuple[int, int]) -> dict[str, int]:
            return {"image_height": size[0], "image_width": size[1]}

        found = {tuple(4 * math.floor(side * larger / max(given) / 4 + 0.5) for side in given)
                 for larger in range(4, SIDE + 1, 4)} | {given}  # fmt: skip
        sizes = sorted((size for size in found if min(size) and self._goes(**sides(size))), key=math.prod)
        return self._largest(sizes, math.prod, sides, given)

    def batch(self) -> int | None:
        """Clips of the largest batch, at most :data:`CLIPS` unless more are given; None where not even one fits."""
        batches, given = range(1, max(CLIPS, self.options.batch_size) + 1), self.options.batch_size
        return self._largest(batches, lambda n: n, lambda n: {"batch_size": n}, given)

    def found(self) -> tuple[str, bool]:
        """What fits, as flags, and whether memory is what ends it, of any of the three."""
        clip, size, batch = self.clip(), self.size(), self.batch()
        flags = [
            "no clip" if clip is None else f"--block_size {clip}",
            "no size" if size is None else f"--image_height {size[0]} --image_width {size[1]}",
            "no --batch_size" if batch is None else f"--batch_size {batch}",
        ]  # fmt: skip
        ends = [(clip or 0) >= FRAMES, max(size or (0,)) >= SIDE, (batch or 0) >= CLIPS]
        flags = [f"{flag} or more" if end else flag for flag, end in zip(flags, ends, strict=True)]
        return "; ".join(flags), not all(ends)

    def _goes(self, **changes: int) -> bool:
        """Whether a model takes it."""
        try:
            check(dataclasses.replace(self.options, **changes))
        except UserError:
            return False
        return True

    def _largest(
        self, values: Sequence, measure: Callable, changes: Callable, given: Any, most: float = math.inf
    ) -> Any:
        """The largest of ``values`` that fits, None where none does.

        Args:
            values: in the order of their ``measure``, a number that grows as the memory does, or its root.
            changes: from a value to options.
            given: the value of the options.
            most: the measure beyond which nothing is counted.
        """
        known = {0: self.kept, measure(given): self.memory}
        found = None
        for counts in range(COUNTS + 1):
            place = bisect.bisect_right(values, self.limit, key=lambda value: _parabola(known, measure(value)))
            found = values[place - 1] if place else None
            near = found if place else values[0]
            if measure(near) > most:
                near = max((value for value in values if measure(value) <= most), key=measure)
            if counts == COUNTS or min(abs(measure(near) - place) for place in known) < CLOSE * measure(near):
                return found
            known[measure(near)] = footprint(dataclasses.replace(self.options, **changes(near))).memory


def _parabola(known: dict[float, int], x: float) -> float:
    """What lies at ``x`` between the ``known`` points, or behind them: on the parabola through the three nearest, where
    that goes up at its right end as memory does; else on the line through the two nearest."""
    nearest = sorted(sorted(known, key=lambda place: abs(place - x))[:3])
    slopes = [(known[b] - known[a]) / (b - a) for a, b in itertools.pairwise(nearest)]
    bend = (slopes[1] - slopes[0]) / (nearest[2] - nearest[0]) if len(slopes) > 1 else 0.0
    if bend <= 0:
        (a, b), slope = (nearest[-2:], slopes[-1]) if x > nearest[-2] else (nearest[:2], slopes[0])
        return known[a] + slope * (x - a)
    a, b = nearest[:2]
    return known[a] + slopes[0] * (x - a) + bend * (x - a) * (x - b)


def forecast_lines(options: Options, device: torch.device) -> Iterator[str]:
    """What is to be said of what fits on ``device``: a line, and another one where ``--checkpointing`` is off and would
    help. Takes seconds; nothing is computed."""
    limit = room(device)
    plain = Forecast(options, limit)
    found, ended = plain.found()
    on = [f"--{name}" if value is True else f"--{name} {value}" for name, value in vars(options).items()
          if name in SWITCHES and value != getattr(Options(), name)]  # fmt: skip
    given = f" with {' '.join(on)}" if on else ""
    yield (f"an estimate of what fits{given} in {limit / 1e9:.2f} GB (a good part of the free memory is left for "
           f"workspace), each with the others as given: {found}; this step: {plain.memory / 1e9:.2g} GB")
    if ended and not options.checkpointing:
        light = Forecast(dataclasses.replace(options, checkpointing=True), limit)
        if light.memory < MATTERS * plain.memory:
            yield f"with --checkpointing: {light.found()[0]}; this step: {light.memory / 1e9:.2g} GB"
