"""FVD: which clips, which pixels, the distance by an independent computation, and what goes wrong; a small network of
the same interface stands in for I3D."""
import hashlib
import json
import warnings

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import nn
from torch.nn import functional

from tests.evaluation.helpers import moving, noisy, write_clips
from timecyclegan.evaluation.base import Step
from timecyclegan.evaluation.command import compare_sets
from timecyclegan.evaluation.compute_fvd import FVD, fvd
from timecyclegan.evaluation.compute_metrics import METRICS, evaluate
from timecyclegan.evaluation.compute_metrics import main as compute_metrics
from timecyclegan.evaluation.evaluate import choose
from timecyclegan.evaluation.features.frechet import Features
from timecyclegan.evaluation.features.i3d import I3DView
from timecyclegan.util.errors import UserError
from timecyclegan.video.frames import resize_image

SIZE = (20, 28)


class StandIn(nn.Module):
    """As StyleGAN-V's I3D: clips (N, 3, 16, H, W) of pixels 0 to 255; resizes to 8 x 8, and has four features."""

    def __init__(self, length: int = 16):
        super().__init__()
        self.length = length
        torch.manual_seed(0)
        self.convolution = nn.Conv3d(3, 4, 3)

    def forward(self, x: torch.Tensor, rescale: bool = False, resize: bool = False,
                return_features: bool = False) -> torch.Tensor:
        assert x.dtype == torch.float32 and x.shape[1] == 3 and x.shape[2] == self.length
        n = x.shape[0]
        if resize:
            x = functional.interpolate(x, [16, 8, 8], mode="trilinear", align_corners=False)
        if rescale:
            x = 2 * x / 255 - 1
        features = self.convolution(x).relu().mean((2, 3, 4)).view(n, -1)
        return features if return_features else features.softmax(1)


