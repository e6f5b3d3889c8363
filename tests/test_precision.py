"""The type that a network runs in."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from repaint import RePaintPipeline
from repaint.cli.options import torch_dtype
from repaint.errors import InputError
from repaint.precision import _cpu_has_bf16, fastest_dtype


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx512f avx512_bf16\n", True),
        ("flags\t\t: fpu amx_bf16 amx_tile\n", True),
        ("Features\t: fp asimd bf16 i8mm\n", True),
        ("flags\t\t: fpu avx2\n", False),
        ("", False),
    ],
)
def test_bfloat16_instructions_are_read(text: str, found: bool, tmp_path: Path) -> None:
    """If this fails, a CPU emulates bfloat16, which is slower than float32, or does not use it."""
    file = tmp_path / "cpuinfo"
    file.write_text(text)
    assert _cpu_has_bf16(file) is found
    assert _cpu_has_bf16(tmp_path / "missing") is False


def test_each_device_has_its_type() -> None:
    """If this fails, a GPU runs in float32 at half the speed, or a Mac in a type that it lacks."""
    assert fastest_dtype("cuda:1") == torch.float16
    assert fastest_dtype("mps") == torch.float32
    assert fastest_dtype() in (torch.float32, torch.bfloat16)


def test_auto_is_accepted_wherever_a_type_is() -> None:
    """If this fails, `torch_dtype="auto"` or `--dtype auto` reaches torch as text."""
    pipe = RePaintPipeline.from_pretrained("textures", torch_dtype="auto")
    assert pipe.prior.network is not None
    expected = fastest_dtype("cuda" if torch.cuda.is_available() else "cpu")
    assert next(pipe.prior.network.parameters()).dtype == expected
    assert torch_dtype("auto", "cuda") == torch.float16
    assert torch_dtype("bfloat16", "cuda") == torch.bfloat16
    with pytest.raises(InputError, match=r"^--dtype float8 must be one of auto, float32"):
        torch_dtype("float8")
