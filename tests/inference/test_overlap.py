"""Reading, translating and writing at the same time, on a GPU by replays: with the same pictures, and the same ends."""
import gc
import importlib
import os
import signal
import sys
import threading
import time
import warnings
import weakref
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

import timecyclegan
from tests.clips import decode, moving, write_clip
from tests.inference.test_streaming import any_model
from tests.recorder import recorder
from tests.training.helpers import TINY, message, train, write_data
from timecyclegan.inference import folders, streaming, translator
from timecyclegan.inference.streaming import Picture, PictureStream, stream
from timecyclegan.inference.trained import load_model, load_options
from timecyclegan.models import MODELS
from timecyclegan.util.cuda_graph import CapturedFunction
from timecyclegan.util.errors import UserError
from timecyclegan.video.frames import find_sequences, read_image, resize_image, to_uint8, to_video, write_image
from timecyclegan.video.writer import VideoWriter

ROOT = Path(__file__).parents[2]
H, W = TINY["image_height"], TINY["image_width"]


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    """A folder with a run that was trained in bfloat16, and with sequences of pictures that are resized."""
    path, before = tmp_path_factory.mktemp("runs"), Path.cwd()
    os.chdir(path)
    train(write_data("data", (4,), H, W), "run", model_type="timecycle", timecycle_loss_weight=1.0, num_epochs=1,
          amp="bfloat16")  # fmt: skip
    write_data("test", (9, 6, 2), 2 * H, 2 * W)
    write_clip("clip.mkv", moving(20), rate=Fraction(25))
    yield path
    os.chdir(before)


@pytest.fixture(autouse=True)
def no_thread_is_left(folder):
    before = threading.active_count()
    yield
    if threading.active_count() > before:
        gc.collect()
    assert threading.active_count() == before
    assert not [path for path in folder.rglob("*") if ".tmp" in path.name]


@pytest.fixture
def script(monkeypatch, capsys):
    """Run one of the scripts; returns its exit code, what it printed, and the last line of stderr."""
    def run(command, *argv):
        monkeypatch.syspath_prepend(str(ROOT))
        monkeypatch.delitem(sys.modules, "test", raising=False)
        monkeypatch.setattr(sys, "argv", [f"{command}.py", *map(str, argv)])
        code = importlib.import_module(command).main()
        found = capsys.readouterr()
        return code, found.out, (found.err.splitlines() or [""])[-1]

    yield run
    sys.modules.pop("test", None)


def translated(sequences, name="run", batch_size=1):
    """By sequence, the pictures of a plain loop: each frame read, resized, translated and rounded in its turn."""
    model, names = load_model(name, load_options(name)), list(sequences)
    sources = {key: [to_video(resize_image(read_image(path), H, W)[None])[0] for path in paths]
               for key, paths in sequences.items()}  # fmt: skip
    found = {key: [] for key in names}
    for start in range(0, len(names), batch_size):
        for key, frame in stream(model, {key: sources[key] for key in names[start : start + batch_size]}):
            found[key].append(to_uint8(frame))
    return found


# ---- a step that is recorded


@pytest.mark.parametrize("model_type", MODELS)
def test_replayed_steps_make_the_pictures_of_plain_ones(model_type):
    """Sequences that end on the way, then others that begin anew; the domains by turns."""
    net, source = any_model(model_type)
    blank = net.task == "unconditional"
    one = {"a": source(9, 1), "b": source(2, 2), "c": source(12, 3)}
    two = {"d": source(7, 4), "e": source(7, 5)}
    levels = {name: frames if blank else to_uint8(frames) for group in (one, two) for name, frames in group.items()}
    floats = levels if blank else {name: to_video(frames) for name, frames in levels.items()}
    for domain in net.domains:
        pictures = PictureStream(net, domain, recorder=recorder)
        for group in (one, two):
            expected = [(name, to_uint8(frame))
                        for name, frame in stream(net, {name: floats[name] for name in group}, 3, domain)]
            found = [(name, picture.array()) for name, picture in pictures({name: levels[name] for name in group}, 3)]
            assert [name for name, _ in found] == [name for name, _ in expected]
            for (_, ours), (_, theirs) in zip(found, expected, strict=True):
                np.testing.assert_array_equal(ours, theirs)
        if net.draws_frames:
            assert not isinstance(pictures._step, CapturedFunction)
        else:  # 3 rows at once were too few to be recorded, 2 and 1 were not
            assert {key[0][0][0] for key in pictures._step._recorded} >= {2}


