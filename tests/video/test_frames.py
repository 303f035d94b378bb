import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from timecyclegan.util.errors import UserError
from timecyclegan.video.frames import (
    find_sequences,
    image_size,
    match_sequences,
    natural_key,
    read_image,
    resize_image,
    to_uint8,
    to_video,
    write_image,
)

H, W = 20, 36


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def smooth(height=H, width=W):
    """A picture without symmetry that survives JPEG compression."""
    y, x = np.mgrid[:height, :width].astype(float)
    planes = [255 * x / (width - 1), 255 * y / (height - 1), 127 + 100 * np.sin(x / 9)]
    return np.stack(planes, -1).round().astype(np.uint8)


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def message(call, *args):
    with pytest.raises(UserError) as caught:
        call(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- finding sequences ---

def test_natural_key_orders_numbers_by_value():
    names = ["f10.png", "f9.png", "f1.png", "f01.png", "10.png", "9.png", "a1b2", "a1b10", "a1", "1a", "²"]
    expected = ["1a", "9.png", "10.png", "a1", "a1b2", "a1b10", "f01.png", "f1.png", "f9.png", "f10.png", "²"]
    assert sorted(names, key=natural_key) == expected
    assert len({natural_key(name) for name in names}) == len(names)


def test_sequences_and_frames_come_in_natural_order(tmp_path):
    touch(tmp_path, "10/1.png", "9/10.png", "9/9.png", "b/c2/x.JPG", "b/c10/x.tiff", "9/notes.txt", "9/.hidden.png",
          ".thumbs/1.png", "readme.md")
    (tmp_path / "empty").mkdir()
    found = find_sequences(tmp_path)
    assert list(found) == ["9", "10", "b/c2", "b/c10"]
    assert found["9"] == [tmp_path / "9/9.png", tmp_path / "9/10.png"]


def test_every_known_suffix_counts_in_any_case(tmp_path):
    suffixes = ["png", "JPG", "jpeg", "BMP", "tif", "Tiff", "webp", "ppm", "PGM"]
    names = [f"{i}.{suffix}" for i, suffix in enumerate(suffixes)]
    touch(tmp_path, *names)
    assert [path.name for path in find_sequences(str(tmp_path))["."]] == names


def test_linked_folders_are_followed_but_not_in_circles(tmp_path):
    touch(tmp_path, "store/1.png", "root/a/1.png")
    (tmp_path / "root/b").symlink_to(tmp_path / "store")
    (tmp_path / "root/circle").symlink_to(tmp_path / "root")
    assert list(find_sequences(tmp_path / "root")) == ["a", "b"]


def test_unusable_roots_are_user_errors(tmp_path, monkeypatch):
    touch(tmp_path, "one/file.png", "none/notes.txt")
    monkeypatch.chdir(tmp_path)
    assert f"folder {tmp_path}/missing does not exist" in message(find_sequences, "missing")
    assert f"{tmp_path}/one/file.png is a file" in message(find_sequences, "one/file.png")
    text = message(find_sequences, "none")
    assert f"{tmp_path}/none holds no images" in text
    assert "png jpg jpeg bmp tif tiff webp ppm pgm" in text


def test_images_beside_folders_with_images_are_not_dropped_in_silence(tmp_path):
    touch(tmp_path, "a/stray.png", "a/deep/down/1.png")
    text = message(find_sequences, tmp_path)
    assert f"{tmp_path}/a holds images (stray.png)" in text
    assert "(deep/down)" in text


def test_two_images_with_one_stem_are_a_user_error(tmp_path):
    touch(tmp_path, "a/7.png", "a/7.jpg")
    assert "same frame twice: 7.jpg and 7.png" in message(find_sequences, tmp_path)


# --- pairing ---

def match(tmp_path, source, target):
    touch(tmp_path, *[f"s/{name}" for name in source], *[f"t/{name}" for name in target])
    roots = tmp_path / "s", tmp_path / "t"
    return match_sequences(*map(find_sequences, roots), *roots)


def test_equal_names_and_wholly_different_names_pair_by_order(tmp_path):
    pairs = match(tmp_path, ["a/1.png", "a/2.png", "b/9.png", "b/10.png"],
                  ["a/1.jpg", "a/2.jpg", "b/real_010.png", "b/real_009.png"])
    names = {key: [(s.name, t.name) for s, t in value] for key, value in pairs.items()}
    assert names == {"a": [("1.png", "1.jpg"), ("2.png", "2.jpg")],
                     "b": [("9.png", "real_009.png"), ("10.png", "real_010.png")]}


def test_the_suffix_has_no_say_in_the_order(tmp_path):
    pairs = match(tmp_path, ["x.jpg", "x.k.jpg", "x1.jpg"], ["x.png", "x.k.png", "x1.png"])["."]
    assert [s.stem for s, _ in pairs] == [t.stem for _, t in pairs]


def test_sequences_without_partner_are_named(tmp_path):
    text = message(match, tmp_path / "1", [f"s{i}/1.png" for i in range(5)] + ["both/1.png"], ["both/1.png"])
    folder = tmp_path / "1"
    assert f"no partner in {folder}/t for sequence s0, sequence s1, sequence s2 and 2 more of {folder}/s" in text
    text = message(match, tmp_path / "2", ["both/1.png"], ["both/1.png", "extra/1.png"])
    assert f"no partner in {tmp_path}/2/s for sequence extra of {tmp_path}/2/t" in text


def test_different_frame_counts_are_named(tmp_path):
    text = message(match, tmp_path, ["a/1.png", "a/2.png", "b/1.png"], ["a/1.png", "b/1.png"])
    assert "sequence a (2 and 1)" in text
    assert "sequence b" not in text


def test_frames_paired_one_off_are_a_user_error(tmp_path):
    text = message(match, tmp_path, ["a/0.png", "a/1.png", "a/2.png"], ["a/1.png", "a/2.png", "a/3.png"])
    assert f"frame {tmp_path}/s/a/0.png has no partner of that name in {tmp_path}/t/a" in text


# --- reading: cv2 is the oracle ---

def stored(tmp_path, name, array):
    path = tmp_path / name
    assert cv2.imwrite(str(path), array)
    return path


def test_colour_images(tmp_path):
    for suffix in ("png", "bmp", "tif", "ppm", "webp", "jpg"):
        path = stored(tmp_path, f"x.{suffix}", smooth()[..., ::-1])
        image, expected = read_image(path), cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1]
        assert image.dtype == np.uint8 and image.shape == (H, W, 3) and image_size(path) == (H, W)
        np.testing.assert_allclose(image.astype(int), expected, atol=3 if suffix in ("jpg", "webp") else 0)
        np.testing.assert_allclose(image.astype(int), smooth(), atol=40)  # channels in the right order


