"""Closed forms of the metrics that look at one frame, and of flicker and tOF."""
import numpy as np
import pytest

from tests.evaluation.helpers import blurred, moving, noisy, texture
from timecyclegan.evaluation.base import Step
from timecyclegan.evaluation.compute_flicker import flicker
from timecyclegan.evaluation.compute_grid import Grid, grid_energy
from timecyclegan.evaluation.compute_l1 import l1
from timecyclegan.evaluation.compute_psnr_ssim import PSNR, SSIM, psnr, ssim
from timecyclegan.evaluation.compute_sharpness import Sharpness, gradient_energy
from timecyclegan.evaluation.compute_tof import flow_distance, tof


def gray(levels) -> np.ndarray:
    """uint8 (H, W, 3) from (H, W) levels."""
    return np.repeat(np.asarray(levels, np.uint8)[..., None], 3, axis=2)


def run(metric, real, fake):
    metric.start("a")
    for pair in zip(real, fake, strict=True):
        metric.add(metric.measure(Step(*pair)))
    return metric.result()


def test_flow_distance_is_a_norm_per_pixel():
    first, second = np.zeros((4, 6, 2), np.float32), np.zeros((4, 6, 2), np.float32)
    second[:2] = (3, -4)  # length 5 on half of the pixels
    assert flow_distance(first, second) == pytest.approx(2.5)


def test_tof_sees_motion_and_only_motion():
    slow, fast = moving(2, 64, 64), moving(2, 64, 64, step=3)
    assert tof(*slow, *slow) == 0
    assert tof(*slow, slow[0], slow[0]) == pytest.approx(1, abs=0.15)
    assert tof(*slow, *fast) == pytest.approx(2, abs=0.3)


def test_l1_of_a_constant_difference():
    frame = gray([[0, 255], [10, 200]])
    assert l1(frame, frame) == 0
    assert l1(frame, gray([[3, 255], [7, 202]])) == l1(gray([[3, 255], [7, 202]]), frame) == 2


def test_flicker_of_known_changes():
    frame = texture(8, 9)
    assert flicker(frame, frame) == 1
    dark, light = np.full((8, 9, 3), 20, np.uint8), np.full((8, 9, 3), 71, np.uint8)
    assert flicker(dark, light) == flicker(light, dark) == pytest.approx(0.8)
    assert flicker(np.zeros((8, 9, 3), np.uint8), np.full((8, 9, 3), 255, np.uint8)) == 0


def test_gradient_energy_of_ramps():
    x = np.arange(20)
    assert gradient_energy(gray(np.tile(5 * x, (7, 1)))) == pytest.approx((5 / 255) ** 2)
    assert gradient_energy(gray(np.tile(5 * x, (7, 1)).T)) == pytest.approx((5 / 255) ** 2)
    for channel, weight in enumerate((0.299, 0.587, 0.114)):
        colour = np.zeros((7, 20, 3), np.uint8)
        colour[..., channel] = 5 * x
        assert gradient_energy(colour) == pytest.approx((weight * 5 / 255) ** 2)
    assert gradient_energy(np.full((7, 20, 3), (13, 200, 77), np.uint8)) == 0
    assert gradient_energy(gray([[0, 255]])) == pytest.approx(1)  # one row has no vertical differences


def test_sharpness_is_a_ratio_of_means():
    clip = moving(3)
    assert run(Sharpness(), clip, clip).value == 1
    assert run(Sharpness(), clip, [blurred(frame) for frame in clip]).value < 0.7
    assert run(Sharpness(), clip, noisy(clip, 30)).value > 1.2
    ramps = [gray(np.tile(slope * np.arange(20), (7, 1))) for slope in (0, 1, 3, 6)]
    result = run(Sharpness(), [ramps[1], ramps[2], ramps[0]], [ramps[3], ramps[0], ramps[0]])
    assert result.value == pytest.approx(36 / 10)
    assert result.per_frame["a"] == [pytest.approx(36), 0, None]


def test_sharpness_of_a_constant_real_clip_is_undefined():
    result = run(Sharpness(), [np.full((12, 12, 3), 9, np.uint8)] * 2, noisy(moving(2, 12, 12)))
    assert result.value is None and "gradient" in result.reason


def stripes(period, amplitude, height=48, width=64, along=(0, 1)):
    """128 + amplitude cos(2 pi p / period), p counting pixels along one direction or a diagonal."""
    y, x = np.mgrid[:height, :width]
    return gray(np.round(128 + amplitude * np.cos(2 * np.pi * (along[0] * y + along[1] * x) / period)))


def test_grid_is_the_ratio_of_the_squared_amplitudes_whatever_the_size():
    """Windows of 16x16 under a Hann window, whose sum is 64: a cosine has two lines of 32 A each, that of period 2,
    which is its own mirror image, one of 64 A."""
    for along in ((0, 1), (1, 0)):
        for amplitude in (4, 10, 40):  # of which the quarters of a period are whole levels
            level = amplitude / 255
            assert grid_energy(stripes(4, amplitude, along=along)) == pytest.approx(2 * (32 * level) ** 2, rel=1e-9)
            assert grid_energy(stripes(2, amplitude, along=along)) == pytest.approx((64 * level) ** 2, rel=1e-9)
    for period in (2, 4):
        real = [stripes(period, 10)] * 2
        for height, width in ((48, 64), (24, 40), (16, 16)):
            result = run(Grid(), [stripes(period, 10, height, width)], [stripes(period, 40, height, width)])
            assert result.value == pytest.approx(16, rel=1e-9) and result.real == 1
        result = run(Grid(), real, [stripes(period, 40), stripes(period, 0)])  # of the means, not the mean of ratios
        assert result.value == pytest.approx(8, rel=1e-9)
        assert result.per_frame["a"] == [pytest.approx(16, rel=1e-9), 0]


