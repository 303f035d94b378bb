"""Video files as streams of frames: uint8 (H, W, 3), RGB, one after the other in the order of their presentation.

Packets and the times of frames decide; what a file declares (rate, duration, number of frames) is a hint. Every stored
frame counts once, also where the frame rate varies. Frames are turned upright as the file says, and have as many pixels
as are stored: pixels that are not square stay so. Colours follow the file's matrix and range; where it names no matrix,
BT.709 from 720 lines on and BT.601 below, as players assume. What is transparent in a GIF is white. More than 8 bits
are rounded to 8. HDR is not tone-mapped and the two fields of interlaced pictures stay woven; what is not read as it
was meant, or is not as the file says, ``survey(path).notes`` tells.
"""
import contextlib
import functools
import struct
import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter

from timecyclegan.util.errors import UserError, failed, link_to_nothing
from timecyclegan.util.names import expanded
from timecyclegan.video.endings import ends_in_packets, holds_second_film, missing_bytes
from timecyclegan.video.times import ascending, average_rate

# Names under which videos are found in folders. A single file may be called anything: what is in it decides.
VIDEO_SUFFIXES = (
    ".mp4", ".avi", ".mov", ".mkv", ".webm", ".gif", ".m4v", ".mpg", ".mpeg", ".mpe", ".m1v", ".m2v", ".vob", ".ts",
    ".mts", ".m2ts", ".m2t", ".wmv", ".asf", ".flv", ".f4v", ".3gp", ".3g2", ".qt", ".mj2", ".ogv", ".ogm", ".mxf",
    ".dv", ".divx", ".rm", ".rmvb", ".wtv", ".mk3d", ".nut", ".y4m", ".ivf", ".amv", ".apng", ".mjpeg", ".mjpg",
    ".h264", ".264", ".avc", ".h265", ".265", ".hevc", ".obu", ".vc1",
)  # fmt: skip

NO_FILE = "no file, but a pipe, socket or device"
HD_LINES = 720  # from here on colours that are not said to be otherwise are BT.709
# Bicubic chroma at every pixel, without the shortcuts that round differently from row to row.
ACCURATE = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT

# Codes of ITU-T H.273: the colour matrices that FFmpeg converts, transfer characteristics, and colour primaries.
_MATRICES = (1, 4, 5, 6, 7, 9)
_HDR = {16: "PQ", 18: "HLG"}
_WIDE = {9: "BT.2020", 11: "DCI-P3", 12: "Display P3"}
_UNDECLARED = ("gif", "ogg")  # files that say neither length nor number of frames: FFmpeg looks what is there
_HIDING = ("vp8", "vp9", "av1")  # codecs with pictures that only others are predicted from
_CHECKED = 32  # pictures that are decoded where the packets leave their order in doubt
_local = threading.local()  # a reformatter keeps tables for the last size: one for each thread


def is_video(path: str | Path) -> bool:
    """Whether a file is a video by its name."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


def version(path: Path) -> tuple[int, int]:
    """What changes when the file does.

    Raises:
        UserError: it is missing, or in a folder that cannot be read.
    """
    try:
        facts = path.stat()
    except OSError as error:
        raise unreadable(path, error) from error
    return facts.st_mtime_ns, facts.st_size


def open_container(path: str | Path) -> av.container.InputContainer:
    """Open a file for reading; texts in it that are not UTF-8 are read as far as they are."""
    return av.open(f"file:{path}", metadata_errors="replace")  # else a name with a colon would be taken for a URL


class Survey(NamedTuple):
    """What a video file holds: all its frames, in the order in which they are shown."""

    times: list[Fraction]  # when each is shown, in seconds after the first; ascending
    rate: Fraction  # frames per second, on average
    stamps: list[int] | None  # their times in the file's unit, by which they are found; None: by counting
    keys: list[tuple[int, int]]  # such times of key frames, of presentation and of decoding; none without ``stamps``
    notes: list[str]  # what is not as the file says, or not read as it was meant

    def length(self, place: int) -> Fraction:
        """For how many seconds frame number ``place`` is shown."""
        end = self.times[place + 1] if place + 1 < len(self.times) else len(self.times) / self.rate
        return max(end - self.times[place], Fraction(0))

    def place(self, count: int, picture: av.VideoFrame) -> int | None:
        """The number of the frame that a decoder's picture number ``count`` is; None if it is not shown."""
        if self.stamps is None:
            return count
        place = -1 if picture.pts is None else bisect_left(self.stamps, picture.pts)
        return place if self.stamps[place:][:1] == [picture.pts] else None


