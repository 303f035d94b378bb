"""A DCGAN as a script: networks, optimizers and losses at module level, in the manner of PyTorch's DCGAN tutorial.

    python examples/dcgan_script.py            # about a minute on two CPU cores

A video is what the generator makes along a line between two random codes. There is no class to inherit from, so
TimeCycle is a module among the others; lines that it adds are marked `# TimeCycle`.
"""
import argparse

import torch
from shapes import moving_shapes
from torch import nn

from timecyclegan import TimeCycle, check_mixin, define_motion_model  # TimeCycle

batch_size, n_frames, nz, ngf, ndf = 4, 5, 50, 32, 8
torch.manual_seed(0)


def weights_init(m):
    if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(m.weight, 0.0, 0.02)
    elif isinstance(m, nn.BatchNorm2d):
        nn.init.normal_(m.weight, 1.0, 0.02)
        nn.init.zeros_(m.bias)


netG = nn.Sequential(  # code (N, nz, 1, 1) to picture (N, 3, 32, 32)
    nn.ConvTranspose2d(nz, ngf * 4, 4, bias=False), nn.BatchNorm2d(ngf * 4), nn.ReLU(True),
    nn.ConvTranspose2d(ngf * 4, ngf * 2, 4, 2, 1, bias=False), nn.BatchNorm2d(ngf * 2), nn.ReLU(True),
    nn.ConvTranspose2d(ngf * 2, ngf, 4, 2, 1, bias=False), nn.BatchNorm2d(ngf), nn.ReLU(True),
    nn.ConvTranspose2d(ngf, 3, 4, 2, 1, bias=False), nn.Tanh(),
)  # fmt: skip
netD = nn.Sequential(
    nn.Conv2d(3, ndf, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, True),
    nn.Conv2d(ndf, ndf * 2, 4, 2, 1, bias=False), nn.BatchNorm2d(ndf * 2), nn.LeakyReLU(0.2, True),
    nn.Conv2d(ndf * 2, ndf * 4, 4, 2, 1, bias=False), nn.BatchNorm2d(ndf * 4), nn.LeakyReLU(0.2, True),
    nn.Conv2d(ndf * 4, 1, 4, bias=False), nn.Flatten(0),
)  # fmt: skip
netG.apply(weights_init)
netD.apply(weights_init)


def criterion(output, is_real):
    return nn.functional.binary_cross_entropy_with_logits(output, torch.full_like(output, float(is_real)))


optimizerD = torch.optim.Adam(netD.parameters(), lr=2e-4, betas=(0.5, 0.999))
optimizerG = torch.optim.Adam(netG.parameters(), lr=2e-4, betas=(0.5, 0.999))
motion_model = define_motion_model("resnet_1blocks", 6, 3, filters=8)  # TimeCycle
cycle = TimeCycle(motion_model, "unconditional", weight=5.0, criterion_GAN=criterion)  # TimeCycle
cycle.add_discriminator(netD)  # TimeCycle
optimizerG.add_param_group({"params": cycle.parameters(), "lr": 1e-3})  # TimeCycle


def random_walk():
    """Codes (batch_size, n_frames, nz, 1, 1) along a line."""
    here, there = torch.randn(2, batch_size, 1, nz, 1, 1)
    return torch.lerp(here, there, torch.linspace(0, 0.2, n_frames).view(1, -1, 1, 1, 1))


def train_step(real):
    """What the training loop does with a batch of real videos (batch_size, n_frames, 3, 32, 32)."""
    fake = netG(random_walk().flatten(0, 1)).unflatten(0, (batch_size, n_frames))
    cycle(fake)  # TimeCycle
    cycle.set_discriminator_input(real)  # TimeCycle

    netD.zero_grad()
    errD = criterion(netD(real.flatten(0, 1)), True) + criterion(netD(fake.detach().flatten(0, 1)), False)
    errD = errD + cycle.discriminator_loss()  # TimeCycle
    errD.backward()
    optimizerD.step()

    optimizerG.zero_grad()
    errG = criterion(netD(fake.flatten(0, 1)), True)
    errG = errG + cycle.generator_loss()  # TimeCycle
    errG.backward()
    optimizerG.step()
    return {"G": errG, "D": errD}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=400)
    options = parser.parse_args(arguments)
    check_mixin(cycle, moving_shapes(batch_size, n_frames)[1], step=train_step)
    for step in range(options.steps):
        losses = train_step(moving_shapes(batch_size, n_frames)[1])
        if step in (0, options.steps - 1) or step % 50 == 0:
            losses |= {f"timecycle_{name}": loss for name, loss in cycle.terms().items()}
            print(f"step {step}:", *(f"{name} {loss.item():.4f}" for name, loss in losses.items()))


if __name__ == "__main__":
    main()
