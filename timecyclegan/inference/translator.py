"""A trained model as one object that translates video files, or any frames, of any length in the same memory."""
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import TypeVar

import numpy as np
from torch import Tensor
from tqdm import tqdm

from timecyclegan.datasets.derived_sources import MAKERS
from timecyclegan.datasets.prepared import kept_settings, picture_size
from timecyclegan.inference.streaming import stream
from timecyclegan.inference.trained import load_model, load_options
from timecyclegan.models import get_task, model_class
from timecyclegan.models.base_model import OTHER
from timecyclegan.training.checkpoint import CHECKPOINTS
from timecyclegan.util.errors import UserError, unknown
from timecyclegan.util.names import present, user_path
from timecyclegan.util.options import Options
from timecyclegan.video import panels
from timecyclegan.video.frames import resize_image, to_uint8, to_video
from timecyclegan.video.reader import VideoFile, survey
from timecyclegan.video.scene_cuts import mark_cuts
from timecyclegan.video.writer import VideoWriter

SCENE_CUTS = ("auto", "off")

T = TypeVar("T")


def load(name: str, epoch: int = 0, gpu: int | None = None, image_height: int = 0, image_width: int = 0,
         domain: str = "target", source: str = "") -> "Translator":  # fmt: skip
    """The run ``name``, trained in ``checkpoints/`` of the current folder, ready to translate.

    Args:
        epoch: whose weights to use; 0 is the newest.
        gpu: its number, -1 is the CPU; by default as it was trained.
        image_height, image_width: the size of the generated pictures. By default the generator works at the size it was
            trained at, and its pictures get the size of what was translated.
        domain: what to generate; "source" for the way back of an unpaired model.
        source: what the model was trained to translate from, if ``data.prepare_video`` made it: edges, gray, lowres or
            flow. It is then made of the frames to translate as well, at the same size.

    Raises:
        UserError: no such run or epoch; a model that translates nothing, or not in this direction.
    """
    given = {"gpu": gpu, "image_height": image_height or None, "image_width": image_width or None}
    options = load_options(name, {key: value for key, value in given.items() if value is not None})
    return Translator(name, options, epoch, not (image_height or image_width), domain, source)


