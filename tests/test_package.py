"""The package as it is handed on: what is in its wheel, and that it works where there is no checkout."""
import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

import timecyclegan
from timecyclegan.__main__ import main

ROOT = Path(__file__).parents[1]
FLOWNET2 = "timecyclegan/models/networks/flownet2_pytorch"
MADE = (".pyc", ".so")  # beside the sources: by Python, and by install.sh


def pip(*arguments):
    pytest.importorskip("pip")
    subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)], check=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built without a network of a copy, so that no build leaves anything in the checkout."""
    pytest.importorskip("setuptools", minversion="77")
    copy, built = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("wheel")
    for path in ROOT.iterdir():
        if path.is_file() and not path.name.startswith("."):
            shutil.copy(path, copy)
    for folder in ("timecyclegan", "examples", "benchmarks"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", "build"))
    (copy / FLOWNET2 / "build").mkdir()
    (copy / FLOWNET2 / "build/flow_ops.so").touch()  # of this machine alone
    pip("wheel", copy, "--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", built)
    (path,) = built.iterdir()
    return path


def test_the_wheel_has_the_package_and_its_licence_and_nothing_else(wheel):
    package = [path for path in (ROOT / "timecyclegan").rglob("*.*") if path.is_file() and path.suffix not in MADE]
    expected = {path.relative_to(ROOT).as_posix(): path for path in package}
    assert {f"{FLOWNET2}/install.sh", f"{FLOWNET2}/ops/csrc/sampling.cu", "timecyclegan/report/page.html",
            "timecyclegan/py.typed"} <= expected.keys()
    info = f"timecyclegan-{timecyclegan.__version__}.dist-info"
    expected[f"{info}/licenses/LICENSE"] = ROOT / "LICENSE"
    with zipfile.ZipFile(wheel) as packed:
        about = {f"{info}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "top_level.txt")}
        assert set(packed.namelist()) == expected.keys() | about
        for name, path in expected.items():
            assert packed.read(name) == path.read_bytes(), name


def requirements():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_the_wheel_says_what_it_is_and_needs(wheel):
    with zipfile.ZipFile(wheel) as packed:
        info = f"timecyclegan-{timecyclegan.__version__}.dist-info"
        said = message_from_string(packed.read(f"{info}/METADATA").decode("utf-8"))
        scripts = packed.read(f"{info}/entry_points.txt").decode()
    assert (said["Name"], said["Version"]) == ("timecyclegan", timecyclegan.__version__)
    assert (said["License-Expression"], said["License-File"], said["Requires-Python"]) == ("MIT", "LICENSE", ">=3.11")
    assert said["Description-Content-Type"] == "text/markdown"
    assert said.get_payload().strip() == (ROOT / "README.md").read_text("utf-8").strip()
    assert [line for line in said.get_all("Requires-Dist") if "extra ==" not in line] == requirements()
    assert set(said.get_all("Provides-Extra")) == {"carla", "dev", "export"}
    assert "Home-page" not in said and "Project-URL" not in said  # until there is one
    assert scripts.split() == ["[console_scripts]", "timecyclegan", "=", "timecyclegan.__main__:main"]


def test_version_and_requirements_are_written_once():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {"version", "dependencies"} == set(project["dynamic"]) and not (ROOT / "setup.py").exists()


def test_what_is_imported_is_required_and_nothing_else():
    """Only the simulator's package is an extra: few machines have it."""
    modules = set()
    for path in (ROOT / "timecyclegan").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            modules |= {name.split(".")[0] for name in names}
    known = importlib.metadata.packages_distributions()
    imported = {module: known.get(module, [module]) for module in modules - sys.stdlib_module_names - {"timecyclegan"}}
    required = {re.split(r"[^\w-]", line)[0].lower() for line in requirements()} | {"carla"}
    missing = [module for module, packages in imported.items() if not required & {name.lower() for name in packages}]
    assert not missing
    assert not required - {name.lower() for packages in imported.values() for name in packages}


def test_who_checks_types_sees_the_public_names():
    checked = next(node for node in ast.parse(Path(timecyclegan.__file__).read_text()).body if isinstance(node, ast.If))
    found = {alias.asname: (node.module, alias.name) for node in checked.body for alias in node.names}
    assert found == {name: (module, name) for name, module in timecyclegan._PUBLIC.items()}


# ---- the program

@pytest.fixture
def program(monkeypatch, capsys):
    """``program("train", ...)`` calls ``timecyclegan train ...``; gives the exit code, the output, the errors."""
    def run(*argv):
        monkeypatch.setattr(sys, "argv", ["/somewhere/bin/timecyclegan", *argv])
        return main(), *capsys.readouterr()

    return run


