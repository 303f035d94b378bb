"""A memory of generated pictures for the discriminators (Shrivastava et al. 2017, section 2.3)."""
import numpy as np
import torch
from torch import Tensor


class ImagePool:
    """Holds up to ``size`` pictures, and shows a discriminator older ones as well as new ones.

    Until it is full it keeps and returns what it is given. Then, for every new picture, it tosses a coin: either it
    returns the new one, or it returns one that it holds and keeps the new one in its place. What it decides is a
    :meth:`plan`, made on the host; the pictures stay in one tensor on their device.
    """

    def __init__(self, size: int):
        self.size, self.held = size, 0
        self.pictures: Tensor | None = None  # (size, C, H, W), of which the first ``held`` count

    def plan(self, n: int, rng: np.random.Generator) -> Tensor:
        """What is to happen to the next ``n`` pictures: int64 (n + size,), the numbers of those that are shown, then of
        those that are held afterwards, among those that are held now and the new ones behind them."""
        holds, shown = list(range(self.size)), []
        for picture in range(self.size, self.size + n):
            coin, place = rng.random(2)  # also where they decide nothing: pictures in parts get those of one whole
            if self.held < self.size:
                holds[self.held] = picture
                self.held += 1
            elif self.size and coin < 0.5:
                place = int(place * self.size)
                holds[place], picture = picture, holds[place]
            shown.append(picture)
        return torch.tensor([*shown, *holds])

    def query(self, pictures: Tensor, plan: Tensor | None = None) -> Tensor:
        """(N, C, H, W), detached, to as many pictures, each either itself or an older one.

        Args:
            plan: of :meth:`plan`, on the device; where None, one is made by torch's generator.
        """
        pictures = pictures.detach()
        if not self.size:
            return pictures
        if plan is None:
            decides = self.held + len(pictures) > self.size
            seed = int(torch.randint(2**62, ())) if decides else 0
            plan = self.plan(len(pictures), np.random.default_rng(seed))
        if self.pictures is None:
            self.pictures = pictures.new_zeros(self.size, *pictures.shape[1:])
        known = torch.cat([self.pictures, pictures.to(self.pictures.dtype)])
        shown, holds = plan.to(known.device).split([len(pictures), self.size])
        holds, shown = known[holds], known[shown]
        # In place: a captured step finds it where it was. What overflowed is not kept, or it would come again.
        finite = holds.flatten(1).isfinite().all(dim=1).view(-1, 1, 1, 1)
        self.pictures.copy_(torch.where(finite, holds, self.pictures))
        return shown

    def state(self) -> list[Tensor]:
        """What a run needs to go on, on the CPU."""
        return [] if self.pictures is None else list(self.pictures[: self.held].cpu().clone())

    def restore(self, state: list[Tensor], device: torch.device) -> None:
        """Take back what :meth:`state` gave."""
        self.pictures, self.held = None, len(state)
        if state:
            pictures = torch.stack(state).to(device)
            self.pictures = torch.cat([pictures, pictures.new_zeros(self.size - self.held, *pictures.shape[1:])])