def test_grid_sees_checkerboards_and_few_other_periods():
    """A cosine f lines of a window away leaks (sin(pi f) / (pi f) / (1 - f^2))^2 of a Hann window's energy."""
    whole = grid_energy(stripes(4, 40))
    for period in (3, 6):  # 4/3 lines from 4, and from its other neighbours 8/3 and more
        leak = (np.sinc(4 / 3) / (1 - (4 / 3) ** 2)) ** 2
        assert 0.065 < leak < 0.075
        assert grid_energy(stripes(period, 40)) / whole == pytest.approx(leak, rel=0.03)
    for period in (8, 16, 32):
        assert grid_energy(stripes(period, 40)) / whole < 1e-3
    board = np.indices((32, 48)).sum(axis=0) % 2
    assert grid_energy(gray(128 + 40 * board)) == pytest.approx((64 * 20 / 255) ** 2, rel=1e-9)
    blocks = np.kron(board, np.ones((2, 2)))  # squares of 2 pixels: four lines at (1/4, 1/4), each of half a cosine's
    assert grid_energy(gray(128 + 40 * blocks)) == pytest.approx(4 * (64 * 20 / 255 / 2) ** 2, rel=1e-9)


def test_grid_agrees_with_the_sum_written_out():
    image, (height, width) = texture(27, 35, smooth=1), (27, 35)
    bright = (image @ np.array([0.299, 0.587, 0.114])) / 255
    hann = [0.5 - 0.5 * np.cos(2 * np.pi * k / 16) for k in range(16)]
    energies = []
    for top in range(0, height - 15, 8):
        for left in range(0, width - 15, 8):
            part = bright[top:top + 16, left:left + 16]
            part = part - part.mean()
            energies.append(sum(abs(sum(
                part[y, x] * hann[y] * hann[x] * np.exp(-2j * np.pi * (i * y + j * x) / 4)
                for y in range(16) for x in range(16))) ** 2 for i in range(4) for j in range(4) if i or j))
    assert len(energies) == 2 * 3
    assert grid_energy(image) == pytest.approx(np.mean(energies), rel=1e-9)


def test_grid_without_windows_or_energy_is_undefined():
    for height, width in ((15, 40), (40, 15)):
        result = run(Grid(), [texture(height, width)], [texture(height, width, 1)])
        assert result.value is None and "below 16 pixels" in result.reason
    assert all(grid_energy(np.full((24, 32, 3), (level, 255 - level, 7), np.uint8)) == 0 for level in range(256))
    for still in (gray(np.full((24, 32), 51)), stripes(8, 40)):  # rounding is no energy
        result = run(Grid(), [still] * 2, noisy(moving(2, *still.shape[:2])))
        assert result.value is None and "no energy" in result.reason
        assert run(Grid(), moving(1, *still.shape[:2]), [still]).value == 0


def test_psnr_of_a_constant_offset():
    image = texture(12, 14) // 2
    assert psnr(image, image + 10) == pytest.approx(20 * np.log10(25.5))


def test_identical_frames_count_as_100_db_so_that_no_better_clip_scores_lower():
    image = texture(12, 14) // 2
    assert psnr(image, image) == 100
    offset = 20 * np.log10(25.5)
    ladder = [run(PSNR(), [image] * 3, [image + 10] * (3 - same) + [image] * same) for same in range(4)]
    expected = [(100 * same + offset * (3 - same)) / 3 for same in range(4)]
    assert [found.value for found in ladder] == pytest.approx(expected) and not any(one.skipped for one in ladder)
    assert "100db" in PSNR.definition
    large = np.zeros((230, 230, 3), np.uint8)
    nearly = large.copy()
    nearly[0, 0, 0] = 1  # 20 log10(255) + 10 log10(3 * 230 * 230) = 100.1
    assert psnr(large, nearly) == 100
    nearly[0, 0, 0] = 2  # 6.02 dB less
    assert psnr(large, nearly) == pytest.approx(20 * np.log10(255 / 2) + 10 * np.log10(3 * 230 * 230))


def test_ssim_of_constant_pictures():
    """Without structure only the luminance term is left: (2ab + C1) / (a^2 + b^2 + C1), C1 = (0.01 * 255)^2."""
    a, b, c1 = 50, 90, 2.55 ** 2
    expected = (2 * a * b + c1) / (a * a + b * b + c1)
    pictures = [np.full((15, 15, 3), level, np.uint8) for level in (a, b)]
    assert ssim(*pictures) == pytest.approx(expected, abs=1e-9)
    assert ssim(texture(15, 15), texture(15, 15)) == pytest.approx(1)


@pytest.mark.parametrize(("height", "width", "defined"), [(11, 11, True), (10, 40, False), (40, 10, False)])
def test_pictures_smaller_than_the_window_have_no_ssim(height, width, defined):
    result = run(SSIM(), [texture(height, width)], [texture(height, width, 1)])
    assert (result.value is not None) == defined
    assert result.reason is None if defined else "11x11" in result.reason
