"""Generators of benchmark masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from repaint.errors import InputError
from repaint.pictures.mask_shapes import GENERATORS, box, generate
from repaint.pictures.masks import invert


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (1, 37), (3, 3), (17, 64), (65, 33)])
@pytest.mark.parametrize("name", GENERATORS)
def test_generators_at_every_size(name: str, size: tuple[int, int]) -> None:
    """A generator fails at an odd size, has no hole, is not hard, or draws from a global generator."""
    np.random.seed(0)  # noqa: NPY002
    first = generate(name, *size)
    np.random.seed(1)  # noqa: NPY002
    assert torch.equal(first, generate(name, *size))
    assert first.shape == (1, *size)
    assert first.dtype == torch.float32
    assert set(first.unique().tolist()) <= {0.0, 1.0}
    assert (first == 0).any()


@pytest.mark.parametrize(
    ("name", "options", "share", "tolerance"),
    [
        ("box", {}, 0.25, 0),
        ("box", {"share": 1}, 1, 0),
        ("box", {"top": 0, "left": 3, "h": 8, "w": 16}, 128 / 64**2, 0),
        ("circle", {}, np.pi / 16, 0.005),
        ("half", {"side": "right"}, 0.5, 0),
        ("expand", {}, 1 - 1 / 16, 0),
        ("alternating_lines", {}, 0.5, 0),
        ("super_resolve", {}, 0.75, 0),
        ("super_resolve", {"factor": 4}, 15 / 16, 0),
        ("checkerboard", {"cell": 4}, 0.5, 0),
        # Strokes overshoot by at most one segment: 0.4 long and one brush wide, plus its two round ends.
        ("freeform", {"share": 0.1}, 0.1, 0.06),
        ("freeform", {"share": 0.9}, 0.9, 0.06),
        ("strokes", {"brush": "thin"}, 1 / 6, 0.018),
        ("strokes", {"brush": "thick"}, 0.4, 0.15),
    ],
)
def test_share_of_the_hole(name: str, options: dict[str, Any], share: float, tolerance: float) -> None:
    """A benchmark mask hides more or less than its name says."""
    assert 1 - generate(name, 64, 64, **options).mean().item() == pytest.approx(share, abs=tolerance + 1e-6)


def test_geometry_by_hand() -> None:
    """A pattern begins at the wrong row, side or centre."""
    holes = {
        "alternating_lines": [[0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1]],
        "super_resolve": [[0, 1, 0, 1], [1, 1, 1, 1], [0, 1, 0, 1], [1, 1, 1, 1]],
        "box": [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]],
        "circle": [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]],
        "half": [[1, 1, 0, 0]] * 4,
    }
    for name, hole in holes.items():
        assert invert(generate(name, 4, 4))[0].tolist() == hole, name
    assert invert(generate("half", 3, 2, side="bottom"))[0].tolist() == [[0, 0], [0, 0], [1, 1]]
    assert invert(generate("half", 2, 3, side="right"))[0].tolist() == [[0, 0, 1], [0, 0, 1]]
    assert invert(generate("half", 2, 3, side="top"))[0].tolist() == [[1, 1, 1], [0, 0, 0]]
    assert invert(generate("checkerboard", 2, 4, cell=1))[0].tolist() == [[0, 1, 0, 1], [1, 0, 1, 0]]
    assert generate("expand", 8, 8)[0].nonzero().tolist() == [[3, 3], [3, 4], [4, 3], [4, 4]]


@pytest.mark.parametrize("name", ["strokes", "freeform"])
def test_seeds_choose_the_strokes(name: str) -> None:
    """Every seed draws the same strokes."""
    drawn = {generate(name, 48, 64, seed=seed).numpy().tobytes() for seed in range(6)}
    assert len(drawn) == 6


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("chekerboard", {}, r"mask='chekerboard' must be one of alternating_lines, .*Did you mean 'checkerboard'\?"),
        (
            "box",
            {"shar": 0.5},
            r"Mask box has no option 'shar'; its options: share, top, left, h, w\. Did you mean 'share'\?",
        ),
        ("alternating_lines", {"cell": 2}, r"Mask alternating_lines has no option 'cell'; its options: none"),
        ("box", {"share": 50}, r"share=50 must lie in \(0, 1\] \(a fraction, not a percentage\)\."),
        ("box", {"top": 60}, r"A box of 32 x 32 pixels at row 60, column 16 must lie inside the mask of 64 x 64"),
        ("circle", {"radius": 0}, r"radius=0 must be positive \(a share of the shorter side"),
        ("half", {"side": "lft"}, r"side='lft' must be one of left, right, top, bottom\. Did you mean 'left'\?"),
        ("super_resolve", {"factor": 1}, r"factor=1 must be an integer of at least 2"),
        ("strokes", {"brush": "tin"}, r"brush='tin' must be 'thin' or 'thick'\. Did you mean 'thin'\?"),
        ("checkerboard", {"cell": 0}, r"cell=0 must be an integer of at least 1"),
        ("freeform", {"share": 0.95}, r"share=0\.95 must lie in \(0, 0\.9\]"),
    ],
)
def test_generator_errors(name: str, options: dict[str, Any], message: str) -> None:
    """A typo draws another mask, or ends in a traceback."""
    with pytest.raises(InputError, match=message):
        generate(name, 64, 64, **options)


def test_generators_refuse_an_empty_size() -> None:
    """A mask without pixels fails later with an unclear error."""
    with pytest.raises(InputError, match=r"height=0 must be an integer of at least 1"):
        box(0, 8)
