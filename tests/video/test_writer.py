"""Videos, joined pictures and GIFs, read back by other means than those that wrote them."""
import io
import os
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


def read_back(path):
    """Frames (RGB) and frame rate by OpenCV's reader."""
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1][..., ::-1])
    return frames, capture.get(cv2.CAP_PROP_FPS)


@pytest.mark.parametrize("suffix", [".webm", ".mp4"])
def test_round_trip_keeps_count_size_rate_and_colours(tmp_path, suffix):
    frames = [plain(colour) for colour in (RED, GREEN, BLUE) * 3]
    with VideoWriter(tmp_path / f"clip{suffix}", 12.5, 64, 128) as writer:
        for frame in frames:
            writer.write(frame)
    found, fps = read_back(tmp_path / f"clip{suffix}")
    assert fps == pytest.approx(12.5, rel=1e-3)
    assert [frame.shape for frame in found] == [(64, 128, 3)] * 9
    for frame, expected in zip(found, frames, strict=True):
        assert np.abs(frame.astype(int) - expected).max() < 25
    assert list(tmp_path.iterdir()) == [tmp_path / f"clip{suffix}"]


@pytest.mark.parametrize(("suffix", "codec"), [
    (".mp4", "h264"), (".webm", "VP90"), (".mov", "h264"), (".mkv", "h264"), (".avi", "FMP4"), (".MP4", "h264"),
])  # fmt: skip
def test_every_suffix_has_a_codec_that_others_decode(tmp_path, suffix, codec):
    frames = moving(8, 64, 96)
    with VideoWriter(tmp_path / f"a{suffix}", 10, 64, 96) as writer:
        for frame in frames:
            writer.write(frame)
    found, fps = read_back(tmp_path / f"a{suffix}")
    code = int(cv2.VideoCapture(str(tmp_path / f"a{suffix}")).get(cv2.CAP_PROP_FOURCC))
    assert (code.to_bytes(4, "little").decode(), fps, len(found)) == (codec, 10, 8)


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
def test_detail_comes_back(tmp_path, suffix):
    frames = moving(6, 96, 128).mean(axis=-1, keepdims=True).repeat(3, -1).astype(np.uint8)  # colour has less detail
    path = tmp_path / f"a{suffix}"
    with VideoWriter(path, 10, 96, 128) as writer:
        for frame in frames:
            writer.write(frame)
    found = np.stack(decode(path)).astype(float)
    assert 10 * np.log10(255**2 / np.square(found - frames).mean()) > 38


@pytest.mark.parametrize("suffix", video.ENCODERS)
def test_the_same_frames_give_the_same_video(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 60, (12, 64, 96, 3), dtype=np.uint8) + moving(12, 64, 96) // 2
    made = []
    for _ in range(4):
        with VideoWriter(tmp_path / f"a{suffix}", 10, 64, 96) as writer:
            for frame in noise:
                writer.write(frame)
        with av.open(str(tmp_path / f"a{suffix}")) as file:
            made.append(b"".join(bytes(packet) for packet in file.demux(video=0)))
    assert len(set(made)) == 1


@pytest.mark.parametrize("fps", [Fraction(30000, 1001), 23.976, 12.5, 60])
def test_the_rate_is_exact(tmp_path, fps):
    with VideoWriter(tmp_path / "a.mp4", fps, 32, 32) as writer:
        for _ in range(5):
            writer.write(plain(RED, 32, 32))
    with VideoFile(tmp_path / "a.mp4") as file:
        assert file.rate == Fraction(fps).limit_denominator(60000)
        assert [time for _, time in file.frames()] == [t / file.rate for t in range(5)]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".mov", ".avi"])
def test_frames_keep_their_times(tmp_path, suffix):
    times = [Fraction(t, 1000) for t in (0, 40, 50, 400, 1000, 1033)]
    with VideoWriter(tmp_path / f"a{suffix}", 25, 32, 32, tick=Fraction(1, 1000)) as writer:
        for time in times:
            writer.write(plain(RED, 32, 32), time)
    with VideoFile(tmp_path / f"a{suffix}") as file:
        found = [time for _, time in file.frames()]
    assert found == ([Fraction(t, 25) for t in range(6)] if suffix == ".avi" else times)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".mov"])
