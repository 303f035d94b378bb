"""What stands and moves on the synthetic street: flat, axis-parallel pieces (quads) cut out of painted textures.

World axes: x to the right, y up, z along the road; metres. A car is a few quads, a person a body and two legs.
"""
from dataclasses import dataclass, replace

import numpy as np

from timecyclegan.data.synthetic.textures import Canvas, paint_tree, pick_colour, smooth_noise

ACROSS, FLAT, ALONG = 0, 1, 2
"""The axis that a quad's plane is perpendicular to: x (a car's side), y (lies flat), z (faces the camera)."""


@dataclass
class Quad:
    """A rectangle perpendicular to ``axis``, cut out by its texture's opacity.

    ``anchor`` is the z of the whole object; ``x``, ``y``, ``z`` (relative to the anchor) are the corner of the
    rectangle at u = v = 0; ``size`` its metres along u and v. At frame t the object has moved along z by
    ``speed * t + sway * sin(rate * t + phase)``; the lower edge of a leg swings sideways by
    ``swing * sin(rate * t + phase)`` metres while its upper edge stays.
    """

    label: str
    texture: int
    axis: int
    x: float
    y: float
    size: tuple[float, float]
    z: float = 0.0
    anchor: float = 0.0
    flip: bool = False
    light: float = 1.0
    speed: float = 0.0
    sway: float = 0.0
    swing: float = 0.0
    rate: float = 0.0
    phase: float = 0.0


