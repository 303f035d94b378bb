"""Exported models: what a file makes, without this package, is what our inference makes of the same frames."""
import dataclasses
import json
import logging
import multiprocessing
import os
import re
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.clips import decode, moving, write_clip
from tests.training.helpers import small
from timecyclegan import export as exporting
from timecyclegan.inference.streaming import noise_generator, stream
from timecyclegan.inference.trained import load_model, load_options
from timecyclegan.models import MODELS, get_model, get_task
from timecyclegan.models.networks.unet import UnetGenerator
from timecyclegan.training.checkpoint import CHECKPOINTS, LATEST, OPTIONS
from timecyclegan.util import weights
from timecyclegan.util.options import Options
from timecyclegan.video.frames import to_uint8, to_video

ROOT = Path(__file__).parents[1]
ONE, THREE = ("a",), ("a", "b", "c")  # names of sequences side by side
FRAMES = 30
# The kinds of graphs that there are; `pytest -m slow` has every model type.
KINDS = {
    "recurrent": ("timecyclevid2vid", {"n_frames_generator": 2}),
    "window": ("pix2pix", {"block_size": 3, "norm": "batch", "generator_architecture": "unet_128",
                           "image_height": 128, "image_width": 128}),
    "noise": ("timecycledcgan", {"generator_filters": 8}),  # with 2 it is chaotic: so differs float64
    "code": ("dcgan", {}),
}  # fmt: skip


def new_run(name, model_type, **changes):
    """A run that has not learned anything; batch norm has seen something."""
    torch.manual_seed(3)
    options = Options(**small(model_type, **changes))
    model = get_model(model_type, options, training=False)
    for key, value in model.state_dict().items():  # in place
        if key.endswith("running_var"):
            value.uniform_(0.001, 0.01)
    if model.takes_code:
        value.mul_(10)  # of the last layer: contrasts that survive in a video
    weights.save(CHECKPOINTS / name / LATEST, {"networks": {k: n.state_dict() for k, n in model.networks().items()}})
    dataclasses.replace(options, block_size=model.options.block_size).save(CHECKPOINTS / name / OPTIONS)
    return options


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    path, before = tmp_path_factory.mktemp("exported"), Path.cwd()
    os.chdir(path)
    for name, (model_type, changes) in KINDS.items():
        new_run(name, model_type, **changes)
    yield path
    os.chdir(before)


def export(*arguments):
    """Run the command in a process of its own: once PyTorch has traced, its backward starts threads, with which this
    process could not be forked for other tests."""
    logging.getLogger("torch.__trace").propagate = False  # pytest would ask for all of it
    process = multiprocessing.get_context("fork").Process(target=lambda: sys.exit(exporting.main(list(arguments))))
    process.start()
    process.join()
    assert process.exitcode == 0


@pytest.fixture(scope="module")
def exported(folder):
    """By run, its ONNX file in ONNX Runtime, made when it is first asked for."""
    runtime, _ = pytest.importorskip("onnxruntime"), pytest.importorskip("onnxscript")
    sessions = {}

    def get(name):
        if name not in sessions:
            export(name, f"{name}.onnx")
            sessions[name] = runtime.InferenceSession(f"{name}.onnx", providers=["CPUExecutionProvider"])
        return sessions[name]

    return get


def our_frames(name, sources, rows):
    """What our inference makes of sources (N, T, 3, H, W): (N, T, 3, H, W)."""
    model = load_model(name, load_options(name))
    height, width = sources.shape[-2:]
    if any(isinstance(network, UnetGenerator) for network in model.modules()):  # which takes no others
        below, right = -height % 128, -width % 128
        sources = torch.from_numpy(np.pad(sources.numpy(), [(0, 0)] * 3 + [(0, below), (0, right)], "edge"))
    if model.task == "unconditional":
        sources = sources[:, :, :0]
    made = {row: [] for row in rows}
    for row, frame in stream(model, dict(zip(rows, sources, strict=True)), seed=4):
        made[row].append(frame[:, :height, :width])
    return torch.stack([torch.stack(frames) for frames in made.values()])


