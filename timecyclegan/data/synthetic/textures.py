"""Painted textures of the synthetic street, and how they are looked up at every distance.

A texture is a small square picture over (u, v), u to the right and v up, both in [0, 1]. All is painted from coarse
random grids and shapes with exact texel coverage, so the same draws give the same look at any texture size.
"""
import colorsys
import functools

import numpy as np

SOFTNESS = 1.3  # texels of the chosen mipmap level per pixel: 1 would let windows glitter as they move

Colour = tuple[float, float, float]


def pick_colour(rng: np.random.Generator, hue=(0.0, 1.0), saturation=(0.1, 0.6), value=(0.3, 0.9)) -> Colour:
    """A random RGB colour in [0, 1], uniform in the given ranges of hue, saturation and value."""
    return colorsys.hsv_to_rgb(rng.uniform(*hue) % 1.0, rng.uniform(*saturation), rng.uniform(*value))


@functools.lru_cache(maxsize=128)
def upsampling(cells: int, size: int, periodic: bool = True) -> np.ndarray:
    """(size, cells) weights that interpolate ``cells`` values smoothly to ``size`` points (smoothstep)."""
    position = (np.arange(size) + 0.5) * cells / size - 0.5
    low = np.floor(position).astype(int)
    step = position - low
    step = step * step * (3 - 2 * step)
    wrap = (lambda index: index % cells) if periodic else (lambda index: index.clip(0, cells - 1))
    weights = np.zeros((size, cells), np.float32)
    np.add.at(weights, (np.arange(size), wrap(low)), 1 - step)
    np.add.at(weights, (np.arange(size), wrap(low + 1)), step)
    return weights


def smooth_noise(rng: np.random.Generator, cells: tuple[int, int], size: int) -> np.ndarray:
    """(size, size) periodic noise of about unit variance with ``cells`` = (rows, columns) bumps."""
    grid = rng.standard_normal(cells, dtype=np.float32)
    return upsampling(cells[0], size) @ grid @ upsampling(cells[1], size).T


class Canvas:
    """A texture being painted: ``colour`` (3, size, size) and ``opacity`` (size, size), row 0 at v = 0.

    The colours come as three planes because numpy is several times faster on long rows than on rows of three.
    """

    def __init__(self, size: int, colour: Colour, tiles: bool = False):
        self.size, self.tiles = size, tiles
        self.axis = ((np.arange(size) + 0.5) / size).astype(np.float32)
        self.colour = np.full((3, size, size), np.reshape(colour, (3, 1, 1)), np.float32)
        self.opacity = np.ones((size, size), np.float32)

    def span(self, low: float, high: float) -> np.ndarray:
        """(size,) share of every texel of one axis that lies in [low, high]."""
        return ((self.axis - low) * self.size + 0.5).clip(0, 1) - ((self.axis - high) * self.size + 0.5).clip(0, 1)

    def disc(self, u: float, v: float, radius_u: float, radius_v: float) -> np.ndarray:
        """(size, size) coverage of an ellipse; its edge is about a texel wide."""
        distance = np.hypot((self.axis[None] - u) / radius_u, (self.axis[:, None] - v) / radius_v)
        return ((1 - distance) * min(radius_u, radius_v) * self.size + 0.5).clip(0, 1)

    def paint(self, coverage: np.ndarray, colour) -> None:
        """Blend ``colour``, (3,) or (3, size, size), over the picture by ``coverage`` (size, size)."""
        colour = np.asarray(colour, np.float32)
        self.colour += coverage * ((colour[:, None, None] if colour.ndim == 1 else colour) - self.colour)

    def box(self, u0: float, u1: float, v0: float, v1: float, colour: Colour) -> None:
        """Fill [u0, u1] x [v0, v1], rounded to whole texels but at least one."""
        v0, v1, u0, u1 = (round(place * self.size) for place in (v0, v1, u0, u1))
        rows, columns = slice(max(0, v0), max(v0 + 1, v1)), slice(max(0, u0), max(u0 + 1, u1))
        self.colour[:, rows, columns] = np.reshape(colour, (3, 1, 1))

    def shade(self, factor: np.ndarray) -> None:
        """Multiply the colours by ``factor``, anything that broadcasts to (size, size)."""
        self.colour *= np.asarray(factor, np.float32)

    def grain(self, rng: np.random.Generator, cells: int, strength: float) -> None:
        self.shade(1 + strength * smooth_noise(rng, (cells, cells), self.size))