def test_streams_by_turns_do_not_mix():
    """Both go through one recording, each with its own state."""
    net, source = any_model("timecycle")
    levels = [to_uint8(source(12, seed)) for seed in (1, 2)]
    alone = [[picture.array() for _, picture in PictureStream(net)({"a": frames})] for frames in levels]
    pictures = PictureStream(net, recorder=recorder)
    both = zip(*(pictures({"a": frames}) for frames in levels), strict=True)
    for moment, (pair, expected) in enumerate(zip(both, zip(*alone, strict=True), strict=True)):
        for (_, picture), theirs in zip(pair, expected, strict=True):
            np.testing.assert_array_equal(picture.array(), theirs, err_msg=str(moment))


@pytest.mark.gpu
@pytest.mark.parametrize("model_type", MODELS)
def test_a_gpu_makes_the_same_pictures_by_replays(model_type, monkeypatch, capsys):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    net, source = any_model(model_type)
    net.cuda()
    blank = net.task == "unconditional"
    floats = {"a": source(12, 1), "b": source(6, 2)}
    levels = {name: frames if blank else to_uint8(frames) for name, frames in floats.items()}
    floats = levels if blank else {name: to_video(frames) for name, frames in levels.items()}
    expected = [to_uint8(frame).astype(int) for _, frame in stream(net, floats)]
    pictures = PictureStream(net)
    found = [picture.array() for _, picture in list(pictures(levels))]
    assert np.abs(np.stack(found) - np.stack(expected)).max() <= 1
    said = capsys.readouterr().out
    assert said.count("\n") == said.count("is not captured as a CUDA graph: ") == net.draws_frames
    assert net.draws_frames or len(pictures._step._recorded) == 2


def test_pictures_of_odd_arrays():
    """What may be given to ``frames``: views, read-only and turned arrays."""
    plain = np.ascontiguousarray(moving(4)[:, ::-1, ::2])
    model = timecyclegan.load("run", image_height=plain.shape[1], image_width=plain.shape[2])
    fixed = plain.copy()
    fixed.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for frames in (moving(4)[:, ::-1, ::2], fixed):
            np.testing.assert_array_equal(list(model.frames(frames)), list(model.frames(plain)))


@pytest.mark.parametrize("amp", ["bfloat16", "float16"])
@pytest.mark.parametrize("model_type", MODELS)
def test_mixed_precision_is_near_and_keeps_an_exact_state(model_type, amp):
    net, source = any_model(model_type)
    clips = source(3, 1)
    levels = clips if net.task == "unconditional" else to_uint8(clips)
    states = []
    plain = net.translate_frame

    def spy(*args):
        made, state = plain(*args)
        states.append(state)
        return made, state

    net.translate_frame = spy
    exact, mixed = ([picture.array().astype(int) for _, picture in PictureStream(net, amp=kind)({"a": levels})]
                    for kind in ("off", amp))  # fmt: skip
    assert len(exact) == len(mixed) == 3
    difference = abs(np.stack(exact) - np.stack(mixed))
    assert difference.max() > 0 and difference.mean() < 3
    assert all(state is None or state.dtype in (torch.float32, torch.int64) for state in states)


# ---- folders


