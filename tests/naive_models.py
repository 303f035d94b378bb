"""The models' own losses for ``tests.naive_steps``, from the formulae of ``docs/MODELS.md``."""
import itertools

import torch
import torch.nn.functional as F

from tests.naive import distance, mean
from tests.naive_steps import OTHER, Step, cat, matching, windows


class Unconditional(Step):
    def generate(self):
        target = self.real["target"]
        if self.recurrent:
            self.fake = self.make("target", [frame[:, :0] for frame in target])
            return
        codes = torch.randn(len(target[0]) * len(target), 100, 1, 1).to(target[0])
        codes = codes.unflatten(0, (len(target[0]), len(target))).unbind(1)
        self.fake = [self.net("generator")(code) for code in codes]

    def clip(self, domain):
        return self.fake, self.real["target"], None

    def frame_discriminator_losses(self):
        return self.against("gan", "target", self.net("discriminator"), self.real["target"], self.fake)

    def frame_generator_losses(self):
        return {"gan": self.says(self.net("discriminator"), self.fake, True)}


class Paired(Step):
    judge_sees_condition = True
    has_flow = False

    def generate(self):
        if self.recurrent:
            self.fake = self.make("target", self.real["source"])
        else:  # a block of frames is one picture
            self.fake = list(self.net("generator")(cat(*self.real["source"])).split(3, dim=1))

    def clip(self, domain):
        return self.fake, self.real["target"], self.real["source"]

    def pictures(self, video):
        """[condition, frames] of the recurrent model's frames, or of a block."""
        source = self.real["source"]
        if self.recurrent:
            return [cat(c, frame) for c, frame in zip(source, video, strict=True)]
        return [cat(*source, *video)]

    def frame_discriminator_losses(self):
        real, fake = self.pictures(self.real["target"]), self.pictures(self.fake)
        return self.against("gan", "target", self.net("discriminator"), real, fake)

    def frame_generator_losses(self):
        options, D, target = self.options, self.net("discriminator"), self.real["target"]
        real, fake = self.pictures(target), self.pictures(self.fake)
        losses = {"gan": self.says(D, fake, True)}
        if options.feature_matching_loss_weight:
            losses["feature_matching"] = mean(matching(D, f, r) for f, r in zip(fake, real, strict=True))
        if options.l1_loss_weight:
            losses["l1"] = mean(distance(f, t, "l1") for f, t in zip(self.fake, target, strict=True))
        if options.perceptual_loss_weight:
            losses["perceptual"] = mean(self.perceptual(f, t) for f, t in zip(self.fake, target, strict=True))
        if options.warp_loss_weight and self.has_flow:
            losses["warp"] = self.warp_loss()
        return losses

    def perceptual(self, fake, real):
        layers = zip((1 / 32, 1 / 16, 1 / 8, 1 / 4, 1), self.features(fake), self.features(real), strict=True)
        return sum(weight * distance(f, r, "l1") for weight, f, r in layers)

    def warp_loss(self):
        x, real, values = self.judged(self.fake), self.judged(self.real["target"]), []
        for t in range(len(x) - 1):
            flow, trust = self.flow(real[t + 1], real[t])
            values.append(distance(trust * look_up(x[t], flow).detach(), trust * x[t + 1], "l1"))
        return mean(values)