class VideoFile:
    """An open video file; a context manager. Of several streams of pictures the best one is read, as FFmpeg judges.

    Attributes:
        tick: the unit of the frames' times, in seconds.
        timed: whether packets and frames know when they are shown. AVI stores no times: FFmpeg works those of reordered
            frames out for MPEG-4 alone.

    Raises:
        UserError: missing, empty, damaged, no video, without pictures, or of a codec that is unknown here.
    """

    def __init__(self, path: str | Path):
        self.path = path = expanded(path)
        if path.exists() and not path.is_file() and not path.is_dir():  # opening it might wait forever
            raise UserError(f"cannot read video {path}: it is {NO_FILE}; write what comes from it into a file first")
        try:
            self.container = open_container(path)
        except (av.error.FFmpegError, OSError) as error:
            raise unreadable(path, error) from error
        try:
            self.stream = self._choose_stream()
        except UserError:
            self.container.close()
            raise
        context = self.stream.codec_context
        # One thread: a worker process cannot inherit a decoder's threads, and several videos are read side by side.
        context.thread_count = 1
        self.tick = Fraction(self.stream.time_base or Fraction(1, 1000))
        self.timed = self.container.format.name != "avi" or not context.has_b_frames or context.name == "mpeg4"

    def _choose_stream(self) -> av.VideoStream:
        pictures = [stream for stream in self.container.streams.video if not _is_cover(stream)]
        readable = [stream for stream in pictures if stream.codec_context is not None]
        kind = self.container.format.long_name or self.container.format.name
        if self.container.format.name == "webp_pipe" and _is_animated_webp(self.path):
            raise UserError(f"cannot read video {self.path}: FFmpeg does not decode animated WebP; convert it, for "
                            "example to GIF")
        if readable and self.container.format.name != "tty":  # which takes any text for pictures
            best = self.container.streams.best("video")
            return best if best in readable else readable[0]
        if pictures and not readable:
            wrong = f"this FFmpeg has no decoder for its pictures ({kind}); convert it, for example to H.264"
        else:
            covers = " but a cover" if self.container.streams.video and not readable else ""
            wrong = f"it has no pictures{covers} ({kind}); remove it, or give another file"
        raise UserError(f"cannot read video {self.path}: {wrong}")

    def __enter__(self) -> "VideoFile":
        return self

    def __exit__(self, *_error: object) -> None:
        self.container.close()

    @property
    def rate(self) -> Fraction:
        """Frames per second, on average: see ``times.average_rate``."""
        return survey(self.path).rate

    def pixel_aspect(self, frame: np.ndarray) -> Fraction | None:
        """Width by height of a pixel of an upright frame, where the file says it."""
        aspect = self.stream.sample_aspect_ratio
        turned = frame.shape[:2] != (self.stream.height, self.stream.width)
        return 1 / aspect if aspect and turned else aspect or None

    def left_out(self) -> list[str]:
        """What is in the file beside pictures and sound, for a message."""
        names = Counter("cover picture" if stream.type == "video" else f"{stream.type} track"
                        for stream in self.container.streams if stream.type != "audio"
                        and (stream.type != "video" or _is_cover(stream)))  # fmt: skip
        found = ", ".join(f"{count} {name}{'s' * (count > 1)}" for name, count in names.items())
        return [f"left out: {found}"] if found else []

    def packets(self) -> Iterator[av.Packet]:
        """The encoded pictures from the first to the last, then an empty packet, which makes a decoder give its last.

        Raises:
            UserError: the file is damaged, or ends within a packet.
        """
        count = 0
        try:
            for packet in self.container.demux(self.stream):
                # The file ends within it; of a transport stream, packets are missing before it, which is no end.
                if packet.is_corrupt and self.container.format.name != "mpegts":
                    raise UserError(f"video {self.path} is cut off after frame {count}; replace it")
                count += packet.size > 0
                yield packet
        except (av.error.FFmpegError, OSError) as error:
            raise unreadable(self.path, error, count) from error

    def pictures(self, damaged: bool = False, key: int | None = None) -> Iterator[tuple[int, av.VideoFrame]]:
        """The decoded pictures, counted from 0, from where the file stands.

        A recording may begin amid a stream: pictures before the first key frame that lack what they are predicted from
        are left out.

        Args:
            damaged: leave out damaged pictures, too, instead of raising.
            key: begin with the key frame of this time. After seeking, some containers give parts of frames before it,
                or lead behind it, or tell other times.

        Raises:
            UserError: a picture is damaged, or the file ends before its end; names the frame.
        """
        count, begins, keyed = 0, None, False
        for packet in self.packets():
            if key is not None and not keyed and (packet.pts != key or not packet.is_keyframe):
                continue
            begins = packet.is_keyframe if begins is None else begins
            keyed |= packet.is_keyframe
            try:
                decoded = packet.decode()
            except (av.error.FFmpegError, OSError) as error:
                if keyed and not damaged:
                    raise unreadable(self.path, error, count) from error
                continue
            for picture in decoded:
                if not picture.is_corrupt:
                    yield count, picture
                    count += 1
                elif (count or begins) and not damaged:
                    raise unreadable(self.path, None, count)

    def frames(self) -> Iterator[tuple[np.ndarray, Fraction]]:
        """All frames, and when each is shown, in seconds after the first.

        Raises:
            UserError: a frame is damaged, or the file ends before its end; names the frame.
        """
        known, coming = survey(self.path), 0
        for count, picture in self.pictures():
            place = known.place(count, picture)
            if place is not None and place >= coming:
                if place > coming:  # the decoder dropped it without a word
                    raise unreadable(self.path, None, coming)
                yield to_rgb(picture), known.times[place]
                coming += 1
        if coming < len(known.times):
            raise unreadable(self.path, None, coming)


