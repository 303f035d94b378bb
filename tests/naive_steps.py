"""The losses of a training step of every model, from the formulae of ``docs/MODELS.md``: one frame, one chain, one
judgement at a time. Nothing here is shared with the package; only noise is drawn as often and as large as there.
"""
import torch
import torch.nn.functional as F

from tests import naive
from tests.naive import distance, mean

OTHER = {"target": "source", "source": "target"}


def cat(*images):
    return torch.cat(images, dim=1)


def objective(prediction, is_real, mode, of_discriminator):
    if mode == "hinge" and of_discriminator:
        return (1 - prediction if is_real else 1 + prediction).clip(min=0).mean()
    if mode == "hinge":
        return -prediction.mean()
    if mode == "wgangp":
        return -prediction.mean() if is_real else prediction.mean()
    if mode == "vanilla":
        return F.softplus(-prediction if is_real else prediction).mean()
    return ((prediction - (1.0 if is_real else 0.0)) ** 2).mean()


def penalty(D, reals, fakes):
    """One picture (1, C, H, W) at a time, as many as there are on both sides."""
    pairs = list(zip(reals, fakes, strict=False))
    mixes, penalties = torch.rand(len(pairs), dtype=reals[0].dtype), []
    for mix, (real, fake) in zip(mixes, pairs, strict=True):
        z = (mix * real + (1 - mix) * fake).detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(D(z).mean(), z, create_graph=True)
        penalties.append((gradient.square().sum().sqrt() - 1) ** 2)
    return mean(penalties)


def by_sample(frames):
    """Single pictures, the frames of the first sample first."""
    return [frame[n : n + 1] for n in range(len(frames[0])) for frame in frames]


def by_window(windows):
    return [window[n : n + 1] for window in windows for n in range(len(window))]


def matching(D, fake, real):
    *fakes, _ = D.features(fake)
    *reals, _ = D.features(real)
    return mean(distance(f, r.detach(), "l1") for f, r in zip(fakes, reals, strict=True))


def windows(length, n, scale):
    """Numbers of n frames each at stride n ** scale; each window begins with the last frame of the one before."""
    found, start, stride = [], 0, n**scale
    while start + (n - 1) * stride < length:
        found.append([start + k * stride for k in range(n)])
        start = found[-1][-1]
    return found


