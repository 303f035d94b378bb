"""Sound that goes from one video into another as it is."""
import av
import numpy as np
import pytest

from tests.clips import hide_codec, moving, remux, write_clip
from timecyclegan.util.errors import UserError
from timecyclegan.video.reader import VideoFile
from timecyclegan.video.writer import VideoWriter


def copy(source, path, count=20):
    with VideoFile(source) as video, VideoWriter(path, video.rate, 48, 64, sound=source) as writer:
        for image, _ in list(video.frames())[:count]:
            writer.write(image)
    return writer.refused


def sound(path):
    """The packets of the sound: bytes, and seconds after the first picture."""
    with av.open(str(path)) as file:
        if not file.streams.audio:
            return None
        start = file.streams.video[0].start_time * file.streams.video[0].time_base
        return [(bytes(packet), float(packet.pts * packet.time_base - start))
                for packet in file.demux(audio=0) if packet.size]  # fmt: skip


@pytest.mark.parametrize(("source", "codec", "target", "seconds"), [  # the pictures last 0.8 s
    ("a.mp4", "aac", "b.mp4", 0.3), ("a.mp4", "aac", "b.mkv", 1.5), ("a.mp4", "aac", "b.mov", 0.8),
    ("a.mkv", "libopus", "b.webm", 0.3), ("a.mkv", "libopus", "b.mp4", 1.5), ("a.avi", "mp3", "b.avi", 0.3),
    ("a.avi", "mp3", "b.avi", 1.5), ("a.mov", "pcm_s16le", "b.mov", 0.8), ("a.avi", "ac3", "b.avi", 0.8),
    ("a.avi", "mp2", "b.avi", 0.8), ("a.avi", "pcm_s16le", "b.avi", 0.8),
])  # fmt: skip
def test_sound_is_copied_byte_by_byte_at_its_times(tmp_path, source, codec, target, seconds):
    pictures = "mpeg4" if source == "a.avi" else "libx264"
    write_clip(tmp_path / source, moving(20), pictures, sound=(codec, seconds))
    assert copy(tmp_path / source, tmp_path / target) == []
    before, after = sound(tmp_path / source), sound(tmp_path / target)
    assert len(before) > 5 and [data for data, _ in after] == [data for data, _ in before]
    np.testing.assert_allclose([time for _, time in after], [time for _, time in before], atol=0.003)
    assert len(decoded(tmp_path / target)) == 20


def decoded(path):
    with VideoFile(path) as video:
        return list(video.frames())


def test_sound_stays_with_pictures_that_begin_late(tmp_path):
    """As in a part that was cut out of a longer video: times count from the first picture."""
    write_clip(tmp_path / "a.mkv", moving(20), times=[400 + 40 * t for t in range(20)], sound=("libopus", 1.2))
    copy(tmp_path / "a.mkv", tmp_path / "b.mkv")
    before, after = sound(tmp_path / "a.mkv"), sound(tmp_path / "b.mkv")
    assert before[0][1] < -0.3
    np.testing.assert_allclose([time for _, time in after], [time for _, time in before], atol=0.003)


def test_what_a_container_cannot_hold_is_named(tmp_path):
    write_clip(tmp_path / "a.mp4", moving(20), sound=("aac", 0.8))
    assert copy(tmp_path / "a.mp4", tmp_path / "b.webm") == ["aac"]
    assert sound(tmp_path / "b.webm") is None and len(decoded(tmp_path / "b.webm")) == 20
    assert copy(tmp_path / "b.webm", tmp_path / "c.mp4") == [] and sound(tmp_path / "c.mp4") is None


def test_sound_lies_beside_its_pictures(tmp_path):
    """Neither is kept back until the other is complete: memory would grow, and a player could not stream it."""
    write_clip(tmp_path / "a.mkv", moving(50), rate=2, sound=("libopus", 25))
    copy(tmp_path / "a.mkv", tmp_path / "b.mkv", 50)
    with av.open(str(tmp_path / "b.mkv")) as file:
        order = [(packet.stream.type, float(packet.pts * packet.time_base)) for packet in file.demux() if packet.size]
    latest = {"video": 0.0, "audio": 0.0}
    for kind, time in order:
        latest[kind] = max(latest[kind], time)
        assert abs(latest["video"] - latest["audio"]) < 3  # some pictures, which are stored in another order


def test_a_source_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "a.mp4").write_text("no sound")
    writer = VideoWriter(tmp_path / "b.mp4", 10, 48, 64, sound=tmp_path / "a.mp4")
    with pytest.raises(UserError, match=r"cannot read the sound of .*a\.mp4"), writer:
        pass
    assert not (tmp_path / "b.mp4").exists() and len(list(tmp_path.iterdir())) == 1