def declared_end(stream: av.VideoStream | av.AudioStream) -> float | None:
    """When a file says that a stream ends, in seconds: in Matroska's tag, at the stream, or of all of it."""
    if stream.container.format.name in _UNDECLARED:
        return None
    with contextlib.suppress(ValueError):  # a tag may be any text
        hours, minutes, seconds = stream.metadata.get("DURATION", "").split(":")
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    if stream.duration:  # of reordered frames in Matroska the beginning is FFmpeg's guess
        return float(((stream.start_time or 0) + stream.duration) * (stream.time_base or 0))
    return stream.container.duration / av.time_base if stream.container.duration else None


def _is_animated_webp(path: Path) -> bool:
    """By the flags of the extended header (RFC 9649, section 2.7)."""
    with open(path, "rb") as file:
        head = file.read(21)
    return head[12:16] == b"VP8X" and bool(head[20] & 2)


def _is_cover(stream: av.VideoStream) -> bool:
    return bool(stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails))


def survey(path: Path) -> Survey:
    """What is known of all frames of a file; it is read once for it, and decoded where its packets do not tell.

    Raises:
        UserError: the file is missing, no video, damaged, cut off, or has no frames.
    """
    path = expanded(path)
    return _survey(path, *version(path))


@functools.cache
def _survey(path: Path, *_version: int) -> Survey:
    with VideoFile(path) as video:
        stream, context, tick = video.stream, video.stream.codec_context, video.tick
        packets = [
            _Packet(packet.pts, packet.dts, packet.duration or 0, packet.size, packet.is_keyframe, packet.is_discard,
                    packet.is_corrupt)
            for packet in video.packets() if packet.size
        ]  # fmt: skip
        shown = [packet for packet in packets if not packet.hidden]
        if not shown and (hidden := max(len(packets), video.stream.frames)):
            raise UserError(f"video {path} says that it has {hidden} frames, but shows none: its edit list or table of "
                            "frames is wrong; convert it anew, or replace it")
        if not shown:
            raise no_frames(path)
        notes = _compare_end(video, packets)
        if lost := sum(packet.damaged for packet in packets):
            notes.append(f"{lost} of its packets are damaged or follow some that were lost; pictures may be, too")
        streams = [other for other in video.container.streams.video if not _is_cover(other)]
        if len(streams) > 1:
            notes.append(f"it has {len(streams)} streams of pictures; number {streams.index(stream) + 1} is read")
        # Where FFmpeg finds no rate, it takes the unit of the times for one.
        unit = 1 / tick if tick <= Fraction(1, 1000) else None
        hints = [Fraction(rate) for rate in (stream.guessed_rate, stream.average_rate, stream.base_rate)
                 if rate and rate != unit]  # fmt: skip
        declared = hints[0] if hints else Fraction(25)
        shown.sort(key=lambda packet: (packet.pts is None, packet.pts or 0))
        stamps, arrived = [packet.pts for packet in shown], [packet.pts for packet in packets if not packet.hidden]
        # Also what is not shown: other frames are decoded from it.
        keys = [(packet.pts, packet.pts if packet.dts is None else packet.dts) for packet in packets if packet.key]
        if context.name == "gif":  # a later "key frame" may cover a part of what was there before
            keys = keys[:1]
        # DivX packs two frames into one packet; the next one, of a few bytes, has none.
        packed = context.name == "mpeg4" and min(packet.size for packet in shown) <= 8
        told = (video.timed and not packed and None not in [*stamps, *(pts for pts, _ in keys)]
                and len(set(stamps)) == len(stamps))  # fmt: skip
        # Frames of a codec that reorders them should be stored in another order than they are shown, and others not.
        doubtful = told and bool(context.has_b_frames) == (stamps == arrived)

    first, given, known = None, [], set(stamps)
    with VideoFile(path) as video, contextlib.suppress(UserError):  # damage is told when the frame is asked for
        for _, picture in video.pictures():
            first = first or picture
            given += [picture.pts] if picture.pts in known else []
            # The two fields of interlaced pictures may be packets of their own.
            if not (doubtful or first.interlaced_frame) or len(given) >= _CHECKED:
                break
    notes += _describe(first) if first else []
    decoded = stamps.index(given[0]) if told and given else 0
    if told and given == stamps[decoded:][: len(given)]:
        # What is shown before the first key frame may lack what it is predicted from. Others are there, if damaged.
        begin = min([decoded, *(stamps.index(pts) for pts, _ in keys[:1] if pts in known)])
        if begin:
            notes.append(f"frames at its beginning ({begin}) are left out: what they are decoded from is missing or "
                         "damaged")
        times = [(stamp - stamps[begin]) * tick for stamp in stamps[begin:]]
        lengths = [packet.duration * tick for packet in shown[begin:]]
        return Survey(times, average_rate(times, lengths, hints, tick), stamps[begin:], sorted(keys), notes)

    with VideoFile(path) as video:
        avi = video.container.format.name == "avi"
        given = [picture.pts if video.timed and not packed else None for _, picture in video.pictures()]
    if not given:
        raise no_frames(path)
    # A packet may well be half a frame, or none that is shown.
    if len(given) < len(shown) and first and not (first.interlaced_frame or packed or context.name in _HIDING):
        notes.append(f"of its {len(shown)} stored pictures only {len(given)} can be decoded")
    if told and stamps == arrived and len(given) == len(stamps):
        given = stamps
        notes.append("its frames have the times at which they are decoded; they are shown in their right order")
    ticks, changed = ascending(given, 1 / declared / tick)
    times = [(time - ticks[0]) * tick for time in ticks]
    if changed == len(given):  # AVI says the rate instead
        notes += [] if avi else [f"it stores no times; its frames are taken for {float(declared):g} per second"]
        return Survey(times, declared, None, [], notes)
    if changed:
        notes.append(f"frames without a time of their own, or with one that goes back ({changed} of {len(given)}), are "
                     "put between their neighbours")  # fmt: skip
    lengths = [packet.duration * tick for packet in shown] if len(shown) == len(given) else [Fraction(0)] * len(given)
    return Survey(times, average_rate(times, lengths, hints, tick), None, [], notes)


