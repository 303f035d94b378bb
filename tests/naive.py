"""The method one frame and one chain at a time, straight from its formulae: the oracle of the tests and the
yardstick of the benchmarks. Nothing here is shared with the package."""
import torch


def distance(a, b, kind):
    return (a - b).abs().mean() if kind == "l1" else ((a - b) ** 2).mean()


def conditional_cycle(x, c, B, F):
    """x, c: lists of (N, C, H, W), frames 0 .. K. Returns the four kinds of images as lists over t = 0 .. K-1."""
    K = len(x) - 1
    p = {K: x[K]}
    for t in range(K - 1, -1, -1):
        p[t] = B(torch.cat([c[t], p[t + 1]], 1))
    s = [B(torch.cat([c[t], x[K]], 1)) for t in range(K)]
    rs = [F(torch.cat([c[K], s[t]], 1)) for t in range(K)]
    rl = []
    for t in range(K):
        r = p[t]
        for j in range(t + 1, K + 1):
            r = F(torch.cat([c[j], r], 1))
        rl.append(r)
    return [p[t] for t in range(K)], s, rl, rs


def unconditional_cycle(x, B, F):
    """x: a list of T frames; the models see two frames of history. Returns p and rl over t = 0 .. T-3."""
    T = len(x)
    K = T - 2
    p = {T - 1: x[T - 1], T - 2: x[T - 2]}
    for t in range(K - 1, -1, -1):
        p[t] = B(torch.cat([p[t + 2], p[t + 1]], 1))
    rl = []
    for t in range(K):
        older, newer = p[t], p[t + 1]
        for _ in range(t + 2, T):
            older, newer = newer, F(torch.cat([older, newer], 1))
        rl.append(newer)
    return [p[t] for t in range(K)], rl


def unconditional_cycle_history_1(x, B, F):
    """One frame of history and no condition."""
    K = len(x) - 1
    p = {K: x[K]}
    for t in range(K - 1, -1, -1):
        p[t] = B(p[t + 1])
    rl = []
    for t in range(K):
        r = p[t]
        for _ in range(t + 1, K + 1):
            r = F(r)
        rl.append(r)
    return [p[t] for t in range(K)], rl


def pingpong_cycle(x, c, G):
    K = len(x) - 1
    p = {K: x[K]}
    for t in range(K - 1, -1, -1):
        p[t] = G(torch.cat([c[t], p[t + 1]], 1))
    return [p[t] for t in range(K)]


def conditional_loss(x, c, B, F, kind="l1"):
    K = len(x) - 1
    p, s, rl, rs = conditional_cycle(x, c, B, F)
    total = 0
    for t in range(K):
        total = total + (distance(p[t], x[t], kind) + distance(s[t], x[t], kind)
                         + distance(rl[t], x[K], kind) + distance(rs[t], x[K], kind)) / 4
    return total / K


def returning_loss(x, p, rl, kind="l1"):
    total = 0
    for t in range(len(p)):
        total = total + (distance(p[t], x[t], kind) + distance(rl[t], x[-1], kind)) / 2
    return total / len(p)


def pingpong_loss(x, c, G, kind="l1"):
    p = pingpong_cycle(x, c, G)
    return sum(distance(p[t], x[t], kind) for t in range(len(p))) / len(p)


def motion_warp_loss(x, c, B, F):
    """Conditional models, history 1."""
    total = 0
    for t in range(len(x) - 1):
        back = B(torch.cat([c[t], x[t + 1]], 1)).detach()
        forth = F(torch.cat([c[t + 1], x[t]], 1)).detach()
        total = total + distance(x[t], back, "l1") + distance(x[t + 1], forth, "l1")
    return total / (len(x) - 1)


def motion_warp_loss_history_2(x, B, F):
    total = 0
    for t in range(len(x) - 2):
        back = B(torch.cat([x[t + 2], x[t + 1]], 1)).detach()
        forth = F(torch.cat([x[t], x[t + 1]], 1)).detach()
        total = total + distance(x[t], back, "l1") + distance(x[t + 2], forth, "l1")
    return total / (len(x) - 2)