def paint_facade(rng: np.random.Generator, size: int, width: float, height: float) -> Canvas:
    """A house front of width x height metres: plaster or brick, rows of windows, a ground floor, a roof."""
    hue, saturation = [((0.02, 0.13), (0.15, 0.55)), ((0.0, 0.06), (0.4, 0.65)), ((0.0, 1.0), (0.03, 0.25))][
        rng.integers(3)]
    canvas = Canvas(size, pick_colour(rng, hue, saturation, (0.45, 0.92)))
    canvas.grain(rng, 12, 0.05)
    roof = rng.uniform(0.78, 0.9)
    floors, columns = max(1, round(height * roof / 3)), max(2, round(width / rng.uniform(2.2, 3.2)))
    row, column = canvas.axis / roof * floors, canvas.axis * columns
    half_u, half_v = rng.uniform(0.2, 0.33), rng.uniform(0.25, 0.36)
    trim = pick_colour(rng, saturation=(0, 0.3), value=(0.3, 1.0))

    def panes(margin):
        across = ((half_u + margin - abs(column % 1 - 0.5)) * size / columns + 0.5).clip(0, 1)
        up = ((half_v + margin - abs(row % 1 - 0.5)) * size * roof / floors + 0.5).clip(0, 1)
        return np.outer(up * (canvas.axis < roof), across)

    lit = np.float32(rng.uniform(0.45, 1.3, (floors, columns)))
    lit = lit[row.astype(int).clip(0, floors - 1)[:, None], column.astype(int)[None]]
    glass = np.asarray(pick_colour(rng, (0.5, 0.68), (0.1, 0.5), (0.22, 0.5)), np.float32)
    canvas.paint(panes(0.06), trim)
    canvas.paint(panes(0.0), lit * (0.75 + 0.5 * (row % 1)[:, None]) * glass[:, None, None])
    storey = roof / floors  # the ground floor: a shop or a door
    if rng.random() < 0.4:
        front, awning = pick_colour(rng, value=(0.2, 0.5)), pick_colour(rng, saturation=(0.4, 0.9))
        canvas.box(0.05, 0.95, 0, storey * 0.75, front)
        canvas.box(0.08, 0.92, storey * 0.15, storey * 0.7, (0.75, 0.72, 0.55))
        canvas.box(0.03, 0.97, storey * 0.7, storey * 0.98, awning)
    else:
        place = rng.uniform(0.15, 0.85)
        canvas.box(place - 0.05, place + 0.05, 0, storey * 0.75, pick_colour(rng, value=(0.15, 0.6)))
    canvas.box(0, 1, roof, 1, pick_colour(rng, (0.0, 0.08), (0.1, 0.6), (0.2, 0.5)))
    canvas.box(0, 1, roof - 0.02, roof + 0.02, trim)
    # Less light near the ground and at the seams between houses tells the houses apart.
    canvas.shade((0.8 + 0.2 * (canvas.axis * 5).clip(0, 1))[:, None])
    canvas.shade(0.75 + 0.25 * (np.minimum(canvas.axis, 1 - canvas.axis) * 25).clip(0, 1))
    return canvas


def paint_hedge(rng: np.random.Generator, size: int, hue: float) -> Canvas:
    """Leaves of roughly one hue; tiles, since the hills repeat it."""
    canvas = Canvas(size, pick_colour(rng, (hue - 0.03, hue + 0.03), (0.4, 0.75), (0.25, 0.5)), tiles=True)
    canvas.grain(rng, 16, 0.16)
    canvas.grain(rng, 6, 0.1)
    canvas.shade((0.6 + 0.5 * canvas.axis)[:, None])
    return canvas


def paint_fence(rng: np.random.Generator, size: int) -> Canvas:
    """Upright boards of one colour, each with its own brightness."""
    canvas = Canvas(size, pick_colour(rng, (0.03, 0.15), (0.1, 0.5), (0.35, 0.8)))
    boards = rng.integers(8, 16)
    canvas.shade(rng.uniform(0.7, 1.1, boards)[(canvas.axis * boards).astype(int)])
    canvas.box(0, 1, 0.92, 1, (0.3, 0.28, 0.26))
    return canvas


def paint_tree(rng: np.random.Generator, size: int, hue: float) -> Canvas:
    """A crown of ragged outline on a trunk; the crown's colour is drawn around ``hue``."""
    canvas = paint_hedge(rng, size, hue)
    canvas.shade(1.15 - 0.35 * canvas.axis)
    ragged = 0.16 * smooth_noise(rng, (7, 7), size)
    crown = np.hypot((canvas.axis[None] - 0.5) / 0.42, (canvas.axis[:, None] - 0.64) / 0.32) + ragged < 1
    trunk = np.outer(canvas.axis < 0.45, abs(canvas.axis - 0.5) < 0.05)
    canvas.paint((trunk & ~crown).astype(np.float32), (0.25, 0.18, 0.13))
    canvas.opacity = (crown | trunk).astype(np.float32)
    return canvas


def paint_road(rng: np.random.Generator, size: int) -> Canvas:
    """Asphalt that tiles: tone, coarse patches and fine grain."""
    canvas = Canvas(size, pick_colour(rng, (0.05, 0.75), (0.0, 0.12), (0.22, 0.55)), tiles=True)
    canvas.grain(rng, 4, 0.06)
    canvas.grain(rng, 9, 0.05)
    canvas.grain(rng, 27, 0.05)
    patch_u, patch_v = rng.uniform(0.1, 0.6, 2)
    canvas.shade(1 - rng.uniform(0.05, 0.25) * np.outer(canvas.span(patch_v, patch_v + rng.uniform(0.1, 0.4)),
                                                        canvas.span(patch_u, patch_u + rng.uniform(0.1, 0.3))))
    return canvas


