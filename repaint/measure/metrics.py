"""Metrics of filled pictures: error and similarity to a reference in a region, diversity, and visibility of the rim.

All take numpy pictures, (H, W) or (H, W, C). Unless `data_range` is given, uint8 lies in [0, 255], uint16 in [0, 65535]
and floats in [0, 1]. A region is an (H, W) bool array; None is the whole picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repaint.checks import is_number, nearest, shown
from repaint.errors import InputError
from repaint.measure.backbones import read_backbone
from repaint.pictures.decoding import NUMPY_WHITE, check_range
from repaint.warning_filters import filtered

__all__ = [
    "LPIPS_NETS",
    "dissimilarity",
    "diversity",
    "lpips",
    "lpips_backbone",
    "mse",
    "psnr",
    "rim_gradients",
    "seam_contrast",
    "ssim",
]

Picture = NDArray[Any]
Region = NDArray[np.bool_]

# The window of Wang et al. 2004: a Gaussian of 1.5 pixels, limited to 11 x 11.
_SIGMA, _WINDOW = 1.5, 11
_BACKBONES: dict[str, tuple[str, str]] = {
    "alex": ("alexnet", "AlexNet"),
    "vgg": ("vgg16", "VGG16"),
    "squeeze": ("squeezenet1_1", "SqueezeNet1_1"),
}
LPIPS_NETS = tuple(_BACKBONES)


def mse(image: Picture, reference: Picture, region: Region | None = None) -> float:
    """Compute the mean squared difference over the pixels of a region and all channels, in squared units.

    Args:
        image, reference, region: see the module.
    Raises:
        InputError: pictures of different shape or dtype, or a region that is empty or has another size.

    >>> mse(np.array([[0, 2]], dtype=np.uint8), np.array([[0, 0]], dtype=np.uint8))
    2.0
    """
    a, b = _pair(image, reference)
    return float(((a - b) ** 2)[_checked(region, a)].mean())


def psnr(image: Picture, reference: Picture, region: Region | None = None, *, data_range: float | None = None) -> float:
    """Compute the peak signal-to-noise ratio over a region in dB, 10 log10(data_range^2 / mse).

    Args:
        image, reference, region: see the module.
        data_range: the value of white minus that of black; None: that of the dtype.
    Returns:
        A number of dB; infinity for equal pixels.
    Raises:
        InputError: see `mse`; or values outside the range of the dtype without a `data_range`.

    >>> round(psnr(np.full((8, 8), 0.5), np.full((8, 8), 0.6)), 6)
    20.0
    """
    peak = _peak(image, reference, data_range)
    error = mse(image, reference, region)
    return float("inf") if error == 0 else float(10 * np.log10(peak**2 / error))


def ssim(image: Picture, reference: Picture, region: Region | None = None, *, data_range: float | None = None) -> float:
    """Compute the structural similarity, averaged over a region.

    The value at a pixel compares the 11 x 11 windows around it, so near the rim of a hole both sides count. Pixels
    whose window leaves the picture are excluded, as in the paper. For the whole picture this is scikit-image's value.

    Args:
        image, reference, region, data_range: see `psnr`.
    Returns:
        A number in [-1, 1]; 1 for equal pictures.
    Raises:
        InputError: see `psnr`; or no pixel of the region is 5 pixels away from the border of the picture.
    Source:
        Wang et al. 2004, "Image quality assessment", eq. 13, with its Gaussian window; averaged over colours.

    >>> picture = np.random.default_rng(0).random((16, 16))
    >>> ssim(picture, picture)
    1.0
    """
    from skimage.metrics import structural_similarity

    peak = _peak(image, reference, data_range)
    a, b = _pair(image, reference)
    edge = _WINDOW // 2
    inner = np.zeros(a.shape[:2], dtype=bool)
    inner[edge : a.shape[0] - edge, edge : a.shape[1] - edge] = True
    counted = _checked(region, a) & inner
    if not counted.any():
        raise InputError(
            f"SSIM needs an {_WINDOW} x {_WINDOW} window around a pixel of the region inside the picture of "
            f"{a.shape[0]} x {a.shape[1]} pixels. Use a larger picture, or psnr."
        )
    window: dict[str, Any] = {"gaussian_weights": True, "sigma": _SIGMA, "use_sample_covariance": False}
    _, values = structural_similarity(a, b, data_range=peak, channel_axis=2, full=True, **window)
    return float(values[counted].mean())


def lpips(
    image: Picture,
    reference: Picture,
    region: Region | None = None,
    *,
    net: str = "alex",
    backbone: Path | None = None,
) -> float:
    """Compute the learned perceptual distance LPIPS; 0 for equal pictures, lower is closer.

    Args:
        image, reference: (H, W, 3), see the module.
        region: averages the distance map over these pixels. None is the published number, the mean over the features
            of each layer, which is close but not equal to the mean of the map.
        net: "alex" (as papers report), "vgg" or "squeeze".
        backbone: file with the ImageNet weights of the net, whose SHA-256 is checked; None: that of the cache of torch
            hub.
    Raises:
        InputError: see `psnr`; or a picture is not RGB, the net is unknown, its weights are not on this computer, or
            `backbone` is another file. Weights are never downloaded here.
    Source:
        Zhang et al. 2018 (arXiv 1801.03924), version 0.1 of the weights.
    """
    import torch

    if net not in _BACKBONES:
        raise InputError(f"net={shown(net)} must be one of {', '.join(_BACKBONES)}.{nearest(net, _BACKBONES)}")
    peak = _peak(image, reference, None)
    a, b = _pair(image, reference)
    where = _checked(region, a)
    if a.shape[2] != 3:
        raise InputError(f"LPIPS needs RGB, but the picture has {a.shape[2]} channels. Convert it to RGB.")
    model = _lpips_model(net, spatial=region is not None, backbone=backbone)
    x, y = (torch.from_numpy(picture.transpose(2, 0, 1)[None] / peak * 2 - 1).float() for picture in (a, b))
    try:
        with torch.no_grad():
            distance = model(x, y)[0, 0].double().numpy()
    except RuntimeError as error:
        raise InputError(
            f"LPIPS with net {net!r} failed for {a.shape[0]} x {a.shape[1]} pixels: {error}. Use a larger picture."
        ) from error
    return float(distance[where].mean() if region is not None else distance.mean())


def lpips_backbone(net: str) -> tuple[Path, str]:
    """Locate the ImageNet backbone of an LPIPS network.

    Args:
        net: one of `LPIPS_NETS`.
    Returns:
        The path of the downloaded file, which may not exist yet, and a sentence with the command that downloads it.
    """
    import torch
    import torchvision

    builder, name = _BACKBONES[net]
    url = getattr(torchvision.models, f"{name}_Weights").IMAGENET1K_V1.url
    fetch = f"python -c \"from torchvision import models; models.{builder}(weights='IMAGENET1K_V1')\""
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2], f"Fetch it once: {fetch}"


@lru_cache
def _lpips_model(net: str, spatial: bool, backbone: Path | None) -> Any:
    """Load the network with its ImageNet backbone, from a file or from the cache of torch hub only."""
    import torch
    from lpips import LPIPS

    file, command = lpips_backbone(net)
    if backbone is None and not file.is_file():
        raise InputError(f"LPIPS with net {net!r} needs the backbone {file}, which is missing. {command}")
    tensors = None if backbone is None else read_backbone(backbone, file.name)
    with filtered("ignore"), torch.random.fork_rng(devices=[]):  # LPIPS uses a deprecated argument of torchvision
        model = LPIPS(net=net, spatial=spatial, verbose=False, pnet_rand=tensors is not None)
    if tensors is not None:  # LPIPS groups the layers, and keeps their numbers: slice2.3.weight is features.3.weight
        own = model.net.state_dict()
        model.net.load_state_dict({name: tensors["features." + name.partition(".")[2]] for name in own})
    return model


def dissimilarity(image: Picture, reference: Picture, region: Region | None = None) -> float:
    """Compute 1 - SSIM, averaged over a region; 0 for equal pictures. See `ssim`."""
    return 1 - ssim(image, reference, region)


def diversity(
    images: Sequence[Picture] | Picture,
    region: Region | None = None,
    *,
    distance: Callable[[Picture, Picture, Region | None], float] | None = None,
) -> float:
    """Compute how much results for one hole differ: the mean distance over all pairs.

    Args:
        images: at least two results, (N, H, W, C) or a list.
        region: see the module.
        distance: of two pictures in a region, such as `dissimilarity` or `lpips`; None: their root mean square
            difference, as a share of the range of the dtype.
    Returns:
        0 if all are equal; in [0, 1] for the default distance.
    Raises:
        InputError: see `psnr`; or there are fewer than two results.

    >>> diversity([np.zeros((2, 2)), np.full((2, 2), 0.5)])
    0.5
    """
    if len(images) < 2:
        raise InputError(f"Diversity needs at least 2 results, not {len(images)}. Fill the hole with several seeds.")
    apart = distance or _rms
    return float(np.mean([apart(a, b, region) for a, b in combinations(images, 2)]))


def _rms(image: Picture, reference: Picture, region: Region | None) -> float:
    return float(np.sqrt(mse(image, reference, region)) / _peak(image, reference, None))


def seam_contrast(image: Picture, hole: Region, near: int = 4) -> float:
    """Compute how visible the rim of a hole is: the ratio of the two numbers of `rim_gradients`.

    1 means as rough across the rim as beside it, 2 twice as rough. No reference is needed. A picture may have an edge
    at the rim, so compare with the ratio of the true picture, or pool `rim_gradients` over many pictures.

    Args:
        image, hole, near: see `rim_gradients`.
    Returns:
        A ratio in [0, infinity]; 1 if both numbers are 0.
    """
    across, beside = rim_gradients(image, hole, near)
    if beside == 0:
        return 1.0 if across == 0 else float("inf")
    return across / beside


def rim_gradients(image: Picture, hole: Region, near: int = 4) -> tuple[float, float]:
    """Compute the mean absolute difference of neighbouring pixels across the rim of a hole, and beside the rim.

    Neighbours are vertical or horizontal; differences are averaged over channels. A pair is across the rim if one of
    the pixels is kept and the other is in the hole. A pair is beside the rim if both are kept or both are in the hole,
    and both lie within `near` pixels (Euclidean) of the nearest pixel of the other kind. The mean beside the rim is
    computed for each direction, weighted by the number of pairs across the rim in that direction: a picture that is
    rougher in one direction then has a contrast of 1 at any rim.

    Args:
        image: (H, W) or (H, W, C), in any units.
        hole: (H, W) bool, True where the picture was repainted.
        near: in pixels, at least 2.
    Returns:
        (across, beside), in the units of the picture.
    Raises:
        InputError: the hole has another size or no rim, hole and kept pixels alternate in lines or dots one pixel
            wide, or `near` is below 2.
    """
    from scipy.ndimage import distance_transform_edt

    if not (is_number(near) and near >= 2):
        raise InputError(f"near={shown(near)} must be at least 2 (pixels on each side of the rim).")
    pixels, _ = _pair(image, image)
    _checked(hole, pixels)
    if hole.all():
        raise InputError("The hole is the whole picture, so it has no rim. Use a smaller hole.")
    depth = np.where(hole, distance_transform_edt(hole), distance_transform_edt(~hole))
    totals = np.zeros(3)  # pairs across, the sum of their differences, what they would sum up to beside the rim
    for values, inside, far in ((pixels, hole, depth), (pixels.swapaxes(0, 1), hole.T, depth.T)):
        difference = np.abs(np.diff(values, axis=0)).mean(axis=2)
        across = inside[1:] != inside[:-1]
        beside = ~across & (np.maximum(far[1:], far[:-1]) <= near)
        if not across.any():
            continue
        if not beside.any():
            raise InputError(
                f"Rim gradients need neighbours on the same side within {near} pixels of the rim, which a hole of "
                "lines or dots one pixel wide does not have. Use a wider hole."
            )
        count = np.count_nonzero(across)
        totals += count, difference[across].sum(), count * difference[beside].mean()
    return float(totals[1] / totals[0]), float(totals[2] / totals[0])


def _pair(image: Picture, reference: Picture) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Convert both pictures to (H, W, C) float64."""
    if image.shape != reference.shape or image.dtype != reference.dtype:
        raise InputError(
            f"The picture has shape {image.shape} and dtype {image.dtype}, but the reference has {reference.shape} and "
            f"{reference.dtype}. Convert one of them."
        )
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise InputError(
            f"The picture has shape {image.shape}, but must be (H, W) or (H, W, C), not empty. Compare the pictures "
            "of a batch one by one."
        )
    a, b = (picture.reshape(*picture.shape[:2], -1).astype(np.float64) for picture in (image, reference))
    return a, b


def _checked(region: Region | None, picture: NDArray[np.float64]) -> Region:
    """Return the region, once it is checked; None becomes the whole picture."""
    if region is None:
        return np.ones(picture.shape[:2], dtype=bool)
    if region.dtype != bool or region.shape != picture.shape[:2] or not region.any():
        raise InputError(
            f"The region has shape {region.shape}, dtype {region.dtype} and {np.count_nonzero(region)} pixels, but "
            f"must be bool, {picture.shape[0]} x {picture.shape[1]} and not empty. Use None for the whole picture."
        )
    return region


def _peak(image: Picture, reference: Picture, data_range: float | None) -> float:
    """Return the data range as given, or that of the dtype."""
    if data_range is not None:
        if not (is_number(data_range) and 0 < data_range < float("inf")):
            raise InputError(f"data_range={shown(data_range)} must be positive and finite (white minus black).")
        return data_range
    if image.dtype.name not in NUMPY_WHITE:
        raise InputError(f"A picture of dtype {image.dtype} has no standard range. Pass data_range.")
    for name, picture in (("The picture", image), ("The reference", reference)):
        check_range(picture, NUMPY_WHITE[image.dtype.name], name)
    return NUMPY_WHITE[image.dtype.name]
