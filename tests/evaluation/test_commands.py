"""The commands: each names itself, takes only what does something for it, and answers mistakes in one line."""
import re
import subprocess
import sys

import pytest

from timecyclegan.evaluation import (
    compute_ewarp,
    compute_fid,
    compute_flicker,
    compute_fvd,
    compute_grid,
    compute_l1,
    compute_lpips,
    compute_metrics,
    compute_motion,
    compute_psnr_ssim,
    compute_sharpness,
    compute_tlp,
    compute_tof,
)
from timecyclegan.evaluation.command import compare_frames, compare_sets

ALL = {"--json", "--resize", "--per_frame", "--require", "--help"}
ALONE = {"--source", "--unconditional"}  # these say what is compared with where no real frame shows the same moment
SETS = {"--json", "--gpu", "--save_stats", "--help"}
FLOW = {"--flow_backend", "--flow_weights", "--gpu"}
TAKES = {  # module: (class names, its flags)
    compute_tof: (["TOF"], ALL | ALONE | FLOW), compute_tlp: (["TLP"], ALL | ALONE | {"--gpu"}),
    compute_ewarp: (["EWarp"], ALL | FLOW | {"--source", "--flow"}), compute_flicker: (["Flicker"], ALL | ALONE),
    compute_lpips: (["LPIPS"], ALL | {"--gpu"}), compute_psnr_ssim: (["PSNR", "SSIM"], ALL),
    compute_motion: (["Motion"], ALL | FLOW | {"--source", "--flow"}), compute_l1: (["L1"], ALL),
    compute_sharpness: (["Sharpness"], ALL | ALONE), compute_grid: (["Grid"], ALL | ALONE),
    compute_fid: (["FID"], SETS | {"--dims"}), compute_fvd: (["FVD"], SETS),
    compute_metrics: (["METRICS"], ALL | ALONE | FLOW | {"--flow", "--fid_dims", "--only", "--also"}),
}


def call(module, arguments):
    """The command, as its tail calls it."""
    names, prog = TAKES[module][0], module.__name__.rsplit(".", 1)[-1]
    if module is compute_metrics:
        return module.main(arguments)
    if module in (compute_fid, compute_fvd):
        return compare_sets(prog, module.__doc__, getattr(module, names[0]), arguments)
    return compare_frames(prog, module.__doc__, [getattr(module, name) for name in names], arguments)


@pytest.mark.parametrize("module", TAKES, ids=lambda module: module.__name__.rsplit("_", 1)[-1])
def test_help_and_mistakes(module, capsys):
    with pytest.raises(SystemExit, match="0"):
        call(module, ["-h"])
    text = capsys.readouterr().out
    assert text.startswith(f"usage: python -m {module.__name__} ")
    assert module.__doc__.splitlines()[0] in text
    assert set(re.findall(r"--\w+", text.split("options:")[1])) >= TAKES[module][1]
    assert set(re.findall(r"^ +(?:-h, )?(--\w+)", text, re.M)) == TAKES[module][1]
    for arguments in (["--nonsense", "a", "b"], [], ["a", "b", "--json"], ["a", "b", "c"]):
        assert call(module, arguments) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and error.startswith("error: ")


@pytest.mark.parametrize("name", [
    "compute_tof", "report",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("compute_fid", "compute_fvd", "compute_psnr_ssim")),
])  # fmt: skip
def test_modules_know_themselves(name):
    command = [sys.executable, "-m", f"timecyclegan.evaluation.{name}", "-h"]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith(f"usage: python -m timecyclegan.evaluation.{name} ")
    assert not found.stderr
