"""The model type flownet: by name, and by the scripts."""
import hashlib
import json
from pathlib import Path

import pytest
import torch

from tests import test_commands
from tests.evaluation.helpers import moving, write_clips
from tests.seeded import seeded_weights
from timecyclegan import get_model, get_task
from timecyclegan.flow import flow_backend
from timecyclegan.models import calculate_block_size, default_options
from timecyclegan.util.errors import UserError

folder, script, refused, pictures = (
    test_commands.folder, test_commands.script, test_commands.refused, test_commands.pictures
)  # fmt: skip
FLOWNET = ["-m", "flownet", "-gpu", "-1", "-ih", "48", "-iw", "64"]


@pytest.fixture(autouse=True)
def empty_hub(tmp_path_factory):
    """No published weights."""
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path_factory.mktemp("hub")))
    yield
    torch.hub.set_dir(before)


@pytest.fixture
def source(folder):
    write_clips(folder / "in", {"a/b": moving(3), "c": moving(2, seed=1)})
    return folder / "in"


def test_model_is_the_back_end():
    frames = torch.rand(2, 2, 3, 20, 30) * 2 - 1
    for name in ("farneback", "dis"):
        model = get_model("flownet", default_options("flownet", flow_backend=name))
        assert isinstance(model, torch.nn.Module) and get_task("flownet") == "other"
        assert calculate_block_size(model.options) == 2
        for found, expected in zip(model(*frames), flow_backend(name)(*frames), strict=True):
            assert torch.equal(found, expected)
    with pytest.raises(UserError, match="did you mean farneback"):
        get_model("flownet", default_options("flownet", flow_backend="farnebak"))


def test_flow_of_a_folder_needs_no_trained_run(script, source, capsys):
    assert script("test", "street", source, *FLOWNET) == 0
    said = capsys.readouterr().out
    assert "optical flow by farneback" in said and "FlowNet2 would be taken if there were" in said
    assert set(pictures("results/street")) == {f"{s}/000{t}.png" for s, n in (("a/b", 3), ("c", 2)) for t in range(n)}
    assert {test_commands.size(path) for path in Path("results").rglob("*.png")} == {(48, 64)}
    facts = json.loads(Path("results/street/flow.json").read_text())
    assert facts.pop("scale_px").keys() == {"a/b", "c"}
    assert facts == {"flow_backend": "farneback", "flow_weights": None, "flow_weights_sha256": None}
    assert {path.name for path in Path("results/street/videos").rglob("*.webm")} == {"b.webm", "c.webm"}
    assert not Path("checkpoints").exists()


def test_flow_is_saved_where_asked(script, source):
    for save in ("flo", "npz"):
        assert script("test", save, source, *FLOWNET, "--flow_backend", "dis", "--save_flow", save) == 0
        found = {path.relative_to(f"results/{save}").as_posix() for path in Path("results").rglob(f"*.{save}")}
        assert found == {f"a/b/0001.{save}", f"a/b/0002.{save}", f"c/0001.{save}"}


def test_weights_are_named_with_their_hash(script, source, folder):
    from torchvision.models.optical_flow import raft_small

    network = raft_small(weights=None).state_dict()
    state = network | seeded_weights({k: v.shape for k, v in network.items() if v.is_floating_point()})
    torch.save(state, folder / "raft.pth")
    assert script("test", "street", source, *FLOWNET, "--flow_backend", "raft_small", "--flow_weights", "raft.pth") == 0
    facts = json.loads(Path("results/street/flow.json").read_text())
    digest = hashlib.sha256((folder / "raft.pth").read_bytes()).hexdigest()
    assert (facts["flow_backend"], facts["flow_weights"], facts["flow_weights_sha256"]) == (
        "raft_small", "raft.pth", digest)  # fmt: skip


def test_a_target_is_not_read_but_mentioned(script, source, capsys):
    assert script("test", "street", source, "/nowhere", *FLOWNET) == 0
    assert "/nowhere is not read" in capsys.readouterr().out


def test_there_is_nothing_to_train_or_to_measure(refused, source):
    for command, folders in (("train", 2), ("val", 2), ("trainval", 4)):
        line = refused(command, "street", *["in"] * folders, *FLOWNET)
        assert "--model_type flownet is not trained" in line and "test NAME SOURCE --model_type flownet draws" in line
        assert {path.name for path in Path().iterdir()} <= {"command_log.txt", "in"}


def test_what_cannot_be_drawn(refused, source):
    for argv, part in (
        (["in", "--flow_backend", "flownet2"], "FlowNet2_checkpoint.pth.tar"),
        (["in", "--flow_backend", "raft", "--flow_weights", "none.pth"], "none.pth"),
        (["in", "--flow_backend", "dis", "--flow_weights", "x"], "--flow_backend dis has no weights"),
        (["in", "--flow_backend", "diss"], "did you mean dis?"), (["in", "-tie", "3"], "it has no epochs"),
        (["in", "--save_flow", "flow"], "--save_flow must be one of off, flo, npz"),
        (["-"], "needs test_source_dir"), (["/nowhere"], "/nowhere"),
        (["in", "-tts"], "for unpaired models, --model_type flownet"),
    ):  # fmt: skip
        assert part in refused("test", "street", *argv, *FLOWNET)
        assert not Path("results").exists()


def test_results_of_a_trained_run_are_not_overwritten(refused, source):
    default_options("pix2pix").save("checkpoints/street/options.json")
    line = refused("test", "street", source, *FLOWNET)
    assert "--model_type flownet contradicts the checkpoint, which was made with 'pix2pix'" in line
    assert "--save_flow is for --model_type flownet" in refused("test", "street", source, "--save_flow", "npz")
