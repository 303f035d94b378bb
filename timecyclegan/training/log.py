"""What a run reports while it trains: TensorBoard events and ``losses.csv``, both in ``runs/NAME``."""
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from timecyclegan.models.adversarial_training import NonFiniteLoss
from timecyclegan.util.errors import UserError
from timecyclegan.util.files import writing
from timecyclegan.util.logs import append_csv, columns, read_csv, write_csv
from timecyclegan.util.names import readable
from timecyclegan.video.frames import to_uint8
from timecyclegan.video.writer import encode_gif


class Means:
    """Means of named numbers since the last entry in the log; each over the steps that had it (growth stages differ).

    They are summed up where they are, on the device, and looked at now and then: a look that need not be up to date
    does not wait for the device. What is not finite belongs to an update that was left out, and is not counted.

    Args:
        sums: the sum and the number of steps by name, as :meth:`state` gave them.
        overflows: how many steps in a row may have been left out (those of float16 are, now and then).
    """

    def __init__(self, sums: Mapping[str, tuple[float, int]] | None = None, overflows: int = 0):
        self.sums, self.overflows = dict(sums or {}), overflows
        self.names: tuple[str, ...] = ()  # of the columns of ``counted``
        # (4, K), float64: sums; steps; how many of the last steps in a row were not finite; the first such value.
        self.counted: Tensor | None = None
        self._copy: tuple[Tensor, Any] | None = None  # on its way to the host, and the event that says it is there
        self._asked, self._shown = -math.inf, {}
        self.wrong = False  # whether :meth:`glance` saw that something is

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Count in the ``values`` of a step, scalars on one device."""
        found = torch.stack(list(values.values())).double()
        if self.names != tuple(values):
            self.sums = self.state()
            self.names, self._copy = tuple(values), None
            self.counted = found.new_zeros(4, len(found))
        sums, steps, missed, first = self.counted
        finite = found.isfinite()
        sums += found.where(finite, 0)
        steps += finite
        missed.add_(1).mul_(~finite)
        first.copy_(found.where(~finite & first.isfinite(), first))

    def state(self) -> dict[str, tuple[float, int]]:
        """The sum and the number of steps by name: waits for the device.

        Raises:
            NonFiniteLoss: updates were left out, in ``overflows`` steps in a row (0: in one); names the first reason.
        """
        return self._read(self.counted)

    def values(self) -> dict[str, float]:
        """The means by name: waits for the device; raises as :meth:`state`."""
        return _means(self.state())

    def glance(self, seconds: float = 0.5) -> dict[str, float]:
        """The means by name as they were a moment ago, about ``seconds``, without waiting; what :meth:`state` would
        raise for, ``wrong`` says."""
        now = time.monotonic()
        if not self._copy and self.counted is not None and now - self._asked >= seconds:
            self._asked, event = now, None
            copy = torch.empty(self.counted.shape, dtype=torch.float64, pin_memory=self.counted.is_cuda)
            copy.copy_(self.counted, non_blocking=True)
            if self.counted.is_cuda:
                event = torch.cuda.Event()
                event.record()
            self._copy = copy, event
        if self._copy and (self._copy[1] is None or self._copy[1].query()):
            copy, self._copy = self._copy[0], None
            try:
                self._shown, self.wrong = _means(self._read(copy)), False
            except NonFiniteLoss:
                self.wrong = True
        return self._shown

    def clear(self) -> None:
        """Begin anew, after an entry."""
        self.sums = {}
        if self.counted is not None:
            self.counted[:2] = 0

    def _read(self, counted: Tensor | None) -> dict[str, tuple[float, int]]:
        if counted is None:
            return dict(self.sums)
        columns = dict(zip(self.names, zip(*counted.tolist(), strict=True), strict=True))
        for name, (_, _, missed, first) in columns.items():
            if not math.isfinite(first) and (missed >= self.overflows if self.overflows else True):
                raise NonFiniteLoss(self._why(name, first))
        found = dict(self.sums)
        for name, (value, steps, *_) in columns.items():
            before = found.get(name, (0.0, 0))
            if steps or name in found:
                found[name] = before[0] + value, before[1] + int(steps)
        return found

    def _why(self, name: str, value: float) -> str:
        if self.overflows:
            return (f"--amp float16 overflowed in {self.overflows} steps in a row, however low gradients were scaled: "
                    "training stopped; --amp bfloat16 and --amp off have room for larger numbers")  # fmt: skip
        if name.endswith("/total"):  # and all its terms are finite: they are looked at first
            return f"a gradient of {name} became infinite or not a number: training stopped before using it"
        return f"the loss {name} became {value}: training stopped before using it"


def _means(sums: Mapping[str, tuple[float, int]]) -> dict[str, float]:
    return {name: total / steps for name, (total, steps) in sums.items() if steps}


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
