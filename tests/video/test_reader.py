"""What a video file's frames are: colours, sizes, turns, times; and what is said of files that are damaged."""
import io
import random
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from tests.clips import KINDS, bars, decode, moving, remux, rotate, with_times, write_clip, write_kind, write_tone
from timecyclegan.util.errors import UserError
from timecyclegan.video.frames import find_sequences
from timecyclegan.video.random_access import video_frames
from timecyclegan.video.reader import VideoFile, is_video, survey
from timecyclegan.video.writer import VideoWriter

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
    assert bars(image for image, _ in found) == list(range(12))  # the pictures themselves say which frame they are


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


# --- files that lie: packets and times decide

B_FRAMES = {"bf": "3", "g": "8", "b_strategy": "0", "sc_threshold": "0"}


def check(path, shown, times=None, note=None):
    """The stream has the frames ``shown`` at ``times`` (25 per second), any order gives them, and ``note`` is told."""
    found = stream(path)
    assert bars(image for image, _ in found) == list(shown)
    expected = np.arange(len(found)) / 25 if times is None else times
    np.testing.assert_allclose([float(time) for _, time in found], expected, atol=0.0011)
    frames = video_frames(path)
    assert len(frames) == len(found)
    for index in random.Random(0).sample(range(len(frames)), len(frames)):
        np.testing.assert_array_equal(frames[index].read(), found[index][0])
    notes = survey(path).notes
    assert (len(notes) == 1 and note in notes[0]) if note else not notes


@pytest.mark.parametrize(("name", "codec", "options"), [
    ("a.ts", "libx264", B_FRAMES), ("a.mts", "libx264", {}), ("a.m4v", "libx264", B_FRAMES), ("a.wmv", "wmv2", {}),
    ("a.mpg", "mpeg1video", {"bf": "2", "g": "8"}), ("a.m2v", "mpeg2video", {"bf": "2"}), ("a.flv", "flv", {}),
    ("b.flv", "libx264", B_FRAMES), ("a.3gp", "mpeg4", {}), ("a.vob", "mpeg2video", {}), ("a.ogv", "libvpx", {}),
    ("a.y4m", "rawvideo", {}), ("a.mxf", "mpeg2video", {}), ("a.apng", "apng", {}),
])  # fmt: skip
def test_what_ffmpeg_reads_is_a_video(tmp_path, name, codec, options):
    path = write_clip(tmp_path / name, moving(20), codec, options, "rgb24" if codec == "apng" else "yuv420p")
    check(path, range(20))
    assert is_video(path) and [len(frames) for frames in find_sequences(tmp_path).values()] == [20]
    other = path.rename(tmp_path / "without suffix")  # a single file is what its content is
    assert len(find_sequences(other)["."]) == 20


def test_seeking_does_not_lead_behind_a_key_frame(tmp_path):
    """In a program stream with sound, packets of the container hold several frames and tell the first one's time."""
    check(write_clip(tmp_path / "a.mpg", moving(30), "mpeg1video", sound=("mp2", 1)), range(30))


def test_pictures_without_any_times_are_counted(tmp_path):
    path = write_clip(tmp_path / "a.h264", moving(20), options=B_FRAMES)
    check(path, range(20), note="stores no times; its frames are taken for 25 per second")


@pytest.mark.parametrize("change", [{10: 360, 15: 560}, {10: 300}, {10: 90_000}, {0: 400}], ids=repr)
def test_times_that_repeat_or_go_back_are_mended(tmp_path, change):
    times = [change.get(t, 40 * t) for t in range(20)]
    path = remux(write_clip(tmp_path / "a.mkv", moving(20), "mjpeg", pix_fmt="yuvj420p"), tmp_path / "b.mkv",
                 with_times(times))  # fmt: skip
    check(path, range(20), note=f"goes back ({len(change)} of 20)")
    with VideoFile(path) as video:
        assert video.rate == 25


def test_times_of_decoding_do_not_lead_astray(tmp_path):
    """Reordered frames whose times of presentation are those of decoding, as some tools write them."""
    path = remux(write_clip(tmp_path / "a.mkv", moving(20), options=B_FRAMES), tmp_path / "b.mkv",
                 with_times(range(0, 800, 40)))  # fmt: skip
    check(path, range(20), note="times at which they are decoded")


