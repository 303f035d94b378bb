"""Flow to look at, and flow in files."""
import contextlib
import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import tqdm

from timecyclegan.datasets.loading import read_frames
from timecyclegan.flow import FlowBackend
from timecyclegan.util.errors import UserError
from timecyclegan.util.files import replacing
from timecyclegan.video.frames import to_video, write_image

FILES = ("off", "flo", "npz")

_FLO_TAG = np.float32(202021.25)  # the bytes "PIEH"; Baker et al. 2011


def flow_picture(flow: np.ndarray, scale: float) -> np.ndarray:
    """(H, W, 2) in pixels as uint8 (H, W, 3) RGB: the hue is the direction, the saturation how far, up to ``scale``.

    What stands still is white; to the right is red, downwards greenish yellow, to the left cyan, upwards violet.
    """
    dx, dy = flow[..., 0].astype(np.float64), flow[..., 1].astype(np.float64)
    degrees = np.degrees(np.arctan2(dy, dx)) % 360
    far = np.clip(np.hypot(dx, dy) / max(scale, 1e-12), 0, 1)
    hsv = np.stack([degrees, far, np.ones_like(far)], axis=-1).astype(np.float32)  # OpenCV's hue is 0 .. 360 in float
    return np.rint(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255).astype(np.uint8)


def sequence_scale(flows: Iterable[np.ndarray]) -> float:
    """How far the fastest pixels of a sequence move, in pixels: the largest 99th percentile of its frames."""
    return max((float(np.percentile(np.hypot(flow[..., 0], flow[..., 1]), 99)) for flow in flows), default=0.0)


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
    text = f"{_round(scale)} px"
    font, size = cv2.FONT_HERSHEY_SIMPLEX, side / 50
    (text_width, text_height), _ = cv2.getTextSize(text, font, size, 1)
    box = np.full((side + 4, side + text_width + 8, 3), 255, np.uint8)
    box[2 : 2 + side, 2 : 2 + side] = wheel
    cv2.putText(box, text, (side + 4, (side + 4 + text_height) // 2), font, size, (0, 0, 0), 1, cv2.LINE_AA)
    box = box[:, :width]
    shown = picture.copy()
    shown[height - box.shape[0] :, : box.shape[1]] = box
    return shown


def _round(scale: float) -> str:
    digits = 0 if scale <= 0 else max(0, 1 - math.floor(math.log10(scale)))
    return f"{scale:.{digits}f}"


def write_flo(path: str | Path, flow: np.ndarray) -> None:
    """Write (H, W, 2) as a ``.flo`` file of the Middlebury benchmark: tag, width, height, dx and dy by pixel."""
    height, width = flow.shape[:2]
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(_FLO_TAG.tobytes() + np.array([width, height], "<i4").tobytes() + flow.astype("<f4").tobytes())


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

    A sequence has one scale, known only after its last flow. Until then the flows lie in temporary files below
    ``output``, so that memory does not grow with the sequence and no flow is computed twice.

    Args:
        output: of the PNG files ``output/<sequence>/<frame>.png``. A sequence's first frame has no flow: it is white.
        size: (height, width) that the frames are resized to.
        threads: that read ahead.
        save: one of :data:`FILES`: also write ``<frame>.flo`` or ``<frame>.npz``, for all frames but the first.

    Returns:
        The pictures by sequence, in order, and each sequence's scale in pixels.
    """
    written, scales = {}, {}
    with tqdm(total=sum(map(len, sequences.values())), desc="flow", unit="frame", dynamic_ncols=True) as bar:
        for name, paths in sequences.items():
            with _scratch(output) as scratch:
                kept = [scratch / f"{index}.npy" for index in range(1, len(paths))]
                flows = _flows(backend, read_frames(paths, *size, threads), device, bar)
                saved = [output / name / path.stem for path in paths[1:]]
                scales[name] = sequence_scale(_keep(flows, kept, saved, save))
                written[name] = [output / name / f"{path.stem}.png" for path in paths]
                for path, file in zip(written[name], [None, *kept], strict=True):
                    flow = np.zeros((*size, 2), np.float32) if file is None else np.load(file)
                    write_image(path, with_legend(flow_picture(flow, scales[name]), scales[name]))
    return written, scales


@contextlib.contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A folder for temporary files, on the disk that the results go to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.TemporaryDirectory(dir=folder, prefix=".flow.")
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror or error}") from error
    with temporary as name:
        yield Path(name)


def _flows(
    backend: FlowBackend, frames: Iterable[np.ndarray], device: torch.device, bar: tqdm
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """From the second frame on the flow (H, W, 2) back to the one before it, and its confidence (H, W)."""
    previous = None
    for image in frames:
        frame = to_video(image[None]).to(device)
        if previous is not None:
            flow, confidence = (x[0].movedim(0, -1).float().cpu().numpy() for x in backend(frame, previous))
            yield flow, confidence[..., 0]
        previous = frame
        bar.update()


def _keep(
    flows: Iterable[tuple[np.ndarray, np.ndarray]], kept: list[Path], saved: list[Path], save: str
) -> Iterator[np.ndarray]:
    """Write each flow as NumPy keeps it, and as the user wants it; hand it on."""
    for (flow, confidence), path, wanted in zip(flows, kept, saved, strict=True):
        with replacing(path) as temporary:
            np.save(temporary, flow)
        if save == "flo":
            write_flo(wanted.with_name(f"{wanted.name}.flo"), flow)
        elif save == "npz":
            write_npz(wanted.with_name(f"{wanted.name}.npz"), flow, confidence > 0.5)
        yield flow
