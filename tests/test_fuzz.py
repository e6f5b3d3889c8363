"""Random input of every kind: it gives a result that keeps its promises or one RepaintError, and nothing else.

The default suite runs a few fixed cases of each kind. `pytest -m slow tests/test_fuzz.py` runs more than 20,000 random
cases and prints their number.
"""

from __future__ import annotations

import io
import json
import math
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.fuzzing import CASES, answered, fuzzed
from helpers.guided_reference import Flags, random_state
from helpers.small_inputs import quiet
from helpers.tiny_priors import tiny_folder_pipeline
from hypothesis import strategies as st
from jaxtyping import config
from numpy.typing import NDArray
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save

from repaint.errors import StateError
from repaint.folders.result_folder import SETTINGS, check_settings, write_settings
from repaint.lab.sweep.rows import Rows
from repaint.pictures.crop import Crop
from repaint.pictures.decoding import upright
from repaint.pictures.images import read_images, save_image
from repaint.pictures.mask_shapes import GENERATORS, generate
from repaint.pictures.masks import read_keep
from repaint.pipeline import RePaintPipeline
from repaint.priors.guided_diffusion import Settings, convert
from repaint.sampling import presets
from repaint.sampling.method import Method, as_method
from repaint.sampling.presets import JumpRule
from repaint.sampling.sampler import Sampler
from repaint.sampling.schedule import JumpSchedule
from repaint.sampling.state import FORMAT, SamplerState
from repaint.sampling.state import _digest as digest
from repaint.testing import PixelByPixelPrior

Draw = Any  # hypothesis's function that draws from a strategy


