"""A new folder made of an old one, which is only read: files as hard links or copies, or made of the old ones."""
import filecmp
import itertools
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from timecyclegan.util.errors import UserError, note
from timecyclegan.util.files import replacing, temporary_parts
from timecyclegan.util.names import LONGEST, difference, one_form, one_line, user_path
from timecyclegan.video.frames import few, natural_key
from timecyclegan.video.listing import HIDDEN, IMAGE_SUFFIXES, list_folder

_SHOWN = 10  # files that a dry run lists


def make_folder(root: Path, out: Path, names: Mapping[str, str | None],
                make: Callable[[Path], bytes | None] = lambda path: None, copy: bool = False, dry_run: bool = False,
                before: Callable[[], None] = lambda: None) -> None:
    """Bring ``root/old`` to ``out/new`` for every (old, new) of ``names``; what has no new name is left out, and named.

    All is checked before anything is written. Every file appears whole under its name, and one that is there with its
    content is skipped: a run that was killed goes on when it is repeated, and ends in the same folder.

    Args:
        names: relative paths, posix.
        make: gives the new content; None where that is the old one. Then the new file is a hard link to the old one (or
            to what it links to), or a copy with ``copy`` and where the file system does not link them.
        before: called when all is checked, before the first file is written.

    Raises:
        UserError: an old file cannot be read; two new names exclude each other; one leads out of ``out`` or into
            ``root``, is too long, or is there with other content; a file cannot be written.
    """
    root, out = user_path(root), user_path(out)
    check_apart(root, out)
    chosen = {old: new for old, new in names.items() if new is not None}
    if left := [old for old, new in names.items() if new is None]:
        note(f"{len(left)} file{'s' * (len(left) > 1)} of {root} left out: {few(left)}")
    _check_names(root, out, chosen)
    todo = {old: new for old, new in tqdm(chosen.items(), "checking", unit="file", leave=False, disable=None)
            if not _is_there(root / old, out / new, make, copy)}
    there = f" ({len(chosen) - len(todo)} were there already)" if len(todo) < len(chosen) else ""
    if dry_run:
        for old, new in list(todo.items())[:_SHOWN]:
            print(one_line(f"{root / old} -> {out / new}"))
        more = f", {len(todo) - _SHOWN} of them not shown" if len(todo) > _SHOWN else ""
        print(f"nothing was written; without --dry_run: {len(todo)} files{more}{there}")
        return
    before()
    for torn in torn_files(out, chosen.values()):
        torn.unlink()
    links = 0
    for old, new in tqdm(todo.items(), unit="file", disable=None):
        links += _write(root / old, out / new, make, copy)
    warning = f"; {links} are hard links: to edit them in place would change {root}, see --copy" if links else ""
    print(f"{len(chosen)} files in {out}{there}{warning}")


def torn_files(out: Path, names: Iterable[str]) -> list[Path]:
    """What runs that were killed amid writing the files ``names`` left in ``out``, see ``util.files.replacing``."""
    made = {(path.parent, *temporary_parts(path.name)) for path in (out / name for name in names)}
    temporary = re.compile(r"(\..+)\.\d+\.tmp(\.[^.]*)?", re.DOTALL)
    found = ((path, temporary.fullmatch(path.name)) for path in out.rglob(".*.tmp*"))
    return [path for path, match in found if match and (path.parent, match[1], match[2] or "") in made]


def check_apart(root: Path, out: Path) -> None:
    """Raise a UserError if ``out`` is ``root`` or lies in it, also by links."""
    if real_path(out).is_relative_to(real_path(root)):
        raise UserError(f"{out} is or lies in {root}, which is only read; choose another OUT")


def real_path(path: Path) -> Path:
    """Without links, but where one leads to itself: there is an error when it is used."""
    return Path(os.path.realpath(path))


