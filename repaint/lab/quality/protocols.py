"""Protocols of the literature: pictures, masks, methods and metrics as published, and the published figures.

Only data; `repaint.lab.quality.protocol_fills` and `protocol_run` run them. A figure is listed only if its source was
read; what could not be read is left out, and `assumed` says what this library uses instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from repaint.arguments import ScheduleLike
from repaint.sampling.schedule import JumpSchedule

__all__ = ["PROTOCOLS", "Published", "Shape", "TestProtocol"]


@dataclass(frozen=True)
class Published:
    """A published figure.

    Attributes:
        method, mask, metric: names in the protocol.
        data: data set of the pictures and of the prior.
        value: as printed.
    """

    method: str
    mask: str
    metric: str
    data: str
    value: float


@dataclass(frozen=True)
class Shape:
    """A mask of a protocol.

    Attributes:
        generator: name in `repaint.pictures.mask_shapes.GENERATORS`; "" if the mask exists only as published files.
        options: of the generator.
        seeded: whether each picture gets a mask of its own; the seed is its number.
    """

    generator: str
    options: Mapping[str, Any] = field(default_factory=dict)
    seeded: bool = False


@dataclass(frozen=True)
class TestProtocol:
    """How a paper tests inpainting.

    Attributes:
        name: of the command line.
        source: of settings and figures.
        data: what pictures and priors it is for.
        pictures: how many; None if the number is not known here.
        masks: name to shape.
        methods: name to the `schedule` argument of the pipeline.
        metrics: names in `repaint.lab.quality.protocol_run.METRICS`, of the paper; over the whole picture unless their
            name ends in _hole.
        assumed: what is not published, not known here, or done otherwise.
        published: figures.
        noise: standard deviation added to the known part, for values in [-1, 1].
        side: of the pictures, in pixels.
    """

    name: str
    source: str
    data: str
    pictures: int | None
    masks: Mapping[str, Shape]
    methods: Mapping[str, ScheduleLike]
    metrics: tuple[str, ...]
    assumed: str
    published: tuple[Published, ...] = ()
    noise: float = 0.0
    side: int = 256

    __test__ = False  # pytest: this is not a class of tests


_REPAINT_MASKS = {
    "wide": Shape("strokes", {"brush": "thick"}, seeded=True),
    "narrow": Shape("strokes", {"brush": "thin"}, seeded=True),
    "super-resolve": Shape("super_resolve", {"factor": 2}),
    "alternating-lines": Shape("alternating_lines"),
    "half": Shape("half", {"side": "right"}),
    "expand": Shape("expand", {"share": 0.25}),
}
_TABLE_1 = {  # LPIPS of RePaint, in the order of the masks
    "CelebA-HQ": (0.059, 0.028, 0.029, 0.009, 0.165, 0.435),
    "ImageNet": (0.134, 0.064, 0.183, 0.089, 0.304, 0.629),
}
_SLOWING = {250: 0.168, 500: 0.167, 750: 0.179, 1000: 0.161}  # T to LPIPS at r = 1
_RESAMPLING = {2: 0.148, 3: 0.142, 4: 0.134}  # r to LPIPS at T = 250
_DRAWN = "Wide and narrow masks are drawn by this library, not LaMa's files: pass those with --masks."
_DIFFPIR = {  # FID and LPIPS for a box
    "diffpir-20": (35.72, 0.117),
    "diffpir": (25.64, 0.107),
    "dps": (43.49, 0.145),
}


def _protocols() -> tuple[TestProtocol, ...]:
    return (
        TestProtocol(
            name="repaint-table1",
            source="Lugmayr et al. 2022 (arXiv 2201.09865), Table 1 and Sec. 5.1-5.3: T = 250, j = 10, r = 10",
            data="CelebA-HQ or ImageNet, 256 x 256",
            pictures=100,
            masks=_REPAINT_MASKS,
            methods={"paper": "paper"},
            metrics=("lpips_alex",),
            assumed=f"{_DRAWN} The figures are from a transcription of the arXiv text.",
            published=tuple(
                Published("paper", mask, "lpips_alex", data, value)
                for data, values in _TABLE_1.items()
                for mask, value in zip(_REPAINT_MASKS, values, strict=True)
            ),
        ),
        TestProtocol(
            name="repaint-table2",
            source="Lugmayr et al. 2022 (arXiv 2201.09865), Table 2 and Sec. 5.6: resampling against more steps",
            data="ImageNet validation pictures, 256 x 256",
            pictures=32,
            masks={"wide": _REPAINT_MASKS["wide"]},
            methods={f"T={steps} r=1": JumpSchedule.paper(steps, 10, 1) for steps in _SLOWING}
            | {f"T=250 r={r}": JumpSchedule.paper(250, 10, r) for r in _RESAMPLING},
            metrics=("lpips_alex",),
            assumed=f"{_DRAWN} j = 10. The figures are from a transcription of the arXiv text.",
            published=tuple(
                Published(name, "wide", "lpips_alex", "ImageNet", value)
                for name, value in [
                    *((f"T={steps} r=1", value) for steps, value in _SLOWING.items()),
                    *((f"T=250 r={r}", value) for r, value in _RESAMPLING.items()),
                ]
            ),
        ),
        TestProtocol(
            name="lanpaint-bench",
            source="Zheng et al. 2025 (arXiv 2502.03491v3), benchmark: 20 steps, 5 or 10 inner iterations",
            data="ImageNet, 256 x 256",
            pictures=1000,
            masks={
                "box": Shape("box", {"share": 0.5}),
                "half": Shape("half", {"side": "right"}),
                "outpaint": Shape("expand", {"share": 0.5}),
                "checkerboard": Shape("checkerboard", {"cell": 16}),
            },
            methods={"lanpaint-paper": "lanpaint-paper", "lanpaint-paper-10": "lanpaint-paper-10"},
            metrics=("lpips_alex", "fid"),
            assumed="The sizes of its masks, its LPIPS network and its figures are not known here. The "
            "box and the kept window of outpaint have half the side, squares have 16 pixels.",
        ),
        TestProtocol(
            name="copaint",
            source="Zhang et al. 2023 (arXiv 2304.03322), public configurations",
            data="CelebA-HQ or ImageNet, 256 x 256",
            pictures=100,
            masks=_REPAINT_MASKS | {"text": Shape("")},
            methods={"copaint-fast": "copaint-fast", "copaint": "copaint", "copaint-tt": "copaint-tt"},
            metrics=("lpips_alex",),
            assumed="The text mask exists only as a file: pass it with --masks. Its lines and its grid of pixels begin "
            f"one pixel later. {_DRAWN} Constants are those for CelebA-HQ. The figures are not known here.",
        ),
        TestProtocol(
            name="daps-box",
            source="Zhang et al. 2024 (arXiv 2407.01521), public configurations: 200 levels of 5 calls, noise .05",
            data="FFHQ, 256 x 256",
            pictures=100,
            masks={"box": Shape("box", {"h": 128, "w": 128})},
            methods={"daps": "daps"},
            metrics=("psnr", "ssim", "lpips_vgg", "psnr_hole"),
            assumed="The place of its box, its LPIPS network and its figures are not known here; the box is centred. "
            "Known pixels keep their noise, clipped and rounded to 8 bits, which DAPS removes; psnr_hole "
            "counts the hole alone.",
            noise=0.05,
        ),
        TestProtocol(
            name="diffpir-box",
            source="Zhu et al. 2023 (arXiv 2305.08995), figures of the public README: box of 128 x 128, no noise",
            data="FFHQ, 256 x 256",
            pictures=None,
            masks={"box": Shape("box", {"h": 128, "w": 128})},
            methods={"diffpir-20": "diffpir-20", "diffpir": "diffpir"},
            metrics=("lpips_vgg", "fid"),
            assumed="The number of pictures and the place of the box are not known here; the box is centred.",
            published=tuple(
                Published(method, "box", metric, "FFHQ", value)
                for method, values in _DIFFPIR.items()
                for metric, value in zip(("fid", "lpips_vgg"), values, strict=True)
            ),
        ),
    )


PROTOCOLS: dict[str, TestProtocol] = {protocol.name: protocol for protocol in _protocols()}
