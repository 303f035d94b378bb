"""The TimeCycle loss: walk a generated video back in time and forward again, and ask to arrive where it started.

Altenberger and Niessner, "Learning Temporal Consistency in Video Generation", 2020. The four types are one
algorithm with different data. A motion model ``B`` predicts a frame from the ``history`` frames after it, a motion
model ``F`` from the ``history`` frames before it; a conditional model sees the condition of the frame that it
predicts as well. :func:`walk` goes back from the last ``history`` frames to frame 0 with ``B``, and from every frame
that it reached forward again with ``F``. No term detaches the sequence, so the loss trains its generator too.

All chains that stand at the same frame go through ``F`` in one batch: the way back to the end costs one call for
each frame, where one chain at a time would cost a number that grows with the square of the length. This is exact for
networks that treat the samples of a batch independently (instance norm, no dropout).
"""
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Network = Callable[[Tensor], Tensor]


_MEASURES = {"l1": F.l1_loss, "l2": F.mse_loss}


@dataclass
class Cycle:
    """One walk over a sequence of T frames. Videos are (N, K, C, H, W) with K = T - history; entry t starts at frame t.

    ``predictions[:, t]`` is frame t as the chain of B's predictions reaches it, ``skips[:, t]`` frame t predicted
    straight from the last one; ``reconstructions[:, t]`` and ``skip_reconstructions[:, t]`` are the *last* frame,
    reached forward again from these two. What the type of cycle does not have is None.
    """

    sequence: Tensor
    condition: Tensor | None
    history: int
    predictions: Tensor
    skips: Tensor | None = None
    reconstructions: Tensor | None = None
    skip_reconstructions: Tensor | None = None

    @property
    def length(self) -> int:
        """K, the number of frames that were walked."""
        return self.predictions.shape[1]

    def backward_images(self) -> list[Tensor]:
        """The videos that depict frames 0 .. K-1."""
        return [video for video in (self.predictions, self.skips) if video is not None]

    def returned_images(self) -> list[Tensor]:
        """The videos whose every frame depicts the last frame of the sequence."""
        return [video for video in (self.reconstructions, self.skip_reconstructions) if video is not None]


def walk(
    sequence: Tensor,
    backward: Network,
    forward: Network | None = None,
    condition: Tensor | None = None,
    history: int = 1,
) -> Cycle | None:
    """Walk ``sequence`` (N, T, C, H, W) back in time and, where ``forward`` is given, forward again.

    Args:
        backward: B, from (N, [C_c +] history * C, H, W) to (N, C, H, W). Its input is the condition of the frame
            to predict, then the known frames, the farthest in time first.
        forward: F, with the same input order; None for a cycle that does not return.
        condition: (N, T, C_c, H, W), or None.
        history: number of frames that a motion model sees.

    Returns:
        The walk, or None where the sequence is too short to have one (T <= history).
    """
    length = sequence.shape[1] - history
    if length < 1:
        return None
    # Skipping needs a condition to say which frame to predict, and is only worth it where the way back is checked.
    skipping = condition is not None and forward is not None and history == 1
    frames = list(sequence.unbind(1))  # the known frames stay, the others are replaced while walking back
    skips = None
    start = length - 1
    if skipping:
        # The first step of the chain is also the shortest skip: both leave from the last frame.
        last = sequence[:, -1:].expand(-1, length, -1, -1, -1)
        skips = _fold_call(backward, condition[:, :length], last)
        frames[start] = skips[:, start]
        _check_frame(frames[start], sequence)
        start -= 1
    for t in range(start, -1, -1):
        known = frames[t + history : t : -1]
        frames[t] = backward(torch.cat(known if condition is None else [condition[:, t], *known], dim=1))
        _check_frame(frames[t], sequence)
    cycle = Cycle(sequence, condition, history, torch.stack(frames[:length], dim=1), skips)
    if forward is not None:
        _return(cycle, frames, forward)
    return cycle


