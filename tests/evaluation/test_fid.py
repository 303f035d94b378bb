"""FID: the reference's values, the metric, and the command, with seeded weights where a user would put real ones."""
import json
import shutil

import numpy as np
import pytest
import torch
from torchmetrics.image.fid import FrechetInceptionDistance

from tests.evaluation.helpers import CASES, moving, noisy, texture, write_clips
from timecyclegan.evaluation.base import Settings
from timecyclegan.evaluation.command import compare_sets
from timecyclegan.evaluation.compute_fid import FID, fid
from timecyclegan.evaluation.compute_metrics import evaluate
from timecyclegan.evaluation.compute_metrics import main as metrics_main
from timecyclegan.evaluation.evaluate import Job, measure
from timecyclegan.evaluation.features.frechet import Statistics, frechet_distance
from timecyclegan.evaluation.features.inception import InceptionView
from timecyclegan.video.frames import find_sequences, read_image, resize_image, write_image


def main(arguments):
    return compare_sets("compute_fid", "", FID, arguments)


REFERENCE = json.loads((CASES / "reference.json").read_text())
NAMES = {"cases": "cases(12+12)", "cases_fid": "cases_fid(96+96)"}


def read(root):
    return [read_image(path) for paths in find_sequences(root).values() for path in paths]


@pytest.fixture(scope="module", params=[("cases", 64), ("cases", 2048),
                                        pytest.param(("cases_fid", 64), marks=pytest.mark.slow),
                                        pytest.param(("cases_fid", 2048), marks=pytest.mark.slow)], ids=str)
def case(request, inception):
    """Real and fake features, and what the reference has of them."""
    name, dims = request.param
    features = [inception(dims)(read(CASES / name / side)) for side in ("real", "fake")]
    return *features, REFERENCE["fid_pieces"][f"{NAMES[name]} dims={dims}"]


def test_features_of_the_reference(case):
    real, fake, expected = case
    np.testing.assert_allclose(real[0, :5], expected["feature_probe_real0_first5"], rtol=0, atol=1e-5)
    assert real.sum() == pytest.approx(expected["feature_sum_real"], rel=1e-6)
    assert fake.sum() == pytest.approx(expected["feature_sum_fake"], rel=1e-6)


def test_distance_of_the_reference(case):
    real, fake, expected = case
    found = frechet_distance(Statistics.of(real), Statistics.of(fake))
    for name, term in (("value", "fid_exact"), ("mean_term", "mean_term"), ("trace_real", "trace_real"),
                       ("trace_fake", "trace_fake"), ("trace_sqrt", "trace_sqrt_exact")):
        assert getattr(found, name) == pytest.approx(expected[term], rel=1e-5)


def test_torchmetrics_with_the_same_extractor(inception):
    class Extractor(torch.nn.Module):
        num_features = 64

        def forward(self, pictures):
            return torch.from_numpy(inception(64)(list(pictures.movedim(1, -1).numpy())))

    metric = FrechetInceptionDistance(Extractor()).set_dtype(torch.float64)
    for side in ("real", "fake"):
        metric.update(torch.from_numpy(np.stack(read(CASES / "cases" / side))).movedim(-1, 1), real=side == "real")
    found = frechet_distance(*(Statistics.of(inception(64)(read(CASES / "cases" / side))) for side in ("real", "fake")))
    # they take the root of a product of covariances that 12 pictures leave without full rank
    assert metric.compute().item() == pytest.approx(found.value, rel=1e-5)


@pytest.fixture(scope="module")
def view(inception_home):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(inception_home))
        patch.setattr(torch.hub, "_hub_dir", None)
        return InceptionView(Settings(fid_dims=64))


def measured(view, fake, real=None, **options):
    """The metric after the clips; ``real``: their partners."""
    jobs = [Job(name, path, t == 0, real and real[name][t]) for name, paths in fake.items()
            for t, path in enumerate(paths)]
    metric = FID()
    measure(jobs, [metric], {InceptionView: view}, **options)
    return metric


@pytest.fixture
def clips(tmp_path):
    """Real clips of 7 and 2 frames, and fake ones of half their size, on disk."""
    real = {"a": moving(7, 48, 64), "b": moving(2, 48, 64, seed=3)}
    fake = {name: [frame[::2, ::2] for frame in noisy(clip, 30)] for name, clip in real.items()}
    return write_clips(tmp_path / "real", real), write_clips(tmp_path / "fake", fake)


def test_the_metric_takes_the_real_pictures_in_the_size_of_the_generated_ones(view, inception, clips):
    real, fake = clips
    features = [inception(64)([resize_image(read_image(path), 24, 32) for paths in side.values() for path in paths])
                for side in clips]
    expected = frechet_distance(*map(Statistics.of, features))
    found = measured(view, fake, real).result()
    assert found.value == pytest.approx(expected.value, rel=1e-5)
    assert (found.frames, found.pairs, found.sequences, found.per_frame, found.per_sequence) == (9, 7, 2, {}, {})
    assert (found.details["dims"], found.details["real_frames"], found.details["fake_frames"]) == (64, 9, 9)
    assert found.details["trace_sqrt"] == pytest.approx(expected.trace_sqrt, rel=1e-5)
    assert "9 pictures on one side are fewer than the 64 features" in found.details["note"]
    beside = measured(view, fake).beside(measured(view, real, size=(24, 32)))
    assert beside.value == pytest.approx(found.value, rel=1e-5)
    assert json.loads(json.dumps(found.details)) == found.details


