"""What autograd's graph of a tensor tells: what it depends on, how often, and where its elements were made."""
from collections import Counter

from torch import Tensor
from torch.autograd.graph import GradientEdge, Node

# Steps of a graph that only move elements: a clip may be given in another form than it was made in.
_MOVES = ("View", "UnsafeView", "ReshapeAlias", "Stack", "Unbind", "Cat", "Slice", "Select", "Split", "Permute", "T",
          "Transpose", "Squeeze", "Unsqueeze", "Clone", "Alias", "ToCopy", "Flip", "Roll")  # fmt: skip


def ways(*roots: Tensor | Node | None) -> Counter[Node]:
    """The nodes of the graph behind ``roots``, and on how many ways each of them is reached (9: nine or more)."""
    begins = [root.grad_fn if isinstance(root, Tensor) else root for root in roots]
    found, following = Counter(node for node in begins if node is not None), {}
    ahead = [*found]
    while ahead:
        if (node := ahead.pop()) not in following:
            following[node] = [one for one, _ in node.next_functions if one is not None]
            ahead += following[node]
    uses = Counter(one for some in following.values() for one in some)
    ready = [node for node in following if not uses[node]]
    while ready:
        for one in following[node := ready.pop()]:
            found[one], uses[one] = min(found[one] + found[node], 9), uses[one] - 1
            ready += [] if uses[one] else [one]
    return found


def leaves(*roots: Tensor | None) -> set[int]:
    """The parameters, or other tensors that learn, which the graph of ``roots`` begins with."""
    return {id(node.variable) for node in ways(*roots) if hasattr(node, "variable")}


def origins(clip: Tensor) -> set[GradientEdge]:
    """Where in its graph the elements of a ``clip`` were made, before they were only moved to other places."""
    found, ahead = set(), [(clip.grad_fn, clip.output_nr)]
    while ahead:
        node, number = ahead.pop()
        moves = node is not None and node.name().split("Backward")[0] in _MOVES
        ahead += node.next_functions if moves else ()
        found |= set() if moves or node is None else {GradientEdge(node, number)}
    return found
