"""What TecoGAN (Chu et al. 2020) leaves out where it measures: the border of the frames, the ends of the clips."""
import copy
from typing import ClassVar

from timecyclegan.evaluation.metric import Metric, Result, Sample

MULTIPLE, MARGIN = 32, 8  # pixels
SMALLEST = MULTIPLE + 2 * MARGIN
CUT = 2  # frames

Crop = tuple[slice, slice]


def tecogan_crop(height: int, width: int) -> Crop | None:
    """The rows and columns that count: the largest multiples of 32 that leave 8 pixels or more on each side, centred.

    None where a side is shorter than 48 pixels, for then nothing is left.
    """
    rows, columns = (_inner(size) for size in (height, width))
    return (rows, columns) if rows and columns else None


def _inner(size: int) -> slice | None:
    kept = (size - 2 * MARGIN) // MULTIPLE * MULTIPLE
    start = (size - kept) // 2
    return slice(start, start + kept) if kept > 0 else None


class WithoutEnds(Metric):
    """A metric over pairs that leaves out those with one of the first or last ``cut`` frames of a sequence."""
    cut: ClassVar[int] = CUT
    undefined = (f"the first and last {CUT} frames of a sequence do not count, nor do frames with a side below "
                 f"{SMALLEST} pixels")

    def result(self) -> Result:
        """The averages of the rest; what is left out counts as skipped."""
        rest = copy.copy(self)
        rest._sequences = {name: self._inner(samples) for name, samples in self._sequences.items()}
        return super(WithoutEnds, rest).result()

    def _inner(self, samples: list[Sample | None]) -> list[Sample | None]:
        last = len(samples) - 1 - self.cut
        return [sample if sample is None or self.cut < t <= last else Sample(None)
                for t, sample in enumerate(samples)]
