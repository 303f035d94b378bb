"""FID: the Fréchet distance of the Inception features of two sets of pictures (Heusel et al. 2017).

    python -m timecyclegan.evaluation.compute_fid REAL FAKE

Features are pytorch-fid's, from the same weights and pixels; the distance is our own, see ``frechet.py``.
"""
import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from timecyclegan.evaluation.comparing import Clip, Sampling, add_arguments, note, run
from timecyclegan.evaluation.feature_statistics import Collected, Statistics
from timecyclegan.evaluation.frechet import frechet_distance
from timecyclegan.evaluation.measuring import Frame
from timecyclegan.evaluation.metric import LOWER, Metric, Result, Spec, Step, View
from timecyclegan.evaluation.settings import Settings
from timecyclegan.util.errors import UserError, command


def fid(real: Sequence[np.ndarray], fake: Sequence[np.ndarray], dims: int = 2048, gpu: int = -1) -> float:
    """FID of two sets of pictures, each uint8 (H, W, 3) of any size; 0 is best.

    Raises:
        UserError: the weights are missing, or a side has fewer than two pictures.
    """
    from timecyclegan.evaluation.inception import InceptionFeatures

    features = InceptionFeatures(gpu, dims)
    return frechet_distance(*(Statistics.of(features(side)) for side in (real, fake))).value


class Features(NamedTuple):
    """Of the generated picture and, where it has a partner that shows what it should, the real one: (dims,)."""
    fake: np.ndarray
    real: np.ndarray | None


class InceptionView(View):
    """:class:`Features` of each frame; pictures are taken in their own sizes."""

    def __init__(self, settings: Settings) -> None:
        from timecyclegan.evaluation.inception import InceptionFeatures

        self._features = InceptionFeatures(settings.gpu, settings.fid_dims)
        self.facts = self._features.facts

    def __call__(self, frames: Sequence[Frame]) -> list[Features]:
        fake = self._features([frame.fake_on_disk for frame in frames])
        partners = [frame.real_on_disk for frame in frames if frame.real_on_disk is not None]
        real = iter(self._features(partners))  # by themselves: equal pictures in equal batches have equal features
        return [Features(own, None if frame.real_on_disk is None else next(real))
                for own, frame in zip(fake, frames, strict=True)]


class FID(Metric):
    """FID of all frames; it has no value per sequence or frame."""
    spec = Spec("fid", "FID", LOWER, "fid-inception2015-{dims}-1")
    view = InceptionView

    def __init__(self) -> None:
        super().__init__()
        self._real, self._fake = Collected(), Collected()

    def sample(self, step: Step) -> Features:
        return step.seen[InceptionView]

    def add(self, sample: Features) -> None:
        super().add(None)  # counts the frame
        for side, features in ((self._fake, sample.fake), (self._real, sample.real)):
            if features is not None:
                side.add(features[None])

    def result(self) -> Result:
        return self._beside(self._real)

    def beside(self, real: "FID") -> Result:
        """Of the frames added here against those added to ``real``, where they count as generated ones."""
        return self._beside(real._fake)

    def _beside(self, real: Collected) -> Result:
        counted = replace(super().result(), per_sequence={}, per_frame={})
        try:
            sides = real.statistics, self._fake.statistics
            distance = frechet_distance(*sides)
        except UserError as error:
            return replace(counted, reason=str(error))
        details = {"dims": sides[0].dims, "real_frames": real.n, "fake_frames": self._fake.n, **asdict(distance)}
        del details["value"]
        warning = note(real.n, self._fake.n, sides[0].dims, "pictures")
        return replace(counted, value=distance.value, reason=None,
                       details=details | ({"note": warning} if warning else {}))


class _OfPictures:
    """Inception's features of clips of one frame."""

    def __init__(self, gpu: int, dims: int) -> None:
        from timecyclegan.evaluation.inception import InceptionFeatures

        self._features = InceptionFeatures(gpu, dims)
        self.facts: dict[str, Any] = dict(self._features.facts)

    def __call__(self, clips: Sequence[Clip]) -> np.ndarray:
        return self._features([picture for picture, in clips])


@command
def main(arguments: list[str] | None = None) -> None:
    """Print the FID of two sets of pictures."""
    parser = argparse.ArgumentParser(prog="compute_fid", description="FID of two sets of pictures.")
    add_arguments(parser)
    parser.add_argument("--dims", type=int, choices=(64, 192, 768, 2048), default=2048, help="which of Inception's "
                        "features are compared (default: 2048)")
    args = parser.parse_args(arguments)
    run(args, "FID", FID.spec.definition, cache(lambda: _OfPictures(args.gpu, args.dims)), Sampling())


if __name__ == "__main__":
    sys.exit(main())
