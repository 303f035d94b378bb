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

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Network = Callable[[Tensor], Tensor]


# The distance, and how it grows with the contrast of what it compares.
_MEASURES = {"l1": (F.l1_loss, 1), "l2": (F.mse_loss, 2)}
_LEAST_DETAIL = 1e-3  # an eighth of a gray level: a flat clip is not divided by 0


@dataclass
class Cycle:
    """One walk over a sequence of T frames. Videos are (N, L, C, H, W) with L = T - history; entry t starts at frame t.

    ``predictions[:, t]`` is frame t as the chain of B's predictions reaches it, ``skips[:, t]`` frame t predicted
    straight from the last one; ``reconstructions[:, t]`` and ``skip_reconstructions[:, t]`` are the *last* frame,
    reached forward again from these two. What the type of cycle does not have is None. Of a walk that returns from K
    frames alone, the last two are (N, K, C, H, W), and entry j starts at the j-th of these frames.
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
        """L, the number of frames that were walked."""
        return self.predictions.shape[1]

    def backward_images(self) -> list[Tensor]:
        """The videos that depict frames 0 .. L-1."""
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
    returns: Tensor | None = None,
) -> Cycle | None:
    """Walk ``sequence`` (N, T, C, H, W) back in time and, where ``forward`` is given, forward again.

    Args:
        backward: B, from (N, [C_c +] history * C, H, W) to (N, C, H, W). Its input is the condition of the frame
            to predict, then the known frames, the farthest in time first.
        forward: F, with the same input order; None for a cycle that does not return.
        condition: (N, T, C_c, H, W), or None.
        history: number of frames that a motion model sees.
        returns: (K,) of int64, the frames that it returns from, as :func:`draw_returns` draws them for L = T - history
            and this K, on the device of the sequence; None: from all L. No value of it is read on the host: what is
            computed depends on K alone.

    Returns:
        The walk, or None where the sequence is too short to have one (T <= history).

    Raises:
        ValueError: a motion model makes no frame; ``returns`` are more than there are frames to return from.
    """
    length = sequence.shape[1] - history
    if length < 1:
        return None
    if returns is not None and not 1 <= len(returns) <= length:
        raise ValueError(f"a walk of {length} frame(s) returns from 1 to {length} of them, not {len(returns)}")
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
        _return(cycle, frames, forward, returns)
    return cycle


def draw_returns(seed: int, step: int, length: int, k: int) -> np.ndarray:
    """The frames that the walk of training step ``step`` returns from: K of the frames 0 .. L-1.

    One frame of each of K equal stretches: t_j = floor((j L + r_j) / K) for j = 0 .. K-1, r_j uniform on 0 .. L-1.
    A frame is drawn K / L times on average, so the mean over the drawn ones is, on average, the mean over all
    (stratified sampling: Cochran 1977, "Sampling Techniques", chapter 5). Where L is no multiple of K, a frame may lie
    in two stretches, and be drawn twice.

    Args:
        length: L, T - history of the walked sequence.
        k: K, from 1 to L.

    Returns:
        (K,) of int64, ascending.
    """
    # The spawn key keeps this stream apart from those of the data and of other choices.
    rng = np.random.default_rng(np.random.SeedSequence([seed, step], spawn_key=(5,)))
    offsets = rng.integers(length, size=k)
    return (np.arange(k) * length + offsets) // k


def _check_frame(made: Tensor, sequence: Tensor) -> None:
    """Refuse what a motion model made where it is no frame, which a distance would broadcast in silence."""
    if made.shape[1:] != sequence.shape[2:]:
        raise ValueError(f"a motion model makes (C, H, W) = {tuple(made.shape[1:])}, a frame is "
                         f"{tuple(sequence.shape[2:])}")  # fmt: skip


def _return(cycle: Cycle, frames: list[Tensor], forward: Network, returns: Tensor | None) -> None:
    """Walk from predicted frames to the end of the sequence; fill in the reconstructions of ``cycle``.

    Chain j sets out in the j-th of as many equal stretches of frames as there are chains. If all frames are returned
    from, a stretch is one frame. Else the host does not know which frame it will be, and the chain is there from the
    first frame of its stretch on; until its own frame comes, it begins anew at every frame.
    """
    history, length = cycle.history, cycle.length
    count = length if returns is None else len(returns)
    first = [j * length // count for j in range(count)]
    last = [((j + 1) * length - 1) // count for j in range(count)]
    chains = None  # (N, chains, history, C, H, W): the newest frames of each chain that is there
    for step in range(length):
        arriving = step + history  # the frame that every chain predicts next
        setting_out = torch.stack(frames[step : step + history], dim=1).unsqueeze(1)
        there = 0 if chains is None else chains.shape[1]
        if there and step <= last[there - 1]:
            newest = torch.where(returns[there - 1] >= step, setting_out, chains[:, -1:])
            chains = torch.cat([chains[:, :-1], newest], dim=1)
        if there < count and step == first[there]:
            chains = setting_out if chains is None else torch.cat([chains, setting_out], dim=1)
        if step == length - 1 and cycle.skips is not None:
            # Skips return in one step, together with the chains' last one; the shortest of all is a chain already.
            skips = cycle.skips[:, :-1] if returns is None else cycle.skips.index_select(1, returns)
            chains = torch.cat([chains, skips.unsqueeze(2)], dim=1)
        condition = None
        if cycle.condition is not None:
            condition = cycle.condition[:, arriving, None].expand(-1, chains.shape[1], -1, -1, -1)
        arrived = _fold_call(forward, condition, chains.flatten(2, 3))
        chains = torch.cat([chains[:, :, 1:], arrived.unsqueeze(2)], dim=2)
    cycle.reconstructions = arrived[:, :count]
    if cycle.skips is not None:
        shortest = arrived[:, length - 1 : length] if returns is None else arrived[:, :0]
        cycle.skip_reconstructions = torch.cat([arrived[:, count:], shortest], dim=1)


def _fold_call(network: Network, condition: Tensor | None, frames: Tensor) -> Tensor:
    """Apply a per-frame ``network`` to (N, M, C, H, W) in one batch of N * M."""
    inputs = frames if condition is None else torch.cat([condition, frames], dim=2)
    return network(inputs.flatten(0, 1)).unflatten(0, frames.shape[:2])


def timecycle_loss(cycle: Cycle, distance: str = "l1", sharpness: float = 0.0) -> Tensor:
    """Mean over t of (d(p_t, x_t) + d(s_t, x_t) + d(rl_t, x_last) + d(rs_t, x_last)) / 4, or of those that there are.

    A blurred sequence is easier to predict, and its distances are smaller: blur is a way to lower this loss. With
    ``sharpness`` k each sample's loss is multiplied by (g' / g)^k, for ``"l2"`` (g' / g)^2k, with its detail g = 0.001
    + mean |horizontal difference| + mean |vertical difference| of neighbouring pixels of x_0 .. x_last, and g' the same
    number held constant. The value does not change, the gradient does: it also asks for more detail. With k = 1 this
    balances what less contrast gains, exactly for a motion model that is linear, about so for others, and k > 1 does
    more. Which detail it is, is left to the other losses: noise counts as well.

    Args:
        cycle: what :func:`walk` returned.
        distance: ``"l1"`` or ``"l2"``, a mean over all elements.
        sharpness: k, 0 or more; 0 is the thesis's loss.

    Returns:
        A scalar. Gradients reach the motion models and the sequence, on both sides of every distance. Where the walk
        returned from K frames, the means of the last two are over these: an unbiased estimate.
    """
    measure, degree = _MEASURES[distance]
    began, arrived = cycle.sequence[:, : cycle.length], cycle.sequence[:, -1:]
    pairs = [(video, began) for video in cycle.backward_images()]
    pairs += [(video, arrived.expand_as(video)) for video in cycle.returned_images()]
    apart = [measure(*pair, reduction="none").flatten(1).mean(1) for pair in pairs]  # of (N,)
    loss = sum(apart) / len(apart)
    if sharpness:
        # In float16, what is divided by detail overflows.
        sequence = cycle.sequence.to(torch.promote_types(cycle.sequence.dtype, torch.float32))
        steps = (sequence.diff(dim=axis).abs().flatten(1) for axis in (-1, -2))
        detail = _LEAST_DETAIL + sum(step.sum(1) / max(1, step.shape[1]) for step in steps)
        loss = loss * (detail.detach() / detail) ** (degree * sharpness)
    return loss.mean()


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
