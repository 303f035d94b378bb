"""What a run reports while it trains: TensorBoard events and ``losses.csv``, both in ``runs/NAME``."""
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from timecyclegan.util.errors import UserError
from timecyclegan.util.files import writing
from timecyclegan.util.logs import append_csv, columns, read_csv, write_csv
from timecyclegan.util.names import readable
from timecyclegan.video.frames import to_uint8
from timecyclegan.video.writer import encode_gif


class Means:
    """Means of named numbers since the last entry in the log; each over the steps that had it (growth stages differ).

    ``sums``, the sum and the number of steps by name, is the whole state, which a run saves to log the same if resumed.
    """

    def __init__(self, sums: Mapping[str, tuple[float, int]] | None = None):
        self.sums = dict(sums or {})

    def add(self, values: Mapping[str, float]) -> None:
        """Count a step's ``values`` in; those that are not finite belong to an update that float16 left out."""
        for name, value in values.items():
            if not math.isfinite(value):
                continue
            total, steps = self.sums.get(name, (0.0, 0))
            self.sums[name] = total + value, steps + 1

    def values(self) -> dict[str, float]:
        """The means by name."""
        return {name: total / steps for name, (total, steps) in self.sums.items()}


class TrainingLog:
    """The losses and pictures of one run.

    Args:
        folder: ``runs/NAME``.
        step: the step that the run goes on from; what was logged after it is dropped.

    Raises:
        UserError: here and in every method, what the system says where the folder cannot be written to. TensorBoard's
            writer is a thread: what it could not write, a later call says.
    """

    def __init__(self, folder: Path, step: int):
        from torch.utils.tensorboard import SummaryWriter  # takes a second to import

        self.folder, self.losses = folder, folder / "losses.csv"
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            head = columns(self.losses) or ["step", "epoch"]
            if "step" not in head:
                raise UserError(f"{self.losses} is no log of losses, it has no column step: move it away")
            # A row that was only half written when the machine stopped lacks columns.
            whole = [row for row in read_csv(self.losses) if None not in row.values() and row["step"].isdigit()]
            kept = [row for row in whole if int(row["step"]) <= step]
            write_csv(self.losses, kept, head)
            # TensorBoard writes no names that are not UTF-8: such bytes stand escaped in the name of another folder.
            self.writer = SummaryWriter(readable(str(folder)), purge_step=step + 1)

    def scalars(self, values: Mapping[str, float], step: int, epoch: int) -> None:
        """Log losses by name (``Generator/l1`` becomes ``Loss/Generator/l1``; what has no group keeps its name)."""
        named = {f"Loss/{name}" if "/" in name else name: value for name, value in values.items()}
        with writing(self.folder):
            for name, value in named.items():
                self.writer.add_scalar(name, value, step)
        append_csv(self.losses, {"step": step, "epoch": epoch} | {name: f"{v:.6g}" for name, v in named.items()})

    def hparams(self, values: Mapping[str, Any]) -> None:
        """Log the options to TensorBoard's HPARAMS page."""
        from torch.utils.tensorboard.summary import hparams

        plain = {key: v if isinstance(v, (bool, int, float)) else readable(str(v)) for key, v in values.items()}
        with writing(self.folder):
            for summary in hparams(plain, {}):
                self.writer._get_file_writer().add_summary(summary)

    def videos(self, videos: Mapping[str, Tensor], step: int, fps: float = 5) -> None:
        """Log the first clip of each of ``videos`` (N, T, 3, H, W): a grid (a row each) and a GIF side by side."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        rows = [to_uint8(video[0]) for video in videos.values()]  # (T, H, W, 3) each
        grid = np.concatenate([np.concatenate(list(row), axis=1) for row in rows])
        name = "_".join(videos)
        with writing(self.folder):
            self.writer.add_image(f"Frames/{name}", grid, step, dataformats="HWC")
        if len(rows[0]) > 1:
            # TensorBoard shows a GIF as an image; its own add_video would need moviepy to make one.
            frames = np.concatenate(rows, axis=2)
            _, height, width, _ = frames.shape
            gif = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=encode_gif(frames, fps))
            summary = Summary(value=[Summary.Value(tag=f"Video/{name}", image=gif)])
            with writing(self.folder):
                self.writer._get_file_writer().add_summary(summary, step)

    def flush(self) -> None:
        """Bring all that was logged into the files."""
        with writing(self.folder):
            self.writer.flush()

    def close(self) -> None:
        with writing(self.folder):
            self.writer.close()
