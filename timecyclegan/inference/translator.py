"""A trained model as one object that translates video files, or any frames, of any length in the same memory."""
import contextlib
import dataclasses
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter, itemgetter
from pathlib import Path
from time import perf_counter
from typing import Generic, TypeVar

import numpy as np
from torch import Tensor
from tqdm import tqdm

from timecyclegan.datasets.derived_sources import MAKERS
from timecyclegan.datasets.prepared import kept_settings, picture_size
from timecyclegan.inference.streaming import Picture, PictureStream, speed
from timecyclegan.inference.trained import load_model, load_options
from timecyclegan.models import get_task, model_class
from timecyclegan.models.base_model import OTHER
from timecyclegan.training.checkpoint import CHECKPOINTS
from timecyclegan.util.choices import PRECISIONS
from timecyclegan.util.errors import UserError, unknown
from timecyclegan.util.names import present, user_path
from timecyclegan.util.options import Options
from timecyclegan.util.threads import concurrently, in_advance
from timecyclegan.video import panels
from timecyclegan.video.frames import resize_image, to_uint8, to_video
from timecyclegan.video.reader import VideoFile, survey
from timecyclegan.video.scene_cuts import mark_cuts
from timecyclegan.video.writer import VideoWriter

SCENE_CUTS = ("auto", "off")
AHEAD = 3  # frames that decoding is ahead of translating, and translating of writing

T = TypeVar("T")


def load(name: str, epoch: int = 0, gpu: int | None = None, image_height: int = 0, image_width: int = 0,
         domain: str = "target", source: str = "", amp: str = "off", ema: bool = False) -> "Translator":  # fmt: skip
    """The run ``name``, trained in ``checkpoints/`` of the current folder, ready to translate.

    Args:
        epoch: whose weights to use; 0 is the newest.
        gpu: its number, -1 is the CPU; by default as it was trained.
        image_height, image_width: the size of the generated pictures. By default the generator works at the size it was
            trained at, and its pictures get the size of what was translated.
        domain: what to generate; "source" for the way back of an unpaired model.
        source: what the model was trained to translate from, if ``data.prepare_video`` made it: edges, gray, lowres or
            flow. It is then made of the frames to translate as well, at the same size.
        amp: "bfloat16" or "float16" translate in mixed precision.
        ema: use the averaged weights, which a run that was trained with ``--ema`` keeps.

    Raises:
        UserError: no such run or epoch; a model that translates nothing, or not in this direction; an unknown ``amp``.
    """
    if amp not in PRECISIONS:
        raise unknown("--amp", amp, PRECISIONS)
    given = {"gpu": gpu, "image_height": image_height or None, "image_width": image_width or None, "amp": amp,
             "ema": float(ema)}  # fmt: skip
    options = load_options(name, {key: value for key, value in given.items() if value is not None})
    return Translator(name, options, epoch, not (image_height or image_width), domain, source)


