"""One sequence of a report: its frames, error maps and slices through space and time."""
import base64
import io
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from timecyclegan.util.errors import UserError
from timecyclegan.util.names import readable
from timecyclegan.video.frames import image_size, read_image, resize_image

LOSSLESS_PIXELS = 128 * 128  # up to this size compression saves little and its traces would be magnified

# Anchors of the heat map's colours at 0, 1/4, 1/2, 3/4, 1 (perceptually even, dark to bright, as "inferno").
HEAT = ((0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164))


@dataclass(frozen=True)
class ReportSequence:
    """The frames of a sequence on disk.

    ``source`` is empty for unconditional models. ``real`` are the frames of the same moments, where there are any;
    ``example`` is some real clip to look at, where there are none.
    """
    name: str
    source: list[Path]
    generated: list[Path]
    real: list[Path] | None = None
    example: list[Path] | None = None

    def panels(self) -> dict[str, list[Path]]:
        """What there is to show beside each other, by caption."""
        panels = {"source": self.source, "generated": self.generated, "real": self.real, "a real clip": self.example}
        return {name: list(frames) for name, frames in panels.items() if frames}


def absolute_error(generated: np.ndarray, real: np.ndarray) -> np.ndarray:
    """|generated - real| of uint8 (T, H, W, 3) videos, mean over colours: float32 (T, H, W) in grey levels."""
    # Frame by frame: the differences need more memory than the frames.
    return np.array([np.abs(own.astype(np.int16) - other).mean(axis=-1, dtype=np.float32)
                     for own, other in zip(generated, real, strict=True)])


def scale_top(errors: np.ndarray) -> int:
    """End of the heat map's scale: the 99th percentile, rounded up to one of a few levels."""
    high = np.percentile(errors, 99)
    return next(level for level in (8, 16, 32, 64, 128, 255) if level >= high or level == 255)


def heat_map(errors: np.ndarray, top: float) -> np.ndarray:
    """Colour errors (H, W) from 0 to ``top`` by :data:`HEAT`, brighter is larger: uint8 (H, W, 3)."""
    places = np.linspace(0, top, len(HEAT))
    channels = [np.interp(errors, places, [colour[c] for colour in HEAT]) for c in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def busiest_row(video: np.ndarray) -> int:
    """The row of (T, H, W, 3) that changes most from frame to frame; the middle one where nothing does."""
    change = sum(np.abs(frame.astype(np.int16) - previous).mean(axis=(1, 2)) for previous, frame in pairwise(video))
    return int(np.argmax(change)) if np.any(change) else video.shape[1] // 2


def data_uri(image: np.ndarray, lossless: bool = False) -> str:
    """Embed uint8 (H, W, 3) as WebP: lossless while small or if asked for, of high quality beyond."""
    file = io.BytesIO()
    lossless = lossless or image.shape[0] * image.shape[1] <= LOSSLESS_PIXELS
    Image.fromarray(image).save(file, "WEBP", lossless=lossless, quality=60 if lossless else 86, method=2)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()


def sequence_data(sequence: ReportSequence, max_frames: int, max_width: int) -> dict[str, Any]:
    """What the page shows of a sequence's first frames, all in the size of the generated ones, JSON-ready.

    "panels": by caption, a picture per frame; "slices": by caption, the ``row`` that moves most over time; where there
    are real frames, "errors": the mean of each frame, "map": the mean of each pixel, and the ends of their scales.

    Raises:
        UserError: there are no generated frames, or one cannot be read.
    """
    paths = sequence.panels()
    if "generated" not in paths:
        raise UserError(f"cannot report on sequence {sequence.name}: it has no generated frames")
    available = min(map(len, paths.values()))
    count = min(available, max_frames)
    full_height, full_width = image_size(paths["generated"][0])
    scale = min(1.0, max_width / full_width)
    height, width = (max(1, round(side * scale)) for side in (full_height, full_width))
    panels = {name: np.stack([resize_image(read_image(path), height, width) for path in frames[:count]])
              for name, frames in paths.items()}
    notes = [f"{width} × {height} px"]
    if count < available:
        notes.append(f"the first {count} of {available} frames are shown")
    if scale < 1:
        notes.append(f"frames are downscaled from {full_width} × {full_height} px")
    # The clip whose movement is true.
    row = busiest_row(next(panels[name] for name in ("real", "source", "generated") if name in panels))
    data = {"name": readable(sequence.name), "note": "; ".join(notes), "width": width, "height": height, "row": row,
            "names": [readable(path.stem) for path in paths["generated"][:count]], "errors": [],
            "panels": {name: [data_uri(frame) for frame in video] for name, video in panels.items()},
            "slices": {name: data_uri(video[:, row], lossless=True) for name, video in panels.items()}}
    if "real" in panels:
        errors = absolute_error(panels["generated"], panels["real"])
        top, mean = scale_top(errors), errors.mean(axis=0)
        data["panels"]["error"] = [data_uri(heat_map(error, top)) for error in errors]
        data["errors"] = [round(float(error.mean()), 2) for error in errors]
        data |= {"top": top, "map": data_uri(heat_map(mean, scale_top(mean))), "map_top": scale_top(mean),
                 "map_mean": round(float(mean.mean()), 2)}
    return data
