"""What is compared when there is no real frame of the same moment: with the source clip, or set with set."""
import itertools
import json

import numpy as np
import pytest

from tests.evaluation.helpers import moving, noisy, write_clips
from timecyclegan.evaluation.base import Evaluation
from timecyclegan.evaluation.compute_grid import grid_energy
from timecyclegan.evaluation.compute_metrics import evaluate, main
from timecyclegan.evaluation.compute_sharpness import gradient_energy
from timecyclegan.evaluation.evaluate import KINDS
from timecyclegan.evaluation.report import csv_row, format_comparison, format_metrics
from timecyclegan.flow.opencv import farneback
from timecyclegan.util.errors import UserError
from timecyclegan.video.frames import resize_image

FIDELITY, OF_SETS = ("lpips", "psnr", "ssim", "l1"), ("sharpness", "grid")
TEMPORAL, ENERGIES = {"tof", "flicker", "flicker_real"}, {"sharpness", "sharpness_real", "grid", "grid_real"}
FILLED = {
    "paired": TEMPORAL | {"e_warp", "e_warp_real", "motion", "motion_real"} | ENERGIES | {"psnr", "ssim", "l1"},
    "unpaired": TEMPORAL | {"e_warp", "e_warp_real", "motion", "motion_real"},  # without real pictures
    "unconditional": TEMPORAL | ENERGIES,
}


def evaluated(tmp_path, real, fake, **options):
    return evaluate(write_clips(tmp_path / "real", real), write_clips(tmp_path / "fake", fake), **options)


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_defined_columns_are_filled(tmp_path, kind):
    real = {"a": moving(4, step=2), "b": moving(3, seed=4, step=2)}
    evaluation = evaluated(tmp_path, real, {name: noisy(clip) for name, clip in real.items()}, kind=kind)
    assert {column for column, text in csv_row(Evaluation.from_json(evaluation)).items() if text} == FILLED[kind]
    assert json.loads(json.dumps(evaluation, allow_nan=False)) == evaluation
    assert (evaluation["kind"], evaluation["reference"]) == (kind, KINDS[kind].reference)
    for facts in evaluation["metrics"].values():
        assert (facts["value"] is None) == bool(facts["reason"])


def test_reasons(tmp_path):
    clip = {"a": moving(3)}
    for kind in ("unpaired", "unconditional"):
        metrics = evaluated(tmp_path / kind, clip, clip, kind=kind)["metrics"]
        assert {metrics[name]["reason"] for name in FIDELITY} == {"no real frame shows the same moment"}
    assert {metrics[name]["reason"] for name in ("e_warp", "motion")} == {"no real flow belongs to a generated clip"}


def test_definitions_tell_the_kinds_apart(tmp_path):
    clip = {"a": moving(3)}
    found = {kind: {name: facts["definition"] for name, facts in evaluated(
        tmp_path / kind, clip, clip, kind=kind)["metrics"].items()} for kind in KINDS}
    for name in ("tlp", "tof", "e_warp", "motion", "flicker"):
        assert len({found[kind][name] for kind in KINDS}) == 3, name
        assert found["unpaired"][name] == f"{found['paired'][name]}-source"
        assert found["unconditional"][name] == f"{found['paired'][name]}-means"
    for name in ("fid", *OF_SETS, *FIDELITY):  # these mean the same wherever they are defined
        assert len({found[kind][name] for kind in KINDS}) == 1, name


def test_unpaired_temporal_metrics_are_those_against_the_source_clip(tmp_path):
    source = {"a": moving(4), "b": moving(2, seed=3)}
    fake = {name: noisy(clip, 15) for name, clip in source.items()}
    paired = evaluated(tmp_path / "1", source, fake)["metrics"]
    unpaired = evaluated(tmp_path / "2", source, fake, kind="unpaired")["metrics"]
    for name in ("tof", "e_warp", "flicker"):
        assert unpaired[name]["value"] == paired[name]["value"] is not None
        assert unpaired[name].get("real") == paired[name].get("real")
    for name in ("e_warp", "flicker"):
        assert unpaired[name]["better"] == "closer to the source clip" != paired[name]["better"]
    same = evaluated(tmp_path / "3", source, source, kind="unpaired")["metrics"]
    assert same["tof"]["value"] == 0 and same["e_warp"]["value"] == same["e_warp"]["real"]


def test_unpaired_clips_must_match_their_source(tmp_path):
    with pytest.raises(UserError, match=r"numbers of frames differ .* sequence a \(3 and 2\)"):
        evaluated(tmp_path, {"a": moving(3)}, {"a": moving(2)}, kind="unpaired")


# --- sets of clips

def mean_magnitude(clips):
    """Mean over all pairs of the mean length of the flow, straight from its words."""
    pairs = [farneback(a, b).astype(np.float64) for clip in clips.values() for a, b in itertools.pairwise(clip)]
    return np.mean([np.hypot(flow[..., 0], flow[..., 1]).mean() for flow in pairs])