def files_below(root: Path, out: Path) -> list[str]:
    """All files below ``root``, relative to it, in natural order. Links are followed; a note names hidden files.

    Raises:
        UserError: there is none, a folder cannot be read, a link leads nowhere, to a folder above it or into ``out``, a
            pipe or the like is called like a frame, or ``out`` lies in ``root``.
    """
    def below(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
        real = real_path(folder)
        if real in above:
            raise UserError(f"{folder} is a link to a folder above it; remove the link")
        if real.is_relative_to(into) and not real_path(root).is_relative_to(into):
            raise UserError(f"{folder} leads into {out}; choose another OUT")
        here = list_folder(folder)
        lost.extend(here.lost)
        hidden.extend(here.left.pop(HIDDEN, ()))
        for path in (*here.images, *here.videos, *itertools.chain.from_iterable(here.left.values())):
            yield path.relative_to(root)
        for inside in here.folders:
            yield from below(inside, (*above, real))

    root, out = user_path(root), user_path(out)
    check_apart(root, out)
    into, lost, hidden = real_path(out), [], []
    found = sorted(below(root, ()), key=lambda path: [natural_key(part) for part in path.parts])
    if lost:
        raise UserError(f"{root} holds what cannot be read: {few(lost)}; mend or remove it")
    if hidden:
        note(f"{root}: left out are {HIDDEN}: {few([path.relative_to(root).as_posix() for path in hidden])}")
    if not found:
        raise UserError(f"folder {root} holds no files")
    return [path.as_posix() for path in found]


def images_below(root: Path, out: Path) -> dict[str, str | None]:
    """Names for :func:`make_folder` under which images, one at least, keep theirs, and other files are left out."""
    names = {name: name if Path(name).suffix.lower() in IMAGE_SUFFIXES else None for name in files_below(root, out)}
    if not any(names.values()):
        raise UserError(f"folder {root} holds no images")
    return names


def _check_names(root: Path, out: Path, names: Mapping[str, str]) -> None:
    # By name in small letters and one Unicode form: the name, whether it is a file's, and whose.
    seen: dict[str, tuple[PurePosixPath, bool, str]] = {}
    for old, new in names.items():
        path = PurePosixPath(new)
        if not path.parts or path.is_absolute() or ".." in path.parts:
            raise UserError(f"{root / old} would become {new!r}, which is no name below {out}")
        if any(len(os.fsencode(part)) > LONGEST for part in path.parts):
            raise UserError(f"{root / old} would become {out / new}, a longer name than file systems take; rename it")
        if not (root / old).is_file() or not os.access(root / old, os.R_OK):
            raise UserError(f"{root / old} is no file that can be read, or a link to none; remove it")
        for place in (path, *path.parents[:-1]):
            *found, of = seen.setdefault(one_form(str(place)).casefold(), (place, place == path, old))
            if found != [place, place == path] or (place == path and of != old):
                how = "" if found[0] == place else f" ({difference(str(found[0]), str(place))})"
                raise UserError(f"{root / of} and {root / old} would become {names[of]} and {new}, which cannot both "
                                f"be on every file system{how}; rename one")
    for folder in {(out / new).parent for new in names.values()}:
        above = next(parent for parent in (folder, *folder.parents) if os.path.lexists(parent))
        if not above.is_dir():
            raise UserError(f"{above} is a file where a folder must be; move it away or choose another OUT")
        check_apart(root, folder)  # by a link in OUT


def _is_there(old: Path, new: Path, make: Callable[[Path], bytes | None], copy: bool) -> bool:
    """Whether nothing is left to do; a UserError if something else is there."""
    if not os.path.lexists(new):
        return False
    if new.is_file():
        content, linked = make(old), new.samefile(old)
        if content is None and (linked or filecmp.cmp(old, new, shallow=False)):
            return not (copy and linked)
        if content is not None and new.read_bytes() == content:
            return True
    raise UserError(f"{new} is there and is not what {old} becomes; move it away or choose another OUT")


def _write(old: Path, new: Path, make: Callable[[Path], bytes | None], copy: bool) -> bool:
    """Write one file; returns whether it is a hard link."""
    content = make(old)
    if content is None and not copy:
        try:
            new.parent.mkdir(parents=True, exist_ok=True)
            os.link(old.resolve(), new)  # of a link it would be one more link
            return True
        except OSError:  # not from this file system, or not for this user; what else is wrong, the copy tells
            pass
    with replacing(new) as temporary:
        if content is None:
            shutil.copy2(old, temporary)
        else:
            temporary.write_bytes(content)
    return False
