"""A report page made for a test, and what stands in it."""
import json
import re

from timecyclegan.evaluation.base import Evaluation
from timecyclegan.report.page import write_report

METRICS = {
    "fid": {"value": None, "reason": "needs <weights>", "better": "lower"},
    "tof": {"title": "tOF", "value": 1.23456, "unit": "px", "better": "lower", "definition": "tof-farneback-1",
            "frames": 12, "pairs": 10, "sequences": 2, "per_sequence": {"a": 1.1111, "<b>": 2.2222}},
    "psnr": {"value": 23.456, "unit": "dB", "better": "higher", "frames": 12, "skipped": 1, "skipped_because": "equal"},
    "flicker": {"value": 0.9, "better": "closer to the real clip", "real": 0.95},
    "new_metric": {"value": 7.5},
}


def report(folder, sequences=(), metrics=METRICS, losses_csv=None, options=None, facts=None, past=None, **kwargs):
    """The page; ``facts`` are further ones of the evaluation, ``past`` the metrics of the one to compare with."""
    evaluation = Evaluation.from_json({"metrics": metrics, "frame_size": [24, 40], **(facts or {})})
    comparison = past and ("past", Evaluation.from_json({"metrics": past}))
    write_report(folder / "report.html", title="run <1>", evaluation=evaluation,
                 losses_csv=losses_csv or folder / "none", options=options or {}, sequences=list(sequences),
                 comparison=comparison, **kwargs)
    return (folder / "report.html").read_text("utf-8")


def embedded(page, kind="sequence"):
    """The JSON of each element of a kind."""
    return [json.loads(text) for text in re.findall(
        rf'<script type="application/json" class="{kind}">(.*?)</script>', page, re.S)]


def shown(*args, **kwargs):
    """What a page made so draws."""
    data, = embedded(report(*args, **kwargs), "page")
    return data


def make_losses(folder, rows=3000):
    lines = ["step,epoch,Loss/Generator/gan,Loss/Generator/l<1>,Loss/Discriminator/image,Loss/Generator/never"]
    for i in range(rows):
        noise = i * 7919 % 101
        lines.append(f"{i * 10},{i // 100},{noise},{noise if i % 3 == 0 else ''},{'nan' if i > 2990 else noise},")
    (folder / "losses.csv").write_text("\n".join(lines) + "\n29999,30,1.")
    return folder / "losses.csv"