def test_equal_clips_have_fid_0(view, clips):
    """Also where the last batch is not full: 9 frames."""
    real, _ = clips
    assert measured(view, real, real).result().value == 0.0
    assert measured(view, real).beside(measured(view, real)).value == 0.0


def test_without_partners_there_is_no_value_but_a_reason(view, clips):
    real, fake = clips
    assert measured(view, fake).result().value is None
    assert measured(view, fake, real, alike=False).result().reason.endswith("0 real and 9 generated")
    one = {"b": real["b"][:1]}
    found = measured(view, one, one).result()
    assert found.value is None and "needs two pictures" in found.reason
    assert measured(view, one).beside(measured(view, real)).value is None


def printed(capsys, *arguments):
    assert main([*map(str, arguments), "--dims", "64", "--gpu", "-1"]) == 0
    return capsys.readouterr().out


@pytest.mark.usefixtures("inception_file")
def test_command(tmp_path, clips, capsys, view):
    written = tmp_path / "fid.json"
    text = printed(capsys, tmp_path / "real", tmp_path / "fake", "--json", written)
    found = json.loads(written.read_text())
    own_sizes = measured(view, clips[1]).beside(measured(view, clips[0]))  # as pytorch-fid takes them
    assert found["value"] == pytest.approx(own_sizes.value, rel=1e-5)
    assert found["value"] == fid(read(tmp_path / "real"), read(tmp_path / "fake"), dims=64)
    assert f"FID {found['value']:.8g}" in text and "fewer than the 64 features" in text
    assert found["definition"] == "fid-inception2015-64-1" and found["extractor"] == view.facts
    assert (found["real"]["n"], found["fake"]["sequences"]) == (9, 2)
    total = found["mean_term"] + found["trace_real"] + found["trace_fake"] - 2 * found["trace_sqrt"]
    assert found["value"] == pytest.approx(total)


@pytest.mark.usefixtures("inception_file")
def test_any_two_folders(tmp_path, clips, capsys):
    """Other counts, names and sizes, also within a folder; flat or nested is the same."""
    pictures = [texture(20 + 3 * i, 31 - i, seed=i) for i in range(3)]
    for i, picture in enumerate(pictures):
        write_image(tmp_path / "flat" / f"photo{i}.png", picture)
        write_image(tmp_path / "nested" / f"clip{i // 2}" / f"{i}.png", picture)
    (tmp_path / "flat" / "notes.txt").write_text("no picture")
    outputs = [printed(capsys, tmp_path / "real", tmp_path / name) for name in ("flat", "nested")]
    assert outputs[0] == outputs[1] and "9 real and 3 generated" in outputs[0]
    assert "FID 0 " in printed(capsys, tmp_path / "flat", tmp_path / "nested")


@pytest.mark.usefixtures("clips", "inception_file")
def test_results_of_other_epochs_are_no_part_of_the_set(tmp_path, capsys):
    alone = printed(capsys, tmp_path / "real", tmp_path / "fake")
    write_clips(tmp_path / "fake/epoch1", {"a": moving(3, seed=8)})
    note, *beside = printed(capsys, tmp_path / "real", tmp_path / "fake").splitlines()
    assert beside == alone.splitlines() and "9 generated" in alone
    assert note.startswith(f"note: {tmp_path / 'fake'}: left out are epoch1, ")


@pytest.mark.usefixtures("clips", "inception_file")
def test_saved_statistics_stand_in_for_pictures(tmp_path, monkeypatch, capsys):
    saved = {name: tmp_path / f"{name}.npz" for name in ("real", "fake")}
    direct = printed(capsys, tmp_path / "real", tmp_path / "fake", "--save_stats", saved["real"])
    assert f"wrote {saved['real']}: 9 x 64" in direct
    assert "FID" not in printed(capsys, tmp_path / "fake", "--save_stats", saved["fake"])
    value = direct.splitlines()[1]
    assert value.startswith("FID 0.")
    assert printed(capsys, saved["real"], tmp_path / "fake").splitlines()[0] == value
    assert "FID 0 " in printed(capsys, tmp_path / "real", saved["real"])
    monkeypatch.setattr(FID, "view", None)  # nothing is left for it to see
    assert printed(capsys, saved["real"], saved["fake"]).splitlines()[0] == value


