"""The method one frame and one chain at a time, straight from its formulae: the oracle of the tests and the
yardstick of the benchmarks. Nothing here is shared with the package."""
import torch


def distance(a, b, kind):
    return (a - b).abs().mean() if kind == "l1" else ((a - b) ** 2).mean()


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def detail(x):
    """Mean absolute difference of pixels side by side, plus that of pixels one above the other."""
    beside = mean((frame[..., 1:] - frame[..., :-1]).abs().mean() for frame in x)
    below = mean((frame[..., 1:, :] - frame[..., :-1, :]).abs().mean() for frame in x)
    return beside + below


def kept_sharp(x, n, kind, power):
    """What the TimeCycle loss of sample n counts: 1, and less with more detail."""
    own = 0.001 + detail([frame[n] for frame in x])
    return (own.item() / own) ** (power if kind == "l1" else 2 * power)


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


def recurrent_generator(G, c, past):
    """c: list of T conditions; past: list of the frames before frame 0. One frame after the other."""
    outputs = list(past)
    n = len(past)
    for condition in c:
        outputs.append(G(torch.cat([condition, *outputs[-n:]], 1)))
    return outputs[n:]