def paint_pavement(rng: np.random.Generator, size: int) -> Canvas:
    """Slabs that tile, each with its own brightness, and dark joints."""
    canvas = Canvas(size, pick_colour(rng, (0.02, 0.14), (0.0, 0.35), (0.5, 0.85)), tiles=True)
    slabs = int(rng.integers(3, 7))
    tone = 1 + 0.07 * rng.standard_normal((slabs, slabs))
    cell = (canvas.axis * slabs).astype(int)
    canvas.shade(tone[cell[:, None], cell[None]])
    edge = np.minimum(canvas.axis * slabs % 1, 1 - canvas.axis * slabs % 1) / slabs * size
    joint = 0.75 + 0.25 * (edge / 1.5).clip(0, 1)
    canvas.shade(np.minimum(joint[:, None], joint[None]))
    canvas.grain(rng, 24, 0.03)
    return canvas


def paint_sky(rng: np.random.Generator, size: int) -> Canvas:
    """Gradient from the horizon (v = 0) upwards, with soft clouds; tiles, since u is the direction."""
    horizon = np.asarray(pick_colour(rng, (0.05, 0.65), (0.02, 0.15), (0.85, 1.0)), np.float32)
    zenith = np.asarray(pick_colour(rng, (0.53, 0.63), (0.1, 0.6), (0.6, 0.95)), np.float32)
    canvas = Canvas(size, (0, 0, 0), tiles=True)
    # Up to v = 0.9 and back, so that the tile closes.
    up = np.minimum(canvas.axis / 0.7, (1 - canvas.axis) / 0.3).clip(0, 1)[:, None]
    canvas.colour[:] = horizon[:, None, None] + up * (zenith - horizon)[:, None, None]
    clouds = smooth_noise(rng, (7, 5), size) + 0.5 * smooth_noise(rng, (14, 10), size)
    canvas.paint((rng.uniform(0.1, 0.7) * (clouds - 0.2)).clip(0, 0.75), (0.97, 0.97, 0.98))
    return canvas


class Atlas:
    """All textures of a street, of one power-of-two size, each halved again and again to one texel (mipmaps)."""

    def __init__(self, canvases: list[Canvas]):
        self.size = canvases[0].size
        self.tiles = np.array([canvas.tiles for canvas in canvases])
        self._opaque = np.stack([canvas.opacity for canvas in canvases]).ravel() > 0.5
        levels = [np.stack([canvas.colour for canvas in canvases], axis=1)]
        while levels[-1].shape[-1] > 1:
            level = levels[-1][..., ::2, :] + levels[-1][..., 1::2, :]
            levels.append((level[..., ::2] + level[..., 1::2]) * np.float32(0.25))
        self._texels = np.concatenate([level.reshape(3, -1) for level in levels], axis=1)
        self._starts = np.cumsum([0] + [level[0].size for level in levels[:-1]])

    def is_opaque(self, texture: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Whether the nearest texel, u and v in [0, 1), belongs to the object's outline; all (n,)."""
        row, column = (v * self.size).astype(np.int32), (u * self.size).astype(np.int32)
        return self._opaque[(texture * self.size + row) * self.size + column]

    def look_up(self, texture: np.ndarray, u: np.ndarray, v: np.ndarray, texels: np.ndarray) -> np.ndarray:
        """Trilinear look-up. ``texels`` is how many texels a pixel spans; all (n,); returns (3, n)."""
        u, v = u.astype(np.float32), v.astype(np.float32)
        level = np.log2(np.maximum(SOFTNESS * texels, 1)).astype(np.float32)
        level = np.minimum(level, len(self._starts) - 1)
        low = level.astype(np.int32)
        near, far = (self._bilinear(texture, u, v, np.minimum(one, len(self._starts) - 1)) for one in (low, low + 1))
        return _between(near, far, level - low.astype(np.float32))

    def _bilinear(self, texture, u, v, level) -> np.ndarray:
        size, tiles = (self.size >> level).astype(np.int32), self.tiles[texture]
        extent, start = size.astype(np.float32), self._starts[level] + texture * size * size

        def corners(coordinate):
            position = coordinate * extent - np.float32(0.5)
            position = np.where(tiles, position, position.clip(0, extent - 1))
            low = np.floor(position)
            index = low.astype(np.int32)
            return index & (size - 1), (index + 1) & (size - 1), position - low

        *columns, across = corners(u)
        *rows, up = corners(v)
        return _between(*(_between(*(np.take(self._texels, start + row * size + column, axis=1) for column in columns),
                                   across) for row in rows), up)


def _between(start: np.ndarray, end: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Interpolate; in ``end``'s memory, as the arrays are large."""
    end -= start
    end *= share
    end += start
    return end
