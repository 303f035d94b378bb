"""Build the kernels of the operations for this Python's torch; ``install.sh`` runs it.

The compilers are called directly: all that must be there is a C++ compiler, and CUDA's nvcc for kernels that run on
GPUs. No GPU need be in sight: by default the library has code for every major architecture that the toolkit knows;
``TORCH_CUDA_ARCH_LIST`` (such as "8.0 9.0+PTX") chooses others.
"""
import argparse
import contextlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from timecyclegan.models.networks.flownet2_pytorch.ops import kernels
from timecyclegan.util.errors import UserError, command
from timecyclegan.util.files import replacing

LOG = Path(tempfile.gettempdir()) / "flow_ops_build.log"


def find_compiler() -> str:
    """The C++ compiler: ``$CXX``, g++ or c++."""
    names = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "c++"]
    if found := next(filter(None, map(shutil.which, names)), None):
        return found
    raise UserError(f"no C++ compiler: {' or '.join(names)} is not there; install g++, or set CXX")


def find_nvcc() -> str:
    """CUDA's compiler, of the major version that torch was built with.

    Raises:
        UserError: there is none; says what is missing.
    """
    if not torch.version.cuda:
        raise UserError(f"torch {torch.__version__} is built without CUDA")
    major = torch.version.cuda.split(".")[0]
    homes = [os.environ[name] for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    places = [*(f"{home}/bin/nvcc" for home in homes), "nvcc", "/usr/local/cuda/bin/nvcc"]
    nvcc = next(filter(None, map(shutil.which, places)), None)
    if nvcc is None:
        raise UserError(f"nvcc is missing: install the CUDA {major} toolkit, or set CUDA_HOME")
    version = re.search(r"release (\d+)", run([nvcc, "--version"]))
    if version is None or version[1] != major:
        raise UserError(f"{nvcc} is not of CUDA {major}, with which torch was built: install that toolkit, or set "
                        "CUDA_HOME")
    return nvcc


def architectures() -> tuple[list[str], list[str]]:
    """The names of the architectures to build for, and nvcc's options for them."""
    wanted = os.environ.get("TORCH_CUDA_ARCH_LIST", "").replace(";", " ").split()
    if not wanted:  # GPUs run the code of their major architecture; later ones translate the newest one's PTX
        return ["all-major"], ["-arch=all-major"]
    options = []
    for item in wanted:
        number = re.fullmatch(r"(\d+)\.(\d[af]?)(\+PTX)?", item)
        if not number:
            raise UserError(f"TORCH_CUDA_ARCH_LIST has {item!r}; expected numbers like 9.0 or 9.0+PTX")
        code = number[1] + number[2]
        options += ["-gencode", f"arch=compute_{code},code=[sm_{code}{f',compute_{code}' if number[3] else ''}]"]
    return wanted, options


def run(arguments: list[str], about: str = "") -> str:
    """What a program prints.

    Raises:
        UserError: it fails; names the first error, and leaves all that it said in :data:`LOG`.
    """
    done = subprocess.run(arguments, capture_output=True, text=True)
    if done.returncode:
        text = done.stdout + done.stderr
        with contextlib.suppress(OSError):
            LOG.write_text(f"{' '.join(arguments)}\n{text}")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        first = next((line for line in lines if "error" in line.lower()), (lines or ["no message"])[-1])
        raise UserError(f"{Path(arguments[0]).name} failed{about}: {first} (all of it: {LOG})")
    return done.stdout


def build(target: Path, compiler: str, nvcc: str | None) -> list[str]:
    """Compile and link the library; returns the CUDA architectures that it is for.

    The sources that need both torch and CUDA go through nvcc, which knows where its headers and libraries are.
    """
    names, options = architectures() if nvcc else ([], [])
    plain = [compiler, "-fPIC"]
    driver = [nvcc, "-ccbin", compiler, "-Xcompiler", "-fPIC", "-cudart", "shared", "-DWITH_CUDA"] if nvcc else plain
    home = Path(torch.__file__).parent
    includes = [f"-I{home / folder}" for folder in ("include", "include/torch/csrc/api/include")]
    cpp = ["-O3", "-std=c++20", *includes]
    loops = ["-fno-math-errno"]  # errno would keep square roots out of vectors
    loops += [] if sys.platform == "darwin" else ["-fopenmp"]  # Apple's compiler has none: loops are serial
    jobs = {f"{name}.cpp": [*plain, *cpp, *loops] for name in ("correlation_cpu", "sampling_cpu")}
    jobs |= {f"{name}.cu": [*driver, "-O3", "-std=c++17", *options] for name in ("correlation", "sampling") if nvcc}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "built_for.h").write_text(f'#define BUILT_FOR "{" ".join(["CPU", *names])}"\n')
        jobs["ops.cpp"] = [*driver, *cpp, f"-I{folder}"]

        def compiled(name: str) -> str:
            output = f"{folder}/{name}.o"
            run([*jobs[name], "-c", str(kernels.SOURCES / name), "-o", output], f" on {name}")
            return output

        with ThreadPoolExecutor(int(os.environ.get("MAX_JOBS") or os.cpu_count() or 1)) as pool:
            objects = list(pool.map(compiled, jobs))
        libraries = [f"-L{home / 'lib'}", "-lc10", "-ltorch_cpu", *(["-lc10_cuda"] if nvcc else [])]
        with replacing(target) as temporary:
            run([*driver, "-shared", *objects, *libraries, "-o", str(temporary)], " to link")
    for other in target.parent.glob(target.name.rpartition("-")[0] + "-*.so"):
        if other != target:  # of older sources
            other.unlink(missing_ok=True)
    return names


@command
def main() -> None:
    parser = argparse.ArgumentParser(prog="install.sh", description="Build FlowNet2's kernels for the CPU and CUDA.")
    parser.add_argument("--cpu", action="store_true", help="leave CUDA out")
    only_cpu, compiler, nvcc, why = parser.parse_args().cpu, find_compiler(), None, "as asked"
    if not only_cpu:
        try:
            nvcc = find_nvcc()
        except UserError as error:
            if torch.cuda.is_available():  # a GPU is there, so kernels for the CPU alone are not what is wanted
                raise UserError(f"{error} (install.sh --cpu builds for the CPU alone)") from error
            why = str(error)
    target = kernels.path()
    names = build(target, compiler, nvcc)
    run([sys.executable, "-c", f"import torch; torch.ops.load_library({str(target)!r})"], " to load what was built")
    places = f"the CPU ({platform.machine()}) " + (f"and CUDA ({', '.join(names)})" if names else f"alone ({why})")
    print(f"built FlowNet2's kernels for {places}, torch {torch.__version__}: {target}")


if __name__ == "__main__":
    sys.exit(main())
