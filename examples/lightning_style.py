"""A GAN as a Lightning module with manual optimization, and TimeCycle inside it. Lightning itself is not needed.

    python examples/lightning_style.py         # about a minute on two CPU cores

`ManualLoop` stands in for `LightningModule` and its trainer. The GAN is your own, so TimeCycle is written into it:
lines that it adds are marked `# TimeCycle`, lines that it changes also say what they were. The discriminator sees three
frames at once and no map; it judges the walk's images too.
"""
import argparse

import torch
from shapes import moving_shapes
from torch import nn

from timecyclegan import TimeCycleMixin, check_mixin  # TimeCycle


class ManualLoop(nn.Module):
    """What the GAN uses of Lightning, which steps by itself unless it is told that you do."""

    automatic_optimization = True

    def optimizers(self):
        if not hasattr(self, "_optimizers"):
            self._optimizers = self.configure_optimizers()
        return self._optimizers

    def manual_backward(self, loss):
        if self.automatic_optimization:
            raise RuntimeError("set automatic_optimization to False: training_step steps the optimizers itself")
        loss.backward()

    def log_dict(self, values):
        self.logged = {name: value.item() for name, value in values.items()}

    def fit(self, batches):
        for batch_idx, batch in enumerate(batches):
            self.training_step(batch, batch_idx)


class GAN(TimeCycleMixin, ManualLoop):  # TimeCycle, was class GAN(ManualLoop):
    def __init__(self, filters=32):
        super().__init__(timecycle_loss_weight=5, timecycle_motion_model_filters=8)  # TimeCycle, was super().__init__()
        self.automatic_optimization = False  # two optimizers, stepped below
        self.generator = nn.Sequential(  # sees the map and the frame before
            nn.Conv2d(1 + 3, filters, 5, padding=2), nn.InstanceNorm2d(filters), nn.ReLU(),
            nn.Conv2d(filters, filters, 3, padding=1), nn.InstanceNorm2d(filters), nn.ReLU(),
            nn.Conv2d(filters, 3, 3, padding=1), nn.Tanh(),
        )  # fmt: skip
        self.discriminator = nn.Sequential(  # sees three frames
            nn.Conv2d(3 * 3, filters, 4, stride=2, padding=1), nn.LeakyReLU(0.2),
            nn.Conv2d(filters, filters, 4, stride=2, padding=1), nn.InstanceNorm2d(filters), nn.LeakyReLU(0.2),
            nn.Conv2d(filters, 1, 3, padding=1),
        )  # fmt: skip
        self.define_timecycle(input_channels=4, output_channels=3)  # TimeCycle
        self.add_timecycle_discriminator(self.discriminator, n_frames=3, conditional=False)  # TimeCycle

    def configure_optimizers(self):
        parameters = [*self.generator.parameters()]
        parameters += self.timecycle_parameters()  # TimeCycle
        optimizer_G = torch.optim.Adam(parameters, lr=2e-4, betas=(0.5, 0.999))
        return optimizer_G, torch.optim.Adam(self.discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))

    def forward(self, maps):
        """(N, T, 1, H, W) to (N, T, 3, H, W), frame after frame."""
        frames = [torch.zeros_like(maps[:, 0]).expand(-1, 3, -1, -1)]
        for one in maps.unbind(dim=1):
            frames.append(self.generator(torch.cat([one, frames[-1]], dim=1)))
        return torch.stack(frames[1:], dim=1)

    def judge(self, video, wanted):
        triples = video.unfold(1, 3, 2).movedim(-1, 2)  # (N, windows, 3, C, H, W)
        return (self.discriminator(triples.flatten(2, 3).flatten(0, 1)) - wanted).square().mean()

    def training_step(self, batch, batch_idx):
        maps, real = batch
        optimizer_G, optimizer_D = self.optimizers()
        fake = self(maps)
        self.timecycle_forward(fake, maps)  # TimeCycle
        self.set_timecycle_discriminator_input(real)  # TimeCycle

        loss_D = self.judge(real, wanted=1) + self.judge(fake.detach(), wanted=0)
        loss_D = loss_D + self.timecycle_backward_D()  # TimeCycle
        optimizer_D.zero_grad()
        self.manual_backward(loss_D)
        optimizer_D.step()

        loss_G = self.judge(fake, wanted=1) + 10 * (fake - real).abs().mean()
        loss_G = loss_G + self.timecycle_backward()  # TimeCycle
        optimizer_G.zero_grad()
        self.manual_backward(loss_G)
        optimizer_G.step()
        self.log_dict({"G": loss_G, "D": loss_D})


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    gan = GAN()
    check_mixin(gan, moving_shapes(4))
    for step in range(options.steps):
        gan.fit([moving_shapes(4)])
        if step in (0, options.steps - 1) or step % 50 == 0:
            losses = {**gan.logged, **gan.timecycle_losses()}
            print(f"step {step}:", *(f"{name} {loss:.4f}" for name, loss in losses.items()))


if __name__ == "__main__":
    main()
