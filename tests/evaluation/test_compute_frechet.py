"""Fréchet distance and MMD of clips by TorchScript networks: which clips, which pixels, and what goes wrong."""
import hashlib
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.evaluation.helpers import moving, noisy, write_clips
from timecyclegan.evaluation.compute_frechet import Treatment, main
from timecyclegan.evaluation.feature_statistics import Statistics
from timecyclegan.evaluation.frechet import frechet_distance, polynomial_mmd


class Probe(nn.Module):
    """Of clips (N, C, T, H, W): mean red, the difference of last and first frame, and the first row's mean."""

    def forward(self, x: torch.Tensor, gain: float = 1.0) -> torch.Tensor:
        change = x[:, :, -1].mean((1, 2, 3)) - x[:, :, 0].mean((1, 2, 3))
        return gain * torch.stack([x[:, 0].mean((1, 2, 3)), change, x[:, :, :, 0].mean((1, 2, 3))], 1)


class Fixed(nn.Module):
    """Gives what it was made with, whatever it sees; repeated for each clip."""

    def __init__(self, value: torch.Tensor, repeat: bool = True):
        super().__init__()
        self.value, self.repeat = value, repeat

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.value] * x.shape[0]) if self.repeat else self.value


class Pair(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, x


def save(network, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.script(network).save(str(path))
    return str(path)


@pytest.fixture(scope="module")
def sides():
    real = {"a": moving(7, seed=1), "b": moving(4, seed=2), "c": moving(2, seed=3), "d": moving(6, seed=4)}
    return real, {name: noisy(clip, 40) for name, clip in list(real.items())[:3]}


@pytest.fixture
def folders(tmp_path, sides, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, clips in zip(("real", "fake"), sides, strict=True):
        write_clips(tmp_path / name, clips)
    save(Probe(), "probe.pt")


def by_hand(clips, length, stride, low=-1.0, high=1.0):
    """The probe's features, clip by clip."""
    rows = []
    for frames in clips.values():
        for start in range(0, len(frames) - length + 1, stride):
            x = np.stack(frames[start:start + length]) / 255 * (high - low) + low  # (T, H, W, C)
            rows.append([x[..., 0].mean(), x[-1].mean() - x[0].mean(), x[:, 0].mean()])
    return np.array(rows)


def run(capsys, *arguments):
    code = main([*map(str, arguments), "--gpu", "-1", "--json", "found.json"])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return json.loads(Path("found.json").read_text()), captured


@pytest.mark.parametrize(("length", "stride", "clips", "short"), [
    (3, None, (5, 3), (1, 1)), (3, 1, (11, 7), (1, 1)), (2, 3, (6, 4), (0, 0)), (4, 2, (5, 3), (1, 1))])
@pytest.mark.usefixtures("folders")
def test_clips(sides, capsys, recwarn, length, stride, clips, short):
    flags = ["--clip", length, *(["--stride", stride] if stride else [])]
    found, captured = run(capsys, "real", "fake", "--extractor", "probe.pt", *flags, "--batch_size", 2)
    features = [by_hand(side, length, stride or length) for side in sides]
    expected = frechet_distance(*map(Statistics.of, features))
    assert found["value"] == pytest.approx(expected.value, rel=1e-4)
    assert found["mean_term"] == pytest.approx(expected.mean_term, rel=1e-4)
    assert (found["real"]["n"], found["fake"]["n"]) == clips == tuple(map(len, features))
    assert (found["real"]["too_short"], found["fake"]["too_short"]) == short
    assert ("of 4 sequences of real are shorter" in captured.out) == bool(short[0])
    assert not captured.err and not list(recwarn)  # PyTorch has some for TorchScript


@pytest.mark.usefixtures("folders")
def test_frames_outside_of_all_clips_are_not_read(sides, capsys):
    flags = ["--extractor", "probe.pt", "--clip", 2, "--stride", 3]
    expected, _ = run(capsys, "real", "fake", *flags)
    for unused in ("real/a/0002.png", "real/a/0006.png", "real/d/0005.png"):
        Path(unused).write_text("damaged")
    assert run(capsys, "real", "fake", *flags)[0]["value"] == expected["value"]


@pytest.mark.usefixtures("folders")
def test_pixels_arguments_and_provenance(sides, capsys):
    found, _ = run(capsys, "real", "fake", "--extractor", "probe.pt", "--clip", 2, "--range", 0, 255, "--mmd",
                   "--arguments", "gain=0.01")
    features = [0.01 * by_hand(side, 2, 2, 0, 255) for side in sides]
    assert found["value"] == pytest.approx(frechet_distance(*map(Statistics.of, features)).value, rel=1e-4)
    assert found["mmd"]["value"] == pytest.approx(polynomial_mmd(*features), rel=1e-4)
    digest = hashlib.sha256(Path("probe.pt").read_bytes()).hexdigest()
    assert found["extractor"] == {"network": "probe.pt", "weights_sha256": digest, "clip": 2, "resize": None,
                                  "range": [0, 255], "layout": "ncthw", "arguments": {"gain": "0.01"}, "stride": 2}
    assert found["definition"] == "frechet-probe-2" and found["note"] is None
    again, _ = run(capsys, "real", "fake", "--extractor", "probe.pt", "--clip", 2, "--range", 0, 255, "--mmd",
                   "--arguments", "gain=0.01", "--subsets", 3)
    assert again["mmd"]["subsets"] == 3 and again["mmd"]["standard_deviation"] > 0


@pytest.mark.usefixtures("folders")
def test_saved_statistics(capsys):
    flags = ["--extractor", "probe.pt", "--clip", 2, "--stride", 1]  # more clips than features
    direct, _ = run(capsys, "real", "fake", *flags, "--save_stats", "real.npz")
    saved, _ = run(capsys, "real.npz", "fake", *flags)
    assert saved["value"] == direct["value"] and saved["real"] == {"path": "real.npz", "n": 15, "saved": True}
    assert run(capsys, "real.npz", "real", *flags)[0]["value"] == 0.0
    Path("probe.pt").rename("other.pt")  # the same network by its bytes
    flags[1] = "other.pt"
    assert run(capsys, "real.npz", "fake", *flags, "--save_stats", "fake.npz")[0]["value"] == direct["value"]
    both, _ = run(capsys, "real.npz", "fake.npz")
    assert both["definition"] == direct["definition"] == "frechet-probe-2"
    assert main(["real.npz", "fake", *map(str, flags[:-1]), "2"]) == 2
    assert "stride is 1 and 2" in capsys.readouterr().err
    assert main(["real.npz", "fake", *map(str, flags), "--mmd"]) == 2
    assert "real.npz holds no features, which --mmd needs" in capsys.readouterr().err
    kept, _ = run(capsys, "real", "fake", *flags, "--mmd", "--save_stats", "kept.npz")
    assert run(capsys, "kept.npz", "fake", *flags, "--mmd")[0]["mmd"] == kept["mmd"]
    assert main(["real.npz", "fake", *map(str, flags), "--range", "0", "1"]) == 2
    assert "do not compare: range is [-1.0, 1.0] and [0.0, 1.0]" in capsys.readouterr().err


def test_layouts():
    clips = [[np.full((2, 5, 3), 10 * t + 100 * n, np.uint8) + np.arange(3, dtype=np.uint8) for t in range(4)]
             for n in range(2)]
    video = np.stack(clips).astype(np.float32)  # n t h w c
    device = torch.device("cpu")
    for layout in ("ncthw", "nthwc", "ntchw"):
        found = Treatment(4, None, (0, 255), layout)(clips, device)
        axes = ["nthwc".index(letter) for letter in layout]
        np.testing.assert_allclose(found, video.transpose(axes), rtol=1e-6)
        assert found.dtype == torch.float32 and found.is_contiguous()
    pictures = [clip[:1] for clip in clips]
    np.testing.assert_allclose(Treatment(1)(pictures, device), video[:, 0].transpose(0, 3, 1, 2) / 127.5 - 1, atol=1e-6)
    halved = Treatment(1, (1, 5), (0, 255), "nhwc")([[np.arange(30, dtype=np.uint8).reshape(2, 5, 3)]], device)
    np.testing.assert_allclose(halved[0, 0], np.arange(30).reshape(2, 5, 3).mean(0), rtol=1e-6)


EXTRACTORS = {
    "state.pt": lambda: torch.save({"weight": torch.zeros(1)}, "state.pt"),
    "text.pt": lambda: Path("text.pt").write_text("network"),
    "maps.pt": lambda: save(Fixed(torch.ones(1, 3, 2, 2)), "maps.pt"),
    "rows.pt": lambda: save(Fixed(torch.ones(1, 3), repeat=False), "rows.pt"),
    "flat.pt": lambda: save(Fixed(torch.ones(1)), "flat.pt"),
    "nan.pt": lambda: save(Fixed(torch.full((1, 3), float("nan"))), "nan.pt"),
    "pair.pt": lambda: save(Pair(), "pair.pt"),
}


@pytest.mark.parametrize(("flags", "message"), [
    ("--clip 2", "--extractor FILE is needed"),
    ("--extractor missing.pt", "--extractor missing.pt does not exist"),
    ("--extractor state.pt", "state.pt holds no TorchScript"),
    ("--extractor text.pt", "text.pt holds no TorchScript"),
    ("--extractor maps.pt --clip 2", "maps.pt gives (8, 3, 2, 2) for 8 clips; expected features (N, D)"),
    ("--extractor rows.pt --clip 2", "rows.pt gives (1, 3) for 8 clips"),
    ("--extractor flat.pt --clip 2", "flat.pt gives (8,) for 8 clips"),
    ("--extractor pair.pt --clip 2", "pair.pt gives tuple for 8 clips"),
    ("--extractor nan.pt", "nan.pt gives features that are not finite numbers"),
    ("--extractor probe.pt --clip 8", "real has no sequence of 8 frames, the longest has 7; give a smaller --clip"),
    ("--extractor probe.pt", "probe.pt cannot take clips of shape (8, 3, 24, 32) (nchw)"),
    ("--extractor probe.pt --clip 2 --arguments scale=1", "probe.pt cannot take clips"),
    ("--extractor probe.pt --arguments gain", "--arguments gain: expected NAME=VALUE"),
    ("--extractor probe.pt --clip 2 --layout nchw", "--layout nchw: expected"),
    ("--extractor probe.pt --layout cthwn", "--layout cthwn: expected"),
    ("--extractor probe.pt --clip 0", "--clip 0: expected 1 or more"),
    ("--extractor probe.pt --stride 0", "--stride 0: expected 1 or more"),
    ("--extractor probe.pt --resize 0", "--resize 0: expected a side"),
    ("--extractor probe.pt --resize 8x", "--resize 8x: expected a side"),
    ("--extractor probe.pt --subsets 5", "give --mmd too"),
])
@pytest.mark.usefixtures("folders")
def test_errors(capsys, flags, message):
    for name, make in EXTRACTORS.items():
        if name in flags:
            make()
    assert main(["real", "fake", *flags.split(), "--json", "found.json", "--gpu", "-1"]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1 and error[0].startswith("error: ") and message in error[0]


@pytest.mark.usefixtures("folders")
def test_sizes_must_agree_unless_resized(tmp_path, capsys):
    clip = moving(2)
    write_clips(tmp_path / "mixed", {"a": clip, "b": [frame[:16] for frame in clip]})
    flags = ["--extractor", "probe.pt", "--clip", "2"]
    assert main(["mixed", "real", *flags]) == 2
    assert "frames have different sizes, 32x16 and 32x24; give --resize" in capsys.readouterr().err
    found, _ = run(capsys, "mixed", "real", *flags, "--resize", "16x24")
    assert found["extractor"]["resize"] == [16, 24] and found["value"] > 0


@pytest.mark.usefixtures("folders")
def test_features_with_single_places_count_as_flat(capsys):
    class Pooled(Probe):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((2, 3, 4), keepdim=True)

    save(Pooled(), "pooled.pt")
    assert run(capsys, "real", "fake", "--extractor", "pooled.pt", "--clip", 2)[0]["dims"] == 3
