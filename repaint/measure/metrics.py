"""How close a filled picture is to a reference, in the hole or outside it; and whether the rim of the hole shows.

All take numpy pictures, (H, W) or (H, W, C), of the library's own ranges unless `data_range` says otherwise: uint8 in
[0, 255], uint16 in [0, 65535], floats in [0, 1]. A region is an (H, W) bool array; None is the whole picture.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repaint.errors import InputError
from repaint.pictures.decoding import NUMPY_WHITE, check_range

__all__ = [
    "LPIPS_NETS",
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

# The window of Wang et al. 2004: a Gaussian of 1.5 pixels, cut off at 11 x 11.
_SIGMA, _WINDOW = 1.5, 11
_BACKBONES: dict[str, tuple[str, str]] = {
    "alex": ("alexnet", "AlexNet"),
    "vgg": ("vgg16", "VGG16"),
    "squeeze": ("squeezenet1_1", "SqueezeNet1_1"),
}
LPIPS_NETS = tuple(_BACKBONES)


def mse(image: Picture, reference: Picture, region: Region | None = None) -> float:
    """Mean squared difference over a region's pixels and all channels, in squared units of the pictures.

    Raises:
        InputError: pictures of different shape or dtype, a region that does not fit, or an empty one.
    """
    a, b = _pair(image, reference)
    return float(((a - b) ** 2)[_checked(region, a)].mean())


def psnr(image: Picture, reference: Picture, region: Region | None = None, *, data_range: float | None = None) -> float:
    """Peak signal-to-noise ratio over a region in dB, 10 log10(data_range^2 / mse); infinite for equal pixels.

    Args:
        image, reference, region: see the module.
        data_range: the value of white minus that of black; None is that of the dtype.
    Raises:
        InputError: see `mse`; or values outside the dtype's range with no `data_range` given.
    """
    peak = _peak(image, reference, data_range)
    error = mse(image, reference, region)
    return float("inf") if error == 0 else float(10 * np.log10(peak**2 / error))


def ssim(image: Picture, reference: Picture, region: Region | None = None, *, data_range: float | None = None) -> float:
    """Structural similarity, the mean over a region of its map; 1 is equal, in [-1, 1].

    A pixel's value compares the 11 x 11 windows around it, so near the rim of a hole both sides count. Pixels whose
    window leaves the picture are left out, as in the paper; the whole picture then scores what scikit-image says.

    Args:
        image, reference, region, data_range: see `psnr`.
    Raises:
        InputError: see `psnr`; or no pixel of the region is 5 pixels away from the border of the picture.
    Source:
        Wang et al. 2004, "Image quality assessment", eq. 13, with its Gaussian window; colours are averaged.
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
            f"SSIM in a picture of {a.shape[0]} x {a.shape[1]} pixels: no {_WINDOW} x {_WINDOW} window around a pixel "
            "of the region lies inside. Use a larger picture, or psnr."
        )
    window: dict[str, Any] = {"gaussian_weights": True, "sigma": _SIGMA, "use_sample_covariance": False}
    _, values = structural_similarity(a, b, data_range=peak, channel_axis=2, full=True, **window)
    return float(values[counted].mean())


def lpips(image: Picture, reference: Picture, region: Region | None = None, *, net: str = "alex") -> float:
    """Learned perceptual distance; 0 is equal, lower is closer.

    Args:
        image, reference: (H, W, 3), see the module.
        region: mean of the distance map over these pixels. None is the published number, the mean over the features
            of each layer, which is close to but not the mean of that map.
        net: "alex" (what papers report), "vgg" or "squeeze".
    Raises:
        InputError: see `psnr`; a picture that is not RGB; another net; or weights that are not on this machine: they
            are never fetched here, and never random.
    Source:
        Zhang et al. 2018 (arXiv 1801.03924), version 0.1 of its weights.
    """
    import torch

    if net not in _BACKBONES:
        raise InputError(f"LPIPS with net {net!r}: it is one of {', '.join(_BACKBONES)}. Choose one.")
    peak = _peak(image, reference, None)
    a, b = _pair(image, reference)
    where = _checked(region, a)
    if a.shape[2] != 3:
        raise InputError(f"LPIPS of a picture with {a.shape[2]} channels: its networks see RGB. Convert it first.")
    model = _lpips_model(net, spatial=region is not None)
    x, y = (torch.from_numpy(picture.transpose(2, 0, 1)[None] / peak * 2 - 1).float() for picture in (a, b))
    try:
        with torch.no_grad():
            distance = model(x, y)[0, 0].double().numpy()
    except RuntimeError as error:
        raise InputError(
            f"LPIPS with net {net!r} of {a.shape[0]} x {a.shape[1]} pixels: {error}. The network needs larger pictures."
        ) from error
    return float(distance[where].mean() if region is not None else distance.mean())


def lpips_backbone(net: str) -> tuple[Path, str]:
    """Where the ImageNet backbone of an LPIPS network lies once it was fetched, and how to fetch it.

    Args:
        net: one of `LPIPS_NETS`.
    """
    import torch
    import torchvision

    builder, name = _BACKBONES[net]
    url = getattr(torchvision.models, f"{name}_Weights").IMAGENET1K_V1.url
    fetch = f"python -c \"from torchvision import models; models.{builder}(weights='IMAGENET1K_V1')\""
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2], f"Fetch it once: {fetch}"


