"""What a camera sees of a synthetic street: its geometry, its colours, and the exact motion between two frames.

A pinhole camera looks along the road. Every surface is a plane, so each pixel's ray gives its surface point, and
that point, moved back by its object's own motion and seen by the earlier camera, gives the exact backward flow.
"""
import itertools
import math
from dataclasses import dataclass, fields

import numpy as np

from timecyclegan.data.synthetic.actors import ACROSS, FLAT, Quad
from timecyclegan.data.synthetic.street import BEHIND, HILLS, PAVEMENT, PERIOD, ROAD, SKY, Street, Stripe

FOCAL = 0.8  # focal length as a share of the picture's width (a view of 64 degrees)
HORIZON = 0.47  # height of the horizon as a share of the picture's height, from the top
FAR, NEAR = 105.0, 0.3  # metres of depth between which objects are drawn; houses and ground go on to the horizon
TILE = {ROAD: 8.0, PAVEMENT: 3.0}  # metres that one tile of a ground texture covers
HAZE_DISTANCE = 160.0  # metres after which 63 % of a colour is haze
HILLS_DISTANCE = 130.0
SOFTNESS = 1.5
"""Pixels over which paint on the ground is averaged: 1 would leave stairs, and the motion would not be exact."""


@dataclass(frozen=True)
class View:
    """A frame's geometry: the ``surface`` seen by every pixel and the one ``behind`` all objects, both (H, W).

    ``depth`` (metres, inf for the sky), ``u`` and ``v`` (place in the surface's texture) and ``texels`` (how many
    texels the pixel spans) are (H, W) too. ``rays`` are the world directions of the pixels, x (W,), y (H,),
    z (W,), scaled to depth 1; ``camera`` is x, y, z and yaw.
    """

    t: int
    camera: tuple[float, float, float, float]
    rays: tuple[np.ndarray, np.ndarray, np.ndarray]
    surface: np.ndarray
    behind: np.ndarray
    depth: np.ndarray
    u: np.ndarray
    v: np.ndarray
    texels: np.ndarray


