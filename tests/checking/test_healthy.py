"""check_mixin never cries wolf: GANs of many habits, all in order, get no finding."""
import copy

import pytest
import torch
from torch import nn

from tests.ranks import on_two_ranks
from timecyclegan import TimeCycle, check_mixin

N, T, C, SIZE = 2, 3, 3, 16  # as many frames as channels: what is swapped would fit


class Host:
    """A GAN as a script has it: networks, optimizers, and a step. Its parts are replaced one by one."""

    def __init__(self):
        torch.manual_seed(0)
        self.netG = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1), nn.Tanh())
        self.netD = nn.Sequential(nn.Conv2d(6, 8, 4, 2), nn.LeakyReLU(0.2), nn.Conv2d(8, 1, 3))
        motion = nn.Sequential(nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1), nn.Tanh())
        self.cycle = TimeCycle(motion, weight=5.0)
        self.cycle.add_discriminator(self.netD)
        self.optimizer_G = torch.optim.Adam(self.netG.parameters(), 2e-4)
        self.optimizer_D = torch.optim.Adam(self.netD.parameters(), 2e-4)
        self.optimizer_G.add_param_group({"params": self.cycle.parameters()})
        self.finish()

    def finish(self):
        """What comes after the parameter group."""

    def generate(self, source):
        return self.netG(source.flatten(0, 1)).unflatten(0, source.shape[:2])

    def judge(self, source, video):
        return [self.netD(torch.cat([source, video], 2).flatten(0, 1))]

    def loss_G(self, judged):
        return sum((one - 1).square().mean() for one in judged)

    def loss_D(self, real, fake):
        return sum((a - 1).square().mean() + b.square().mean() for a, b in zip(real, fake, strict=True))

    def clear(self, optimizer):
        optimizer.zero_grad()

    def back(self, loss):
        loss.backward()

    def move(self, optimizer):
        optimizer.step()

    def losses(self, source, real, fake):
        fooled = self.loss_G(self.judge(source, fake)) + 10 * (fake - real).abs().mean()
        return fooled + self.cycle.generator_loss(), lambda: self.loss_D(
            self.judge(source, real), self.judge(source, fake.detach())) + self.cycle.discriminator_loss()

    def train_step(self, source, real):
        fake = self.generate(source)
        self.cycle(fake, source)
        self.cycle.set_discriminator_input(real, source)
        loss_G, loss_D = self.losses(source, real, fake)
        self.clear(self.optimizer_G)
        self.back(loss_G)
        self.move(self.optimizer_G)
        loss = loss_D()
        self.clear(self.optimizer_D)
        self.back(loss)
        self.move(self.optimizer_D)


class SchedulerAfterTheGroup(Host):
    def finish(self):
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer_G, lambda epoch: 0.5**epoch)


class WarmUpFromZero(Host):
    def finish(self):
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer_G, lambda step: min(step / 100, 1.0))


class ClearsByHand(Host):
    def clear(self, optimizer):
        for parameter in (p for group in optimizer.param_groups for p in group["params"]):
            parameter.grad = None


class SetsToZeroByHand(Host):
    def clear(self, optimizer):
        for parameter in (p for group in optimizer.param_groups for p in group["params"]):
            if parameter.grad is not None:
                parameter.grad.zero_()


class KeepsZeros(Host):
    def clear(self, optimizer):
        optimizer.zero_grad(set_to_none=False)


class ClearsAtTheEnd(Host):
    """And freezes the discriminator meanwhile."""

    clear = lambda self, optimizer: None  # noqa: E731

    def losses(self, *videos):
        self.netD.requires_grad_(False)
        loss_G, loss_D = super().losses(*videos)
        self.netD.requires_grad_(True)
        return loss_G, loss_D

    def move(self, optimizer):
        optimizer.step()
        optimizer.zero_grad()


class Clips(Host):
    def move(self, optimizer):
        nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 0.1)
        optimizer.step()


class Accumulates(Host):
    """Two clips, one step."""

    def train_step(self, source, real):
        self.optimizer_G.zero_grad()
        self.optimizer_D.zero_grad()
        for one, other in zip(source.split(1), real.split(1), strict=True):
            fake = self.generate(one)
            self.cycle(fake, one)
            self.cycle.set_discriminator_input(other, one)
            self.netD.requires_grad_(False)
            loss_G, loss_D = self.losses(one, other, fake)
            (loss_G / 2).backward()
            self.netD.requires_grad_(True)
            (loss_D() / 2).backward()
        self.optimizer_G.step()
        self.optimizer_D.step()


