"""Bring files to new names and forms so that none is ever lost, half-written or overwritten.

A plan is written to ``OUT/.unfinished.json`` before anything is touched, and its removal is the last thing that is
done: a run that was killed, at whatever moment, is gone on with by the same command. A file is moved in three acts: it
is copied (a hard link, where the file system can), the copy is compared with it byte by byte, only then the original
is removed. Where a new name is the old one of another file, the file waits in ``OUT/.unfinished`` until all old names
are free; the plan then becomes ``.placing.json``, since from there on an old name may be another file's new one.
"""
import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from timecyclegan.data.planning import COPY, MOVE, Job, Step, check, counted, equal, show
from timecyclegan.util.errors import UserError

WORKSPACE, BRINGING, PLACING = ".unfinished", ".unfinished.json", ".placing.json"


def carry_out(job: Job, plan: Callable[[], Sequence[Step]], dry_run: bool = False,
              remember: Callable[[], None] = lambda: None) -> None:
    """Do what ``plan`` says, or go on with what was begun (``plan`` is then not asked: files have moved since).

    With ``dry_run`` only say so; conflicts are found all the same. ``remember`` may write down what is needed later; it
    is called when there are no conflicts, before anything is touched.

    Raises:
        UserError: ``job.root`` is no folder, another command is unfinished in ``job.out``, steps are in conflict (see
            :func:`check`), or a file cannot be read or written. After the last, the same command goes on.
    """
    with _alone(job.root), _alone_in_results(job, dry_run):
        steps = _unfinished(job)
        begun = steps is not None
        if steps is None:
            # What only reads its source comes first: if a file is damaged, nothing has been moved yet.
            steps = sorted(plan(), key=lambda step: step.act == MOVE)
            steps = [step for step in steps if step.act in job.makers or job.source(step) != job.target(step)]
            check(job, steps)
        else:
            print("going on with what was begun")
        if dry_run:
            show(job, steps)
            return
        if not begun:
            remember()
        if not begun and job.root != job.out and all(map(job.is_there, steps)):
            print("all is done already")
            return
        if begun or steps:
            _Mover(job, steps).run(begun)
        print(f"done: {counted(steps)}")


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two processes at once would trip over each other's files."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise UserError(f"cannot read folder {folder}: {error.strerror}; give a folder that is there") from error
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(f"another process is working in {folder} at this moment") from error
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _alone_in_results(job: Job, dry_run: bool) -> Iterator[None]:
    """The same for the folder of the results, which is made for that, and goes if it stays empty."""
    if job.out == job.root or (dry_run and not job.out.exists()):
        yield
        return
    made = [folder for folder in (job.out, *job.out.parents) if not folder.exists()]
    try:
        job.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make folder {job.out}: {error.strerror}; choose another one") from error
    try:
        with _alone(job.out):
            yield
    finally:
        with contextlib.suppress(OSError):  # another process was quicker
            for folder in made if not any(job.out.iterdir()) else ():
                folder.rmdir()


def _unfinished(job: Job) -> list[Step] | None:
    """The plan of an earlier run of this command that did not end, if there is one."""
    path = next((path for path in (job.out / BRINGING, job.out / PLACING) if path.exists()), None)
    if path is None:
        return None
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    if (key := found["job"]) != job.key:
        flags = "".join(f", {name} {value}" for name, value in key["arguments"].items())
        raise UserError(f"{job.out} holds an unfinished run of {key['command']} on {key['folder']}{flags}; "
                        "run that again, it goes on where it stopped")
    return [Step(*step) for step in found["steps"]]