def mean_flicker(clips):
    return np.mean([1 - np.abs(a.astype(float) - b).mean() / 255 for clip in clips.values()
                    for a, b in itertools.pairwise(clip)])


def test_sets_are_compared_by_their_means(tmp_path):
    """Other names, numbers and lengths; one name that both sides have."""
    real = {"a": moving(6, step=3), "z": moving(3, seed=2)}
    fake = {"a": moving(3, seed=5), "b": noisy(moving(2, seed=6)), "c": moving(1, seed=7)}
    evaluation = evaluated(tmp_path, real, fake, kind="unconditional")
    tof, flicker = evaluation["metrics"]["tof"], evaluation["metrics"]["flicker"]
    assert tof["value"] == pytest.approx(abs(mean_magnitude(real) - mean_magnitude(fake)), rel=1e-6)
    assert tof["details"] == pytest.approx({"generated": mean_magnitude(fake), "real": mean_magnitude(real)}, rel=1e-6)
    assert (tof["frames"], tof["pairs"], tof["sequences"]) == (6, 3, 3)
    for name, clip in fake.items():
        if len(clip) > 1:
            expected = abs(mean_magnitude({name: clip}) - mean_magnitude(real))
            assert tof["per_sequence"][name] == pytest.approx(expected, rel=1e-6)
    assert tof["per_sequence"]["c"] is None
    assert flicker["value"] == pytest.approx(mean_flicker(fake), rel=1e-12)
    assert flicker["real"] == pytest.approx(mean_flicker(real), rel=1e-12)
    assert set(flicker["per_sequence"]) == {"a", "b", "c"} and set(flicker["real_per_sequence"]) == {"a", "z"}
    assert len(flicker["per_frame"]["a"]) == 3 and len(flicker["real_per_frame"]["a"]) == 6
    assert (evaluation["reference_frames"], evaluation["reference_sequences"]) == (9, 2)


ENERGY = {"sharpness": gradient_energy, "grid": grid_energy}


@pytest.mark.parametrize("kind", ["unconditional", "unpaired"])
def test_energies_of_sets_are_the_ratio_of_their_means(tmp_path, kind):
    """Over all frames of either side, other names, numbers and lengths; what was translated plays no part."""
    real = {"a": moving(6, step=3), "z": noisy(moving(3, seed=2))}
    fake = {"a": moving(3, seed=5), "b": noisy(moving(2, seed=6), 25)}
    if kind == "unpaired":
        source = {name: noisy(clip, 60, seed=9) for name, clip in fake.items()}
        options = {"images": write_clips(tmp_path / "images", real), "real": source}
    else:
        options = {"real": real}
    evaluation = evaluated(tmp_path, fake=fake, kind=kind, **options)
    metrics, read = evaluation["metrics"], Evaluation.from_json(json.loads(json.dumps(evaluation)))
    for name, energy in ENERGY.items():
        beside = "real pictures" if kind == "unpaired" else "real clips"  # not what was translated
        assert metrics[name]["better"] == read.values[name].better == f"closer to the {beside}"
        beside = np.mean([energy(frame) for clip in real.values() for frame in clip])
        each = {clip: [energy(frame) / beside for frame in frames] for clip, frames in fake.items()}
        found = metrics[name]
        assert found["value"] == pytest.approx(np.mean([*each["a"], *each["b"]]), rel=1e-9)
        assert found["per_sequence"] == pytest.approx({clip: np.mean(each[clip]) for clip in each}, rel=1e-9)
        assert found["per_frame"]["b"] == pytest.approx(each["b"], rel=1e-9)
        assert (found["real"], found["frames"], found["pairs"], found["sequences"]) == (1, 5, 3, 2)
    flat = {"r": [np.full((24, 32, 3), 7, np.uint8)] * 2}
    options["images" if kind == "unpaired" else "real"] = (
        write_clips(tmp_path / "flat", flat) if kind == "unpaired" else flat)
    for name, facts in evaluated(tmp_path / "2", fake=fake, kind=kind, **options)["metrics"].items():
        if name in ENERGY:
            assert facts["value"] is None and facts["reason"], name


def test_the_same_set_is_at_distance_0_whatever_its_names(tmp_path):
    real = {"a": moving(4), "b": moving(3, seed=3)}
    found = evaluated(tmp_path, real, {"x": real["b"], "y": real["a"]}, kind="unconditional")["metrics"]
    assert found["tof"]["value"] == pytest.approx(0, abs=1e-12)
    assert found["flicker"]["value"] == pytest.approx(found["flicker"]["real"], rel=1e-12)


