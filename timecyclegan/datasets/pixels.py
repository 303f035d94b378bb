"""What the pixels of a folder of frames mean, as far as resizing and mirroring must know: ``--source_pixels``, ``...``.

``pictures`` are resized with a smooth filter. ``labels`` are label maps, one exact colour for each class: between two
of them a smooth filter would invent a third class, so the nearest pixel is taken. ``flow`` is motion in colours
(``flow.pictures``): in a mirror it leads the other way.
"""
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from timecyclegan.datasets.prepared import settings_of
from timecyclegan.util.errors import UserError, note
from timecyclegan.util.options import Options
from timecyclegan.video.frames import Frame, read_image

LOOKED_AT = 8  # frames of a folder
MOST = 64  # exact colours of a label map: Cityscapes has 35, a picture of ADE20K's 150 classes some tens
_DRAWN = ("flow_backend", "scale_px")  # what flow.json beside drawn flow tells


def mirror(frames: np.ndarray, pixels: str) -> np.ndarray:
    """uint8 (..., H, W, 3) as a mirror shows them, left to right; motion that is drawn in colours leads the other way.

    A hue h becomes 180 degrees - h, which is rightwards to leftwards: exchanging green and blue is -h, and c -> highest
    + lowest - c, over a pixel's channels, is + 180 degrees. Both are exact, and leave saturation and value alone.
    """
    frames = frames[..., ::-1, :]
    if pixels != "flow":
        return frames
    low, high = frames.min(-1, keepdims=True), frames.max(-1, keepdims=True)
    return high - (frames[..., [0, 2, 1]] - low)


def settle_pixels(sequences: Mapping[str, Mapping[str, Sequence[Frame]]], roots: Mapping[str, Path | None],
                  options: Options) -> dict[str, str]:  # fmt: skip
    """By option, what the pixels of a domain are where the ``options`` say "auto"; says where it makes a difference.

    Args:
        sequences, roots: by domain, its frames, and the folder that they are in.
    """
    found = {}
    for domain, clips in sequences.items():
        if getattr(options, flag := f"{domain}_pixels") == "auto":
            found[flag], colours = pixels_of(roots[domain], clips)
            if found[flag] == "labels":
                note(f"the frames of {roots[domain]} have few exact colours ({colours}) and are taken for label "
                     f"maps: they are resized to the nearest pixel; for a smooth filter say --{flag} pictures")
            elif found[flag] == "pictures" and options.flip and _may_be_motion(clips):
                note(f"the frames of {roots[domain]} look like motion in colours, of which nothing is known: if "
                     f"they are, say --{flag} flow, else mirrored clips show the wrong direction")
            elif found[flag] == "flow" and options.flip:
                note(f"{roots[domain]} holds motion in colours, which are turned round where clips are mirrored")
    return found


def find_pixels(sequences: Mapping[str, Mapping[str, Sequence[Frame]]], roots: Mapping[str, str | Path | None]
                ) -> dict[str, str]:  # fmt: skip
    """By domain, what :func:`pixels_of` says of its frames."""
    return {domain: pixels_of(Path(roots[domain]), clips)[0] for domain, clips in sequences.items()}


def pixels_of(root: Path, sequences: Mapping[str, Sequence[Frame]]) -> tuple[str, int]:
    """What the frames below ``root`` are: what the tool that made them says, else ``labels`` where their colours do.

    Returns:
        ``pictures``, ``labels`` or ``flow``, and for label maps how many colours there are in the frames looked at,
        some of the folder's. Frames that cannot be read are none of our business here.
    """
    if made := settings_of(root).get("source"):
        return "flow" if made == "flow" else "pictures", 0
    for folder in [place := root.resolve(), *place.parents[:2]]:
        with suppress(OSError, ValueError, TypeError):  # it is not there, or somebody else's
            if set(_DRAWN) <= set(json.loads((folder / "flow.json").read_text("utf-8"))):
                return "flow", 0
    found: set[int] = set()
    areas = False
    for picture in _some(sequences):
        colours, several = exact_colours(picture)
        found |= colours
        areas |= several
        if not colours or len(found) > MOST:
            return "pictures", 0
    return ("labels", len(found)) if areas else ("pictures", 0)


def _some(sequences: Mapping[str, Sequence[Frame]]) -> Iterator[np.ndarray]:
    """Frames to look at, from all over the sequences; those that cannot be read are left out."""
    frames = [frame for clip in sequences.values() for frame in clip]
    places = np.linspace(0, len(frames) - 1, LOOKED_AT).round().astype(int) if frames else ()
    for frame in dict.fromkeys(frames[place] for place in places):
        with suppress(UserError):
            yield read_image(frame)


def _may_be_motion(sequences: Mapping[str, Sequence[Frame]]) -> bool:
    """Whether hues on white are all that there is (``flow.pictures.flow_picture``), as in no photograph."""
    coloured = False
    for picture in _some(sequences):
        high = picture.max(-1)
        if (high < 250).mean() > 0.001:  # resized they may miss white a little
            return False
        coloured |= (high - picture.min(-1) > 40).mean() > 0.01
    return coloured


def exact_colours(picture: np.ndarray) -> tuple[set[int], bool]:
    """The colours of a picture (H, W, 3) that may be a label map, and whether several of them fill areas; else none.

    A label map has few colours, most neighbours are alike, and where they are not, colours jump: dithered pictures have
    no areas, and a smooth one of few levels goes from each level to the next. Lines on one ground (edges) are no areas.
    """
    colours = picture.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    found = np.unique(colours)
    if len(found) > MOST:
        return set(), False
    pairs = ((picture[:, 1:], picture[:, :-1]), (picture[1:], picture[:-1]))
    steps = np.concatenate([abs(a.astype(int) - b.astype(int)).max(-1).ravel() for a, b in pairs])
    changes, jumps = (steps > 0).sum(), (steps > 1).sum()
    if changes > 0.4 * len(steps) or jumps < 0.25 * changes:
        return set(), False
    filled = set()  # colours with a square of 3 x 3 pixels
    height, width = colours.shape
    if min(height, width) > 2:
        squares = np.stack([colours[y : height - 2 + y, x : width - 2 + x] for y in range(3) for x in range(3)])
        filled = set(squares[0][(squares == squares[0]).all(0)].tolist())
    return set(found.tolist()), len(filled) > 1