def their_frames(session, sources, rows, codes=None):
    """The same by a file, told nothing but what it says of itself."""
    call = session if callable(session) else lambda given: session.run(None, given)
    facts = json.loads(session.get_modelmeta().custom_metadata_map["timecyclegan"])
    sides = {"batch": len(rows), "height": sources.shape[-2], "width": sources.shape[-1]}
    shapes = {name: [sides.get(side, side) for side in shape] for name, shape in facts["inputs"].items()}
    given, k, frames = {}, facts["context"], []
    if "state" in shapes:  # by the rule that it states, in its own words
        rule = facts["state_start"]["seed_rule"].split(": ", 1)[1].replace("state's shape without batch", "*shape")
        known = {"torch": torch, "numpy": np, "zlib": zlib, "seed": 4, "shape": shapes["state"][1:]}
        state = [eval(rule, known | {"name": row.encode()}) for row in rows]
        given["state"] = torch.stack(state).numpy()
    for t in range(sources.shape[1]):
        around = [min(max(t + d, 0), sources.shape[1] - 1) for d in range(-k, k + 1)]
        values = {**given, "source": sources[:, around].numpy(), "code": None if codes is None else codes[t].numpy()}
        frame, *state = call({name: values[name] for name in shapes})
        assert frame.shape == (len(rows), 3, *sources.shape[-2:])
        if state:
            given["state"] = state[0]
        frames.append(torch.from_numpy(frame))
    return torch.stack(frames, dim=1)


def check(name, session, size, rows, frames=FRAMES):
    """The file and our inference, each with the frames that it made itself."""
    sources = torch.rand(len(rows), frames, 3, *size, generator=torch.Generator().manual_seed(1)) * 2 - 1
    codes = None
    if get_task(load_options(name).model_type) != "unconditional" or load_model(name, load_options(name)).recurrent:
        ours = our_frames(name, sources, rows)
    else:  # of a code each
        codes = torch.randn(frames, len(rows), 100, 1, 1)
        with torch.no_grad():
            ours = torch.stack([load_model(name, load_options(name)).generator(code) for code in codes], dim=1)
    theirs = their_frames(session, sources, rows, codes)
    assert ours.std() > 0.03 and (ours[:, 0] - ours[:, -1]).abs().mean() > 0.01
    assert (theirs - ours).abs().max() < 1e-4


def sizes_of(name):
    if get_task(load_options(name).model_type) == "unconditional":
        return [((64, 64), THREE)]
    return [((64, 96), ONE), ((65, 97), THREE)]


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=[pytest.mark.slow] * (name == "window")) for name in KINDS])
def test_thirty_frames_are_our_own(name, exported):
    for size, rows in sizes_of(name):
        check(name, exported(name), size, rows)


@pytest.mark.parametrize("model_type", MODELS)
def test_what_is_traced_is_our_inference_for_every_model_type(model_type):
    """Before it becomes a file, and for each direction."""
    new_run("each", model_type)
    options = load_options("each")
    model = load_model("each", options)
    size = (64, 64) if model.task == "unconditional" else (65, 97)
    clips = {row: torch.rand(3, model.condition_channels, *size) * 2 - 1 for row in THREE}
    for domain in model.domains:
        frame = exporting.Frame(load_model("each", options), domain).eval()
        shapes = exporting.interface(frame, options)
        with torch.inference_mode():
            if model.takes_code:
                code = torch.randn(3, 100, 1, 1)
                assert torch.equal(frame(code=code), model.generator(code))
                continue
            first = torch.stack([clip[:1] for clip in clips.values()])
            state = model.initial_state([noise_generator(0, row) for row in THREE], first[:, 0])
            for t, ours in enumerate(zip(*[iter(stream(model, clips, domain=domain))] * 3, strict=True)):
                source = torch.stack([clip[t : t + 1] for clip in clips.values()])
                given = {name: value for name, value in (("source", source), ("state", state)) if name in shapes.inputs}
                made = frame(**given)
                made, state = made if model.recurrent else (made, None)
                assert torch.equal(made, torch.stack([picture for _, picture in ours]))


@pytest.mark.slow
@pytest.mark.parametrize("model_type", MODELS)
def test_thirty_frames_of_every_model_type(model_type, exported):
    new_run(model_type, model_type, **({"generator_filters": 8} if get_task(model_type) == "unconditional" else {}))
    for size, rows in sizes_of(model_type):
        check(model_type, exported(model_type), size, rows)


# ---- what a file says, and who can run it