class Workshop:
    """Builds objects: collects their textures and hands out their quads, all drawn from one generator."""

    def __init__(self, rng: np.random.Generator, size: int):
        self.rng, self.size = rng, size
        self.canvases: list[Canvas] = []
        self.shadow = self.plain((0.06, 0.06, 0.07))

    def add(self, canvas: Canvas) -> int:
        """Keep a texture; returns its number."""
        self.canvases.append(canvas)
        return len(self.canvases) - 1

    def plain(self, colour) -> int:
        return self.add(Canvas(self.size, colour))

    def car(self, x: float, camera_x: float, oncoming: bool) -> list[Quad]:
        """A car centred on ``x``, seen from behind or, ``oncoming``, from the front; anchored at its near end."""
        rng = self.rng
        width, height, length = rng.uniform(1.65, 1.85), rng.uniform(1.42, 1.6), rng.uniform(3.7, 4.6)
        hood, hood_height = rng.uniform(0.9, 1.3), height * 0.57
        paint = pick_colour(rng, saturation=(0, 0.9), value=(0.12, 0.95))
        glass = pick_colour(rng, (0.5, 0.65), (0.1, 0.4), (0.12, 0.35))
        left = x - width / 2
        quads = [Quad("road", self.shadow, FLAT, left - 0.1, 0.02, (width + 0.2, length))]
        side = self.add(_paint_car_side(self, paint, glass, 1 - hood / length))
        if abs(x - camera_x) > width:
            near_side = left if x > camera_x else left + width
            quads.append(Quad("car", side, ACROSS, near_side, 0, (length, height), flip=oncoming, light=0.85))
        if not oncoming:
            back = self.add(_paint_car_end(self, paint, glass, windscreen=True, lamps=(0.75, 0.08, 0.06)))
            return [*quads, Quad("car", back, ALONG, left, 0, (width, height))]
        front = self.add(_paint_car_end(self, paint, glass, windscreen=False, lamps=(0.95, 0.95, 0.85)))
        screen = Canvas(self.size, paint)
        screen.box(0.08, 0.92, 0.05, 0.85, glass)
        screen.paint(screen.disc(0.3, 0.3, 0.1, 0.3), (0.1, 0.09, 0.09))
        screen.opacity = _tapered(screen, 0.0, 0.05)
        upper = (width, height - hood_height)
        return [*quads, Quad("car", front, ALONG, left, 0, (width, hood_height)),
                Quad("car", self.add(screen), ALONG, left, hood_height, upper, z=hood),
                Quad("car", self.plain(paint), FLAT, left, hood_height, (width, hood), light=1.1)]

    def person(self, x: float) -> list[Quad]:
        """A walker of 1.5 to 1.9 m: a body and two legs that swing from the hip against each other."""
        rng = self.rng
        height, rate, phase = rng.uniform(1.5, 1.9), rng.uniform(0.3, 0.5), rng.uniform(0, 6.28)
        hip, body = height * 0.47, self.add(_paint_body(self))
        trousers = pick_colour(rng, saturation=(0.0, 0.8), value=(0.08, 0.7))
        canvas = Canvas(self.size, trousers)
        canvas.grain(rng, 5, 0.1)
        canvas.box(0, 1, 0, 0.1, (0.1, 0.08, 0.08))
        canvas.opacity = _tapered(canvas, 0.0, -0.15)
        leg = Quad("person", self.add(canvas), ALONG, x, 0, (0.17, hip * 1.06), rate=rate, phase=phase)
        swing = rng.uniform(0.12, 0.22)
        return [replace(leg, x=x - 0.16, swing=swing, z=0.03), replace(leg, x=x - 0.01, swing=-swing, z=0.02),
                Quad("person", body, ALONG, x - 0.3, hip, (0.6, height - hip), rate=rate, phase=phase)]

    def tree(self, x: float, hue: float) -> list[Quad]:
        size = (self.rng.uniform(2.4, 4.0), self.rng.uniform(4.5, 7.5))
        return [Quad("vegetation", self.add(paint_tree(self.rng, self.size, hue)), ALONG, x - size[0] / 2, 0, size)]

    def lamp(self, x: float, post: int) -> list[Quad]:
        """A street lamp whose arm reaches over the road (towards x = 0)."""
        end = x - 1.3 if x > 0 else x + 1.3
        return [Quad("pole", post, ALONG, x - 0.1, 0, (0.2, 6.0)),
                Quad("pole", post, ALONG, min(x, end), 5.8, (1.3, 0.2)),
                Quad("pole", post, ALONG, end - 0.35, 5.65, (0.7, 0.2), light=1.4)]

    def sign(self, x: float, post: int) -> list[Quad]:
        """A round or square traffic sign, or a traffic light, on a post."""
        rng = self.rng
        pole = Quad("pole", post, ALONG, x - 0.07, 0, (0.14, 2.4), z=0.05)
        if rng.random() < 0.3:
            canvas = Canvas(self.size, (0.08, 0.09, 0.08))
            lit = rng.integers(3)
            for index, colour in enumerate([(0.85, 0.15, 0.1), (0.9, 0.7, 0.15), (0.15, 0.8, 0.35)]):
                shown = np.multiply(colour, 1.0 if index == lit else 0.3)
                canvas.paint(canvas.disc(0.5, 0.82 - 0.32 * index, 0.33, 0.13), shown)
            return [pole, Quad("traffic light", self.add(canvas), ALONG, x - 0.2, 2.2, (0.4, 1.1))]
        canvas = Canvas(self.size, pick_colour(rng, saturation=(0.6, 0.95), value=(0.5, 0.85)))
        outline = canvas.disc(0.5, 0.5, 0.5, 0.5)
        canvas.paint(canvas.disc(0.5, 0.5, 0.36, 0.36), pick_colour(rng, saturation=(0, 0.9), value=(0.6, 1.0)))
        canvas.box(*rng.uniform([0.25, 0.55, 0.35, 0.5], [0.45, 0.75, 0.5, 0.65]), (0.1, 0.1, 0.1))
        if rng.random() < 0.6:
            canvas.opacity = outline
        return [pole, Quad("traffic sign", self.add(canvas), ALONG, x - 0.4, 2.1, (0.8, 0.8))]


def _tapered(canvas: Canvas, start: float, inset: float) -> np.ndarray:
    """(size, size) outline that narrows by ``inset`` on both sides from v = start to the top.

    A negative inset narrows towards the bottom instead.
    """
    rise = ((canvas.axis - start) / (1 - start)).clip(0, 1)
    margin = inset * rise if inset >= 0 else -inset * (1 - rise)
    return (abs(canvas.axis[None] - 0.5) <= 0.5 - margin[:, None]).astype(np.float32)


