"""What a video file's frames are: colours, sizes, turns, times; and what is said of files that are damaged."""

import av
import numpy as np
import pytest
from PIL import Image

from tests.clips import KINDS, decode, moving, rotate, write_clip, write_kind, write_tone
from timecyclegan.util.errors import UserError
from timecyclegan.video.random_access import video_frames
from timecyclegan.video.reader import VideoFile

MATRICES = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}  # Kr, Kb
AS_STORED = (1, 0, 0, 1)


def stream(path):
    with VideoFile(path) as video:
        return list(video.frames())


def by_formula(picture, matrix, full):
    """RGB of a yuv444p picture by ITU-R BT.601 / BT.709, in [0, 255]."""
    y, u, v = (np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width].astype(float)
               for plane in picture.planes)  # fmt: skip
    y, u, v = (y / 255, u / 255 - 128 / 255, v / 255 - 128 / 255) if full else (
        (y - 16) / 219, (u - 128) / 224, (v - 128) / 224)  # fmt: skip
    kr, kb = MATRICES[matrix]
    red, blue = y + 2 * (1 - kr) * v, y + 2 * (1 - kb) * u
    return np.clip(255 * np.stack([red, (y - kr * red - kb * blue) / (1 - kr - kb), blue], -1), 0, 255)


@pytest.mark.parametrize(("said", "height", "matrix", "full"), [
    (1, 48, "bt709", False), (6, 48, "bt601", True), (5, 48, "bt601", False), (2, 48, "bt601", False),
    (2, 720, "bt709", True), (6, 720, "bt601", False),
])  # fmt: skip
def test_colours_are_those_of_the_standards(tmp_path, said, height, matrix, full):
    def tag(stream):
        context = stream.codec_context
        context.colorspace, context.color_range = said, 2 if full else 1

    path = write_clip(tmp_path / "a.mp4", moving(1, height, 64), options={"crf": "4"}, pix_fmt="yuv444p", setup=tag)
    with av.open(str(path)) as file:
        (picture,) = file.decode(video=0)
        assert (picture.colorspace, picture.color_range == 2) == (said, full)
        expected = by_formula(picture, matrix, full)
    ((image, _),) = stream(path)
    assert image.dtype == np.uint8
    np.testing.assert_allclose(image, expected, atol=1)


def test_pixels_keep_their_places_in_odd_sizes(tmp_path):
    """An edge of one pixel on each side, in a picture whose colours are stored at half its odd size."""
    frame = np.full((33, 47, 3), 120, np.uint8)
    frame[0], frame[-1], frame[:, 0], frame[:, -1] = 30, 60, 200, 240
    path = write_clip(tmp_path / "a.webm", [frame] * 3, "libvpx-vp9", {"crf": "4", "cpu-used": "8"})
    for image, _ in stream(path):
        assert image.shape == (33, 47, 3)
        assert np.abs(image.astype(int) - frame).max() <= 12
    assert video_frames(path)[2].read().shape == (33, 47, 3)


