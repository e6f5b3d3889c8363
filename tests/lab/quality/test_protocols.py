"""Protocols of the literature: their data, and the way from a folder of pictures to a table."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.backbones import generated_alexnet, generated_inception
from helpers.guided_reference import Flags, random_state
from helpers.shell import Run, run
from helpers.tiny_priors import tiny_folder_pipeline, tiny_pipe
from PIL import Image

from repaint.errors import InputError
from repaint.lab.quality.protocol_run import (
    METRICS,
    Backbones,
    chosen_masks,
    protocol_holes,
    protocol_pictures,
    run_protocol,
)
from repaint.lab.quality.protocols import PROTOCOLS
from repaint.measure.metrics import psnr
from repaint.pictures.mask_shapes import generate
from repaint.sampling.method import as_method
from repaint.sampling.schedule import JumpSchedule

__all__ = ["run"]  # a fixture

TWO = "steps: 2\nspacing: linspace\nmerge: fresh\nsolver: ddpm\n"


def generated(folder: Path, count: int, side: int) -> Path:
    """Save smooth pictures with noise."""
    folder.mkdir()
    y, x = np.mgrid[:side, :side] / side
    for i in range(count):
        colours = np.stack([x, y, (x + i * y) % 1], axis=-1) * 200
        noise = np.random.default_rng(i).integers(0, 50, (side, side, 3))
        Image.fromarray((colours + noise).astype(np.uint8)).save(folder / f"{i:03}.png")
    return folder


def hole_share(name: str, mask: str) -> float:
    shape = PROTOCOLS[name].masks[mask]
    return 1 - float(generate(shape.generator, 256, 256, **shape.options).mean())


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_data_of_a_protocol_agree(name: str) -> None:
    """If this fails, a figure belongs to no line, or a method, mask or metric does not exist."""
    protocol = PROTOCOLS[name]
    for each in protocol.published:
        assert each.mask in protocol.masks
        assert each.metric in protocol.metrics
        assert each.method in protocol.methods or as_method(each.method).name == each.method
    assert len({(p.method, p.mask, p.metric, p.data) for p in protocol.published}) == len(protocol.published)
    assert set(protocol.metrics) <= set(METRICS)
    assert all(as_method(method).model_calls for method in protocol.methods.values())
    for mask, shape in protocol.masks.items():
        assert shape.generator == "" or 0 < hole_share(name, mask) < 1


def test_the_settings_are_those_of_the_papers() -> None:
    """If this fails, a command compares other settings with published figures."""
    paper = as_method(PROTOCOLS["repaint-table1"].methods["paper"])
    assert paper.schedule == JumpSchedule.paper(250, 10, 10)
    calls = {name: as_method(method).model_calls for name, method in PROTOCOLS["repaint-table2"].methods.items()}
    assert [calls[f"T={steps} r=1"] for steps in (250, 500, 750, 1000)] == [250, 500, 750, 1000]
    assert [calls[f"T=250 r={r}"] for r in (2, 3, 4)] == [490, 730, 970]  # 250 + 10 (r - 1) for each of 24 levels
    assert hole_share("repaint-table1", "expand") == 1 - 64**2 / 256**2
    assert hole_share("repaint-table1", "super-resolve") == 0.75
    assert hole_share("daps-box", "box") == hole_share("diffpir-box", "box") == 128**2 / 256**2
    assert generate("half", 256, 256, side="right")[0, 0, 0] == 1, "RePaint keeps the left half"


def test_a_protocol_from_folder_to_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, a measure, an interval or a published figure is that of another line."""
    small = replace(PROTOCOLS["repaint-table1"], side=64, pictures=3, metrics=("psnr", "psnr_hole", "lpips_alex"))
    pictures = protocol_pictures(small, generated(tmp_path / "data", 3, 64))
    pipe, walk = tiny_pipe(), JumpSchedule.paper(2, 1, 1)
    backbones = Backbones(generated_alexnet(tmp_path, monkeypatch))
    rows = list(run_protocol(pipe, small, pictures, methods={"paper": walk}, only=["half"], backbones=backbones))
    half = generate("half", 64, 64, side="right")[0].numpy() == 0
    filled = [
        pipe(picture, half, schedule=walk, generator=i, output_type="np", crop=None).images[0]
        for i, picture in enumerate(pictures.values())
    ]
    for row, region in zip(rows, (None, half), strict=False):
        each = [psnr(image, picture, region) for image, picture in zip(filled, pictures.values(), strict=True)]
        assert row.value == pytest.approx(np.mean(each))
        assert row.low is not None
        assert row.high is not None
        assert min(each) <= row.low <= row.value <= row.high <= max(each)
        assert (row.pictures, row.published) == (3, ())
    lpips = rows[2]
    assert lpips.value is not None
    assert lpips.value > 0
    assert {each.data: each.value for each in lpips.published} == {"CelebA-HQ": 0.165, "ImageNet": 0.304}
    again = list(
        run_protocol(pipe, small, pictures, methods={"paper": walk}, only=["half"], backbones=backbones, batch=1)
    )
    assert again == rows, "the batch changes nothing"


