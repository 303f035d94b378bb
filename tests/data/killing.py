"""Kill a command before each of its file operations, or amid its writing, and see what it leaves and how it goes on."""
import itertools
import os
import signal
import sys
from collections import Counter

OPERATIONS = {"os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "shutil.copyfile"}
_left = None  # operations until the end; None: nobody is to be killed
_real = False


class Killed(BaseException):
    """Stands for SIGKILL: from here on every file operation fails with it, also those of ``finally``."""


def _watch(event, arguments):
    global _left
    writing = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    if _left is None or not (event in OPERATIONS or writing):
        return
    _left -= 1
    if _left >= 0:
        return
    if writing and _left == -1:  # amid writing
        left, _left = _left, None
        with open(arguments[0], "wb") as file:
            file.write(b"half of it")
        _left = left
    if _real:
        os.kill(os.getpid(), signal.SIGKILL)
    raise Killed


sys.addaudithook(_watch)  # stays as long as the process


def write(folder, files):
    """Write files, bytes by relative path; what :func:`contents` reads."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def contents(folder):
    """{path relative to ``folder``: bytes} of all files, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def killed_before(number, call):
    """Call, but be killed before the file operation of this number; False: it came to its end."""
    global _left
    _left = number
    try:
        call()
        return False
    except Killed:
        return True
    finally:
        _left = None


def really_killed_before(number, call):
    """The same by SIGKILL, in a process of its own."""
    global _left, _real
    child = os.fork()
    if child == 0:
        _left, _real = number, True
        try:
            call()
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), f"the command failed by itself: {status}"
    return status != 0


def check_killed_anywhere(make, call, expected, kept, kill=killed_before, stride=1):
    """Wherever it is killed, nothing of ``kept`` is lost, and the same command brings the expected files, no others.

    Args:
        make: (number) -> a fresh folder that holds what the command works on.
        call: the command on such a folder.
        expected: {relative path: bytes} of the whole folder in the end.
        kept: bytes that must be in some file at every moment, as often as they are listed.
        stride: kill only before every so many operations.
    """
    for number in itertools.count(0, stride):
        folder = make(number)
        killed = kill(number, lambda folder=folder: call(folder))
        if killed:
            found = Counter(contents(folder).values())
            assert not Counter(kept) - found, f"lost when killed before operation {number}"
            call(folder)
        assert contents(folder) == expected, f"killed before operation {number}"
        assert not list(folder.rglob(".*"))
        if not killed:
            assert number > len(expected)  # it was killed at all
            return