def test_gray_images_of_8_and_16_bits(tmp_path, rng):
    gray8, gray16 = (rng.integers(0, np.iinfo(kind).max + 1, (H, W), dtype=kind) for kind in (np.uint8, np.uint16))
    gray16[0, :2] = 0, 65535
    for suffix in ("png", "tif", "pgm"):
        for gray in (gray8, gray16):
            path = stored(tmp_path, f"{gray.dtype}.{suffix}", gray)
            oracle = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            assert oracle.dtype == gray.dtype
            expected = np.rint(oracle / (257 if gray.itemsize == 2 else 1)).astype(np.uint8)
            np.testing.assert_array_equal(read_image(path), np.stack([expected] * 3, -1))


def test_16_bit_colour(tmp_path, rng):
    for suffix, channels in (("png", 3), ("png", 4), ("tif", 3), ("tif", 4), ("ppm", 3)):
        path = stored(tmp_path, f"x.{suffix}", rng.integers(0, 65536, (H, W, channels), dtype=np.uint16))
        oracle = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., 2::-1]
        np.testing.assert_allclose(read_image(path).astype(float), oracle / 257, atol=1)


def test_alpha_is_dropped_and_the_colours_stay(tmp_path, rng):
    alpha = rng.integers(0, 256, (H, W, 1), dtype=np.uint8)
    Image.fromarray(np.concatenate([smooth(), alpha], -1)).save(tmp_path / "rgba.png")
    Image.fromarray(np.concatenate([smooth()[..., :1], alpha], -1)).save(tmp_path / "la.png")
    np.testing.assert_array_equal(read_image(tmp_path / "rgba.png"), smooth())
    np.testing.assert_array_equal(read_image(tmp_path / "la.png"), smooth()[..., :1].repeat(3, -1))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("transparency", [None, 1, bytes([0, 128, 255])])