def test_noise_is_in_the_known_part_alone(tmp_path: Path) -> None:
    """If this fails, the observations of DAPS have another noise, or the scores are against the noisy picture."""
    small = replace(PROTOCOLS["daps-box"], side=64, pictures=2, metrics=("psnr",))
    small = replace(small, masks={"box": replace(small.masks["box"], options={"h": 1, "w": 1})})
    pictures = {str(i): np.full((64, 64, 3), 128, np.uint8) for i in range(2)}
    (row,) = run_protocol(tiny_pipe(), small, pictures, methods={"two": JumpSchedule.paper(2, 1, 1)})
    assert row.value is not None
    # .05 of [-1, 1] is .025 of white. One of 4096 pixels is wrong by at most half of white: 0.4 dB less at most.
    assert row.value == pytest.approx(-20 * np.log10(0.025), abs=0.5)


def test_published_masks_come_from_files(tmp_path: Path) -> None:
    """If this fails, files of masks are ignored, inverted or exchanged."""
    protocol = PROTOCOLS["copaint"]
    pictures = {name: np.zeros((16, 16, 3), np.uint8) for name in "ab"}
    assert "text" not in chosen_masks(protocol)
    (tmp_path / "text").mkdir()
    for name, column in (("a", 2), ("b", 5)):
        keep = np.full((16, 16), 255, np.uint8)
        keep[:, column] = 0
        Image.fromarray(keep).save(tmp_path / "text" / f"{name}.png")
    holes = protocol_holes(protocol, pictures, "text", tmp_path)
    assert "text" in chosen_masks(protocol, masks=tmp_path)
    assert [np.flatnonzero(hole.mask[0]).tolist() for hole in holes] == [[2], [5]]
    with pytest.raises(InputError, match=r"text: no mask c\.\* for the picture c\."):
        protocol_holes(protocol, {"c": pictures["a"]}, "text", tmp_path)


