"""The sound of one file, copied as it is into another one beside its pictures."""
import contextlib
import io
from fractions import Fraction
from pathlib import Path

import av

from timecyclegan.util.errors import UserError
from timecyclegan.util.names import expanded
from timecyclegan.video.reader import VideoFile, declared_end, open_container, survey


class SoundCopy:
    """The sound tracks of ``source``, packet by packet, into ``container``, which is open for writing.

    Times count from the first picture of ``source``. A packet without a time, or with one that another packet of its
    track has passed, follows the one before it.

    Attributes:
        tracks: the tracks that are copied, by their index in ``source``.
        refused: the codecs of tracks that the container does not take.

    Raises:
        UserError: ``source`` cannot be read.
    """

    def __init__(self, source: str | Path, container: av.container.OutputContainer, target: str | Path):
        self._source, self._target, self._container = expanded(source), target, container
        self.refused: list[str] = []
        self._unknown: list[str] = []  # which tracks have a codec that FFmpeg does not know
        self._elsewhere, self._mended = True, 0  # whether .mkv takes what is refused; packets with another time
        self._early = Fraction(0)  # seconds of sound before the first picture that are left out
        try:
            self._file = open_container(self._source)
            self._start = _first_time(self._source)
            self.tracks, first = {}, _first_packets(self._source)
            for number, track in enumerate(self._file.streams.audio, 1):
                if track.codec_context is None:
                    self._unknown.append(str(number))
                elif _takes(container.format.name, track, first):
                    blocks = container.format.name == "avi" and track.codec_context.name == "ac3"
                    template = _without_blocks(track, first) if blocks else track
                    self.tracks[track.index] = container.add_stream_from_template(template)
                else:
                    self.refused.append(track.codec_context.name)
                    self._elsewhere &= _takes("matroska", track, first)
            # By track: the last time, where its packet ends, and by how much times are moved.
            self._clocks = dict.fromkeys(self.tracks, (None, 0, 0))
            tracks = [self._file.streams[index] for index in self.tracks]
            # By track: its unit of time, and when it says that it ends, in seconds.
            self._declared = {track.index: (track.time_base, declared_end(track)) for track in tracks
                              if track.duration or "DURATION" in track.metadata}  # fmt: skip
            self._packets = self._file.demux(tracks) if tracks else iter(())
            self._next = self._read()
        except (av.error.FFmpegError, OSError) as error:
            raise self._unreadable(error) from error

    def copy(self, end: Fraction | None = None) -> None:
        """Write what begins before ``end`` (seconds), or all that is left.

        Raises:
            UserError: the sound cannot be read, or the container refuses it.
        """
        while (packet := self._next) is not None:
            if end is not None and packet.dts * packet.time_base >= end:
                return
            packet.stream = self.tracks[packet.stream_index]
            try:
                self._container.mux(packet)
            except av.error.FFmpegError as error:
                if isinstance(error, OSError):
                    raise
                raise UserError(f"cannot write the sound of {self._source} to {self._target}: {error.strerror}; "
                                "--no-sound leaves it out") from error
            try:
                self._next = self._read()
            except (av.error.FFmpegError, OSError) as error:
                raise self._unreadable(error) from error

    def summary(self) -> list[str]:
        """What became of the sound, track by track."""
        parts = ["sound copied"] if self.tracks else []
        if self.refused:
            parts.append(f"its sound ({', '.join(self.refused)}) was left out, {Path(self._target).suffix} cannot hold "
                         f"it{', .mkv can' if self._elsewhere else ''}")
        if self._unknown:
            parts.append(f"its sound track {', '.join(self._unknown)} was left out, its codec is unknown to FFmpeg")
        if self._early > Fraction(1, 10):
            parts.append(f"{float(self._early):.1f} s of sound before the pictures were left out, .avi has no place "
                         "for them")
        for index, (unit, said) in self._declared.items():
            end = self._clocks[index][1]
            found = float(end * unit + self._start)
            if said and found < min(0.9 * said, said - 0.1):
                parts.append(f"its sound ends after {found:.2f} s, though it says {said:.2f} s")
        if self._mended:
            parts.append(f"{self._mended} packets of sound had no time of their own, or one that goes back, and follow "
                         "those before them")
        return parts

    def close(self) -> None:
        self._file.close()

    def _read(self) -> av.Packet | None:
        """The next packet that holds something, with the time that it gets; None at the end."""
        for packet in self._packets:
            if not packet.size:
                continue
            last, end, moved = self._clocks[packet.stream_index]
            time = packet.pts if packet.dts is None else packet.dts
            if time is not None:
                time -= round(self._start / packet.time_base)
                if last is None or time > last:
                    moved = 0
                elif time + moved <= last:
                    moved = end - time
                time += moved
            self._mended += time is None or moved != 0
            packet.pts = packet.dts = end if time is None else time
            self._clocks[packet.stream_index] = packet.dts, packet.dts + max(1, packet.duration or 0), moved
            if packet.dts < 0 and self._container.format.name == "avi":
                # AVI has no times before 0, and would move the pictures instead. Often it is an encoder's preparation.
                self._early = max(self._early, -packet.dts * packet.time_base)
                continue
            return packet
        return None

    def _unreadable(self, error: Exception) -> UserError:
        return UserError(f"cannot read the sound of {self._source}: {error.strerror}; --no-sound leaves it out")


def _first_time(path: Path) -> Fraction:
    """When the first picture is shown, by the clock of the file, in seconds; 0 where there are none."""
    with contextlib.suppress(UserError), VideoFile(path) as video:
        stamps = survey(path).stamps
        return (stamps[0] if stamps else video.stream.start_time or 0) * video.tick
    return Fraction(0)


def _first_packets(source: str | Path) -> dict[int, av.Packet]:
    """The first packet of each track of sound that has one, by the track's index."""
    first: dict[int, av.Packet] = {}
    with open_container(source) as file:
        tracks = [track for track in file.streams.audio if track.codec_context is not None]
        for packet in file.demux(tracks) if tracks else ():
            if packet.size:
                first.setdefault(packet.stream_index, packet)
            if len(first) == len(tracks):
                break
    return first


def _takes(kind: str, track: av.AudioStream, first: dict[int, av.Packet]) -> bool:
    """Whether a container of a kind, such as "mp4", takes a track: tried, as its codec alone does not tell."""
    try:
        _trial(kind, track, first)
    except (av.error.FFmpegError, OSError, ValueError):
        return False
    return True


def _without_blocks(track: av.AudioStream, first: dict[int, av.Packet]) -> av.AudioStream:
    """The track without the size of blocks that AVI files give AC-3, which Matroska does not store.

    A packet is no block of that size, but FFmpeg's AVI would count time by them.
    """
    return av.open(_trial("matroska", track, first)).streams.audio[0]


def _trial(kind: str, track: av.AudioStream, first: dict[int, av.Packet]) -> io.BytesIO:
    """A file of a kind with nothing but the beginning of a track."""
    file = io.BytesIO()
    with av.open(file, "w", format=kind) as trial:
        stream = trial.add_stream_from_template(track)
        trial.start_encoding()
        if packet := first.get(track.index):
            packet.stream, packet.pts, packet.dts = stream, 0, 0
            trial.mux(packet)
    file.seek(0)
    return file