@pytest.mark.parametrize(("codec", "options", "begin"), [
    ("libx264", B_FRAMES, 8), ("libx264", {**B_FRAMES, "flags": "-cgop", "x264-params": "open-gop=1"}, 8),
    ("mpeg2video", {"bf": "2", "g": "8"}, 7),
])  # fmt: skip
def test_recordings_that_begin_amid_a_stream(tmp_path, codec, options, begin):
    path = write_clip(tmp_path / "a.ts", moving(30), codec, options)
    path = remux(path, tmp_path / "b.ts", lambda number, packet: packet if number >= 3 else None)
    shown = bars(decode(path))
    assert shown == list(range(shown[0], 30)) and begin <= shown[0] < 12
    check(path, shown, note=f"frames at its beginning ({shown[0] - 3}) are left out: what they are decoded from")


@pytest.mark.parametrize(("name", "options", "rate"), [
    ("a.webm", {"codec": "libvpx-vp9", "rate": 1000, "times": [33 * t for t in range(20)]}, Fraction(1000, 33)),
    ("a.mp4", {"rate": Fraction(120000, 1001)}, Fraction(120000, 1001)),
    ("a.mkv", {"rate": Fraction(24000, 1001)}, Fraction(24000, 1001)),
    ("a.mp4", {"rate": 25, "times": [40 * t + 60_000 * (t > 10) for t in range(20)]}, 20 / Fraction(6080, 100)),
    ("b.mp4", {"rate": 25, "times": [33 * t for t in range(20)]}, Fraction(1000, 33)),
])  # fmt: skip
def test_the_rate_is_the_average_of_the_true_times(tmp_path, name, options, rate):
    path = write_clip(tmp_path / name, moving(20), **options)
    with VideoFile(path) as video:
        assert float(video.rate) == pytest.approx(float(rate), rel=2e-3)
        assert video.rate == rate or "times" in options
    assert len(video_frames(path)) == 20


def replace(path, old, new, name):
    data = path.read_bytes()
    assert data.count(old)
    (path.parent / name).write_bytes(data.replace(old, new))
    return path.parent / name


def test_tags_and_durations_that_lie(tmp_path):
    path = write_clip(tmp_path / "a.mkv", moving(20), options=B_FRAMES)
    duration = b"00:00:00.800000000"
    check(replace(path, duration, b"yesterday\xff:at: 9.0", "words.mkv"), range(20))
    check(replace(path, duration, b"00:00:nan\0\0\0\0\0\0\0\0\0", "nan.mkv"), range(20))
    longer = replace(path, duration, b"00:01:00.800000000", "longer.mkv")
    check(longer, range(20), note="it says that its pictures last 60.80 s, but they end after 0.80 s")


def test_texts_that_are_not_utf_8(tmp_path):
    def name(stream):
        stream.container.metadata["title"] = stream.metadata["title"] = "AAAA"

    path = write_clip(tmp_path / "a.mkv", moving(20), setup=name)
    check(replace(path, b"AAAA", b"\xff\xe9\x80\x01", "b.mkv"), range(20))


def test_sizes_that_lie_do_not_make_a_file_cut_off(tmp_path):
    """Whole files whose outermost part claims to be longer, or not to know."""
    path = write_clip(tmp_path / "a.avi", moving(20), "mpeg4")
    size = path.read_bytes()[4:8]
    for number, wrong in enumerate((b"\xff\xff\xff\x7f", bytes(4))):
        check(replace(path, b"RIFF" + size, b"RIFF" + wrong, f"{number}.avi"), range(20))
    path = write_clip(tmp_path / "a.mkv", moving(20))
    data = path.read_bytes()
    place = data.index(b"\x18\x53\x80\x67") + 4
    for number, wrong in enumerate((b"\x01\0\0\0\0\xff\xff\xff", b"\x01" + 7 * b"\xff")):
        check(replace(path, data[place - 4 : place + 8], data[place - 4 : place] + wrong, f"{number}.mkv"), range(20))
    path = write_clip(tmp_path / "a.mp4", moving(20))
    for number, more in enumerate((bytes(100), b"some words" * 20)):
        (tmp_path / f"{number}.mp4").write_bytes(path.read_bytes() + more)
        check(tmp_path / f"{number}.mp4", range(20))


