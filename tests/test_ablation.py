"""The table of measurements: its statistics, its document, and (slow) that every paired variant runs through it."""
import csv
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks import ablation, ablation_report
from benchmarks.ablation import Results, Run, Stopped
from benchmarks.ablation_report import METRICS, interval, paired, report, verdict
from timecyclegan.video.frames import find_sequences, read_image, write_image

ROOT = Path(__file__).resolve().parent.parent
TITLES = {"paired": {"pix2pix": "pix2pix", "sequence-d": "+ sequence D", "p": "P"}}


def rows(variant, values, budget="steps", **changes):
    """Of a variant, (seeds, clips) of every metric."""
    return [{"data": "street", "family": "paired", "variant": variant, "budget": budget, "seed": str(seed),
             "clip": f"{clip:03}", "frames": "20", "epochs": "1", "train_seconds": "10", "machine": "one",
             **{metric: str(value) for metric in METRICS}, **{k: str(v) for k, v in changes.items()}}
            for seed, clips in enumerate(values) for clip, value in enumerate(clips)]  # fmt: skip


def quick(folder, variant):
    """A bench of the scale quick, and a run of its table."""
    bench = ablation.Bench(ablation.parser().parse_args([str(folder), "--scale", "quick"]),
                           Results(folder / "results", "quick"))  # fmt: skip
    first = ablation.VARIANTS["paired"][0]
    return bench, Run("street", "paired", first, "steps", 0).of(variant)


def test_interval_of_many_clips_is_that_of_the_normal_distribution():
    values = np.random.default_rng(0).normal(3, 2, (1, 400))
    mean, low, high = interval(values)
    half = 1.96 * values.std() / 20
    assert mean == values.mean() and abs(high - mean - half) < 0.1 * half and abs(mean - low - half) < 0.1 * half


def test_interval_spans_seeds_as_well_as_clips():
    """Two seeds, without any spread over clips: half of the draws take the same one twice."""
    assert interval(np.array([[0.0] * 5, [1.0] * 5])) == (0.5, 0.0, 1.0)
    assert interval(np.array([[2.0]])) == (2.0, 2.0, 2.0)


def test_what_differs_from_clip_to_clip_cancels_in_a_paired_difference():
    hard = np.array([[1.0, 5.0, 9.0], [2.0, 4.0, 8.0]])
    both = rows("p", hard - 0.5) + rows("sequence-d", hard)
    own, theirs = paired(both, "p", "sequence-d", "tof")
    np.testing.assert_allclose(interval(own - theirs), -0.5)
    assert paired(both, "p", "pix2pix", "tof") is None
    fewer = [row for row in both if (row["variant"], row["clip"]) != ("p", "001")]
    own, theirs = paired(fewer, "p", "sequence-d", "tof")
    assert own.shape == (2, 2) and (theirs == hard[:, [0, 2]]).all()


@pytest.mark.parametrize(("changes", "said"), [
    ({}, "**win**"), ({"tof": (-1, -2, 0.1)}, "win, within the intervals"),
    ({"tof": (1, 0.5, 2)}, "only excess E_warp"),
    ({"e_warp": (1, 0, 2), "tof": (1, 0, 2)}, "no"), ({"sharpness": (-0.1, -0.2, 0)}, "steadier, but less sharpness"),
])  # fmt: skip
def test_verdicts(changes, said):
    found = {"e_warp": (-1, -2, -0.5), "tof": (-1, -2, -0.5), "sharpness": (0.1, 0, 0.2), "motion": (0, 0, 0),
             "ssim": (0, 0, 0)}  # fmt: skip
    assert verdict(found | changes).startswith(said)


def test_what_does_not_flicker_cannot_be_made_steadier():
    """Its excess E_warp is 0 or below, which is blur: then less is no win, and percents of it mean nothing."""
    for excess, said in ((5.0, "(-20 %)"), (0.0, "nothing to steady"), (-5.0, "nothing to steady")):
        both = rows("sequence-d", np.full((1, 3), 0.5), e_warp=f"{1e-4 * excess}") + rows(
            "p", np.full((1, 3), 0.5), e_warp=f"{1e-4 * (excess - 1)}")
        line = ablation_report.comparisons(both, TITLES["paired"]).splitlines()[-1]
        assert said in line and (excess > 0) == ("%)" in line.split("|")[2])


def test_there_is_no_verdict_without_a_metric_that_it_is_made_of():
    assert verdict({"tof": (-1, -2, -0.5), "sharpness": (0.1, 0, 0.2)}) == "none, without excess E_warp x 10⁴, " \
        "motion-following, SSIM"


