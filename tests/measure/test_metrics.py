"""Metrics of results, checked against values computed by hand and against scikit-image."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from numpy.typing import NDArray
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

from repaint.errors import InputError
from repaint.measure.metrics import dissimilarity, diversity, lpips, mse, psnr, rim_gradients, seam_contrast, ssim
from repaint.warning_filters import filtered


def noise(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def inside(size: tuple[int, int], top: int, bottom: int, left: int, right: int) -> NDArray[np.bool_]:
    hole = np.zeros(size, dtype=bool)
    hole[top:bottom, left:right] = True
    return hole


# MSE and PSNR --------------------------------------------------------------------------------------------------------


def test_mse_and_psnr_by_hand() -> None:
    """If this fails, errors are summed over wrong pixels, overflow in uint8, or use a wrong data range."""
    a = np.zeros((2, 2), np.uint8)
    b = np.array([[0, 255], [10, 20]], np.uint8)
    assert mse(a, b) == mse(b, a) == (255**2 + 10**2 + 20**2) / 4
    bottom = np.array([[False, False], [True, True]])
    assert mse(a, b, bottom) == 250
    assert psnr(a, b, bottom) == pytest.approx(10 * np.log10(255**2 / 250))
    assert psnr(a, b, np.array([[False, True], [False, False]])) == 0  # black for white
    assert psnr(a, b, np.array([[True, False], [False, False]])) == np.inf
    assert psnr(a / 255, b / 255, bottom) == pytest.approx(psnr(a, b, bottom))  # floats are in [0, 1]
    assert psnr(a.astype(np.int64), b.astype(np.int64), bottom, data_range=255) == psnr(a, b, bottom)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
def test_mse_and_psnr_of_whole_pictures_are_those_of_scikit_image(dtype: str) -> None:
    """If this fails, our numbers differ from those of scikit-image."""
    white = {"uint8": 255, "uint16": 65535}.get(dtype, 1)
    a, b = ((noise(9, 7, 3, seed=seed) / 255 * white).astype(dtype) for seed in (1, 2))
    assert mse(a, b) == pytest.approx(mean_squared_error(a, b), rel=1e-6)  # scikit-image computes in float32
    assert psnr(a, b) == pytest.approx(peak_signal_noise_ratio(a, b, data_range=white), rel=1e-6)


# SSIM ----------------------------------------------------------------------------------------------------------------

WINDOW: dict[str, Any] = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}


@pytest.mark.parametrize("channels", [1, 3])
def test_ssim_of_whole_pictures_is_that_of_scikit_image(channels: int) -> None:
    """If this fails, our SSIM is not the one that papers report."""
    a, b = (noise(20, 17, channels, seed=seed) for seed in (1, 2))
    expected = structural_similarity(a, b, data_range=255, channel_axis=2, **WINDOW)
    assert ssim(a, b) == pytest.approx(expected, abs=1e-12)
    assert ssim(a / 255, b / 255) == pytest.approx(expected, abs=1e-12)
    assert ssim(a, a) == 1


def test_ssim_of_flat_pictures_by_hand() -> None:
    """If this fails, the constants or the data range of SSIM differ from the paper."""
    a, b = np.full((16, 16), 0.2), np.full((16, 16), 0.6)
    luminance = (2 * 0.2 * 0.6 + 0.01**2) / (0.2**2 + 0.6**2 + 0.01**2)
    assert ssim(a, b) == pytest.approx(luminance, abs=1e-9)
    tenfold = (2 * 0.2 * 0.6 + 0.1**2) / (0.2**2 + 0.6**2 + 0.1**2)
    assert ssim(a, b, data_range=10) == pytest.approx(tenfold, abs=1e-9)


def test_ssim_of_a_region_sees_no_farther_than_its_windows() -> None:
    """If this fails, SSIM of a region depends on pixels outside its windows."""
    a = noise(40, 40, 3)
    hole = inside((40, 40), 0, 40, 20, 40)
    b = np.where(hole[..., None], 255 - a, a)
    far = inside((40, 40), 0, 40, 0, 15)  # 5 pixels and more from the hole
    assert ssim(b, a, far) == 1
    assert ssim(b, a, inside((40, 40), 0, 40, 0, 16)) < 1
    assert ssim(b, a, inside((40, 40), 0, 40, 25, 40)) < -0.9  # anti-correlated where the window is all hole


# The seam ------------------------------------------------------------------------------------------------------------


def test_a_step_at_the_rim_by_hand() -> None:
    """If this fails, the contrast is computed from wrong pairs of pixels."""
    image = np.tile(np.array([0, 1, 2, 3, 9, 10, 11, 12.0]), (4, 1))  # one more a pixel, but six at the rim
    hole = inside((4, 8), 0, 4, 4, 8)
    assert rim_gradients(image, hole) == (6, 1)
    assert seam_contrast(image, hole) == 6
    assert seam_contrast(image, ~hole) == 6
    assert seam_contrast(image[..., None].repeat(3, axis=2), hole) == 6


def test_only_pairs_near_the_rim_count() -> None:
    """If this fails, pixels far from the rim affect the contrast."""
    image = np.array([[100, 0, 0, 1, 3, 4, 5, 6.0]])
    hole = inside((1, 8), 0, 1, 4, 8)
    # Depths 4 3 2 1 | 1 2 3 4. Beside, within 2: |0 - 1|, |3 - 4|; within 3: 0, 1, 1, 1; within 4: 100, 0, 1, 1, 1, 1.
    assert rim_gradients(image, hole, near=2) == (2, 1)
    assert rim_gradients(image, hole, near=3) == (2, 0.75)
    assert rim_gradients(image, hole, near=4) == (2, pytest.approx(104 / 6))


def test_directions_are_weighted_like_the_rim() -> None:
    """If this fails, a picture that is rough in one direction only is reported to have a seam."""
    image = np.tile(np.array([0.0, 5.0]), (16, 8))  # 5 across, 0 down
    for hole in (inside((16, 16), 4, 9, 5, 12), inside((16, 16), 0, 16, 8, 16), inside((16, 16), 0, 8, 0, 16)):
        assert seam_contrast(image, hole) == 1
    # 5 rows and 7 columns: 10 pairs across the rim lie side by side, 14 above each other.
    assert rim_gradients(image, inside((16, 16), 4, 9, 5, 12))[0] == pytest.approx(5 * 10 / 24)


def test_noise_has_no_seam_and_a_smooth_filling_has() -> None:
    """If this fails, the contrast of a picture without a seam is not 1."""
    hole = inside((200, 200), 50, 150, 50, 150)
    image = noise(200, 200, 3)
    # About 400 x 3 independent differences across the rim, each with a relative spread of 0.7: 2 %.
    assert seam_contrast(image, hole) == pytest.approx(1, abs=0.08)
    flat = np.where(hole[..., None], np.uint8(255), image // 2)
    assert seam_contrast(flat, hole) > 5


def test_flat_pictures() -> None:
    """If this fails, a constant picture gives NaN."""
    hole = inside((8, 8), 2, 6, 2, 6)
    assert seam_contrast(np.ones((8, 8)), hole) == 1
    assert seam_contrast(np.where(hole, 0.0, 1.0), hole) == np.inf


# LPIPS ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of torch hub."""
    from repaint.measure.metrics import _lpips_model

    _lpips_model.cache_clear()
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


