"""Signals that ask a process to leave."""
import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def signals(ask: Callable[[int], None]) -> Iterator[None]:
    """SIGINT and SIGTERM call ``ask`` with their number; a second SIGINT interrupts at once."""

    def handle(number: int, _frame: Any) -> None:
        ask(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def interrupt(_number: int) -> None:
    """For :func:`signals`: SIGTERM ends as Ctrl-C does, so that what is half-written is removed."""
    raise KeyboardInterrupt