class Step:
    """What a model makes of a batch, and the losses on it.

    Args:
        networks: by the names of their weight files.
        source, target: lists of T frames (N, 3, H, W); an unconditional model has no source.
        features: in place of VGG19.
        flow: (frame, previous) to the flow between them and its confidence.
    """

    domains = ("target",)
    recurrent = False
    temporal = False  # whether there are sequence discriminators
    walks = False  # whether there is a TimeCycle
    sequences_judge_walk = True
    judge_sees_condition = False

    def __init__(self, networks, options, source, target, features=None, flow=None):
        self.networks, self.options, self.features, self.flow = networks, options, features, flow
        self.real = {"source": source, "target": target}
        self.generate()
        walks = self.walks and (options.timecycle_loss_weight or options.timecycle_warp_loss_weight)
        self.walked = {domain: self.walk(domain) for domain in self.domains} if walks else {}

    def name(self, stem, domain):
        return stem if len(self.domains) == 1 else f"{stem}_{domain}"

    def net(self, stem, domain="target"):
        return self.networks[self.name(stem, domain)]

    def generator(self, domain):
        return self.net("generator", domain)

    def make(self, domain, c, past=None):
        """The video of ``domain`` that is made of the frames c; ``past``: noise for the outputs before frame 0."""
        G = self.generator(domain)
        if not self.recurrent:
            return [G(frame) for frame in c]
        past = self.noise(c) if past is None else past
        return naive.recurrent_generator(G, c, past.unbind(1))

    def noise(self, c, times=1):
        batch, _, height, width = c[0].shape
        return torch.randn(times * batch, self.options.n_frames_generator, 3, height, width).to(c[0])

    def clip(self, domain):
        """fake, real and condition, lists of frames."""
        raise NotImplementedError

    def judged(self, clip):
        """What of a clip sequence discriminators and walks see: a recurrent model's first frame is made of noise."""
        return clip[1:] if self.recurrent else clip

    # ---- adversarial terms

    def says(self, D, pictures, is_real, of_discriminator=False):
        mode = self.options.gan_mode
        return mean(objective(D(picture), is_real, mode, of_discriminator) for picture in pictures)

    def half(self, D, reals, fakes):
        return (self.says(D, reals, True, True) + self.says(D, [fake.detach() for fake in fakes], False, True)) / 2

    def against(self, stem, domain, D, reals, fakes, singly=by_sample):
        """A discriminator's loss, with the gradient penalty where the objective has one."""
        losses = {self.name(stem, domain): self.half(D, reals, fakes)}
        if self.options.gan_mode == "wgangp":
            losses[self.name(f"{stem}_gradient_penalty", domain)] = penalty(D, singly(reals), singly(fakes))
        return losses

    def sequences(self):
        """For every sequence discriminator: name, network, windows of the real and of the generated clip."""
        for domain in self.domains if self.temporal else ():
            fake, real, _ = self.clip(domain)
            x, real = self.judged(fake), self.judged(real)
            for scale in range(self.options.discriminator_temporal_scales):
                n = self.options.n_frames_discriminator or len(x)
                stem = f"sequence_{scale}"
                D = self.net(f"sequence_discriminator_{scale}", domain)
                yield stem, domain, D, self.sequence(domain, real, n, scale), self.sequence(domain, x, n, scale)

    def sequence(self, domain, video, n, scale):
        """What a sequence discriminator is shown of the judged frames of a real or generated video."""
        return [cat(*(video[t] for t in window)) for window in windows(len(video), n, scale)]

    def discriminator_losses(self):
        losses = self.frame_discriminator_losses()
        for stem, domain, D, real, fake in self.sequences():
            losses |= self.against(f"gan_{stem}", domain, D, real, fake, by_window)
        for domain in self.walked:
            losses |= self.walk_discriminator_losses(domain)
        return losses

    def generator_losses(self):
        losses = self.frame_generator_losses()
        for stem, domain, D, real, fake in self.sequences():
            losses[self.name(f"gan_{stem}", domain)] = self.says(D, fake, True)
            if self.options.feature_matching_loss_weight and self.judge_sees_condition:
                losses[f"feature_matching_{stem}"] = mean(matching(D, f, r) for f, r in zip(fake, real, strict=True))
        for domain in self.walked:
            losses |= self.walk_generator_losses(domain)
        return losses

    # ---- the walk

    def walkers(self, domain):
        kind = self.options.timecycle_type
        if kind == "pingpong":
            return self.generator(domain), None
        if kind == "timerecycle":
            return self.net("predictor", domain), self.net("predictor", domain)
        cycle = self.networks[f"timecycles_{domain}"]
        backward = cycle.backward_model
        return backward, cycle.forward_model if self.options.timecycle_separate_motion_models else backward

    def walk(self, domain):
        """(number of the frame that it depicts, image) for all images, and the clips that walking back gives."""
        fake, _, c = self.clip(domain)
        x, (B, F) = self.judged(fake), self.walkers(domain)
        last = len(x) - 1
        if self.options.timecycle_type == "conditional":
            p, s, rl, rs = naive.conditional_cycle(x, self.judged(c), B, F)
            return [*enumerate(p), *enumerate(s), *((last, image) for image in rl + rs)], [[*p, x[-1]], [*s, x[-1]]]
        if self.options.timecycle_type == "pingpong":
            p = naive.pingpong_cycle(x, self.judged(c), B)
            return [*enumerate(p)], [[*p, x[-1]]]
        p, rl = naive.unconditional_cycle(x, B, F)
        return [*enumerate(p), *((last, image) for image in rl)], [[*p, x[-2], x[-1]]]

    def motion_warp(self, domain):
        fake, _, c = self.clip(domain)
        x, (B, F) = self.judged(fake), self.walkers(domain)
        if self.options.timecycle_type == "conditional":
            return naive.motion_warp_loss(x, self.judged(c), B, F)
        if self.options.timecycle_type == "pingpong":  # there is no F, so only back in time
            c = self.judged(c)
            return mean(distance(x[t], B(cat(c[t], x[t + 1])).detach(), "l1") for t in range(len(x) - 1))
        return naive.motion_warp_loss_history_2(x, B, F)

    def seen(self, domain, t, image):
        """What the frame discriminator is shown of an image of frame t."""
        return cat(self.judged(self.clip(domain)[2])[t], image) if self.judge_sees_condition else image

    def walk_generator_losses(self, domain):
        options, (images, clips) = self.options, self.walked[domain]
        x = self.judged(self.clip(domain)[0])
        losses = {}
        if options.timecycle_loss_weight:
            kind, power = options.timecycle_loss, options.timecycle_sharpness
            losses[f"timecycle_{domain}"] = mean(
                mean(distance(image[n], x[t][n], kind) for t, image in images) * naive.kept_sharp(x, n, kind, power)
                for n in range(len(x[0])))  # fmt: skip
        if options.timecycle_warp_loss_weight:
            losses[f"timecycle_warp_{domain}"] = self.motion_warp(domain)
        shown = [self.seen(domain, t, image) for t, image in images]
        value = self.says(self.net("discriminator", domain), shown, True)
        if options.discriminator_temporal_scales and self.sequences_judge_walk:
            n = options.n_frames_discriminator or len(x)
            shown = [window for clip in clips for window in self.sequence(domain, clip, n, 0)]
            value = value + self.says(self.net("sequence_discriminator_0", domain), shown, True)
        return losses | {f"timecycle_gan_{domain}": value}

    def walk_discriminator_losses(self, domain):
        options, (images, clips) = self.options, self.walked[domain]
        real = self.judged(self.clip(domain)[1])
        walked = len(real) - (1 if options.timecycle_type in ("conditional", "pingpong") else 2)
        reals = [self.seen(domain, t, real[t]) for t in range(walked)]
        shown = [self.seen(domain, t, image) for t, image in images]
        value = self.half(self.net("discriminator", domain), reals, shown)
        if options.discriminator_temporal_scales and self.sequences_judge_walk:
            n = options.n_frames_discriminator or len(real)
            shown = [window for clip in clips for window in self.sequence(domain, clip, n, 0)]
            reals = self.sequence(domain, real, n, 0)
            value = value + self.half(self.net("sequence_discriminator_0", domain), reals, shown)
        return {f"timecycle_discriminator_{domain}": value}
