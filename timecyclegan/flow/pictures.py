"""Flow to look at, and flow in files."""
import contextlib
import math
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
import torch
from tqdm import tqdm

from timecyclegan.datasets.loading import read_frames
from timecyclegan.flow import FlowBackend
from timecyclegan.util.files import replacing, writing
from timecyclegan.util.names import one_form, user_path
from timecyclegan.util.threads import concurrently, usable_threads
from timecyclegan.video.frames import to_video, write_image


def flow_picture(flow: np.ndarray, scale: float) -> np.ndarray:
    """(H, W, 2) in pixels as uint8 (H, W, 3) RGB: the hue is the direction, the saturation how far, up to ``scale``.

    What stands still is white; to the right is red, downwards greenish yellow, to the left cyan, upwards violet.
    """
    dx, dy = flow[..., 0].astype(np.float64), flow[..., 1].astype(np.float64)
    degrees = np.degrees(np.arctan2(dy, dx)) % 360
    far = np.clip(np.hypot(dx, dy) / max(scale, 1e-12), 0, 1)
    hsv = np.stack([degrees, far, np.ones_like(far)], axis=-1).astype(np.float32)  # OpenCV's hue is 0 .. 360 in float
    return np.rint(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255).astype(np.uint8)


def flow_scale(flow: np.ndarray) -> float:
    """How far the fastest pixels of a flow (H, W, 2) move, in pixels: its 99th percentile."""
    return float(np.percentile(np.hypot(flow[..., 0], flow[..., 1]), 99))


def with_legend(picture: np.ndarray, scale: float) -> np.ndarray:
    """The picture with a colour wheel in its lower left corner, and the pixels that its rim stands for beside it.

    Pictures smaller than 48 pixels have no room for it and stay as they are.
    """
    height, width = picture.shape[:2]
    side = min(height, width) // 5 | 1
    if min(height, width) < 48:
        return picture
    place = (np.arange(side) - side // 2) / (side // 2)
    x, y = np.meshgrid(place, place)
    wheel = flow_picture(np.stack([x, y], -1), 1.0)
    wheel[np.hypot(x, y) > 1] = 255
    digits = 0 if scale <= 0 else max(0, 1 - math.floor(math.log10(scale)))
    text = f"{scale:.{digits}f} px"
    font, size = cv2.FONT_HERSHEY_SIMPLEX, side / 50
    (text_width, text_height), _ = cv2.getTextSize(text, font, size, 1)
    box = np.full((side + 4, side + text_width + 8, 3), 255, np.uint8)
    box[2 : 2 + side, 2 : 2 + side] = wheel
    cv2.putText(box, text, (side + 4, (side + 4 + text_height) // 2), font, size, (0, 0, 0), 1, cv2.LINE_AA)
    box = box[:, :width]
    shown = picture.copy()
    shown[height - box.shape[0] :, : box.shape[1]] = box
    return shown


def write_flo(path: str | Path, flow: np.ndarray) -> None:
    """Write (H, W, 2) as a ``.flo`` file of the Middlebury benchmark (Baker et al. 2011): its size, then the pixels."""
    height, width = flow.shape[:2]
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(b"PIEH" + np.array([width, height], "<i4").tobytes() + flow.astype("<f4").tobytes())


def write_npz(path: str | Path, flow: np.ndarray, visible: np.ndarray) -> None:
    """Write (H, W, 2) and bool (H, W) as ``evaluation.flow.load_flow`` reads them."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, flow=flow.astype(np.float32), visible=visible.astype(bool))


@torch.inference_mode()
def draw_folders(
    backend: FlowBackend, sequences: Mapping[str, list[Path]], output: Path, size: tuple[int, int],
    device: torch.device, threads: int = 1, save: str = "off",
) -> tuple[dict[str, list[Path]], dict[str, float]]:
    """Draw the flow of sequences of image files, from each frame back to the one before it.

    A sequence has one scale, the largest of its flows', known only after the last one. Until then the flows lie in a
    temporary file in ``output``, so that memory does not grow with the sequence and no flow is computed twice.

    Args:
        output: of the PNG files ``output/<sequence>/<frame>.png``. A sequence's first frame has no flow: it is white.
        size: (height, width) that the frames are resized to.
        threads: that read ahead.
        save: "off", "flo" or "npz": also write ``<frame>.flo`` or ``<frame>.npz``, for all frames but the first.

    Returns:
        The pictures by sequence, in order, and each sequence's scale in pixels.
    """
    output = user_path(output)
    written, scales = {}, {}
    total = sum(map(len, sequences.values()))
    with _scratch(output) as scratch, tqdm(total=total, desc="flow", unit="frame", dynamic_ncols=True) as bar:
        for name, paths in sequences.items():
            pictures = [output / name / f"{one_form(path.stem)}.png" for path in paths]
            previous, scales[name] = None, 0.0
            for picture, image in zip(pictures, read_frames(paths, *size, threads), strict=True):
                frame, flow = to_video(image[None]).to(device), np.zeros((*size, 2), np.float32)
                if previous is not None:
                    # (1, 2, H, W) and (1, 1, H, W) to (H, W, 2) and (H, W, 1)
                    flow, sure = (x[0].movedim(0, -1).float().cpu().numpy() for x in backend(frame, previous))
                    scales[name] = max(scales[name], flow_scale(flow))
                    if save == "flo":
                        write_flo(picture.with_suffix(".flo"), flow)
                    elif save == "npz":
                        write_npz(picture.with_suffix(".npz"), flow, sure[..., 0] > 0.5)
                scratch.write(flow.tobytes())
                previous = frame
                bar.update()
            scratch.seek(0)
            drawn = ((picture, scratch.read(flow.nbytes), size, scales[name]) for picture in pictures)
            with contextlib.closing(concurrently(_write_picture, drawn, usable_threads())) as files:
                for _ in files:
                    pass
            scratch.seek(0)
            written[name] = pictures
    return written, scales


def _write_picture(drawn: tuple[Path, bytes, tuple[int, int], float]) -> None:
    path, flow, size, scale = drawn
    write_image(path, with_legend(flow_picture(np.frombuffer(flow, np.float32).reshape(*size, 2), scale), scale))


@contextlib.contextmanager
def _scratch(folder: Path) -> Iterator[BinaryIO]:
    """A file without a name, on the disk that the results go to."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            yield file
