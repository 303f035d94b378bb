"""Building the kernels and choosing them: what is said, what is used."""
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import timecyclegan
from timecyclegan.models.networks.flownet2_pytorch import ops
from timecyclegan.models.networks.flownet2_pytorch.ops import build, kernels, pytorch
from timecyclegan.util.errors import UserError

NOT_BUILT = f"no kernels were built: {kernels.INSTALL}"


def program(folder: Path, name: str, script: str) -> Path:
    """A shell script in place of a compiler."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """Nothing is installed; the folder is all that is searched for programs."""
    for name in ("CXX", "CUDA_HOME", "CUDA_PATH", "TORCH_CUDA_ARCH_LIST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(build, "LOG", tmp_path / "log")
    find = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: find(name) if "/usr/local" not in name else None)
    monkeypatch.setattr(torch.version, "cuda", "13.2")
    return tmp_path


NVCC = 'case $1 in --version) echo "Cuda compilation tools, release 13.0, V13.0.88";; esac'


@pytest.mark.skipif(not kernels.BUILT, reason=NOT_BUILT)
def test_built_kernels_are_used_where_they_were_built(monkeypatch):
    def unused(*args):
        raise AssertionError("plain PyTorch was used")

    for name in pytorch.__all__:
        monkeypatch.setattr(pytorch, name, unused)
    a = torch.ones(1, 2, 3, 4, requires_grad=True)
    out = ops.correlation(a, a).sum() + ops.resample2d(a, a).sum() + ops.channelnorm(a).sum()
    out.backward()
    assert a.grad.isfinite().all()


@pytest.mark.skipif(bool(kernels.BUILT), reason="kernels were built")
def test_plain_pytorch_is_used_where_nothing_was_built(monkeypatch):
    calls = []
    monkeypatch.setattr(pytorch, "channelnorm", lambda x: calls.append(x) or x[:, :1].clone())
    ops.channelnorm(torch.ones(1, 2, 3, 4))
    assert len(calls) == 1


def test_the_choice_is_said_once(monkeypatch, capsys):
    for built, device, expected in (
        ((), "cpu", "plain PyTorch; faster kernels: bash"), ((), "mps", "plain PyTorch\n"),
        (("CPU",), "cpu", "built kernels"), (("CPU",), "cuda", "plain PyTorch; faster kernels: bash"),
        (("CPU", "sm_80", "sm_90+PTX"), "cuda", "built kernels (sm_80, sm_90+PTX)"),
    ):  # fmt: skip
        monkeypatch.setattr(kernels, "BUILT", built)
        kernels.announce.cache_clear()
        kernels.announce(device)
        kernels.announce(device)
        said = capsys.readouterr().out
        assert said.startswith(f"note: FlowNet2 on {device}: {expected}") and said.count("\n") == 1
    kernels.announce.cache_clear()


def test_a_library_that_does_not_load_is_not_used(monkeypatch, capsys, tmp_path):
    damaged = tmp_path / "library.so"
    damaged.write_bytes(b"no library")
    monkeypatch.setattr(kernels, "path", lambda: damaged)
    assert kernels.load() == ()
    assert f"note: {damaged} cannot be loaded" in capsys.readouterr().out


def test_a_library_is_of_its_sources_and_its_torch(monkeypatch, tmp_path):
    first = kernels.path()
    assert torch.__version__ in first.name
    monkeypatch.setattr(kernels, "SOURCES", tmp_path)
    (tmp_path / "ops.cpp").write_text("other")
    assert kernels.path().parent == first.parent
    assert kernels.path().name != first.name


def test_the_compiler(bare, monkeypatch):
    with pytest.raises(UserError, match=r"no C\+\+ compiler: g\+\+ or c\+\+ is not there; install g\+\+, or set CXX"):
        build.find_compiler()
    program(bare, "g++", "")
    assert build.find_compiler() == str(bare / "g++")
    monkeypatch.setenv("CXX", "clang++")
    with pytest.raises(UserError, match=r"clang\+\+ is not there"):
        build.find_compiler()


def test_nvcc_of_torchs_own_version(bare, monkeypatch):
    with pytest.raises(UserError, match="nvcc is missing: install the CUDA 13 toolkit, or set CUDA_HOME"):
        build.find_nvcc()
    program(bare, "nvcc", "echo release 12.4")
    with pytest.raises(UserError, match="is not of CUDA 13, with which torch was built"):
        build.find_nvcc()
    wanted = program(bare, "home/bin/nvcc", NVCC)
    monkeypatch.setenv("CUDA_HOME", str(bare / "home"))
    assert build.find_nvcc() == str(wanted)
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(UserError, match="is built without CUDA"):
        build.find_nvcc()


def test_architectures(monkeypatch):
    for given, names, options in (
        ("", ["all-major"], ["-arch=all-major"]),
        ("7.5;9.0+PTX", ["7.5", "9.0+PTX"], ["-gencode", "arch=compute_75,code=[sm_75]", "-gencode",
                                              "arch=compute_90,code=[sm_90,compute_90]"]),
        ("10.0a", ["10.0a"], ["-gencode", "arch=compute_100a,code=[sm_100a]"]),
    ):  # fmt: skip
        monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", given)
        assert build.architectures() == (names, options)
    for given in ("Hopper", "9.0 x"):
        monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", given)
        with pytest.raises(UserError, match=r"expected numbers like 9\.0 or 9\.0\+PTX"):
            build.architectures()


def install(monkeypatch, capsys, *arguments: str) -> tuple[int, str, str]:
    """Exit code, output and errors of the build."""
    monkeypatch.setattr(sys, "argv", ["install.sh", *arguments])
    return build.main(), *capsys.readouterr()


def test_what_is_missing_is_said_in_one_line(bare, monkeypatch, capsys):
    code, out, errors = install(monkeypatch, capsys)
    assert (code, out, errors.count("\n")) == (2, "", 1) and "no C++ compiler" in errors
    program(bare, "g++", "echo in file x: >&2; echo 'x.h:3: fatal error: y.h: no such file' >&2; exit 1")
    code, out, errors = install(monkeypatch, capsys)
    assert (code, out, errors.count("\n")) == (2, "", 1)
    assert "g++ failed on correlation_cpu.cpp: x.h:3: fatal error: y.h: no such file" in errors
    assert "in file x" in build.LOG.read_text()


def test_a_gpu_without_nvcc_is_not_passed_over(bare, monkeypatch, capsys):
    program(bare, "g++", "exit 1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    code, _, errors = install(monkeypatch, capsys)
    assert code == 2
    assert "nvcc is missing" in errors
    assert "install.sh --cpu builds for the CPU alone" in errors
    assert "g++ failed" in install(monkeypatch, capsys, "--cpu")[2]


@pytest.fixture
def clone(tmp_path) -> Path:
    """A copy of the package where nothing was built."""
    package = Path(timecyclegan.__file__).parent
    shutil.copytree(package, tmp_path / "clone/timecyclegan", ignore=shutil.ignore_patterns("build", "__pycache__"))
    return tmp_path / "clone"


def run_install(clone: Path, folder: Path, **environment: str) -> subprocess.CompletedProcess:
    script = clone / "timecyclegan/models/networks/flownet2_pytorch/install.sh"
    clean = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONPATH")}
    return subprocess.run(["/bin/bash", script, "--cpu"], cwd=folder, env={**clean, **environment}, capture_output=True,
                          text=True)


def test_install_without_torch(clone, tmp_path):
    path = "/nowhere" if not shutil.which("dirname") else str(Path(shutil.which("dirname")).parent)
    program(tmp_path, "empty/python3", "exit 1")
    program(tmp_path, "empty/python", "exit 1")
    done = run_install(clone, tmp_path, PATH=f"{tmp_path / 'empty'}:{path}")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: no Python with torch")
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="there is no g++")
def test_install_in_a_fresh_clone(clone, tmp_path):
    # from another folder, with the active environment's Python
    done = run_install(clone, tmp_path, VIRTUAL_ENV=sys.prefix)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("built FlowNet2's kernels for the CPU (")
    assert done.stdout.count("\n") == 1
    code = ("import torch; from timecyclegan.models.networks.flownet2_pytorch import ops; "
            "print(ops.__file__, ops.kernels.BUILT, ops.channelnorm(torch.ones(1, 4, 1, 1)).item())")
    used = subprocess.run([sys.executable, "-c", code], cwd=clone, capture_output=True, text=True, check=True).stdout
    assert used.startswith(str(clone))
    assert used.endswith("('CPU',) 2.0\n")
    left = clone / "timecyclegan/models/networks/flownet2_pytorch/build"
    assert [path.suffix for path in left.iterdir()] == [".so"]
