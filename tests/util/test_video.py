"""Videos, joined pictures and GIFs, read back by other means than those that wrote them."""
import io
import resource
import signal

import cv2
import numpy as np
import pytest
from PIL import Image

from timecyclegan.util import video
from timecyclegan.util.errors import UserError
from timecyclegan.util.video import VideoWriter, encode_gif, side_by_side

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


def test_codecs_are_those_of_browsers(tmp_path):
    for suffix, codec in ((".webm", "VP80"), (".mp4", "VP90")):
        with VideoWriter(tmp_path / f"a{suffix}", 10, 32, 32) as writer:
            writer.write(plain(RED, 32, 32))
        code = int(cv2.VideoCapture(str(tmp_path / f"a{suffix}")).get(cv2.CAP_PROP_FOURCC))
        assert code.to_bytes(4, "little").decode() == codec


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


@pytest.mark.parametrize(("name", "fps", "words"), [("a.avi", 10, r"\.webm or \.mp4"), ("a.webm", 0, "above 0")])
def test_bad_names_and_rates(tmp_path, name, fps, words):
    with pytest.raises(UserError, match=words):
        VideoWriter(tmp_path / name, fps, 64, 64)


def test_missing_codec_is_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.setitem(video.CODECS, ".webm", "XXXX")
    with pytest.raises(UserError, match=r"a\.webm: this OpenCV has no XXXX encoder.*\.mp4"), \
            VideoWriter(tmp_path / "a.webm", 10, 64, 64):
        pass
    assert list(tmp_path.iterdir()) == []


def test_unwritable_name_is_a_user_error(tmp_path):
    (tmp_path / "a.webm").mkdir()
    with pytest.raises(UserError, match=r"cannot write .*a\.webm"), \
            VideoWriter(tmp_path / "a.webm", 10, 64, 64) as writer:
        writer.write(plain(RED, 64, 64))
    assert list(tmp_path.iterdir()) == [tmp_path / "a.webm"]


@pytest.mark.parametrize("suffix", [".webm", ".mp4"])
def test_full_disk_is_noticed(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3), dtype=np.uint8)
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, limits[1]))
    try:
        with pytest.raises(UserError, match="incomplete; is the disk full"), \
                VideoWriter(tmp_path / f"a{suffix}", 10, 64, 64) as writer:
            for frame in noise:
                writer.write(frame)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == []


def test_writing_says_nothing(tmp_path, capfd):
    with VideoWriter(tmp_path / "a.webm", 10, 64, 128) as writer:
        writer.write(plain(RED))
    assert capfd.readouterr() == ("", "")


def test_side_by_side_keeps_the_pictures():
    frames = [plain(RED, 20, 30), plain(GREEN, 20, 40)]
    joined = side_by_side(frames)
    gap = joined.shape[1] - 70
    assert joined.shape[0] == 20 and gap > 0
    assert (joined[:, :30] == frames[0]).all() and (joined[:, -40:] == frames[1]).all()
    assert (joined[:, 30:30 + gap] == joined[0, 30]).all()


@pytest.mark.parametrize("size", [(64, 64), (64, 128), (256, 256)])
def test_captions_stand_above_and_fit(size):
    frames = [plain(colour, *size) for colour in (RED, GREEN, BLUE)]
    bare, joined = side_by_side(frames), side_by_side(frames, ["source", "generated", "real"])
    strip = joined[: len(joined) - size[0]]
    assert (joined[len(strip):] == bare).all()
    ink = (strip > 150).all(axis=-1)
    assert np.flatnonzero(ink.any(axis=1)).size >= 7  # high enough to be read
    gap = (bare.shape[1] - 3 * size[1]) // 2
    for i in range(3):  # a caption does not run into its neighbour's
        left = i * (size[1] + gap)
        assert ink[:, left + 1:left + size[1] - 1].any()
        assert not ink[:, left:left + 1].any() and not ink[:, left + size[1] - 1:left + size[1]].any()


def test_side_by_side_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match=r"\[20, 21\]"):
        side_by_side([plain(RED, 20, 30), plain(RED, 21, 30)])
    with pytest.raises(ValueError, match="expected 2 captions, got 1"):
        side_by_side([plain(RED)] * 2, ["one"])


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
