"""A function of tensors that is recorded as a CUDA graph, and then replayed: the host launches all its kernels at once.

How PyTorch records and replays: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""
import gc
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from timecyclegan.util.device import device_name
from timecyclegan.util.errors import UserError, note

WARM_UPS = 3  # calls before one is recorded: libraries choose their algorithms and take their memory in these

Recorder = Callable[[Callable[[], Any]], tuple[Any, Callable[[], None]]]


class CapturedFunction:
    """``function``, called as it is; on a GPU it is recorded after :data:`WARM_UPS` calls, and replayed from then on.

    The first calls are real ones, with real results, on the stream that will record: what they leave behind (gradient
    accumulators, say) then belongs to it. Each set of shapes and types is recorded on its own; all recordings share
    their memory. Where recording fails, one note says why, and the function goes on being called.

    What is recorded is the device's work alone. So the function must not read a tensor's value on the host, nor do
    anything that another call would do differently by a value of Python; what it changes must be tensors, in place,
    that were there before it was called (networks, optimizers), and gradients it has to make anew (``zero_grad``).

    Args:
        function: takes tensors, or what belongs to the signature (None, names, numbers); by place or by name.
        device: where it computes. Tensors may be anywhere: they are copied there, from pinned memory without waiting.
        what: what is recorded, for the note.
        recorder: calls a function without arguments that records, and gives what it returned, and how to replay it: in
            the same memory. None: a CUDA graph on a GPU, no recording elsewhere.
        insist: raise where recording fails.
    """

    def __init__(self, function: Callable[..., Any], device: torch.device, what: str, recorder: Recorder | None = None,
                 insist: bool = False):  # fmt: skip
        self.function, self.device, self.what, self.insist = function, device, what, insist
        self._recorder, self._records = recorder, bool(recorder) or device.type == "cuda"
        self._stream = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)
            self._pool = torch.cuda.graph_pool_handle()
        self._calls: Counter[tuple] = Counter()
        self._recorded: dict[tuple, tuple[list[Tensor], Any, Callable[[], None]]] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the function returns; once it is recorded, in tensors that the next call writes to again.

        Raises:
            Exception: what the function raises; if it does so while it is recorded, it is called again, plainly.
            UserError: recording fails, and it is insisted on.
        """
        if not self._records:
            return self._call(args, kwargs)
        values = [*args, *kwargs.values()]
        tensors = [value for value in values if isinstance(value, Tensor)]
        shapes = [(tuple(value.shape), value.dtype) if isinstance(value, Tensor) else value for value in values]
        key = (*kwargs, *shapes)
        if key not in self._recorded:
            self._calls[key] += 1
            if self._calls[key] <= WARM_UPS:
                return self._warm_up(args, kwargs)
            try:
                self._recorded[key] = self._record(args, kwargs)
            except RuntimeError as error:
                if self.insist:
                    raise UserError(f"--cuda_graph on cannot be: no CUDA graph of {self.what} can be recorded: "
                                    f"{_why(error)}; leave it at auto") from error
                self._records = False
                self._recorded.clear()
                note(f"{self.what} runs kernel by kernel, as no CUDA graph of it can be recorded: {_why(error)}")
                return self._call(args, kwargs)
        places, outputs, replay = self._recorded[key]
        for place, value in zip(places, tensors, strict=True):
            place.copy_(value, non_blocking=True)
        replay()
        return outputs

    def _call(self, args: tuple, kwargs: dict[str, Any]) -> Any:
        args, kwargs = _each(args, kwargs, lambda value: value.to(self.device, non_blocking=True))
        return self.function(*args, **kwargs)

    def _warm_up(self, args: tuple, kwargs: dict[str, Any]) -> Any:
        if self._stream is None:
            return self._call(args, kwargs)
        current = torch.cuda.current_stream(self.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            outputs = self._call(args, kwargs)
        current.wait_stream(self._stream)
        return outputs

    def _record(self, args: tuple, kwargs: dict[str, Any]) -> tuple[list[Tensor], Any, Callable[[], None]]:
        """The tensors that the recording reads, what it returns, and how to replay it."""
        args, kwargs = _each(args, kwargs, lambda value: torch.zeros_like(value, device=self.device))
        outputs, replay = (self._recorder or self._record_graph)(lambda: self.function(*args, **kwargs))
        return [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)], outputs, replay

    def _record_graph(self, call: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        # What cycles hold of earlier calls must not end, and free a GPU's memory, amid the recording.
        gc.collect()
        collects = gc.isenabled()
        gc.disable()
        before, graph = torch.cuda.current_stream(self.device), torch.cuda.CUDAGraph()
        with torch.cuda.device(self.device):
            try:
                # Other threads may go on, with copies and pinned memory.
                with torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode="thread_local"):
                    outputs = call()
            except BaseException:
                torch.cuda.set_stream(before)  # which PyTorch does not where ending the recording fails as well
                raise
            finally:
                if collects:
                    gc.enable()
        return outputs, graph.replay


def capture(function: Callable[..., Any], device: torch.device, what: str, wanted: str, why: str = ""
            ) -> Callable[..., Any]:  # fmt: skip
    """``function`` as a :class:`CapturedFunction` where ``--cuda_graph`` asks for it and it can be, else as it is.

    Args:
        device, what: see :class:`CapturedFunction`.
        wanted: "auto", "on" or "off".
        why: it cannot be recorded on a GPU, which a note then says; "" where it can.

    Raises:
        UserError: "on", and it cannot be.
    """
    if device.type != "cuda":
        why = f"it computes on {device_name(device)}"
    if wanted == "on" and why:
        raise UserError(f"--cuda_graph on cannot be: {why}; leave it at auto")
    if wanted == "off" or device.type != "cuda":
        return function
    if why:
        note(f"{what} is not captured as a CUDA graph: {why}")
        return function
    return CapturedFunction(function, device, what, insist=wanted == "on")


def _each(args: tuple, kwargs: dict[str, Any], change: Callable[[Tensor], Tensor]) -> tuple[tuple, dict[str, Any]]:
    """The arguments of a call, with ``change`` done to those that are tensors."""
    args = tuple(change(value) if isinstance(value, Tensor) else value for value in args)
    return args, {name: change(value) if isinstance(value, Tensor) else value for name, value in kwargs.items()}


def _why(error: BaseException) -> str:
    """The first line of the first error: those after it only say that there was one."""
    while isinstance(error.__context__, RuntimeError):
        error = error.__context__
    return str(error).partition("\n")[0] or type(error).__name__