class Translator:
    """Frames in, frames out; the recurrent state is carried along and begins anew at every scene cut.

    Args:
        name, epoch, domain, source: see :func:`load`.
        options: of the run, with the size that the generator works at; see ``inference.trained.load_options``.
        own_size: give frames the size of those that were translated; else they keep the generator's.

    Raises:
        UserError: the model translates nothing, or not in this direction; an unknown ``source``; no weights that fit.
    """

    def __init__(self, name: str, options: Options, epoch: int = 0, own_size: bool = True, domain: str = "target",
                 source: str = ""):  # fmt: skip
        task = get_task(options.model_type)
        if task not in ("paired", "unpaired"):
            raise UserError(f"--model_type {options.model_type} translates no video: it is {task}")
        if domain not in model_class(options.model_type).domains:
            raise UserError(f"--model_type {options.model_type} is {task}: it generates no {domain}")
        if source and source not in MAKERS:
            raise unknown("--source", source, MAKERS)
        self.model = load_model(name, options, epoch, {domain})
        self.size, self.own_size, self.domain = (options.image_height, options.image_width), own_size, domain
        # How ``data.prepare_video`` made the source; where nothing is known, of every frame, at ``size``.
        self.maker, self.prepared = MAKERS.get(source), kept_settings(present(CHECKPOINTS / name), source)
        self.nearest = {side: options.label_maps(side) for side in ("source", "target")}

    def frames(self, frames: Iterable, scene_cuts: str = "auto", seed: int = 0) -> Iterator:
        """Translate frames one by one.

        Args:
            frames: anything that gives uint8 arrays (H, W, 3), RGB, or tensors (3, H, W) in [-1, 1], which are rounded
                to 8 bits: a list, a video array (T, H, W, 3), a tensor (T, 3, H, W), a generator that never ends.
            scene_cuts: "auto" finds cuts, and begins anew there; it looks a few frames ahead. "off" takes all for one.
            seed: of the noise that stands for the frames before the first one.

        Yields:
            for each frame the generated one, of its kind.

        Raises:
            ValueError: a frame of another kind, type or shape.
        """
        for frame, _, made, _ in self._translated(frames, _picture, scene_cuts, seed):
            yield to_video(made[None])[0] if isinstance(frame, Tensor) else made

    def translate(self, source: str | Path, output: str | Path, *, side_by_side: bool = False,
                  scene_cuts: str = "auto", sound: bool = True, seed: int = 0,
                  progress: bool = False) -> str:  # fmt: skip
        """Translate a video file into another one, which appears under its name when it is whole.

        Args:
            source: any video, see ``video.reader``.
            output: its suffix says how it is stored, see ``video.writer``.
            side_by_side: show source and generated pictures beside each other.
            scene_cuts, seed: see :meth:`frames`.
            sound: copy it, as it is, where ``output`` can hold it.
            progress: show a bar.

        Returns:
            what became of it, in one line: size, rate, numbers of frames and scenes, and what could not stay as it was.

        Raises:
            UserError: ``source`` cannot be read or ``output`` cannot be written; then there is no new ``output``.
        """
        source, output = user_path(source), user_path(output)
        if output.exists() and source.exists() and output.samefile(source):
            raise UserError(f"{output} is the video to translate; give another file to write")
        with VideoFile(source) as video:
            frames = video.frames()
            first = next(frames)
            shape = first[0].shape[:2] if self.own_size else self.size
            panel = _panel(first[0], resize_image(first[0], *shape), side_by_side)
            count, scenes, uneven = 0, 0, False  # uneven: the frame rate varies
            known, left = survey(source), video.left_out()
            writer = VideoWriter(output, video.rate, *panel.shape[:2], tick=video.tick, sound=source if sound else None,
                                 pixel_aspect=video.pixel_aspect(first[0]) if self.own_size else None)  # fmt: skip
            with writer, tqdm(total=len(known.times), desc="translating", unit="frame", dynamic_ncols=True,
                              disable=not progress) as bar:  # fmt: skip
                stream = itertools.chain([first], frames)
                for (image, time), seen, made, scene in self._translated(stream, itemgetter(0), scene_cuts, seed):
                    # a video may change its size on the way
                    made = resize_image(made, *shape, nearest=self.nearest[self.domain])
                    writer.write(_panel(seen if self.maker else image, made, side_by_side), time, known.length(count))
                    uneven |= abs(time * video.rate - count) > 1
                    count, scenes = count + 1, scene
                    bar.update()
        height, width = shape
        parts = [f"{output}: {count} frame{'s' * (count != 1)} of {width}x{height} at {float(video.rate):g} per second",
                 f"{scenes} scene{'s' * (scenes != 1)}"]  # fmt: skip
        if shape != self.size:
            parts.append(f"generated at {self.size[1]}x{self.size[0]} and resized")
        if height % 2 or width % 2:
            parts.append(f"stored as {width + width % 2}x{height + height % 2}, since sizes are even")
        if uneven:
            steady = output.suffix.lower() == ".avi"
            parts.append("the varying frame rate was made even" if steady else "at the times that they had")
        if writer.fps < 0.99 * video.rate:
            parts.append(f"stored at {writer.fps} per second, as {output.suffix} holds no more")
        return "; ".join([*parts, *(writer.copied.summary() if writer.copied else []), *left, *known.notes])

    def _translated(self, items: Iterable[T], picture: Callable[[T], np.ndarray], scene_cuts: str,
                    seed: int) -> Iterator[tuple[T, np.ndarray, np.ndarray, int]]:  # fmt: skip
        """Each item, what the generator saw of it, what it made of it, and the number of its scene."""
        if scene_cuts not in SCENE_CUTS:
            raise unknown("--scene_cuts", scene_cuts, SCENE_CUTS)
        once = itertools.chain([True], itertools.repeat(False))
        marked = mark_cuts(items, picture) if scene_cuts == "auto" else zip(items, once, strict=False)
        # Each item with how many scenes have begun by then.
        counted = itertools.accumulate(marked, lambda before, now: (now[0], before[1] + now[1]))
        for number, (_, scene) in enumerate(itertools.groupby(counted, key=itemgetter(1)), 1):
            waiting: deque[tuple[T, np.ndarray]] = deque()  # what was read but not yet translated
            sources = {".": self._sources(scene, picture, waiting)}
            for _, made in stream(self.model, sources, seed, self.domain):
                item, seen = waiting.popleft()
                size = picture(item).shape[:2] if self.own_size else self.size
                made = resize_image(to_uint8(made), *size, nearest=self.nearest[self.domain])
                yield item, seen, made, number

    def _sources(self, scene: Iterable[tuple[T, int]], picture: Callable[[T], np.ndarray],
                 waiting: deque[tuple[T, np.ndarray]]) -> Iterator[Tensor]:  # fmt: skip
        # The frames from the one before that training's source was made with, so many back, to the last one.
        before: deque[np.ndarray] = deque(maxlen=self.prepared.get("every", 1))
        for item, _ in scene:
            seen = picture(item)
            if self.maker:
                known = self.prepared
                size = picture_size(seen.shape, known["height"], known["width"]) if known else self.size
                frame = resize_image(seen, *size)
                if before and before[-1].shape != frame.shape:  # a video may change its size on the way
                    before.clear()
                seen = self.maker(frame, before[0] if len(before) == before.maxlen else None)
                before.append(frame)
            seen = resize_image(seen, *self.size, nearest=self.nearest[OTHER[self.domain]])
            waiting.append((item, seen))
            yield to_video(seen[None])[0]


def _picture(frame: np.ndarray | Tensor) -> np.ndarray:
    """A frame that was given, as uint8 (H, W, 3)."""
    tensor = isinstance(frame, Tensor)
    if tensor and frame.is_floating_point() and frame.ndim == 3 and frame.shape[0] == 3:
        return to_uint8(frame)
    if isinstance(frame, np.ndarray) and frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 3:
        return frame
    known = f" of {frame.dtype} {tuple(frame.shape)}" if tensor or isinstance(frame, np.ndarray) else ""
    raise ValueError("expected frames as uint8 arrays (H, W, 3), RGB, or floating-point tensors (3, H, W) in [-1, 1]; "
                     f"got {type(frame).__name__}{known}")


def _panel(image: np.ndarray, made: np.ndarray, beside: bool) -> np.ndarray:
    if not beside:
        return made
    return panels.side_by_side([resize_image(image, *made.shape[:2]), made], ["source", "generated"])
