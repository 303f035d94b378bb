"""A GAN that is a plain class with one `backward`, and TimeCycle added by inheritance.

    python examples/plain_class.py             # about a minute on two CPU cores
    python examples/plain_class.py --without   # the same GAN without TimeCycle

`GAN` colours maps frame by frame and knows nothing of TimeCycle. Its `backward` computes the losses and leaves
`.backward()` to `train_step`, so a subclass can add to them. What TimeCycle needs is marked `# TimeCycle`.
"""
import argparse

import torch
from shapes import moving_shapes
from torch import nn

from timecyclegan import TimeCycleMixin, check_mixin  # TimeCycle


class GAN:
    def __init__(self, filters=32):
        self.generator = nn.Sequential(
            nn.Conv2d(1, filters, 5, padding=2), nn.InstanceNorm2d(filters), nn.ReLU(),
            nn.Conv2d(filters, filters, 3, padding=1), nn.InstanceNorm2d(filters), nn.ReLU(),
            nn.Conv2d(filters, 3, 3, padding=1), nn.Tanh(),
        )  # fmt: skip
        self.discriminator = nn.Sequential(
            nn.Conv2d(4, filters, 4, stride=2, padding=1), nn.LeakyReLU(0.2),
            nn.Conv2d(filters, filters, 4, stride=2, padding=1), nn.InstanceNorm2d(filters), nn.LeakyReLU(0.2),
            nn.Conv2d(filters, 1, 3, padding=1),
        )  # fmt: skip
        self.optimizer_G = torch.optim.Adam(self.generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
        self.optimizer_D = torch.optim.Adam(self.discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))

    def forward(self, source, real):
        """Videos (N, T, C, H, W): one channel of map, three of colour."""
        self.source, self.real = source, real
        self.fake = torch.stack([self.generator(frame) for frame in source.unbind(dim=1)], dim=1)
        return self.fake

    def judge(self, video):
        return self.discriminator(torch.cat([self.source, video], dim=2).flatten(0, 1))

    def backward(self):
        deceived = (self.judge(self.fake) - 1).square().mean()
        self.loss_G = deceived + 10 * (self.fake - self.real).abs().mean()
        self.loss_D = (self.judge(self.real) - 1).square().mean() + self.judge(self.fake.detach()).square().mean()

    def train_step(self, source, real):
        self.forward(source, real)
        self.backward()
        for optimizer, loss in ((self.optimizer_G, self.loss_G), (self.optimizer_D, self.loss_D)):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


class GANWithTimeCycle(TimeCycleMixin, GAN):  # TimeCycle
    def __init__(self, *args, **kwargs):  # TimeCycle
        super().__init__(*args, timecycle_loss_weight=5, timecycle_motion_model_filters=8, **kwargs)  # TimeCycle
        self.define_timecycle(input_channels=4, output_channels=3)  # TimeCycle
        self.optimizer_G.add_param_group({"params": self.timecycle_parameters()})  # TimeCycle

    def backward(self):  # TimeCycle
        super().backward()  # TimeCycle
        self.timecycle_forward(self.fake, self.source)  # TimeCycle
        self.loss_G = self.loss_G + self.timecycle_backward()  # TimeCycle


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--without", action="store_true", help="train without TimeCycle")
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    gan = GAN() if options.without else GANWithTimeCycle()
    if not options.without:
        check_mixin(gan, moving_shapes(4))
    for step in range(options.steps):
        gan.train_step(*moving_shapes(4))
        if step in (0, options.steps - 1) or step % 50 == 0:
            losses = {"G": gan.loss_G, "D": gan.loss_D}
            if not options.without:
                losses |= gan.timecycle_losses()
            print(f"step {step}:", *(f"{name} {loss.item():.4f}" for name, loss in losses.items()))


if __name__ == "__main__":
    main()
