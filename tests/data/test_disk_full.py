"""Tools that move files on a disk that is full: one clear line, no half file, and on they go when there is space."""
import io
import subprocess

import numpy as np
import pytest
from PIL import Image

from tests.data.killing import contents, write
from timecyclegan.data import prepare_cityscapes, rename_images, resize_images

DISK, PICTURES = 2 << 20, 6  # bytes, and pictures of 0.2 MB each


@pytest.fixture
def disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "none", folder], capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def fill(disk, left):
    """Leave so many bytes free."""
    with open(disk / "ballast", "wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            file.truncate(file.tell() - left)


def picture(number):
    noise = np.random.default_rng(number).integers(0, 256, (200, 333, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    return file.getvalue()


def failed(capsys, command, *arguments):
    assert command.main([*map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert "cannot write" in error and "No space left on device" in error and error.count("\n") == 1


def places(command):
    """Names of the pictures, and what becomes of them."""
    if command is rename_images:
        return [(f"a/{number + 5}.png", f"a/{number:05}.png") for number in range(PICTURES)]
    return [(f"p/train/bochum/bochum_000000_{number:06}_leftImg8bit.png", f"train/bochum_000000/{number:06}.png")
            for number in range(PICTURES)]


@pytest.mark.parametrize("command", [rename_images, prepare_cityscapes])
@pytest.mark.parametrize("copy", [(), ("--copy",)])
def test_moves_and_copies(tmp_path, disk, capsys, command, copy):
    names = places(command)
    given = {old: picture(number) for number, (old, _) in enumerate(names)}
    result = {new: given[old] for old, new in names}
    folder, out = write(tmp_path / "in", given), disk / "out"
    fill(disk, 0)
    failed(capsys, command, folder, out, *copy)
    assert contents(folder) == given and contents(disk).keys() == {"ballast"} and not list(disk.rglob(".*"))
    fill(disk, 900_000)
    failed(capsys, command, folder, out, *copy)
    there = {name: content for name, content in contents(out).items() if name.endswith(".png") and name[0] != "."}
    assert 2 < len(there) < PICTURES and there.items() <= result.items()
    assert set(contents(folder).values()) | set(there.values()) == set(given.values())
    assert contents(folder) == given or not copy
    (disk / "ballast").unlink()
    assert command.main([str(folder), str(out), *copy]) == 0
    found = contents(out)
    found.pop("snippets.json", None)
    assert found == result and contents(folder) == (given if copy else {})
    assert not list(disk.rglob(".*"))


@pytest.mark.parametrize("left", [0, 20_000, 500_000])
def test_sizes_in_place(disk, capsys, left):
    given = {f"a/{number}.png": picture(number) for number in range(3)}
    write(disk, given)
    fill(disk, left)
    failed(capsys, resize_images, disk / "a", "--height", 260)
    found = contents(disk)
    del found["ballast"]
    assert found == given and not list(disk.rglob(".*"))
    (disk / "ballast").unlink()
    assert resize_images.main([str(disk / "a"), "--height", "260"]) == 0
    for name, content in contents(disk).items():
        assert Image.open(io.BytesIO(content)).size == (433, 260), name