# ---- one training step of TimeCycleGAN-P


def lsgan(prediction, is_real):
    return ((prediction - (1.0 if is_real else 0.0)) ** 2).mean()


def matching(D, fake, real):
    *fakes, _ = D.features(fake)
    *reals, _ = D.features(real)
    return sum(distance(f, r.detach(), "l1") for f, r in zip(fakes, reals, strict=True)) / len(fakes)


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def recurrent_generator(G, c, past):
    """c: list of T conditions; past: list of the frames before frame 0. One frame after the other."""
    outputs = list(past)
    n = len(past)
    for condition in c:
        outputs.append(G(torch.cat([condition, *outputs[-n:]], 1)))
    return outputs[n:]


def p_walk(fake, c, B, F):
    """The cycle of P, which leaves the first frame out, and what its discriminators are shown: (condition, image)."""
    x, c = fake[1:], c[1:]
    K = len(x) - 1
    p, s, rl, rs = conditional_cycle(x, c, B, F)
    frames = [(c[t], image[t]) for image in (p, s) for t in range(K)]
    frames += [(c[K], image[t]) for image in (rl, rs) for t in range(K)]
    return frames, [[*p, x[K]], [*s, x[K]]]


def p_discriminator_losses(D, seq_D, fake, real, c, frames, clips):
    """fake, real, c: lists of T frames; frames, clips: of :func:`p_walk`."""
    fake = [f.detach() for f in fake]
    losses = {}

    def half(D, real, fake):
        return (lsgan(D(real), True) + lsgan(D(fake.detach()), False)) / 2

    losses["gan"] = mean(half(D, torch.cat([c[t], real[t]], 1), torch.cat([c[t], fake[t]], 1)) for t in range(len(c)))
    losses["gan_sequence_0"] = half(seq_D, torch.cat(real[1:], 1), torch.cat(fake[1:], 1))
    reals = mean(lsgan(D(torch.cat([c[t], real[t]], 1)), True) for t in range(1, len(c) - 1))
    fakes = mean(lsgan(D(torch.cat([cond, image.detach()], 1)), False) for cond, image in frames)
    on_clips = mean(half(seq_D, torch.cat(real[1:], 1), torch.cat(clip, 1)) for clip in clips)
    losses["timecycle_discriminator_target"] = (reals + fakes) / 2 + on_clips
    return losses


def p_generator_losses(D, seq_D, fake, real, c, frames, clips, B, F):
    T = len(c)
    losses = {"gan": mean(lsgan(D(torch.cat([c[t], fake[t]], 1)), True) for t in range(T))}
    losses["feature_matching"] = mean(
        matching(D, torch.cat([c[t], fake[t]], 1), torch.cat([c[t], real[t]], 1)) for t in range(T)
    )
    losses["l1"] = mean(distance(fake[t], real[t], "l1") for t in range(T))
    losses["gan_sequence_0"] = lsgan(seq_D(torch.cat(fake[1:], 1)), True)
    losses["feature_matching_sequence_0"] = matching(seq_D, torch.cat(fake[1:], 1), torch.cat(real[1:], 1))
    images, K = [image for _, image in frames], T - 2
    p, s, rl, rs = (images[i * K : (i + 1) * K] for i in range(4))
    x = fake[1:]
    losses["timecycle_target"] = mean(
        (distance(p[t], x[t], "l1") + distance(s[t], x[t], "l1") + distance(rl[t], x[K], "l1")
         + distance(rs[t], x[K], "l1")) / 4 for t in range(K)
    )  # fmt: skip
    losses["timecycle_warp_target"] = motion_warp_loss(x, c[1:], B, F)
    on_frames = mean(lsgan(D(torch.cat([cond, image], 1)), True) for cond, image in frames)
    losses["timecycle_gan_target"] = on_frames + mean(lsgan(seq_D(torch.cat(clip, 1)), True) for clip in clips)
    return losses
