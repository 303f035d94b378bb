"""A training run: found or begun, restored, saved, kept apart from others. The loop over its steps is in ``loop``."""
import contextlib
import dataclasses
import errno
import fcntl
import functools
import hashlib
import json
import os
import shutil
import threading
import time
import unicodedata
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from timecyclegan.datasets.loading import LostWorker, make_loader
from timecyclegan.datasets.noise import NoisyDataset
from timecyclegan.datasets.pixels import settle_pixels
from timecyclegan.datasets.prepared import keep_settings
from timecyclegan.datasets.video_dataset import DATASETS
from timecyclegan.flow import choose_backend
from timecyclegan.models import check, get_model, get_task, model_class
from timecyclegan.models.adversarial_training import AdversarialTraining
from timecyclegan.models.base_model import BaseModel, NonFiniteLoss
from timecyclegan.models.networks import compile_networks
from timecyclegan.training import checkpoint
from timecyclegan.training.distributed import Peers
from timecyclegan.training.log import Means, TrainingLog
from timecyclegan.training.schedule import Position, check_growth, growth_stages, rate_note
from timecyclegan.util.cuda_graph import capture
from timecyclegan.util.device import pick_device, require_gpu
from timecyclegan.util.errors import UserError, note, reason
from timecyclegan.util.files import is_there, writing
from timecyclegan.util.logs import RUNS, log_training
from timecyclegan.util.names import fitting, present, user_path
from timecyclegan.util.options import Options
from timecyclegan.util.weights import load, save