@pytest.mark.slow
def test_a_file_says_what_it_wants(exported):
    facts = json.loads(exported("window").get_modelmeta().custom_metadata_map["timecyclegan"])
    assert {key: facts[key] for key in ("run", "model_type", "domain", "epoch", "size", "smallest_size", "context",
                                        "frames_per_call", "channel_order", "value_range", "source_pixels")} == {
        "run": "window", "model_type": "pix2pix", "domain": "target", "epoch": "newest", "size": [128, 128],
        "smallest_size": 1, "context": 1, "frames_per_call": 3, "channel_order": "RGB", "value_range": [-1, 1],
        "source_pixels": "pictures"}  # fmt: skip
    for name in KINDS:
        session = exported(name)
        facts = json.loads(session.get_modelmeta().custom_metadata_map["timecyclegan"])
        assert {port.name: port.shape for port in session.get_inputs()} == facts["inputs"]
        assert {port.name: port.shape for port in session.get_outputs()} == facts["outputs"]
        assert str(ROOT).encode() not in Path(f"{name}.onnx").read_bytes()  # nothing of this machine
        assert ("state_start" in facts) == ("state" in facts["inputs"]) == (name in ("recurrent", "noise"))
    assert facts["inputs"] == {"code": ["batch", 100, 1, 1]} and facts["smallest_size"] is None


def test_a_file_says_what_its_source_was_made_of(folder, monkeypatch):
    """What ``prepare_video`` left with the run; not on the way back, which begins with the other domain's frames."""
    new_run("made", "cyclegan", source_pixels="labels", target_pixels="flow")
    (CHECKPOINTS / "made" / "prepare_video.json").write_text('{"settings": {"source": "edges", "height": 12}}')
    for domain, pixels, prepared in (("target", "labels", {"source": "edges", "height": 12}), ("source", "flow", None)):
        monkeypatch.setitem(exporting.FORMATS, ".pt2", lambda program, shapes, facts, path: path.write_text(facts))
        monkeypatch.setattr(exporting, "trace", lambda frame, shapes: None)
        facts = exporting.export("made", "made.pt2", domain=domain)
        assert (facts["source_pixels"], facts["prepare_video"]) == (pixels, prepared)
        assert json.loads(Path("made.pt2").read_text()) == facts


def without(packages, code, *arguments):
    """Run code in a process in which these packages cannot be imported."""
    blocked = f"import sys\nfor name in {packages!r}: sys.modules[name] = None\n"
    found = subprocess.run([sys.executable, "-c", blocked + code, *map(str, arguments)], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    return found.stdout


@pytest.mark.slow
def test_a_pt2_file_runs_without_this_package(folder):
    """At any size, with PyTorch alone; a U-Net's padding too, down to a feature map of one pixel."""
    code = """
import json, sys, torch
for name in ("recurrent", "window"):
    files = {"timecyclegan.json": ""}
    module = torch.export.load(f"{name}.pt2", extra_files=files).module()
    given = torch.load(f"{name}.given")
    made = [module(**values) for values in given]
    torch.save({"made": made, "facts": json.loads(files["timecyclegan.json"])}, f"{name}.made")
"""
    sizes, expected = [(1, 64, 96), (3, 65, 97), (1, 128, 130)], {}
    for name in ("recurrent", "window"):
        export(name, f"{name}.pt2")
        frame = exporting.Frame(load_model(name, load_options(name)), "target").eval()
        given = [{"source": torch.rand(n, 1 if name == "recurrent" else 3, 3, h, w) * 2 - 1} for n, h, w in sizes]
        if name == "recurrent":
            given = [{**values, "state": torch.randn(n, 2, 3, h, w)}
                     for values, (n, h, w) in zip(given, sizes, strict=True)]  # fmt: skip
        torch.save(given, f"{name}.given")
        with torch.no_grad():
            expected[name] = [frame(**values) for values in given]
    without(["timecyclegan", "onnx"], code)
    for name, made in expected.items():
        found = torch.load(f"{name}.made")
        torch.testing.assert_close(found["made"], made, atol=1e-5, rtol=0)
        assert found["facts"]["run"] == name


EXAMPLE = ROOT / "examples" / "run_exported.py"


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=[pytest.mark.slow] * (name != "code")) for name in ("recurrent", "window", "code")])
def test_the_example_makes_a_video_of_a_video(name, exported, folder):
    """Without PyTorch and this package: what our inference makes of the frames, by the noise that it draws."""
    exported(name)
    model, count = load_model(name, load_options(name)), 4
    height, width = model.options.image_height, model.options.image_width
    clip = write_clip(folder / "in.mkv", moving(count, height, width), "ffv1", pix_fmt="bgr0")
    run = "import sys, runpy\nsys.argv = sys.argv[1:]\nrunpy.run_path(sys.argv[0], run_name='__main__')"
    without(["torch", "torchvision", "timecyclegan", "cv2"], run, EXAMPLE, f"{name}.onnx", clip, "out.mkv", 4)
    random, sources = np.random.default_rng(4), to_video(np.stack(decode(clip)))

    def noise(*shape):
        return torch.from_numpy(random.standard_normal(shape, np.float32))

    with torch.inference_mode():
        if name == "code":
            frames = [model.generator(noise(1, 100, 1, 1))[0] for _ in range(count)]
        elif name == "window":
            frames = [frame for _, frame in stream(model, {"": sources})]
        else:
            frames, state = [], noise(1, 2, 3, height, width)
            for source in sources:
                frame, state = model.translate_frame(source[None, None], state)
                frames.append(frame[0])
    expected = decode(write_clip(folder / "expected.mkv", np.stack([to_uint8(frame) for frame in frames])))
    made = decode("out.mkv")
    assert len(made) == count and np.stack(made).shape == np.stack(expected).shape
    off, others = (np.abs(np.stack(made).astype(int) - frames).mean() for frames in (expected, expected[::-1]))
    assert off < 0.3 * others and others > 0.3  # encoding is lossy