def test_palettes(tmp_path, rng, transparency):
    colours = np.array([[250, 1, 2], [3, 240, 4], [5, 6, 230]], np.uint8)
    index = rng.integers(0, 3, (H, W), dtype=np.uint8)
    image = Image.frombytes("P", (W, H), index.tobytes())
    image.putpalette(colours.tobytes())
    image.save(tmp_path / "p.png", **({} if transparency is None else {"transparency": transparency}))
    np.testing.assert_array_equal(read_image(tmp_path / "p.png"), colours[index])


def test_one_bit_images(tmp_path, rng):
    bits = rng.random((H, W)) > 0.5
    Image.fromarray(bits).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(read_image(tmp_path / "bits.png"), np.where(bits, 255, 0)[..., None].repeat(3, -1))


def test_cmyk_jpeg(tmp_path):
    path = tmp_path / "cmyk.jpg"
    Image.fromarray(smooth()).convert("CMYK").save(path, quality=95)
    expected = cv2.imread(str(path))[..., ::-1]
    np.testing.assert_allclose(read_image(path).astype(int), expected, atol=3)
    np.testing.assert_allclose(read_image(path).astype(int), smooth(), atol=40)


def test_exif_orientation_turns_images_upright(tmp_path):
    s = smooth()
    upright = {1: s, 2: s[:, ::-1], 3: s[::-1, ::-1], 4: s[::-1], 5: s.swapaxes(0, 1), 6: np.rot90(s, -1),
               7: s[::-1, ::-1].swapaxes(0, 1), 8: np.rot90(s), 9: s}  # 9 is none
    for orientation, expected in upright.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        for suffix in ("jpg", "png", "tif", "webp"):
            path = tmp_path / f"x.{suffix}"
            Image.fromarray(s).save(path, exif=exif)
            image = read_image(path)
            assert image.shape == expected.shape and image_size(path) == expected.shape[:2]
            np.testing.assert_allclose(image.astype(int), expected, atol=40)


def damaged(tmp_path, name, change):
    path = tmp_path / name
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)).save(path)
    path.write_bytes(change(path.read_bytes()))
    return path