@pytest.mark.parametrize(("name", "codec", "note"), [
    ("a.mp4", "libx264", "two films stand behind each other in it; only the first is read"), ("a.gif", "gif", None),
    ("a.ts", "libx264+mpeg2video", "stored pictures only 10 can be decoded"),
])  # fmt: skip
def test_files_that_were_put_behind_each_other(tmp_path, name, codec, note):
    """What is not read is said; where all is read, any order gives it: a GIF's later pictures build on earlier ones."""
    film, parts = moving(20), []
    for part, kind in zip((film[:10], film[10:]), (codec.split("+") * 2)[:2], strict=True):
        write_clip(tmp_path / name, part, kind, pix_fmt="rgb8" if kind == "gif" else "yuv420p")
        parts.append((tmp_path / name).read_bytes())
    (tmp_path / name).write_bytes(b"".join(parts))
    shown = {"a.mp4": range(10), "a.ts": range(10, 20)}.get(name, range(20))
    check(tmp_path / name, shown, note=note)
    frames = video_frames(tmp_path / name)
    for place in (len(shown) - 1, 9, 5):
        np.testing.assert_array_equal(frames[place].read(), stream(tmp_path / name)[place][0])


def test_where_pictures_end_is_read_of_their_own_tag(tmp_path):
    """Of reordered frames in Matroska FFmpeg may guess when they begin, here an hour too late."""
    path, times = tmp_path / "a.mkv", [Fraction(t, 1000) for t in (0, 40, 3_600_000, 3_600_040)]
    with VideoWriter(path, Fraction(1, 900), 48, 64, tick=Fraction(1, 1000)) as writer:
        for image, time in zip(moving(4), times, strict=True):
            writer.write(image, time, Fraction(1, 25))
    assert survey(path).notes == [] and survey(path).times == times


def test_times_that_are_all_the_same_tell_no_rate(tmp_path):
    """FFmpeg guesses the rate by the unit of the times, 1000 per second."""
    write_clip(tmp_path / "a.mkv", moving(20), "mjpeg", pix_fmt="yuvj420p")
    path = remux(tmp_path / "a.mkv", tmp_path / "b.mkv", with_times([0] * 20))
    assert survey(path).rate == 25
    assert "it stores no times; its frames are taken for 25 per second" in survey(path).notes


def test_covers_are_no_video_and_further_streams_are_named(tmp_path):
    picture = io.BytesIO()
    Image.fromarray(moving(1)[0]).save(picture, "PNG")
    with av.open(str(tmp_path / "song.mka"), "w", format="matroska") as file:
        tone = file.add_stream("libopus", rate=48000, layout="mono")
        file.add_attachment("cover.png", "image/png", picture.getvalue())
        write_tone(file, tone, 0.2)
    assert "it has no pictures but a cover (Matroska" in message(VideoFile, tmp_path / "song.mka")

    def attach(stream):
        stream.container.add_attachment("cover.png", "image/png", picture.getvalue())

    path = write_clip(tmp_path / "film.mkv", moving(20), setup=attach)
    check(path, range(20))
    with VideoFile(path) as video:
        assert video.left_out() == ["left out: 1 cover picture"]

    def second(stream):
        other = stream.container.add_stream("libx264", rate=25)
        other.height, other.width, other.pix_fmt = 24, 32, "yuv420p"

    path = write_clip(tmp_path / "two.mkv", moving(20), setup=second)
    check(path, range(20), note="it has 2 streams of pictures; number 1 is read")


@pytest.mark.parametrize(("tags", "note"), [
    ({"color_trc": 16, "color_primaries": 9, "colorspace": 9}, "HDR (PQ)"), ({"color_trc": 18}, "HDR (HLG)"),
    ({"color_trc": 1, "color_primaries": 12}, "wide gamut (Display P3)"), ({"colorspace": 8}, "(number 8 of ITU-T"),
    ({"colorspace": 14}, "(number 14 of ITU-T H.273)"), ({"colorspace": 10}, "(number 10 of ITU-T H.273)"),
    ({"color_trc": 1, "color_primaries": 1, "colorspace": 1}, None),
])  # fmt: skip
def test_colours_that_are_not_read_as_they_are_meant_are_noted(tmp_path, tags, note):
    def tag(stream):
        for name, code in tags.items():
            setattr(stream.codec_context, name, code)

    path = write_clip(tmp_path / "a.mp4", moving(3), options={"crf": "4"}, pix_fmt="yuv444p", setup=tag)
    notes = survey(path).notes
    assert (len(notes) == 1 and note in notes[0]) if note else not notes
    if list(tags) == ["colorspace"]:  # of matrices that are not converted here, that of the size is taken
        with av.open(str(path)) as file:
            expected = by_formula(next(file.decode(video=0)), "bt601", False)
        np.testing.assert_allclose(stream(path)[0][0], expected, atol=1)