@pytest.mark.parametrize("batch_size", [1, 2, 5])
@pytest.mark.parametrize("reading", [0, 3])
def test_folders_are_written_as_by_a_plain_loop(folder, tmp_path, reading, batch_size):
    sequences, options = find_sequences("test/source"), load_options("run")
    expected = translated(sequences, batch_size=batch_size)
    written = folders.translate_folders(load_model("run", options), sequences, tmp_path, options, batch_size,
                                        threads=reading)  # fmt: skip
    assert list(written) == list(sequences)
    for name, paths in written.items():
        assert paths == [tmp_path / name / f"{path.stem}.png" for path in sequences[name]]
        for path, picture in zip(paths, expected[name], strict=True):
            write_image(tmp_path / "one.png", picture)
            assert path.read_bytes() == (tmp_path / "one.png").read_bytes()


class Clock:
    """When what was at work."""

    def __init__(self):
        self.spans = []

    def slow(self, function, seconds=0.02):
        def timed(*args, **kwargs):
            begin = time.perf_counter()
            time.sleep(seconds)
            found = function(*args, **kwargs)
            self.spans.append((function.__name__, begin, time.perf_counter()))
            return found

        return timed

    def all_at_once(self, *names):
        """Whether there was a moment at which all of these were at work."""
        moments = [begin for _, begin, _ in self.spans]
        return any({name for name, begin, end in self.spans if begin <= moment < end} >= set(names)
                   for moment in moments)  # fmt: skip


def test_folders_are_read_translated_and_written_at_the_same_time(tmp_path, monkeypatch):
    clock, options = Clock(), load_options("run")
    model, sequences = load_model("run", options), {"0": find_sequences("test/source")["s0"]}
    monkeypatch.setattr("timecyclegan.datasets.loading.read_image", clock.slow(read_image))
    monkeypatch.setattr(folders, "write_image", clock.slow(write_image))
    model.translate_frame = clock.slow(model.translate_frame)
    monkeypatch.setattr(folders, "usable_threads", lambda: 1)
    folders.translate_folders(model, sequences, tmp_path, options, threads=1)
    assert clock.all_at_once("read_image", "translate_frame", "write_image")


def test_a_slow_disk_holds_translating_and_reading_back(tmp_path, monkeypatch):
    read, alive, most, options = [], weakref.WeakSet(), 0, load_options("run")
    sequences = {"s": find_sequences("test/source")["s0"] * 20}
    plain = Picture.__init__

    def counted(self, *args):
        plain(self, *args)
        alive.add(self)

    def write(path, image):
        nonlocal most
        time.sleep(0.002)
        most = max(most, len(alive))
        assert len(read) <= len(written) + 2 * 1 + 2 * 2 + 4  # those ahead of translating, and of writing
        written.append(path)

    def count(path):
        read.append(path)
        return read_image(path)

    written = []
    monkeypatch.setattr(Picture, "__init__", counted)
    monkeypatch.setattr("timecyclegan.datasets.loading.read_image", count)
    monkeypatch.setattr(folders, "write_image", write)
    monkeypatch.setattr(folders, "usable_threads", lambda: 2)
    folders.translate_folders(load_model("run", options), sequences, tmp_path, options, threads=1)
    assert len(written) == 180 and most <= 2 * 2 + 2


def test_a_frame_that_cannot_be_read_ends_the_command_after_those_before_it(script, folder):
    paths = find_sequences("test/source")["s0"]
    for path in paths:
        write_image(folder / "damaged" / path.name, read_image(path))
    (folder / "damaged/5.png").write_bytes(b"")
    code, _, line = script("test", "run", "damaged", "-to", "cut")
    assert code == 2 and line.startswith("error: cannot read image") and "damaged/5.png" in line
    assert sorted(path.name for path in (folder / "cut/run").iterdir()) == [f"{t}.png" for t in range(5)]


