"""Colours of a synthetic view: textures, paint on the ground, haze and the light of the day."""
import numpy as np

from timecyclegan.data.synthetic.street import PAVEMENT, ROAD, SKY, Street, Stripe
from timecyclegan.data.synthetic.view import View

HAZE_DISTANCE = 160.0
"""Metres after which 63 % of a colour is haze."""
HILLS_DISTANCE = 130.0
SOFTNESS = 1.5
"""Pixels over which paint on the ground is averaged: 1 would leave stairs, and the motion would not be exact."""


def render(street: Street, view: View, focal: float) -> np.ndarray:
    """The picture of a view, uint8 (H, W, 3); ``focal`` is the focal length in pixels."""
    surface = view.surface.ravel()
    colour = street.atlas.look_up(street.texture[surface], view.u.ravel(), view.v.ravel(), view.texels.ravel())
    colour *= street.light[surface]
    _paint_stripes(street.stripes, view, focal, colour)
    # The sky is painted as it looks; the hills stay where they are, however far the camera goes.
    depth = np.where(surface == SKY, 0, np.minimum(view.depth.ravel(), HILLS_DISTANCE))
    haze = street.haze[:, None]
    colour = haze + np.exp(depth / -HAZE_DISTANCE) * (colour - haze)
    colour = (colour * (street.sun[:, None] * np.float32(255)) + 0.5).clip(0, 255)
    return np.ascontiguousarray(colour.astype(np.uint8).T).reshape(*view.surface.shape, 3)


def _paint_stripes(stripes: list[Stripe], view: View, focal: float, colours: np.ndarray) -> None:
    """Blend the stripes over the ground in ``colours`` (3, H * W), by the exact share of each pixel that they cover."""
    ground = np.flatnonzero((view.surface == ROAD) | (view.surface == PAVEMENT))
    colour = colours[:, ground]
    row, column = np.divmod(ground, view.surface.shape[1])
    depth = view.depth.ravel()[ground]
    x = view.camera[0] + depth * view.rays[0][column]
    z = view.camera[2] + depth * view.rays[2][column]
    # What a pixel spans in x and z: a row further down also shifts x, where the line of sight is oblique.
    pixel = SOFTNESS * depth / focal
    wide = pixel * np.hypot(1, view.rays[0][column] / view.rays[1][row])
    deep = pixel * np.hypot(1, 1 / view.rays[1][row])
    on_road = view.surface.ravel()[ground] == ROAD
    for stripe in stripes:
        share = _share(x, wide, *stripe.across) * _share(z, deep, *stripe.along) * (on_road == stripe.on_road)
        colour += share * (np.array(stripe.colour, np.float32)[:, None] - colour)
    colours[:, ground] = colour


def _share(place: np.ndarray, span: np.ndarray, start: float, length: float, period: float) -> np.ndarray:
    """Share of [place - span / 2, place + span / 2] on the paint, which repeats unless ``period`` is 0."""
    if period == length:
        return np.ones_like(place)

    def painted_up_to(end):
        end = end - start
        if not period:
            return end.clip(0, length)
        whole = np.floor(end / period)
        return whole * length + np.minimum(end - whole * period, length)

    return (painted_up_to(place + span / 2) - painted_up_to(place - span / 2)) / span
