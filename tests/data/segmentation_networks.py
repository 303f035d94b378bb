"""Networks whose answer is known: the class whose colour is nearest, as TorchScript, ONNX and TensorFlow files."""
import tarfile
import warnings
from io import BytesIO

import numpy as np
import torch

from timecyclegan.datasets.labels import CITYSCAPES_TRAIN

COLOURS = np.array([label.colour for label in CITYSCAPES_TRAIN[:19]], np.float32)
FLOAT, INT32, INT64, UINT8 = 1, 3, 9, 4  # TensorFlow's types


def nearest(low=0.0, high=1.0):
    """Weights (19, 3) and biases (19,) of scores for pictures in [low, high]: -|x - c|^2 without the part of x."""
    colours = COLOURS / 255 * (high - low) + low
    return 2 * colours, -(colours**2).sum(axis=1)


class Nearest(torch.nn.Module):
    """Scores of pictures that were scaled to (x - mean) / std."""

    def __init__(self, mean=0.0, std=1.0):
        super().__init__()
        weight, bias = nearest()
        self.scores = torch.nn.Conv2d(3, len(weight), 1)
        self.scores.weight.data = torch.from_numpy(weight)[..., None, None]
        self.scores.bias.data = torch.from_numpy(bias)
        self.mean, self.std = (torch.tensor(value).reshape(-1, 1, 1) for value in (mean, std))

    def forward(self, x):
        return self.scores(x * self.std + self.mean)


def torchscript(path, network=None, size=(8, 8)):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(network or Nearest(), torch.rand(1, 3, *size), strict=False).save(str(path))
    return path


def onnx_file(path, onnx, classes=False):
    weight, bias = nearest()
    make = onnx.helper
    nodes = [make.make_node("Conv", ["x", "w", "b"], ["scores"], kernel_shape=[1, 1])]
    result = make.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, ["n", 19, "h", "w"])
    if classes:
        nodes.append(make.make_node("ArgMax", ["scores"], ["classes"], axis=1, keepdims=0))
        result = make.make_tensor_value_info("classes", onnx.TensorProto.INT64, ["n", "h", "w"])
    graph = make.make_graph(
        nodes, "nearest", [make.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 3, "h", "w"])], [result],
        [onnx.numpy_helper.from_array(weight[..., None, None], "w"), onnx.numpy_helper.from_array(bias, "b")])
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def frozen_graph(low=0.0, high=1.0, deeplab=True):
    """A frozen graph; as DeepLab's are, with the preparation of the picture before it and the choice after it."""
    from tensorboard.compat.proto.graph_pb2 import GraphDef

    graph = GraphDef()

    def node(name, op, *inputs, **types):
        new = graph.node.add(name=name, op=op, input=inputs)
        for key, value in types.items():
            new.attr[key].type = value
        return new

    def constant(name, value):
        kind = FLOAT if value.dtype == np.float32 else INT32
        tensor = node(name, "Const", dtype=kind).attr["value"].tensor
        tensor.dtype, tensor.tensor_content = kind, value.tobytes()
        for length in value.shape:
            tensor.tensor_shape.dim.add(size=length)

    weight, bias = nearest(low, high)
    constant("w", np.ascontiguousarray(weight.T[None, None]))  # height, width, in, out
    constant("b", bias)
    if deeplab:
        node("ImageTensor", "Placeholder", dtype=UINT8)
        node("Cast", "Cast", "ImageTensor", SrcT=UINT8, DstT=FLOAT)
        constant("scale", np.float32([2 / 255]))
        constant("one", np.float32([1]))
        node("mul_1", "Mul", "Cast", "scale", T=FLOAT)
        node("sub_7", "Sub", "mul_1", "one", T=FLOAT)
    else:
        node("picture", "Placeholder", dtype=FLOAT)
    conv = node("Conv2D", "Conv2D", "sub_7" if deeplab else "picture", "w", T=FLOAT)
    conv.attr["strides"].list.i.extend([1, 1, 1, 1])
    conv.attr["padding"].s, conv.attr["data_format"].s = b"SAME", b"NHWC"
    node("logits", "BiasAdd", "Conv2D", "b", *["^Cast"] * deeplab, T=FLOAT)
    if deeplab:
        node("Shape", "Shape", "ImageTensor", T=UINT8, out_type=INT32)
        node("ResizeBilinear_2", "ResizeBilinear", "logits", "Shape", T=FLOAT)
        constant("axis", np.int32([3]))
        node("ArgMax", "ArgMax", "ResizeBilinear_2", "axis", T=FLOAT, Tidx=INT32, output_type=INT64)
        node("SemanticPredictions", "Squeeze", "ArgMax", T=INT64)
    return graph.SerializeToString()


def tarball(path, **files):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"deeplab/{name}.pb")
            member.size = len(content)
            archive.addfile(member, BytesIO(content))
    return path
