"""The data that ``ablation.py`` trains and tests on: streets, worn film, and pieces of a real clip."""
import shutil
from pathlib import Path

import numpy as np

from benchmarks.ablation_table import DATA, LONG_SEED, SEED, UNCONDITIONAL, UNPAIRED, Scale
from timecyclegan.data.generate_synthetic import generate
from timecyclegan.data.prepare_video import main as prepare_video
from timecyclegan.util.errors import UserError
from timecyclegan.video.frames import find_sequences, read_image


def make_data(work: Path, name: str, scale: Scale, clip: str) -> Path:
    """The folder of a data set, made if it is not there: ``train`` and ``val`` of paired frames, ``long`` of one long
    clip; ``unpaired`` of training clips that show different streets; ``square`` for unconditional models."""
    root = work / "data" / name
    if (root / "done").exists():
        return root
    shutil.rmtree(root, ignore_errors=True)  # what was begun
    kind = DATA[name]
    if isinstance(kind, str):
        if not clip:
            raise UserError(f"--data {name} is made of a real clip: give one with --clip")
        size = ["--height", str(scale.height), "--width", str(scale.width)]
        prepare_video([clip, str(root), "--source", kind, "--split", "0.8", *size, "--overwrite"])
        for side in ("source", "target"):  # the rest of the clip, in pieces of the length of the other data's
            for whole in list((root / "val" / side).iterdir()):
                for number, frame in enumerate(sorted(whole.iterdir())):
                    piece = whole.with_name(f"{whole.name}_{number // scale.val_frames:02}")
                    piece.mkdir(exist_ok=True)
                    frame.rename(piece / frame.name)
                whole.rmdir()
    else:
        made = {"height": scale.height, "width": scale.width, "overwrite": True, **kind}
        generate(root, sequences=scale.sequences, val_sequences=scale.val_sequences, frames=scale.frames, seed=SEED,
                 **made)
        generate(root / "long", sequences=0, val_sequences=1, frames=scale.long_frames, seed=LONG_SEED, **made)
        square = made | {"height": scale.side, "width": scale.side}
        generate(root / "square", sequences=scale.sequences, val_sequences=scale.val_sequences, frames=scale.frames,
                 seed=SEED, **square)
        names = sorted(path.name for path in (root / "train/source").iterdir())
        for side, own in (("source", names[::2]), ("target", names[1::2])):
            (root / "unpaired" / side).mkdir(parents=True, exist_ok=True)
            for each in own:
                (root / "unpaired" / side / each).symlink_to(root.resolve() / "train" / side / each)
    (root / "done").touch()
    return root


def folders(data: Path, family: str) -> tuple[list[str], dict[str, Path]]:
    """What train.py is given, and by name the folders that hold clips to test on."""
    if family == UNCONDITIONAL:
        return ["-", str(data / "square/train/target")], {"val": data / "square/val", "long": data / "square/val"}
    train = data / ("unpaired" if family == UNPAIRED else "train")
    tests = {"val": data / "val", "long": data / "long/val"}
    return [str(train / "source"), str(train / "target")], {n: path for n, path in tests.items() if path.exists()}


def label_number(picture: np.ndarray) -> np.ndarray:
    """(H, W), a number for each colour of (H, W, 3)."""
    return picture.astype(np.int64) @ (65536, 256, 1)


def mean_colours(data: Path) -> "Colours":
    """The mean colour of each class in the training pictures."""
    sums: dict[int, np.ndarray] = {}
    for name, sources in find_sequences(data / "train/source").items():
        targets = find_sequences(data / "train/target")[name]
        for source, target in zip(sources, targets, strict=True):
            numbers, picture = label_number(read_image(source)), read_image(target)
            for number in np.unique(numbers):
                mine = picture[numbers == number]
                sums[number] = sums.get(number, 0) + np.array([*mine.sum(axis=0, dtype=np.int64), len(mine)])
    return Colours({number: np.rint(total[:3] / total[3]).astype(np.uint8) for number, total in sums.items()})


class Colours(dict):
    """Colours by number, also of whole arrays of them."""

    def __getitem__(self, numbers: np.ndarray) -> np.ndarray:
        known, places = np.unique(numbers, return_inverse=True)
        gray = np.full(3, 128, np.uint8)  # of a class that the training clips do not have
        return np.array([self.get(number, gray) for number in known])[places.reshape(numbers.shape)]
