"""Recurrent generators: every frame is made from its source and from the last frames that were made."""
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from timecyclegan.models.mixins.host import Video, as_video, copy_host, not_negative
from timecyclegan.models.recompute import recomputed


def rollout(
    generator: Callable[[Tensor], Tensor], source: Tensor, past: Tensor, past_sources: Tensor | None = None,
    bptt: int = 0,
) -> Tensor:  # fmt: skip
    """Generate a video frame by frame: frame t from [c_t, (the last n sources,) the last n outputs], oldest first.

    Args:
        generator: maps (N, channels, H, W) to the next frame (N, C, H, W).
        source: (N, T, C_c, H, W), the conditions c_t; C_c is 0 where there are none.
        past: (N, n, C, H, W), what stands for the outputs before frame 0.
        past_sources: (N, n, C_c, H, W), the sources before frame 0, where the generator sees them as well.
        bptt: K, truncated back-propagation through time: frames K, 2K, ... are made from detached outputs, so that the
            gradient of frame t reaches the t mod K frames before it (Williams and Peng 1990, "An efficient
            gradient-based algorithm for on-line training of recurrent network trajectories", whose BPTT(h; h') it is
            with h = h' = K). 0 detaches nothing: gradients flow through the whole recurrence.

    Returns:
        (N, T, C, H, W), the same for every ``bptt``.
    """
    n = past.shape[1]
    history, made = list(past.unbind(1)), []
    sources = [] if past_sources is None else [*past_sources.unbind(1), *source.unbind(1)]
    for t in range(source.shape[1]):
        if bptt and t and t % bptt == 0:
            history = [frame.detach() for frame in history]
        made.append(generator(torch.cat([source[:, t], *sources[t : t + n], *history], dim=1)))
        history = [*history[1:], made[-1]]
    return torch.stack(made, dim=1)


class SequentialMixin:
    """Gives any GAN class recurrent generation: put it before the GAN among the base classes.

    The host needs nothing but a cooperative ``super().__init__(*args, **kwargs)``, and a generator that sees
    :meth:`sequential_input_channels` channels::

        self.generator = Net(self.sequential_input_channels(), 3)         # before or after super().__init__()
        self.fake = self.generate_sequence(self.generator, self.source)   # in every step
        self.timecycle_forward(self.fake, self.source, ignore_first_n=1)  # with TimeCycleMixin

    Before frame 0 the outputs are N(0, 1) noise, and the scene is taken to have stood still. So frame 0 is made of
    noise and no frame can lead back to it: leave it out of the walk, of sequence discriminators and of the warp loss.

    Args:
        n_frames_generator: how many of its last outputs the generator sees. None: what the class, or the object before
            ``super().__init__()``, says by an attribute of this name; else 1.
        generator_bptt: after how many frames the history is detached, see :func:`rollout`; 0: never.
        generator_checkpointing: keep the frames alone, and compute what else their gradients need again, frame by frame
            (``models.recompute``).
    """

    n_frames_generator = 1
    G_input_conditioning = False  # also show the generator the sources of its history

    def __init__(self, *args: Any, n_frames_generator: int | None = None, generator_bptt: int = 0,
                 generator_checkpointing: bool = False, **kwargs: Any):  # fmt: skip
        n = self.n_frames_generator if n_frames_generator is None else n_frames_generator
        if n < 1:
            raise ValueError(f"n_frames_generator must be 1 or more, not {n}")
        settled = vars(self).get("n_frames_generator", n)  # by the object, which may have built a generator for it
        if settled != n:
            raise ValueError(f"n_frames_generator={n} comes after sequential_input_channels() was asked for "
                             f"{settled}: say n_frames_generator = {n} in the class, or ask after super().__init__()")
        self.n_frames_generator = n
        not_negative("generator_bptt", generator_bptt)
        self.generator_bptt, self.generator_checkpointing = generator_bptt, generator_checkpointing
        super().__init__(*args, **kwargs)

    def sequential_input_channels(self, condition_channels: int = 3, channels: int = 3) -> int:
        """Channels that the generator sees, for sources of ``condition_channels`` (0: none) and frames of ``channels``.

        May be asked before ``super().__init__()``, which then cannot be told another ``n_frames_generator``. The video
        that such a generator makes begins with a frame made of noise: ``ignore_first_n=1`` leaves it out of a walk.
        """
        n = self.n_frames_generator = self.n_frames_generator  # from now on the object's
        return condition_channels + n * channels + (n * condition_channels if self.G_input_conditioning else 0)

    def generate_sequence(
        self, generator: nn.Module, source: Video, past: Tensor | None = None, channels: int = 3
    ) -> Tensor:
        """The video that ``generator`` makes of ``source``.

        Args:
            source: (N, T, C_c, H, W), or a list of T (N, C_c, H, W); C_c may be 0.
            past: (N, n_frames_generator, channels, H, W), the outputs before frame 0, such as known frames; noise
                where None, which shows in frame 0.
            channels: of a generated frame.

        Returns:
            (N, T, channels, H, W), see :func:`rollout`.
        """
        source = as_video(source)
        if past is None:
            batch, _, _, height, width = source.shape
            # Drawn on the CPU, so that a seed means the same on every device.
            past = torch.randn(batch, self.n_frames_generator, channels, height, width).to(source)
        called = recomputed(generator) if self.generator_checkpointing else generator
        return rollout(called, source, past, self._sources_before(source[:, 0]), self.generator_bptt)

    def _sources_before(self, first: Tensor) -> Tensor | None:
        """(N, n, C_c, H, W): before frame 0 the scene is taken to have stood still."""
        if not self.G_input_conditioning:
            return None
        return first.unsqueeze(1).expand(-1, self.n_frames_generator, -1, -1, -1)

    __deepcopy__ = copy_host
