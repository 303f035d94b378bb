"""Importing costs little, works from any folder, gives the public names (SPEC 7 item 1), and never leads upwards."""
import ast
import graphlib
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


# ---- who imports whom

# The rooms that the others stand on, and what each may import of ours.
LEAVES = {"util": {"util"}, "losses": {"losses", "util"}, "video": {"video", "util"}}
# Know everything, and are known by these alone.
TOP = {"timecyclegan.commands": {"timecyclegan.__main__"}, "timecyclegan.__main__": set()}


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def read_imports():
    """By module of the package, the modules of ours that it names in an import, wherever in the file that stands."""
    paths = {module_name(path): path for path in (ROOT / "timecyclegan").rglob("*.py")}
    found = {module: set() for module in paths}
    for module, path in paths.items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found[module] |= {alias.name for alias in node.names} & paths.keys()
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: relative imports are not read here"
                names = {f"{node.module}.{alias.name}" for alias in node.names}
                found[module] |= names & paths.keys()
                if not names <= paths.keys():  # something of the module itself, not only modules in it
                    found[module] |= {node.module} & paths.keys()
    return found


def test_no_import_leads_upwards():
    def room(module):
        return module.split(".")[1] if "." in module else ""

    arrows = [(module, other) for module, others in read_imports().items() for other in sorted(others)]
    upwards = [f"{module} -> {other}" for module, other in arrows
               if module not in TOP.get(other, {module}) or room(other) not in LEAVES.get(room(module), {room(other)})]
    assert len(arrows) > 200 and not upwards, upwards


def test_no_modules_import_each_other_in_a_circle():
    imports = read_imports()
    try:
        graphlib.TopologicalSorter(imports).prepare()
    except graphlib.CycleError as error:
        pytest.fail("a circle of imports: " + " -> ".join(reversed(error.args[1])))
