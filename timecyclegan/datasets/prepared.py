"""What ``prepare_video`` says of a folder that it makes, and what a training run keeps of that for videos to come."""
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from timecyclegan.util.errors import UserError
from timecyclegan.util.files import write_json
from timecyclegan.video.frames import few

MANIFEST = "prepare_video.json"  # in OUT: what is made there, and the scenes that were found
SPLITS, SIDES = ("train", "val"), ("target", "source")


def picture_size(shape: tuple[int, ...], height: int, width: int) -> tuple[int, int]:
    """(height, width) of the picture that is made of a frame (H, W, ...); a side of 0 follows from the other one."""
    own_height, own_width = shape[:2]
    return (height or max(1, round(own_height * width / own_width)) if width else height or own_height,
            width or max(1, round(own_width * height / own_height)) if height else width or own_width)


def keep_settings(run: Path, source: Path | None) -> None:
    """Leave with a training ``run`` how its pictures in ``source`` were made, if ``prepare_video`` made them."""
    settings = {}
    if source and source.name == "source":
        out = source.parent.parent if source.parent.name in SPLITS else source.parent
        settings = _read(out, strict=False).get("settings", {})
    (run / MANIFEST).unlink(missing_ok=True)
    if settings.get("source"):
        write_manifest(run, {"settings": settings})


def kept_size(run: Path, source: str) -> tuple[int, int] | None:
    """The --height and --width of ``prepare_video`` at which a ``run``'s ``source`` was made; notes if it says nothing.

    Raises:
        UserError: it was trained on another source.
    """
    settings = _read(run, strict=False).get("settings") if source else None
    if not settings:
        if source:
            print(f"note: {run} does not say of what size the pictures were that its {source} was made of: it is made "
                  "at the generator's size")
        return None
    if settings["source"] != source:
        raise UserError(f"--source {source}: {run} was trained on {settings['source']}; give that")
    return settings["height"], settings["width"]


def open_manifest(out: Path, facts: dict[str, Any], overwrite: bool, dry_run: bool) -> dict[str, Any]:
    """The manifest of the work that was begun in ``out``, else a new one.

    Raises:
        UserError: there is other work and it is not to be lost, or other files; or ``out`` cannot be changed.
    """
    begun = _read(out)
    if begun is not None and not overwrite and {key: begun.get(key) for key in facts} == facts:
        for torn in [] if dry_run else list(out.rglob(".*.tmp.*")):  # of a kill amid writing
            torn.unlink()
        return begun
    if begun is not None:
        files = list(_files(out))
        if files and not overwrite:
            raise UserError(f"{out} holds what another command made (see {out / MANIFEST}): choose another folder, or "
                            "lose it with --overwrite")
        _check_made(out, files, begun)
    manifest = facts | {"scenes": {}}
    if not dry_run:
        _remove(out)
        write_manifest(out, manifest)
    return manifest


def write_manifest(out: Path, manifest: dict[str, Any]) -> None:
    write_json(out / MANIFEST, manifest, sync=True)


def _read(out: Path, strict: bool = True) -> dict[str, Any] | None:
    """The manifest in ``out``. Without one: None if ``out`` is empty, else an error; or, unless ``strict``, nothing."""
    path = out / MANIFEST
    try:
        if path.exists():
            return json.loads(path.read_text())
        if not strict:
            return {}
        there = sorted(entry.name for entry in out.iterdir() if ".tmp" not in entry.name) if out.exists() else []
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}; choose another folder") from error
    if there:
        raise UserError(f"{out} holds something else ({few(there)}); choose a new folder, or an empty one")
    return None


def _files(out: Path) -> Iterator[Path]:
    """All files, and links, in the folders that ``prepare_video`` makes."""
    for part in (*SPLITS, *SIDES):
        if (out / part).is_symlink() or (out / part).is_file():
            yield out / part
            continue
        for folder, folders, files in os.walk(out / part):
            yield from (Path(folder, name) for name in files)
            yield from (Path(folder, name) for name in folders if Path(folder, name).is_symlink())


def _check_made(out: Path, files: list[Path], manifest: dict[str, Any]) -> None:
    """Raise a UserError if any of ``files`` was not made as ``manifest`` says."""
    try:
        cut = manifest["settings"]["scene_cuts"] == "auto"
        names = {f"{name}_{number:03}" if cut else name: manifest["videos"][name]["frames"]
                 for name, cuts in manifest["scenes"].items() for number in range(len(cuts))}
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"cannot read {out / MANIFEST}: it is damaged; choose another folder") from error
    sides = [Path(split, side) for split in ("", *SPLITS) for side in SIDES]
    folders = {out / side / name: frames for side in sides for name, frames in names.items()}
    for path in files:
        number = path.stem.lstrip(".").split(".")[0]  # also of what was cut off amid writing
        known = path.suffix == ".png" and number.isdecimal() and int(number) < folders.get(path.parent, 0)
        if not known or path.is_symlink():
            raise UserError(f"{path} was not made by this command, which removes nothing else; move it, or choose "
                            "another folder")


def _remove(out: Path) -> None:
    try:
        for path in list(_files(out)):
            path.unlink()
        for part in (*SPLITS, *SIDES):
            for folder, _, _ in os.walk(out / part, topdown=False):
                os.rmdir(folder)
    except OSError as error:
        raise UserError(f"cannot remove {error.filename}: {error.strerror}") from error
