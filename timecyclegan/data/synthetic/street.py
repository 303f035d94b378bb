"""The world of the synthetic data: one street per sequence, drawn at random, repeating every ``PERIOD`` metres.

A sequence's street follows from (seed, split, sequence) alone. Colours and textures are drawn anew for every
street, so a semantic map says nothing about them.
"""
import math
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from timecyclegan.data.synthetic import textures as paints
from timecyclegan.data.synthetic.actors import Quad, Workshop
from timecyclegan.data.synthetic.textures import Atlas, pick_colour

PERIOD = 130.0  # metres after which the street repeats; longer than the view, so that nothing is ever seen twice
BEHIND = 12.0  # metres behind the camera at which an object leaves and comes back a period ahead
SKY, HILLS, ROAD, PAVEMENT = range(4)  # numbers of the fixed surfaces; the plots of both sides follow, then the quads


@dataclass(frozen=True)
class Plots:
    """One side of the street, a plane x = ``x`` divided along z into plots of ``heights`` metres.

    ``bounds`` (n + 1,) are the z of the seams, from 0 to PERIOD; plot i is surface ``first + i``.
    """

    x: float
    bounds: np.ndarray
    heights: np.ndarray
    first: int


@dataclass(frozen=True)
class Stripe:
    """Paint on the ground: [start, start + length] in x and in z, repeated with a period (0: once)."""

    across: tuple[float, float, float]
    along: tuple[float, float, float]
    colour: tuple[float, float, float]
    on_road: bool = True


@dataclass(frozen=True)
class Ride:
    """The camera's way: ``at(t)`` gives x, z in metres and the yaw in radians (positive to the right)."""

    height: float
    lane: float
    speed: float
    weave: float
    turn: float
    rate: float
    phase: float

    def at(self, t: float) -> tuple[float, float, float]:
        swing = math.sin(self.rate * t + self.phase), math.sin(0.7 * self.rate * t + 2 * self.phase)
        return self.lane + self.weave * swing[0], self.speed * t, self.turn * swing[1]


@dataclass(frozen=True)
class Street:
    """Everything that a picture of the street depends on, apart from the time.

    ``labels``, ``texture`` and ``light`` have one entry per surface: sky, hills, road, pavement, the plots of
    both sides, then ``quads``. ``hills`` are (heights as tangent of the elevation, waves per turn, phases).
    """

    ride: Ride
    plots: tuple[Plots, Plots]
    stripes: list[Stripe]
    quads: list[Quad]
    atlas: Atlas
    labels: list[str]
    texture: np.ndarray
    light: np.ndarray
    kerb: float
    hills: tuple[np.ndarray, np.ndarray, np.ndarray]
    sun: np.ndarray
    haze: np.ndarray


def draw_street(rng: np.random.Generator, texture_size: int) -> Street:
    """Draw a street. ``texture_size`` (a power of two) changes its sharpness, not its contents."""
    shop = Workshop(rng, texture_size)
    hue = rng.uniform(0.1, 0.4)
    kerb = rng.uniform(4.6, 6.2)
    ride = Ride(height=rng.uniform(1.25, 1.38), lane=rng.uniform(1.5, 1.9), speed=rng.uniform(0.18, 0.36),
                weave=rng.uniform(0.05, 0.25), turn=rng.uniform(0.01, 0.05), rate=rng.uniform(0.05, 0.12),
                phase=rng.uniform(0, 6.28))
    fixed = (paints.paint_sky, partial(paints.paint_hedge, hue=hue), paints.paint_road, paints.paint_pavement)
    textures = [shop.add(paint(rng, texture_size)) for paint in fixed]
    labels, light = ["sky", "vegetation", "road", "sidewalk"], [1.0, 0.9, 1.0, 1.0]
    plots = []
    for side, brightness in zip((-1, 1), rng.permutation([1.0, rng.uniform(0.6, 0.85)]), strict=True):
        x, first, heights = side * (kerb + rng.uniform(2.2, 3.4)), len(labels), []
        widths = rng.uniform(7, 14, 13)
        widths *= PERIOD / widths.sum()
        for width in widths:
            kind = str(rng.choice(["building", "vegetation", "fence", "wall"], p=[0.8, 0.1, 0.05, 0.05]))
            height = rng.uniform(5, 14) if kind == "building" else rng.uniform(1.0, 2.2)
            paint = {"building": partial(paints.paint_facade, width=width, height=height),
                     "vegetation": partial(paints.paint_hedge, hue=hue), "fence": paints.paint_fence,
                     "wall": paints.paint_pavement}
            textures.append(shop.add(paint[kind](rng, texture_size)))
            heights.append(height)
            labels.append(kind)
            light.append(brightness)
        bounds = np.concatenate([[0], np.cumsum(widths)[:-1], [PERIOD]])
        plots.append(Plots(x, np.float32(bounds), np.float32(heights), first))
    quads = _draw_objects(shop, ride, kerb, hue)
    return Street(
        ride=ride, plots=tuple(plots), stripes=_draw_stripes(rng, kerb), quads=quads, kerb=kerb,
        atlas=Atlas(shop.canvases), labels=labels + [quad.label for quad in quads],
        texture=np.array(textures + [quad.texture for quad in quads]),
        light=np.array(light + [quad.light for quad in quads], np.float32),
        hills=(rng.uniform(0.005, 0.03, 6), rng.integers(3, 40, 6), rng.uniform(0, 6.28, 6)),
        sun=np.float32(rng.uniform(0.85, 1.12) * np.array(pick_colour(rng, (0.02, 0.65), (0, 0.12), (1, 1)))),
        haze=np.float32(pick_colour(rng, (0.08, 0.62), (0.02, 0.12), (0.75, 0.92))))


