"""What commands leave behind for their user: CSV tables, the command log, TensorBoard."""
import csv
import datetime
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from timecyclegan.util.errors import UserError
from timecyclegan.util.files import replacing

TRAIN_LOG = Path("train_log.csv")
METRICS = Path("metrics.csv")
COMMAND_LOG = Path("command_log.txt")
RUNS = Path("runs")


def now() -> str:
    """Local time, to the second."""
    return datetime.datetime.now().isoformat(sep=" ", timespec="seconds")


def log_command() -> None:
    """Append the running command to ``command_log.txt``."""
    try:
        with open(COMMAND_LOG, "a") as file:
            file.write(f"{now()} {shlex.join(sys.argv)}\n")
    except OSError as error:
        raise UserError(f"cannot write {COMMAND_LOG.absolute()}: {error.strerror}; run in another folder") from error


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a table by column; none where there is no file."""
    if not path.exists():
        return []
    with open(path, newline="") as file:
        # A row with more cells than the head, edited by hand, has the surplus under None.
        return [{k: v for k, v in row.items() if k is not None} for row in csv.DictReader(file)]


def write_csv(path: Path, rows: list[dict[str, Any]], columns: list[str]) -> None:
    """Write a whole table; a row without a column's value leaves it empty."""
    with replacing(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


def append_csv(path: Path, row: dict[str, Any]) -> None:
    """Append a row; a table that lacks one of its columns is rewritten with it."""
    columns = _columns(path)
    if columns and set(row) <= set(columns):
        with open(path, "a", newline="") as file:
            csv.DictWriter(file, columns, restval="").writerow(row)
    else:
        columns += [name for name in row if name not in columns]
        write_csv(path, [*read_csv(path), row], columns)


def _columns(path: Path) -> list[str]:
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return next(csv.reader(file), [])


def git_commit() -> str:
    """The commit that this code stands at; empty where it is in no git repository, or git is not installed."""
    try:
        import git  # fails without the git program

        return git.Repo(Path(__file__).parent, search_parent_directories=True).head.commit.hexsha
    except Exception:
        return ""


def log_training(name: str, hparams: Mapping[str, Any]) -> None:
    """Append a training run to ``train_log.csv``."""
    pairs = ";".join(f"{key}:{value}" for key, value in hparams.items())
    append_csv(TRAIN_LOG, {"datetime": now(), "name": name, "commit": git_commit(), "hparams": pairs})


class TrainingLog:
    """The losses and pictures of one run: TensorBoard events and ``losses.csv``, both in ``runs/NAME``.

    Args:
        folder: ``runs/NAME``.
        step: the step that the run goes on from; what was logged after it is dropped.
    """

    def __init__(self, folder: Path, step: int):
        from torch.utils.tensorboard import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        self.losses = folder / "losses.csv"
        # A row that was only half written when the machine stopped lacks columns.
        whole = [row for row in read_csv(self.losses) if None not in row.values() and row["step"].isdigit()]
        kept = [row for row in whole if int(row["step"]) <= step]
        write_csv(self.losses, kept, _columns(self.losses) or ["step", "epoch"])
        self.writer = SummaryWriter(folder, purge_step=step + 1)

    def scalars(self, values: Mapping[str, float], step: int, epoch: int) -> None:
        """Log losses by name (``Generator/l1`` becomes ``Loss/Generator/l1``; what has no group keeps its name)."""
        named = {f"Loss/{name}" if "/" in name else name: value for name, value in values.items()}
        for name, value in named.items():
            self.writer.add_scalar(name, value, step)
        append_csv(self.losses, {"step": step, "epoch": epoch} | {name: f"{v:.6g}" for name, v in named.items()})

    def hparams(self, values: Mapping[str, Any]) -> None:
        """Log the options to TensorBoard's HPARAMS page."""
        from torch.utils.tensorboard.summary import hparams

        plain = {key: v if isinstance(v, (bool, int, float, str)) else str(v) for key, v in values.items()}
        for summary in hparams(plain, {}):
            self.writer._get_file_writer().add_summary(summary)

    def videos(self, videos: Mapping[str, Tensor], step: int, fps: float = 5) -> None:
        """Log the first clip of each of ``videos`` (N, T, 3, H, W): a grid (a row each) and a GIF side by side."""
        from timecyclegan.video.frames import to_uint8

        rows = [to_uint8(video[0]) for video in videos.values()]  # (T, H, W, 3) each
        grid = np.concatenate([np.concatenate(list(row), axis=1) for row in rows])
        name = "_".join(videos)
        self.writer.add_image(f"Frames/{name}", grid, step, dataformats="HWC")
        if len(rows[0]) > 1:
            self._gif(f"Video/{name}", np.concatenate(rows, axis=2), step, fps)

    def _gif(self, tag: str, frames: np.ndarray, step: int, fps: float) -> None:
        """TensorBoard shows a GIF as an image; its own add_video would need moviepy to make one."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        from timecyclegan.video.writer import encode_gif

        _, height, width, _ = frames.shape
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=encode_gif(frames, fps))
        self.writer._get_file_writer().add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), step)

    def flush(self) -> None:
        """Put everything on disk."""
        self.writer.flush()

    def close(self) -> None:
        """End the log."""
        self.writer.close()
