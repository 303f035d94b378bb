"""In place of a CUDA graph, on the CPU: records which operations a call computes on which tensors, and repeats them."""
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

READS = {"_local_scalar_dense", "equal", "is_nonzero", "nonzero", "masked_select"}  # a value, or a shape made of values
DRAWS = {"rand", "randn", "bernoulli_", "normal_", "uniform_", "random_", "randint", "randperm", "multinomial"}


class Recording(TorchDispatchMode):
    """All operations that are computed in its block, with the very tensors that they take and make."""

    def __init__(self):
        super().__init__()
        self.calls, self.before = [], {}

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = operation.overloadpacket.__name__
        assert name not in READS, f"{name} reads a value on the host"
        assert name not in DRAWS, f"{name} would draw other numbers, or the same ones again and again"
        for place, argument in enumerate(operation._schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                written = args[place] if place < len(args) else kwargs.get(argument.name)
                for tensor in tree_leaves(written):
                    storage = tensor.untyped_storage()
                    self.before.setdefault(storage.data_ptr(), (storage, storage.clone()))
        made = operation(*args, **kwargs)
        self.calls.append((operation, args, kwargs, made))
        return made

    def undo(self):
        """A graph that is recorded computes nothing: give all that was written to its old values."""
        for storage, before in self.before.values():
            storage.copy_(before)

    def repeat(self):
        """Compute them again on what the tensors hold now: what they made gets its new values, in its old place."""
        with torch._C._AutoDispatchBelowAutograd():
            for operation, args, kwargs, made in self.calls:
                for place, value in zip(tree_leaves(made), tree_leaves(operation(*args, **kwargs)), strict=True):
                    if isinstance(place, Tensor) and place.data_ptr() != value.data_ptr():
                        place.copy_(value)


def recorder(call):
    """See ``util.cuda_graph.CapturedFunction``."""
    with Recording() as recording:
        outputs = call()
    recording.undo()
    return outputs, recording.repeat