class _Packet(NamedTuple):
    """What is kept of a packet."""

    pts: int | None
    dts: int | None
    duration: int
    size: int
    key: bool
    hidden: bool
    damaged: bool


def _compare_end(video: VideoFile, packets: list[_Packet]) -> list[str]:
    """Notes on a file that ends earlier than it should, or holds more than is read.

    Raises:
        UserError: it was longer once: its own structure says that bytes are missing, and pictures are missing as well.
    """
    stamps = [packet.dts if packet.pts is None else packet.pts for packet in packets]
    spans = [(stamp, stamp + packet.duration) for stamp, packet in zip(stamps, packets, strict=True)
             if stamp is not None]  # fmt: skip
    said = declared_end(video.stream)
    found = float(max((end for _, end in spans), default=0) * video.tick)
    step = float((max(spans)[0] - min(spans)[0]) * video.tick) / len(packets) if spans else 0.0
    early = said is not None and bool(spans) and found < said - 2 * step
    try:
        count = 0 if video.container.format.name in _UNDECLARED else video.stream.frames
        missing = not 0 < count <= len(packets) and missing_bytes(video.path) > 0
    except OSError as error:
        raise unreadable(video.path, error) from error
    if missing and early:
        raise UserError(f"video {video.path} is cut off after frame {len(packets)}, at {found:.2f} of {said:.2f} s; "
                        "replace it")  # fmt: skip
    if missing and said is None:
        raise UserError(f"video {video.path} is cut off in frame {len(packets) - 1}, or after it; replace it")
    alone = bool(video.stream.duration) or len(video.container.streams) == 1  # else what is longer may be the sound
    if early and alone and found < 0.98 * said:
        return [f"it says that its pictures last {said:.2f} s, but they end after {found:.2f} s; it is read to there"]
    if video.container.format.name == "mpegts" and not ends_in_packets(video.path):
        return ["its last bytes are no transport stream: it was not written to its end"]
    if holds_second_film(video.path):
        return ["two films stand behind each other in it; only the first is read"]
    if count > len(packets):
        return [f"it says that it has {count} pictures; found in it: {len(packets)}"]
    return []