def test_the_direction_of_motion_does_not_matter_between_sets_but_its_speed_does(tmp_path):
    """By contrast, tOF of a mirrored clip against its own source is far from 0."""
    clip, fast = {"a": moving(4, 32, 48)}, {"a": moving(4, 32, 48, step=3)}
    mirrored = {"a": [np.ascontiguousarray(frame[:, ::-1]) for frame in clip["a"]]}

    def tof(kind, real, fake):
        return evaluated(tmp_path / f"{kind}{fake is fast}", real, fake, kind=kind)["metrics"]["tof"]["value"]

    assert tof("unconditional", clip, mirrored) < 0.05 < 1 < tof("unpaired", clip, mirrored)
    assert 1 < tof("unconditional", clip, fast) < 3


def test_real_clips_of_another_size_are_resized(tmp_path):
    large = {"r": moving(3, 48, 64)}
    fake = {"f": moving(2)}
    small = {"r": [resize_image(frame, 24, 32) for frame in large["r"]]}
    resized = evaluated(tmp_path / "1", large, fake, kind="unconditional")
    plain = evaluated(tmp_path / "2", small, fake, kind="unconditional")
    assert resized["metrics"]["tof"] == plain["metrics"]["tof"]
    assert resized["resized_real"] == [[48, 64]] and plain["resized_real"] == []
    assert resized["frame_size"] == [24, 32]


def test_sets_without_pairs_or_frames(tmp_path):
    still, clip = {"a": moving(1)}, {"b": moving(3)}
    for name, (real, fake) in {"real": (still, clip), "fake": (clip, still)}.items():
        tof = evaluated(tmp_path / name, real, fake, kind="unconditional")["metrics"]["tof"]
        assert tof["value"] is None and "two frames in a row" in tof["reason"]
        assert tof["reason"].startswith("of the real clips") == (name == "real")
    with pytest.raises(UserError, match="no frames"):
        evaluate({}, write_clips(tmp_path / "x", clip), kind="unconditional")


# --- tables

@pytest.mark.parametrize(("kind", "head", "note"), [
    ("paired", "real clip ", "12x9"), ("unpaired", "source clip ", "12x9"),
    ("unconditional", "real clips ", "beside 5 frames in 2 real sequence(s)")])
def test_tables_say_what_is_compared_with(tmp_path, kind, head, note):
    real = {"a": moving(3, 9, 12), "b": moving(2, 9, 12)}
    table = format_metrics(Evaluation.from_json(evaluated(tmp_path, real, real, kind=kind)))
    assert head in table.splitlines()[0] and note in table


def test_a_comparison_of_several_says_where_definitions_differ(tmp_path):
    real = {"a": moving(3, 9, 12)}
    found = {kind: Evaluation.from_json(evaluated(tmp_path / kind, real, real, kind=kind)) for kind in KINDS}
    apart = format_comparison({"one": found["paired"], "two": found["unpaired"]})
    for title, name in (("tOF", "tof-farneback-1"), ("E_warp", "ewarp-fwd-farneback-1"), ("flicker", "flicker-1")):
        line = f"* {title}: not comparable, one and two: the definitions differ: {name} and {name}-source"
        assert line in apart.splitlines()
        assert f"{title} * " in apart
    assert "not comparable" not in format_comparison({"one": found["paired"], "two": found["paired"]})


def test_kinds_by_command(tmp_path, capsys):
    write_clips(tmp_path / "real", {"a": moving(3)})
    write_clips(tmp_path / "source", {"b": moving(2)})
    write_clips(tmp_path / "fake", {"b": noisy(moving(2))})
    real, fake, source = (str(tmp_path / name) for name in ("real", "fake", "source"))
    written = tmp_path / "m.json"

    def found(*arguments):
        assert main([*arguments, "--json", str(written)]) == 0
        return json.loads(written.read_text())

    assert found(real, fake, "--unconditional")["kind"] == "unconditional"
    unpaired, blind = found(real, fake, "--source", source), found("-", fake, "--source", source)
    assert unpaired["kind"] == blind["kind"] == "unpaired"
    for name in ("tof", "e_warp", "flicker"):
        assert unpaired["metrics"][name]["value"] == blind["metrics"][name]["value"] is not None
    for name in ("fid", *OF_SETS):
        assert blind["metrics"][name]["reason"] == "no real pictures of what is generated were given"


@pytest.mark.parametrize(("arguments", "words"), [
    (["-", "FAKE"], "--source SRC must say"), (["REAL", "FAKE", "--unconditional", "--source", "REAL"], "--source has"),
    (["REAL", "FAKE", "--unconditional", "--flow", "REAL"], "--flow has no use"),
    (["REAL", "FAKE", "--resize", "0", "9"], "--resize 0 9"), (["REAL", "FAKE", "--source", "NONE"], "does not exist")])
def test_contradictions_on_the_command_line(tmp_path, capsys, arguments, words):
    write_clips(tmp_path / "REAL", {"a": moving(2)})
    write_clips(tmp_path / "FAKE", {"a": moving(2)})
    assert main([str(tmp_path / word) if word.isupper() else word for word in arguments]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