class Translator:
    """Frames in, frames out; the recurrent state is carried along and begins anew at every scene cut.

    Args:
        name, epoch, domain, source: see :func:`load`.
        options: of the run, with the size and precision that the generator works in; see ``trained.load_options``.
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
        self.pictures = PictureStream(self.model, domain, options.amp, options.cuda_graph)
        self.size, self.own_size, self.domain = (options.image_height, options.image_width), own_size, domain
        # How ``data.prepare_video`` made the source; where nothing is known, of every frame, at ``size``.
        self.maker, self.prepared = MAKERS.get(source), kept_settings(present(CHECKPOINTS / name), source)
        self.nearest = {side: options.label_maps(side) for side in ("source", "target")}

    def frames(self, frames: Iterable, scene_cuts: str = "auto", seed: int = 0) -> Iterator:
        """Translate frames one by one, each before the next is asked for; :meth:`translate` works ahead.

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
        for seen in self._translated(self._seen(frames, _picture, scene_cuts), seed):
            made = self._made(seen)
            yield to_video(made[None])[0] if isinstance(seen.item, Tensor) else made

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
            what became of it, in one line: size, rate, numbers of frames and scenes, how fast they were translated, and
            what could not stay as it was.

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

            def write(numbered: tuple[int, Seen]) -> Seen:
                number, seen = numbered
                # a video may change its size on the way
                made = resize_image(self._made(seen), *shape, nearest=self.nearest[self.domain])
                beside, time = seen.image if self.maker else seen.item[0], seen.item[1]
                writer.write(_panel(beside, made, side_by_side), time, known.length(number))
                return seen

            began = perf_counter()
            with writer, contextlib.ExitStack() as exits:
                bar = exits.enter_context(tqdm(total=len(known.times), desc="translating", unit="frame",
                                               dynamic_ncols=True, disable=not progress))  # fmt: skip
                # Three threads: one decodes and prepares, this one translates, one writes.
                images = in_advance(self._seen(itertools.chain([first], frames), itemgetter(0), scene_cuts), AHEAD)
                translated = enumerate(self._translated(exits.enter_context(contextlib.closing(images)), seed))
                for seen in exits.enter_context(contextlib.closing(concurrently(write, translated, 1, AHEAD))):
                    uneven |= abs(seen.item[1] * video.rate - count) > 1
                    count, scenes = count + 1, seen.scene
                    bar.update()
        height, width = shape
        parts = [f"{output}: {count} frame{'s' * (count != 1)} of {width}x{height} at {float(video.rate):g} per second",
                 f"{scenes} scene{'s' * (scenes != 1)}", speed(count, perf_counter() - began)]  # fmt: skip
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

    def _seen(self, items: Iterable[T], picture: Callable[[T], np.ndarray], scene_cuts: str) -> Iterator["Seen[T]"]:
        """Each item with what the generator is to see of it; ``picture`` gives an item's frame."""
        if scene_cuts not in SCENE_CUTS:
            raise unknown("--scene_cuts", scene_cuts, SCENE_CUTS)
        once = itertools.chain([True], itertools.repeat(False))
        marked = mark_cuts(items, picture) if scene_cuts == "auto" else zip(items, once, strict=False)
        # The frames from the one before that training's source was made with, so many back, to the last one.
        before: deque[np.ndarray] = deque(maxlen=self.prepared.get("every", 1))
        scene = 0
        for item, begins in marked:
            image = picture(item)
            size = image.shape[:2] if self.own_size else self.size
            if begins:
                scene += 1
                before.clear()
            if self.maker:
                known = self.prepared
                seen_at = picture_size(image.shape, known["height"], known["width"]) if known else self.size
                frame = resize_image(image, *seen_at)
                if before and before[-1].shape != frame.shape:  # a video may change its size on the way
                    before.clear()
                image = self.maker(frame, before[0] if len(before) == before.maxlen else None)
                before.append(frame)
            image = resize_image(image, *self.size, nearest=self.nearest[OTHER[self.domain]])
            yield Seen(item, image, size, scene)

    def _translated(self, frames: Iterable["Seen[T]"], seed: int) -> Iterator["Seen[T]"]:
        """The frames with what was made of them, anew in every scene."""
        for _, scene in itertools.groupby(frames, key=attrgetter("scene")):
            waiting: deque[Seen[T]] = deque()  # what was read but not yet translated
            for _, made in self.pictures({".": _images(scene, waiting)}, seed):
                yield dataclasses.replace(waiting.popleft(), made=made)

    def _made(self, seen: "Seen") -> np.ndarray:
        """What was made of a frame, uint8 (H, W, 3), in its size; waits for the device."""
        return resize_image(seen.made.array(), *seen.size, nearest=self.nearest[self.domain])


@dataclasses.dataclass(frozen=True)
class Seen(Generic[T]):
    """A frame on its way: what was given, uint8 ``image`` that the generator sees, the (height, width) of the result,
    the number of its scene, from 1, and what the generator makes of it."""

    item: T
    image: np.ndarray
    size: tuple[int, int]
    scene: int
    made: Picture | None = None


def _images(frames: Iterable[Seen[T]], waiting: deque[Seen[T]]) -> Iterator[np.ndarray]:
    for seen in frames:
        waiting.append(seen)
        yield seen.image


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
