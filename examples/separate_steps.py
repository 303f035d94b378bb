"""A recurrent GAN as an `nn.Module` with separate steps for generator and discriminator, and TimeCycle inside it.

    python examples/separate_steps.py          # about a minute on two CPU cores

The GAN is your own, so TimeCycle is written into it: lines that it adds are marked `# TimeCycle`, lines that it changes
also say what they were. Sequences are lists of frames here. The conditional discriminator judges the walk's images too.
"""
import argparse

import torch
from shapes import moving_shapes
from torch import nn

from timecyclegan import TimeCycleMixin, check_mixin  # TimeCycle


class GAN(TimeCycleMixin, nn.Module):  # TimeCycle, was class GAN(nn.Module):
    def __init__(self, filters=32):
        super().__init__(timecycle_loss_weight=5, timecycle_motion_model_filters=8)  # TimeCycle, was super().__init__()
        self.generator = nn.Sequential(  # sees the map and the frame before
            nn.Conv2d(1 + 3, filters, 5, padding=2), nn.InstanceNorm2d(filters), nn.ReLU(),
            nn.Conv2d(filters, filters, 3, padding=1), nn.InstanceNorm2d(filters), nn.ReLU(),
            nn.Conv2d(filters, 3, 3, padding=1), nn.Tanh(),
        )  # fmt: skip
        self.discriminator = nn.Sequential(  # sees the map and the frame
            nn.Conv2d(1 + 3, filters, 4, stride=2, padding=1), nn.LeakyReLU(0.2),
            nn.Conv2d(filters, filters, 4, stride=2, padding=1), nn.InstanceNorm2d(filters), nn.LeakyReLU(0.2),
            nn.Conv2d(filters, 1, 3, padding=1),
        )  # fmt: skip
        self.optimizer_G = torch.optim.Adam(self.generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
        self.optimizer_D = torch.optim.Adam(self.discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))
        self.define_timecycle(input_channels=4, output_channels=3)  # TimeCycle
        self.add_timecycle_discriminator(self.discriminator)  # TimeCycle
        self.optimizer_G.add_param_group({"params": self.timecycle_parameters()})  # TimeCycle

    def forward(self, maps):
        """A list of frames for a list of maps."""
        frames, before = [], torch.zeros_like(maps[0]).expand(-1, 3, -1, -1)
        for one in maps:
            before = self.generator(torch.cat([one, before], dim=1))
            frames.append(before)
        return frames

    def judge(self, maps, frames, wanted):
        seen = [torch.cat(pair, dim=1) for pair in zip(maps, frames, strict=True)]
        return sum((self.discriminator(picture) - wanted).square().mean() for picture in seen) / len(seen)

    def generator_step(self, maps, real):
        self.fake = self(maps)
        distance = sum((one - other).abs().mean() for one, other in zip(self.fake, real, strict=True)) / len(real)
        self.loss_G = self.judge(maps, self.fake, wanted=1) + 10 * distance
        self.timecycle_forward(self.fake, maps)  # TimeCycle
        self.set_timecycle_discriminator_input(real, maps)  # TimeCycle
        self.loss_G = self.loss_G + self.timecycle_backward()  # TimeCycle
        self.optimizer_G.zero_grad()
        self.loss_G.backward()
        self.optimizer_G.step()

    def discriminator_step(self, maps, real):
        fake = [frame.detach() for frame in self.fake]
        self.loss_D = self.judge(maps, real, wanted=1) + self.judge(maps, fake, wanted=0)
        self.loss_D = self.loss_D + self.timecycle_backward_D()  # TimeCycle
        self.optimizer_D.zero_grad()
        self.loss_D.backward()
        self.optimizer_D.step()


def train_step(gan, batch):
    maps, real = (list(video.unbind(dim=1)) for video in batch)
    gan.generator_step(maps, real)
    gan.discriminator_step(maps, real)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    gan = GAN()
    check_mixin(gan, moving_shapes(4), step=lambda batch: train_step(gan, batch))
    for step in range(options.steps):
        train_step(gan, moving_shapes(4))
        if step in (0, options.steps - 1) or step % 50 == 0:
            losses = {"G": gan.loss_G, "D": gan.loss_D, **gan.timecycle_losses()}
            print(f"step {step}:", *(f"{name} {loss.item():.4f}" for name, loss in losses.items()))


if __name__ == "__main__":
    main()
