"""Importing costs little, works from any folder, and gives the public names (SPEC 7 item 1)."""
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("torchvision", "cv2", "tensorboard", "matplotlib")


def python(code, folder):
    # As an installed package is found, from a folder that is not the repository's.
    path = f"import sys; sys.path.append({str(ROOT)!r})\n"
    found = subprocess.run([sys.executable, "-c", path + code], cwd=folder, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()


def test_importing_from_any_folder_costs_little(tmp_path):
    code = f"""
import timecyclegan
print([name for name in (*{HEAVY}, "torch") if name in sys.modules])
from timecyclegan import TimeCycleMixin, get_model
print(TimeCycleMixin.__name__, [name for name in {HEAVY} if name in sys.modules])
"""
    assert python(code, tmp_path).splitlines() == ["[]", "TimeCycleMixin []"]


def test_public_names():
    import timecyclegan

    assert set(timecyclegan.__all__) >= {"SeqDMixin", "SequentialMixin", "TimeCycle", "TimeCycleMixin", "get_model"}
    for name in timecyclegan.__all__:
        assert getattr(timecyclegan, name).__name__ == name
        assert name in dir(timecyclegan)
    with pytest.raises(AttributeError, match="nothing"):
        _ = timecyclegan.nothing