def test_a_disk_that_is_full_ends_the_command(script, folder, monkeypatch):
    def full(path, image):
        if path.name == "3.png":
            raise OSError(28, "No space left on device", str(path))
        write_image(path, image)

    monkeypatch.setattr(folders, "write_image", full)
    code, out, line = script("test", "run", "test/source/s0", "-to", "full")
    assert code == 2 and "3.png: No space left on device" in line
    assert {f"{t}.png" for t in range(3)} <= {path.name for path in (folder / "full/run").iterdir()}
    assert "frames/s" not in out and not (folder / "full/run/videos").exists()


def test_ctrl_c_ends_all_threads_and_no_picture_is_half_written(script, folder, monkeypatch):
    def pressed(path, image):
        if path.name == "3.png":
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.5)  # the main thread, which gets the signal, may have to wait for a processor
        write_image(path, image)

    monkeypatch.setattr(folders, "write_image", pressed)
    code, _, line = script("test", "run", "test/source/s0", "-to", "stopped")
    assert (code, line) == (130, "interrupted")
    for path in (folder / "stopped/run").iterdir():
        assert read_image(path).shape == (H, W, 3)


def test_the_side_by_side_videos_are_read_ahead(folder, tmp_path, monkeypatch):
    clock, (sequence,) = Clock(), [name for name in find_sequences("test/source") if name == "s0"]
    paths = find_sequences("test/source")[sequence]
    monkeypatch.setattr(folders, "read_image", clock.slow(read_image, 0.005))
    monkeypatch.setattr(VideoWriter, "write", clock.slow(VideoWriter.write))
    folders.write_videos([folders.ReportSequence("s0", paths, paths)], tmp_path, (H, W), 10)
    assert clock.all_at_once("read_image", "write") and len(decode(tmp_path / "videos/s0.webm")) == 9


# ---- videos


def test_a_video_is_decoded_translated_and_encoded_at_the_same_time(folder, tmp_path, monkeypatch):
    clock, model = Clock(), timecyclegan.load("run")
    monkeypatch.setattr(translator, "mark_cuts", lambda items, _: (
        clock.slow(dict.get)({0: (item, not number)}, 0) for number, item in enumerate(items)))
    monkeypatch.setattr(VideoWriter, "write", clock.slow(VideoWriter.write))
    model.model.translate_frame = clock.slow(model.model.translate_frame)
    model.translate("clip.mkv", tmp_path / "out.mkv")
    assert clock.all_at_once("get", "translate_frame", "write") and len(decode(tmp_path / "out.mkv")) == 20


def test_decoding_does_not_run_away_from_writing(folder, tmp_path, monkeypatch):
    model, decoded, ahead = timecyclegan.load("run"), [], []
    plain = translator.VideoFile.frames
    monkeypatch.setattr(translator.VideoFile, "frames",
                        lambda self: (decoded.append(1) or frame for frame in plain(self)))
    write = VideoWriter.write

    def slowly(self, *args):
        time.sleep(0.005)
        ahead.append(len(decoded) - self.frames)
        write(self, *args)

    monkeypatch.setattr(VideoWriter, "write", slowly)
    for scene_cuts, looked_at in (("off", 0), ("auto", 5)):
        model.translate("clip.mkv", tmp_path / "out.mkv", scene_cuts=scene_cuts)
        assert 1 < max(ahead) <= 2 * (translator.AHEAD + 1) + looked_at + 2
        decoded.clear()


@pytest.mark.parametrize("where", ["decode", "translate", "encode"])
def test_an_error_in_any_thread_is_one_line_and_there_is_no_video(script, folder, monkeypatch, where):
    def failing(function, at=7):
        calls = iter(range(10**6))

        def call(*args, **kwargs):
            if next(calls) == at:
                raise UserError(f"this {where} failed")
            return function(*args, **kwargs)

        return call

    place = {"decode": (translator, "resize_image"), "translate": (streaming, "to_levels"),
             "encode": (VideoWriter, "write")}[where]  # fmt: skip
    monkeypatch.setattr(*place, failing(getattr(*place)))
    code, out, line = script("test", "run", "clip.mkv", "--video", "failed.mkv")
    assert (code, out, line) == (2, "", f"error: this {where} failed")
    assert not (folder / "failed.mkv").exists()