@pytest.mark.usefixtures("inception_file")
def test_statistics_by_other_weights_do_not_compare(tmp_path, capsys):
    clip, features = str(tmp_path / "clip"), np.random.default_rng(0).normal(size=(3, 64))
    write_clips(tmp_path, {"clip": moving(3)})
    one, two = saved = [str(tmp_path / f"{digest}.npz") for digest in ("00", "11")]
    for path, digest in zip(saved, ("00", "11"), strict=True):
        Statistics.of(features, {"weights_sha256": digest}).save(path)
    for pair, message in (((one, two), "weights_sha256 is 00 and 11"), ((clip, two), "weights_sha256 is")):
        assert main([*pair, "--dims", "64"]) == 2
        assert message in capsys.readouterr().err
    assert main([one, clip, "--dims", "192"]) == 2
    assert "do not compare" in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "message"), [
    (["missing", "missing"], "missing does not exist"),
    (["clip"], "give FAKE"),
    (["clip", "--save_stats", "stats.npy"], r"--save_stats stats.npy: expected a file name that ends in .npz"),
    (["clip", "missing.npz"], "missing.npz does not exist"),
    (["clip", "clip", "--json", "clip"], "cannot write clip: it is a folder"),
    (["clip", "--save_stats", "clip/0000.png/s.npz"], "clip/0000.png is not a folder"),
    (["clip", "clip"], "pt_inception-2015-12-05-6726825d.pth"),  # no weights
])
def test_errors(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    write_clips(tmp_path, {"clip": moving(3)})
    if message.startswith("missing.npz"):
        shutil.copytree("clip", "other")
        Statistics.of(np.eye(3)).save("clip.npz")
        arguments = ["clip.npz", "missing.npz"]
    assert main(arguments) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1 and error[0].startswith("error: ") and message in error[0]
    assert not (tmp_path / "stats.npy").exists()


# --- in the whole evaluation: what is compared with what, in which size, by which features

def distance(features, *sides):
    """FID of two lists of pictures, straight from the formula: (n, D) features, the trace by eigenvalues."""
    rows = [features(side) for side in sides]
    covariances = [np.cov(side, rowvar=False) for side in rows]
    root = np.sqrt(np.linalg.eigvals(covariances[0] @ covariances[1]).astype(complex)).real.sum()
    shift = rows[0].mean(axis=0) - rows[1].mean(axis=0)
    return shift @ shift + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * root


@pytest.fixture
def folders(tmp_path):
    """Folder -> its pictures: of the output domain, larger; of the source, darker; generated ones."""
    target, source = moving(7, 48, 64, seed=5), [frame // 3 for frame in moving(5)]
    sides = {"target": target, "source": source, "fake": noisy([255 - frame for frame in source], 20),
             "fake7": [resize_image(frame, 24, 32) for frame in noisy(target, 20)]}
    for name, clip in sides.items():
        write_clips(tmp_path / name, {"a": clip})
    return sides


@pytest.mark.usefixtures("inception_file")
@pytest.mark.parametrize(("arguments", "dims", "counts"), [
    (["target", "fake7"], 64, (7, 7)), (["target", "fake7"], 192, (7, 7)),
    (["target", "fake", "--source", "source"], 64, (7, 5)),
    (["target", "fake", "--unconditional"], 64, (7, 5))], ids=["paired", "192", "unpaired", "unconditional"])
def test_through_compute_metrics(tmp_path, monkeypatch, folders, inception, arguments, dims, counts):
    monkeypatch.chdir(tmp_path)
    real = [resize_image(frame, 24, 32) for frame in folders["target"]]
    expected = distance(inception(dims), real, folders[arguments[1]])
    other = distance(inception(dims), folders["target"], folders[arguments[1]])
    assert abs(other - expected) > 1e-3 * expected  # in their own sizes, they would be others
    flags = ["--only", "fid", "--gpu", "-1", "--json", "m.json"]
    assert metrics_main([*arguments, *flags, "--fid_dims", str(dims)]) == 0
    evaluation = json.loads((tmp_path / "m.json").read_text())
    found = evaluation["metrics"]["fid"]
    assert found["value"] == pytest.approx(expected, rel=1e-4)
    assert found["definition"] == f"fid-inception2015-{dims}-1-generated-size"
    assert (found["details"]["dims"], found["details"]["real_frames"], found["details"]["fake_frames"]) == (
        dims, *counts)
    resized = "resized_images" if "--source" in arguments else "resized_real"
    assert evaluation[resized] == [[48, 64]]


@pytest.mark.usefixtures("inception_file")
def test_a_perfect_model_of_small_pictures_has_fid_0(tmp_path):
    real = {"a": moving(5, 72, 128)}
    perfect = {"a": [resize_image(frame, 36, 64) for frame in real["a"]]}
    sides = write_clips(tmp_path / "real", real), write_clips(tmp_path / "fake", perfect)
    for kind in ("paired", "unconditional"):
        assert evaluate(*sides, kind=kind, only=["fid"], fid_dims=64)["metrics"]["fid"]["value"] == 0
    unpaired = evaluate(*sides[1:], *sides[1:], kind="unpaired", images=sides[0], only=["fid"], fid_dims=64)
    assert unpaired["metrics"]["fid"]["value"] == 0
