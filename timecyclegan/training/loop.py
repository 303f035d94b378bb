"""The training loop, from top to bottom. What surrounds it (finding, restoring and saving a run) is in ``run``."""
import functools
import signal
import sys
import time
from typing import Any

from tqdm import tqdm

from timecyclegan.datasets.loading import LostWorker
from timecyclegan.training.distributed import LostProcess
from timecyclegan.training.run import Run
from timecyclegan.training.schedule import describe, learning_rate
from timecyclegan.util.device import device_name, trouble
from timecyclegan.util.errors import mute
from timecyclegan.util.names import one_line
from timecyclegan.util.signals import signals


def train(run: Run) -> bool:
    """Train until the end, or until a signal (``util.signals``); returns whether the end was reached.

    In another thread than a program's main one no signal is heard.

    Raises:
        NonFiniteLoss: see ``models.base_model``; the last checkpoint stays.
        UserError: a frame cannot be read or a loading process was lost (what was learnt is saved), or files cannot be
            written.
    """
    if run.finished():
        epochs = run.position.earlier + run.position.epoch
        print(f"{run.name} is finished after {epochs} epochs; a higher --num_epochs goes on")
        return True
    mute()  # a daemon, or a program with windows, has no output
    why = trouble(run.options.gpu) if run.options.gpu >= 0 and run.device.type == "cpu" else ""
    print(f"{run.name} trains on {device_name(run.device)}{f' ({why})' * bool(why)}")
    stop: list[int] = []  # the signals that came
    with signals(stop.append), run.opened():
        try:
            done = _train(run, stop)
        except LostWorker:
            if not stop:
                raise
            run.save()  # batch systems send their signal to all processes: the loaders may hear it first
            done = False
        except LostProcess as error:
            raise LostProcess(f"{error}; {run.kept()}") from error
    if stop or not done:
        mute()  # whoever gave the signal may have taken the terminal away
        name = signal.Signals(stop[-1]).name if stop else "a signal to another of its processes"
        print(f"{name} came when {run.name} was finished" if done else
              f"stopped by {name}; saved. Go on with --resume")
    return done


class _Stderr:
    """Where the progress bar goes. If nobody can read it any more, the run ends as by a signal, SIGPIPE's."""

    def __init__(self, stop: list[int]):
        self.stop = stop

    def write(self, text: str) -> None:
        try:
            sys.stderr.write(text)
        except OSError as error:
            mute()
            if isinstance(error, BrokenPipeError):
                self.stop.append(signal.SIGPIPE)

    def flush(self) -> None:
        self.write("")  # stderr keeps nothing back

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)


def _train(run: Run, stop: list[int]) -> bool:
    while True:  # stages
        stage, at, model, loader, log = run.stage, run.position, run.model, run.loader, run.log
        last_stage, steps = at.stage + 1 == len(run.stages), len(loader)
        if len(run.stages) > 1:
            print(f"stage {at.stage + 1} of {len(run.stages)}: {describe(stage)}")
        with tqdm(
            total=stage.num_epochs * steps, initial=at.epoch * steps + at.batch, desc=one_line(run.name), unit="step",
            file=_Stderr(stop), dynamic_ncols=True, disable=log is None,
            mininterval=0.1 if sys.stderr.isatty() else 10,  # a log file need not hold every step
        ) as bar:  # fmt: skip
            while at.epoch < stage.num_epochs:
                rate = learning_rate(stage, at.epoch)
                model.set_learning_rate(rate)
                # Counted over all stages, so that no stage draws the clips of an earlier one again.
                epoch = at.earlier + at.epoch
                loader.batch_sampler.set_position(epoch, at.batch)

                for batch in run.batches():
                    # Step
                    step, last_batch = at.step + 1, at.batch + 1 == steps
                    pictures = step % stage.log_images_every == 0 if stage.log_images_every else last_batch
                    show = functools.partial(log.videos, step=step) if pictures and log else None
                    run.means.add(run.train_on(batch, show))

                    # Report means since the last entry
                    means = run.means.glance().items()
                    shown = " ".join(f"{name[0]}.{name.split('/')[1]}={mean:.3g}" for name, mean in means)
                    bar.set_postfix_str(f"epoch {epoch + 1} {shown}", refresh=False)
                    bar.update()
                    late = time.monotonic() - run.saved_at > 60 * stage.save_minutes
                    stopping, late, wrong = run.agree(bool(stop), late, run.means.wrong)
                    if wrong:
                        run.means.state()  # says what, in all processes
                    if step % stage.log_every == 0:
                        entry = run.means.values()
                        if log:
                            log.scalars({**entry, "learning_rate": rate}, step, epoch + 1)
                        run.means.clear()

                    # Save
                    if not last_batch:
                        if stopping or late:
                            run.save()
                        if stopping:
                            return False

                at.epoch, at.batch = at.epoch + 1, 0
                # Weight files first: if the run is killed between the two, the epoch is repeated and writes them again.
                if (epoch + 1) % stage.save_every == 0 or (last_stage and at.epoch == stage.num_epochs):
                    run.save_weights(epoch + 1)
                run.save()
                if stopping:
                    return run.finished()
        if last_stage:
            return True
        run.next_stage()  # resumed before its first checkpoint, it begins again, in the same way