@pytest.mark.parametrize(("pix_fmt", "bits"), [("gray16le", 16), ("gray12le", 12), ("gray", 0), ("yuv420p10le", 0)])
def test_bits_that_are_not_read_are_noted(tmp_path, pix_fmt, bits):
    """As a depth camera stores them: of 16 bits that use up to 5000, the 8 that are read have 20 levels."""
    path = write_clip(tmp_path / "a.mkv", moving(3), "ffv1", pix_fmt=pix_fmt)
    notes = survey(path).notes
    assert (len(notes) == 1 and f"its pixels have {bits} bits, of which 8 are read" in notes[0]) if bits else not notes


@pytest.mark.parametrize(("name", "codec", "options"), [
    ("a.mp4", "libx264", {"flags": "+ildct", "x264-params": "tff=1"}), ("a.mpg", "mpeg2video", {"flags": "+ildct"}),
])  # fmt: skip
def test_interlaced_pictures_are_noted(tmp_path, name, codec, options):
    path = write_clip(tmp_path / name, moving(20), codec, options)
    check(path, range(20), note="it is interlaced")


def test_a_note_is_told_once_for_all_files(tmp_path, capsys):
    for name in "abcde":
        write_clip(tmp_path / f"{name}.mpg", moving(3), "mpeg2video", {"flags": "+ildct"})
    for _ in range(2):
        find_sequences(tmp_path)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"note: {tmp_path}/a.mpg, {tmp_path}/b.mpg, {tmp_path}/c.mpg and 2 more: it is interlaced")


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


@pytest.mark.parametrize(("name", "options"), [
    ("a.wmv", {"codec": "wmv2"}), ("a.flv", {"codec": "flv"}), ("a.ogv", {"codec": "libvpx"}),
    ("a.mp4", {"options": {"g": "5"}, "container": {"movflags": "frag_keyframe+empty_moov"}}),
])  # fmt: skip
def test_files_of_further_kinds_that_are_cut_off_are_named(tmp_path, name, options):
    path = write_clip(tmp_path / name, moving(40), **options)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10 + 3])
    assert f"video {path} is cut off" in message(video_frames, path)


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
    assert "it is damaged or no video (it is empty); replace" in message(VideoFile, tmp_path / "empty.mp4")
    for name in ("empty.mp4", "text.mp4"):
        assert f"cannot read video {tmp_path / name}: it is damaged or no video" in message(VideoFile, tmp_path / name)
    (tmp_path / "link.mp4").symlink_to("gone.mp4")
    (tmp_path / "ring.mp4").symlink_to("ring.mp4")
    for name, why in (("link", "a link to gone.mp4, which is not there"), ("ring", "a link to itself")):
        for call in (VideoFile, video_frames):
            assert message(call, path := tmp_path / f"{name}.mp4") == f"cannot read video {path}: it is {why}"
    missing = tmp_path / "missing.mp4"
    assert message(VideoFile, missing) == f"cannot read video {missing}: No such file or directory"


