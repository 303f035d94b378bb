"""Small clips for the tests of the metrics."""
from pathlib import Path

import numpy as np

from timecyclegan.video.frames import write_image

CASES = Path(__file__).parents[1] / "data" / "metrics"


def texture(height: int, width: int, seed: int = 0, smooth: int = 3) -> np.ndarray:
    """uint8 (H, W, 3): a random picture, smoothed by averaging neighbours, with structure for a flow to hold."""
    image = np.random.default_rng(seed).uniform(0, 255, (height, width, 3))
    for _ in range(smooth):
        image = (image + np.roll(image, 1, 0) + np.roll(image, 1, 1) + np.roll(image, (1, 1), (0, 1))) / 4
    low, high = image.min(), image.max()
    return ((image - low) / (high - low) * 255).round().astype(np.uint8)


def moving(frames: int, height: int = 24, width: int = 32, seed: int = 0, step: int = 1) -> list[np.ndarray]:
    """A window that moves right over a texture: what frame t + 1 shows at x, frame t shows at x + step."""
    big = texture(height, width + step * frames, seed)
    return [big[:, step * t:step * t + width].copy() for t in range(frames)]


def noisy(clip: list[np.ndarray], sigma: float = 8, seed: int = 1) -> list[np.ndarray]:
    """The clip with Gaussian noise on every frame."""
    rng = np.random.default_rng(seed)
    return [np.clip(frame + rng.normal(0, sigma, frame.shape), 0, 255).astype(np.uint8) for frame in clip]


def blurred(image: np.ndarray) -> np.ndarray:
    """The image averaged over 3x3 neighbours."""
    padded = np.pad(image.astype(float), ((1, 1), (1, 1), (0, 0)), mode="edge")
    height, width = image.shape[:2]
    windows = [padded[y:y + height, x:x + width] for y in range(3) for x in range(3)]
    return (sum(windows) / 9).round().astype(np.uint8)


def write_clips(root: Path, clips: dict[str, list[np.ndarray]]) -> dict[str, list[Path]]:
    """Write clips below ``root`` and return them as ``find_sequences`` would."""
    paths = {}
    for name, clip in clips.items():
        paths[name] = [root / name / f"{t:04}.png" for t in range(len(clip))]
        for path, frame in zip(paths[name], clip, strict=True):
            write_image(path, frame)
    return paths


def write_flow(path: Path, flow: np.ndarray, visible: np.ndarray) -> None:
    """Write a true flow file as the generator of synthetic clips does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, flow=flow.astype(np.float16), visible=visible)
