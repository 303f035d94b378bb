"""What setup.py hands to setuptools agrees with the package."""
import runpy
from pathlib import Path

import pytest

import timecyclegan

ROOT = Path(__file__).parents[1]


@pytest.fixture
def arguments(monkeypatch):
    setuptools = pytest.importorskip("setuptools")
    found = {}
    monkeypatch.setattr(setuptools, "setup", found.update)
    monkeypatch.chdir(ROOT)
    runpy.run_path(str(ROOT / "setup.py"))
    return found


def test_the_version_is_written_once(arguments):
    assert arguments["version"] == timecyclegan.__version__
    assert timecyclegan.__version__ not in (ROOT / "setup.py").read_text()


def test_all_data_is_installed_and_nothing_that_is_not_there(arguments):
    listed = set()
    for package, patterns in arguments["package_data"].items():
        for pattern in patterns:
            files = set((ROOT / package.replace(".", "/")).glob(pattern))
            assert files, f"{package} has no {pattern}"
            listed |= files
    data = {path for path in (ROOT / "timecyclegan").rglob("*.*") if path.is_file()}
    assert listed == {path for path in data if path.suffix not in (".py", ".pyc", ".so")}  # .so: what install.sh built
    assert {path.parent for path in data if path.suffix == ".py"} == {
        ROOT / package.replace(".", "/") for package in arguments["packages"]}