@lru_cache
def _lpips_model(net: str, spatial: bool) -> Any:
    """The network with its ImageNet backbone, from the cache of torch hub alone."""
    from lpips import LPIPS

    file, command = lpips_backbone(net)
    if not file.is_file():
        raise InputError(
            f"LPIPS with net {net!r} without its backbone, {file}: a random one would measure nothing. {command}"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # LPIPS asks torchvision by an argument that has a new name since
        return LPIPS(net=net, spatial=spatial, verbose=False)


def diversity(images: Sequence[Picture] | Picture, region: Region | None = None) -> float:
    """How different several results for one hole are: the root mean square difference of two, mean over all pairs.

    Args:
        images: two or more, (N, H, W, C) or a list.
        region: see the module.
    Returns:
        As a share of the dtype's range, in [0, 1]; 0 where all are equal.
    Raises:
        InputError: see `psnr`; or fewer than two results.
    """
    if len(images) < 2:
        raise InputError(f"Diversity of {len(images)} results: it takes two or more. Paint the hole again.")
    pairs = list(combinations(images, 2))
    return float(np.mean([np.sqrt(mse(a, b, region)) / _peak(a, b, None) for a, b in pairs]))


def seam_contrast(image: Picture, hole: Region, near: int = 4) -> float:
    """How much the rim of a hole shows: 1 is like the rest, 2 is twice as rough across the rim as beside it.

    The ratio of the two numbers of `rim_gradients`. It needs no reference. A picture may have an edge where the rim
    runs, so compare with the ratio of the true picture, or pool `rim_gradients` over many.

    Args:
        image, hole, near: see `rim_gradients`.
    Returns:
        In [0, infinity]; 1 where both numbers are 0.
    """
    across, beside = rim_gradients(image, hole, near)
    if beside == 0:
        return 1.0 if across == 0 else float("inf")
    return across / beside


def rim_gradients(image: Picture, hole: Region, near: int = 4) -> tuple[float, float]:
    """Mean absolute difference of neighbouring pixels across the rim of a hole, and of those beside it.

    Neighbours are above each other or side by side; differences are averaged over channels. A pair is across the rim
    if one of its pixels is kept and the other is in the hole. A pair is beside the rim if both are kept or both in the
    hole, and both lie within `near` pixels (Euclidean) of the nearest pixel of the other kind. The mean beside is
    taken for each of the two directions, and the two are weighted by their numbers of pairs across: a picture that is
    rougher in one direction has a contrast of 1 at any rim.

    Args:
        image: (H, W) or (H, W, C), in any units.
        hole: (H, W), True where it was repainted.
        near: in pixels, at least 2.
    Returns:
        (across, beside), in the units of the picture.
    Raises:
        InputError: a hole that does not fit, one without a rim, one of lines or dots one pixel wide beside kept ones
            as thin, or `near` below 2.
    """
    from scipy.ndimage import distance_transform_edt

    if not near >= 2:
        raise InputError(f"near {near}: from 2 pixels on there are pairs that cross as the rim does. Raise it.")
    pixels, _ = _pair(image, image)
    _checked(hole, pixels)
    if hole.all():
        raise InputError("The hole is the whole picture: without kept pixels it has no rim. Give a smaller one.")
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
                f"Within {near} pixels of the rim no two neighbours are alike in a direction that crosses it: there is "
                "nothing to compare with. Lines and dots one pixel wide have no such number."
            )
        count = np.count_nonzero(across)
        totals += count, difference[across].sum(), count * difference[beside].mean()
    return float(totals[1] / totals[0]), float(totals[2] / totals[0])


def _pair(image: Picture, reference: Picture) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both as (H, W, C) float64."""
    if image.shape != reference.shape or image.dtype != reference.dtype:
        raise InputError(
            f"A picture of shape {image.shape} and dtype {image.dtype} against one of {reference.shape} and "
            f"{reference.dtype}: they must be alike. Convert one of them."
        )
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise InputError(
            f"A picture of shape {image.shape}: it must be (H, W) or (H, W, C), without empty axes. Compare the "
            "pictures of a batch one by one."
        )
    a, b = (picture.reshape(*picture.shape[:2], -1).astype(np.float64) for picture in (image, reference))
    return a, b


def _checked(region: Region | None, picture: NDArray[np.float64]) -> Region:
    """The region, once it fits; all of the picture for None."""
    if region is None:
        return np.ones(picture.shape[:2], dtype=bool)
    if region.dtype != bool or region.shape != picture.shape[:2] or not region.any():
        raise InputError(
            f"A region of shape {region.shape}, dtype {region.dtype} and {np.count_nonzero(region)} pixels for a "
            f"picture of {picture.shape[0]} x {picture.shape[1]}: it is bool, of that size, with some pixel True. "
            "Threshold the mask, or leave an empty one out."
        )
    return region


def _peak(image: Picture, reference: Picture, data_range: float | None) -> float:
    """The data range: as given, or the dtype's own."""
    if data_range is not None:
        if not 0 < data_range < float("inf"):
            raise InputError(f"data_range {data_range}: it is white minus black, above 0. Correct it.")
        return data_range
    if image.dtype.name not in NUMPY_WHITE:
        raise InputError(f"A picture of dtype {image.dtype} has no range of its own: pass data_range=.")
    for name, picture in (("The picture", image), ("The reference", reference)):
        check_range(picture, NUMPY_WHITE[image.dtype.name], name)
    return NUMPY_WHITE[image.dtype.name]