class Viewer:
    """Looks at one street with pictures of height x width pixels."""

    def __init__(self, street: Street, height: int, width: int):
        self.street, self.height, self.width = street, height, width
        self.focal = FOCAL * width
        self.centre = (width - 1) / 2, HORIZON * (height - 1)
        self.first_quad = len(street.labels) - len(street.quads)
        self._quads = {item.name: np.array([getattr(quad, item.name) for quad in street.quads])
                       for item in fields(Quad)}
        axis = self._quads["axis"]
        self._axes = np.where(axis == ACROSS, 2, 0), np.where(axis == FLAT, 2, 1)

    def view(self, t: int) -> View:
        """What every pixel of frame ``t`` sees."""
        x, z, yaw = self.street.ride.at(t)
        camera = (x, self.street.ride.height, z, yaw)
        across = (np.arange(self.width, dtype=np.float32) - self.centre[0]) / self.focal
        up = (self.centre[1] - np.arange(self.height, dtype=np.float32)) / self.focal
        cosine, sine = math.cos(yaw), math.sin(yaw)
        rays = (across * cosine + sine, up, cosine - across * sine)
        layers = self._backdrop(rays)
        self._add_ground(layers, rays, camera)
        for plots in self.street.plots:
            self._add_houses(layers, rays, camera, plots)
        behind = layers["surface"].copy()
        self._add_objects(layers, rays, camera, t)
        return View(t, camera, rays, behind=behind, **layers)

    def _backdrop(self, rays) -> dict[str, np.ndarray]:
        """Sky and hills, infinitely far away: they depend on the direction only."""
        turn = np.arctan2(rays[0], rays[2])
        rise = rays[1][:, None] / np.hypot(rays[0], rays[2])
        heights, waves, phases = (np.float32(part)[:, None] for part in self.street.hills)
        hills = rise < 0.02 + (heights * (1 + np.sin(waves * turn + phases))).sum(0)
        return {"surface": np.where(hills, HILLS, SKY),
                "depth": np.full(rise.shape, np.inf, np.float32),
                "u": np.broadcast_to(turn * 2 / np.pi, rise.shape).copy(),
                "v": np.where(hills, (rise / 0.3).clip(0, 1), rise / (rise.clip(0) + 0.5)),
                "texels": np.full(rise.shape, self.street.atlas.size / self.focal, np.float32)}

    def _add_ground(self, layers, rays, camera) -> None:
        part = slice(np.flatnonzero(rays[1] < -1e-3)[0], None)  # the rows below the horizon
        down = rays[1][part, None]
        depth = -camera[1] / down
        x, z = camera[0] + depth * rays[0], camera[2] + depth * rays[2]
        road = abs(x) < self.street.kerb
        tile = np.where(road, np.float32(TILE[ROAD]), np.float32(TILE[PAVEMENT]))
        layers["surface"][part] = np.where(road, ROAD, PAVEMENT)
        layers["depth"][part] = depth
        layers["u"][part], layers["v"][part] = x / tile % 1, z / tile % 1
        layers["texels"][part] = depth / self.focal * np.hypot(1, 1 / down) / tile * self.street.atlas.size

    def _add_houses(self, layers, rays, camera, plots) -> None:
        columns = np.flatnonzero(rays[0] * np.sign(plots.x) > 1e-3)  # those that look to this side
        part = slice(columns[0], columns[-1] + 1)
        depth = (plots.x - camera[0]) / rays[0][part]
        along = (camera[2] + depth * rays[2][part]) % PERIOD
        plot = np.searchsorted(plots.bounds, along, side="right").clip(1, len(plots.heights)) - 1
        width, height = np.diff(plots.bounds)[plot], plots.heights[plot]
        v = (camera[1] + depth * rays[1][:, None]) / height
        slant = np.hypot(1, rays[2][part] / rays[0][part])
        texels = depth / self.focal * self.street.atlas.size * np.maximum(slant / width, 1 / height)
        found = {"surface": plots.first + plot, "depth": depth, "u": (along - plots.bounds[plot]) / width,
                 "v": v, "texels": texels}
        for name, values in found.items():
            np.copyto(layers[name][:, part], values, where=(v >= 0) & (v < 1))

    def _moves(self, t: int) -> tuple[np.ndarray, np.ndarray]:
        """Each quad's way along z since frame 0 in metres, and its shear (metres sideways per metre down)."""
        quads = self._quads
        wave = np.sin(quads["rate"] * t + quads["phase"])
        return quads["speed"] * t + quads["sway"] * wave, quads["swing"] * wave / quads["size"][:, 1]

    def _boxes(self, offset, shear, yaw: float) -> np.ndarray:
        """(4, K): the left, top, right and bottom (both excluded) of every quad's bounding box; empty where unseen."""
        which, size = np.arange(len(offset)), self._quads["size"]
        points = np.repeat(offset[:, None], 4, 1)
        points[which, 1::2, self._axes[0]] += size[:, :1]
        points[which, 2:, self._axes[1]] += size[:, 1:]
        points[:, :2, 0] += (shear * size[:, 1])[:, None]
        column, row, depth = self._project(*np.moveaxis(points, -1, 0), yaw)
        seen = (depth.max(1) > NEAR) & (depth.min(1) < FAR)
        left, right = np.floor(column.min(1)).clip(0), np.ceil(column.max(1)).clip(None, self.width - 1) + 1
        top, bottom = np.floor(row.min(1)).clip(0), np.ceil(row.max(1)).clip(None, self.height - 1) + 1
        return (np.stack([left, top, right, bottom]) * (seen & (right > left) & (bottom > top))).astype(np.int64)

    def _project(self, x, y, z, yaw: float):
        """Column, row and depth of points relative to the camera, in world axes."""
        cosine, sine = math.cos(yaw), math.sin(yaw)
        depth = sine * x + cosine * z
        # What is beside or behind the camera is put just before it, far out on its own side.
        scale = self.focal / depth.clip(0.05)
        return self.centre[0] + scale * (cosine * x - sine * z), self.centre[1] - scale * y, depth

    def _add_objects(self, layers, rays, camera, t: int) -> None:
        """All quads at once: every pixel of every bounding box is a fragment; the nearest opaque one wins."""
        quads, (way, shear) = self._quads, self._moves(t)
        ahead = (quads["anchor"] + way - camera[2] + BEHIND) % PERIOD - BEHIND
        offset = np.stack([quads["x"], quads["y"], camera[2] + ahead + quads["z"]], 1) - camera[:3]
        left, top, right, bottom = self._boxes(offset, shear, camera[3])
        columns, counts = right - left, (right - left) * (bottom - top)
        quad = np.repeat(np.arange(len(counts)), counts)  # (n,), of each fragment; so are the others
        place = np.arange(len(quad)) - np.repeat(np.cumsum(counts) - counts, counts)
        row, column = top[quad] + place // columns[quad], left[quad] + place % columns[quad]
        offset, shear, sizes = (part.astype(np.float32) for part in (offset, shear, quads["size"]))
        # One table of all rays, x of the columns, y of the rows, z of the columns: a gather instead of three.
        table, start = np.concatenate(rays), np.array([0, self.width, self.width + self.height])
        axis = quads["axis"][quad]
        depth = offset[quad, axis] / table[start[axis] + np.where(axis == FLAT, row, column)]
        keep = np.flatnonzero((depth > NEAR) & (depth < layers["depth"][row, column]))
        quad, row, column, depth = (part[keep] for part in (quad, row, column, depth))
        size, axis_u, axis_v = sizes[quad], self._axes[0][quad], self._axes[1][quad]
        along_u = depth * table[start[axis_u] + column] - offset[quad, axis_u]
        along_v = depth * table[start[axis_v] + np.where(axis_v == 1, row, column)] - offset[quad, axis_v]
        u, v = (along_u - shear[quad] * (size[:, 1] - along_v)) / size[:, 0], along_v / size[:, 1]
        u = np.where(quads["flip"][quad], 1 - u, u)
        keep = np.flatnonzero((u >= 0) & (u < 1) & (v >= 0) & (v < 1))
        keep = keep[self.street.atlas.is_opaque(quads["texture"][quad[keep]], u[keep], v[keep])]
        # Far to near: of several values for one pixel numpy keeps the last.
        keep = keep[np.argsort(-depth[keep], kind="stable")]
        quad, row, column, depth = quad[keep], row[keep], column[keep], depth[keep]
        ray = np.stack([rays[0][column], rays[1][row], rays[2][column]])
        slant = np.sqrt((ray ** 2).sum(0)) / abs(ray[quads["axis"][quad], np.arange(len(quad))])
        texels = depth * slant * (self.street.atlas.size / self.focal) / size[keep].min(1)
        found = {"surface": self.first_quad + quad, "depth": depth, "u": u[keep], "v": v[keep], "texels": texels}
        for name, values in found.items():
            layers[name][row, column] = values

    def flow(self, earlier: View, later: View) -> tuple[np.ndarray, np.ndarray]:
        """Exact backward flow from ``later`` to ``earlier``, and where its target can be seen.

        Returns:
            ``flow`` (H, W, 2) float32, dx and dy in pixels: the point that pixel p of the later frame sees was at
            p + flow in the earlier one; ``visible`` (H, W) bool: p + flow lies in the earlier frame, and all four
            pixels around it see the same surface there, so that bilinear sampling mixes nothing else in.
        """
        infinite = np.isinf(later.depth)
        reach = np.where(infinite, 1.0, later.depth).astype(np.float64)
        origin, before = np.array(later.camera[:3]), np.array(earlier.camera[:3])
        x, y, z = reach * later.rays[0], reach * later.rays[1][:, None], reach * later.rays[2]
        way, shear = np.subtract(self._moves(later.t), self._moves(earlier.t))
        quad = np.maximum(later.surface - self.first_quad, -1)
        hip = self._quads["y"] + self._quads["size"][:, 1] - origin[1]
        sheared = np.append(shear, 0.0)[quad] * (np.append(hip, 0.0)[quad] - y)
        shift = np.where(infinite[None], 0.0, (origin - before)[:, None, None])
        column, row, depth = self._project(x + shift[0] - sheared, y + shift[1],
                                           z + shift[2] - np.append(way, 0.0)[quad], earlier.camera[3])
        flow = np.stack([column - np.arange(self.width), row - np.arange(self.height)[:, None]], -1)
        visible, corners = depth > NEAR, []
        for place, last in ((row, self.height - 1), (column, self.width - 1)):
            visible &= (place >= 0) & (place <= last)
            low = np.floor(place).clip(0, last).astype(np.int64)
            corners.append((low, (low + 1).clip(max=last)))
        for corner in itertools.product(*corners):
            visible &= earlier.surface[corner] == later.surface
        return flow.astype(np.float32), visible


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
