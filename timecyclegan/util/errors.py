"""Errors that the user can cause and mend: one clear line, exit code 2, no traceback."""
import contextlib
import difflib
import errno
import functools
import io
import os
import re
import resource
import select
import sys
from collections.abc import Callable, Iterable

from timecyclegan.util.names import look_alike, one_line, readable


class UserError(Exception):
    """What was given, what was expected, which file or flag, and what to do, in one line.

    Raise it for everything that a user can mend. Programming errors raise ordinary exceptions. What would break the
    line, a name may hold anything, is escaped.
    """

    def __str__(self) -> str:
        return one_line(super().__str__())


_noted: set[str] = set()  # in this command


def note(text: str) -> None:
    """Print a note, in one line, and only once in a command: folders may be searched, and models built, again."""
    if text not in _noted:
        _noted.add(text)
        print(f"note: {one_line(readable(text))}")  # any UTF-8 terminal takes it, also where no command prepared it


def suggestion(value: str, known: Iterable[str]) -> str:
    """What an error may end with: "; did you mean ...?" with the nearest ``known`` name, if one is near."""
    known = list(known)
    near = difflib.get_close_matches(value, known, n=1)
    alike = "" if value.isascii() else look_alike(value, known)  # a dash that a text processor made of two, say
    return (f"; did you mean {near[0]}?" if near else "") + alike


def unknown(flag: str, value: str, known: Iterable[str]) -> UserError:
    """The error for a name that is not among the ``known`` ones; suggests the nearest."""
    known = list(known)
    return UserError(f"{flag} {value!r} is not known{suggestion(value, known)} (known: {', '.join(known)})")


# What a machine, and not a file's content, can refuse. Libraries (PyTorch, FFmpeg) wrap such errors in ones of their
# own kind, which then only quote the system's words.
_OF_THE_MACHINE = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS,
                   errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ENAMETOOLONG, errno.ENOLCK, errno.ELOOP}
_MEMORY = re.compile("Insufficient memory|can.t allocate memory")  # OpenCV's words, and PyTorch's
# Where a library, and not a file, ends: Pillow's largest picture and longest text, codecs that it was built without,
# how deep Python's readers go, and how wide a picture OpenCV's cv2.remap takes.
_LIMIT = re.compile(r"DecompressionBombError|RecursionError|MAX_TEXT_|coder \S+ not available|SHRT_MAX")


def machine_errno(error: BaseException) -> int | None:
    """The number of the system's error that an error is, came of (``__cause__``, ``__context__``) or quotes."""
    code, text = getattr(error, "errno", None), " ".join(str(error).split())
    if code and (isinstance(error, OSError) or code in _OF_THE_MACHINE):  # FFmpeg's errors have numbers of their own
        return code
    if isinstance(error, MemoryError) or _MEMORY.search(text):
        return errno.ENOMEM
    if quoted := [code for code in _OF_THE_MACHINE if os.strerror(code) in text]:
        return quoted[0]
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    code = machine_errno(before) if before else None
    return code if code in _OF_THE_MACHINE else None


def reason(error: BaseException) -> str | None:
    """Why a call failed where that is no fault of what it was given: the system's own words, or a library's limit.

    None: nothing of that kind is known, so that what was given may well be damaged.
    """
    if code := machine_errno(error):
        words = (getattr(error, "errno", None) == code and getattr(error, "strerror", None)) or os.strerror(code)
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return f"{words} (this process may open {limit}, see ulimit -n)" if code == errno.EMFILE else words
    text = " ".join(str(error).split())
    if type(error).__name__ == "OutOfMemoryError":  # PyTorch's, which takes seconds to import
        return "the GPU's memory is too small"
    limited = _LIMIT.search(f"{type(error).__name__}: {text}")
    return f"a limit of the library: {text or type(error).__name__}" if limited else None


def link_to_nothing(path: str | os.PathLike) -> str | None:
    """What ``path`` is, for a message, if it is a link that leads nowhere, or lies behind a link to itself."""
    try:
        os.stat(path)
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "a link to itself" if os.path.islink(path) else "behind a link to itself"
        if error.errno in (errno.ENOENT, errno.ENOTDIR) and os.path.islink(path):
            return f"a link to {os.readlink(path)}, which is not there"
    return None


def failed(what: str, error: BaseException, otherwise: str) -> UserError:
    """What to say of a call that failed: "``what``: why", by :func:`reason`, or ``otherwise`` where that knows none."""
    why = reason(error)
    return UserError(f"{what}: {why}" if why else otherwise)


def mute() -> None:
    """Let an output that is lost (a closed terminal or pipe, a full disk, or none at all) lead nowhere, not fail."""
    for name in ("stdout", "stderr"):
        if (stream := getattr(sys, name)) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (stays open)
            continue
        with contextlib.suppress(AttributeError, OSError, ValueError):  # not of this process, or closed
            look = select.poll()
            look.register(stream.fileno(), 0)  # asked for nothing, it tells errors and hang-ups
            try:
                stream.flush()
                lost = bool(look.poll(0))
            except OSError:
                lost = True
            if lost:
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)


def command(main: Callable[..., int | None]) -> Callable[..., int]:
    """Decorate a command's ``main``: a :class:`UserError` is one line on stderr and exit code 2, without traceback.

    So is what the machine refuses where nothing more can be said, such as memory that is too small. Ctrl-C has the exit
    code that shells give it, 130, and so has a reader of the output that is gone (``| head``), 141. What the terminal's
    encoding lacks (names may hold anything) is printed escaped.
    """

    @functools.wraps(main)
    def wrapper(*args, **kwargs) -> int:
        _noted.clear()
        mute()
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        line, named = "", True  # whether the line says what failed
        try:
            try:
                os.getcwd()
            except FileNotFoundError as error:  # libraries would blame files of their own
                raise UserError("the current folder is gone: change into one that is there") from error
            code = main(*args, **kwargs) or 0
        except UserError as error:
            code, line = 2, f"error: {error}"
        except KeyboardInterrupt:
            code, line = 130, "interrupted"
        except BrokenPipeError:
            code = 141
        except Exception as error:
            why, file = reason(error), getattr(error, "filename", None)
            if why is None:
                raise
            if machine_errno(error) == errno.ENOMEM:
                why = "the computer's memory is too small"
            if "memory is too small" in why:
                why += ": lower the batch size, the block size, the pictures' size or the numbers of filters"
            code, line = 2, f"error: {f'{file}: ' if file else ''}{why}"
            named = bool(file) or not isinstance(error, OSError)
        try:
            try:
                # Here, and not when Python ends, where it would complain. Where nothing is named, it may be the output.
                print(end="" if named else "\n", flush=True)
            except OSError as error:
                mute()
                if not isinstance(error, BrokenPipeError) and (not code or not named):
                    code, line = 2, f"error: cannot write the standard output: {reason(error)}"
            if line:
                print(f"{line}\n", end="", file=sys.stderr, flush=True)  # at once: other processes may write there, too
        except OSError:
            mute()
        return code

    return wrapper