def _draw_stripes(rng: np.random.Generator, kerb: float) -> list[Stripe]:
    colour = (0.92, 0.92, 0.9) if rng.random() < 0.65 else (0.9, 0.7, 0.2)
    colour = tuple(rng.uniform(0.7, 1.0) * np.array(colour))
    always, middle = (0.0, 1.0, 1.0), rng.integers(3)
    dash = rng.uniform(1.5, 4)
    stripes = [Stripe((-0.08, 0.16, 0), (0, dash, dash + rng.uniform(2, 5)), colour)]
    if middle == 0:
        stripes = [Stripe((-0.2, 0.12, 0), always, colour), Stripe((0.08, 0.12, 0), always, colour)]
    if rng.random() < 0.6:
        edge = rng.uniform(3.1, 3.5)
        stripes += [Stripe((side * edge - 0.06, 0.12, 0), always, colour) for side in (-1, 1)]
    if rng.random() < 0.7:
        start = rng.uniform(8, 40)
        stripes.append(Stripe((0.25, 0.5, 1.0), (start, rng.uniform(2.5, 4), PERIOD / 2), (0.88, 0.88, 0.86)))
    stone = pick_colour(rng, (0.05, 0.15), (0, 0.15), (0.55, 0.95))
    return stripes + [Stripe((side * (kerb + 0.12) - 0.12, 0.24, 0), always, stone, False) for side in (-1, 1)]


def _draw_objects(shop: Workshop, ride: Ride, kerb: float, hue: float) -> list[Quad]:
    rng, quads = shop.rng, []

    def put(parts: list[Quad], *anchors: float, **moves: float) -> None:
        quads.extend(replace(quad, anchor=anchor, **moves) for quad in parts for anchor in anchors)

    # Parked cars at both kerbs, oncoming cars, and one or two cars ahead that keep clear of the camera.
    for side in (-1, 1):
        share = rng.uniform(0.1, 0.5)
        for anchor in np.arange(0, PERIOD - 6, 7.2):
            if rng.random() < share:
                put(shop.car(side * (kerb - 1.05), ride.lane, side < 0), anchor + rng.uniform(-0.9, 0.9))
    speed, start = -rng.uniform(0.1, 0.35), rng.uniform(6, 30)
    for index in range(rng.integers(2, 5)):
        put(shop.car(-1.7, ride.lane, True), start + 28 * index + rng.uniform(0, 12), speed=speed)
    gap = rng.uniform(9, 16)
    for _ in range(rng.integers(1, 3)):
        put(shop.car(ride.lane, ride.lane, False), gap, speed=ride.speed, sway=rng.uniform(0.5, 2.5),
            rate=rng.uniform(0.06, 0.15), phase=rng.uniform(0, 6.28))
        gap += rng.uniform(14, 25)

    # Lamps, signs and trees along both kerbs, and trees behind the houses that show over low plots.
    post = shop.plain(pick_colour(rng, saturation=(0, 0.3), value=(0.15, 0.6)))
    trees = rng.uniform(0.1, 0.6)
    for side in (-1, 1):
        x = side * (kerb + 0.5)
        for anchor in np.arange(4, PERIOD, 13.0):
            put(shop.lamp(x, post), anchor)
            anchor += rng.uniform(4, 9)
            draw = rng.random()
            put(shop.tree(x, hue) if draw < trees else shop.sign(x, post) if draw < trees + 0.3 else [], anchor)
        put(shop.tree(side * (kerb + 5.5), hue), *np.arange(0, PERIOD, 18.0))

    # Walkers, everybody twice, too far apart to be seen at once from near: half the textures to paint.
    for _ in range(rng.integers(8, 13)):
        person = shop.person(rng.choice([-1, 1]) * (kerb + rng.uniform(0.4, 1.9)))
        anchor, speed = rng.uniform(0, PERIOD), rng.choice([-1, 1]) * rng.uniform(0.03, 0.08)
        put(person, anchor, anchor + PERIOD / 2, speed=speed)
    return quads