def test_a_converted_guided_diffusion_prior(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, the command does not run from the published layout of weights to the table."""
    monkeypatch.chdir(tmp_path)
    flags = Flags(mults=(1,) * 6, attention=())
    torch.save(random_state(flags), "model.pt")
    settings = ("--noise-schedule", "linear", "--head-channels", "16", "--no-new-attention-order")
    assert run("priors", "convert", "model.pt", "--out", "prior", *settings).status == 0
    Path("two.yaml").write_text(TWO)
    generated(tmp_path / "data", 2, 256)
    options = ("--data", "data", "--prior", "prior", "--schedule", "two.yaml", "--mask", "half", "--limit", "1")
    done = run("bench", "--protocol", "repaint-table1", *options, "--threads", "1", "--json")
    assert done.status == 0, done.err
    report = json.loads(done.out)
    (row,) = report["rows"]
    assert (row["mask"], row["method"], row["pictures"]) == ("half", "two", 1)
    if "lpips_alex" in report["missing"]:
        assert row["value"] is None


def test_a_trial_is_called_one(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, a picture passes for a hundred, or published figures are not printed beside measured ones."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    tiny_folder_pipeline().save_pretrained("prior")
    generated(tmp_path / "data", 1, 256)
    backbone = generated_alexnet(tmp_path, monkeypatch)
    Path("paper.yaml").write_text(TWO)
    options = ("--data", "data", "--prior", "prior", "--schedule", "paper.yaml", "--mask", "expand", "--limit", "1")
    done = run("bench", *options, "--protocol=repaint-table1", "--threads", "1", "--lpips-backbone", backbone)
    assert done.status == 0, done.err
    assert "0.435 (CelebA-HQ), 0.629 (ImageNet)" in done.out
    assert "A trial: 1 of 100 pictures" in done.out + done.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["repaint-table1"], "data: 1 pictures, but repaint-table1 needs exactly 100. For a trial with fewer, pass"),
        (["diffpir-box"], "000.png: 32 x 32 pixels, but diffpir-box needs 256 x 256."),
        (["repaint-table1", "--limit", "2"], "limit=2 must be an integer from 1 to 1 (pictures in data)"),
        (["repaint-table1", "--limit", "1", "--mask", "hafl"], "mask=hafl must be one of wide,"),
        (["copaint", "--mask", "text"], "mask=text exists only as files. Pass its folder with --masks."),
        (["repaint-table1", "--masks", "nowhere"], "nowhere: no such folder."),
        (["repaint-tabel1"], "--protocol repaint-tabel1 must be one of repaint-table1,"),
        (["repaint-table1", "--lpips-backbone", "data/000.png"], "000.png: SHA-256 begins with "),
        (["diffpir-box", "--inception", "data/000.png"], "000.png: SHA-256 begins with "),
        (
            ["repaint-table1", "--lpips-backbone", "none.pth"],
            "none.pth: no such file. Download alexnet-owt-7be5be79",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], message: str
) -> None:
    """If this fails, a wrong folder or file ends in a traceback, or only after hours of filling."""
    if "--inception" in options:
        pytest.importorskip("torch_fidelity")
    monkeypatch.chdir(tmp_path)
    generated(tmp_path / "data", 1, 32)
    done = run("bench", "--data", "data", "--prior", "no-prior", "--protocol", *options)
    assert done.status == 2
    assert message in done.err
    assert done.err.count("\n") == 1


def test_fid_by_torch_fidelity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, FID or KID does not tell equal sets from different ones, or accepts random weights."""
    pytest.importorskip("torch_fidelity")
    from repaint.lab.quality.feature_distances import feature_distances

    a = list(np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8))
    b = [picture // 4 for picture in a]
    with pytest.raises(InputError, match=r"inception\.pth: no such file"):
        feature_distances(a, b, tmp_path / "inception.pth", layer="64")
    file = generated_inception(tmp_path, monkeypatch)
    same, other = (feature_distances(a, with_, file, layer="64") for with_ in (a, b))
    assert abs(same["fid"]) < 1e-3 * other["fid"]
    assert same["kid"] < other["kid"]
    with pytest.raises(InputError, match=r"at least 2 pictures, not 1"):
        feature_distances(a[:1], b, file)


@pytest.mark.slow
def test_fid_of_a_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, FID is missing in the table though its weights are given, or present though they are not.

    Slow: eigenvalues of 2048 x 2048 features.
    """
    pytest.importorskip("torch_fidelity")
    small = replace(PROTOCOLS["diffpir-box"], side=32, metrics=("fid", "kid"))
    small = replace(small, masks={"box": replace(small.masks["box"], options={"h": 16, "w": 16})})
    pictures = protocol_pictures(small, generated(tmp_path / "data", 3, 32))
    walks = {"diffpir-20": JumpSchedule.paper(2, 1, 1)}
    backbones = Backbones(inception=generated_inception(tmp_path, monkeypatch))
    fid, kid = run_protocol(tiny_pipe(), small, pictures, methods=walks, backbones=backbones)
    assert fid.value is not None
    assert fid.value > 0
    assert fid.low is None
    assert [each.value for each in fid.published] == [35.72]
    assert kid.value is not None
    without = list(run_protocol(tiny_pipe(), small, pictures, methods=walks))
    assert [row.value for row in without] == [None, None]
    assert list(Backbones().missing(small)) == ["fid", "kid"]
