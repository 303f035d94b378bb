"""The training loop: stages, epochs, steps; logs and checkpoints on the way; exact resumption."""
import contextlib
import fcntl
import hashlib
import json
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from timecyclegan.datasets.video_dataset import PairedVideoDataset, make_loader
from timecyclegan.models import get_model, model_class
from timecyclegan.models.base_model import BaseModel, NonFiniteLoss
from timecyclegan.training import checkpoint
from timecyclegan.training.growing import describe, growth_stages
from timecyclegan.util.device import pick_device
from timecyclegan.util.errors import UserError
from timecyclegan.util.logs import RUNS, TrainingLog, log_training
from timecyclegan.util.options import Options

AMP = {"off": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
# What may change when a run is resumed: where and how it runs and reports, and how long it goes on.
RESUMABLE = {
    "gpu", "threads", "num_epochs", "log_every", "log_images_every", "save_every", "save_minutes",
}  # fmt: skip


# What ``latest.pth`` holds.
STATE = {"options", "position", "data", "networks", "optimizers", "scaler", "random"}


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


class Trainer:
    """Trains a model on two folders of frames and leaves ``checkpoints/NAME`` and ``runs/NAME``.

    A run is a function of its options and data: interrupted at any moment and resumed, it ends (on the CPU) in the
    same bytes as without the interruption.

    Args:
        name: of the run.
        source, target: folders of frames.
        options: see ``util.options``.
        resume: go on from the run's checkpoint; where there is none yet, begin.
        overwrite: begin although there is a checkpoint, which is lost.

    Raises:
        UserError: options or data that do not fit, before anything is written.
    """

    def __init__(
        self, name: str, source: Path, target: Path, options: Options, resume: bool = False, overwrite: bool = False
    ):
        if resume and overwrite:
            raise UserError("--resume goes on with a run and --overwrite loses it: give one of them")
        self.name, self.source, self.target = name, source, target
        self.folder = checkpoint.CHECKPOINTS / name
        self.device = pick_device(options.gpu)
        self.stages = growth_stages(options)
        self.options = options
        self.position, self.saved = Position(), None
        if resume and (self.folder / checkpoint.LATEST).exists():
            self.saved = self._read_checkpoint()
            self.position = Position(**self.saved["position"])
        elif resume:
            print(f"note: there is no checkpoint of {name} to go on from: beginning")
        elif any(self.folder.glob("*.pth")) and not overwrite:
            raise UserError(
                f"{self.folder} exists: go on with --resume, choose another name, or lose it with --overwrite"
            )
        self.overwrite = overwrite
        self.log: TrainingLog | None = None
        initial = self._initial_weights()
        self.initialised = initial is not None
        # Every stage's options are checked, and the data listed, before anything is written.
        for stage in self.stages:
            model_class(stage.model_type).check(stage)
        self._dataset(max(self.stages, key=lambda stage: stage.block_size))  # long enough for the last stage too?
        # Weights of a run that ended at full size need not fit the first stage of one that grows.
        self._begin_stage(initial, growing=initial is not None and len(self.stages) > 1)
        self.stop: int | None = None

    # ---- beginning

    def _read_checkpoint(self) -> dict[str, Any]:
        saved = checkpoint.load(self.folder / checkpoint.LATEST)
        if not isinstance(saved, dict) or not saved.keys() >= STATE:
            raise UserError(f"checkpoint {self.folder / checkpoint.LATEST} is not one of this program's")
        before, now = Options.from_dict(saved["options"]).to_dict(), self.options.to_dict()
        for key, value in now.items():
            if value != before[key] and key not in RESUMABLE:
                raise UserError(
                    f"--{key} {value} contradicts the run to resume, which has {before[key]}; leave the flag out, or "
                    "train under another name"
                )
        if len(self.stages) > 1 and now["num_epochs"] != before["num_epochs"]:
            raise UserError(f"--num_epochs of a growing run cannot change, it has {before['num_epochs']}")
        return saved

    def _initial_weights(self) -> dict[str, Any] | None:
        """``--init_checkpoint_dir`` and ``--init_epoch``: weights of another run, or of an epoch of this one."""
        options = self.options
        if self.saved is not None or not (options.init_epoch or options.init_checkpoint_dir):
            return None
        folder = Path(options.init_checkpoint_dir) if options.init_checkpoint_dir else self.folder
        return checkpoint.read_networks(folder, options.init_epoch)

    def _dataset(self, stage: Options) -> PairedVideoDataset:
        return PairedVideoDataset(
            self.source, self.target, stage.block_size, stage.image_height, stage.image_width,
            stage.load_height, stage.load_width, stage.flip, stage.seed,
        )  # fmt: skip

    def _begin_stage(self, states: dict[str, Any] | None = None, growing: bool = False) -> None:
        """Data, model and optimizers of the current stage; weights from ``states``, as far as they fit if growing."""
        self.stage = stage = self.stages[self.position.stage]
        dataset = self._dataset(stage)
        if warning := dataset.skipped_warning():
            print(f"note: {warning}")
        self.data = _describe(dataset, self.source, self.target)
        self.loader = make_loader(
            dataset, stage.batch_size, stage.threads, stage.seed, pin_memory=self.device.type == "cuda"
        )
        if self.saved is not None:
            self._check_data(self.saved["data"])
        # Also what a network starts from is a function of the seed and the stage.
        checkpoint.seed_random(stage.seed + self.position.stage)
        self.model: BaseModel = get_model(stage.model_type, stage)
        if growing:
            anew = checkpoint.transfer(self.model.networks(), states)
            print("\n".join([f"begun anew in this stage: {line}" for line in anew]) or "all weights were kept")
        elif states is not None:
            self._load_initial(states)
        self.model.to(self.device)
        self.model.make_optimizers()
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=stage.amp == "float16")
        if self.saved is not None:
            self._restore(self.saved)
            self.saved = None

    def _load_initial(self, states: dict[str, Any]) -> None:
        """Weights to begin with must fit; networks that they lack (another model's) begin anew."""
        origin = Path(self.options.init_checkpoint_dir or self.folder)
        networks = self.model.networks()
        given = {name: network for name, network in networks.items() if name in states}
        if not given:
            raise UserError(f"{origin} has weights for {', '.join(states)}, none for {', '.join(networks)}")
        checkpoint.load_networks(given, states, origin)
        if anew := networks.keys() - given.keys():
            print(f"note: {origin} has no weights for {', '.join(sorted(anew))}: begun anew")

    def _check_data(self, saved: dict[str, str]) -> None:
        """Resuming must see the same frames; other folders are fine if they hold sequences of the same names."""
        folders = self.data["source"], self.data["target"]
        before = saved["source"], saved["target"]
        if self.data["digest"] != saved["digest"] or folders == before[::-1] != before:
            raise UserError(
                f"the data changed: the run to resume was trained on other sequences, those of {before[0]} and "
                f"{before[1]} as they were; restore them, or begin anew with --init_checkpoint_dir {self.folder}"
            )
        if folders != before:
            print(f"note: the run was begun with {before[0]} and {before[1]}")

    def _restore(self, saved: dict[str, Any]) -> None:
        checkpoint.load_networks(self.model.networks(), saved["networks"], self.folder / checkpoint.LATEST)
        for role, optimizer in self.model.optimizers.items():
            optimizer.load_state_dict(saved["optimizers"][role])
        self.scaler.load_state_dict(saved["scaler"])
        checkpoint.set_random_state(saved["random"])

    # ---- running

    def run(self) -> bool:
        """Train until the end, or until SIGINT or SIGTERM; returns whether the end was reached.

        Raises:
            NonFiniteLoss: see ``models.base_model``; the last checkpoint stays.
        """
        with self._exclusive(), self._signals(), _one_line(RUNS / self.name):
            if self._finished():
                print(f"{self.name} is finished after {self.position.epoch} epochs; a higher --num_epochs goes on")
                return True
            self._clean()
            self.options.save(self.folder / checkpoint.OPTIONS)
            self.log = TrainingLog(RUNS / self.name, self.position.step)
            if self.position.step == 0:
                log_training(self.name, self.options.to_dict())
                self.log.hparams(self.options.to_dict())
            try:
                return self._run_stages()
            except NonFiniteLoss as error:
                raise NonFiniteLoss(f"{error}; {self._remedy()}") from error
            finally:
                self.log.close()

    def _clean(self) -> None:
        """Remove what killed writes left and, to overwrite a run, what that one did."""
        files = [path for folder in (self.folder, RUNS / self.name) for path in folder.glob(".*.tmp*")]
        if self.initialised:
            self._save()  # the weights that it begins with may be among the files that go
        if self.overwrite:
            saved = {self.folder / checkpoint.LATEST} if self.initialised else set()
            files += set(self.folder.glob("*.pth")) - saved
            shutil.rmtree(RUNS / self.name, ignore_errors=True)
        for path in files:
            path.unlink(missing_ok=True)

    def _remedy(self) -> str:
        if not (self.folder / checkpoint.LATEST).exists():
            return "begin again with a lower --learning_rate or loss weight"
        return (
            "the last checkpoint is from before. Go on from it under another name with --init_checkpoint_dir "
            f"{self.folder}, with a lower --learning_rate or loss weight"
        )

    def _finished(self) -> bool:
        position = self.position
        return position.stage + 1 == len(self.stages) and position.epoch >= self.stage.num_epochs

    def _run_stages(self) -> bool:
        while True:
            if len(self.stages) > 1:
                print(f"stage {self.position.stage + 1} of {len(self.stages)}: {describe(self.stage)}")
            if not self._run_stage():
                print(f"stopped by {signal.Signals(self.stop).name}; saved. Go on with --resume")
                return False
            if self.position.stage + 1 == len(self.stages):
                return True
            self.position = Position(stage=self.position.stage + 1, step=self.position.step)
            states = {name: network.state_dict() for name, network in self.model.networks().items()}
            self._begin_stage(states, growing=True)
            self._save()

    def _run_stage(self) -> bool:
        steps = len(self.loader)
        done = self.position.epoch * steps + self.position.batch
        self.last_save = time.monotonic()
        total = self.stage.num_epochs * steps
        # A log file need not hold every step.
        interval = 0.1 if sys.stderr.isatty() else 10
        with tqdm(
            total=total, initial=done, desc=self.name, unit="step", dynamic_ncols=True, mininterval=interval
        ) as bar:
            while self.position.epoch < self.stage.num_epochs:
                if not self._run_epoch(bar):
                    return False
        return True

    def _run_epoch(self, bar: tqdm) -> bool:
        position, stage = self.position, self.stage
        for optimizer in self.model.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(stage, position.epoch)
        # Counted over all stages, so that no stage draws the clips of an earlier one again.
        self.loader.batch_sampler.set_position(position.stage * stage.num_epochs + position.epoch, position.batch)
        for batch in self._batches():
            losses = self.model.training_step(batch, self.scaler, AMP[stage.amp])
            position.batch += 1
            position.step += 1
            bar.update()
            self._report(losses, bar)
            overdue = time.monotonic() - self.last_save > 60 * stage.save_minutes
            if (overdue or self.stop) and position.batch < len(self.loader):
                self._save()
            if self.stop and position.batch < len(self.loader):
                return False
        position.epoch, position.batch = position.epoch + 1, 0
        self._end_epoch()
        return self.stop is None

    def _batches(self) -> Iterator[dict[str, Any]]:
        """The rest of the epoch. A frame that cannot be read stops the run where it is, with what it has learnt."""
        try:
            yield from self.loader
        except UserError as error:
            if self.position.step == 0:
                raise
            self._save()
            raise UserError(f"{error}. What was learnt is saved: mend the file, then go on with --resume") from error

    def _report(self, losses: dict[str, float], bar: tqdm) -> None:
        stage, step = self.stage, self.position.step
        epoch = self.position.stage * stage.num_epochs + self.position.epoch + 1
        shown = " ".join(f"{_short(name)}={value:.3g}" for name, value in losses.items())
        bar.set_postfix_str(f"epoch {epoch} {shown}", refresh=False)
        if step % stage.log_every == 0:
            self.log.scalars({**losses, "learning_rate": learning_rate(stage, self.position.epoch)}, step, epoch)
        last = self.position.batch == len(self.loader)
        if step % stage.log_images_every == 0 if stage.log_images_every else last:
            self.log.videos(self.model.visuals(), step)

    def _end_epoch(self) -> None:
        """Weight files first: if the run is killed between the two, the epoch is repeated and writes them again."""
        epochs = self.stage.num_epochs
        number = self.position.stage * epochs + self.position.epoch
        last = self.position.epoch == epochs and self.position.stage + 1 == len(self.stages)
        self._check_finite()
        if number % self.stage.save_every == 0 or last:
            for name, network in self.model.networks().items():
                checkpoint.save(self.folder / f"{name}_{number}.pth", _on_cpu(network.state_dict()))
        self._save()

    def _check_finite(self) -> None:
        """A finite loss can have an infinite gradient: such weights must not replace the last good checkpoint."""
        for name, network in self.model.networks().items():
            if not all(value.isfinite().all() for value in network.state_dict().values()):
                raise NonFiniteLoss(f"the weights of {name} became infinite or not a number")

    def _save(self) -> None:
        self._check_finite()
        content = {
            "options": self.options.to_dict(),
            "position": asdict(self.position),
            "data": self.data,
            "networks": {name: _on_cpu(net.state_dict()) for name, net in self.model.networks().items()},
            "optimizers": {role: optimizer.state_dict() for role, optimizer in self.model.optimizers.items()},
            "scaler": self.scaler.state_dict(),
            "random": checkpoint.random_state(),
        }
        checkpoint.save(self.folder / checkpoint.LATEST, content)
        if self.log:
            self.log.flush()
        self.last_save = time.monotonic()

    # ---- guards

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Two processes that train under one name would overwrite each other's checkpoints."""
        lock = self.folder.parent / f".{self.name}.lock"
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            file = open(lock, "w")  # noqa: SIM115 (closed below)
        except OSError as error:
            raise UserError(f"cannot write {lock.absolute()}: {error.strerror}; run in another folder") from error
        with file:
            try:
                # A record lock: it ends with this process, even if data workers outlive it for a moment.
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise UserError(f"another process is training {self.name} at this moment") from error
            # The file stays: removing it would let a third process lock a new one while a second still opens this.
            yield

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM ask the loop to save and leave; a second SIGINT interrupts at once."""

        def ask(number: int, _frame: Any) -> None:
            self.stop = number
            signal.signal(signal.SIGINT, signal.default_int_handler)

        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextlib.contextmanager
def _one_line(folder: Path) -> Iterator[None]:
    """What TensorBoard raises when its files cannot be written, as an error of the user's.

    Its writing thread raises first, and prints a traceback; then the call that finds the thread dead raises.
    """
    printed, threading.excepthook = threading.excepthook, lambda args: (
        None if issubclass(args.exc_type, OSError) else printed(args)
    )
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write the logs in {folder}: {error.strerror or error}; is the disk full?") from error
    finally:
        threading.excepthook = printed


def _describe(dataset: PairedVideoDataset, source: Path, target: Path) -> dict[str, str]:
    """What tells the data of a run from other data: the names of all frames, and the folders."""
    names = [(name, [(s.name, t.name) for s, t in pairs]) for name, pairs in dataset.pairs.items()]
    digest = hashlib.sha256(json.dumps(names).encode()).hexdigest()
    return {"digest": digest, "source": str(source.resolve()), "target": str(target.resolve())}


def _short(name: str) -> str:
    side, term = name.split("/", 1)
    return f"{side[0]}.{term}"


def _on_cpu(state: dict[str, Any]) -> dict[str, Any]:
    return {key: value.cpu() for key, value in state.items()}