def _describe(picture: av.VideoFrame) -> list[str]:
    """Notes on what a picture means beyond its numbers."""
    notes = []
    if hdr := _HDR.get(picture.color_trc):
        notes.append(f"its colours are HDR ({hdr}) and are read as they are stored, without tone mapping, as if they "
                     "were BT.709: pale or dark; convert it to SDR first")  # fmt: skip
    elif wide := _WIDE.get(picture.color_primaries):
        notes.append(f"its colours are of a wide gamut ({wide}) and are read as if they were BT.709; they look paler")
    if picture.colorspace not in (*_MATRICES, 2) and not picture.format.is_rgb:
        notes.append(f"its colour matrix (number {picture.colorspace} of ITU-T H.273) is not converted here; the usual "
                     "one of its size is taken")  # fmt: skip
    bits = max(component.bits for component in picture.format.components)
    if bits > 10 and (picture.format.is_rgb or len(picture.format.components) == 1):  # films of 10 bits use them all
        notes.append(f"its pixels have {bits} bits, of which 8 are read: where they use a sliver of their range, as "
                     "depths do, few levels are left; store such frames as PNG of 16 bits, which resize_images --range "
                     "spreads")
    if picture.interlaced_frame:
        notes.append("it is interlaced, each picture weaves two moments together; deinterlace it first, for example "
                     "by ffmpeg -vf bwdif")  # fmt: skip
    return notes


def to_rgb(picture: av.VideoFrame) -> np.ndarray:
    """A decoded picture as uint8 (H, W, 3), RGB, upright.

    Raises:
        UserError: FFmpeg does not convert pixels of this format.
    """
    if not hasattr(_local, "reformatter"):
        _local.reformatter = VideoReformatter()
    untold = Colorspace.ITU709 if picture.height >= HD_LINES else Colorspace.ITU601
    matrix = None if picture.colorspace in _MATRICES else untold
    try:
        rgb = _local.reformatter.reformat(picture, format="rgb24", src_colorspace=matrix, interpolation=ACCURATE,
                                          threads=1)  # fmt: skip
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise UserError(f"FFmpeg does not turn pixels of the format {picture.format.name} into RGB; convert the video "
                        "to another one, such as yuv420p") from error
    image, matrix = rgb.to_ndarray(), picture.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return image
    # It turns by multiples of 90 degrees and mirrors: (x, y) to (a x + c y, b x + d y).
    a, b, _, c, d, *_ = struct.unpack("9i", bytes(matrix)[:36])
    if abs(b) + abs(c) > abs(a) + abs(d):
        image, a, d = image.swapaxes(0, 1), c, b
    return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def unreadable(path: str | Path, error: Exception | None, frame: int | None = None) -> UserError:
    """What to say of a video, or of one frame of it, that cannot be read."""
    what = f"video {path}" if frame is None else f"frame {frame} of video {path}"
    if link := link_to_nothing(path):
        return UserError(f"cannot read {what}: it is {link}")
    said = f" ({error.strerror})" if isinstance(error, av.error.FFmpegError) else ""
    said = " (it is empty)" if Path(path).is_file() and not Path(path).stat().st_size else said
    damaged = UserError(f"cannot read {what}: it is damaged{'' if frame is not None else ' or no video'}{said}; "
                        "replace or remove it")
    return failed(f"cannot read {what}", error, str(damaged)) if error else damaged


def no_frames(path: str | Path) -> UserError:
    return UserError(f"video {path} holds no frames; replace or remove it")
