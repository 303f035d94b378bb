"""A WGAN-GP as a class with one `train()` that does everything, and TimeCycle inside it, without inheritance.

    python examples/wgan_gp_class.py           # about a minute on two CPU cores

The generated clip is a local variable and the losses are back-propagated where they are computed; so that is where
TimeCycle goes. Lines that it adds are marked `# TimeCycle`.
"""
import argparse

import torch
from shapes import moving_shapes
from torch import nn

from timecyclegan import TimeCycle, check_mixin, define_motion_model  # TimeCycle


class Generator(nn.Module):
    def __init__(self, filters):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1 + 2, filters, 5, padding=2), nn.BatchNorm2d(filters), nn.ReLU(),
            nn.Conv2d(filters, filters, 3, padding=1), nn.BatchNorm2d(filters), nn.ReLU(),
            nn.Conv2d(filters, 3, 3, padding=1), nn.Tanh(),
        )  # fmt: skip

    def forward(self, maps, z):
        return self.layers(torch.cat([maps, z.expand(-1, -1, *maps.shape[2:])], dim=1))


class Critic(nn.Module):
    def __init__(self, filters):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1 + 3, filters, 4, stride=2, padding=1), nn.LeakyReLU(0.2),
            nn.Conv2d(filters, 2 * filters, 4, stride=2, padding=1), nn.LeakyReLU(0.2),
            nn.Conv2d(2 * filters, 1, 4),
        )  # fmt: skip

    def forward(self, maps, picture):
        return self.layers(torch.cat([maps, picture], dim=1)).mean(dim=(1, 2, 3))


class WGAN:
    """Colours maps, frame by frame."""

    def __init__(self, filters=32, critic_iterations=2, lambda_gp=10.0):
        self.generator, self.critic = Generator(filters), Critic(filters)
        self.critic_iterations, self.lambda_gp = critic_iterations, lambda_gp
        self.optimizer_G = torch.optim.Adam(self.generator.parameters(), lr=2e-4, betas=(0.5, 0.9))
        self.optimizer_C = torch.optim.Adam(self.critic.parameters(), lr=2e-4, betas=(0.5, 0.9))
        self.log = []
        self.cycle = TimeCycle(define_motion_model("resnet_1blocks", 1 + 3, 3, filters=8), weight=5.0)  # TimeCycle
        self.optimizer_G.add_param_group({"params": self.cycle.parameters()})  # TimeCycle

    def gradient_penalty(self, maps, real, fake):
        alpha = torch.rand(len(real), 1, 1, 1)
        mixed = (alpha * real + (1 - alpha) * fake).requires_grad_(True)
        (gradient,) = torch.autograd.grad(self.critic(maps, mixed).sum(), mixed, create_graph=True)
        return (gradient.flatten(1).norm(dim=1) - 1).square().mean()

    def train(self, loader):
        for iteration, (maps, videos) in enumerate(loader):
            n, t = maps.shape[:2]
            maps, real = maps.flatten(0, 1), videos.flatten(0, 1)  # the networks see single frames
            z = torch.randn(n, 1, 2, 1, 1).expand(-1, t, -1, -1, -1).flatten(0, 1)  # one code for each video

            # ---- critic
            with torch.no_grad():
                fake = self.generator(maps, z)
            wasserstein = self.critic(maps, real).mean() - self.critic(maps, fake).mean()
            c_loss = -wasserstein + self.lambda_gp * self.gradient_penalty(maps, real, fake)
            self.optimizer_C.zero_grad()
            c_loss.backward()
            self.optimizer_C.step()

            # ---- generator
            if iteration % self.critic_iterations == 0:
                fake = self.generator(maps, z)
                g_loss = -self.critic(maps, fake).mean() + 10 * nn.functional.l1_loss(fake, real)
                self.cycle(fake.unflatten(0, (n, t)), maps.unflatten(0, (n, t)))  # TimeCycle
                g_loss = g_loss + self.cycle.generator_loss()  # TimeCycle
                self.optimizer_G.zero_grad()
                g_loss.backward()
                self.optimizer_G.step()
                self.log.append({"G": g_loss.item(), "wasserstein": wasserstein.item()})


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    gan = WGAN()
    check_mixin(gan, moving_shapes(4), step=lambda batch: gan.train([batch]))
    for step in range(options.steps):
        gan.train([moving_shapes(4) for _ in range(gan.critic_iterations)])
        if step in (0, options.steps - 1) or step % 50 == 0:
            losses = gan.log[-1] | {f"timecycle_{name}": loss for name, loss in gan.cycle.terms().items()}
            print(f"step {step}:", *(f"{name} {loss:.4f}" for name, loss in losses.items()))


if __name__ == "__main__":
    main()