@pytest.fixture(autouse=True, scope="module")
def as_users_have_it(say: Callable[[str], None]) -> Iterator[None]:
    """Disable the type checks, as for users, and ignore warnings; print the number of cases at the end."""
    before = config.jaxtyping_disable
    config.update("jaxtyping_disable", True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    config.update("jaxtyping_disable", before)
    counts = ", ".join(f"{name.removeprefix('test_')} {count}" for name, count in CASES.items())
    say(f"{sum(CASES.values())} cases: {counts}")


# --- Strategies

SIDES = st.one_of(st.integers(1, 12), st.integers(1, 40))
SIZES = st.one_of(
    st.tuples(SIDES, SIDES),
    st.tuples(SIDES, SIDES),
    st.tuples(SIDES, SIDES),
    st.tuples(st.sampled_from([1, 2, 3]), st.integers(1, 2000)),
    st.tuples(st.integers(1, 2000), st.sampled_from([1, 2, 3])),
)
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F")
NUMPY = ("bool", "uint8", "uint16", ">u2", "float16", "float32", "float64", ">f4")
TORCH = (torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64)
# Numbers of every type, with values that break arithmetic, comparisons and allocations.
NUMBERS = st.one_of(
    st.integers(-3, 12),
    st.floats(width=32),
    st.floats(0, 1),
    st.integers(),
    st.sampled_from([0, 1, -1, 10**9, 10**30, -(10**400), 10**400, 1e300, 5e-324, math.inf, math.nan, True, None]),
    st.sampled_from(
        [np.int64(3), np.float32(0.5), np.array([1, 2]), torch.tensor(2), 1j, "3", "abc", "", b"x", [], {}]
    ),
)


@dataclass
class Given:
    """An input image.

    Attributes:
        image: the argument.
        raw: (H, W) or (H, W, C), the pixels as displayed, for comparison.
    """

    image: Any
    raw: NDArray[Any]

    @property
    def size(self) -> tuple[int, int]:
        return self.raw.shape[0], self.raw.shape[1]


def pil_image(draw: Draw, random: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    mode = draw(st.sampled_from(MODES))
    if mode in ("I;16", "I", "F"):
        dtype = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        image = Image.fromarray(random.integers(0, 256, size).astype(dtype) * (1 if mode == "F" else 257))
    else:
        colours = random.integers(0, 256, (*size, 3), dtype=np.uint8)
        image = Image.fromarray(colours).convert("L" if mode in ("LA", "1") else "RGB").convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray(random.integers(0, 256, size, dtype=np.uint8)))
    if mode in ("L", "P") and draw(st.booleans()):
        image.info["transparency"] = draw(st.integers(0, 255))
    if mode == "RGB" and draw(st.booleans()):
        image.info["transparency"] = (1, 2, 3)
    if turned := draw(st.sampled_from([0, 0, 0, 1, 3, 6, 8, 99])):
        exif = Image.Exif()
        exif[0x0112] = turned
        image.info["exif"] = exif.tobytes()
        image.getexif().load(exif.tobytes())
    return image


def picture(draw: Draw, random: np.random.Generator, size: tuple[int, int]) -> Given:
    kind = draw(st.sampled_from(["pil", "numpy", "tensor"]))
    if kind == "pil":
        image = pil_image(draw, random, size)
        return Given(image, np.asarray(upright(image)))
    channels = draw(st.sampled_from([0, 1, 2, 3, 4]))
    shape = size if channels == 0 else (*size, channels)
    if kind == "numpy":
        dtype = np.dtype(draw(st.sampled_from(NUMPY)))
        values = random.random(shape)
        array = values > 0.5 if dtype.kind == "b" else (values * np.iinfo(dtype).max if dtype.kind == "u" else values)
        array = np.asarray(array).astype(dtype)
        return Given(array, array.copy())
    dtype = draw(st.sampled_from(TORCH))
    values = random.random((*size, max(1, channels)))
    tensor = torch.from_numpy(values * (255 if dtype == torch.uint8 else 1)).to(dtype).movedim(-1, 0)
    raw = tensor.movedim(0, -1)
    return Given(tensor, (raw.float() if dtype == torch.bfloat16 else raw).numpy().copy())


def mask(draw: Draw, random: np.random.Generator, size: tuple[int, int]) -> tuple[Any, NDArray[np.float64]]:
    """Draw a mask argument, and its values in [0, 1]."""
    kind = draw(st.sampled_from(["hard", "hard", "grey", "full", "empty", "one", *GENERATORS]))
    if kind == "hard":
        values = np.asarray(random.random(size) > draw(st.floats(0, 1)), np.float64)
    elif kind == "grey":
        values = random.integers(0, 5, size) / 4
    elif kind in ("full", "empty"):
        values = np.full(size, float(kind == "full"))
    elif kind == "one":
        values = np.zeros(size)
        values[random.integers(size[0]), random.integers(size[1])] = 1
    else:
        values = generate(kind, *size)[0].double().numpy()
    form = draw(st.sampled_from(["bool", "uint8", "uint16", "float64", "L", "1", "RGB", "tensor", "channel"]))
    if form in ("bool", "1"):
        values = np.asarray(values >= 0.5, np.float64)
    whole = {"uint8": 255, "L": 255, "RGB": 255, "uint16": 65535}.get(form, 1)
    stored = np.rint(values * whole)
    if form in ("uint8", "uint16", "bool"):
        return stored.astype(form), stored / whole
    if form in ("L", "RGB"):
        return Image.fromarray(stored.astype(np.uint8)).convert(form), stored / whole
    if form == "1":
        return Image.fromarray(values > 0.5), values
    if form == "tensor":
        return torch.from_numpy(values)[None], values
    return (values[..., None] if form == "channel" else values), values


def schedules() -> st.SearchStrategy[Any]:
    """Draw short valid walks."""

    @st.composite
    def walk(draw: Draw) -> JumpSchedule:
        count = draw(st.integers(1, 6))
        levels = [draw(st.integers(1, count))]
        for level in draw(st.lists(st.integers(0, count), max_size=8)):
            if level != levels[-1]:
                levels.append(level)
        return JumpSchedule.from_levels([*levels, 0] if levels[-1] else levels, count)

    return walk()


MERGES = ["fresh", "trajectory", "predicted", "predicted(0)", "predicted(8)", "predicted(inf, relax=1.5)"]
SOLVERS = ["ddpm", "ddpm(large)", "ddim", "ddim(1)", "ddim(eta=0.5)", "multistep", "refresh", "refresh(0, averaged)"]
CORRECTORS = [None, None, "none", "langevin", "langevin(2, noise=averaged)", "langevin(1, h=2.5)"]
CROPS = st.one_of(
    st.sampled_from(["auto", "off", None]),
    st.builds(
        Crop,
        size=st.one_of(st.none(), st.integers(4, 64)),
        context=st.sampled_from([0, 0.5, 3, 1e30]),
        upscale=st.booleans(),
        windows=st.sampled_from([None, True, False]),
    ),
)
SCHEDULERS = [
    {"beta_schedule": "linear"},
    {"beta_schedule": "squaredcos_cap_v2"},
    {"beta_schedule": "scaled_linear", "rescale_betas_zero_snr": True},
    {"shift": 3.0},
    {"sigma_min": 0.002, "sigma_max": 80.0, "rho": 7.0},
    {"sigma_min": 0.01, "sigma_max": 1348.0},
]


def priors() -> st.SearchStrategy[PixelByPixelPrior]:
    return st.builds(
        PixelByPixelPrior,
        channels=st.sampled_from([1, 3, 3, 3, 4]),
        multiple_of=st.sampled_from([1, 1, 4]),
        preferred_size=st.sampled_from([None, None, 8, 32]),
        dtype=st.sampled_from([torch.float32, torch.float64]),
        scheduler=st.sampled_from(SCHEDULERS),
    )


def bits(array: NDArray[Any]) -> bytes:
    return np.ascontiguousarray(array).tobytes()


def check_promises(given: Given, keep: NDArray[np.float64], result: Any, output_type: str) -> None:
    """Check size, mode and dtype against the input, kept pixels to the bit, and the range of values."""
    if isinstance(given.image, Image.Image) and output_type == "pil":
        assert (result.mode, result.size) == (given.image.mode, upright(given.image).size)
        found = np.asarray(upright(result))
    elif output_type == "np":
        found = result
    else:
        return  # a converted output, tested in tests/pictures/test_images.py
    assert (found.shape, found.dtype) == (given.raw.shape, given.raw.dtype)
    kept = keep == 1
    assert bits(found[kept]) == bits(given.raw[kept]), "a kept pixel changed"
    if found.dtype.kind == "f":
        assert np.isfinite(found).all()
        assert found.min() >= 0
        assert found.max() <= (255 if isinstance(given.image, Image.Image) else 1)


# --- Valid images, masks and methods


@fuzzed(short=110, long=6000)
def test_fill(data: st.DataObject) -> None:
    """If this fails, a combination of image, mask and method ends in a traceback or changes kept pixels."""
    draw = data.draw
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = draw(SIZES)
    count = draw(st.sampled_from([1, 1, 1, 2, 3]))
    given = [picture(draw, random, size if draw(st.booleans()) else draw(SIZES)) for _ in range(count)]
    masks = [mask(draw, random, each.size) for each in given]
    polarity = draw(st.sampled_from(["mask_image", "keep_mask"]))
    output_type = draw(st.sampled_from(["pil", "np", "np", "pt", "latent"]))
    copies, strength = draw(st.sampled_from([1, 1, 2])), draw(st.sampled_from([1.0, 1.0, 0.5, 1e-9]))
    options: dict[str, Any] = {
        "schedule": draw(schedules()),
        "merge": draw(st.sampled_from([None, *MERGES])),
        "solver": draw(st.sampled_from([None, *SOLVERS])),
        "corrector": draw(st.sampled_from(CORRECTORS)),
        "crop": draw(CROPS),
        "batch_size": draw(st.sampled_from([None, "auto", 1, 2, 7])),
        "blend_rim": draw(st.sampled_from([0, 0, 0.5, 2, 1e9, math.inf])) if output_type != "latent" else 0,
        "generator": draw(st.integers(0, 2**31)),
        "strength": strength,
        "num_images_per_prompt": copies,
        "output_type": output_type,
    }
    pipe = quiet(draw(priors()))
    before = [bits(each.raw) for each in given]
    with answered() as refusals:
        images = pipe([each.image for each in given], **{polarity: [one for one, _ in masks]}, **options).images
    for each, raw in zip(given, before, strict=True):
        assert bits(each.raw) == raw
    if refusals:
        return
    assert len(images) == count * copies
    keeps = [values if polarity == "keep_mask" else 1 - values for _, values in masks]
    for i, result in enumerate(images):
        check_promises(given[i // copies], np.asarray(keeps[i // copies]), result, output_type)


@fuzzed(short=40, long=1500)
def test_nothing_under_the_hole_is_read(data: st.DataObject) -> None:
    """If this fails, a result depends on the pixels in the hole."""
    draw = data.draw
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = draw(SIZES)
    values = random.random((*size, 3)).astype(draw(st.sampled_from(["float32", "float64"])))
    hole = np.asarray(random.random(size) > draw(st.floats(0.1, 1)))
    other = np.where(hole[..., None], random.random((*size, 3)), values).astype(values.dtype)
    options: dict[str, Any] = {
        "schedule": draw(schedules()),
        "merge": draw(st.sampled_from(MERGES)),
        "solver": draw(st.sampled_from(SOLVERS)),
        "corrector": draw(st.sampled_from(CORRECTORS)),
        "crop": draw(CROPS),
        "blend_rim": draw(st.sampled_from([0, 2])),
        "generator": draw(st.integers(0, 2**31)),
        "output_type": "np",
    }
    pipe = quiet(draw(priors()))
    with answered() as refusals:
        first = pipe(values, hole, **options).images
    with answered():
        second = pipe(other, hole, **options).images
    if not refusals:
        assert bits(first) == bits(second)


# --- Arguments of every type


@fuzzed(short=120, long=3000)
def test_arguments(data: st.DataObject) -> None:
    """If this fails, an argument of an unexpected type or size ends in a traceback or runs forever."""
    draw = data.draw
    odd: dict[str, st.SearchStrategy[Any]] = {
        "blend_rim": NUMBERS,
        "strength": NUMBERS,
        "generator": st.one_of(NUMBERS, st.lists(NUMBERS, min_size=1, max_size=2)),
        "batch_size": NUMBERS,
        "latent_margin": NUMBERS,
        "num_images_per_prompt": NUMBERS.filter(lambda value: not isinstance(value, int) or value < 5),
        "output_type": NUMBERS,
        "crop": NUMBERS,
        "guidance_scale": NUMBERS,
        "class_labels": NUMBERS,
        "prompt": NUMBERS,
        "schedule": NUMBERS,
        "merge": NUMBERS,
        "solver": NUMBERS,
        "corrector": NUMBERS,
        "mask_image": st.one_of(NUMBERS, st.lists(NUMBERS, max_size=2)),
        "image": st.one_of(NUMBERS, st.lists(NUMBERS, max_size=2)),
    }
    arguments: dict[str, Any] = {
        "image": np.full((6, 5, 3), 0.5),
        "mask_image": np.eye(6, 5),
        "schedule": JumpSchedule.from_levels([2, 1, 0]),
        "output_type": "np",
        "generator": 0,
    }
    for name in draw(st.lists(st.sampled_from(sorted(odd)), min_size=1, max_size=2, unique=True)):
        arguments[name] = draw(odd[name])
    pipe = quiet(PixelByPixelPrior(preferred_size=draw(st.sampled_from([None, 4]))))
    with answered():
        pipe(arguments.pop("image"), **arguments)


@fuzzed(short=60, long=2500)
def test_parts_as_texts(data: st.DataObject) -> None:
    """If this fails, a text for a merge, solver or corrector ends in a traceback or exhausts the memory."""
    draw = data.draw
    value = st.one_of(
        st.sampled_from(["inf", "nan", "-1", "0", "1", "2", "0.5", "1e308", "1e39", "1e-320", "9" * 400, "9" * 5000]),
        st.sampled_from(
            ["fresh", "averaged", "exact", "learned", "small", "[]", "{[]: 1}", "1j", "'x'", "None", "True"]
        ),
        st.integers().map(str),
        st.floats().map(str),
        st.text("()[]{}'\"=,.*\x00\\ a1", max_size=6),
        st.sampled_from(["(" * 300, "[" * 3000, "-" * 5000 + "1", "1+" * 3000 + "1", "lambda: 0", "__import__('os')"]),
    )
    names = ["lam", "relax", "variance", "eta", "extrapolate", "noise", "iterations", "h", "x", "*", "**"]
    argument = st.one_of(value, st.builds("{}={}".format, st.sampled_from(names), value))
    name = st.sampled_from(
        ["fresh", "trajectory", "predicted", "ddpm", "ddim", "multistep", "refresh", "langevin", "x"]
    )
    text = st.one_of(
        st.builds("{}({})".format, name, st.lists(argument, max_size=3).map(", ".join)),
        st.text(max_size=12),
    )
    part = draw(st.sampled_from(["merge", "solver", "corrector"]))
    pipe = quiet(PixelByPixelPrior(scheduler=draw(st.sampled_from(SCHEDULERS))))
    with answered() as refusals:
        method = as_method(JumpSchedule.from_levels([3, 2, 1, 2, 1, 0]), **{part: draw(text)})
    if not refusals and method.model_calls < 100:
        with answered():
            pipe(np.full((2, 3, 3), 0.5), np.eye(2, 3), schedule=method, generator=0)


@fuzzed(short=60, long=2000)
def test_schedules(data: st.DataObject) -> None:
    """If this fails, an invalid walk ends in a traceback, an endless loop, or a walk that leaves the grid."""
    draw = data.draw
    makers = [
        lambda: JumpSchedule.paper(*draw(st.lists(NUMBERS, max_size=4))),
        lambda: JumpSchedule.from_levels(
            draw(
                st.one_of(
                    st.lists(NUMBERS, max_size=5), st.lists(st.integers(-1, 6), max_size=9).map(lambda x: [*x, 0])
                )
            ),
            draw(st.one_of(st.none(), NUMBERS)),
        ),
        lambda: JumpSchedule.from_rules(draw(st.integers(1, 60)), [rule() for _ in range(draw(st.integers(0, 3)))]),
        lambda: JumpSchedule.from_rules(draw(NUMBERS), [rule()]),
        lambda: JumpSchedule.paper(20, 5, 3).capped(draw(NUMBERS)),
    ]

    def rule() -> JumpRule:
        some = st.one_of(st.none(), st.integers(0, 70), st.sampled_from([10**9, 10**30]))
        numbers = st.one_of(st.integers(1, 30), st.sampled_from([10**9, 10**30]))
        rest = {"start_resampling": draw(some), "stop_resampling": draw(some) or 0, "every": draw(some) or None}
        return JumpRule(jump_length=draw(numbers), jump_n_sample=draw(numbers), **rest)

    with answered() as refusals:
        walk = draw(st.sampled_from(makers))()
    if not refusals:
        assert walk.levels[-1] == 0
        assert all(0 <= level <= walk.steps for level in walk.levels)
        assert walk.model_calls <= len(walk)
        if len(walk) < 40:
            with answered():
                quiet(PixelByPixelPrior())(np.full((2, 2), 0.5), np.eye(2), schedule=walk, generator=0)


PRESETS = [path.read_text(encoding="utf-8") for path in sorted(presets.folder().glob("*.yaml"))]
SCALARS = st.one_of(
    st.sampled_from(
        ["!!int ''", "!!int 0x", "!!bool x", "!!timestamp x", "!!binary x", "!!python/name:os.system", "="]
    ),
    st.sampled_from(
        [".inf", ".nan", "1e999", "2020-13-45", "1:60:99", "0b", "~", "{}", "[]", "&a [*a, *a]", "*b", "? [1]"]
    ),
    st.sampled_from(
        ["'\\ud800'", "\t", "<<: 3", "- - -", "9" * 5000, "[" * 500, "{a: 1, a: 2}", "%YAML 9.9", "\x00", "…"]
    ),
    st.integers().map(str),
    st.floats().map(str),
    st.text(max_size=8),
)


def yaml_text(draw: Draw) -> str:
    """Draw a preset with a few lines changed, or an arbitrary text."""
    if draw(st.integers(0, 9)) == 0:
        return str(draw(st.text(max_size=60)))
    lines = draw(st.sampled_from(PRESETS)).splitlines()
    for _ in range(draw(st.integers(1, 3))):
        i = draw(st.integers(0, len(lines) - 1))
        key = lines[i].partition(":")[0]
        change = draw(st.sampled_from(["value", "value", "value", "drop", "double", "key", "text", "bomb"]))
        if change == "bomb":
            links = "".join(
                f", &{b} [*{a}, *{a}, *{a}, *{a}, *{a}, *{a}]" for a, b in zip("abcdefghi", "bcdefghij", strict=True)
            )
            lines[i] = f"{key}: [&a [1]{links}]"
        elif change == "value":
            lines[i] = f"{key}: {draw(SCALARS)}"
        elif change == "key":
            lines[i] = lines[i].replace(key, draw(st.text(max_size=6)), 1)
        elif change == "text":
            lines.insert(i, draw(SCALARS))
        elif change == "double" or len(lines) > 1:
            lines[i : i + 1] = [] if change == "drop" else [lines[i]] * 2
    return "\n".join(lines)


@fuzzed(short=80, long=2500)
def test_yaml_texts(data: st.DataObject) -> None:
    """If this fails, a mistake in a preset ends in a traceback, a long message, or exhausted memory."""
    text = yaml_text(data.draw)
    with answered():
        preset = presets.parse(text, "mine.yaml")
        if preset.steps < 10_000:
            method = Method.from_content("mine", preset)
            if method.model_calls < 60:
                quiet(PixelByPixelPrior())(np.full((2, 2), 0.5), np.eye(2), schedule=method, generator=0)


@fuzzed(short=60, long=1500)
def test_drawn_masks(data: st.DataObject) -> None:
    """If this fails, an option of a mask generator gives a traceback, an endless loop, or a mask without a hole."""
    draw = data.draw
    names = {
        "alternating_lines": (),
        "box": ("share", "top", "left", "h", "w"),
        "checkerboard": ("cell",),
        "circle": ("radius",),
        "expand": ("share",),
        "freeform": ("seed", "share"),
        "half": ("side",),
        "strokes": ("brush", "seed"),
        "super_resolve": ("factor",),
    }
    name = draw(st.sampled_from(sorted(names)))
    options = {key: draw(NUMBERS) for key in names[name] if draw(st.booleans())}
    size = draw(st.one_of(SIZES, SIZES, st.tuples(st.integers(-1, 3), NUMBERS)).filter(small))
    with answered() as refusals:
        keep = generate(name, *size, **options)
    if not refusals:
        assert tuple(keep.shape) == (1, *size)
        assert set(keep.unique().tolist()) <= {0.0, 1.0}
        assert (keep == 0).any()


def small(size: tuple[Any, Any]) -> bool:
    """Whether a mask of this size fits in memory; larger ones are valid, but too slow to test."""
    return not any(isinstance(side, int) and side > 2000 for side in size)


@fuzzed(short=60, long=2000)
def test_arrays_of_any_kind(data: st.DataObject) -> None:
    """If this fails, an array or tensor of an unusual dtype, shape, layout or range ends in a traceback."""
    draw = data.draw
    shape = draw(st.lists(st.integers(0, 5), max_size=5))
    if draw(st.booleans()):
        kinds = [*NUMPY, "int8", "int64", "complex64", "object", "U3", "M8[s]", "longdouble", "V4", [("a", "u1")]]
        array: Any = np.zeros(shape, np.dtype(draw(st.sampled_from(kinds))))
        if array.dtype.kind in "fiu" and array.size:
            array.flat[draw(st.integers(0, array.size - 1))] = draw(st.sampled_from([0, 1, 0.5, 2, 100]))
        if array.dtype.kind == "f" and array.size:
            array.flat[0] = draw(st.sampled_from([0, -0.0, math.nan, math.inf, -1, 300, 1e-40]))
        change = draw(st.sampled_from([None, "F", "reversed", "frozen", "masked", "matrix"]))
        if change == "F":
            array = np.asfortranarray(array)
        elif change == "reversed":
            array = array[::-1] if array.ndim else array
        elif change == "masked":
            array = np.ma.masked_array(array)
        elif change == "matrix" and array.ndim == 2:
            array = np.asmatrix(array)
        elif change == "frozen":
            array.flags.writeable = False
    else:
        kinds = [*TORCH, torch.bool, torch.int8, torch.int64, torch.complex64, torch.float8_e4m3fn, torch.uint16]
        array = torch.zeros(shape).to(draw(st.sampled_from(kinds)))
        change = draw(st.sampled_from([None, "sparse", "meta", "grad", "turned", "expanded"]))
        if change == "sparse" and array.dtype in (torch.float32, torch.float64):
            array = array.to_sparse()
        elif change == "meta":
            array = array.to("meta")
        elif change == "grad" and array.is_floating_point() and array.element_size() > 1:
            array.requires_grad_()
        elif change == "turned" and array.ndim > 1:
            array = array.transpose(0, 1)
        elif change == "expanded":
            array = array[None].expand(2, *array.shape)
    with answered() as refusals:
        pictures = read_images(array)
    if not refusals:
        for each in pictures:
            for form in ("np", "pt", "pil"):
                with answered():
                    each.output(form)
    with answered() as refusals:
        keep = read_keep(array, sizes=[(3, 3)] if not draw(st.booleans()) or len(shape) < 2 else [tuple(shape[:2])])
    if not refusals:
        assert all(one.min() >= 0 and one.max() <= 1 for one in keep)
    with answered():
        quiet(PixelByPixelPrior())(array, array, schedule=JumpSchedule.from_levels([1, 0]), generator=0)


# --- Damaged files


def damaged(draw: Draw, whole: bytes) -> bytes:
    """Change, remove or insert bytes, or return arbitrary bytes."""
    if draw(st.integers(0, 19)) == 0:
        return bytes(draw(st.binary(max_size=200)))
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.one_of(st.integers(0, 120), st.integers(0, max(0, len(whole) - 1))))
        change = draw(st.sampled_from(["flip", "byte", "cut", "out", "in", "end"]))
        if change == "flip" and place < len(content):
            content[place] ^= 1 << draw(st.integers(0, 7))
        elif change == "byte" and place < len(content):
            content[place] = draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF, 0x22, 0x7B, 0x5B, 0x0A]))
        elif change == "cut":
            del content[place:]
        elif change == "out":
            del content[place : place + draw(st.integers(1, 60))]
        elif change == "in":
            content[place:place] = draw(st.binary(min_size=1, max_size=8))
        else:
            content += draw(st.binary(min_size=1, max_size=8))
    return bytes(content)


