"""Run a protocol of the literature: read its pictures, draw its masks, fill, measure, and compare with the paper."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from repaint.checks import nearest, whole_number
from repaint.errors import InputError
from repaint.lab.quality.cases import Hole
from repaint.lab.quality.feature_distances import INCEPTION, check_inception, feature_distances
from repaint.lab.quality.protocols import Published, TestProtocol
from repaint.lab.quality.scores import fill
from repaint.measure.backbones import check_backbone
from repaint.measure.intervals import paired_difference
from repaint.measure.metrics import lpips, lpips_backbone, psnr, ssim
from repaint.pictures.decoding import open_image
from repaint.pictures.mask_shapes import generate
from repaint.pictures.masks import known, read_keep
from repaint.pictures.pairs import picture_files
from repaint.pipeline import RePaintPipeline, StepCallback
from repaint.plan import ScheduleLike

__all__ = [
    "METRICS",
    "Backbones",
    "Measured",
    "chosen_masks",
    "protocol_holes",
    "protocol_pictures",
    "run_protocol",
]

Image = NDArray[np.uint8]
METRICS = ("psnr", "ssim", "psnr_hole", "lpips_alex", "lpips_vgg", "fid", "kid")
SETS = ("fid", "kid")  # of all pictures together


@dataclass(frozen=True)
class Backbones:
    """Weights of the networks of metrics.

    Attributes:
        lpips: file of the LPIPS backbone; None: that of the cache of torch hub.
        inception: file for FID and KID; None: they are not measured.
    """

    lpips: Path | None = None
    inception: Path | None = None

    def missing(self, protocol: TestProtocol) -> dict[str, str]:
        """Check the files, and return the metrics of a protocol that lack theirs, with the reason.

        Raises:
            InputError: a file is missing or another one, or torch-fidelity is not installed.
        """
        found = {}
        for metric in protocol.metrics:
            net = metric.removeprefix("lpips_")
            if net != metric:
                file, command = lpips_backbone(net)
                if self.lpips is not None:
                    check_backbone(self.lpips, file.name)
                elif file.is_file():
                    check_backbone(file, file.name)
                else:
                    found[metric] = f"it needs {file.name}: pass --lpips-backbone. {command}"
            elif metric in SETS and self.inception is not None:
                check_inception(self.inception)
            elif metric in SETS:
                found[metric] = f"it needs {INCEPTION} of torch-fidelity: pass --inception"
        return found


@dataclass(frozen=True)
class Measured:
    """One line of a protocol's table.

    Attributes:
        mask, method, metric: names.
        value: mean over pictures, or over the set for FID and KID; None if it was not measured.
        low, high: 95 % interval of the mean over pictures; None for FID, KID and a single picture.
        pictures: number of them.
        published: figures of the paper for this line.
    """

    mask: str
    method: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    pictures: int
    published: tuple[Published, ...]


def protocol_pictures(protocol: TestProtocol, folder: Path, *, limit: int | None = None) -> dict[str, Image]:
    """Read the pictures of a protocol, and check their number and sizes.

    Args:
        protocol: see `repaint.lab.quality.protocols`.
        folder: of pictures.
        limit: use the first so many by name, for a trial; None: the number of the protocol.
    Raises:
        InputError: another number or size of pictures than the protocol's.
    """
    files = picture_files(folder)
    if limit is not None:
        limit = whole_number("limit", limit, 1, len(files), hint=f"pictures in {folder}")
        files = dict(list(files.items())[:limit])
    elif protocol.pictures is not None and len(files) != protocol.pictures:
        raise InputError(
            f"{folder}: {len(files)} pictures, but {protocol.name} needs exactly {protocol.pictures}. For a trial with "
            "fewer, pass --limit."
        )
    pictures = {}
    for name, file in files.items():
        picture = open_image(file).convert("RGB")
        if picture.size != (protocol.side, protocol.side):
            raise InputError(
                f"{file}: {picture.width} x {picture.height} pixels, but {protocol.name} needs {protocol.side} x "
                f"{protocol.side}. Crop and resize as its data set prescribes."
            )
        pictures[name] = np.asarray(picture)
    return pictures


def chosen_masks(protocol: TestProtocol, only: Sequence[str] | None = None, masks: Path | None = None) -> list[str]:
    """List the masks that can be made: those with a generator, or with a folder in `masks`.

    Args:
        protocol: of the masks.
        only: names of masks; None: all.
        masks: see `protocol_holes`.
    Raises:
        InputError: an unknown mask, no such folder, or no mask is left.
    """
    for mask in only or ():
        if mask not in protocol.masks:
            allowed = ", ".join(protocol.masks)
            raise InputError(f"mask={mask} must be one of {allowed} ({protocol.name}).{nearest(mask, protocol.masks)}")
    if masks is not None and not masks.is_dir():
        raise InputError(f"{masks}: no such folder. Pass the folder that holds a folder for each mask.")
    names = [
        mask
        for mask in only or protocol.masks
        if protocol.masks[mask].generator or (masks is not None and (masks / mask).is_dir())
    ]
    if not names:
        raise InputError(f"mask={', '.join(only or ())} exists only as files. Pass its folder with --masks.")
    return names


def protocol_holes(
    protocol: TestProtocol, pictures: Mapping[str, Image], mask: str, masks: Path | None = None
) -> list[Hole]:
    """Make the holes of one mask of a protocol.

    Args:
        protocol: of the masks.
        pictures: name to picture.
        mask: a name of the protocol.
        masks: folder of folders of published masks, MASK/NAME.png with the names of pictures, in which white is kept,
            as in RePaint's data. Masks without such a folder are drawn.
    Returns:
        One hole a picture.
    Raises:
        InputError: a picture without its mask, or a mask of another size or without a hole.
    """
    shape, holes = protocol.masks[mask], []
    folder = None if masks is None or not (masks / mask).is_dir() else masks / mask
    files = {} if folder is None else picture_files(folder)
    for i, (name, picture) in enumerate(pictures.items()):
        if folder is None:
            options = {**shape.options, "seed": i} if shape.seeded else shape.options
            keep = generate(shape.generator, picture.shape[0], picture.shape[1], **options)
        elif name in files:
            keep = read_keep(keep_mask=files[name], sizes=[picture.shape[:2]])[0]
        else:
            raise InputError(f"{folder}: no mask {name}.* for the picture {name}. Name masks as their pictures.")
        hole = ~known(keep)[0].numpy()
        if not hole.any():
            raise InputError(f"{folder}: the mask {name} has no hole. White is kept; invert it.")
        holes.append(Hole(name, mask, picture, hole, ~hole))
    return holes


def run_protocol(
    pipe: RePaintPipeline,
    protocol: TestProtocol,
    pictures: Mapping[str, Image],
    *,
    methods: Mapping[str, ScheduleLike] | None = None,
    only: Sequence[str] | None = None,
    masks: Path | None = None,
    backbones: Backbones | None = None,
    seed: int = 0,
    batch: int = 4,
    on_call: StepCallback | None = None,
) -> Iterator[Measured]:
    """Fill and measure; each mask and method is yielded when it is done.

    Args:
        pipe: with a prior for the data of the protocol. The model gets whole pictures, without crops.
        protocol: to run.
        pictures: see `protocol_pictures`.
        methods: name to `schedule` argument of the pipeline, instead of those of the protocol.
        only: names of masks; None: all.
        masks: see `protocol_holes`.
        backbones: weights for metrics. A metric without its weights has the value None; random weights are never used.
        seed: picture i has seed + i.
        batch: pictures at once.
        on_call: the `callback_on_step_end` of the pipeline.
    Raises:
        InputError: see `chosen_masks`, `protocol_holes` and `Backbones.missing`.
    """
    backbones = backbones or Backbones()
    missing = backbones.missing(protocol)
    every = {mask: protocol_holes(protocol, pictures, mask, masks) for mask in chosen_masks(protocol, only, masks)}
    for mask, holes in every.items():
        seen = [replace(hole, image=_noisy(hole, protocol.noise, i)) for i, hole in enumerate(holes)]
        for method, schedule in (methods or protocol.methods).items():
            filled = fill(pipe, seen, schedule, first_seed=seed, batch=batch, on_call=on_call, crop=None)
            images = [first for (first,) in filled.images]
            together: dict[str, float] = {}
            if backbones.inception is not None and set(SETS) & set(protocol.metrics) and len(images) > 1:
                together = feature_distances(images, [hole.image for hole in holes], backbones.inception)
            for metric in protocol.metrics:
                published = tuple(
                    each
                    for each in protocol.published
                    if (each.mask, each.method, each.metric) == (mask, method, metric)
                )
                figures: tuple[float | None, float | None, float | None] = (together.get(metric), None, None)
                if metric not in SETS and metric not in missing:
                    pairs = zip(images, holes, strict=True)
                    figures = _mean([_measure(metric, image, hole, backbones.lpips) for image, hole in pairs])
                yield Measured(mask, method, metric, *figures, len(images), published)


def _noisy(hole: Hole, std: float, number: int) -> Image:
    """The picture with noise in the known part, std of the range [-1, 1], clipped and rounded to 8 bits."""
    if std == 0:
        return hole.image
    noise = np.random.default_rng([number, 0]).normal(0, std * 127.5, hole.image.shape)
    noisy = np.clip(np.rint(hole.image + noise), 0, 255).astype(np.uint8)
    return np.where(hole.mask[:, :, None], hole.image, noisy)


def _measure(metric: str, image: Image, hole: Hole, backbone: Path | None) -> float:
    """One number of one picture, over the whole of it unless the name ends in _hole."""
    if metric.startswith("lpips_"):
        return lpips(image, hole.image, net=metric.removeprefix("lpips_"), backbone=backbone)
    compute = {"psnr": psnr, "ssim": ssim}[metric.removesuffix("_hole")]
    return compute(image, hole.image, hole.mask if metric.endswith("_hole") else None)


def _mean(values: Sequence[float]) -> tuple[float, float | None, float | None]:
    """The mean over pictures and its 95 % interval."""
    found = paired_difference(np.array(values), np.zeros(len(values)))
    return (found.mean, found.low, found.high) if len(values) > 1 else (found.mean, None, None)
