"""Video files where folders of images stand: as sequences, paired, and refused where they cannot be told apart."""
import pytest

from tests.clips import moving, write_clip
from tests.video.test_frames import message, touch
from timecyclegan.video.frames import find_sequences, match_sequences, write_image
from timecyclegan.video.random_access import VideoFrame


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", moving(4))


def put(clip, root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(clip.read_bytes())
    return root


def test_each_video_is_a_sequence(clip, tmp_path):
    put(clip, tmp_path, "10.mp4", "9.MOV", "b/c2.m.mkv", "b/c10.mp4", ".hidden.mp4")
    touch(tmp_path, "readme.md")
    found = find_sequences(tmp_path)
    assert list(found) == ["9", "10", "b/c2.m", "b/c10"]
    assert found["b/c2.m"] == [VideoFrame(tmp_path / "b/c2.m.mkv", i) for i in range(4)]


def test_a_video_may_be_the_root(clip):
    assert find_sequences(str(clip)) == {".": [VideoFrame(clip, i) for i in range(4)]}


def test_videos_in_a_tree_of_images_are_left_out_with_a_note(clip, tmp_path, capsys):
    """As in a folder of results, whose side-by-side videos were made of the images."""
    write_image(tmp_path / "s0/0.png", moving(1)[0])
    put(clip, tmp_path, "videos/s0.mp4")
    assert list(find_sequences(tmp_path)) == ["s0"]
    assert capsys.readouterr().out == f"note: {tmp_path} holds images; its video files are not used: videos/s0.mp4\n"


def test_images_beside_videos_are_a_user_error(clip, tmp_path):
    put(clip, touch(tmp_path, "a/1.png"), "a/x.mp4")
    assert f"{tmp_path}/a holds images (1.png) beside videos (x.mp4)" in message(find_sequences, tmp_path)


def test_videos_that_would_share_their_results_are_a_user_error(clip, tmp_path):
    put(clip, tmp_path / "one", "a.mp4", "a.mkv")
    assert "two videos of one name: a.mkv and a.mp4" in message(find_sequences, tmp_path / "one")
    put(clip, tmp_path / "two", "a.mp4", "a/b/c.mp4")
    assert f"{tmp_path}/two/a.mp4 is called like the folder of c.mp4" in message(find_sequences, tmp_path / "two")


def test_a_damaged_video_is_named(tmp_path):
    touch(tmp_path, "a.mp4")
    assert f"cannot read video {tmp_path}/a.mp4" in message(find_sequences, tmp_path)


def test_frames_of_videos_are_paired_by_their_order(clip, tmp_path):
    put(clip, tmp_path / "s", "a.mp4")
    touch(tmp_path / "t", *[f"a/{i}.png" for i in (1, 2, 3, 4)])  # overlaps 00000 to 00003 in part, if they were names
    touch(tmp_path / "u", *[f"a/0000{i}.png" for i in (1, 2, 3, 4)])
    for other in ("t", "u", "s"):
        roots = tmp_path / "s", tmp_path / other
        pairs = match_sequences(*map(find_sequences, roots), *roots)["a"]
        assert [source.index for source, _ in pairs] == [0, 1, 2, 3]
    touch(tmp_path / "v", "a/1.png")
    roots = tmp_path / "s", tmp_path / "v"
    assert "sequence a (4 and 1)" in message(match_sequences, *map(find_sequences, roots), *roots)
