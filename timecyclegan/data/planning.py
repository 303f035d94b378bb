"""Plans of what becomes of files: their steps, and the conflicts among them, found before anything is touched."""
import argparse
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from filecmp import cmp
from pathlib import Path
from typing import Any, NamedTuple

from timecyclegan.util.errors import UserError
from timecyclegan.video.frames import natural_key

MOVE, COPY = "move", "copy"
_LONGEST_NAME = 255  # bytes
_SHOWN = 10  # steps that a dry run lists


class Step(NamedTuple):
    """What becomes of one file: ``act`` is MOVE, COPY or the name of one of the job's makers."""
    source: str  # relative to Job.root, posix
    target: str  # relative to Job.out
    act: str


@dataclass
class Job:
    """A command at work on the files below ``root``, with results below ``out``, which may be the same folder.

    ``makers`` write a new file (second path) from an old one (first path), always the same bytes; the old one stays,
    or is replaced where the new one takes its name. ``arguments`` is what else the plan depends on, JSON-ready.

    Raises:
        UserError: ``out`` lies within ``root``.
    """

    command: str
    root: Path
    out: Path
    arguments: dict[str, Any] = field(default_factory=dict)
    makers: dict[str, Callable[[Path, Path], None]] = field(default_factory=dict)

    def __post_init__(self):
        self.root, self.out = Path(self.root).resolve(), Path(self.out).resolve()
        if self.root != self.out and self.out.is_relative_to(self.root):
            raise UserError(f"{self.out} lies in {self.root}, whose files it would be taken for; choose another folder")
        self.key = {"command": self.command, "folder": str(self.root), "arguments": self.arguments}

    def source(self, step: Step) -> Path:
        return self.root / step.source

    def target(self, step: Step) -> Path:
        return self.out / step.target

    def is_there(self, step: Step) -> bool:
        """Whether nothing is left to do for a step without conflict, of a job with results in another folder."""
        return step.act != MOVE and self.target(step).exists()

    def leaving(self, steps: Sequence[Step]) -> set[Path]:
        """Paths that are free in the end, or hold what was made of what they hold now."""
        return {self.source(step) for step in steps
                if step.act == MOVE or (step.act in self.makers and self.source(step) == self.target(step))}


def folder_arguments(prog: str, description: str, copy: bool = True, in_place: bool = True) -> argparse.ArgumentParser:
    """The parser of a command on ``FOLDER [OUT]``, with ``--dry_run`` and, for those that move files, ``--copy``."""
    head, _, more = description.partition("\n\n")
    parser = argparse.ArgumentParser(prog=f"python -m timecyclegan.data.{prog}", description=head,
                                     epilog=" ".join(more.split()))
    parser.add_argument("folder", metavar="FOLDER", type=Path)
    parser.add_argument("out", metavar="OUT", type=Path, nargs="?" if in_place else None,
                        help="where the results go" + in_place * " (default: FOLDER)")
    if copy:
        parser.add_argument("--copy", action="store_true", help="leave FOLDER as it is" + in_place * "; needs OUT")
    parser.add_argument("--dry_run", action="store_true", help="only say what would be done")
    return parser


def files_below(root: Path, needed: bool = True) -> list[str]:
    """All files below ``root`` but hidden ones, relative to it, in natural order.

    Raises:
        UserError: there is none (if one is ``needed``), a folder cannot be read, or one is a link (its files belong
            elsewhere).
    """
    def failed(error: OSError) -> None:
        raise UserError(f"cannot read folder {error.filename}: {error.strerror}") from error

    found = []
    for name, subfolders, names in os.walk(root, onerror=failed):
        folder = Path(name)
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for linked in (folder / name for name in subfolders if (folder / name).is_symlink()):
            raise UserError(f"{linked} is a link to another folder; run the command there, or remove the link")
        found += [(folder / name).relative_to(root) for name in names if not name.startswith(".")]
    if needed and not found:
        raise UserError(f"folder {root} holds no files")
    return [path.as_posix() for path in sorted(found, key=lambda path: [natural_key(part) for part in path.parts])]


def check(job: Job, steps: Sequence[Step]) -> None:
    """Find what would go wrong.

    Raises:
        UserError: two files would get one name, a new name belongs to another file (with other content) already,
            copies in the same folder.
    """
    if job.root == job.out and any(step.act == COPY for step in steps):
        raise UserError(f"--copy leaves {job.root} as it is: give the folder OUT where the copies go")
    first: dict[Path, Step] = {}
    for step in steps:
        if (other := first.setdefault(job.target(step), step)) is not step:
            raise UserError(f"{other.source} and {step.source} would both become {job.target(step)}; rename one")
    leaving, folders = job.leaving(steps), {parent for target in first for parent in target.parents}
    with tempfile.TemporaryDirectory() as scratch:
        for target, step in first.items():
            source = job.source(step)
            if not source.is_file():
                raise UserError(f"{source} is no file, or a link to none; remove it")
            above = next(parent for parent in target.parents if os.path.lexists(parent))
            if not above.is_dir() or target in folders:
                raise UserError(f"{source} would become {target}, but {above if target not in folders else target} "
                                "cannot be a file and a folder; rename one")
            if len(os.fsencode(target.name)) > _LONGEST_NAME:
                raise UserError(f"{source} would become {target}, a longer name than file systems take; rename it")
            if os.path.lexists(target) and target not in leaving and not _is_result(job, step, Path(scratch)):
                raise UserError(f"{source} would become {target}, which exists with other content; move it away or "
                                "choose another folder")


def _is_result(job: Job, step: Step, scratch: Path) -> bool:
    """Whether the target is there already, from an earlier run."""
    if not job.target(step).is_file():
        return False
    wanted = job.source(step)
    if step.act in job.makers:
        wanted = scratch / f"made{Path(step.target).suffix}"
        job.makers[step.act](job.source(step), wanted)
    return equal(wanted, job.target(step))


def equal(one: Path, other: Path) -> bool:
    """Whether two files hold the same bytes; all are compared."""
    return one.samefile(other) or cmp(one, other, shallow=False)


def show(job: Job, steps: Sequence[Step]) -> None:
    """Print what a dry run has to say."""
    for step in steps[:_SHOWN]:
        print(f"{step.act}: {job.source(step)} -> {job.target(step)}")
    if len(steps) > _SHOWN:
        print(f"... and {len(steps) - _SHOWN} more")
    print(f"nothing was changed; without --dry_run: {counted(steps)}")


def counted(steps: Sequence[Step]) -> str:
    """"move 3 files, colour 1 file"."""
    return ", ".join(f"{act} {count} file{'s' * (count != 1)}" for act, count in
                     Counter(step.act for step in steps).items()) or "nothing to do"
