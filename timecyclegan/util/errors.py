"""Errors that the user can cause and mend: one clear line, exit code 2, no traceback."""
import difflib
import functools
import io
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


def command(main: Callable[..., int | None]) -> Callable[..., int]:
    """Decorate a command's ``main``: a :class:`UserError` is one line on stderr and exit code 2, without traceback.

    So is a GPU's memory that is too small, and Ctrl-C, with the exit code that shells give it, 130. What the terminal's
    encoding lacks (names may hold anything) is printed escaped.
    """

    @functools.wraps(main)
    def wrapper(*args, **kwargs) -> int:
        _noted.clear()
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        try:
            return main(*args, **kwargs) or 0
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        except Exception as error:
            if type(error).__name__ != "OutOfMemoryError":  # torch's, which takes seconds to import
                raise
            print("error: the GPU's memory is too small: lower the batch size, the block size, the pictures' size or "
                  "the numbers of filters", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 130

    return wrapper