class StepsSeldom(Host):
    """A step among those that accumulate only."""

    clear = move = lambda self, optimizer: None


class Hinge(Host):
    def loss_G(self, judged):
        return -sum(one.mean() for one in judged)

    def loss_D(self, real, fake):
        return sum((1 - a).relu().mean() + (1 + b).relu().mean() for a, b in zip(real, fake, strict=True))


class SeveralScales(Host):
    def finish(self):
        self.coarse = nn.Conv2d(6, 1, 3)
        self.cycle.add_discriminator(self.coarse)
        self.optimizer_D.add_param_group({"params": self.coarse.parameters()})

    def judge(self, source, video):
        pictures = torch.cat([source, video], 2).flatten(0, 1)
        return [self.netD(pictures), self.coarse(pictures), self.coarse(nn.functional.avg_pool2d(pictures, 2))]


class TwoArguments(Host):
    """The discriminator takes frame and condition apart, too."""

    def finish(self):
        class Judge(nn.Sequential):
            def forward(self, pictures, condition=None):
                return super().forward(pictures if condition is None else torch.cat([condition, pictures], 1))

        self.netD = Judge(*self.netD)
        self.cycle.judges.clear()
        self.cycle.add_discriminator(self.netD)

    def judge(self, source, video):
        return [self.netD(video.flatten(0, 1), source.flatten(0, 1))]


class Averages(Host):
    """An exponential moving average of the generator."""

    def finish(self):
        self.average = copy.deepcopy(self.netG).requires_grad_(False)

    def train_step(self, *videos):
        super().train_step(*videos)
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), self.netG.parameters(), strict=True):
                mean.lerp_(now, 0.01)
            self.average(videos[0].flatten(0, 1))


class OptimizerOfItsOwn(Host):
    def finish(self):
        self.optimizer_G = torch.optim.SGD(self.netG.parameters(), 0.01)
        self.optimizer_M = torch.optim.RMSprop(self.cycle.parameters(), 0.01)

    def clear(self, optimizer):
        optimizer.zero_grad()
        self.optimizer_M.zero_grad()

    def move(self, optimizer):
        optimizer.step()
        if optimizer is self.optimizer_G:
            self.optimizer_M.step()


class Scales(Host):
    """The losses, so that half precision does not lose them; a step in which some overflow is left out."""

    growth = 2.0**16

    def finish(self):
        self.scaler = torch.amp.GradScaler("cpu", init_scale=self.growth)

    def back(self, loss):
        self.scaler.scale(loss).backward()

    def move(self, optimizer):
        self.scaler.unscale_(optimizer)
        self.scaler.step(optimizer)
        self.scaler.update()


class Overflows(Scales):
    growth = 1e38


class HalfPrecision(Host):
    def train_step(self, *videos):
        with torch.autocast("cpu", torch.bfloat16):
            super().train_step(*videos)


class MeasuresGradients(Host):
    """Of its loss before it back-propagates it, for an adaptive weight."""

    def back(self, loss):
        list_of = [p for p in [*self.netG.parameters(), *self.netD.parameters()] if p.requires_grad]
        torch.autograd.grad(loss, list_of, retain_graph=True, allow_unused=True)
        loss.backward()


class TwoDiscriminatorSteps(Host):
    def train_step(self, *videos):
        super().train_step(*videos)
        for _ in range(2):
            source, real = videos
            fake = self.generate(source).detach()
            loss = self.loss_D(self.judge(source, real), self.judge(source, fake))
            self.optimizer_D.zero_grad()
            loss.backward()
            self.optimizer_D.step()


class WeighsOutside(Host):
    """Twice the term is not the term twice."""

    def losses(self, source, real, fake):
        term = self.cycle.generator_loss
        self.cycle.generator_loss = lambda: 2 * term()
        try:
            return super().losses(source, real, fake)
        finally:
            del self.cycle.generator_loss


class LeavesGradients(Host):
    """The generator's loss leaves some in the discriminator, which clears them before its own."""

    def train_step(self, source, real):
        super().train_step(source, real)
        assert any(p.grad is not None and p.grad.any() for p in self.netD.parameters())


class Recurrent(Host):
    def generate(self, source):
        frames, before = [], torch.zeros_like(source[:, 0])
        for one in source.unbind(1):
            before = self.netG(one + before)
            frames.append(before)
        return torch.stack(frames, 1)


