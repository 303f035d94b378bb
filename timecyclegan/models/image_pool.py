"""A memory of generated pictures for the discriminators (Shrivastava et al. 2017, section 2.3)."""
import torch
from torch import Tensor


class ImagePool:
    """Holds up to ``size`` pictures, and shows a discriminator older ones as well as new ones.

    Until it is full it keeps and returns what it is given. Then, for every new picture, it tosses a coin: either it
    returns the new one, or it returns one that it holds and keeps the new one in its place.
    """

    def __init__(self, size: int):
        self.size = size
        self.pictures: list[Tensor] = []

    def query(self, pictures: Tensor) -> Tensor:
        """(N, C, H, W), detached, to as many pictures, each either itself or an older one."""
        shown = []
        for picture in pictures.detach():
            # Clones are held: a view would keep the whole batch in memory, and in the checkpoint.
            if len(self.pictures) < self.size:
                self.pictures.append(picture.clone())
            elif self.size and torch.rand(()) < 0.5:
                place = int(torch.randint(self.size, ()))
                self.pictures[place], picture = picture.clone(), self.pictures[place]
            shown.append(picture)
        return torch.stack(shown)

    def state(self) -> list[Tensor]:
        """What a run needs to go on, on the CPU."""
        return [picture.cpu() for picture in self.pictures]

    def restore(self, state: list[Tensor], device: torch.device) -> None:
        """Take back what :meth:`state` gave."""
        self.pictures = [picture.to(device) for picture in state]