class Vid2Vid(Paired):
    """f_i = m_i h_i + (1 - m_i) W_(w_i)(f_(i-1)); the generator's network gives [h, w, m]."""

    has_flow, sequences_judge_walk = True, False

    def generator(self, domain):
        def G(x):
            h, w, m = self.net("generator").network(x).split([3, 2, 1], dim=1)
            for n in range(len(x)):  # the noise before the first frame does not show
                if (x[n, -3:].abs() > 1.5).any():
                    m = torch.cat([m[:n], torch.ones_like(m[n : n + 1]), m[n + 1 :]])
            self.w.append(w)
            self.m.append(m)
            return m * h + (1 - m) * look_up(x[:, -3:].clip(-1, 1), w)

        return G

    def generate(self):
        self.w, self.m = [], []
        super().generate()

    def sequence(self, domain, video, n, scale):
        real, found = self.judged(self.real["target"]), []
        for window in windows(len(video), n, scale):
            flows = [self.flow(real[after], real[before])[0] / 20 for before, after in itertools.pairwise(window)]
            found.append(cat(*flows, *(video[t] for t in window)))
        return found

    def frame_generator_losses(self):
        options, t, values = self.options, self.real["target"], {"flow": [], "flow_warp": [], "mask": []}
        for i in range(2, len(t)):
            flow, c = self.flow(t[i], t[i - 1])
            values["flow"].append((c * (self.w[i] - flow)).abs().mean())
            values["flow_warp"].append(distance(c * look_up(t[i - 1], self.w[i]), c * t[i], "l1"))
            values["mask"].append(distance(self.m[i], 1 - c, "l1"))
        known = {"flow": options.flow_loss_weight, "flow_warp": options.flow_loss_weight,
                 "mask": options.mask_loss_weight}  # fmt: skip
        return super().frame_generator_losses() | {name: mean(values[name]) for name, known in known.items() if known}


def look_up(image, flow):
    """``image`` at p + flow(p); outside, at the nearest pixel of the border."""
    height, width = image.shape[2:]
    x = torch.arange(width, dtype=flow.dtype).expand(height, -1) + flow[:, 0]
    y = torch.arange(height, dtype=flow.dtype)[:, None].expand(-1, width) + flow[:, 1]
    grid = torch.stack([2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1], dim=-1)
    return F.grid_sample(image, grid, padding_mode="border", align_corners=True)


class Unpaired(Step):
    domains = ("target", "source")

    def clip(self, domain):
        return self.fake[domain], self.real[domain], self.real[OTHER[domain]]


class CycleGAN(Unpaired):
    def generate(self):
        """The clip of the other domain and, with a cycle loss, the domain's own: noise is drawn for both at once."""
        self.fake, self.identity = {}, {}
        for domain in self.domains:
            c, own = self.real[OTHER[domain]], self.real[domain]
            if not self.options.cycle_loss_weight:
                self.fake[domain] = self.make(domain, c)
                continue
            pasts = self.noise(c, times=2).chunk(2) if self.recurrent else (None, None)
            self.fake[domain], self.identity[domain] = map(self.make, (domain, domain), (c, own), pasts)

    def frame_discriminator_losses(self):
        """The first pictures of a pool are shown as they are."""
        losses = {}
        for domain in self.domains:
            D = self.net("discriminator", domain)
            losses |= self.against("gan", domain, D, self.real[domain], self.fake[domain])
        return losses

    def frame_generator_losses(self):
        D = {domain: self.net("discriminator", domain) for domain in self.domains}
        losses = {f"gan_{domain}": self.says(D[domain], self.fake[domain], True) for domain in self.domains}
        if not self.options.cycle_loss_weight:
            return losses
        back = {domain: self.make(domain, self.fake[OTHER[domain]]) for domain in self.domains}
        for name, made in (("cycle", back), ("identity", self.identity)):
            for domain, real in self.real.items():
                pairs = zip(made[domain], real, strict=True)
                losses[f"{name}_{domain}"] = mean(distance(a, b, "l1") for a, b in pairs)
        return losses


