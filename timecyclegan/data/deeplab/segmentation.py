"""A user's own segmentation network: TorchScript, ONNX, or a frozen TensorFlow graph."""
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from timecyclegan.data.deeplab.frozen_graph import read_frozen_graph
from timecyclegan.util.device import pick_device
from timecyclegan.util.errors import UserError
from timecyclegan.util.torchscript import brief, load_torchscript

TORCHSCRIPT, ONNX, TENSORFLOW = (".pt", ".pth", ".ts", ".torchscript"), ".onnx", (".pb", ".tar.gz", ".tgz", ".tar")


class Segmenter:
    """Classes of pictures, by a network from a file.

    The network takes float (N, 3, H, W), RGB, (a TensorFlow graph as its own format wants it) and gives scores
    (N, C, h, w), or classes (N, h, w) or (N, 1, h, w); of a dictionary "out" counts, of several results the first.
    ``range`` is what it takes 0 to 255 as, where its kind tells: (-1, 1) for DeepLab's graphs, else (0, 1).

    Args:
        path: its suffix says what it is.
        gpu: for TorchScript; OpenCV, which runs the others, computes on the CPU.
        start, end: nodes of a TensorFlow graph, see :func:`read_frozen_graph`.

    Raises:
        UserError: the file is missing or of an unknown or another kind.
    """

    def __init__(self, path: str | Path, gpu: int = -1, start: str = "", end: str = ""):
        self._path, self.range = Path(path), (0.0, 1.0)
        name, known = self._path.name.lower(), (*TORCHSCRIPT, ONNX, *TENSORFLOW)
        if not name.endswith(known):
            raise UserError(f"--model {path}: unknown kind of file; known are {' '.join(known)}")
        if not self._path.is_file():
            raise UserError(f"--model {path} does not exist")
        if name.endswith(TORCHSCRIPT):
            device = pick_device(gpu)
            module = load_torchscript(self._path, device, "--model")
            self._network: Callable[[np.ndarray], Any] = lambda pictures: module(torch.from_numpy(pictures).to(device))
            return
        import cv2

        # It prints what it also raises; 0 is silent. In OpenCV 4 and 5 the function lies in different places.
        (getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel)(0)
        try:
            if name.endswith(ONNX):
                network = cv2.dnn.readNetFromONNX(str(path))
            else:
                graph, deeplab = read_frozen_graph(self._path, start, end)
                network = cv2.dnn.readNetFromTensorflow(np.frombuffer(graph, np.uint8))
                self.range = (-1.0, 1.0) if deeplab else self.range
        except cv2.error as error:
            raise UserError(f"--model {path} cannot be run by OpenCV {cv2.__version__} ({brief(error)})") from error

        def run(pictures: np.ndarray) -> np.ndarray:
            network.setInput(pictures)
            return network.forward()

        self._network = run

    def __call__(self, pictures: np.ndarray, sizes: Sequence[tuple[int, int]]) -> list[np.ndarray]:
        """Classes, uint8 (height, width) each, of float32 pictures (N, 3, H, W), each at its own of the ``sizes``.

        Scores are interpolated before the best is chosen, classes are those of the nearest pixel.

        Raises:
            UserError: the network cannot take them, or gives neither scores nor classes.
        """
        shape = "x".join(map(str, pictures.shape))
        try:
            with torch.inference_mode():
                found = self._network(pictures)
        except Exception as error:  # whatever OpenCV, PyTorch or a compiled network raises
            raise UserError(f"--model {self._path} cannot take {shape} ({brief(error)}); try the --size that it was "
                            "made for, and --batch_size 1") from error
        if isinstance(found, dict):
            found = found.get("out", next(iter(found.values()), None))
        while isinstance(found, (tuple, list)):
            found = found[0] if found else None
        result = torch.as_tensor(found) if isinstance(found, (np.ndarray, torch.Tensor)) else torch.empty(0)
        if result.ndim not in (3, 4) or len(result) != len(pictures) or (result.ndim == 4 and result.shape[1] > 256):
            raise UserError(f"--model {self._path} gives {tuple(result.shape)} for {shape}; expected scores (N, C, h, "
                            "w) or classes (N, h, w)")
        if result.ndim == 4 and result.shape[1] > 1:
            full = (scores if scores.shape[1:] == size else functional.interpolate(
                scores[None].float(), size, mode="bilinear", align_corners=False)[0]  # (C, height, width)
                for scores, size in zip(result, sizes, strict=True))
            return [scores.argmax(0).to(torch.uint8).cpu().numpy() for scores in full]
        values = result.reshape(len(result), *result.shape[-2:]).cpu().numpy()
        with np.errstate(invalid="ignore"):
            classes = values.astype(np.uint8)
        if not (classes == values).all():
            raise UserError(f"--model {self._path} gives values from {values.min():g} to {values.max():g}; expected "
                            "classes, whole numbers from 0 to 255, or a channel of scores for each class")
        return [np.asarray(Image.fromarray(one).resize(size[::-1], Image.Resampling.NEAREST))
                for one, size in zip(classes, sizes, strict=True)]
