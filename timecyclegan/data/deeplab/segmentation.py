"""A user's own segmentation network: TorchScript, ONNX, or of a frozen TensorFlow graph what OpenCV can compute."""
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from timecyclegan.util.device import pick_device
from timecyclegan.util.errors import UserError, failed, unknown
from timecyclegan.util.names import user_path
from timecyclegan.util.torchscript import brief, load_torchscript

TORCHSCRIPT, ONNX, TENSORFLOW = (".pt", ".pth", ".ts", ".torchscript"), ".onnx", (".pb", ".tar.gz", ".tgz", ".tar")
# In the graphs that DeepLab's export_model.py makes: the placeholder, and the picture after padding, in [-1, 1].
DEEPLAB_IMAGE, DEEPLAB_INPUT = "ImageTensor", "sub_7"
_FLOAT = 1  # DT_FLOAT of TensorFlow's types.proto


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
        self._path, self.range = user_path(path), (0.0, 1.0)
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
            what = f"--model {path} cannot be run by OpenCV {cv2.__version__}"
            raise failed(what, error, f"{what} ({brief(error)})") from error

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
            what = f"--model {self._path} cannot take {shape}"
            raise failed(what, error, f"{what} ({brief(error)}); try the --size that it was made for, and "
                         "--batch_size 1") from error
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


def read_frozen_graph(path: Path, start: str = "", end: str = "") -> tuple[bytes, bool]:
    """The network of a ``.pb`` file, or of ``frozen_inference_graph.pb`` in a tarball, without what is around it: the
    preparation of the picture, which OpenCV does not know, and the choice of the best class, whose axis it mistakes.

    Args:
        start: the node that becomes the input; by default DeepLab's, else the placeholder.
        end: the node with the scores; by default what the last ArgMax looks at, before it is enlarged.

    Returns:
        a serialized GraphDef from a placeholder of floats to the scores; whether it was cut out of one of DeepLab's.

    Raises:
        UserError: the file is missing or no frozen graph, there is no such node, or the nodes are not connected.
    """
    from tensorboard.compat.proto.graph_pb2 import GraphDef  # TensorBoard has TensorFlow's format; a slow import

    graph = GraphDef()
    try:
        graph.ParseFromString(_bytes(path))
    except (OSError, tarfile.TarError) as error:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise UserError(f"cannot read model {path}: {reason}") from error
    except Exception as error:  # protobuf's own kinds, which differ from version to version
        raise UserError(f"{path} holds no frozen TensorFlow graph ({error})") from error
    nodes = {node.name: node for node in graph.node}
    deeplab = not start and {DEEPLAB_IMAGE, DEEPLAB_INPUT} <= set(nodes)
    placeholders = [DEEPLAB_INPUT] if deeplab else [name for name, node in nodes.items() if node.op == "Placeholder"]
    if not start and len(placeholders) != 1:
        raise UserError(f"{path} has {len(placeholders)} placeholders ({', '.join(placeholders)}); say which node is "
                        "the input with --input")
    start, end = start or placeholders[0], end or _scores(path, nodes)
    for flag, name in (("--input", start), ("--output", end)):
        if name not in nodes:
            raise unknown(flag, name, nodes)
    cut = GraphDef(versions=graph.versions)
    cut.node.add(name=start, op="Placeholder").attr["dtype"].type = _FLOAT
    needed = _between(path, nodes, start, end)
    cut.node.extend(node for node in graph.node if node.name in needed)
    for node in cut.node:
        node.input[:] = [name for name in node.input if not name.startswith("^")]  # what only has to be done before
    return cut.SerializeToString(), deeplab


def _bytes(path: Path) -> bytes:
    if path.suffix == ".pb":
        return path.read_bytes()
    with tarfile.open(path) as archive:
        for member in archive:
            if Path(member.name).name == "frozen_inference_graph.pb" and (file := archive.extractfile(member)):
                return file.read()
    raise UserError(f"{path} holds no frozen_inference_graph.pb; give the .pb file itself")


def _scores(path: Path, nodes: dict) -> str:
    if choices := [node for node in nodes.values() if node.op == "ArgMax"]:
        scores = _node(choices[-1].input[0])
        # An enlargement before the choice is left to us: its size hangs on the picture's in ways that OpenCV refuses.
        while scores in nodes and nodes[scores].op in ("ResizeBilinear", "Identity"):
            scores = _node(nodes[scores].input[0])
        return scores
    used = {_node(name) for node in nodes.values() for name in node.input}
    ends = [name for name in nodes if name not in used]
    if len(ends) != 1:
        raise UserError(f"{path} has no ArgMax and {len(ends)} ends; say which node has the scores with --output")
    return ends[0]


def _node(name: str) -> str:
    """The node that an input comes from: "^name" waits for it, "name:1" is its second output."""
    return name.removeprefix("^").split(":")[0]


def _between(path: Path, nodes: dict, start: str, end: str) -> set[str]:
    """The nodes that ``end`` needs, itself included, without ``start`` and what only that needs."""
    needed, ahead, used = {start}, [end], set()
    while ahead:
        if (name := ahead.pop()) in needed:
            continue
        if name not in nodes or nodes[name].op == "Placeholder":
            raise UserError(f"{path}: node {end} also needs {name}, which does not come from {start}; choose --input "
                            "and --output so that all that lies between them comes from the input")
        needed.add(name)
        ahead += [_node(name) for name in nodes[name].input if not name.startswith("^")]
        used.update(ahead)
    if start not in used:
        raise UserError(f"{path}: node {end} does not depend on {start}; choose another --input or --output")
    return needed - {start}