class RecurrentBesideFrames(Host):
    """Its generator alone sees the condition: beside the frame before. The discriminator judges frames."""

    def finish(self):
        self.netG = nn.Sequential(nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1))
        self.netD = nn.Sequential(nn.Conv2d(3, 8, 4, 2), nn.LeakyReLU(0.2), nn.Conv2d(8, 1, 3))
        self.cycle.judges.clear()
        self.cycle.add_discriminator(self.netD, conditional=False)
        self.optimizer_G = torch.optim.Adam([*self.netG.parameters(), *self.cycle.parameters()])
        self.optimizer_D = torch.optim.Adam(self.netD.parameters())

    def generate(self, source):
        frames, before = [], torch.zeros_like(source[:, 0])
        for one in source.unbind(1):
            before = self.netG(torch.cat([one, before], 1)).tanh()
            frames.append(before)
        return torch.stack(frames, 1)

    def judge(self, source, video):
        return [self.netD(video.flatten(0, 1))]


class Volumes(Host):
    """All clips are (N, C, T, H, W), as 3D convolutions take them; turned for TimeCycle."""

    def finish(self):
        self.netG = nn.Sequential(nn.Conv3d(3, 3, 3, padding=1), nn.Tanh())
        self.optimizer_G = torch.optim.Adam([*self.netG.parameters(), *self.cycle.parameters()])

    def generate(self, source):
        return self.netG(source.transpose(1, 2)).transpose(1, 2)


class StillCondition(Host):
    """The same for all frames, with noise for what moves."""

    def train_step(self, source, real):
        super().train_step(source[:, :1].expand_as(source), real)

    def generate(self, source):
        return super().generate(source + torch.randn_like(source))


class OnePicture(Host):
    """The generator knows the first frame of the condition alone."""

    def generate(self, source):
        return super().generate(source[:, :1].expand_as(source)) + 0.01 * torch.arange(T).view(-1, 1, 1, 1)


class BeginsStill(Host):
    """A residual motion model that begins as the identity, on a clip that does not move: no gradient yet."""

    def finish(self):
        class Residual(nn.Conv2d):
            def forward(self, pictures):
                return pictures[:, 3:] + super().forward(pictures)

        self.cycle.backward_model = Residual(6, 3, 1)
        nn.init.zeros_(self.cycle.backward_model.weight)
        nn.init.zeros_(self.cycle.backward_model.bias)
        self.cycle.judges.clear()
        self.optimizer_G = torch.optim.Adam([*self.netG.parameters(), *self.cycle.parameters()])

    def losses(self, source, real, fake):
        loss_G, _ = super().losses(source, real, fake)
        return loss_G, lambda: self.loss_D(self.judge(source, real), self.judge(source, fake.detach()))

    def train_step(self, source, real):
        super().train_step(source[:, :1].expand_as(source), real)


class BrightClip(Host):
    """A real clip without dark pixels."""

    def train_step(self, source, real):
        super().train_step(source, real.abs() * 0.5 + 0.5)


HOSTS = [one for one in globals().values() if isinstance(one, type) and issubclass(one, Host)]


def videos():
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.rand(N, T, C, SIZE, SIZE, generator=generator) * 2 - 1 for _ in range(2))


@pytest.mark.parametrize("host", HOSTS)
def test_nothing_is_found(host):
    gan = host()
    gan.train_step(*videos())
    for _ in range(2):
        assert check_mixin(gan, videos()) == []


# ---- several processes


def on_a_rank(rank):
    """What one of two processes is told, by which networks of its GAN are synchronised, and how; and what all processes
    have in sum afterwards, by each way in which they may ask."""
    found = []
    for how in ("not", "wrapped", "by hand"):
        gan = Host()
        if how == "by hand":
            def move(optimizer, gan=gan):
                for p in gan.cycle.parameters():
                    torch.distributed.all_reduce(p.grad)
                optimizer.step()

            gan.move = move
        gan.netG, gan.netD = map(nn.parallel.DistributedDataParallel, (gan.netG, gan.netD))
        if how == "wrapped":
            gan.cycle.backward_model = nn.parallel.DistributedDataParallel(gan.cycle.backward_model)
        found.append([finding.name for finding in check_mixin(gan, videos(), verbose=False)])
    mine, first, all_ = torch.tensor(rank + 1), torch.tensor(rank + 1), [torch.tensor(0), torch.tensor(0)]
    torch.distributed.all_gather(all_, mine)
    torch.distributed.all_reduce(mine)
    torch.distributed.broadcast(first, 0)
    return found, [mine.item(), sum(all_).item(), 2 * first.item() + 1]


def test_a_motion_model_on_two_ranks(tmp_path):
    assert on_two_ranks(on_a_rank, tmp_path) == [([["motion model not synchronised"], [], []], [3, 3, 3])] * 2
