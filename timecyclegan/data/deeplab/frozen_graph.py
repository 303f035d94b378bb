"""Frozen TensorFlow graphs: what lies between a network's input and its class scores, which OpenCV can compute."""
import tarfile
from pathlib import Path

from timecyclegan.util.errors import UserError, unknown

# In the graphs that DeepLab's export_model.py makes: the placeholder, and the picture after padding, in [-1, 1].
DEEPLAB_IMAGE, DEEPLAB_INPUT = "ImageTensor", "sub_7"
_FLOAT = 1  # DT_FLOAT of TensorFlow's types.proto


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