def test_help_lists_every_command(program):
    code, out, err = program("--help")
    assert (code, err) == (0, "") and program("-h") == (0, out, "")
    for command in ("train", "val", "test", "trainval"):
        assert re.search(rf"^  {command} +\w.+\.$", out, re.M)
    listed = re.findall(r"^  (timecyclegan\.\S+) +\S", out, re.M)
    assert {f"timecyclegan.{name}" for name in ("data.prepare_video", "data.check_data", "evaluation.compute_metrics",
                                                "evaluation.report")} <= set(listed)
    for path in (ROOT / "timecyclegan").rglob("*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        last = (ast.parse(path.read_text("utf-8")).body or [None])[-1]
        runs = isinstance(last, ast.If) and ast.unparse(last.test) == "__name__ == '__main__'"
        assert (module in listed) == (runs and path.name != "__main__.py"), module


def test_the_version(program):
    assert program("--version") == (0, f"timecyclegan {timecyclegan.__version__}\n", "")


@pytest.mark.parametrize(("argv", "parts"), [
    ((), ("a command is missing", "train, val, test, trainval", "--help")),
    (("trian",), ("'trian' is not known", "did you mean train?")),
    (("train.py", "run"), ("'train.py' is not known", "did you mean train?")),
    (("--verison",), ("did you mean --version?",)),
    (("train", "run", "in", "out", "--epochs", "3"), ("--epochs is not known", "--num_epochs")),
    (("test", "a/b", "in"), ("NAME must be a plain folder name",)),
])  # fmt: skip
def test_a_mistake_is_one_line(program, tmp_path, monkeypatch, argv, parts):
    monkeypatch.chdir(tmp_path)
    code, out, err = program(*argv)
    assert (code, out) == (2, "") and err.startswith("error: ") and err.count("\n") == 1
    assert all(part in err for part in parts), err
    assert list(tmp_path.iterdir()) == []


def test_help_of_a_command_names_the_program(program, capsys):
    with pytest.raises(SystemExit) as end:
        program("trainval", "--help")
    assert end.value.code == 0 and capsys.readouterr().out.startswith("usage: timecyclegan trainval [-h]")


# ---- installed, away from the checkout

@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """A new virtual environment with the wheel alone; what it requires is seen where it lies already."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    pip("--python", folder / "bin/python", "install", "--no-deps", "--no-index", "--quiet", wheel)
    (packages,) = folder.glob("lib/python*/site-packages")
    # Only folders of this name are added, and no .pth file in them is read: neither this checkout nor an editable
    # installation of it is seen.
    (packages / "required.pth").write_text("\n".join(path for path in sys.path if path.endswith("-packages")))
    return folder


@pytest.fixture
def installed(environment, tmp_path):
    """``installed("timecyclegan", ...)`` calls a program of the environment in an empty folder; returns its output."""
    outside = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}

    def run(program, *arguments, code=0, **variables):
        words = [environment / "bin" / program if "/" not in str(program) else program, *map(str, arguments)]
        done = subprocess.run(words, cwd=tmp_path, env=outside | variables, capture_output=True, text=True)
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr

    return run


FLAGS = "-g resnet_1blocks -gf 2 -d pixel -df 2 -tcmmf 2 -ih 32 -iw 64 -b 3 -ne 1 -t 0 -gpu -1 -llw 10 -tclw 5"
TINY = FLAGS.split()


@pytest.mark.slow
def test_the_first_steps_of_the_demo(installed, environment, tmp_path):
    where = "import timecyclegan, sys; print(timecyclegan.__file__, *sys.path)"
    package, *path = installed("python", "-c", where).split()
    assert package.startswith(str(environment)) and str(ROOT) not in path
    installed("python", "-m", "timecyclegan.data.generate_synthetic", "street", "--sequences", "1", "--frames", "6",
              "--val_sequences", "1", "--height", "32", "--width", "64", "--label_noise", "1")  # fmt: skip
    train, val = ([f"street/{split}/{side}" for side in ("source", "target")] for split in ("train", "val"))
    assert "training would start" in installed("python", "-m", "timecyclegan.data.check_data", *train, *TINY)
    installed("timecyclegan", "trainval", "street", *train, *val, *TINY)
    installed("timecyclegan", "val", "street", *val, "-tie", "1")
    metrics = [f"results/street/{epoch}metrics.json" for epoch in ("epoch1/", "")]
    compared = installed("python", "-m", "timecyclegan.evaluation.report", f"first={metrics[0]}", f"last={metrics[1]}")
    assert "first" in compared and "tOF" in compared
    report = (tmp_path / "results/street/report.html").read_text("utf-8")
    assert "</html>" in report and len(report) > len((ROOT / "timecyclegan/report/page.html").read_text("utf-8"))
    assert " val street " in (tmp_path / "command_log.txt").read_text().splitlines()[1]
    assert "tOF" in installed("python", "-m", "timecyclegan.evaluation.compute_metrics", val[1], "results/street",
                              "--source", val[0], "--gpu", "-1")  # fmt: skip
    installed("timecyclegan", "test", "again", val[0], code=2)  # there is no such run
    # The checkout's own scripts make the same of the same.
    trained = (tmp_path / "checkpoints/street/generator_1.pth").read_bytes()
    installed(sys.executable, ROOT / "train.py", "street", *train, *TINY, "--overwrite")
    assert (tmp_path / "checkpoints/street/generator_1.pth").read_bytes() == trained


@pytest.mark.slow
def test_every_module_that_is_a_program_runs(installed):
    modules = re.findall(r"^  (timecyclegan\.\S+) +\S", installed("timecyclegan", "--help"), re.M)
    assert len(modules) > 20
    code = ("import contextlib, io, runpy, sys\n"
            "for module in sys.argv[1:]:\n"
            "    sys.argv[1:], sys.modules[module] = ['--help'], None\n"
            "    del sys.modules[module]\n"
            "    with contextlib.redirect_stdout(io.StringIO()) as out:\n"
            "        try:\n"
            "            runpy.run_module(module, run_name='__main__')\n"
            "        except SystemExit as end:\n"
            "            assert not end.code, module\n"
            "    assert out.getvalue().startswith('usage: '), module\n"
            "    print(module)\n")
    assert installed("python", "-c", code, *modules).split() == modules


@pytest.mark.slow
def test_install_sh_builds_for_the_python_that_it_is_installed_in(installed, environment, tmp_path):
    """Also where that environment is not active, and another Python comes first."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python3").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "bin/python3").chmod(0o755)
    (script,) = environment.glob(f"lib/python*/site-packages/{FLOWNET2}/install.sh")
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    said = installed("/bin/bash", script, "--cpu", code=2, PATH=path, CXX="/no/compiler")
    assert said == "error: no C++ compiler: /no/compiler is not there; install g++, or set CXX\n"
