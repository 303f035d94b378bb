"""A GAN in several processes, in the manner of PyTorch's DistributedDataParallel tutorial, and TimeCycle beside it.

    torchrun --nproc_per_node=2 examples/ddp.py          # about a minute on two CPU cores, or on two GPUs

Each process draws clips of its own and computes gradients of its own; DistributedDataParallel (DDP) gives all of them
the mean, of what it wraps. The motion model is a network like the others, and wrapped like them: line by line, what
TimeCycle adds is marked `# TimeCycle`.
"""
import argparse
import os

import torch
from shapes import moving_shapes
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel as DDP

from timecyclegan import TimeCycle, check_mixin, define_motion_model  # TimeCycle


class GAN:
    """On one process of several: a translation of maps to videos, frame by frame."""

    def __init__(self, device, filters=32):
        self.netG = DDP(nn.Sequential(  # sees the map
            nn.Conv2d(1, filters, 5, padding=2), nn.InstanceNorm2d(filters), nn.ReLU(),
            nn.Conv2d(filters, filters, 3, padding=1), nn.InstanceNorm2d(filters), nn.ReLU(),
            nn.Conv2d(filters, 3, 3, padding=1), nn.Tanh(),
        ).to(device))  # fmt: skip
        self.netD = DDP(nn.Sequential(  # sees the map and a frame
            nn.Conv2d(1 + 3, filters, 4, stride=2, padding=1), nn.LeakyReLU(0.2),
            nn.Conv2d(filters, 1, 4, stride=2, padding=1),
        ).to(device))  # fmt: skip
        self.optimizer_G = torch.optim.Adam(self.netG.parameters(), lr=2e-4, betas=(0.5, 0.999))
        self.optimizer_D = torch.optim.Adam(self.netD.parameters(), lr=2e-4, betas=(0.5, 0.999))
        motion_model = define_motion_model("resnet_1blocks", in_channels=1 + 3, out_channels=3, filters=8)  # TimeCycle
        self.cycle = TimeCycle(DDP(motion_model.to(device)), weight=5.0)  # TimeCycle
        self.optimizer_G.add_param_group({"params": self.cycle.parameters()})  # TimeCycle

    def judge(self, maps, video):
        return self.netD(torch.cat([maps, video], dim=2).flatten(0, 1))

    def train_step(self, maps, real):
        fake = self.netG(maps.flatten(0, 1)).unflatten(0, maps.shape[:2])

        loss_D = (self.judge(maps, real) - 1).square().mean() + self.judge(maps, fake.detach()).square().mean()
        self.optimizer_D.zero_grad()
        loss_D.backward()
        self.optimizer_D.step()

        loss_G = (self.judge(maps, fake) - 1).square().mean() + 10 * (fake - real).abs().mean()
        self.cycle(fake, maps)  # TimeCycle
        loss_G = loss_G + self.cycle.generator_loss()  # TimeCycle
        self.optimizer_G.zero_grad()
        loss_G.backward()
        self.optimizer_G.step()
        return {"G": loss_G, "D": loss_D}


def spread(module):
    """How far the processes' parameters of ``module`` are from each other, at most."""
    parameters = torch.cat([p.detach().flatten() for p in module.parameters()])
    every = [torch.empty_like(parameters) for _ in range(distributed.get_world_size())]
    distributed.all_gather(every, parameters)
    return max((one - every[0]).abs().max().item() for one in every)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args(arguments)
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    rank = distributed.get_rank()
    torch.manual_seed(rank)  # other clips in each process; DDP begins everywhere with the networks of rank 0
    gan = GAN(device)

    def batch():
        return [video.to(device) for video in moving_shapes(4)]

    check_mixin(gan, batch(), verbose=rank == 0)
    for step in range(options.steps):
        losses = gan.train_step(*batch())
        if rank == 0 and (step in (0, options.steps - 1) or step % 50 == 0):
            losses |= {f"timecycle_{name}": loss for name, loss in gan.cycle.terms().items()}
            print(f"step {step}:", *(f"{name} {loss.item():.4f}" for name, loss in losses.items()))
    apart = {name: spread(module) for name, module in
             {"generator": gan.netG, "discriminator": gan.netD, "motion model": gan.cycle}.items()}
    if rank == 0:
        print(f"{distributed.get_world_size()} processes differ", *(f"{name} {by:g}" for name, by in apart.items()))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
