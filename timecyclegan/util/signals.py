"""Signals that ask a process to leave."""
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

from timecyclegan.util.errors import note

# From the keyboard; from kill, batch systems and containers; from a terminal or connection that is lost; from SLURM,
# some time before it kills (--signal=USR1@120).
ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


@contextlib.contextmanager
def signals(ask: Callable[[int], None]) -> Iterator[None]:
    """The signals :data:`ASKING` call ``ask`` with their number; a SIGINT after the first of them interrupts at once.

    A SIGHUP or SIGUSR1 that is ignored (``nohup``) stays so. Only the main thread can hear signals: in another one this
    does nothing, and says so.
    """
    if threading.current_thread() is not threading.main_thread():
        note("outside the main thread of a program, no signal can ask this work to stop early")
        yield
        return

    def handle(number: int, _frame: Any) -> None:
        ask(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    heard = [number for number in ASKING
             if number in (signal.SIGINT, signal.SIGTERM) or signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: set by other than Python


def interrupt(_number: int) -> None:
    """For :func:`signals`: SIGTERM and the like end as Ctrl-C does, so that what is half-written is removed."""
    raise KeyboardInterrupt


class Left(KeyboardInterrupt):
    """A signal ended what :func:`giving_way` was around; whoever waits for signals knows of it."""


@contextlib.contextmanager
def giving_way() -> Iterator[None]:
    """Around long work within other work that hears the signals :data:`ASKING` itself: they reach that, and end this by
    :class:`Left`. Where nobody hears them they interrupt, as Ctrl-C does.
    """
    before = {number: signal.getsignal(number) for number in ASKING}

    def ask(number: int) -> None:
        handler = before[number]
        if not callable(handler):
            raise KeyboardInterrupt
        handler(number, None)
        raise Left

    with signals(ask):
        yield