def test_frames_are_translated_as_they_come():
    """Whoever asks for a frame may need it before there is a next one: nothing is read ahead."""
    model, given = timecyclegan.load("run"), []
    coming = model.frames((given.append(1) or frame for frame in moving(6)), scene_cuts="off")
    for number in range(1, 4):
        next(coming)
        assert len(given) == number
    coming.close()


# ---- what is asked for


def test_precision_is_that_of_testing_not_of_training(script, folder):
    """The run was trained in bfloat16."""
    expected = translated({".": find_sequences("test/source")["s0"]})["."]
    assert script("test", "run", "test/source/s0", "-to", "exact")[0] == 0
    assert script("test", "run", "test/source/s0", "-to", "mixed", "--amp", "bfloat16")[0] == 0
    exact, mixed = ([read_image(folder / f"{kind}/run/{t}.png").astype(int) for t in range(9)]
                    for kind in ("exact", "mixed"))  # fmt: skip
    np.testing.assert_array_equal(exact, expected)
    assert 0 < abs(np.stack(exact) - mixed).max() < 40
    assert load_options("run").amp == "off" and load_options("run", {"amp": "float16"}).amp == "float16"
    frames = moving(3)
    assert (np.stack(list(timecyclegan.load("run", amp="bfloat16").frames(frames)))
            != np.stack(list(timecyclegan.load("run").frames(frames)))).any()  # fmt: skip
    assert "--amp 'half' is not known" in message(timecyclegan.load, "run", amp="half")
    code, _, line = script("test", "run", "test/source", "--amp", "half")
    assert code == 2 and "--amp must be one of off, bfloat16, float16" in line


def test_a_cuda_graph_that_is_insisted_on_must_be_possible(script, folder):
    code, out, line = script("test", "run", "test/source/s0", "-to", "graph", "--cuda_graph", "on")
    assert code == 2 and line == "error: --cuda_graph on cannot be: it computes on the CPU; leave it at auto"
    assert not out and not (folder / "graph").exists()
    assert script("test", "run", "test/source/s0", "-to", "graph", "--cuda_graph", "off")[0] == 0


def test_trainval_measures_what_val_does(script, folder):
    """There ``--amp`` is of the training."""
    flags = ("-m timecycle -tclw 1 -g resnet_1blocks -gf 2 -d pixel -df 2 -tcmmf 2 -b 3 -ne 1 -t 0 -gpu -1 -llw 10 "
             f"-ih {H} -iw {W} --amp bfloat16")  # fmt: skip
    places = "data/source", "data/target", "test/source", "test/target"
    assert script("trainval", "both", *places, *flags.split(), "-to", "trainval")[0] == 0
    for name, pictures in translated(find_sequences("test/source"), "both").items():
        for t, picture in enumerate(pictures):
            np.testing.assert_array_equal(read_image(folder / f"trainval/both/{name}/{t}.png"), picture)


def test_the_last_line_says_how_fast_it_was(script):
    for command, argv in (("test", ["test/source"]), ("val", ["test/source", "test/target"])):
        code, out, _ = script(command, "run", *argv)
        last = out.splitlines()[-1].split()
        assert code == 0 and last[:4] == ["translated", "17", "frames", "at"] and last[-1] == "frames/s"
        assert 0 < float(last[4]) < 1e5
    code, out, _ = script("test", "run", "clip.mkv", "--video", "fast.mkv")
    assert code == 0 and out.count("\n") == 1 and "; 1 scene; " in out and " frames/s; " in out
    code, out, _ = script("test", "any", "test/source", "-m", "flownet", "-ih", "24", "-iw", "40")
    assert code == 0 and out.splitlines()[-1].startswith("drew 17 frames at ")
