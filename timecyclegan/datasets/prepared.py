"""Manifests: what tools say of a folder that they make, and what a training run keeps of that for videos to come."""
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from timecyclegan.datasets.folders import torn_files
from timecyclegan.util.errors import UserError, failed, note
from timecyclegan.util.files import write_json
from timecyclegan.video.frames import few

MANIFEST = "prepare_video.json"
SPLITS = ("train", "val")


def picture_size(shape: tuple[int, ...], height: int, width: int) -> tuple[int, int]:
    """(height, width) of the picture that is made of a frame (H, W, ...); a side of 0 follows from the other one."""
    own_height, own_width = shape[:2]
    return (height or max(1, round(own_height * width / own_width)) if width else height or own_height,
            width or max(1, round(own_width * height / own_height)) if height else width or own_width)


def settings_of(root: Path | None) -> dict[str, Any]:
    """What ``prepare_video`` was told when it made the pictures to translate from in ``root``; empty if it did not."""
    if root is None:
        return {}
    for out in (root := root.resolve()).parents[:3]:  # OUT/[train/]source[/clip]
        inside = root.relative_to(out).parts
        if (out / MANIFEST).is_file() and "source" in inside[: 1 + (inside[0] in SPLITS)]:
            return _read(out / MANIFEST).get("settings", {})
    return {}


def keep_settings(run: Path, source: Path | None) -> None:
    """Leave with a training ``run`` how its pictures in ``source`` were made, if ``prepare_video`` made them."""
    settings = settings_of(source)
    (run / MANIFEST).unlink(missing_ok=True)
    if settings.get("source"):
        write_json(run / MANIFEST, {"settings": settings}, sync=True)


def kept_settings(run: Path, source: str | None = None) -> dict[str, Any]:
    """What ``prepare_video`` was told when it made a ``run``'s ``source``; empty, with a note, where that is not known.

    A UserError if it was trained on another source. None: whatever it was trained on; "": what it did not make.
    """
    settings = {} if source == "" else _read(run / MANIFEST).get("settings", {})
    if source is None:
        return settings
    if source and not settings:
        note(f"{run} does not say of what size the pictures were that its {source} was made of, nor how far "
             "apart: it is made at the generator's size, of neighbouring frames")
    elif settings and settings["source"] != source:
        raise UserError(f"--source {source}: {run} was trained on {settings['source']}; give that")
    return settings


def check_begun(path: Path, facts: Mapping[str, Any], overwrite: bool,
                files: Iterable[str] | None = None) -> tuple[dict[str, Any], list[Path]]:
    """The manifest of the work on a folder, and the files that are to be removed before it goes on.

    Args:
        path: of the manifest, a JSON file in the folder. It holds the facts and, as "files", what the work makes there.
        facts: what the files depend on, JSON-ready. A manifest that tells the same is returned as it is.
        overwrite: what other work made is to be removed; no other file ever is.
        files: what will be made, paths relative to the folder: all that is to be removed must be among them.

    Raises:
        UserError: the manifest cannot be read, or files are in the way.
    """
    out, begun, facts = path.parent, _read(path), json.loads(json.dumps(facts))
    if {key: begun.get(key) for key in facts} == facts:
        return begun, []
    there = {entry.relative_to(out).as_posix() for entry in out.rglob("[!.]*")
             if entry != path and (entry.is_symlink() or not entry.is_dir())}
    if foreign := sorted(there.difference(begun.get("files", ()))):
        raise UserError(f"{out} holds what this command did not make ({few(foreign)}); move it away, or choose another "
                        "folder")
    if there and not overwrite:
        other = few([key for key in facts if begun.get(key) != facts[key]])
        raise UserError(f"{out} holds what was made with other {other} (see {path}); choose another folder, or lose it "
                        "with --overwrite")
    if files is not None and (kept := sorted(there.difference(files))):
        raise UserError(f"{out} holds what would be removed but not made again ({few(kept)}); choose another folder")
    return facts, [out / name for name in sorted(there)]


def begin(path: Path, manifest: Mapping[str, Any], old: Iterable[Path]) -> None:
    """Write a manifest when the ``old`` files are gone: a run that is killed must leave no mixture."""
    try:
        for file in (*old, *torn_files(path.parent, [path.name, *manifest.get("files", ())])):
            file.unlink()
            with suppress(OSError):  # it holds something else
                os.removedirs(file.parent)
    except OSError as error:
        raise UserError(f"cannot remove {error.filename}: {error.strerror}") from error
    if _read(path) != manifest:
        write_json(path, manifest, sync=True)


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text("utf-8")) if path.exists() else {}
    except (OSError, ValueError, RecursionError) as error:
        what = f"cannot read {path}"
        raise failed(what, error, f"{what}: {error}; choose another folder") from error