def test_a_file_refuses_a_size_that_its_networks_cannot_take(exported):
    with pytest.raises(Exception, match=r"(?s)invalid dimensions for input: state.*Got: 96 Expected: 64"):
        exported("noise").run(None, {"state": np.zeros((1, 1, 3, 64, 96), np.float32)})


def test_the_example_is_forty_lines_of_three_packages():
    lines = EXAMPLE.read_text().splitlines()
    imported = {line.split()[1] for line in lines if line.startswith(("import", "from"))}
    assert len(lines) <= 45 and imported - sys.stdlib_module_names == {"av", "numpy", "onnxruntime"}


# ---- what cannot be


@pytest.mark.parametrize("arguments, told", [
    (["nobody", "a.onnx"], "there is no run called nobody"),
    (["recurent", "a.pt2"], "there is no run called recurent"),
    (["recurrent", "a.pth"], "a.pth ends in .pth: a model is exported to a file that ends in .onnx or .pt2"),
    (["recurrent", "onnx"], "onnx ends in nothing"),
    (["recurrent", "-"], "- ends in nothing"),
    (["recurrent", "file/a.pt2"], "cannot write file/a.pt2: .*file is not a folder"),
    (["recurrent", "/proc/a.pt2"], "cannot write /proc/a.pt2: "),
    (["recurrent", "dir.pt2"], "dir.pt2: it is a folder"),
    (["recurrent", "a.pt2", "-tie", "3"], "3"),
    (["recurrent", "a.pt2", "-tts"], "--test_unpaired_target_to_source is for unpaired models, --model_type timecycle"),
    (["recurrent", "a.pt2", "-gf", "9"], "--generator_filters 9 contradicts the checkpoint"),
    (["recurrent", "a.pt2", "-ih", "0"], "--image_height must be above 0"),
    (["recurrent", "a.pt2", "--gpu", "1"], "--gpu is not known"),
    (["../recurrent", "a.pt2"], "NAME must be a plain folder name"),
    (["code", "a.pt2", "-ih", "128", "-iw", "128"], "generator"),
    (["flow_alone", "a.pt2", "-m", "flownet"], "--model_type flownet is not trained and generates nothing"),
    (["recurrent"], "OUT"),
])  # fmt: skip
def test_one_line_says_what_is_wrong(arguments, told, folder, capsys):
    Path("file").touch()
    Path("dir.pt2").mkdir(exist_ok=True)
    before = sorted(folder.rglob("*"))
    assert exporting.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(told, line), line
    assert sorted(folder.rglob("*")) == before


def test_onnx_has_to_be_installed_and_pt2_does_without(monkeypatch, capsys):
    find = exporting.importlib.util.find_spec
    monkeypatch.setattr(exporting.importlib.util, "find_spec", lambda name: None if "onnx" in name else find(name))
    assert exporting.main(["recurrent", "b.onnx"]) == 2 and not Path("b.onnx").exists()
    told = "writing ONNX needs onnx and onnxscript, which are not installed: pip install onnx onnxscript, or write a "
    assert capsys.readouterr().err == f"error: b.onnx: {told}.pt2 file\n"


def test_nothing_is_left_half_written(monkeypatch, folder):
    """A file that is there stays as it was."""
    Path("old.pt2").write_text("old")

    def broken(*arguments):
        arguments[-1].write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(exporting.FORMATS, ".pt2", broken)
    monkeypatch.setattr(exporting, "trace", lambda frame, shapes: None)
    before = sorted(folder.rglob("*"))
    assert exporting.main(["recurrent", "old.pt2"]) == 2
    assert Path("old.pt2").read_text() == "old" and sorted(folder.rglob("*")) == before