def test_damaged_images_are_user_errors(tmp_path):
    half = [(f"x.{kind}", lambda data: data[:len(data) // 2]) for kind in ("png", "jpg", "bmp", "tif", "webp", "ppm")]
    changes = (lambda d: b"", lambda d: b"not an image", lambda d: d[:40] + b"\0" + d[41:],
               lambda d: d[:3000] + bytes(100) + d[3100:])
    for name, change in (*half, *(("x.png", change) for change in changes)):
        text = message(read_image, damaged(tmp_path, name, change))
        assert f"cannot read image {tmp_path}/{name}: it is damaged or no image" in text
        assert "replace or remove it" in text


def test_missing_images_are_user_errors(tmp_path):
    for function in (read_image, image_size):
        assert message(function, tmp_path / "x.png") == f"cannot read image {tmp_path}/x.png: No such file or directory"
    touch(tmp_path, "empty.png")
    assert "empty.png: it is damaged or no image (unknown format)" in message(image_size, tmp_path / "empty.png")


def test_pixels_without_a_known_range_are_user_errors(tmp_path):
    for name, value in (("float", np.float32(0.5)), ("int", np.int32(70000))):
        Image.fromarray(np.full((H, W), value)).save(tmp_path / f"{name}.tif")
        assert f"{name}.tif has" in message(read_image, tmp_path / f"{name}.tif")
    cv2.imwrite(str(tmp_path / "signed.tif"), np.arange(-500, 2500, 100, np.int16).reshape(5, 6))  # 16 bits, not 32
    assert "signed.tif has pixels from -500 to 2400, beyond" in message(read_image, tmp_path / "signed.tif")


def test_image_size_reads_the_header_only(tmp_path):
    path = damaged(tmp_path, "x.png", lambda data: data[:60])
    assert image_size(path) == (60, 60)


# --- resizing, converting, writing ---

def test_resize_is_pillows_bicubic(rng):
    image = rng.integers(0, 256, (H, W, 3), dtype=np.uint8)
    for height, width in ((10, 18), (40, 30), (36, 20)):
        expected = np.asarray(Image.fromarray(image).resize((width, height), Image.BICUBIC))
        np.testing.assert_array_equal(resize_image(image, height, width), expected)
    assert resize_image(image, H, W) is image


def test_video_round_trip_is_exact_for_every_level(rng):
    frames = np.arange(256, dtype=np.uint8).repeat(6).reshape(2, 16, 16, 3)
    assert (to_video(frames).min(), to_video(frames).max()) == (-1, 1)
    other = rng.integers(0, 256, (3, H, W, 3), dtype=np.uint8)
    for view in (frames, other, other[:, :, ::-1], list(other)):
        video, array = to_video(view), np.asarray(view)
        t, height, width, _ = array.shape
        assert video.shape == (t, 3, height, width) and video.dtype == torch.float32 and video.is_contiguous()
        assert video[1, 1, 4, 10] == pytest.approx(array[1, 4, 10, 1] / 127.5 - 1, abs=1e-6)
        np.testing.assert_array_equal(to_uint8(video[None]), array[None])


def test_to_uint8_rounds_to_nearest_and_clamps():
    levels = torch.tensor([-50.0, 0.4, 0.6, 254.4, 254.6, 300.0])
    video = (levels / 127.5 - 1).expand(3, 1, 6).requires_grad_()
    assert to_uint8(video)[0, :, 0].tolist() == [0, 0, 1, 254, 255, 255]
    assert to_uint8(torch.arange(3, dtype=torch.uint8).view(3, 1, 1)).tolist() == [[[0, 1, 2]]]  # levels
    assert to_uint8(torch.full((3, 1, 1), 1.0, dtype=torch.float16)).tolist() == [[[255, 255, 255]]]


def test_wrong_shapes_and_types_raise():
    with pytest.raises(ValueError, match="uint8"):
        to_video(np.zeros((1, H, W, 3), np.float32))
    with pytest.raises(ValueError, match="3, H, W"):
        to_uint8(torch.zeros(2, H, W, 3))


def test_write_image_is_lossless_and_leaves_nothing_else(tmp_path, rng):
    image = rng.integers(0, 256, (H, W, 3), dtype=np.uint8)
    path = tmp_path / "deep/down/x.png"
    write_image(path, image)
    np.testing.assert_array_equal(cv2.imread(str(path))[..., ::-1], image)
    assert list(path.parent.iterdir()) == [path]


def test_a_failing_write_keeps_the_old_image(tmp_path, monkeypatch):
    path = tmp_path / "x.png"
    write_image(path, smooth())

    def fail(self, file, **options):
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail)
    assert message(write_image, path, smooth()) == f"cannot write {path}: No space left on device"
    monkeypatch.undo()
    np.testing.assert_array_equal(read_image(path), smooth())
    assert list(tmp_path.iterdir()) == [path]
