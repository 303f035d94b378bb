"""The whole evaluation of generated frames: two folders or video files, made by whatever method.

    python -m timecyclegan.evaluation.compute_metrics REAL FAKE                  paired: frame beside frame
    python -m timecyclegan.evaluation.compute_metrics REAL FAKE --source SRC     unpaired: FAKE was made from SRC
    python -m timecyclegan.evaluation.compute_metrics - FAKE --source SRC        the same without real pictures
    python -m timecyclegan.evaluation.compute_metrics REAL FAKE --unconditional  two sets of clips
"""
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from timecyclegan.evaluation.base import Metric, Settings
from timecyclegan.evaluation.command import compare_frames
from timecyclegan.evaluation.compute_ewarp import EWarp
from timecyclegan.evaluation.compute_fid import FID
from timecyclegan.evaluation.compute_flicker import Flicker
from timecyclegan.evaluation.compute_fvd import FVD
from timecyclegan.evaluation.compute_grid import Grid
from timecyclegan.evaluation.compute_l1 import L1
from timecyclegan.evaluation.compute_lpips import LPIPS
from timecyclegan.evaluation.compute_motion import Motion
from timecyclegan.evaluation.compute_psnr_ssim import PSNR, SSIM
from timecyclegan.evaluation.compute_sharpness import Sharpness
from timecyclegan.evaluation.compute_tlp import TLP
from timecyclegan.evaluation.compute_tof import TOF
from timecyclegan.evaluation.evaluate import ROOTS, Evaluator, Sequences, choose
from timecyclegan.evaluation.variants import VARIANTS

# All metrics; every table and file has them in this order.
METRICS: tuple[type[Metric], ...] = (
    FID, FVD, LPIPS, TLP, TOF, EWarp, Motion, Flicker, Sharpness, Grid, PSNR, SSIM, L1, *VARIANTS)


def evaluate(real: Sequences, fake: Sequences, flow_dir: str | Path | None = None, kind: str = "paired",
             images: Sequences | None = None, roots: tuple[str | Path, str | Path] = ROOTS,
             only: Collection[str] | None = None, also: Collection[str] = (), require: Collection[str] = (),
             **settings: Any) -> dict[str, Any]:
    """Compute metrics of the fake frames against the real ones.

    Args:
        real, fake, flow_dir, images, roots: see :meth:`Evaluator.__call__`.
        kind: see :class:`Evaluator`.
        only, also, require: names of metrics, see :func:`choose`; one of ``require`` without a value is an error.
        settings: of :class:`Settings`.

    Returns:
        what stands in metrics.json: :meth:`Evaluation.to_json`.

    Raises:
        UserError: see there; a metric's name is unknown, a required one has no value.
    """
    evaluator = Evaluator(choose(METRICS, kind, only, also, require), kind, Settings(**settings), require,
                          images is not None)
    evaluation = evaluator(real, fake, flow_dir, images, roots)
    evaluator.check_required(evaluation)
    return evaluation.to_json()


def main(arguments: list[str] | None = None) -> int:
    """Print all metrics, or those asked for, and write them to files if asked to."""
    return compare_frames("compute_metrics", __doc__, METRICS, arguments, by_name=True)


if __name__ == "__main__":
    sys.exit(main())