class Other(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


class Maps(nn.Module):
    def forward(self, x: torch.Tensor, rescale: bool = False, resize: bool = False,
                return_features: bool = False) -> torch.Tensor:
        return x


def save(network, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(network).save(str(path))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """torch hub's cache, empty; gives the place of the file."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    folder = tmp_path / "home/hub/checkpoints"
    folder.mkdir(parents=True)
    return folder / "i3d_torchscript.pt"


@pytest.fixture
def network(cache):
    save(StandIn(), cache)
    return cache


REAL = {"a": moving(50, *SIZE, seed=1), "b": moving(16, *SIZE, seed=2), "c": moving(15, *SIZE, seed=3),
        "d": moving(33, *SIZE, seed=4), "e": moving(35, *SIZE, seed=5)}
FAKE = {name: noisy(clip, 40, seed) for seed, (name, clip) in enumerate(REAL.items())}


def features(clips):
    """Of frames 0 to 15, 16 to 31 and so on of each sequence, straight from the definition."""
    network, rows = StandIn(), []
    for frames in clips.values():
        for start in range(0, len(frames) - 15, 16):
            x = torch.tensor(np.stack(frames[start:start + 16])).permute(3, 0, 1, 2)[None].float()
            with torch.no_grad():
                rows.append(network(x, rescale=True, resize=True, return_features=True)[0].double().numpy())
    return np.array(rows)


def frechet(real, fake):
    """Fréchet's distance by scipy."""
    a, b = np.cov(real, rowvar=False), np.cov(fake, rowvar=False)
    return np.square(real.mean(0) - fake.mean(0)).sum() + np.trace(a + b - 2 * scipy.linalg.sqrtm(a @ b).real)


def evaluated(tmp_path, real=REAL, fake=FAKE, **options):
    sides = write_clips(tmp_path / "real", real), write_clips(tmp_path / "fake", fake)
    return evaluate(*sides, **{"only": ["fvd"], **options})["metrics"]["fvd"]


def test_clips_and_distance(tmp_path, network):
    found, expected = evaluated(tmp_path), frechet(features(REAL), features(FAKE))
    assert len(features(REAL)) == 3 + 1 + 0 + 2 + 2 and expected > 1e-4
    assert found["value"] == pytest.approx(expected, rel=1e-4)
    assert (found["details"]["real_clips"], found["details"]["fake_clips"], found["details"]["dims"]) == (8, 8, 4)
    assert (found["frames"], found["skipped"], found["sequences"]) == (149, 149 - 8 * 16, 5)
    assert (found["definition"], found["better"], found["per_frame"]) == (
        "fvd-i3d-16-1-generated-size", "lower", {})
    assert "note" not in found["details"]
    assert found["network"]["weights"] == "i3d_torchscript.pt"
    assert found["network"]["weights_sha256"] == hashlib.sha256(network.read_bytes()).hexdigest()


@pytest.mark.parametrize("kind", ["paired", "unconditional"])
def test_equal_clips_are_at_distance_0(tmp_path, network, kind):
    assert evaluated(tmp_path, REAL, REAL, kind=kind)["value"] == 0


def test_kinds(tmp_path, network):
    """Sets of clips compare whatever their names and numbers; against the source clip they do not."""
    names = {f"x{name}": clip for name, clip in list(FAKE.items())[:4]}
    expected = frechet(features(REAL), features(names))
    assert evaluated(tmp_path / "1", REAL, names, kind="unconditional")["value"] == pytest.approx(expected, rel=1e-4)
    source = {name: moving(len(clip), *SIZE, seed=9) for name, clip in FAKE.items()}
    sides = [write_clips(tmp_path / side, clips) for side, clips in (("s", source), ("f", FAKE), ("r", REAL))]
    found = evaluate(sides[0], sides[1], kind="unpaired", images=sides[2], only=["fvd"])["metrics"]["fvd"]
    assert found["value"] == pytest.approx(frechet(features(REAL), features(FAKE)), rel=1e-4)
    assert found["definition"] == "fvd-i3d-16-1-generated-size"
    without = evaluate(*sides[:2], kind="unpaired", only=["fvd"])["metrics"]["fvd"]
    assert without["reason"].startswith("no real pictures")


def test_default_where_clips_have_nothing_in_common():
    assert [FVD in choose(METRICS, kind) for kind in ("paired", "unpaired", "unconditional")] == [False, False, True]
    assert FVD in choose(METRICS, "paired", also=["fvd"])


def test_too_few_clips(tmp_path, network):
    short = {name: clip[:15] for name, clip in REAL.items()}
    found = evaluated(tmp_path / "1", short, short)
    assert found["value"] is None
    assert found["reason"] == "needs two clips of 16 frames on each side; there are 0 real and 0 generated"
    one = {"a": REAL["a"][:31]}
    assert "1 real and 1 generated" in evaluated(tmp_path / "2", one, one)["reason"]
    few = {"a": REAL["a"]}
    note = evaluated(tmp_path / "3", few, {"a": FAKE["a"]})["details"]["note"]
    assert note.startswith("3 clips of 16 frames on one side are fewer than the 4 features")


def test_a_clip_does_not_cross_sequences_and_only_its_pictures_are_kept(network):
    view = I3DView.__new__(I3DView)
    shown, view._clip = [], []
    view.features = lambda clip: shown.append([int(frame[0, 0, 0]) for frame in clip]) or np.zeros(4)
    frames = [np.full((2, 2, 3), t, np.uint8) for t in range(60)]
    starts = (0, 20, 25)  # sequences of 20, 5 and 35 frames
    steps = [Step(None, frame, None, None if t in starts else frame)
             for t, frame in enumerate(frames)]
    found = []
    for at in range(0, 60, 8):
        found += view(steps[at:at + 8])
        assert len(view._clip) < 16
    assert shown == [list(range(16)), list(range(25, 41)), list(range(41, 57))]
    assert [t for t, entry in enumerate(found) if entry.fake is not None] == [15, 40, 56]
    assert all(entry.real is None for entry in found) and found[0] == Features()


def test_real_frames_are_taken_in_the_size_of_the_generated_ones(tmp_path, network, capsys):
    """The network resizes; ``resize`` comes before it. The command that compares sets takes each as it is."""
    large = {"a": moving(32, 40, 56, seed=1), "b": moving(32, 40, 56, seed=2)}
    fake = {"a": FAKE["a"][:32], "b": FAKE["a"][16:48]}
    found = evaluated(tmp_path / "1", large, fake)["value"]
    small = {name: [resize_image(frame, *SIZE) for frame in clip] for name, clip in large.items()}
    assert found == pytest.approx(frechet(features(small), features(fake)), rel=1e-3)
    assert evaluated(tmp_path / "perfect", large, small)["value"] == 0
    assert evaluated(tmp_path / "2", large, fake, resize=(10, 14))["value"] != pytest.approx(found, rel=1e-2)
    write_clips(tmp_path / "mixed", {"a": [*large["a"][:31], REAL["a"][0]], "b": large["b"]})
    own = tmp_path / "own.json"
    assert run(tmp_path / "1/real", tmp_path / "1/fake", "--json", own) == 0
    assert json.loads(own.read_text())["value"] == pytest.approx(frechet(features(large), features(fake)), rel=1e-3)
    assert json.loads(own.read_text())["definition"] == "fvd-i3d-16-1"
    capsys.readouterr()
    assert run(tmp_path / "mixed", tmp_path / "1/fake") == 2
    assert "FVD needs clips of one size, and a sequence has 28x20 and 56x40; " in capsys.readouterr().err


def test_a_missing_file_is_named_and_stops_nothing(tmp_path, cache):
    clips = write_clips(tmp_path / "real", {"a": moving(3)})
    found = evaluate(clips, clips, kind="unconditional", only=["fvd", "tof"])["metrics"]
    assert found["fvd"]["value"] is None and found["tof"]["value"] == 0
    assert "put i3d_torchscript.pt" in found["fvd"]["reason"] and f"at {cache}, or leave it" in found["fvd"]["reason"]
    with pytest.raises(UserError, match="--require fvd: it cannot be computed, FVD"):
        evaluate(clips, clips, require=["fvd"])


@pytest.mark.parametrize(("make", "message"), [
    (lambda path: path.write_text("network"), "holds no TorchScript"),
    (lambda path: save(Other(), path), "takes no clips with rescale, resize, return_features"),
    (lambda path: save(StandIn(length=10), path), "takes no clips with"),
    (lambda path: save(Maps(), path), "gives (1, 3, 16, 32, 32) for a clip; expected")])
def test_files_that_hold_other_things(tmp_path, cache, make, message):
    make(cache)
    clips = write_clips(tmp_path / "real", {"a": moving(3)})
    reason = evaluate(clips, clips, only=["fvd"])["metrics"]["fvd"]["reason"]
    assert str(cache) in reason and message in reason and "\n" not in reason


def test_the_function(network):
    clips = [REAL["a"][:16], REAL["a"][16:32], REAL["b"], REAL["e"][:16], REAL["e"][16:32]]
    worse = [noisy(clip, 30) for clip in clips]
    rows = [features({str(i): clip for i, clip in enumerate(side)}) for side in (clips, worse)]
    assert fvd(clips, worse) == pytest.approx(frechet(*rows), rel=1e-4) and fvd(clips, clips) == 0


def run(*arguments):
    return compare_sets("compute_fvd", "", FVD, [*map(str, arguments)])


def test_command_and_saved_statistics(tmp_path, network, capsys):
    write_clips(tmp_path / "real", REAL)
    write_clips(tmp_path / "fake", dict(list(FAKE.items())[:4]))
    real, fake, stats, written = (tmp_path / name for name in ("real", "fake", "real.npz", "m.json"))
    assert run(real, fake, "--gpu", -1, "--json", written, "--save_stats", stats) == 0
    found, text = json.loads(written.read_text()), capsys.readouterr().out
    assert found["value"] == pytest.approx(frechet(features(REAL), features(dict(list(FAKE.items())[:4]))), rel=1e-4)
    assert f"FVD {found['value']:.8g}   fvd-i3d-16-1, of 8 real and 6 generated" in text
    assert "1 of 5 sequences of" in text and found["extractor"]["clip"] == 16
    assert run(stats, fake, "--json", written) == 0
    assert json.loads(written.read_text())["value"] == pytest.approx(found["value"], rel=1e-12)
    assert run(stats, real) == 0 and "FVD 0 " in capsys.readouterr().out
    torch.manual_seed(1)
    other = StandIn()
    other.convolution.weight.data.mul_(2)
    save(other, network)
    assert run(stats, fake) == 2 and "do not compare: weights_sha256" in capsys.readouterr().err
    write_clips(tmp_path / "short", {"a": moving(7)})
    assert run(tmp_path / "short", fake) == 2
    assert "short has no sequence of 16 frames, the longest has 7" in capsys.readouterr().err


def test_in_the_whole_evaluation(tmp_path, network, capsys):
    write_clips(tmp_path / "real", REAL)
    write_clips(tmp_path / "fake", FAKE)
    assert compute_metrics([str(tmp_path / "real"), str(tmp_path / "fake"), "--only", "fvd", "--gpu", "-1"]) == 0
    text = capsys.readouterr().out
    assert "FVD" in text and "FVD: 21 frame(s) left out, clips have 16 frames" in text