@pytest.mark.parametrize("net", ["alex", "vgg", "squeeze"])
def test_lpips_never_uses_a_random_backbone(hub: Path, net: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, LPIPS downloads weights, or uses random features."""
    builder = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet1_1"}[net]
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *_, **__: pytest.fail("downloads"))
    with pytest.raises(
        InputError,
        match=rf"needs the backbone .*, which is missing\. Fetch it once: python -c .*models\.{builder}\(",
    ):
        lpips(noise(64, 64, 3), noise(64, 64, 3), net=net)
    assert list(hub.iterdir()) == []


def test_lpips_with_a_backbone_from_a_file(hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, LPIPS computes something else with a file than with the same file in the cache of torch hub."""
    net, layers, file = "squeeze", "squeezenet1_1", tmp_path / "weights.pth"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.save(getattr(torchvision.models, layers)(weights=None).state_dict(), file)
    a, b = noise(64, 64, 3), noise(64, 64, 3, seed=1)
    with pytest.raises(InputError, match=r"weights\.pth: SHA-256 begins with [0-9a-f]{8}, but that of squeezenet1_1-"):
        lpips(a, b, net=net, backbone=file)
    published = hub / f"{layers}-{hashlib.sha256(file.read_bytes()).hexdigest()[:8]}.pth"
    with monkeypatch.context() as patched:
        patched.setattr("repaint.measure.metrics.lpips_backbone", lambda _: (published, ""))
        found = lpips(a, b, net=net, backbone=file)
    name = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1.url.rpartition("/")[2]
    shutil.copy(file, hub / name)
    assert found == lpips(a, b, net=net) > 0


def test_lpips_runs_with_a_backbone_in_the_cache(hub: Path) -> None:
    """If this fails, LPIPS does not find the weights fetched by the command in its error, or ignores the region."""
    from lpips import LPIPS
    from torchvision.models import SqueezeNet1_1_Weights, squeezenet1_1

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        weights = squeezenet1_1(weights=None).state_dict()  # features without meaning, for the plumbing
    torch.save(weights, hub / SqueezeNet1_1_Weights.IMAGENET1K_V1.url.rpartition("/")[2])
    a, hole = noise(96, 96, 3), inside((96, 96), 0, 96, 48, 96)
    b = np.where(hole[..., None], noise(96, 96, 3, seed=1), a)
    assert lpips(a, a, net="squeeze") == 0
    whole, within, outside = (lpips(a, b, region, net="squeeze") for region in (None, hole, ~hole))
    assert whole > 0
    assert within > 3 * outside  # what is left outside is the reach of the features
    assert lpips(a / 255, b / 255, net="squeeze") == pytest.approx(whole, rel=1e-4)  # float32
    with filtered("ignore"), torch.random.fork_rng(devices=[]):
        reference = LPIPS(net="squeeze", verbose=False)
    x, y = (torch.from_numpy(each).permute(2, 0, 1)[None] / 255 for each in (a, b))
    with torch.no_grad():
        assert whole == pytest.approx(reference(x, y, normalize=True).item(), rel=1e-5), "the published number"
    with pytest.raises(InputError, match=r"failed for 4 x 4 pixels: .*Use a larger picture"):
        lpips(a[:4, :4], b[:4, :4], net="squeeze")


# Misuse --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda a: mse(a, a[:5]),
            r"The picture has shape \(9, 9, 3\) and dtype uint8, but the reference has \(5, 9, 3\) and uint8",
        ),
        (lambda a: mse(a, a / 255), r"dtype uint8, but the reference has \(9, 9, 3\) and float64\. Convert one"),
        (lambda a: mse(a[None], a[None]), r"The picture has shape \(1, 9, 9, 3\), but must be \(H, W\) or \(H, W, C\)"),
        (
            lambda a: mse(a, a, a[..., 0]),
            r"The region has shape \(9, 9\), dtype uint8 .*must be bool, 9 x 9 and not empty",
        ),
        (lambda a: mse(a, a, np.ones((8, 9), bool)), r"The region has shape \(8, 9\)"),
        (
            lambda a: psnr(a, a, np.zeros((9, 9), bool)),
            r"and 0 pixels, but must be bool, 9 x 9 and not empty\. Use None for the whole picture",
        ),
        (
            lambda a: psnr(a.astype(float), a.astype(float)),
            r"The picture has values from .*Map \[0, 255\] with x / 255",
        ),
        (lambda a: psnr(a / 255, a.astype(float)), r"The reference has values from"),
        (lambda a: psnr(a.astype(int), a.astype(int)), r"dtype int64 has no standard range\. Pass data_range\."),
        (lambda a: psnr(a, a, data_range=0), r"data_range=0 must be positive and finite \(white minus black\)"),
        (
            lambda a: ssim(a, a),
            r"SSIM needs an 11 x 11 window around a pixel of the region inside the picture of 9 x 9",
        ),
        (lambda a: seam_contrast(a, np.zeros((9, 9), bool)), r"The region has .* and 0 pixels"),
        (lambda a: seam_contrast(a, np.ones((9, 9), bool)), r"The hole is the whole picture, so it has no rim"),
        (
            lambda a: seam_contrast(a, inside((9, 9), 3, 6, 3, 6), near=1),
            r"near=1 must be at least 2 \(pixels on each side of the rim\)",
        ),
        (
            lambda a: lpips(a, a, net="alexnet"),
            r"net='alexnet' must be one of alex, vgg, squeeze\. Did you mean 'alex'",
        ),
        (lambda a: lpips(a[..., :2], a[..., :2]), r"LPIPS needs RGB, but the picture has 2 channels"),
    ],
)
def test_misuse(unchecked: None, call: Any, message: str) -> None:
    """If this fails, pictures, regions or ranges that do not match give a meaningless number."""
    with pytest.raises(InputError, match=message):
        call(noise(9, 9, 3))