def test_a_track_whose_codec_nobody_knows_stays_out(tmp_path):
    source = hide_codec(write_clip(tmp_path / "a.mov", moving(20), sound=("aac+pcm_s16le", 0.5)))
    with VideoFile(source) as video, VideoWriter(tmp_path / "b.mp4", video.rate, 48, 64, sound=source) as writer:
        for image, _ in video.frames():
            writer.write(image)
    assert (writer.tracks, writer.refused) == (1, [])
    assert writer.copied.summary() == ["sound copied", "its sound track 2 was left out, its codec is unknown to FFmpeg"]
    assert [data for data, _ in sound(tmp_path / "b.mp4")] == [data for data, _ in sound(source)]


@pytest.mark.parametrize(("change", "mended"), [
    ({8: 100}, 1), ({8: 140}, 1), ({t: 20 * (t - 15) for t in range(15, 30)}, 15),
])  # fmt: skip
def test_sound_whose_times_go_back_goes_on(tmp_path, change, mended):
    """One packet that is too early, one with the time of another, and a recording behind another one."""
    def wrong(number, packet):
        packet.pts, packet.dts = 1000 + change.get(number, 20 * number), number
        return packet

    write_clip(tmp_path / "a.mkv", moving(20), sound=("libopus", 0.6), times=[1000 + 40 * t for t in range(20)])
    source = remux(tmp_path / "a.mkv", tmp_path / "b.mkv", wrong, "audio")
    with VideoFile(source) as video, VideoWriter(tmp_path / "c.mkv", video.rate, 48, 64, sound=source) as writer:
        for image, _ in video.frames():
            writer.write(image)
    found = sound(tmp_path / "c.mkv")
    assert [data for data, _ in found] == [data for data, _ in sound(source)]
    right = {t: 20 * t for t in range(len(found))} | ({8: 160} if mended == 1 else {})
    np.testing.assert_allclose([1000 * time for _, time in found], list(right.values()), atol=1.5)
    assert f"{mended} packets of sound" in writer.copied.summary()[1]


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "aac"), ("a.mkv", "libopus")])
def test_sound_that_ends_early_is_noted(tmp_path, name, codec):
    """The file was cut off behind its last picture, so that the pictures are all there."""
    source = write_clip(tmp_path / name, moving(20), sound=(codec, 6), container={"movflags": "faststart"})
    data = source.read_bytes()
    assert sound_summary(source, tmp_path / "b.mkv") == ["sound copied"]
    source.write_bytes(data[: len(data) * 3 // 4])
    copied, note = sound_summary(source, tmp_path / "b.mkv")
    assert copied == "sound copied" and note.startswith("its sound ends after ") and "it says 6.0" in note


def test_a_track_that_a_container_takes_only_by_name_stays_out(tmp_path):
    """AAC without its description, which Matroska needs when the file is closed."""
    source = write_clip(tmp_path / "a.mp4", moving(20), sound=("aac", 0.5))
    source.write_bytes(source.read_bytes().replace(b"esds", b"free"))
    assert sound_summary(source, tmp_path / "b.mkv") == ["its sound (aac) was left out, .mkv cannot hold it"]
    assert len(decoded(tmp_path / "b.mkv")) == 20


def sound_summary(source, path):
    with VideoFile(source) as video, VideoWriter(path, video.rate, 48, 64, sound=source) as writer:
        for image, _ in video.frames():
            writer.write(image)
    return writer.copied.summary()


def test_the_sound_is_named_when_it_fails(tmp_path):
    class Refusing:
        def mux(self, packet):
            raise av.error.InvalidDataError(1, "Invalid data")

    source = write_clip(tmp_path / "a.mp4", moving(20), sound=("aac", 0.5))
    with pytest.raises(UserError, match=r"cannot write the sound of .*a\.mp4 to .*b\.mp4: .*--no-sound leaves it"), \
            VideoWriter(tmp_path / "b.mp4", 25, 48, 64, sound=source) as writer:
        writer.copied._container = Refusing()
        for image in moving(20):
            writer.write(image)
    assert not (tmp_path / "b.mp4").exists()


def test_sound_before_the_pictures_does_not_move_them_in_avi(tmp_path):
    """AAC begins with an encoder's preparation, before time 0, which AVI does not have."""
    source = write_clip(tmp_path / "a.mp4", moving(20), sound=("aac", 0.5))
    assert copy(source, tmp_path / "b.avi") == []
    with VideoFile(tmp_path / "b.avi") as video:
        assert [time for _, time in video.frames()] == [t / video.rate for t in range(20)]
    assert len(sound(tmp_path / "b.avi")) > 10