def _check_frame(made: Tensor, sequence: Tensor) -> None:
    """Refuse what a motion model made where it is no frame, which a distance would broadcast in silence."""
    if made.shape[1:] != sequence.shape[2:]:
        raise ValueError(f"a motion model makes (C, H, W) = {tuple(made.shape[1:])}, a frame is "
                         f"{tuple(sequence.shape[2:])}")  # fmt: skip


def _return(cycle: Cycle, frames: list[Tensor], forward: Network) -> None:
    """Walk from every predicted frame to the end of the sequence; fill in the reconstructions of ``cycle``."""
    history, length = cycle.history, cycle.length
    chains = None  # (N, chains, history, C, H, W): the newest frames of each chain that has set out
    for step in range(length):
        arriving = step + history  # the frame that every chain predicts next
        setting_out = torch.stack(frames[step : step + history], dim=1).unsqueeze(1)
        chains = setting_out if chains is None else torch.cat([chains, setting_out], dim=1)
        if step == length - 1 and cycle.skips is not None:
            # Skips return in one step, together with the chains' last one; the shortest is a chain already.
            chains = torch.cat([chains, cycle.skips[:, :-1].unsqueeze(2)], dim=1)
        condition = None
        if cycle.condition is not None:
            condition = cycle.condition[:, arriving, None].expand(-1, chains.shape[1], -1, -1, -1)
        arrived = _fold_call(forward, condition, chains.flatten(2, 3))
        chains = torch.cat([chains[:, :, 1:], arrived.unsqueeze(2)], dim=2)
    cycle.reconstructions = arrived[:, :length]
    if cycle.skips is not None:
        cycle.skip_reconstructions = torch.cat([arrived[:, length:], arrived[:, length - 1 : length]], dim=1)


def _fold_call(network: Network, condition: Tensor | None, frames: Tensor) -> Tensor:
    """Apply a per-frame ``network`` to (N, M, C, H, W) in one batch of N * M."""
    inputs = frames if condition is None else torch.cat([condition, frames], dim=2)
    return network(inputs.flatten(0, 1)).unflatten(0, frames.shape[:2])


def timecycle_loss(cycle: Cycle, distance: str = "l1") -> Tensor:
    """Mean over t of (d(p_t, x_t) + d(s_t, x_t) + d(rl_t, x_last) + d(rs_t, x_last)) / 4, or of those that there are.

    Args:
        cycle: what :func:`walk` returned.
        distance: ``"l1"`` or ``"l2"``, a mean over all elements.

    Returns:
        A scalar. Gradients reach the motion models and the sequence, on both sides of every distance.
    """
    measure = _MEASURES[distance]
    began = cycle.sequence[:, : cycle.length]
    arrived = cycle.sequence[:, -1:].expand_as(began)
    terms = [measure(video, began) for video in cycle.backward_images()]
    terms += [measure(video, arrived) for video in cycle.returned_images()]
    return sum(terms) / len(terms)


def motion_warp_loss(
    sequence: Tensor,
    backward: Network,
    forward: Network | None = None,
    condition: Tensor | None = None,
    history: int = 1,
) -> Tensor | None:
    """L1 between each frame and the motion model's one-step prediction of it from its real neighbours, detached.

    With b_t = B[c_t, x_{t+1}] and f_t = F[c_t, x_{t-1}] it is the mean over neighbouring pairs (t, t+1) of
    |x_t - b_t| + |x_{t+1} - f_{t+1}|; without ``forward`` the second part is absent. Arguments as for :func:`walk`.
    The predictions are targets: the loss trains the generator of the sequence, not the motion model.
    """
    length = sequence.shape[1] - history
    if length < 1:
        return None
    with torch.no_grad():
        offsets = range(history, 0, -1)
        after = torch.cat([sequence[:, k : k + length] for k in offsets], dim=2)
        backward_target = _fold_call(backward, None if condition is None else condition[:, :length], after)
        if forward is not None:
            before = torch.cat([sequence[:, history - k : history - k + length] for k in offsets], dim=2)
            forward_target = _fold_call(forward, None if condition is None else condition[:, history:], before)
    loss = F.l1_loss(sequence[:, :length], backward_target)
    if forward is not None:
        loss = loss + F.l1_loss(sequence[:, history:], forward_target)
    return loss
