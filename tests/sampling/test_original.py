"""Conversion of the original RePaint's configuration files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from repaint.errors import ScheduleError
from repaint.sampling.method import Method
from repaint.sampling.original import convert

CONF: dict[str, Any] = {
    "image_size": 256,
    "learn_sigma": True,
    "timestep_respacing": "250",
    "model_path": "data/pretrained/celeba256_250000.pt",
    "schedule_jump_params": {"t_T": 250, "n_sample": 1, "jump_length": 10, "jump_n_sample": 10},
    "data": {"eval": {"faces": {"gt_path": "gts", "mask_path": "masks"}}},
}


def conf(folder: Path, jumps: dict[str, Any] | None = None, **more: Any) -> Path:
    path = folder / "conf.yml"
    content = CONF | {"schedule_jump_params": CONF["schedule_jump_params"] | (jumps or {})} | more
    path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not ...}))
    return path


def method(path: Path, folder: Path) -> Method:
    written = folder / "mine.yaml"
    written.write_text(convert(path).text)
    return Method.from_yaml(written)


def test_the_papers_configuration_is_the_paper_preset(tmp_path: Path) -> None:
    """If this fails, the original's configuration converts to another method than `paper`."""
    mine, paper = method(conf(tmp_path), tmp_path), Method.from_preset("paper")
    assert (mine.schedule, mine.merge, mine.solver, mine.corrector, mine.spacing) == (
        (paper.schedule, paper.merge, paper.solver, paper.corrector, paper.spacing)
    )
    assert convert(conf(tmp_path)).left_out == ("data", "image_size", "learn_sigma", "model_path")


@pytest.mark.parametrize(
    ("jumps", "more", "calls"),
    [
        ({"t_T": 50}, {"timestep_respacing": "50"}, 410),
        ({"t_T": 50, "jump_n_sample": 2}, {"timestep_respacing": 50}, 90),
        ({"t_T": 50, "jump_n_sample": 1}, {"timestep_respacing": ...}, 50),
        ({"t_T": 50, "start_resampling": 100000000}, {"timestep_respacing": ""}, 410),
        ({"t_T": 50, "start_resampling": 10}, {"timestep_respacing": "50"}, 50 + 2 * 9 * 10),
        ({"jump2_length": 1, "jump3_n_sample": 1}, {}, 2410),
    ],
)
def test_numbers_are_read(tmp_path: Path, jumps: dict[str, Any], more: dict[str, Any], calls: int) -> None:
    """If this fails, a number of the file is ignored, and the walk has another cost."""
    assert method(conf(tmp_path, jumps, **more), tmp_path).model_calls == calls


@pytest.mark.parametrize(
    ("jumps", "more", "message"),
    [
        ({"n_sample": 2}, {}, "n_sample=2 must be 1 (other values have no published definition)"),
        ({"jump2_length": 3}, {}, "jump2_length=3 must be 1 (other"),
        ({"jump_lenght": 3}, {}, "unknown key 'schedule_jump_params.jump_lenght'"),
        ({"t_T": 0}, {}, "schedule_jump_params.t_T is 0"),
        ({"jump_length": "ten"}, {}, "schedule_jump_params.jump_length is 'ten'"),
        ({}, {"timestep_respacing": "100"}, "timestep_respacing='100' must equal t_T=250"),
        ({}, {"timestep_respacing": "ddim250"}, "timestep_respacing='ddim250' must equal t_T=250"),
        ({}, {"schedule_jump_params": ...}, "key 'schedule_jump_params' is missing"),
    ],
)
def test_unsupported_settings_are_refused(
    tmp_path: Path, jumps: dict[str, Any], more: dict[str, Any], message: str
) -> None:
    """If this fails, an unsupported setting is dropped silently."""
    path = conf(tmp_path, jumps, **more)
    with pytest.raises(ScheduleError) as caught:
        convert(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
