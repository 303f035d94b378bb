"""A GAN with hinge loss and discriminators at several scales, a trainer around it, and TimeCycle inside.

    python examples/multiscale_hinge.py        # about a minute on two CPU cores

In the manner of pix2pixHD and SPADE: `MultiscaleDiscriminator` returns a list for each scale, features and prediction,
and the criterion takes all of it and is told whose loss it computes. TimeCycle takes both as they are. Lines that it
adds are marked `# TimeCycle`.
"""
import argparse

import torch
import torch.nn.functional as F
from shapes import moving_shapes
from torch import nn

from timecyclegan import TimeCycle, check_mixin, define_motion_model  # TimeCycle


class PatchDiscriminator(nn.Module):
    """Returns what each layer makes; the last is the prediction."""

    def __init__(self, channels, filters):
        super().__init__()
        self.layers = nn.ModuleList([
            nn.Sequential(nn.Conv2d(channels, filters, 4, stride=2, padding=1), nn.LeakyReLU(0.2)),
            nn.Sequential(nn.Conv2d(filters, 2 * filters, 4, stride=2, padding=1), nn.InstanceNorm2d(2 * filters),
                          nn.LeakyReLU(0.2)),
            nn.Conv2d(2 * filters, 1, 3, padding=1),
        ])  # fmt: skip

    def forward(self, picture):
        results = [picture]
        for layer in self.layers:
            results.append(layer(results[-1]))
        return results[1:]


class MultiscaleDiscriminator(nn.Module):
    """Several discriminators, each of pictures of half the size."""

    def __init__(self, channels, filters, scales=2):
        super().__init__()
        self.scales = nn.ModuleList(PatchDiscriminator(channels, filters) for _ in range(scales))

    def forward(self, picture):
        results = []
        for discriminator in self.scales:
            results.append(discriminator(picture))
            picture = F.avg_pool2d(picture, 3, stride=2, padding=1, count_include_pad=False)
        return results


class HingeLoss(nn.Module):
    def forward(self, results, target_is_real, for_discriminator=True):
        losses = []
        for *_, prediction in results:
            if not for_discriminator:
                losses.append(-prediction.mean())
            else:
                losses.append(F.relu(1 - prediction if target_is_real else 1 + prediction).mean())
        return sum(losses) / len(losses)


class Trainer:
    def __init__(self, filters=32, lambda_feat=10.0):
        self.netG = nn.Sequential(
            nn.Conv2d(1, filters, 5, padding=2), nn.InstanceNorm2d(filters), nn.ReLU(),
            nn.Conv2d(filters, filters, 3, padding=1), nn.InstanceNorm2d(filters), nn.ReLU(),
            nn.Conv2d(filters, 3, 3, padding=1), nn.Tanh(),
        )  # fmt: skip
        self.netD = MultiscaleDiscriminator(1 + 3, filters)
        self.criterion_hinge, self.lambda_feat = HingeLoss(), lambda_feat
        motion_model = define_motion_model("resnet_1blocks", 1 + 3, 3, filters=8)  # TimeCycle
        self.cycle = TimeCycle(motion_model, weight=5.0, criterion_GAN=self.criterion_hinge)  # TimeCycle
        self.cycle.add_discriminator(self.netD)  # TimeCycle
        self.create_optimizers()

    def create_optimizers(self, lr=2e-4):
        G_params, D_params = [*self.netG.parameters()], [*self.netD.parameters()]
        G_params += self.cycle.parameters()  # TimeCycle
        self.optimizer_G = torch.optim.Adam(G_params, lr=lr / 2, betas=(0.0, 0.9))
        self.optimizer_D = torch.optim.Adam(D_params, lr=lr * 2, betas=(0.0, 0.9))

    def generate(self, maps):
        return self.netG(maps.flatten(0, 1)).unflatten(0, maps.shape[:2])

    def discriminate(self, maps, videos):
        return self.netD(torch.cat([maps, videos], dim=2).flatten(0, 1))

    def compute_generator_loss(self, maps, real):
        fake = self.generate(maps)
        on_fake, on_real = self.discriminate(maps, fake), self.discriminate(maps, real)
        pairs = [pair for scales in zip(on_fake, on_real, strict=True) for pair in zip(*scales, strict=True)]
        losses = {"GAN": self.criterion_hinge(on_fake, True, for_discriminator=False)}
        losses["GAN_Feat"] = self.lambda_feat * sum(F.l1_loss(a, b.detach()) for a, b in pairs) / len(pairs)
        self.cycle(fake, maps)  # TimeCycle
        self.cycle.set_discriminator_input(real, maps)  # TimeCycle
        losses["TimeCycle"] = self.cycle.generator_loss()  # TimeCycle
        return losses

    def compute_discriminator_loss(self, maps, real):
        with torch.no_grad():
            fake = self.generate(maps)
        losses = {"D_fake": self.criterion_hinge(self.discriminate(maps, fake), False)}
        losses["D_real"] = self.criterion_hinge(self.discriminate(maps, real), True)
        losses["D_TimeCycle"] = self.cycle.discriminator_loss()  # TimeCycle
        return losses

    def train_step(self, maps, real):
        self.losses = self.run(self.optimizer_G, self.compute_generator_loss(maps, real))
        self.losses |= self.run(self.optimizer_D, self.compute_discriminator_loss(maps, real))

    def run(self, optimizer, losses):
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        return {name: loss.item() for name, loss in losses.items()}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    trainer = Trainer()
    check_mixin(trainer, moving_shapes(4))
    for step in range(options.steps):
        trainer.train_step(*moving_shapes(4))
        if step in (0, options.steps - 1) or step % 50 == 0:
            losses = trainer.losses | {f"timecycle_{name}": loss for name, loss in trainer.cycle.terms().items()}
            print(f"step {step}:", *(f"{name} {loss:.4f}" for name, loss in losses.items()))


if __name__ == "__main__":
    main()
