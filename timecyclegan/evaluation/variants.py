"""Metrics as others define them, asked for by name beside our own, whose values are on other scales.

They are for comparing with published numbers; none is computed unless asked for.
"""
import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from timecyclegan.evaluation.base import PER_PAIR, Metric, Sample, Settings, Step, Value, View
from timecyclegan.evaluation.compute_ewarp import EWarp
from timecyclegan.evaluation.compute_tof import flow_distance
from timecyclegan.evaluation.features.alexnet import PerceptualView
from timecyclegan.evaluation.flow import Warp, cancel, destinations, estimator, squared_norm
from timecyclegan.flow.opencv import farneback

FLOWNET2 = "flownet2"
MULTIPLE, MARGIN = 32, 8  # pixels
SMALLEST = MULTIPLE + 2 * MARGIN
CUT = 2  # frames


def tecogan_crop(height: int, width: int) -> tuple[slice, slice] | None:
    """The rows and columns that TecoGAN (Chu et al. 2020) looks at where it measures.

    They are the largest multiples of 32 that leave 8 pixels or more on each side, centred; None where a side is shorter
    than 48 pixels, for then nothing is left.
    """
    if min(height, width) < SMALLEST:
        return None
    kept = [(size - 2 * MARGIN) // MULTIPLE * MULTIPLE for size in (height, width)]
    starts = [(height - kept[0]) // 2, (width - kept[1]) // 2]
    return slice(starts[0], starts[0] + kept[0]), slice(starts[1], starts[1] + kept[1])


class CroppedPerceptualView(PerceptualView):
    """The perceptual distances of the part of the frames that TecoGAN looks at."""
    looks_at = "TecoGAN's crop"

    def part(self, image: np.ndarray) -> np.ndarray | None:
        crop = tecogan_crop(*image.shape[:2])
        return None if crop is None else image[crop]


class WithoutEnds(Metric):
    """A metric over pairs that leaves out those with one of the first or last ``cut`` frames of a sequence."""
    cut: ClassVar[int] = CUT
    over, same_motion, by_default = PER_PAIR, True, ()
    undefined = (f"the first and last {CUT} frames of a sequence do not count, nor do frames with a side below "
                 f"{SMALLEST} pixels")

    def result(self) -> Value:
        """The averages of the rest; what is left out counts as skipped."""
        rest = copy.copy(self)
        rest._sequences = {
            name: [sample if sample is None or self.cut < t < len(samples) - self.cut else Sample(None)
                   for t, sample in enumerate(samples)] for name, samples in self._sequences.items()}
        return super(WithoutEnds, rest).result()


class TOFTecoGAN(WithoutEnds):
    """tOF as TecoGAN measures it: Farneback's flow of whole frames, cropped, without the ends of the clips."""
    name, title, definition = "tof-tecogan", "tOF (TecoGAN)", "tof-tecogan-1"
    unit, flow = "px", "farneback"

    def sample(self, step: Step) -> Sample:
        crop = tecogan_crop(*step.fake.shape[:2])
        if crop is None:
            return Sample(None)
        if step.flow is not farneback:  # else the flow is there already
            step = replace(step, flow=farneback)
        return Sample(flow_distance(step.real_forward[crop], step.fake_forward[crop]))


class TLPTecoGAN(WithoutEnds):
    """tLP as TecoGAN measures it: times 100, of cropped frames, without the ends of the clips."""
    name, title, definition = "tlp100-tecogan", "tLP x 100 (TecoGAN)", "tlp100-tecogan-1"
    view = CroppedPerceptualView

    def sample(self, step: Step) -> Sample:
        seen = step.seen[CroppedPerceptualView]
        return Sample(None if seen.real is None else 100 * abs(seen.real - seen.fake))


class FlowNet2View(View):
    """The L1 norm of what the real pair's flow by FlowNet2 differs from the fake one's, summed over all pixels.

    None for the first frame of a sequence. The flow leads from the earlier frame to the later one.
    """

    def __init__(self, settings: Settings) -> None:
        chosen = settings.flow if settings.flow.name == FLOWNET2 else estimator(FLOWNET2, gpu=settings.gpu)
        self._flow = chosen.flow
        self.facts = {"network": "FlowNet2", "weights": Path(chosen.facts["flow_weights"]).name,
                      "weights_sha256": chosen.facts["flow_weights_sha256"],
                      "input": "RGB in [-1, 1], bilinear to multiples of 64, the shorter side 256 at least"}

    def __call__(self, steps: Sequence[Step]) -> list[float | None]:
        return [None if step.first else summed_distance(self._flow(step.previous_real, step.real),
                                                        self._flow(step.previous_fake, step.fake)) for step in steps]


def summed_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Sum over pixels of the L1 norm of the difference of two flows (H, W, 2), in pixels."""
    return float(np.abs(first.astype(np.float64) - second.astype(np.float64)).sum())


class TOFTimeCycleGAN(Metric):
    """tOF as the 2020 release measured it: by FlowNet2, a sum over pixels, so it grows with the frames."""
    name, title, definition = "tof-timecyclegan", "tOF (2020 release)", "tof-timecyclegan-1"
    over, unit, same_motion, by_default = PER_PAIR, "px, summed over pixels", True, ()
    view, flow = FlowNet2View, FLOWNET2

    def sample(self, step: Step) -> Sample:
        return Sample(step.seen[FlowNet2View])


class WarpBack(Warp):
    """Takes the later frame back to the earlier one, as Lai et al. do: p = x + Ff(x), p clamped to the frame.

    Left out are the pixels where the flows do not cancel, and the motion's edges, where with forward differences along
    x and y |dF/dx|^2 + |dF/dy|^2 > 0.01 |F|^2 + 0.002. What p leaves the frame for is not: its border stands in.
    """

    def __init__(self, forward: np.ndarray, backward: np.ndarray) -> None:
        self.points, _ = destinations(forward)
        flow = forward.astype(np.float64)
        along_x = squared_norm(np.diff(flow, axis=1, append=flow[:, -1:]))  # past the last pixel nothing changes
        along_y = squared_norm(np.diff(flow, axis=0, append=flow[-1:]))
        self.mask = cancel(forward, backward) & (along_x + along_y <= 0.01 * squared_norm(flow) + 0.002)


class EWarpLai(EWarp):
    """E_warp as in the published evaluation of Lai et al. 2018 (their flow is FlowNet2's).

    E_t = sum(mask |fake_(t+1)(p) - fake_t|^2) / (3 sum(mask)), pixels in [0, 1]; mean over the pairs of a sequence,
    then over sequences. The flow is that of the clip that is compared with.
    """
    name, title, definition = "ewarp-lai", "E_warp (Lai)", "ewarp-lai-{flow}-1"
    true_flow, by_default = False, ()

    def sample(self, step: Step) -> Sample:
        warp = WarpBack(step.real_forward, step.real_backward)
        return Sample(warp.error(step.fake, step.previous_fake), warp.error(step.real, step.previous_real))


VARIANTS: tuple[type[Metric], ...] = (TOFTecoGAN, TLPTecoGAN, TOFTimeCycleGAN, EWarpLai)
