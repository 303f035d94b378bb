"""Kill a command before each of its file operations, or amid its writing, and see what it leaves and how it goes on."""
import itertools
import os
import signal
import sys

OPERATIONS = {"os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir"}
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
    global _real
    child = os.fork()
    if child == 0:
        try:
            _real = True
            killed_before(number, call)
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), f"the command failed by itself: {status}"
    return status != 0


def check_killed_anywhere(tmp_path, given, made, call, kill=killed_before, stride=1):
    """Wherever it is killed, FOLDER stays as it is, all in OUT is whole, and the same command brings what is missing.

    Args:
        given, made: what FOLDER holds, and OUT in the end; bytes by relative path.
        call: (FOLDER, OUT): the command.
        stride: kill only before every so many operations.
    """
    for number in itertools.count(0, stride):
        folder = write(tmp_path / f"in{number}", given)
        out = tmp_path / f"out{number}"
        killed = kill(number, lambda folder=folder, out=out: call(folder, out))
        assert contents(folder) == given, f"killed before operation {number}"
        if killed:
            there = {name: content for name, content in contents(out).items() if "/." not in f"/{name}"}
            assert there.items() <= made.items(), f"killed before operation {number}"
            call(folder, out)
        assert contents(out) == made and contents(folder) == given, f"killed before operation {number}"
        if not killed:
            assert number >= len(made)  # it was killed at all
            return
