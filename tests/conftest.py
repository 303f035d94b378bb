"""Settings for all tests."""
import os
import sys
import tempfile

# Tests work on tiny tensors: more threads only wait for each other, above all where the machine is busy. Set before
# torch is imported; processes that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Only tests that ask for a GPU see one: the others prove the same on every machine. Processes that tests start, also
# those of pytest-xdist, inherit what the first one decided.
asked = any("gpu" in argument for argument in sys.argv[1:])
if os.environ.setdefault("TIMECYCLEGAN_TESTS_ON", "cuda" if asked else "cpu") == "cpu":
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

# No test downloads anything, and published weights that lie on this machine change no result: torch hub's cache is an
# empty folder, and what would be fetched is refused at once.
os.environ["TORCH_HOME"] = os.path.join(tempfile.gettempdir(), "timecyclegan-tests-without-weights")
os.environ["HTTPS_PROXY"] = os.environ["https_proxy"] = "http://127.0.0.1:9"

import pytest  # noqa: E402 (reads none of these, but may import what does)

from timecyclegan.util import errors  # noqa: E402


@pytest.fixture(autouse=True)
def notes_are_new(monkeypatch):
    """A note is printed once in a command; each test is one."""
    monkeypatch.setattr(errors, "_noted", set())


@pytest.fixture(autouse=True)
def forecasts_are_quick(monkeypatch):
    """Of what fits into memory only the step itself is counted: what lies beyond it takes seconds."""
    from timecyclegan.training import forecast

    monkeypatch.setattr(forecast, "COUNTS", 0)
