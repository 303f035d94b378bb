"""Videos, joined pictures and GIFs, read back by other means than those that wrote them."""
import io
import resource
import signal
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from tests.clips import decode, moving
from timecyclegan.util.errors import UserError
from timecyclegan.video import writer as video
from timecyclegan.video.reader import VideoFile
from timecyclegan.video.writer import VideoWriter, encode_gif

RED, GREEN, BLUE = (230, 30, 20), (20, 200, 40), (30, 40, 220)


def plain(colour, height=64, width=128):
    return np.full((height, width, 3), colour, np.uint8)


def write(path, frames, fps=10, times=None, **options):
    with VideoWriter(path, fps, *frames[0].shape[:2], **options) as writer:
        for frame, time in zip(frames, times or [None] * len(frames), strict=True):
            writer.write(frame, time)
    return path


def read_back(path):
    """Frames (RGB) and frame rate by OpenCV's reader."""
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1][..., ::-1])
    return frames, capture.get(cv2.CAP_PROP_FPS)


def test_other_players_see_what_was_written(tmp_path):
    """Count, size, rate, codec and colours by OpenCV's reader."""
    frames = [plain(colour) for colour in (RED, GREEN, BLUE) * 3]
    for suffix, codec in {".mp4": "h264", ".webm": "VP90", ".mov": "h264", ".mkv": "h264", ".avi": "FMP4",
                          ".MP4": "h264"}.items():  # fmt: skip
        path = tmp_path / f"clip{suffix}"
        write(path, frames, 12.5)
        found, fps = read_back(path)
        code = int(cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode()
        assert (fps, code) == (pytest.approx(12.5, rel=1e-3), codec)
        assert [frame.shape for frame in found] == [(64, 128, 3)] * 9
        for frame, expected in zip(found, frames, strict=True):
            assert np.abs(frame.astype(int) - expected).max() < 25
        assert list(tmp_path.iterdir()) == [path]
        path.unlink()


@pytest.mark.parametrize("suffix", video.ENCODERS)
@pytest.mark.parametrize("height", [64, 720])
def test_colours_come_back(tmp_path, suffix, height):
    """Flat colours come back nearly as they were, so the matrix that is said is the one that was used."""
    frame = np.concatenate([plain(colour, height, 32) for colour in (RED, GREEN, BLUE)], axis=1)
    path = tmp_path / f"a{suffix}"
    with VideoWriter(path, 10, height, 96) as writer:
        writer.write(frame)
    with VideoFile(path) as file:
        ((image, _),) = file.frames()
    for left in (0, 32, 64):  # not at the edges, which share their colours
        inner = slice(left + 4, left + 28)
        assert np.abs(image[:, inner].astype(int) - frame[:, inner]).max() <= 4
    if suffix != ".avi":  # it has no place for them; what is not said is understood so, see video_files
        with av.open(str(path)) as file:
            picture = next(file.decode(video=0))
            assert picture.colorspace == (1 if height == 720 else 6) and picture.color_range in (0, 1)


@pytest.mark.parametrize("suffix", video.ENCODERS)
def test_detail_comes_back_the_same_each_time(tmp_path, suffix):
    frames = moving(6, 96, 128).mean(axis=-1, keepdims=True).repeat(3, -1).astype(np.uint8)  # colour has less detail
    found = np.stack(decode(write(tmp_path / f"a{suffix}", frames))).astype(float)
    assert 10 * np.log10(255**2 / np.square(found - frames).mean()) > 38
    noise = np.random.default_rng(0).integers(0, 60, (12, 64, 96, 3), dtype=np.uint8) + moving(12, 64, 96) // 2
    made = set()
    for _ in range(4):
        with av.open(str(write(tmp_path / f"a{suffix}", noise))) as file:
            made.add(b"".join(bytes(packet) for packet in file.demux(video=0)))
    assert len(made) == 1


def test_the_rate_is_exact(tmp_path):
    for fps in (Fraction(30000, 1001), 23.976, 12.5, 60):
        with VideoFile(write(tmp_path / "a.mp4", [plain(RED, 32, 32)] * 5, fps)) as file:
            assert file.rate == Fraction(fps).limit_denominator(60000)
            assert [time for _, time in file.frames()] == [t / file.rate for t in range(5)]


@pytest.mark.parametrize("suffix", video.ENCODERS)
def test_frames_keep_their_times(tmp_path, suffix):
    times = [Fraction(t, 1000) for t in (0, 40, 50, 400, 1000, 1033)]
    write(tmp_path / f"a{suffix}", [plain(RED, 32, 32)] * 6, 25, times, tick=Fraction(1, 1000))
    with VideoFile(tmp_path / f"a{suffix}") as file:
        found = [time for _, time in file.frames()]
    assert found == ([Fraction(t, 25) for t in range(6)] if suffix == ".avi" else times)
    if suffix == ".avi":
        return
    # 3000 frames per second, counted in milliseconds: those that share a time are all kept.
    frames, times = moving(12), [Fraction(t // 3, 1000) for t in range(12)]
    with VideoFile(write(tmp_path / f"b{suffix}", frames, 3000, times, tick=Fraction(1, 1000))) as file:
        images, found = zip(*file.frames(), strict=True)
    assert [int(image[:12].sum(axis=(0, 2)).argmax()) // 2 for image in images] == list(range(12))
    np.testing.assert_allclose([float(time) for time in found], np.arange(12) / 3000, atol=1.1e-3)


@pytest.mark.parametrize("fps", [Fraction(120000, 1001), Fraction(90000 * 30, 363990 // 4 * 4 + 7), Fraction(1, 7),
                                 Fraction(1000, 33), Fraction(10**7, 10**5 + 7), Fraction(10**4)])  # fmt: skip
def test_rates_that_a_codec_does_not_take_become_the_nearest(tmp_path, fps):
    """MPEG-4 has 16 bits for each part of its time base."""
    with VideoWriter(tmp_path / "a.avi", fps, 32, 32) as writer:
        for _ in range(30):
            writer.write(plain(RED, 32, 32))
    with av.open(str(tmp_path / "a.avi")) as file:
        rate = file.streams.video[0].average_rate
    assert max(rate.numerator, rate.denominator) <= 65535
    assert float(rate) == pytest.approx(min(float(fps), 1000), rel=1e-4)  # faster ones FFmpeg's AVI does not hold


@pytest.mark.parametrize("suffix", [".mkv", ".webm"])
def test_the_last_frame_keeps_its_length(tmp_path, suffix):
    path, times = tmp_path / f"a{suffix}", [Fraction(t, 1000) for t in (0, 40, 100, 500)]
    with VideoWriter(path, 5, 32, 32, tick=Fraction(1, 1000)) as writer:
        for time, length in zip(times, (0.04, 0.06, 0.4, 2), strict=True):
            writer.write(plain(RED, 32, 32), time, Fraction(length).limit_denominator(1000))
    with av.open(str(path)) as file:
        assert file.duration / av.time_base == pytest.approx(2.5, abs=0.002)


def test_pixels_keep_their_aspect(tmp_path):
    with av.open(str(write(tmp_path / "a.mp4", [plain(RED, 32, 32)], pixel_aspect=Fraction(4, 3)))) as file:
        assert file.streams.video[0].sample_aspect_ratio == Fraction(4, 3)


def test_odd_sizes_repeat_the_last_row_and_column(tmp_path):
    found, _ = read_back(write(tmp_path / "odd.webm", [plain(BLUE, 33, 47)] * 3))
    assert [picture.shape for picture in found] == [(34, 48, 3)] * 3
    assert np.abs(found[0].astype(int) - BLUE).max() < 25


def test_a_failure_leaves_the_old_file_and_says_nothing(tmp_path, capfd):
    (tmp_path / "a.webm").write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), VideoWriter(tmp_path / "a.webm", 10, 64, 128) as writer:
        writer.write(plain(RED))
        raise KeyboardInterrupt
    assert (tmp_path / "a.webm").read_bytes() == b"old" and capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == [tmp_path / "a.webm"]


def test_mistakes_leave_nothing(tmp_path):
    with pytest.raises(ValueError, match=r"\(64, 128, 3\).*\(128, 64, 3\)"), \
            VideoWriter(tmp_path / "a.webm", 10, 64, 128) as writer:
        writer.write(plain(RED, 128, 64))
    with pytest.raises(UserError, match=r"a\.webm: there are no frames"), VideoWriter(tmp_path / "a.webm", 10, 64, 64):
        pass
    with pytest.raises(UserError, match=r"ending in \.mp4, \.webm"):
        VideoWriter(tmp_path / "a.gif", 10, 64, 64)
    assert list(tmp_path.iterdir()) == []


def test_encoders_that_are_missing_or_refuse(tmp_path, monkeypatch):
    monkeypatch.setitem(video.ENCODERS, ".webm", video.Encoder("nothing", {}))
    with pytest.raises(UserError, match=r"b\.webm: this FFmpeg has no encoder nothing; try another suffix"):
        write(tmp_path / "b.webm", [plain(RED)])
    monkeypatch.setitem(video.ENCODERS, ".mp4", video.Encoder("libx264", {"preset": "none such"}))
    with pytest.raises(UserError, match=r"cannot write .*b\.mp4: its pictures \(libx264\): .*try another suffix"):
        write(tmp_path / "b.mp4", [plain(RED)])
    (tmp_path / "b.mkv").mkdir()
    with pytest.raises(UserError, match=r"cannot write .*b\.mkv"):
        write(tmp_path / "b.mkv", [plain(RED)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.mkv"]


@pytest.mark.parametrize("suffix", video.ENCODERS)
def test_full_disk_is_noticed(tmp_path, suffix):
    """At the first byte, in the middle, and when the last ones are written."""
    path, noise = tmp_path / f"a{suffix}", np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3), dtype=np.uint8)
    size = write(path, noise).stat().st_size
    path.unlink()
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        for limit in (1, 8000, size - 1000, size - 1):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
            with pytest.raises(UserError, match=f"cannot write {path}: File too large"):
                write(path, noise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == []


def read_gif(data):
    with Image.open(io.BytesIO(data)) as gif:
        frames = []
        for index in range(gif.n_frames):
            gif.seek(index)
            frames.append((np.asarray(gif.convert("RGB")), gif.info["duration"]))
        return frames, gif.info["loop"]


def test_gif_frames_and_durations():
    colours = np.array([RED, GREEN, BLUE, RED], np.uint8)
    frames = np.broadcast_to(colours[:, None, None], (4, 16, 24, 3))
    found, loop = read_gif(encode_gif(frames, fps=8))
    assert loop == 0
    assert sum(duration for _, duration in found) == 500  # 12.5 hundredths each, rounded without drift
    assert {duration for _, duration in found} == {120, 130}
    for (picture, _), expected in zip(found, frames, strict=True):
        assert np.abs(picture.astype(int) - expected).max() <= 4


def test_gif_lets_a_still_video_stand_still():
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    found, _ = read_gif(encode_gif(np.stack([noise] * 5), fps=10))
    assert all((picture == found[0][0]).all() for picture, _ in found)
    assert sum(duration for _, duration in found) == 500
