"""resize_images: the sizes that were asked for, the pixels that training would see, no new colours in label maps."""
import io

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.data.killing import check_killed_anywhere, contents, write
from timecyclegan.data.resize_images import main
from timecyclegan.video.frames import read_image, resize_image

H, W = 12, 20


def done(*arguments):
    assert main([*map(str, arguments)]) == 0


def picture(seed, mode="RGB", size=(W, H)):
    shape = (size[1], size[0], len(mode)) if mode in ("RGB", "RGBA", "LA") else size[::-1]
    values = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    return Image.fromarray(values.astype(np.uint16) * 257 if mode == "I;16" else values)


def encoded(image, form="PNG", **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def test_pixels_are_those_that_training_sees(tmp_path):
    folder = write(tmp_path / "in", {"a/1.png": encoded(picture(1)), "a/2.bmp": encoded(picture(2), "BMP")})
    done(folder, tmp_path / "out", "--height", 6, "--width", 14)
    for name in ("a/1.png", "a/2.bmp"):
        expected = resize_image(read_image(folder / name), 6, 14)
        np.testing.assert_array_equal(read_image(tmp_path / "out" / name), expected)


def test_wherever_it_is_killed(tmp_path, capsys):
    files = {"a/1.png": encoded(picture(1)), "right.PNG": encoded(picture(3, size=(10, 6)), compress_level=1)}
    small = {"a/1.png": encoded(picture(1).resize((10, 6), Image.Resampling.BICUBIC)), "right.PNG": files["right.PNG"]}
    given = files | {"a/notes.txt": b"no image"}
    check_killed_anywhere(tmp_path, given, small, lambda *folders: done(*folders, "--width", 10))
    assert "left out: a/notes.txt" in capsys.readouterr().out


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "I;16"])
def test_nearest_makes_no_new_values_and_keeps_the_kind_of_pixels(tmp_path, mode):
    image = picture(1, "L" if mode == "P" else mode)
    if mode == "P":
        image.putpalette(list(range(256)) * 3)
    write(tmp_path / "in", {"1.png": encoded(image)})
    done(tmp_path / "in", tmp_path / "out", "--height", 5, "--width", 7, "--nearest")
    with Image.open(tmp_path / "out/1.png") as small:
        assert (small.size, small.mode) == ((7, 5), image.mode)
        rows, columns = ((np.arange(n) + 0.5) * size // n for n, size in ((5, H), (7, W)))
        expected = np.asarray(image)[rows.astype(int)][:, columns.astype(int)]
        np.testing.assert_array_equal(np.asarray(small), expected)


@pytest.mark.parametrize("mode, kept", [("L", "L"), ("RGBA", "RGBA"), ("LA", "LA"), ("I;16", "I;16"), ("P", "RGB")])
def test_bicubic_keeps_what_can_be_mixed(tmp_path, mode, kept):
    image = picture(1, "RGB").quantize(16) if mode == "P" else picture(1, mode)
    write(tmp_path / "in", {"1.png": encoded(image)})
    done(tmp_path / "in", tmp_path / "out", "--width", 10)
    with Image.open(tmp_path / "out/1.png") as small:
        assert (small.size, small.mode) == ((10, 6), kept)


def test_a_picture_that_lies_on_its_side_is_set_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the first row is the right side
    slope = Image.fromarray(np.linspace([0, 0, 99], [250, 0, 99], W * H).reshape(H, W, 3).astype(np.uint8))
    write(tmp_path / "in", {"1.jpg": encoded(slope, "JPEG", exif=exif)})
    done(tmp_path / "in", tmp_path / "out", "--height", 10)
    expected = resize_image(read_image(tmp_path / "in/1.jpg"), 10, 6).astype(float)
    assert abs(read_image(tmp_path / "out/1.jpg") - expected).max() < 12  # compressed again


def refused(capsys, *arguments):
    assert main([*map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    return error


def test_a_size_and_images_must_be_given(tmp_path, capsys):
    folder, out = write(tmp_path / "in", {"1.png": encoded(picture(1))}), tmp_path / "out"
    for flags in ((), ("--width", -1), ("--width", 0, "--height", 0)):
        assert "expected the new size" in refused(capsys, folder, out, *flags)
    assert "OUT" in refused(capsys, folder, "--width", 10)
    assert "which is only read" in refused(capsys, folder, folder, "--width", 10)
    (tmp_path / "empty").mkdir()
    assert "holds no files" in refused(capsys, tmp_path / "empty", out, "--width", 10)


@pytest.mark.parametrize("suffix, channels", [(".png", 3), (".png", 4), (".tif", 3)])
def test_deep_colours_are_refused_before_anything_is_written(tmp_path, capsys, suffix, channels):
    deep = np.random.default_rng(1).integers(0, 65536, (H, W, channels), dtype=np.uint16)
    files = {"1.png": encoded(picture(1)), f"2{suffix}": cv2.imencode(suffix, deep)[1].tobytes()}
    folder, out = write(tmp_path / "in", files), tmp_path / "out"
    assert f"2{suffix} has colours of more than 8 bits" in refused(capsys, folder, out, "--width", 10)
    assert not out.exists()
    done(folder, out, "--width", W)  # nothing is to be resized
    assert contents(out) == files


def test_a_broken_image_is_named(tmp_path, capsys):
    whole = encoded(picture(1))
    folder = write(tmp_path / "in", {"1.png": whole, "2.png": whole[:-60], "3.png": whole})
    error = refused(capsys, folder, tmp_path / "out", "--width", 10)
    assert error.startswith(f"error: cannot read image {folder}/2.png")
    (folder / "2.png").unlink()
    done(folder, tmp_path / "out", "--width", 10)
    assert contents(tmp_path / "out").keys() == {"1.png", "3.png"}


def stored(folder, name, pixels):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    if pixels.dtype in (np.float32, np.int32):
        Image.fromarray(pixels).save(path)
    else:
        path.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())
    return path


@pytest.mark.parametrize("name, shape, kind", [
    ("1.png", (H, W), np.uint16), ("1.png", (H, W, 3), np.uint16), ("1.tif", (H, W, 3), np.uint16),
    ("1.tif", (H, W), np.float32), ("1.tif", (H, W), np.int32), ("caf\udce9.png", (H, W, 3), np.uint16)])
def test_a_range_of_deep_pixels_is_spread_over_8_bits(tmp_path, name, shape, kind):
    pixels = np.random.default_rng(1).integers(0, 6000, shape).astype(kind)
    stored(tmp_path / "in", name, pixels)
    done(tmp_path / "in", tmp_path / "out", "--range", 1000, 5000)
    expected = np.rint((np.clip(pixels.astype(float), 1000, 5000) - 1000) / 4000 * 255)
    expected = expected[..., ::-1] if len(shape) == 3 else expected[..., None].repeat(3, -1)  # OpenCV's are BGR
    np.testing.assert_array_equal(read_image(tmp_path / "out" / name), expected)
    with Image.open(tmp_path / "out" / name) as image:
        assert image.mode == ("RGB" if len(shape) == 3 else "L")
    done(tmp_path / "in", tmp_path / "small", "--range", 1000, 5000, "--height", 6, "--width", 10)
    np.testing.assert_array_equal(read_image(tmp_path / "small" / name), resize_image(expected.astype(np.uint8), 6, 10))


def test_a_range_leaves_alpha_alone(tmp_path):
    pixels = np.zeros((H, W, 4), np.uint16) + np.array([1000, 2000, 3000, 30 * 257], np.uint16)
    stored(tmp_path / "in", "1.png", pixels)
    done(tmp_path / "in", tmp_path / "out", "--range", 1000, 3000)
    assert np.asarray(Image.open(tmp_path / "out/1.png"))[0, 0].tolist() == [255, 128, 0, 30]


def test_a_range_needs_deep_pixels_and_two_ends(tmp_path, capsys):
    stored(tmp_path / "in", "1.png", np.zeros((H, W), np.uint8))
    assert "1.png has 8 bits for a channel" in refused(capsys, tmp_path / "in", tmp_path / "out", "--range", 0, 9)
    for ends in ((9, 9), (9, 0), ("nan", 1), (0, "inf")):
        assert "expected what becomes black" in refused(capsys, tmp_path / "in", tmp_path / "out", "--range", *ends)
    stored(tmp_path / "float", "1.tif", np.full((H, W), np.nan, np.float32))
    assert "no finite numbers" in refused(capsys, tmp_path / "float", tmp_path / "out", "--range", 0, 9)
