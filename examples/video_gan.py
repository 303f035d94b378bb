"""A GAN that makes whole videos (N, C, T, H, W) from noise, with 3D convolutions, and TimeCycle inside it.

    python examples/video_gan.py               # about a minute on two CPU cores

Two discriminators, one of videos and one of single frames, as in MoCoGAN. TimeCycle takes videos as (N, T, C, H, W), so
it gets `fake.transpose(1, 2)`; there is no condition, so the motion model sees two frames. The discriminator of frames
judges the walk's images too. Lines that it adds are marked `# TimeCycle`.
"""
import argparse

import torch
from shapes import moving_shapes
from torch import nn

from timecyclegan import TimeCycle, check_mixin, define_motion_model  # TimeCycle


class VideoGAN(nn.Module):
    def __init__(self, filters=16, nz=32):
        super().__init__()
        self.nz = nz
        self.generator = nn.Sequential(  # code (N, nz, 1, 1, 1) to video (N, 3, 8, 32, 32)
            nn.ConvTranspose3d(nz, 4 * filters, (2, 4, 4), bias=False), nn.BatchNorm3d(4 * filters), nn.ReLU(),
            nn.ConvTranspose3d(4 * filters, 2 * filters, 4, 2, 1, bias=False), nn.BatchNorm3d(2 * filters), nn.ReLU(),
            nn.ConvTranspose3d(2 * filters, filters, 4, 2, 1, bias=False), nn.BatchNorm3d(filters), nn.ReLU(),
            nn.ConvTranspose3d(filters, 3, (3, 4, 4), (1, 2, 2), 1), nn.Tanh(),
        )  # fmt: skip
        self.video_discriminator = nn.Sequential(
            nn.Conv3d(3, filters, 4, 2, 1), nn.LeakyReLU(0.2),
            nn.Conv3d(filters, 2 * filters, 4, 2, 1, bias=False), nn.BatchNorm3d(2 * filters), nn.LeakyReLU(0.2),
            nn.Conv3d(2 * filters, 1, (2, 4, 4)), nn.Flatten(),
        )  # fmt: skip
        self.image_discriminator = nn.Sequential(
            nn.Conv2d(3, filters, 4, 2, 1), nn.LeakyReLU(0.2),
            nn.Conv2d(filters, 2 * filters, 4, 2, 1, bias=False), nn.BatchNorm2d(2 * filters), nn.LeakyReLU(0.2),
            nn.Conv2d(2 * filters, 1, 4), nn.Flatten(),
        )  # fmt: skip
        self.criterion = nn.BCEWithLogitsLoss()
        discriminators = [*self.video_discriminator.parameters(), *self.image_discriminator.parameters()]
        self.opt_gen = torch.optim.Adam(self.generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
        self.opt_disc = torch.optim.Adam(discriminators, lr=2e-4, betas=(0.5, 0.999))
        motion_model = define_motion_model("resnet_1blocks", 2 * 3, 3, filters=8)  # TimeCycle
        self.cycle = TimeCycle(motion_model, "unconditional", weight=5.0, criterion_GAN=self.criterion)  # TimeCycle
        self.cycle.add_discriminator(self.image_discriminator)  # TimeCycle
        self.opt_gen.add_param_group({"params": self.cycle.parameters()})  # TimeCycle

    def sample(self, n):
        return self.generator(torch.randn(n, self.nz, 1, 1, 1))

    def bce(self, videos, real):
        """Both discriminators' verdict on videos, of which the one of images sees a frame each."""
        frames = videos[torch.arange(len(videos)), :, torch.randint(videos.shape[2], (len(videos),))]
        logits = [self.video_discriminator(videos), self.image_discriminator(frames)]
        return sum(self.criterion(one, torch.full_like(one, float(real))) for one in logits)

    def training_step(self, real):
        """One step with real videos (N, 3, 8, 32, 32)."""
        fake = self.sample(len(real))
        self.cycle(fake.transpose(1, 2))  # TimeCycle
        self.cycle.set_discriminator_input(real.transpose(1, 2))  # TimeCycle

        loss_disc = self.bce(real, True) + self.bce(fake.detach(), False)
        loss_disc = loss_disc + self.cycle.discriminator_loss()  # TimeCycle
        self.opt_disc.zero_grad()
        loss_disc.backward()
        self.opt_disc.step()

        loss_gen = self.bce(fake, True)
        loss_gen = loss_gen + self.cycle.generator_loss()  # TimeCycle
        self.opt_gen.zero_grad()
        loss_gen.backward()
        self.opt_gen.step()
        return {"gen": loss_gen.item(), "disc": loss_disc.item()}


def batch():
    return moving_shapes(4, frames=8)[1].transpose(1, 2)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    gan = VideoGAN()
    check_mixin(gan, batch())
    for step in range(options.steps):
        losses = gan.training_step(batch())
        if step in (0, options.steps - 1) or step % 50 == 0:
            losses |= {f"timecycle_{name}": loss.item() for name, loss in gan.cycle.terms().items()}
            print(f"step {step}:", *(f"{name} {loss:.4f}" for name, loss in losses.items()))


if __name__ == "__main__":
    main()
