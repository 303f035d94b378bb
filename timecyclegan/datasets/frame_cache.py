"""Training frames decoded and resized once (``--cache``): 256 levels in memory, or in files that are mapped into it."""
import contextlib
import functools
import hashlib
import json
import mmap
import shutil
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

import numpy as np

from timecyclegan.util.device import cores, free_memory
from timecyclegan.util.errors import UserError, note
from timecyclegan.util.files import alone_in, replacing, writing
from timecyclegan.util.logs import progress
from timecyclegan.util.signals import giving_way
from timecyclegan.video.frames import Frame, read_image, resize_image
from timecyclegan.video.random_access import OPEN, VideoFrame

FOLDER = Path("cache")  # of --cache disk, beside checkpoints/ and runs/
FRAMES, BYTES = 32, 2**24  # of a chunk, at most
GIB, MIB = 2**30, 2**20
FORMAT = 1  # of the files: to be counted up when frames are decoded or resized otherwise


def _size(count: int) -> str:
    """Bytes to read."""
    return f"{count / GIB:.1f} GiB" if count >= GIB // 10 else f"{count / MIB:.2g} MiB"


class Chunk(NamedTuple):
    """Successive frames that are stored together; ``nearest`` is how they are resized."""

    frames: tuple[Frame, ...]
    nearest: bool