def test_lines_one_pixel_wide_have_no_contrast() -> None:
    """If this fails, a mask of alternating lines gives a contrast without pairs beside the rim."""
    lines = np.zeros((8, 8), dtype=bool)
    lines[::2] = True
    with pytest.raises(InputError, match=r"lines or dots one pixel wide does not have\. Use a wider hole"):
        seam_contrast(noise(8, 8, 3), lines)


def test_diversity_is_the_mean_distance_of_pairs() -> None:
    """If this fails, the diversity of equal or different samples is not the documented value."""
    flat = np.stack([np.full((4, 4, 3), value, np.uint8) for value in (0, 51, 255)])
    assert diversity(flat) == pytest.approx((0.2 + 1.0 + 0.8) / 3)
    hole = np.zeros((4, 4), bool)
    hole[0, 0] = True
    flat[:, 1:] = 7
    assert diversity(list(flat), hole) == pytest.approx((0.2 + 1.0 + 0.8) / 3)
    with pytest.raises(InputError, match="Diversity needs at least 2 results, not 1"):
        diversity(flat[:1])


def test_diversity_by_another_distance() -> None:
    """If this fails, the diversity by SSIM is not the mean of 1 - SSIM over all pairs in the hole."""
    pictures = list(np.random.default_rng(0).random((3, 16, 16)))
    hole = np.zeros((16, 16), bool)
    hole[6:10, 6:10] = True
    pairs = [ssim(pictures[a], pictures[b], hole) for a, b in ((0, 1), (0, 2), (1, 2))]
    assert diversity(pictures, hole, distance=dissimilarity) == pytest.approx(1 - np.mean(pairs))
    assert diversity([pictures[0], pictures[0]], hole, distance=dissimilarity) == pytest.approx(0)
