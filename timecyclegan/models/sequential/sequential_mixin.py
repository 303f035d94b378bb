"""Recurrent generators: every frame is made from its source and from the last frames that were made."""
from collections.abc import Callable

import torch
from torch import Tensor


def rollout(
    generator: Callable[[Tensor], Tensor], source: Tensor, past: Tensor, past_sources: Tensor | None = None
) -> Tensor:
    """Generate a video frame by frame: frame t from [c_t, (the last n sources,) the last n outputs], oldest first.

    Args:
        generator: maps (N, channels, H, W) to the next frame (N, C, H, W).
        source: (N, T, C_c, H, W), the conditions c_t.
        past: (N, n, C, H, W), what stands for the outputs before frame 0.
        past_sources: (N, n, C_c, H, W), the sources before frame 0, where the generator sees them as well.

    Returns:
        (N, T, C, H, W). Nothing is detached: gradients flow through the recurrence.
    """
    n = past.shape[1]
    outputs = list(past.unbind(1))
    sources = [] if past_sources is None else [*past_sources.unbind(1), *source.unbind(1)]
    for t in range(source.shape[1]):
        inputs = [source[:, t], *sources[t : t + n], *outputs[t:]]
        outputs.append(generator(torch.cat(inputs, dim=1)))
    return torch.stack(outputs[n:], dim=1)


class SequentialMixin:
    """Makes the generator of a paired model recurrent (``--n_frames_generator`` frames of history).

    Before frame 0 the outputs are N(0, 1) noise. At test time the history is carried from frame to frame, and begins
    anew with every sequence.
    """

    G_input_conditioning = False  # also show the generator the sources of its history
    frames_per_call = 1

    def generator_input_channels(self) -> int:
        n = self.options.n_frames_generator
        return self.channels * (1 + n + (n if self.G_input_conditioning else 0))

    def fold(self, video: Tensor) -> Tensor:
        """(N, T, C, H, W) as the pictures that the discriminator sees: here (N * T, C, H, W)."""
        return video.flatten(0, 1)

    def generate(self, source: Tensor) -> Tensor:
        n, (batch, _, _, height, width) = self.options.n_frames_generator, source.shape
        # Drawn on the CPU, so that a seed means the same on every device.
        past = torch.randn(batch, n, self.channels, height, width).to(source)
        return rollout(self.generator, source, past, self._sources_before(source[:, 0]))

    def _sources_before(self, first: Tensor) -> Tensor | None:
        """(N, n, 3, H, W): before frame 0 the scene is taken to have stood still."""
        if not self.G_input_conditioning:
            return None
        return first.unsqueeze(1).expand(-1, self.options.n_frames_generator, -1, -1, -1)

    def initial_state(self, noise: list[torch.Generator], first: Tensor) -> Tensor:
        """(N, n, C, H, W): noise, each row from its own generator, so that a batch does not change what it draws.

        Where the generator sees past sources too, they are further channels.
        """
        shape = (self.options.n_frames_generator, self.channels, *first.shape[2:])
        past = torch.stack([torch.randn(shape, generator=generator) for generator in noise]).to(first)
        sources = self._sources_before(first)
        return past if sources is None else torch.cat([past, sources], dim=2)

    def translate_frame(self, source: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        past, sources = state, None
        if self.G_input_conditioning:
            past, sources = state.split(self.channels, dim=2)
        fake = rollout(self.generator, source, past, sources)
        made = fake if sources is None else torch.cat([fake, source], dim=2)
        return fake[:, 0], torch.cat([state, made], dim=1)[:, 1:]
