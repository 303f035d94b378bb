"""Small video files, and the oracle that decodes them plainly from the first frame to the last."""
import struct
from fractions import Fraction

import av
import numpy as np

from timecyclegan.video.reader import to_rgb

# One small clip for each kind of file: name -> encoder, its options, pixel format.
KINDS = {
    "b_frames.mp4": ("libx264", {"bf": "3", "g": "8", "b_strategy": "0", "sc_threshold": "0"}, "yuv420p"),
    "open_gop.mp4": ("libx264", {"bf": "3", "g": "8", "b_strategy": "0", "sc_threshold": "0", "flags": "-cgop",
                                 "x264-params": "open-gop=1"}, "yuv420p"),
    "b_frames.mkv": ("libx264", {"bf": "3", "g": "8", "b_strategy": "0", "sc_threshold": "0"}, "yuv420p"),
    "refresh.mp4": ("libx264", {"g": "8", "x264-params": "intra-refresh=1"}, "yuv420p"),
    "vp9.webm": ("libvpx-vp9", {"g": "8", "lag-in-frames": "12", "auto-alt-ref": "1", "cpu-used": "8"}, "yuv420p"),
    "vp8.webm": ("libvpx", {"g": "20", "lag-in-frames": "12", "auto-alt-ref": "1", "cpu-used": "8"}, "yuv420p"),
    "plain.avi": ("mpeg4", {"g": "8"}, "yuv420p"),
    "b_frames.avi": ("mpeg4", {"g": "3", "bf": "2"}, "yuv420p"),
    "h264.avi": ("libx264", {"bf": "3", "g": "8", "b_strategy": "0", "sc_threshold": "0"}, "yuv420p"),
    "b_frames.mov": ("mpeg4", {"g": "6", "bf": "2"}, "yuv420p"),
    "small.gif": ("gif", {}, "rgb8"),
}  # fmt: skip


def moving(count, height=48, width=64, seed=0):
    """uint8 (count, height, width, 3): a texture that drifts, and a bar whose column is the frame's number."""
    rng = np.random.default_rng(seed)
    base = np.kron(rng.integers(60, 200, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8), np.ones((4, 4, 1)))
    frames = np.stack([np.roll(base, t, 1)[:height, :width] for t in range(count)]).astype(np.uint8)
    for t in range(count):
        frames[t, : height // 4] = 20
        frames[t, : height // 4, (2 * t) % width : (2 * t) % width + 2] = 235
    return frames


def write_clip(path, frames, codec="libx264", options=None, pix_fmt="yuv420p", rate=25, times=None, container=None,
               setup=None, sound=None):  # fmt: skip
    """Encode uint8 (T, H, W, 3).

    Args:
        times: in milliseconds; frame t is shown at t / rate without.
        setup: is given the stream before the first frame.
        sound: (codec, seconds) of a tone beside the pictures; several codecs are parted by "+".
    """
    with av.open(str(path), "w", options=container or {}) as file:
        stream = file.add_stream(codec, rate=Fraction(rate), options=options or {})
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], pix_fmt
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if setup:
            setup(stream)
        tones = [file.add_stream(name, rate=48000, layout="mono") for name in sound[0].split("+")] if sound else []
        for t, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = (t, 1 / Fraction(rate)) if times is None else (times[t], Fraction(1, 1000))
            file.mux(stream.encode(picture))
        file.mux(stream.encode())
        for tone in tones:
            write_tone(file, tone, sound[1])
    return path


def remux(source, target, change, kind="video"):
    """Copy packet by packet; ``change`` gets those of a kind with their number, and may return None."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        streams = [new.add_stream_from_template(stream, opaque=True) for stream in old.streams]
        number = 0
        for packet in old.demux():
            if packet.size:
                changed = change(number, packet) if packet.stream.type == kind else packet
                number += packet.stream.type == kind
                if changed is not None:
                    changed.stream = streams[packet.stream_index]
                    new.mux(changed)
    return target


def with_times(times):
    """For :func:`remux` into .mkv: frame by frame other times of presentation, in milliseconds."""
    def change(number, packet):
        packet.pts, packet.dts = 1000 + times[number], number  # a muxer refuses times of decoding that do not ascend
        return packet

    return change


def bars(frames):
    """The numbers that frames of :func:`moving` show."""
    return [int(image[:12].sum(axis=(0, 2)).argmax()) // 2 for image in frames]


def hide_codec(path):
    """Give the pcm_s16le tracks of a .mov file a codec that nobody knows."""
    path.write_bytes(path.read_bytes().replace(b"sowt", b"apac"))
    return path


def write_tone(file, stream, seconds):
    wave = np.sin(np.arange(round(48000 * seconds)) * 2 * np.pi * 440 / 48000) * 0.2
    audio = av.AudioFrame.from_ndarray(wave.astype(np.float32)[None], format="fltp", layout="mono")
    audio.sample_rate, audio.pts, audio.time_base = 48000, 0, Fraction(1, 48000)
    resampled = av.AudioResampler(stream.codec_context.format, stream.codec_context.layout, 48000).resample(audio)
    for chunk in resampled:
        size = stream.codec_context.frame_size or chunk.samples
        fifo = av.AudioFifo()
        fifo.write(chunk)
        while part := fifo.read(size, partial=True):
            file.mux(stream.encode(part))
    file.mux(stream.encode())


def write_kind(folder, name, count=40):
    codec, options, pix_fmt = KINDS[name]
    return write_clip(folder / name, moving(count), codec, options, pix_fmt)


def decode(path):
    """All frames, by the plainest means."""
    with av.open(str(path)) as file:
        return [to_rgb(picture) for picture in file.decode(video=0)]


def rotate(path, matrix):
    """Write a display matrix (a, b, c, d) into an .mp4 file's track header (ISO/IEC 14496-12, 8.3.2)."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4
    place += 52 if data[place] else 40  # version 1 has times of 64 bits
    a, b, c, d = (value * 65536 for value in matrix)
    data[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