def test_frames_that_share_a_time_are_all_kept(tmp_path, suffix):
    """3000 frames per second, counted in milliseconds."""
    frames, times = moving(12), [Fraction(t // 3, 1000) for t in range(12)]
    path = tmp_path / f"a{suffix}"
    with VideoWriter(path, 3000, 48, 64, tick=Fraction(1, 1000)) as writer:
        for frame, time in zip(frames, times, strict=True):
            writer.write(frame, time)
    with VideoFile(path) as video:
        images, found = zip(*video.frames(), strict=True)
    assert [int(image[:12].sum(axis=(0, 2)).argmax()) // 2 for image in images] == list(range(12))
    np.testing.assert_allclose([float(time) for time in found], np.arange(12) / 3000, atol=1.1e-3)


def test_pixels_keep_their_aspect(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 10, 32, 32, pixel_aspect=Fraction(4, 3)) as writer:
        writer.write(plain(RED, 32, 32))
    with av.open(str(tmp_path / "a.mp4")) as file:
        assert file.streams.video[0].sample_aspect_ratio == Fraction(4, 3)


def test_odd_sizes_repeat_the_last_row_and_column(tmp_path):
    frame = plain(BLUE, 33, 47)
    with VideoWriter(tmp_path / "odd.webm", 10, 33, 47) as writer:
        for _ in range(3):
            writer.write(frame)
    found, _ = read_back(tmp_path / "odd.webm")
    assert [picture.shape for picture in found] == [(34, 48, 3)] * 3
    assert np.abs(found[0].astype(int) - BLUE).max() < 25


def test_frames_of_another_shape_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"\(64, 128, 3\).*\(128, 64, 3\)"), \
            VideoWriter(tmp_path / "a.webm", 10, 64, 128) as writer:
        writer.write(plain(RED, 128, 64))
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / "a.webm").write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), VideoWriter(tmp_path / "a.webm", 10, 64, 128) as writer:
        writer.write(plain(RED))
        raise KeyboardInterrupt
    assert (tmp_path / "a.webm").read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [tmp_path / "a.webm"]


def test_no_frames_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"a\.webm: there are no frames"), VideoWriter(tmp_path / "a.webm", 10, 64, 64):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "fps", "words"), [
    ("a.gif", 10, r"ending in \.mp4, \.webm"), ("a.webm", 0, "above 0"),
])  # fmt: skip
def test_bad_names_and_rates(tmp_path, name, fps, words):
    with pytest.raises(UserError, match=words):
        VideoWriter(tmp_path / name, fps, 64, 64)


def test_without_an_encoder_the_next_one_is_used(tmp_path, monkeypatch):
    monkeypatch.setitem(video.ENCODERS, ".mp4", (video.Encoder("nothing", {}), *video.ENCODERS[".mp4"][2:]))
    with VideoWriter(tmp_path / "a.mp4", 10, 32, 32) as writer:
        writer.write(plain(RED, 32, 32))
    with av.open(str(tmp_path / "a.mp4")) as file:
        assert file.streams.video[0].codec_context.name in ("vp9", "libvpx-vp9")


def test_missing_codec_is_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.setitem(video.ENCODERS, ".webm", (video.Encoder("nothing", {}), video.Encoder("none", {})))
    with pytest.raises(UserError, match=r"a\.webm: this FFmpeg has no encoder for \.webm \(nothing, none\)"):
        VideoWriter(tmp_path / "a.webm", 10, 64, 64)
    assert list(tmp_path.iterdir()) == []


def test_what_an_encoder_refuses_is_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.setitem(video.ENCODERS, ".mp4", (video.Encoder("libx264", {"preset": "none such"}),))
    with pytest.raises(UserError, match=r"cannot write .*a\.mp4: .*\(libx264\)"), \
            VideoWriter(tmp_path / "a.mp4", 10, 64, 64):
        pass
    assert list(tmp_path.iterdir()) == []


def test_unwritable_name_is_a_user_error(tmp_path):
    (tmp_path / "a.webm").mkdir()
    with pytest.raises(UserError, match=r"cannot write .*a\.webm"), \
            VideoWriter(tmp_path / "a.webm", 10, 64, 64) as writer:
        writer.write(plain(RED, 64, 64))
    assert list(tmp_path.iterdir()) == [tmp_path / "a.webm"]


@pytest.mark.parametrize("suffix", video.ENCODERS)
def test_full_disk_is_noticed(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3), dtype=np.uint8)
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, limits[1]))
    try:
        with pytest.raises(UserError, match=f"cannot write {tmp_path}/a{suffix}: File too large"), \
                VideoWriter(tmp_path / f"a{suffix}", 10, 64, 64) as writer:
            for frame in noise:
                writer.write(frame)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", video.ENCODERS)
def test_a_video_that_lost_frames_is_noticed(tmp_path, monkeypatch, suffix):
    """Where the disk says nothing, the frames that arrived are counted."""
    writer = VideoWriter(tmp_path / f"a{suffix}", 10, 64, 64)
    with pytest.raises(UserError, match="the video is incomplete; is the disk full"), writer:
        for frame in np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3), dtype=np.uint8):
            writer.write(frame)
        close = writer._close
        monkeypatch.setattr(writer, "_close", lambda: (close(), os.truncate(writer._temporary, 8000)))
    assert list(tmp_path.iterdir()) == []


def test_writing_says_nothing(tmp_path, capfd):
    with VideoWriter(tmp_path / "a.webm", 10, 64, 128) as writer:
        writer.write(plain(RED))
    assert capfd.readouterr() == ("", "")


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