@pytest.mark.parametrize(("matrix", "expected"), [
    (AS_STORED, lambda x: x), ((0, 1, -1, 0), lambda x: np.rot90(x, -1)), ((-1, 0, 0, -1), lambda x: np.rot90(x, 2)),
    ((0, -1, 1, 0), np.rot90), ((-1, 0, 0, 1), np.fliplr), ((1, 0, 0, -1), np.flipud),
    ((0, 1, 1, 0), lambda x: x.swapaxes(0, 1)), ((0, -1, -1, 0), lambda x: np.rot90(x, 2).swapaxes(0, 1)),
])  # fmt: skip
def test_frames_are_turned_upright(tmp_path, matrix, expected):
    path = write_clip(tmp_path / "a.mp4", moving(3))
    stored = [image for image, _ in stream(path)]
    rotate(path, matrix)
    with av.open(str(path)) as file:
        angle = next(file.decode(video=0)).rotation  # counterclockwise
    if matrix[0] == matrix[3] and matrix[1] == -matrix[2]:  # no mirror: the angle says it all
        np.testing.assert_array_equal(expected(stored[0]), np.rot90(stored[0], angle // 90))
    for before, (image, _) in zip(stored, stream(path), strict=True):
        np.testing.assert_array_equal(image, expected(before))
    np.testing.assert_array_equal(video_frames(path)[1].read(), expected(stored[1]))


def test_every_frame_of_a_variable_rate_counts_once_with_its_time(tmp_path):
    times = [0, 40, 50, 400, 1000, 1033]
    path = write_clip(tmp_path / "a.mkv", moving(6), times=times)
    assert [round(1000 * time) for _, time in stream(path)] == times and len(video_frames(path)) == 6


@pytest.mark.parametrize("name", KINDS)
def test_a_stream_gives_all_frames_and_their_times(tmp_path, name):
    path = write_kind(tmp_path, name, count=12)
    found = stream(path)
    np.testing.assert_array_equal([image for image, _ in found], decode(path))
    np.testing.assert_allclose([float(time) for _, time in found], np.arange(12) / 25, atol=1e-3)
    bars = [int(image[:12].sum(axis=(0, 2)).argmax()) // 2 for image, _ in found]
    assert bars == list(range(12))  # the pictures themselves say which frame they are


def test_a_gif_is_composited_as_players_do(tmp_path):
    """Frames that cover a part, keep or clear what was before, and leave parts transparent: Pillow is the oracle."""
    rng = np.random.default_rng(0)
    frames = []
    for t in range(5):
        pixels = np.zeros((24, 30, 4), np.uint8)
        pixels[t : t + 12, 2 * t : 2 * t + 10] = [*rng.integers(0, 256, 3), 255]
        frames.append(Image.fromarray(pixels))
    for disposal in (0, 1, 2):
        path = tmp_path / f"{disposal}.gif"
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=50, disposal=disposal)
        expected = []
        with Image.open(path) as gif:
            for t in range(gif.n_frames):
                gif.seek(t)
                white = Image.new("RGBA", gif.size, "white")
                expected.append(np.asarray(Image.alpha_composite(white, gif.convert("RGBA")).convert("RGB")))
        np.testing.assert_array_equal([image for image, _ in stream(path)], expected)
        shown = video_frames(path)
        for t in (4, 0, 3, 1):
            np.testing.assert_array_equal(shown[t].read(), expected[t])


# --- what cannot be read

def message(call, *args):
    with pytest.raises(UserError) as caught:
        call(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


FASTSTART = {"movflags": "+faststart"}


@pytest.mark.parametrize("name", [*KINDS, "front.mp4"])
def test_files_that_are_cut_off_are_named(tmp_path, name):
    if name == "front.mp4":  # the table of frames stands before them: it says what is missing
        path = write_clip(tmp_path / name, moving(40), container=FASTSTART)
    else:
        path = write_kind(tmp_path, name)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    for call in (stream, video_frames):
        text = message(call, path)
        assert str(path) in text and "replace" in text
        if call is stream and not text.startswith("cannot read video"):  # the table of frames was cut off
            assert "frame" in text


def test_where_a_file_is_cut_off_is_said(tmp_path):
    path = write_kind(tmp_path, "vp9.webm")
    places = [packet.pos for packet in av.open(str(path)).demux(video=0) if packet.size]
    path.write_bytes(path.read_bytes()[: places[10] - 40])  # between two frames, or within the tenth
    assert "is cut off after frame" in message(video_frames, path)
    assert "of 1.60 s" in message(stream, path)


@pytest.mark.parametrize("name", ["plain.avi", "front.mp4"])
def test_half_a_last_frame_is_noticed(tmp_path, name):
    options = {"options": {"g": "8"}, "codec": "mpeg4"} if name == "plain.avi" else {"container": FASTSTART}
    path = write_clip(tmp_path / name, moving(40), **options)
    last = [packet for packet in av.open(str(path)).demux(video=0) if packet.size][-1]
    path.write_bytes(path.read_bytes()[: last.pos + last.size // 2])
    assert f"video {path} is cut off after frame 39" in message(video_frames, path)


def test_what_is_no_video_is_named(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video at all\n" * 100)
    for name in ("empty.mp4", "text.mp4"):
        assert f"cannot read video {tmp_path / name}: it is damaged or no video" in message(VideoFile, tmp_path / name)
    missing = tmp_path / "missing.mp4"
    assert message(VideoFile, missing) == f"cannot read video {missing}: No such file or directory"


def test_sound_alone_is_no_video(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as file:
        write_tone(file, file.add_stream("aac", rate=48000, layout="mono"), 0.2)
    assert "it has no pictures" in message(VideoFile, tmp_path / "a.mp4")


def test_a_decoder_that_is_missing_is_named(tmp_path):
    path = write_clip(tmp_path / "a.mp4", moving(3))
    before, _, after = path.read_bytes().rpartition(b"avc1")  # the first one is a brand of the file
    path.write_bytes((before + b"xyz1" + after).replace(b"avcC", b"xyzC"))
    for call in (VideoFile, video_frames):
        assert f"cannot read video {path}: this FFmpeg has no decoder" in message(call, path)


def test_names_with_colons_are_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "b.mp4", moving(2)).rename(tmp_path / "pipe:7.mp4")
    assert len(stream("pipe:7.mp4")) == 2
