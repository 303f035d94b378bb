"""Reading FlowNet2's weights, with a small network in its place."""
import os

import numpy as np
import pytest
import torch
from torch import nn

from timecyclegan.models.networks.flownet2_pytorch import checkpoint
from timecyclegan.util.errors import UserError

STATE = {"layer.weight": torch.tensor([[1.0, 2.0]]), "layer.bias": torch.tensor([3.0])}


class Small(nn.Module):
    """A network of one layer."""

    def __init__(self, rgb_max):
        super().__init__()
        self.rgb_max, self.layer = rgb_max, nn.Linear(2, 1)


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "FlowNet2", Small)
    return tmp_path / "FlowNet2_checkpoint.pth.tar"


def test_what_was_saved_is_loaded(path):
    for archive, best in ((False, 1.5), (True, np.float32(1.5)), (False, np.float64(1.5)), (True, 1.5)):
        content = {"arch": "FlowNet2", "epoch": 3, "best_EPE": best, "state_dict": STATE}
        torch.save(content, path, _use_new_zipfile_serialization=archive)
        net = checkpoint.load_checkpoint(path, rgb_max=1.0)
        assert net.rgb_max == 1 and not net.training
        for name, value in net.named_parameters():
            assert torch.equal(value, STATE[name]) and not value.requires_grad


def test_a_number_of_numpy_1(path):
    torch.save({"best_EPE": np.float64(1.5), "state_dict": STATE}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    assert b"numpy._core.multiarray" in content
    path.write_bytes(content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert checkpoint.load_checkpoint(path)


def refused(path) -> str:
    with pytest.raises(UserError) as error:
        checkpoint.load_checkpoint(path)
    message = str(error.value)
    assert "\n" not in message
    assert str(path) in message
    assert "FlowNet2_checkpoint.pth.tar, 650 MB, is linked at https://github.com/NVIDIA/flownet2-pytorch" in message
    return message


def test_a_missing_or_damaged_file(path):
    assert "are not at" in refused(path)
    torch.save({"state_dict": STATE}, path, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    for content in (b"", b"<html>not found</html>", whole[:len(whole) // 2], whole[:-4]):
        path.write_bytes(content)
        assert "cannot be read" in refused(path)


class Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def test_a_file_with_code_is_refused_and_not_run(path, tmp_path):
    for archive in (False, True):
        torch.save({"state_dict": STATE, "best_EPE": Hostile(tmp_path / "mark")}, path,
                   _use_new_zipfile_serialization=archive)
        assert "holds more than weights" in refused(path)
        assert not (tmp_path / "mark").exists()


def test_a_file_of_something_else(path):
    states = (3, {}, {**STATE, "other": torch.zeros(1)}, {**STATE, "layer.bias": torch.zeros(2)},
              {**STATE, "layer.bias": 3})  # fmt: skip
    for content in (STATE, [1], *({"state_dict": state} for state in states)):
        torch.save(content, path)
        assert "does not hold FlowNet2's weights" in refused(path)
