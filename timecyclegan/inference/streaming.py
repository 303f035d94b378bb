"""Frames through a trained model: recurrent, one after the other, several sequences side by side."""
import itertools
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from timecyclegan.models.base_model import BaseModel


def _windows(frames: Iterable[Tensor], context: int) -> Iterator[Tensor]:
    """For each frame (C, H, W) the (2 * context + 1, C, H, W) around it; the first and last frame are repeated."""
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
    device, context = next(model.parameters()).device, model.context()
    streams = {name: _windows(frames, context) for name, frames in sources.items()}
    state, active = None, list(streams)
    for t in itertools.count():
        ready = {row: clip for row, name in enumerate(active) if (clip := next(streams[name], None)) is not None}
        if not ready:
            return
        if len(ready) < len(active):  # a sequence has ended: the others go on without it
            state = None if state is None else state[list(ready)]
            active = [active[row] for row in ready]
        batch = torch.stack(list(ready.values())).to(device)  # (N, 2 * context + 1, C, H, W), row i of sequence i
        if t == 0:
            state = model.initial_state([noise_generator(seed, name) for name in active], batch[:, context])
        frames, state = model.translate_frame(batch, state, domain)
        yield from zip(active, frames, strict=True)
