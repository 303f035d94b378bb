"""The training loop: stages, epochs, steps; logs and checkpoints on the way; exact resumption."""
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from timecyclegan.datasets.loading import make_loader
from timecyclegan.datasets.prepared import keep_settings
from timecyclegan.datasets.video_dataset import DATASETS
from timecyclegan.flow import choose_backend
from timecyclegan.models import check, get_model, get_task, model_class
from timecyclegan.models.base_model import BaseModel, NonFiniteLoss
from timecyclegan.training import checkpoint, foreign
from timecyclegan.training.growing import describe, growth_stages
from timecyclegan.training.guards import check_finite, exclusive, log_errors
from timecyclegan.training.resuming import check_data, describe_data, find_run, load_initial
from timecyclegan.training.schedule import Position, learning_rate
from timecyclegan.util.device import pick_device
from timecyclegan.util.errors import UserError
from timecyclegan.util.logs import RUNS, TrainingLog, log_training
from timecyclegan.util.options import Options
from timecyclegan.util.signals import signals
from timecyclegan.util.weights import save

AMP = {"off": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Trainer:
    """Trains a model on two folders of frames and leaves ``checkpoints/NAME`` and ``runs/NAME``.

    A run is a function of its options and data: interrupted at any moment and resumed, it ends (on the CPU) in the
    same bytes as without the interruption.

    Args:
        name: of the run.
        source, target: folders of frames; an unconditional model's source is not read and may be None.
        options: see ``util.options``.
        resume: go on from the run's checkpoint; where there is none yet, begin.
        overwrite: begin although there is a checkpoint, which is lost.

    Raises:
        UserError: options or data that do not fit, before anything is written.
    """

    def __init__(
        self, name: str, source: Path | None, target: Path, options: Options, resume: bool = False,
        overwrite: bool = False,
    ):
        self.name, self.target = name, target
        self.source = None if get_task(options.model_type) == "unconditional" else source
        self.folder = checkpoint.CHECKPOINTS / name
        self.device = pick_device(options.gpu)
        self.stages = growth_stages(options)
        for stage in self.stages:  # before any data are read
            check(stage)
        # The first stages of a run that grows may be too short for some of its losses, but not all.
        longest = max(self.stages, key=lambda stage: stage.block_size)
        check(replace(longest, temporal_scaling=(1.0,)))
        self.options = options
        self.saved = find_run(self.folder, options, resume, overwrite, growing=len(self.stages) > 1)
        self.position = Position(**self.saved["position"]) if self.saved else Position()
        self.overwrite = overwrite
        self.log: TrainingLog | None = None
        initial = self._initial_weights()
        self.initialised = initial is not None
        # The data of every stage are listed before anything is written.
        self._dataset(longest)  # long enough for all stages?
        # Weights of a run that ended at full size need not fit the first stage of one that grows.
        self._begin_stage(initial, growing=initial is not None and len(self.stages) > 1)
        self.stop: int | None = None

    # ---- beginning

    def _initial_weights(self) -> dict[str, Any] | None:
        """``--init_checkpoint_dir`` and ``--init_epoch``: weights of another run, or of an epoch of this one."""
        options = self.options
        if self.saved is not None or not (options.init_epoch or options.init_checkpoint_dir):
            return None
        folder = Path(options.init_checkpoint_dir) if options.init_checkpoint_dir else self.folder
        return checkpoint.read_networks(folder, options.init_epoch)

    def _dataset(self, stage: Options) -> Dataset:
        dataset = DATASETS[get_task(stage.model_type)](
            self.source, self.target, stage.block_size, stage.image_height, stage.image_width,
            stage.load_height, stage.load_width, stage.flip, stage.seed,
        )  # fmt: skip
        kind = model_class(stage.model_type)
        if not stage.flow_cache or "flow_cache" not in kind.uses:
            return dataset
        from timecyclegan.datasets.flow_dataset import FlowVideoDataset
        from timecyclegan.flow.cache import FlowCache

        cache = FlowCache(stage.flow_cache, choose_backend(stage.flow_backend, stage.flow_weights), stage.flow_weights)
        return FlowVideoDataset(dataset, cache, kind.flow_strides(stage))

    def _begin_stage(self, states: dict[str, Any] | None = None, growing: bool = False) -> None:
        """Data, model and optimizers of the current stage; weights from ``states``, as far as they fit if growing."""
        self.stage = stage = self.stages[self.position.stage]
        dataset = self._dataset(stage)
        for warning in dataset.warnings():
            print(f"note: {warning}")
        self.data = describe_data(dataset.names(), self.source, self.target)
        self.loader = make_loader(
            dataset, stage.batch_size, stage.threads, stage.seed, pin_memory=self.device.type == "cuda"
        )
        if self.saved is not None:
            check_data(self.saved["data"], self.data, self.folder)
        # Also what a network starts from is a function of the seed and the stage.
        checkpoint.seed_random(stage.seed + self.position.stage)
        self.model: BaseModel = get_model(stage.model_type, stage)
        if growing:
            anew = checkpoint.transfer(self.model.networks(), states)
            print("\n".join([f"begun anew in this stage: {line}" for line in anew]) or "all weights were kept")
        elif states is not None:
            load_initial(self.model.networks(), states, Path(self.options.init_checkpoint_dir or self.folder))
        if isinstance(states, foreign.Weights):
            states.note_unused(self.model.networks())
        self.model.to(self.device)
        self.model.make_optimizers()
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=stage.amp == "float16")
        if self.saved is not None:
            self._restore(self.saved)
            self.saved = None

    def _restore(self, saved: dict[str, Any]) -> None:
        checkpoint.load_networks(self.model.networks(), saved["networks"], self.folder / checkpoint.LATEST)
        for role, optimizer in self.model.optimizers.items():
            optimizer.load_state_dict(saved["optimizers"][role])
        self.scaler.load_state_dict(saved["scaler"])
        self.model.load_training_state(saved.get("model", {}))
        checkpoint.set_random_state(saved["random"])

    # ---- running

    def run(self) -> bool:
        """Train until the end, or until SIGINT or SIGTERM; returns whether the end was reached.

        Raises:
            NonFiniteLoss: see ``models.base_model``; the last checkpoint stays.
        """
        with exclusive(self.folder), signals(self._ask_to_stop), log_errors(RUNS / self.name):
            if self._finished():
                print(f"{self.name} is finished after {self.position.epoch} epochs; a higher --num_epochs goes on")
                return True
            self._clean()
            self.options.save(self.folder / checkpoint.OPTIONS)
            self.log = TrainingLog(RUNS / self.name, self.position.step)
            if self.position.step == 0:
                keep_settings(self.folder, self.source)
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

    def _ask_to_stop(self, number: int) -> None:
        self.stop = number

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
        check_finite(self.model.networks())
        if number % self.stage.save_every == 0 or last:
            for name, network in self.model.networks().items():
                save(self.folder / f"{name}_{number}.pth", _on_cpu(network.state_dict()))
        self._save()

    def _save(self) -> None:
        check_finite(self.model.networks())
        content = {
            "options": self.options.to_dict(),
            "position": asdict(self.position),
            "data": self.data,
            "networks": {name: _on_cpu(net.state_dict()) for name, net in self.model.networks().items()},
            "optimizers": {role: optimizer.state_dict() for role, optimizer in self.model.optimizers.items()},
            "scaler": self.scaler.state_dict(),
            "model": self.model.training_state(),
            "random": checkpoint.random_state(),
        }
        save(self.folder / checkpoint.LATEST, content)
        if self.log:
            self.log.flush()
        self.last_save = time.monotonic()


def _short(name: str) -> str:
    side, term = name.split("/", 1)
    return f"{side[0]}.{term}"


def _on_cpu(state: dict[str, Any]) -> dict[str, Any]:
    return {key: value.cpu() for key, value in state.items()}