def _paint_car_side(shop: Workshop, paint, glass, hood_start: float) -> Canvas:
    """Profile with the rear at u = 0: wheels, two windows, and a hood that begins at u = hood_start."""
    canvas = Canvas(shop.size, paint)
    canvas.shade((0.7 + 0.45 * canvas.axis)[:, None])
    middle = hood_start * shop.rng.uniform(0.45, 0.55)
    canvas.box(0.07, middle - 0.01, 0.6, 0.92, glass)
    canvas.box(middle + 0.01, hood_start - 0.05, 0.6, 0.92, glass)
    for seam in (middle, hood_start - 0.01):
        canvas.box(seam - 0.006, seam + 0.006, 0.2, 0.6, np.multiply(paint, 0.5))
    canvas.box(0, 1, 0.12, 0.2, np.multiply(paint, 0.4))
    wheels = np.zeros_like(canvas.opacity)
    for centre in (0.19, 0.8):
        wheel = canvas.disc(centre, 0.21, 0.085, 0.21)
        canvas.paint(wheel, (0.06, 0.06, 0.06))
        canvas.paint(canvas.disc(centre, 0.21, 0.045, 0.12), (0.6, 0.6, 0.62))
        wheels = np.maximum(wheels, wheel)
    lower = np.outer(canvas.span(0.12, 0.57), canvas.span(0, 1))
    canvas.opacity = np.maximum(wheels, lower + np.outer(canvas.span(0.57, 1.1), canvas.span(-1, hood_start)))
    return canvas


def _paint_car_end(shop: Workshop, paint, glass, windscreen: bool, lamps) -> Canvas:
    """The rear with its window, or (no ``windscreen``) the front below the hood."""
    canvas = Canvas(shop.size, paint)
    waist = 0.57 if windscreen else 1.0
    canvas.shade((0.75 + 0.35 * canvas.axis)[:, None])
    canvas.box(0, 1, 0.0, 0.3 * waist, np.multiply(paint, 0.45))
    canvas.box(0.34, 0.66, 0.4 * waist, 0.55 * waist, (0.9, 0.88, 0.8) if windscreen else (0.12, 0.12, 0.13))
    for u in (0.04, 0.76):
        canvas.box(u, u + 0.2, 0.58 * waist, 0.82 * waist, lamps)
        canvas.box(u, u + 0.16, 0.0, 0.22 * waist, (0.05, 0.05, 0.05))
    if windscreen:
        canvas.box(0.12, 0.88, 0.62, 0.92, glass)
        canvas.box(0, 1, 0.95, 1, np.multiply(paint, 0.7))
        canvas.opacity = _tapered(canvas, 0.6, 0.05)
    wheels_only = (canvas.axis < 0.12 * waist)[:, None] & (abs(canvas.axis - 0.5) < 0.3)[None]
    canvas.opacity = canvas.opacity * ~wheels_only
    return canvas


def _paint_body(shop: Workshop) -> Canvas:
    """Head, hair, coat and arms; v = 0 is the hip."""
    rng, size = shop.rng, shop.size
    coat = pick_colour(rng, saturation=(0.0, 0.95), value=(0.12, 0.95))
    skin = pick_colour(rng, (0.04, 0.09), (0.25, 0.6), (0.3, 0.95))
    canvas = Canvas(size, coat)
    canvas.shade(1 + 0.12 * smooth_noise(rng, (6, 4), size))
    if rng.random() < 0.5:
        stripes = 0.5 + 0.5 * np.sin(canvas.axis * rng.uniform(30, 60))
        canvas.paint(np.outer(stripes, canvas.span(0.2, 0.8)), pick_colour(rng, saturation=(0, 0.9)))
    for u in (0.12, 0.76):
        canvas.box(u, u + 0.12, 0.05, 0.7, np.multiply(coat, 0.75))
        canvas.box(u, u + 0.12, 0.0, 0.1, skin)
    canvas.box(0, 1, 0.72, 1, skin)
    canvas.box(0, 1, rng.uniform(0.86, 0.92), 1, pick_colour(rng, (0.02, 0.12), (0.1, 0.7), (0.05, 0.7)))
    torso = np.outer(canvas.axis < 0.74, abs(canvas.axis - 0.5) < 0.26)
    arms = np.outer(canvas.axis < 0.7, abs(canvas.axis - 0.5) < 0.38)
    head = np.hypot((canvas.axis[None] - 0.5) / 0.19, (canvas.axis[:, None] - 0.86) / 0.14) < 1
    canvas.opacity = (torso | arms | head).astype(np.float32)
    return canvas