OVERFLOWS = 20  # steps in a row that float16 may fail; the scale of its gradients is then a millionth of what it was
AMP = {"off": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
# What may change when a run is resumed: where and how it runs and reports, and how long it goes on.
RESUMABLE = {"gpu", "cuda_graph", "threads", "cache", "checkpointing", "channels_last", "compile", "num_epochs",
             "log_every", "log_images_every", "save_every", "save_minutes"}  # fmt: skip
PIXEL_OPTIONS = "source_pixels", "target_pixels"
# What lies in other places on other machines, and what else each process of a run may have its own way.
MOVABLE = {"flow_cache", "flow_weights"}
OWN = MOVABLE | {"gpu", "threads", "cache"}
# What every ``latest.pth`` holds. Older ones lack "model", which only some models need, and "means".
STATE = {"options", "position", "data", "networks", "optimizers", "scaler", "random"}


class Run:
    """What trains a model on two folders of frames and leaves ``checkpoints/NAME`` and ``runs/NAME``.

    A run is a function of its options and data: interrupted at any moment and resumed, it ends (on the CPU) in the
    same bytes as without the interruption, and has logged the same.

    Args:
        name: of the run.
        source, target: folders of frames; an unconditional model's source is not read and may be None.
        options: see ``util.options``.
        resume: go on from the run's checkpoint; where there is none yet, begin.
        overwrite: begin although there is a checkpoint, which is lost.
        peers: the processes that train it together; the first one logs and saves.

    Raises:
        UserError: options or data that do not fit, before anything is written.
    """

    def __init__(self, name: str, source: Path | None, target: Path, options: Options, resume: bool = False,
                 overwrite: bool = False, peers: Peers | None = None):  # fmt: skip
        self.peers, self.first = peers, not (peers and peers.rank)
        self.name, self.target, self.options = name, user_path(target), options
        self.resume, self.overwrite = resume, overwrite
        self.source = None if get_task(options.model_type) == "unconditional" or source is None else user_path(source)
        self.folder = present(checkpoint.CHECKPOINTS / name)
        if options.gpu > 0 and not resume:  # not one that a run remembers of another machine
            require_gpu(options.gpu)
        self.device = peers.device if peers else pick_device(options.gpu)
        if peers:
            peers.check(options)
        self.stages = growth_stages(options)
        for stage in self.stages:  # before any data are read
            check(stage)
        # The first stages of a run that grows may be too short for some of its losses, but not all.
        longest = max(self.stages, key=lambda stage: stage.block_size)
        check(dataclasses.replace(longest, temporal_scaling=(1.0,)))
        saved = self._find()
        if saved is None:
            check_growth(options)
        self.position = Position.saved(saved) if saved else Position()
        self.means = Means(saved.get("means") if saved else None, OVERFLOWS if options.amp == "float16" else 0)
        self.log: TrainingLog | None = None  # while it is open
        # The data of every stage are listed before anything is written.
        dataset = self._dataset(longest)  # long enough for all stages?
        if saved is None:
            self._settle(**settle_pixels(dataset.sequences, {"source": self.source, "target": target}, options))
        self.begin_stage()
        self.initialised = saved is None and bool(options.init_epoch or options.init_checkpoint_dir)
        if saved is not None:
            self._restore(saved)
        elif self.initialised:
            folder, networks = Path(options.init_checkpoint_dir or self.folder), self.model.networks()
            states = checkpoint.read_networks(folder, options.init_epoch)
            if len(self.stages) > 1:  # weights of a run that ended at full size need not fit the first stage
                checkpoint.transfer(networks, states)
            else:
                checkpoint.load_networks(networks, states, folder, partly=True)
            checkpoint.note_unused(networks, states)
            self.model.average()

    # ---- finding

    def _find(self) -> dict[str, Any] | None:
        """The saved state to go on from, None to begin.

        Raises:
            UserError: there is a run, and neither to go on with it nor to lose it was asked for; or it cannot be read,
                or was begun with options that contradict these (names the first).
        """
        path = self.folder / checkpoint.LATEST
        if self.resume and self.overwrite:
            raise UserError("--resume goes on with a run and --overwrite loses it: give one of them")
        if not (self.resume and is_there(path)):
            if any(self.folder.glob("*.pth")) and not self.overwrite:
                if not (self.folder / checkpoint.OPTIONS).exists():
                    raise UserError(f"{self.folder} holds weights that are not of a run of this program: begin from "
                                    f"them under another name, with --init_checkpoint_dir {self.folder}")
                if not self.resume:
                    raise UserError(f"{self.folder} exists: go on with --resume, choose another name, or lose it with "
                                    "--overwrite")
            if self.resume:
                note(f"there is no checkpoint of {self.name} to go on from: beginning")
            return None
        saved = load(path)
        if not isinstance(saved, dict) or not saved.keys() >= STATE:
            raise UserError(f"checkpoint {path} is not one of this program's")
        before = Options.from_dict(saved["options"]).to_dict()
        self._settle(**{key: before[key] for key in PIXEL_OPTIONS if getattr(self.options, key) == "auto"})
        for key, value in self.options.to_dict().items():
            moved = key in MOVABLE and value and before[key]
            if value != before[key] and key not in RESUMABLE and not moved:
                raise UserError(f"--{key} {value} contradicts the run to resume, which has {before[key]}; leave the "
                                "flag out, or train under another name")
        if changed := rate_note(before["num_epochs"], self.options, Position.saved(saved)):
            note(changed)
        return saved

    def _settle(self, **options: Any) -> None:
        """Say what "auto" was for an option that no loss and no network depends on."""
        self.options = dataclasses.replace(self.options, **options)
        self.stages = [dataclasses.replace(stage, **options) for stage in self.stages]

    def finished(self) -> bool:
        """Whether there is nothing left to train."""
        return self.position.stage + 1 == len(self.stages) and self.position.epoch >= self.stage.num_epochs

    # ---- beginning

    def begin_stage(self) -> None:
        """Data, model and optimizers of the current stage."""
        self.stage = stage = self.stages[self.position.stage]
        self.captured = None  # the memory of a graph of the stage before ends with it
        dataset = self._dataset(stage)
        for warning in dataset.warnings():
            note(warning)
        # What tells the data of a run from other data: the names of all frames, and the folders.
        self.data = {
            "digest": _digest(dataset.names(), "NFC"),
            "source": str(self.source.resolve()) if self.source else "",
            "target": str(self.target.resolve()),
        }
        self.other_digest = _digest(dataset.names(), "NFD")  # that of older runs on names of this Unicode form
        # Also what a network starts from is a function of the seed and the stage.
        torch.manual_seed(stage.seed + self.position.stage)
        self.model: BaseModel = get_model(stage.model_type, stage)
        self.model.to(self.device)
        if self.device.type == "cuda":
            torch.backends.cudnn.benchmark = not torch.are_deterministic_algorithms_enabled()  # sizes stay in a stage
            if stage.channels_last:
                self.model.to(memory_format=torch.channels_last)
        elif stage.channels_last:
            note("--channels_last changes nothing on the CPU, which is slower that way")
        if stage.compile:
            compile_networks(self.model)
        self.model.make_optimizers()
        self.model.average()
        self.model.peers = self.peers
        self.loader = make_loader(
            NoisyDataset(dataset, self.model.noise_shapes(), stage.seed), stage.batch_size, stage.threads, stage.seed,
            pin_memory=self.device.type == "cuda", parts=stage.accumulate,
            rank=self.peers.rank if self.peers else 0, ranks=self.peers.size if self.peers else 1,
        )  # fmt: skip
        self.amp = AMP[stage.amp]
        # By a proxy: in a circle the run, its loading processes and a GPU's memory would outlive their use.
        step = functools.partial(Run._step, weakref.proxy(self))
        self.captured = capture(step, self.device, "the training step", stage.cuda_graph,
                                self.model.uncapturable())
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=stage.amp == "float16")
        self.saved_at = time.monotonic()

    def next_stage(self) -> None:
        """Go on to the next stage with what the networks have learnt."""
        states = {name: network.state_dict() for name, network in self.model.networks().items()}
        averages = AdversarialTraining.training_state(self.model)
        at = self.position
        self.position = Position(stage=at.stage + 1, step=at.step, earlier=at.earlier + at.epoch)
        self.begin_stage()
        checkpoint.transfer(self.model.networks(), states)
        self.model.average()
        AdversarialTraining.load_training_state(self.model, averages)

    def _dataset(self, stage: Options) -> Dataset:
        dataset = DATASETS[get_task(stage.model_type)](
            self.source, self.target, stage.block_size, stage.image_height, stage.image_width,
            stage.load_height, stage.load_width, stage.flip, stage.seed,
            {"source": stage.source_pixels, "target": stage.target_pixels}, stage.cache,
        )  # fmt: skip
        kind = model_class(stage.model_type)
        if not stage.flow_cache or "flow_cache" not in kind.uses:
            return dataset
        from timecyclegan.datasets.flow_dataset import FlowVideoDataset
        from timecyclegan.flow.cache import FlowCache

        folder = Path(stage.flow_cache)
        parent = next(place for place in (folder, *folder.absolute().parents) if os.path.exists(place))
        if self.resume and not (os.path.isdir(parent) and os.access(parent, os.W_OK)):
            folder = self.folder / "flow_cache"  # it was another machine's; what is in it can be computed again
            note(f"--flow_cache {stage.flow_cache} cannot be written here: flow is kept in {folder}")
        cache = FlowCache(folder, choose_backend(stage.flow_backend, stage.flow_weights), stage.flow_weights)
        return FlowVideoDataset(dataset, cache, kind.flow_strides(stage), self.device)

    # ---- restoring and saving

    def _restore(self, saved: dict[str, Any]) -> None:
        """Take back what :meth:`save` wrote.

        Raises:
            UserError: the data are others: frames of other names, or source and target swapped. Other folders are fine
                if they hold sequences of the same names.
        """
        now, before = ((data["source"], data["target"]) for data in (self.data, saved["data"]))
        known = " and ".join(filter(None, before))
        if saved["data"]["digest"] not in (self.data["digest"], self.other_digest) or now == before[::-1] != before:
            raise UserError(f"the data changed: the run to resume was trained on other sequences, those of {known} as "
                            f"they were; restore them, or begin anew with --init_checkpoint_dir {self.folder}")
        if now != before:
            note(f"the run was begun with {known}")
        checkpoint.load_networks(self.model.networks(), saved["networks"], self.folder / checkpoint.LATEST)
        for role, optimizer in self.model.optimizers.items():
            # How it computes is a matter of this machine, and its rate one of the position.
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": saved["optimizers"][role]["state"], "param_groups": groups})
            for parameter, state in optimizer.state.items():  # which may have had another layout, see --channels_last
                for key, value in state.items():
                    if value.shape == parameter.shape:
                        state[key] = torch.empty_like(parameter).copy_(value)
        self.scaler.load_state_dict(saved["scaler"])
        self.model.load_training_state(saved.get("model", {}))
        torch.set_rng_state(saved["random"]["torch"])

    def save(self) -> None:
        """Write all that the run needs to go on from its position."""
        content = {
            "options": self.options.to_dict(),
            "position": dataclasses.asdict(self.position),
            "data": self.data,
            "networks": self._finite_weights(),
            "optimizers": {role: optimizer.state_dict() for role, optimizer in self.model.optimizers.items()},
            "scaler": self.scaler.state_dict(),
            "model": self.model.training_state(),
            "means": self.means.state(),
            "random": {"torch": torch.get_rng_state()},  # the only one that training draws from
        }
        if self.first:
            save(self.folder / checkpoint.LATEST, content)
        if self.log:
            self.log.flush()
        self.saved_at = time.monotonic()

    def save_weights(self, epoch: int) -> None:
        """Write each network's weights to a file of its own.

        Raises:
            NonFiniteLoss: a term, a gradient or a weight is not finite; nothing is written.
        """
        self.means.state()
        for name, state in self._finite_weights().items() if self.first else ():
            save(self.folder / f"{name}_{epoch}.pth", state)
        averages = AdversarialTraining.training_state(self.model).get("averages", {})  # without a model's pools
        for name, state in averages.items() if self.first else ():
            save(self.folder / f"{checkpoint.AVERAGE}{name}_{epoch}.pth", state)

    def _finite_weights(self) -> dict[str, checkpoint.State]:
        """The networks' weights on the CPU. A finite loss can have an infinite gradient: what came of that must not
        replace the last good checkpoint.

        Raises:
            NonFiniteLoss: a parameter is infinite or not a number.
        """
        states = {name: network.state_dict() for name, network in self.model.networks().items()}
        for name, state in states.items():
            if not all(value.isfinite().all() for value in state.values()):
                raise NonFiniteLoss(f"the weights of {name} became infinite or not a number")
        return {name: {key: value.cpu() for key, value in state.items()} for name, state in states.items()}

    def kept(self) -> str:
        """What a run that ends here leaves, and how to go on."""
        if not is_there(self.folder / checkpoint.LATEST):
            return "there is no checkpoint yet: begin again"
        steps = load(self.folder / checkpoint.LATEST)["position"]["step"]
        return f"the last checkpoint has {steps} steps: go on with --resume, by as many processes as you like"

    # ---- while it trains

    def agree(self, *flags: bool, patient: bool = False) -> list[bool]:
        """Of each flag, whether any process of the run raises it."""
        return self.peers.agree(*flags, patient=patient) if self.peers else list(flags)

    def train_on(self, batch: dict[str, Any], show: Callable[[dict[str, Tensor]], object] | None = None
                 ) -> dict[str, Tensor]:  # fmt: skip
        """A step on the next batch of the loader's, see ``AdversarialTraining.training_step``; the position moves on.

        Args:
            show: is given the videos of the step, see ``BaseModel.visuals``, which the next one overwrites.
        """
        at, sampler = self.position, self.loader.batch_sampler
        parts = sampler.shares(at.batch % len(sampler))  # who measures goes round and round
        draws = self.model.draws(self.stage.seed, at.step, [sum(counts) for counts in parts])
        tensors = {name: batch[name] for name in self.model.inputs}
        tensors |= {f"noise/{name}": drawn for name, drawn in batch["noise"].items()}
        tensors |= {f"draws{part}/{name}": drawn for part, its in enumerate(draws) for name, drawn in its.items()}
        losses, videos = self.captured(samples=sum(map(sum, parts)), **tensors)
        at.batch, at.step = at.batch + 1, at.step + 1
        if show:
            show(videos)
        return losses

    def _step(self, samples: int, **tensors: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """A step on a batch of so many samples as a function of tensors: its losses, and its videos."""
        parts = self.loader.batch_sampler.parts(samples)
        batch = {"noise": {}, "draws": [{} for _ in parts]}
        for name, tensor in tensors.items():
            kind, _, inner = name.rpartition("/")
            part = kind.removeprefix("draws")
            place = batch.get(kind, batch) if part == kind else batch["draws"][int(part)]
            place[inner] = tensor
        videos: dict[str, Tensor] = {}
        return self.model.training_step(batch, self.scaler, self.amp, videos.update, parts), videos

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Around the loop: no other process trains under this name, what was left behind is gone, and the log is open.

        Raises:
            UserError: another process is inside, or files cannot be written.
        """
        if self.peers:
            self._check_peers(self.peers)
        if not self.first:
            yield
            return
        latest, printed = self.folder / checkpoint.LATEST, threading.excepthook
        # Where its files cannot be written, TensorBoard's thread raises first and prints a traceback; then the call
        # that finds the thread dead raises, which says enough.
        threading.excepthook = lambda args: None if issubclass(args.exc_type, OSError) else printed(args)
        try:
            with exclusive(self.folder):
                self._clean()
                self.options.save(self.folder / checkpoint.OPTIONS)
                self.log = TrainingLog(RUNS / self.name, self.position.step)
                try:
                    if self.position.step == 0:
                        keep_settings(self.folder, self.source)
                        log_training(self.name, self.options.to_dict())
                        self.log.hparams(self.options.to_dict())
                    yield
                except BaseException:
                    with contextlib.suppress(UserError):  # must not hide what went wrong
                        self.log.close()
                    raise
                self.log.close()
        except NonFiniteLoss as error:
            remedy = "begin again"
            if latest.exists():
                remedy = ("the last checkpoint is from before. Go on from it under another name with "
                          f"--init_checkpoint_dir {self.folder},")
            raise NonFiniteLoss(f"{error}; {remedy} with a lower --learning_rate or loss weight") from error
        finally:
            threading.excepthook = printed

    def _check_peers(self, peers: Peers) -> None:
        """Begin with the same in all processes."""
        if not peers.same([dataclasses.asdict(self.position), self.data["digest"]]):
            raise UserError(f"the processes of {self.name} do not see the same data and the same checkpoint: put "
                            f"{self.folder} and the frames where all of them can read them")
        if not peers.same({key: value for key, value in self.options.to_dict().items() if key not in OWN}):
            raise UserError(f"the processes of {self.name} were started with different options: give all the same")
        peers.share_weights([*self.model.parameters(), *self.model.buffers()])

    def _clean(self) -> None:
        """Remove what killed writes left and, to overwrite a run, what that one did."""
        files = [path for folder in (self.folder, RUNS / self.name) for path in folder.glob(".*.tmp*")]
        if self.initialised:
            self.save()  # the weights that it begins with may be among the files that go
        if self.overwrite:
            saved = {self.folder / checkpoint.LATEST} if self.initialised else set()
            files += set(self.folder.glob("*.pth")) - saved
            shutil.rmtree(RUNS / self.name, ignore_errors=True)
        for path in files:
            with writing(path):
                path.unlink(missing_ok=True)

    def batches(self) -> Iterator[dict[str, Any]]:
        """The rest of the epoch. A frame that cannot be read, or a loader that ends, stops the run where it is.

        Raises:
            UserError: says what was saved, and how to go on; in all processes of the run, whichever it came from.
        """
        loader = iter(self.loader)
        while True:
            batch = trouble = None
            try:
                batch = next(loader, None)
            except UserError as error:
                trouble = error
            # Some may wait here while another one saves, or makes frames and flow ready for all.
            failed, = self.agree(bool(trouble), patient=True)
            if failed:
                trouble = trouble or LostWorker("another process of this run cannot load its data, and says why")
                kept = "There is no checkpoint yet: mend that, then begin again"
                if self.position.step:
                    self.save()
                    kept = (f"What was learnt is saved in {self.folder / checkpoint.LATEST}, {self.position.step} "
                            "steps: mend that, then go on with --resume")
                self.agree(True, patient=True)  # a process that ends takes the others with it, which may still save
                raise type(trouble)(f"{trouble}. {kept}") from trouble
            if batch is None:
                return
            yield batch


_locked: dict[Path, object] = {}  # by this process, whose own record locks do not keep out its threads


def _digest(names: list, form: str) -> str:
    """Of the names of all frames, in one of Unicode's forms."""
    text = unicodedata.normalize(form, json.dumps(names, ensure_ascii=False))
    return hashlib.sha256(json.dumps(json.loads(text)).encode()).hexdigest()


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Two processes or threads that train into one ``folder`` would overwrite each other's checkpoints.

    Where the file system knows no locks, a note says so.

    Raises:
        UserError: another one is inside this block for the same folder, or the lock's file cannot be written.
    """
    lock, mine = (folder.parent / fitting(f".{folder.name}", ".lock")).absolute(), object()
    if _locked.setdefault(lock, mine) is not mine:
        raise UserError(f"another thread of this process is training {folder.name} at this moment")
    try:
        with writing(lock):
            lock.parent.mkdir(parents=True, exist_ok=True)
            file = open(lock, "w")  # noqa: SIM115 (closed below)
        with file:
            try:
                # A record lock: it ends with this process, even if data workers outlive it for a moment.
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in (errno.EAGAIN, errno.EACCES):  # POSIX allows both
                    raise UserError(f"another process is training {folder.name} at this moment") from error
                note(f"{lock.parent} is on a file system without locks ({reason(error)}): see to it yourself that no "
                     f"other process trains {folder.name}")
            # The file stays: removing it would let a third process lock a new one while a second still opens this.
            yield
    finally:
        del _locked[lock]