class FrameCache:
    """Frames of one size, from the store where :meth:`fill` put them, else decoded when they are asked for.

    In memory the store is one map that the loading processes, forked later, share. On disk it is a file for each chunk
    of frames, ``cache/HEIGHTxWIDTH/HASH.npy``, uint8 (n, 3, height, width); its name is a hash of all that its content
    depends on: of each frame the file with its size in bytes and its time stamp, the size in pixels and the kind of
    resizing. Files appear under their names when they are whole; runs and processes share them.

    Args:
        mode: "ram"; "disk"; "off", where nothing is stored; "auto": ram where that takes at most half of the memory
            that is free, else off.
        height, width: of the frames as they are stored and given.
        folder: of files.
    """

    def __init__(self, mode: str, height: int, width: int, folder: Path = FOLDER):
        self.mode, self.height, self.width = mode, height, width
        self._filled = mode == "off"
        self.folder = folder / f"{height}x{width}"
        self._places: dict[tuple[Frame, bool], tuple[Path | None, int]] = {}  # file (None: memory), and number in it
        self._memory = np.empty((0, 3, height, width), np.uint8)

    def frame(self, frame: Frame, nearest: bool = False) -> np.ndarray:
        """The frame as uint8 (height, width, 3), not to be written to; raises as ``video.frames.read_image``."""
        if place := self._places.get((frame, nearest)):
            file, number = place
            if file is None:
                return self._memory[number].transpose(1, 2, 0)
            with contextlib.suppress(OSError, ValueError):  # it was removed meanwhile
                return _mapped(file)[number].transpose(1, 2, 0)
        return resize_image(read_image(frame), self.height, self.width, nearest)

    def fill(self, sequences: Iterable[tuple[Sequence[Frame], bool]]) -> None:
        """Decode what is not stored yet, in threads, with a bar. A signal ends it (see ``util.signals.giving_way``).

        Args:
            sequences: successive frames, and whether they are resized to the nearest pixel.

        Raises:
            UserError: the store does not fit into the memory or onto the disk, or a frame cannot be read.
        """
        if self._filled:
            return
        room = max(1, min(FRAMES, BYTES // self._bytes(1)))
        chunks = list(dict.fromkeys(Chunk(tuple(frames[begin : begin + room]), nearest) for frames, nearest in sequences
                                    for begin in range(0, len(frames), room)))  # fmt: skip
        with giving_way():
            if self.mode == "disk":
                self._fill_files(chunks)
            elif self.keeps(sum(len(chunk.frames) for chunk in chunks)):
                self._fill_memory(chunks)
        self._filled = True

    def _bytes(self, frames: int) -> int:
        return frames * self.height * self.width * 3

    def keeps(self, frames: int) -> bool:
        """Whether so many frames will be stored; a note says so where they are too many for "auto".

        Raises:
            UserError: they do not fit into the memory, and "ram" was asked for.
        """
        if self.mode in ("disk", "off"):
            return self.mode == "disk"
        need, free = self._bytes(frames), free_memory()
        if need <= (free // 2 if self.mode == "auto" else free):
            return True
        size = f"{frames} frames of {self.height}x{self.width} take {_size(need)} decoded, {_size(free)}"
        if self.mode == "ram":
            raise UserError(f"--cache ram: {size} of memory are free; give --cache disk, or off")
        note(f"--cache auto: {size} of memory are free: they are decoded anew in every epoch; --cache disk keeps "
             f"them in {FOLDER}/")
        return False

    def _fill_memory(self, chunks: list[Chunk]) -> None:
        # Anonymous and shared, it is not bound to the size of /dev/shm, and ends with the last process that has it.
        total = sum(len(chunk.frames) for chunk in chunks)
        memory = np.frombuffer(mmap.mmap(-1, max(1, self._bytes(total))), np.uint8)
        memory = memory[: self._bytes(total)].reshape(total, 3, self.height, self.width)
        begin, parts = 0, {}
        for chunk in chunks:
            parts[chunk] = memory[begin : begin + len(chunk.frames)]
            begin += len(chunk.frames)
        self._decode(chunks, lambda chunk, read: read(parts[chunk]))
        self._memory = memory
        frames = ((frame, chunk.nearest) for chunk in chunks for frame in chunk.frames)
        self._places = {frame: (None, number) for number, frame in enumerate(frames)}

    def _fill_files(self, chunks: list[Chunk]) -> None:
        files = dict(zip(chunks, self._names(chunks), strict=True))

        def missing() -> list[Chunk]:
            return [chunk for chunk, file in files.items() if not self._is_whole(file, chunk)]

        def store(chunk: Chunk, read: Callable[[np.ndarray], None]) -> None:
            frames = np.empty((len(chunk.frames), 3, self.height, self.width), np.uint8)
            read(frames)
            with replacing(files[chunk], sync=True) as temporary, open(temporary, "wb") as file:
                np.save(file, frames)

        if missing():
            with alone_in(self.folder) as alone:
                for torn in self.folder.glob(".*.tmp*") if alone else ():  # left by killed writes
                    with writing(torn):
                        torn.unlink()
                todo = missing()  # of which another process may have made some, or all
                need = self._bytes(sum(len(chunk.frames) for chunk in todo))
                with writing(self.folder):
                    free = shutil.disk_usage(self.folder).free
                if need > free:
                    raise UserError(f"--cache disk: the frames to decode take {_size(need)}, {self.folder} has "
                                    f"{_size(free)} left; make room there, or give --cache off")
                if todo:
                    self._decode(todo, store)
                    note(f"--cache disk: frames are kept decoded in {self.folder}, to be removed when nothing trains")
        self._places = {(frame, chunk.nearest): (file, number) for chunk, file in files.items()
                        for number, frame in enumerate(chunk.frames)}  # fmt: skip

    def _names(self, chunks: list[Chunk]) -> list[Path]:
        @functools.cache  # all frames of a video are of one file
        def facts(file: Path) -> list:
            found = file.stat()
            return [str(file.resolve()), found.st_size, found.st_mtime_ns]

        names = []
        for frames, nearest in chunks:
            try:
                content = [[facts(frame.video), frame.index] if isinstance(frame, VideoFrame) else facts(frame)
                           for frame in frames]  # fmt: skip
            except OSError as error:
                raise UserError(f"cannot read {error.filename}: {error.strerror}") from error
            key = json.dumps([FORMAT, content, self.height, self.width, "nearest" if nearest else "bicubic"])
            names.append(self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npy")
        return names

    def _is_whole(self, file: Path, chunk: Chunk) -> bool:
        with contextlib.suppress(Exception):  # it is not there, or cut off
            frames = np.load(file, mmap_mode="r")
            return frames.dtype == np.uint8 and frames.shape == (len(chunk.frames), 3, self.height, self.width)
        return False

    def _decode(self, chunks: list[Chunk], store: Callable[[Chunk, Callable[[np.ndarray], None]], None]) -> None:
        """Let ``store(chunk, read)`` store each chunk, whose frames ``read`` reads into an array."""
        stop = threading.Event()
        # A video's frames in one thread, one after the other: to decode is to go on, and never to seek.
        jobs: dict[Path, list[Chunk]] = {}
        for chunk in chunks:
            first = chunk.frames[0]
            jobs.setdefault(first.video if isinstance(first, VideoFrame) else first, []).append(chunk)
        frames = sum(len(chunk.frames) for chunk in chunks)
        with progress(frames, "decoding frames", "frame") as advance:

            def read(chunk: Chunk, into: np.ndarray) -> None:
                for place, frame in zip(into, chunk.frames, strict=True):
                    if stop.is_set():
                        raise InterruptedError
                    picture = resize_image(read_image(frame), self.height, self.width, chunk.nearest)
                    place[...] = picture.transpose(2, 0, 1)  # as clips have them, which are copied every time
                    advance(1)

            def work(job: list[Chunk]) -> None:
                for chunk in job:
                    store(chunk, functools.partial(read, chunk))

            # Threads: Pillow and FFmpeg decode and resize without the interpreter's lock. More videos than stay open
            # would be opened anew for every frame.
            pool = ThreadPoolExecutor(min(cores(), OPEN))
            try:
                for done in as_completed([pool.submit(work, job) for job in jobs.values()]):
                    done.result()
            finally:  # when one fails, or a signal interrupts, the others leave what they are at
                stop.set()
                pool.shutdown(cancel_futures=True)


@functools.lru_cache(1024)  # maps that a process holds; their number is limited, too
def _mapped(file: Path) -> np.ndarray:
    return np.asarray(np.load(file, mmap_mode="r"))
