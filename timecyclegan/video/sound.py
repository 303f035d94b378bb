"""The sound of one file, copied as it is into another one beside its pictures."""
from fractions import Fraction
from pathlib import Path

import av

from timecyclegan.util.errors import UserError
from timecyclegan.util.names import expanded


class SoundCopy:
    """The sound tracks of ``source``, packet by packet, into ``container``, which is open for writing.

    Times count from the first picture of ``source``. A track whose codec the container does not take stays out and is
    in ``refused``.

    Raises:
        UserError: ``source`` cannot be read.
    """

    def __init__(self, source: str | Path, container: av.container.OutputContainer):
        self._source, self._container = expanded(source), container
        self.refused: list[str] = []
        try:
            self._file = av.open(f"file:{self._source}")
            pictures = self._file.streams.best("video")
            self._start = (pictures.start_time or 0) * pictures.time_base if pictures else Fraction(0)
            self.tracks = {}
            for track in self._file.streams.audio:
                try:
                    self.tracks[track.index] = container.add_stream_from_template(track)
                except ValueError:
                    self.refused.append(track.codec_context.name)
            tracks = [self._file.streams[index] for index in self.tracks]
            self._packets = self._file.demux(tracks) if tracks else iter(())
            self._next = next(self._packets, None)
        except (av.error.FFmpegError, OSError) as error:
            raise self._unreadable(error) from error

    def copy(self, end: Fraction | None = None) -> None:
        """Write what begins before ``end`` (seconds), or all that is left."""
        while (packet := self._next) is not None:
            if packet.dts is not None:  # the last one is empty
                if end is not None and packet.dts * packet.time_base - self._start >= end:
                    return
                late = round(self._start / packet.time_base)
                packet.dts, packet.pts = packet.dts - late, (packet.pts or packet.dts) - late
                packet.stream = self.tracks[packet.stream_index]
                self._container.mux(packet)
            try:
                self._next = next(self._packets, None)
            except (av.error.FFmpegError, OSError) as error:
                raise self._unreadable(error) from error

    def close(self) -> None:
        self._file.close()

    def _unreadable(self, error: Exception) -> UserError:
        return UserError(f"cannot read the sound of {self._source}: {error.strerror}; --no-sound leaves it out")