def test_the_document_is_made_of_the_rows(tmp_path):
    """What stands around the marks stays, and equal steps stand for equal time where they took as long."""
    results, document = tmp_path / "results", tmp_path / "RESULTS.md"
    document.write_text(f"before\n{ablation_report.BEGIN}old\n{ablation_report.END}\nafter\n")
    own = rows("pix2pix", [[0.004, 0.006]], train_seconds=4) + rows("p", [[0.002, 0.002]])
    own += rows("sequence-d", [[0.001, 0.001]], train_seconds=5)  # faster, and has no run of equal time yet
    own += rows("pix2pix", [[0.003, 0.003]], "time")
    results.mkdir()
    for name, some in (("runs-cpu", own), ("runs-cpu-long", rows("p", [[0.001, 0.001]]))):
        with (results / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(own[0]))
            writer.writeheader()
            writer.writerows(some)
    report(results, document, TITLES)
    whole = document.read_text()
    assert whole.startswith("before\n") and whole.endswith("\nafter\n") and "old" not in whole
    text, longer = whole.split("## Scale `cpu-long`")  # a scale before its longer one
    assert "equal steps" in longer
    steps, time = text.split("equal steps")[1].split("equal time")
    assert "| pix2pix | 50.0 [40.0, 60.0]" in steps and "| P | 20.0 [20.0, 20.0]" in steps
    assert "| pix2pix | 30.0 [30.0, 30.0]" in time and "| P | 20.0 [20.0, 20.0]" in time
    assert "| P, *against* pix2pix | -30.0 [-40.0, -20.0] (-60 %)" in steps
    assert "| + sequence D | 10.0" in steps and "+ sequence D" not in time
    for place in text.split("](")[1:]:
        assert (tmp_path / place.split(")")[0]).is_file()


def test_an_average_over_time_settles_by_half(tmp_path):
    """Of frames 0, 0, 200, 200 it is 0, 0, 100, 150, and it waits for what it is of."""
    bench, run = quick(tmp_path, "averaged")
    with pytest.raises(Stopped, match="waits for street-paired-pix2pix-steps-0"):
        bench.make(run, tmp_path / "data")
    of = run.of("pix2pix")
    bench.results.add(of, [{"clip": "000", "frames": 4}], [],
                      {"epochs": 1, "train_seconds": 2, "flags": " ".join(bench.flags(of, 1))})  # fmt: skip
    assert bench(of) == "was done"
    assert "other flags" in bench(of._replace(variant=of.variant._replace(flags="-m dcgan")))
    for test in ("val", "long"):
        (tmp_path / "data" / test / "val").mkdir(parents=True)
        for t, gray in enumerate((0, 0, 200, 200)):
            write_image(bench.work / "runs" / of.name / test / of.name / "000" / f"{t}.png",
                        np.full((8, 8, 3), gray, np.uint8))  # fmt: skip
    made, epochs, seconds = bench.make(run, tmp_path / "data")
    frames = [read_image(path) for path in find_sequences(made["val"])["000"]]
    assert [frame[0, 0, 0] for frame in frames] == [0, 0, 100, 150] and (epochs, seconds) == (1, 2.0)


def test_a_run_that_was_begun_with_other_flags_begins_anew(tmp_path, monkeypatch):
    """Its checkpoint must not end as rows of the flags that the table has now."""
    bench, run = quick(tmp_path, "p")
    trained = []
    monkeypatch.setattr(bench, "process", lambda folder, command: trained.append(command))
    bench.train(run, ["a", "b"], 1)
    bench.train(run, ["a", "b"], 1)
    assert len(trained) == 1
    bench.train(run._replace(variant=run.variant._replace(flags="-m pix2pix")), ["a", "b"], 1)
    assert len(trained) == 2 and "--overwrite" in trained[1] and "pix2pix" in trained[1]


def test_the_rows_that_are_kept_are_of_the_table_as_it_is(tmp_path):
    """Rows of flags that a variant had once would stand under its name; and the document shows pictures that exist."""
    for path in sorted(ablation.RESULTS.glob("runs-*.csv")):
        scale = path.stem.removeprefix("runs-")
        bench = ablation.Bench(ablation.parser().parse_args([str(tmp_path), "--scale", scale]), None)
        for row in ablation_report.read(path):
            first = ablation.VARIANTS[row["family"]][0]
            run = Run(row["data"], row["family"], first, row["budget"], int(row["seed"])).of(row["variant"])
            assert row["flags"] == " ".join(bench.flags(run, row["epochs"])), f"{path.name}: {run.name}"
    document = ROOT / "docs/RESULTS.md"
    for place in re.findall(r"\]\((results/[^)#]+)\)", document.read_text()):
        assert (document.parent / place).exists(), place


@pytest.mark.slow
def test_a_table_that_is_stopped_leaves_no_training_behind(tmp_path):
    command = [sys.executable, "benchmarks/ablation.py", str(tmp_path), "--quick", "--variants", "pix2pix"]
    bench = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    log = tmp_path / "quick/runs/street-paired-pix2pix-steps-0/log.txt"
    for _ in range(600):
        if log.exists() and "trains on" in log.read_text():
            break
        time.sleep(0.1)
    bench.send_signal(signal.SIGTERM)
    said, _ = bench.communicate(timeout=90)
    assert "cut off, and goes on next time" in said and "stopped by SIGTERM" in log.read_text()
    assert bench.returncode == 128 + signal.SIGTERM


@pytest.mark.slow
def test_quick_measures_every_paired_variant_once(tmp_path):
    command = [sys.executable, "benchmarks/ablation.py", str(tmp_path), "--quick"]
    first = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    names = {variant.name for variant in ablation.VARIANTS["paired"]}
    with (tmp_path / "results/runs-quick.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert {row["variant"] for row in found} == names and len(found) == 2 * len(names)
    assert all(float(row[metric]) == float(row[metric]) for row in found for metric in METRICS)
    text = (tmp_path / "RESULTS.md").read_text()
    assert all(f"| {variant.title} |" in text for variant in ablation.VARIANTS["paired"])
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert again.stdout.count("was done") == len(names) and (tmp_path / "RESULTS.md").read_text() == text