def image_files() -> list[tuple[str, bytes]]:
    """Return a small file of every image format and mode, with its suffix."""
    random, found = np.random.default_rng(0), []
    colours = Image.fromarray(random.integers(0, 256, (9, 7, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    for suffix, form, modes in (
        ("png", "PNG", ("1", "L", "LA", "P", "RGB", "RGBA")),
        ("tif", "TIFF", ("1", "L", "P", "RGB", "CMYK", "F", "I")),
        ("jpg", "JPEG", ("L", "RGB", "CMYK")),
        ("webp", "WEBP", ("RGB", "RGBA")),
        ("bmp", "BMP", ("1", "L", "P", "RGB")),
        ("gif", "GIF", ("L", "P")),
    ):
        for mode in modes:
            file = io.BytesIO()
            image = colours.convert("L").convert(mode) if mode in ("LA", "F", "I", "1") else colours.convert(mode)
            options = {"exif": exif} if form in ("PNG", "JPEG", "TIFF", "WEBP") else {}
            image.save(file, form, **options, **({"transparency": 3} if (form, mode) == ("PNG", "P") else {}))
            found.append((suffix, file.getvalue()))
    return found


FILES = image_files()


@fuzzed(short=150, long=4000)
def test_image_files(data: st.DataObject) -> None:
    """If this fails, a damaged image or mask ends in a traceback, or leaves an incomplete result file."""
    suffix, whole = data.draw(st.sampled_from(FILES))
    content = damaged(data.draw, whole)
    with folder() as place:
        path = place / f"a.{suffix}"
        path.write_bytes(content)
        with answered() as refusals:
            found = read_images(path)[0]
        with answered():
            read_keep(path, sizes=[(9, 7)])
        if refusals or math.prod(found.size) > 10_000:
            return
        hole = np.zeros(found.size, bool)
        hole[: found.size[0] // 2 + 1] = True
        pipe = quiet(PixelByPixelPrior())
        with answered():
            image = pipe(path, hole, schedule=JumpSchedule.from_levels([2, 1, 0]), generator=0).images[0]
            check_promises(Given(found.output("pil"), found.raw), 1 - hole, image, "pil")
            target = place / "out.tif"
            with answered() as unwritten:
                save_image(image, target)
            assert sorted(place.iterdir()) == sorted([path] if unwritten else [path, target])


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def a_state() -> tuple[Sampler, bytes]:
    sampler = Sampler(PixelByPixelPrior(), as_method(JumpSchedule.from_levels([3, 2, 1, 2, 1, 0]), merge="trajectory"))
    start = sampler.start(torch.zeros(1, 3, 3, 2), torch.eye(3, 2).bool()[None, None], seeds=[1])
    with folder() as place:
        next(iter(sampler.run(start))).save(place / "state")
        return sampler, (place / "state").read_bytes()


SAMPLER, STATE = a_state()


@fuzzed(short=80, long=2500)
def test_state_files(data: st.DataObject) -> None:
    """If this fails, a damaged state ends in a traceback, or resumes as another image."""
    content = damaged(data.draw, STATE)
    with folder() as place:
        (place / "state").write_bytes(content)
        with answered() as refusals:
            SamplerState.load(place / "state")
        assert all(isinstance(error, StateError) for error in refusals)
        assert refusals or content == STATE, "damage that the checksum missed"


@fuzzed(short=40, long=1000)
def test_forged_states(data: st.DataObject) -> None:
    """If this fails, a state with invalid content and a valid checksum ends in a traceback."""
    draw = data.draw
    values = st.one_of(st.none(), st.integers(-2, 9), st.text(max_size=3), st.floats(), st.just([]), st.just({}))
    with folder() as place:
        (place / "state").write_bytes(STATE)
        with safe_open(str(place / "state"), framework="pt") as file:
            facts = json.loads(file.metadata()["facts"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        for _ in range(draw(st.integers(1, 2))):
            name = draw(st.sampled_from([*facts, *tensors, "more"]))
            change = draw(st.sampled_from(["drop", "value", "shape", "type"]))
            if name in tensors:
                tensor = tensors.pop(name)
                if change != "drop":
                    tensors[name] = tensor[..., :1].contiguous() if change == "shape" else tensor.to(torch.float16)
            elif change == "drop":
                facts.pop(name, None)
            else:
                facts[name] = draw(values)
        text = json.dumps(draw(st.sampled_from([facts, facts, facts, facts, [], 3])))
        metadata = {"format": FORMAT, "facts": text, "sha256": digest(tensors, text)}
        (place / "state").write_bytes(save(tensors, metadata))
        with answered() as refusals:
            state = SamplerState.load(place / "state")
        if not refusals:
            with answered():
                list(SAMPLER.run(state))


ROW = json.dumps({"key": "k1", "schedule": "two", "method": {"steps": 2}, "psnr": 1.5}).encode() + b"\n"


@fuzzed(short=80, long=2000)
def test_row_files(data: st.DataObject) -> None:
    """If this fails, a damaged file of rows ends in a traceback, is truncated, or counts invalid rows."""
    draw = data.draw
    lines = [ROW, ROW.replace(b"k1", b"k2"), b"[" * 9000 + b"\n", b'{"key": "k1", "key": ["k1"]}\n', b'{"key": "k3"}\n']
    whole = b"".join(draw(st.lists(st.sampled_from([*lines[:2], *lines]), min_size=1, max_size=4)))
    content = whole if draw(st.integers(0, 4)) == 0 else damaged(draw, whole)
    with folder() as place:
        (place / "rows.jsonl").write_bytes(content)
        with answered() as refusals:
            rows = Rows(place / "rows.jsonl", {key: {"method": {"steps": 3}} for key in ("k1", "k2")})
            assert set(rows.found) <= {"k1", "k2"}
        assert (place / "rows.jsonl").read_bytes() == content
        if not refusals:
            with answered():
                rows.append([{"key": "k2", "psnr": 2.0}])
                assert (place / "rows.jsonl").read_bytes().count(b'{"key": "k2"') >= 1


WRITTEN = {"seed": 0, "method": {"name": "two", "steps": 2}, "prior": "textures", "dtype": "float32"}


@fuzzed(short=60, long=1500)
def test_settings_files(data: st.DataObject) -> None:
    """If this fails, a damaged `repaint.json` ends in a traceback, or is overwritten as if it were valid."""
    draw = data.draw
    whole = json.dumps(WRITTEN, indent=2).encode()
    content = draw(
        st.sampled_from([b"[" * 9000, b'{"seed": ' + b"9" * 5000 + b"}", b'{"seed": "' + b"9" * 9000 + b'"}'])
    )
    content = content if draw(st.integers(0, 9)) == 0 else damaged(draw, whole)
    with folder() as place:
        (place / SETTINGS).write_bytes(content)
        with answered() as refusals:
            check_settings(place, WRITTEN, overwrite=draw(st.booleans()))
        with answered():
            write_settings(place, WRITTEN)
        assert [path.name for path in place.iterdir()] == [SETTINGS]
        found = (place / SETTINGS).read_bytes()
        assert found == content or json.loads(found) == WRITTEN
        assert refusals or json.loads(content)


def a_checkpoint() -> tuple[dict[str, torch.Tensor], bytes]:
    """Return the tensors of a tiny guided-diffusion UNet, and a file of them."""
    state = {name: tensor.float() for name, tensor in random_state(Flags(mults=(1,), attention=())).items()}
    file = io.BytesIO()
    torch.save(state, file)
    return state, file.getvalue()


@fuzzed(short=25, long=800)
def test_checkpoint_files(data: st.DataObject) -> None:
    """If this fails, a damaged or foreign .pt file ends in a traceback, or runs code."""
    draw = data.draw
    state, whole = a_checkpoint()
    if draw(st.booleans()):
        content = damaged(draw, whole)
    else:
        for name in draw(st.lists(st.sampled_from(sorted(state)), min_size=1, max_size=3, unique=True)):
            tensor = state.pop(name)
            change = draw(st.sampled_from(["drop", "rename", "flat", "wide", "empty", "type", "sparse", "object"]))
            other: dict[str, Any] = {
                "flat": tensor.flatten(),
                "wide": torch.cat([tensor, tensor]),
                "empty": tensor[:0],
                "type": tensor.to(draw(st.sampled_from([torch.int64, torch.complex64, torch.bool]))),
                "sparse": tensor.to_sparse(),
                "object": draw(st.sampled_from([None, 3, "x", [tensor]])),
            }
            if change == "rename":
                state[name.replace("0", draw(st.sampled_from(["1", "99", "-1", "x"])), 1)] = tensor
            elif change != "drop":
                state[name] = other[change]
        file = io.BytesIO()
        torch.save(state, file)
        content = file.getvalue()
    with folder() as place:
        (place / "a.pt").write_bytes(content)
        given = Settings("linear", head_channels=draw(st.sampled_from([8, 16, 7, 0, -1])), new_attention_order=False)
        with answered():
            convert(place / "a.pt", place / "prior", given)
        assert {path.name for path in place.iterdir()} <= {"a.pt", "prior"}
        if (place / "prior").exists():
            assert (place / "prior" / "model_index.json").exists()


# --- Folders of priors


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("saved")
    tiny_folder_pipeline().save_pretrained(place)
    SAVED.update({str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()})
    return place


SAVED: dict[str, bytes] = {}
CONFIGS = ("model_index.json", "unet/config.json", "scheduler/scheduler_config.json")


@pytest.mark.usefixtures("saved")
@fuzzed(short=40, long=1500)
def test_prior_folders(data: st.DataObject) -> None:
    """If this fails, an edited config ends in a traceback, or in NaN without an error."""
    draw = data.draw
    files = dict(SAVED)
    values = st.one_of(
        st.sampled_from(
            [None, True, False, 0, 1, -1, 2, 10**9, 1e300, -0.5, "", "x", [], {}, [1, 2], ["a", "b"], "NaN"]
        ),
        st.sampled_from(
            ["v_prediction", "sample", "learned_range", "squaredcos_cap_v2", "DDIMScheduler", "UNet2DModel"]
        ),
        st.integers(),
        st.floats(),
    )
    for _ in range(draw(st.integers(1, 2))):
        name = draw(st.sampled_from([*CONFIGS, *CONFIGS, "unet/diffusion_pytorch_model.safetensors"]))
        if name.endswith(".safetensors") or draw(st.integers(0, 9)) == 0:
            files[name] = damaged(draw, files[name])
            continue
        try:
            entries = json.loads(files[name])
        except ValueError:
            continue
        if not isinstance(entries, dict) or not entries:
            continue
        key = draw(
            st.sampled_from([*sorted(entries), *(("shift", "sigma_max", "sigma_min") if "scheduler" in name else ())])
        )
        if draw(st.booleans()):
            entries.pop(key, None)
        else:
            entries[key] = draw(values)
        files[name] = json.dumps(entries).encode()
    with folder() as place:
        for name, content in files.items():
            (place / name).parent.mkdir(exist_ok=True)
            (place / name).write_bytes(content)
        image = np.full((4, 4, 3), 0.5, np.float32)
        with answered():
            pipe = RePaintPipeline.from_pretrained(place)
            pipe.set_progress_bar_config(disable=True)
            found = pipe(image, np.eye(4), schedule=JumpSchedule.from_levels([2, 1, 0]), generator=0, output_type="np")
            check_promises(Given(image, image), 1 - np.eye(4), found.images[0], "np")
