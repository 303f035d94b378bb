"""A model in the manner of pytorch-CycleGAN-and-pix2pix, which back-propagates inside, and TimeCycle by inheritance.

    python examples/pix2pix_style.py             # about a minute on two CPU cores
    python examples/pix2pix_style.py --without   # the same model without TimeCycle

`Pix2Pix.backward_G` ends in `self.loss_G.backward()`: what a subclass adds to `loss_G` afterwards comes too late. So
the term is back-propagated by itself before; gradients add up until `optimizer_G.step()`. `retain_graph` is needed
because the generator's graph is walked a second time.
"""
import argparse

import torch
from shapes import moving_shapes
from torch import nn

from timecyclegan import TimeCycleMixin, check_mixin  # TimeCycle


class GANLoss(nn.Module):
    def forward(self, prediction, target_is_real):
        target = torch.full_like(prediction, float(target_is_real))
        return nn.functional.mse_loss(prediction, target)


class Pix2Pix:
    def __init__(self, filters=32, lambda_L1=10.0):
        self.netG = nn.Sequential(
            nn.Conv2d(1, filters, 5, padding=2), nn.InstanceNorm2d(filters), nn.ReLU(),
            nn.Conv2d(filters, filters, 3, padding=1), nn.InstanceNorm2d(filters), nn.ReLU(),
            nn.Conv2d(filters, 3, 3, padding=1), nn.Tanh(),
        )  # fmt: skip
        self.netD = nn.Sequential(
            nn.Conv2d(4, filters, 4, stride=2, padding=1), nn.LeakyReLU(0.2),
            nn.Conv2d(filters, filters, 4, stride=2, padding=1), nn.InstanceNorm2d(filters), nn.LeakyReLU(0.2),
            nn.Conv2d(filters, 1, 3, padding=1),
        )  # fmt: skip
        self.criterionGAN, self.criterionL1, self.lambda_L1 = GANLoss(), nn.L1Loss(), lambda_L1
        self.optimizer_G = torch.optim.Adam(self.netG.parameters(), lr=2e-4, betas=(0.5, 0.999))
        self.optimizer_D = torch.optim.Adam(self.netD.parameters(), lr=2e-4, betas=(0.5, 0.999))
        self.optimizers = [self.optimizer_G, self.optimizer_D]

    def set_input(self, input):
        """Clips instead of pictures: A (N, T, 1, H, W) and B (N, T, 3, H, W)."""
        self.real_A, self.real_B = input["A"], input["B"]

    def forward(self):
        self.fake_B = self.netG(self.real_A.flatten(0, 1)).unflatten(0, self.real_A.shape[:2])

    def judge(self, B):
        return self.netD(torch.cat([self.real_A, B], dim=2).flatten(0, 1))

    def backward_D(self):
        self.loss_D_fake = self.criterionGAN(self.judge(self.fake_B.detach()), False)
        self.loss_D_real = self.criterionGAN(self.judge(self.real_B), True)
        self.loss_D = (self.loss_D_fake + self.loss_D_real) / 2
        self.loss_D.backward()

    def backward_G(self):
        self.loss_G_GAN = self.criterionGAN(self.judge(self.fake_B), True)
        self.loss_G_L1 = self.criterionL1(self.fake_B, self.real_B) * self.lambda_L1
        self.loss_G = self.loss_G_GAN + self.loss_G_L1
        self.loss_G.backward()

    def optimize_parameters(self):
        self.forward()
        self.netD.requires_grad_(True)
        self.optimizer_D.zero_grad()
        self.backward_D()
        self.optimizer_D.step()
        self.netD.requires_grad_(False)
        self.optimizer_G.zero_grad()
        self.backward_G()
        self.optimizer_G.step()


class Pix2PixWithTimeCycle(TimeCycleMixin, Pix2Pix):  # TimeCycle
    def __init__(self, *args, **kwargs):  # TimeCycle
        super().__init__(*args, timecycle_loss_weight=5, timecycle_motion_model_filters=8, **kwargs)  # TimeCycle
        self.define_timecycle(input_channels=4, output_channels=3)  # TimeCycle
        self.optimizer_G.add_param_group({"params": self.timecycle_parameters()})  # TimeCycle

    def backward_G(self):  # TimeCycle
        self.timecycle_forward(self.fake_B, self.real_A)  # TimeCycle
        self.timecycle_backward().backward(retain_graph=True)  # TimeCycle
        super().backward_G()  # TimeCycle


def batch():
    return dict(zip("AB", moving_shapes(4), strict=True))


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--without", action="store_true", help="train without TimeCycle")
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    model = Pix2Pix() if options.without else Pix2PixWithTimeCycle()
    if not options.without:
        check_mixin(model, batch())
    for step in range(options.steps):
        model.set_input(batch())
        model.optimize_parameters()
        if step in (0, options.steps - 1) or step % 50 == 0:
            losses = {"G_GAN": model.loss_G_GAN, "G_L1": model.loss_G_L1, "D": model.loss_D}
            if not options.without:
                losses |= model.timecycle_losses()
            print(f"step {step}:", *(f"{name} {loss.item():.4f}" for name, loss in losses.items()))


if __name__ == "__main__":
    main()