def test_sound_alone_is_no_video(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as file:
        write_tone(file, file.add_stream("aac", rate=48000, layout="mono"), 0.2)
    assert "it has no pictures" in message(VideoFile, tmp_path / "a.mp4")


def test_a_gif_that_is_broken_amid_it_is_named(tmp_path):
    path = write_kind(tmp_path, "small.gif", 12)
    data = path.read_bytes()
    (tmp_path / "padded.gif").write_bytes(data + bytes(5000))
    assert len(video_frames(tmp_path / "padded.gif")) == 12
    middle = len(data) // 2
    path.write_bytes(data[:middle] + bytes(200) + data[middle + 200 :])
    assert f"video {path} is cut off in frame" in message(video_frames, path)


def test_limits_of_ffmpeg_are_no_damage(tmp_path):
    frames = [Image.fromarray(frame) for frame in moving(3)]
    frames[0].save(tmp_path / "a.mp4", format="WEBP", save_all=True, append_images=frames[1:])
    assert "FFmpeg does not decode animated WebP; convert it" in message(VideoFile, tmp_path / "a.mp4")


def test_a_key_frame_that_is_damaged_is_not_left_out(tmp_path):
    path = write_clip(tmp_path / "a.mp4", moving(20), options={"g": "5", "bf": "0"})
    with av.open(str(path)) as file:
        packet = next(file.demux(video=0))
        place, end = packet.pos, packet.pos + packet.size
    data = bytearray(path.read_bytes())
    place += 4 + int.from_bytes(data[place : place + 4], "big")  # behind the encoder's own words
    data[place + 6 : end] = bytes(end - place - 6)
    path.write_bytes(data)
    assert message(stream, path).startswith(f"cannot read frame 0 of video {path}: it is damaged")
    frames = video_frames(path)
    assert len(frames) == 20 and bars([frames[7].read()]) == [7]
    assert message(frames[0].read).startswith(f"cannot read frame 0 of video {path}: it is damaged")


def test_an_edit_list_that_shows_nothing_is_named(tmp_path):
    path = write_clip(tmp_path / "a.mp4", moving(20))
    data = path.read_bytes()
    place = data.index(b"elst") + 16  # where in the track it begins
    path.write_bytes(data[:place] + b"\0\xff\0\0" + data[place + 4 :])
    assert "says that it has 20 frames, but shows none: its edit list" in message(video_frames, path)


def test_frames_that_are_packed_into_one_packet_are_counted(tmp_path):
    """As DivX does in AVI: a frame together with the one that is shown before it, then a packet with none."""
    with av.open(str(write_clip(tmp_path / "a.avi", moving(21), "mpeg4", {"g": "99", "bf": "1"}))) as file:
        stored = [bytes(packet) for packet in file.demux(video=0) if packet.size]
    begin = b"\0\0\1\xb6"  # of a picture; its type is in the next two bits: 2 is shown before the one ahead of it
    types = [data[data.index(begin) + 4] >> 6 for data in stored]
    assert 2 in types
    packets = []
    for place, data in enumerate(stored):
        if types[place] == 2:
            packets[-1] += data
            packets.append(begin + b"\x40\x7f")
        else:
            packets.append(data.replace(begin, b"\0\0\1\xb2DivX503b1393p" + begin, 1))
    with av.open(str(tmp_path / "a.avi")) as old, av.open(str(tmp_path / "b.avi"), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0], opaque=True)
        for place, data in enumerate(packets):
            packet = av.Packet(data)
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 25), place == 0
            packet.pts = packet.dts = place
            new.mux(packet)
    check(tmp_path / "b.avi", range(21))


def test_a_table_that_says_more_than_there_is_is_noted(tmp_path):
    path = write_clip(tmp_path / "a.mp4", moving(20), options={"bf": "0"})
    table = path.read_bytes().index(b"mdhd") + 16  # the time scale: each frame now lasts 512 s, and an edit list 1 s
    path.write_bytes(path.read_bytes()[:table] + b"\0\0\0\1" + path.read_bytes()[table + 4 :])
    assert "says that it has 20 pictures; found in it: 1" in survey(path).notes[0]


def test_packets_that_were_lost_are_noted(tmp_path):
    path = write_clip(tmp_path / "a.ts", moving(30), options=B_FRAMES)
    data = path.read_bytes()
    (tmp_path / "b.ts").write_bytes(data[: 188 * 30] + data[188 * 33 :])
    assert "1 of its packets are damaged or follow some that were lost" in survey(tmp_path / "b.ts").notes[0]
    assert len(stream(tmp_path / "b.ts")) == len(video_frames(tmp_path / "b.ts")) > 25


@pytest.mark.parametrize("name", ["a.ts", "a.m2ts"])
def test_a_recording_that_was_not_filled_is_noted(tmp_path, name):
    """Its place on the disk was taken before it was written, as recorders and downloads do: behind it are zeros."""
    path = write_clip(tmp_path / name, moving(30), options=B_FRAMES)
    check(path, range(30))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
    assert "its last bytes are no transport stream: it was not written to its end" in survey(path).notes


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