class RecycleGAN(Unpaired):
    def generate(self):
        """f_0 .. f_(T-2), where the model translates clips whole f_(T-1) too; q_2 .. q_(T-1)."""
        self.translated, self.predicted, self.fake = {}, {}, {}
        for domain in self.domains:
            clip = self.real[OTHER[domain]]
            f = self.make(domain, clip if self.walks else clip[:-1])
            self.fake[domain], self.translated[domain] = f, f[: len(clip) - 1]
            self.predicted[domain] = self.predict(domain, self.translated[domain])

    def predict(self, domain, frames):
        P = self.net("predictor", domain)
        return [P(cat(frames[i - 2], frames[i - 1])) for i in range(2, len(frames) + 1)]

    def frame_discriminator_losses(self):
        losses = {}
        for domain in self.domains:
            D, real = self.net("discriminator", domain), self.real[domain]
            fakes = self.translated[domain] + self.predicted[domain]
            losses |= self.against("gan", domain, D, real, fakes)
            if self.options.recycle_predictor_gan:
                losses |= self.against("gan_predictor", domain, D, real[2:], self.predict(domain, real[:-1]))
        return losses

    def frame_generator_losses(self):
        losses, weight = {}, self.options.cycle_loss_weight or self.options.recycle_loss_weight
        for domain in self.domains:
            D, real, other = self.net("discriminator", domain), self.real[domain], OTHER[domain]
            losses[f"gan_{domain}"] = self.says(D, self.translated[domain] + self.predicted[domain], True)
            predicted = self.predict(domain, real[:-1])
            if weight:
                back = self.make(domain, self.translated[other][:2] + self.predicted[other])[2:]
                losses[f"recycle_{domain}"] = self.l1(back, real[2:])
                losses[f"predictor_{domain}"] = self.l1(predicted, real[2:])
            if self.options.recycle_predictor_gan:
                losses[f"gan_predictor_{domain}"] = self.says(D, predicted, True)
        return losses

    @staticmethod
    def l1(made, real):
        return mean(distance(m, r, "l1") for m, r in zip(made, real, strict=True))


def _model(family, recurrent=False, walks=False, **more):
    kind = {"recurrent": recurrent, "walks": walks, "temporal": walks}
    return type(family.__name__, (family,), kind | more)


STEPS = {
    "dcgan": _model(Unconditional), "pix2pix": _model(Paired), "cyclegan": _model(CycleGAN),
    "recyclegan": _model(RecycleGAN), "seqdcgan": _model(Unconditional, True), "seqpix2pix": _model(Paired, True),
    "seqcyclegan": _model(CycleGAN, True), "seqrecyclegan": _model(RecycleGAN, True),
    "timecycle": _model(Paired, True, True), "timecyclep2": _model(Paired, True, True, has_flow=True),
    "vid2vid": _model(Vid2Vid, True, temporal=True), "timecyclevid2vid": _model(Vid2Vid, True, True),
    "tricyclegan": _model(CycleGAN, True, True), "timecycledcgan": _model(Unconditional, True, True),
    "timerecyclegan": _model(RecycleGAN, False, True), "timerecycleganv2": _model(RecycleGAN, True, True),
}  # fmt: skip


def weights(options):
    """The weight of a generator's loss by the beginning of its name; the longest beginning counts."""
    recycle = options.cycle_loss_weight or options.recycle_loss_weight
    return {
        "gan": options.gan_loss_weight, "gan_sequence": options.sequence_gan_loss_weight, "l1": options.l1_loss_weight,
        "feature_matching": options.feature_matching_loss_weight,
        "perceptual": options.perceptual_loss_weight, "warp": options.warp_loss_weight,
        "flow": options.flow_loss_weight, "mask": options.mask_loss_weight,
        "cycle": options.cycle_loss_weight, "identity": options.cycle_loss_weight / 2, "recycle": recycle,
        "predictor": recycle, "timecycle": options.timecycle_loss_weight,
        "timecycle_gan": options.timecycle_gan_loss_weight, "timecycle_warp": options.timecycle_warp_loss_weight,
    }  # fmt: skip


def weight(role, name, options):
    if role == "D":
        return 10.0 if "gradient_penalty" in name else 1.0
    return max((len(start), value) for start, value in weights(options).items() if name.startswith(start))[1]