class _Mover:
    """Carries a plan out, from whatever state an earlier run of it left."""

    def __init__(self, job: Job, steps: list[Step]):
        self.job, self.steps, self.work = job, steps, job.out / WORKSPACE
        leaving = job.leaving(steps)
        self.waiting = {number: step for number, step in enumerate(steps) if job.target(step) in leaving}

    def run(self, begun: bool) -> None:
        bringing, placing = self.job.out / BRINGING, self.job.out / PLACING
        try:
            if not begun:
                self._begin(bringing)
            if not placing.exists():
                for number, step in enumerate(tqdm(self.steps, unit="file", disable=None)):
                    self._bring(number, step)
                os.rename(bringing, placing)
            for number, step in self.waiting.items():
                self._place(self.work / str(number), step)
            self._remove_empty_folders()
            self._discard(placing)
        except OSError as error:
            name = error.filename2 or error.filename or self.job.out
            raise UserError(f"cannot write {name}: {error.strerror or error}; nothing is lost, the same command goes "
                            "on") from error

    def _begin(self, plan: Path) -> None:
        stray = [path for path in self.work.glob("*") if path.name.isdecimal()]
        if stray:
            raise UserError(f"{self.work} holds files of an unfinished run, but its plan is gone; move them away")
        self.work.mkdir(parents=True, exist_ok=True)
        try:
            with open(self.work / "plan", "w") as file:
                json.dump({"job": self.job.key, "steps": self.steps}, file)
                file.flush()
                os.fsync(file.fileno())
            os.rename(self.work / "plan", plan)
        except OSError:  # the disk is full
            self._clear()
            raise

    def _bring(self, number: int, step: Step) -> None:
        """Copy, move or make one file: to its new place, or to where it waits for that."""
        source, target = self.job.source(step), self.job.target(step)
        if number in self.waiting:
            target = self.work / str(number)
        try:
            if not target.exists():
                if not source.exists():
                    raise UserError(f"{source} is gone since the command began; put it back and run it again")
                target.parent.mkdir(parents=True, exist_ok=True)
                self._copy(step, source, target, self.work / f"part-{number}{Path(step.target).suffix}")
            if step.act == MOVE and source.exists():
                _compare(source, target)
                source.unlink()
        except (UserError, OSError):
            if all(self.job.source(step).exists() for step in self.steps):  # nothing has been moved: begin anew then
                self._discard(self.job.out / BRINGING)
            raise

    def _copy(self, step: Step, source: Path, target: Path, part: Path) -> None:
        if step.act == MOVE and _linked(source, target):
            return
        if step.act in (MOVE, COPY):
            shutil.copy2(source, part)
            _compare(source, part)
        else:
            self.job.makers[step.act](source, part)
        os.rename(part, target)

    def _place(self, waiting: Path, step: Step) -> None:
        target = self.job.target(step)
        if not waiting.exists():  # placed before the command was killed
            return
        if step.act == MOVE and os.path.lexists(target):
            raise UserError(f"{target} appeared while the command ran; move it away and run the command again")
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(waiting, target)

    def _remove_empty_folders(self) -> None:
        moved = [Path(step.source) for step in self.steps if step.act == MOVE]
        folders = {parent for path in moved for parent in path.parents if parent.name}
        for folder in sorted(folders, key=lambda folder: len(folder.parts), reverse=True):
            with contextlib.suppress(OSError):  # it holds something else, or is gone
                (self.job.root / folder).rmdir()

    def _discard(self, plan: Path) -> None:
        """Remove what the run used; the plan last, while it is there another run can begin again from it."""
        self._clear()
        plan.unlink()

    def _clear(self) -> None:
        if self.work.exists():
            for path in self.work.iterdir():
                path.unlink()
            self.work.rmdir()


def _linked(source: Path, target: Path) -> bool:
    """Give a file its second name; False where the file system cannot, or the file is a link itself."""
    if source.is_symlink():
        return False
    try:
        os.link(source, target)
    except OSError:
        return False
    return True


def _compare(source: Path, copy: Path) -> None:
    """Make sure of a copy, also that it is on disk."""
    if not copy.samefile(source):
        with open(copy, "rb") as file:
            os.fsync(file.fileno())
    if not equal(source, copy):
        raise UserError(f"{copy} differs from {source}, of which it should be a copy; is the disk failing, or was one "
                        "changed? Remove the wrong one and run the command again")
