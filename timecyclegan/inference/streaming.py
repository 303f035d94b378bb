"""Frames through a trained model: recurrent, one after the other, several sequences side by side."""
import itertools
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from timecyclegan.models.base_model import BaseModel
from timecyclegan.util.cuda_graph import CapturedFunction, Recorder, capture
from timecyclegan.util.device import to_floats
from timecyclegan.video.frames import to_levels


def _windows(frames: Iterable[Tensor], context: int) -> Iterator[Tensor]:
    """For each frame the (2 * context + 1, ...) around it; the first and last frame are repeated."""
    window: deque[Tensor] = deque(maxlen=2 * context + 1)
    for frame in itertools.chain(frames, [None] * context):
        if frame is not None:
            window.extend([frame] * (1 if window else 1 + context))
        elif window:
            window.append(window[-1])
        if len(window) == window.maxlen:
            yield torch.stack(list(window))


def noise_generator(seed: int, sequence: str) -> torch.Generator:
    """Noise for a sequence: a function of the seed and the sequence's name, not of what is translated beside it."""
    name = zlib.crc32(sequence.encode("utf-8", "surrogateescape"))
    state = np.random.SeedSequence([seed, name]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]) >> 1)


@torch.inference_mode()
def stream(
    model: BaseModel, sources: Mapping[str, Iterable[Tensor]], seed: int = 0, domain: str = "target"
) -> Iterator[tuple[str, Tensor]]:
    """Send sequences through a model side by side, one frame of each at a time, however long they are.

    Args:
        model: on the device to compute on.
        sources: by sequence name, its source frames (3, H, W) in [-1, 1]; all of one size. An unconditional model
            takes frames without channels, (0, H, W), which say how many to make, and how large.
        seed: of the noise that stands for the frames before the first one.
        domain: what to translate to; "source" takes the target's frames as the source (unpaired models).

    Yields:
        (sequence name, its next frame (3, H, W) in [-1, 1]). The recurrent state is carried within a sequence only.
    """
    def step(clips: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return model.translate_frame(clips.to(_device(model)), state, domain)

    for names, frames in _steps(model, step, sources, seed):
        yield from zip(names, frames, strict=True)


class Picture:
    """A picture that a device may still be making, or sending.

    Args:
        levels: uint8 (H, W, 3) in the computer's memory.
        sent: reached on the device once all of it has come; None: it is there.
    """

    def __init__(self, levels: Tensor, sent: torch.cuda.Event | None):
        self._levels, self._sent = levels, sent

    def array(self) -> np.ndarray:
        """uint8 (H, W, 3), RGB; waits for it, in any thread."""
        if self._sent is None:
            return self._levels.numpy()
        self._sent.synchronize()
        return self._levels.numpy().copy()  # memory that a GPU may write to is scarce, and shared by a batch


class PictureStream:
    """As :func:`stream`, for pictures in 256 levels, without waiting for the device: for all streams of a direction.

    On a GPU a frame's step is recorded as a CUDA graph, for each number of sequences side by side, see
    :class:`CapturedFunction`; frames go to it and come back as bytes. Pictures are those of :func:`stream`, to the
    byte, where ``amp`` is "off".

    Args:
        model, domain: see :func:`stream`.
        amp: "bfloat16" or "float16" let the networks compute in that precision, where PyTorch's autocast finds it safe;
            the state stays as exact as it was.
        cuda_graph: "auto", "on" or "off", see ``util.cuda_graph.capture``, which raises where it cannot be "on".
        recorder: in place of CUDA graphs, see :class:`CapturedFunction`.
    """

    def __init__(self, model: BaseModel, domain: str = "target", amp: str = "off", cuda_graph: str = "auto",
                 recorder: Recorder | None = None):  # fmt: skip
        self.model, self.domain = model, domain
        self._device = _device(model)
        self._autocast = {"device_type": self._device.type, "enabled": amp != "off",
                          "dtype": None if amp == "off" else getattr(torch, amp)}  # fmt: skip
        what = f"translating with --model_type {model.options.model_type}"
        why = "the computer draws a code for every frame" if model.draws_frames else ""
        if recorder and not why:
            self._step = CapturedFunction(self._levels, self._device, what, recorder)
        else:
            self._step = capture(self._levels, self._device, what, cuda_graph, why)

    @torch.inference_mode()
    def __call__(self, sources: Mapping[str, Iterable[Tensor | np.ndarray]], seed: int = 0
                 ) -> Iterator[tuple[str, Picture]]:  # fmt: skip
        """Translate sequences side by side.

        Args:
            sources: by sequence name, its source frames, uint8 (H, W, 3); else, and for seed, see :func:`stream`.

        Yields:
            (sequence name, its next :class:`Picture`).
        """
        on_gpu = self._device.type == "cuda"
        for names, levels in _steps(self.model, self._step, sources, seed):
            # Into memory of its own: the next step writes to the same places. On a GPU only this order counts.
            host = torch.empty(levels.shape, dtype=levels.dtype, pin_memory=on_gpu).copy_(levels, non_blocking=True)
            sent = torch.cuda.Event(blocking=True) if on_gpu else None
            if sent:
                sent.record(torch.cuda.current_stream(self._device))
            yield from zip(names, (Picture(picture, sent) for picture in host), strict=True)

    def _levels(self, clips: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """What :func:`_steps` asks for, with frames as (N, H, W, 3) in 256 levels."""
        clips = _floats(clips.to(self._device, non_blocking=True))
        with torch.autocast(**self._autocast):
            made, state = self.model.translate_frame(clips, state, self.domain)
        return to_levels(made), state


Step = Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor | None]]


def _steps(model: BaseModel, step: Step, sources: Mapping[str, Iterable], seed: int) -> Iterator[tuple[list[str], Any]]:
    """For each moment the sequences that last until then, and what ``step`` made of them, row i of sequence i.

    Args:
        step: from clips (N, 2 * context + 1, ...) of N source frames and those around them, which may lie in the
            computer's memory, and the state, makes N frames and the next state.
    """
    device, context = _device(model), model.context()
    streams = {name: _windows(map(_tensor, frames), context) for name, frames in sources.items()}
    state, active = None, list(streams)
    for t in itertools.count():
        ready = {row: clip for row, name in enumerate(active) if (clip := next(streams[name], None)) is not None}
        if not ready:
            return
        if len(ready) < len(active):  # a sequence has ended: the others go on without it
            state = None if state is None else state[list(ready)]
            active = [active[row] for row in ready]
        clips = torch.stack(list(ready.values()))
        if device.type == "cuda" and clips.device.type == "cpu" and clips.numel():
            clips = clips.pin_memory()  # so that nobody waits until it is on the GPU
        if t == 0:
            first = _floats(clips[:, context].to(device))
            state = model.initial_state([noise_generator(seed, name) for name in active], first)
        frames, state = step(clips, state)
        state = None if state is None else state.clone()  # others may use the same recording before it is needed
        yield active, frames


def _tensor(frame: Tensor | np.ndarray) -> Tensor:
    return frame if isinstance(frame, Tensor) else torch.from_numpy(np.require(frame, requirements="CW"))


def _device(model: BaseModel) -> torch.device:
    return next(model.parameters()).device


def _floats(frames: Tensor) -> Tensor:
    """uint8 (..., H, W, 3) as float32 (..., 3, H, W) in [-1, 1]; what is of another type as it is."""
    return to_floats(frames.movedim(-1, -3).contiguous()) if frames.dtype == torch.uint8 else frames


def speed(frames: int, seconds: float) -> str:
    """What commands say of how fast they were, reading and writing included."""
    return f"{frames / seconds:.3g} frames/s"
