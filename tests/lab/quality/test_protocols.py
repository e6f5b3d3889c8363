"""Protocols of the literature: their data, and the way from a folder of pictures to a table."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.backbones import generated_alexnet, generated_inception
from helpers.guided_reference import Flags, random_state
from helpers.shell import Run, run
from helpers.tiny_priors import tiny_folder_pipeline, tiny_pipe
from PIL import Image

from repaint.errors import InputError
from repaint.lab.calibration.proper_scores import crps
from repaint.lab.quality.protocol_fills import ProtocolFills
from repaint.lab.quality.protocol_inputs import chosen_masks, protocol_holes, protocol_pictures
from repaint.lab.quality.protocol_run import METRICS, Backbones, Measured, measured_fills
from repaint.lab.quality.protocols import PROTOCOLS, TestProtocol
from repaint.measure.intervals import mean_interval
from repaint.measure.metrics import diversity, psnr
from repaint.pictures.mask_shapes import generate
from repaint.sampling.method import as_method
from repaint.sampling.schedule import JumpSchedule

__all__ = ["run"]  # a fixture

WALK = JumpSchedule.paper(2, 1, 1)
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


def measured(
    protocol: TestProtocol,
    pictures: dict[str, Any],
    out: Path,
    backbones: Backbones | None = None,
    batch: int = 4,
    **options: Any,
) -> list[Measured]:
    """Fill with a tiny prior and two steps, and measure."""
    fills = ProtocolFills(tiny_pipe(), protocol, pictures, out, **{"methods": {"paper": WALK}, **options})
    fills.fill(batch)
    return list(measured_fills(fills, backbones))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


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
    backbones = Backbones(generated_alexnet(tmp_path, monkeypatch))
    rows = measured(small, pictures, tmp_path / "rows.jsonl", backbones, only=["half"])
    half = generate("half", 64, 64, side="right")[0].numpy() == 0
    filled = [
        tiny_pipe()(picture, half, schedule=WALK, generator=i, output_type="np", crop=None).images[0]
        for i, picture in enumerate(pictures.values())
    ]
    for row, region in zip(rows, (None, half), strict=False):
        each = [psnr(image, picture, region) for image, picture in zip(filled, pictures.values(), strict=True)]
        assert row.value == pytest.approx(np.mean(each))
        assert row.low is not None
        assert row.high is not None
        interval = mean_interval(np.array(each))
        assert (row.low, row.high) == pytest.approx((interval.low, interval.high))
        assert (row.pictures, row.published) == (3, ())
    lpips = rows[2]
    assert lpips.value is not None
    assert lpips.value > 0
    assert {each.data: each.value for each in lpips.published} == {"CelebA-HQ": 0.165, "ImageNet": 0.304}
    again = measured(small, pictures, tmp_path / "again.jsonl", backbones, 1, only=["half"])
    assert again == rows, "the batch changes nothing"


def test_noise_is_in_the_known_part_alone(tmp_path: Path) -> None:
    """If this fails, the observations of DAPS have another noise, or the scores are against the noisy picture."""
    small = replace(PROTOCOLS["daps-box"], side=64, pictures=2, metrics=("psnr",))
    small = replace(small, masks={"box": replace(small.masks["box"], options={"h": 1, "w": 1})})
    pictures = {str(i): np.full((64, 64, 3), 128, np.uint8) for i in range(2)}
    (row,) = measured(small, pictures, tmp_path / "rows.jsonl")
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
    options += ("--out", "rows.jsonl")
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
    options += ("--out", "rows.jsonl")
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
    done = run("bench", "--data", "data", "--prior", "no-prior", "--out", "rows.jsonl", "--protocol", *options)
    assert done.status == 2
    assert message in done.err
    assert done.err.count("\n") == 1


def test_fid_by_torch_fidelity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, a number of a set does not tell equal sets from different ones, or accepts random weights."""
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
    assert (same["precision"], same["recall"]) == (1, 1)
    assert (other["precision"], other["recall"]) == (0, 0)
    copies = [a[0], a[0] ^ 1, a[0] ^ 2, a[0] ^ 3]  # near one picture of four: precise, without the others
    few = feature_distances(copies, a, file, layer="64")
    assert (few["precision"], few["recall"]) == (1, 0.25)
    assert set(feature_distances(a[:3], b, file, layer="64")) == {"fid", "kid"}, "three have no third neighbour"
    with pytest.raises(InputError, match=r"at least 2 pictures, not 1"):
        feature_distances(a[:1], b, file)


@pytest.mark.slow
def test_fid_of_a_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, FID is missing in the table though its weights are given, or present though they are not.

    Slow: eigenvalues of 2048 x 2048 features.
    """
    pytest.importorskip("torch_fidelity")
    small = replace(PROTOCOLS["diffpir-box"], side=32, metrics=("fid",))
    small = replace(small, masks={"box": replace(small.masks["box"], options={"h": 16, "w": 16})})
    pictures = protocol_pictures(small, generated(tmp_path / "data", 3, 32))
    walks = {"diffpir-20": WALK}
    backbones = Backbones(inception=generated_inception(tmp_path, monkeypatch))
    fid, kid, precision, recall = measured(small, pictures, tmp_path / "rows.jsonl", backbones, methods=walks)
    assert fid.value is not None
    assert fid.value > 0
    assert fid.low is None
    assert [each.value for each in fid.published] == [35.72]
    assert kid.value is not None
    assert (precision.value, recall.value) == (None, None), "three pictures have no third neighbour"
    without = measured(small, pictures, tmp_path / "rows.jsonl", methods=walks)
    assert [(row.metric, row.value) for row in without] == [("fid", None)], "not even its weights"
    assert list(Backbones().missing(small)) == ["fid"]


def small_box(folder: Path, count: int = 3) -> tuple[TestProtocol, dict[str, Any]]:
    """A protocol with a box on 32 pixels and no weights, and its pictures."""
    protocol = replace(PROTOCOLS["diffpir-box"], side=32, metrics=("psnr",))
    protocol = replace(protocol, masks={"box": replace(protocol.masks["box"], options={"h": 16, "w": 16})})
    return protocol, protocol_pictures(protocol, generated(folder, count, 32))


def test_several_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, CRPS or diversity are of other fills, or more samples change the published metrics."""
    protocol, pictures = small_box(tmp_path / "data", 2)
    (once,) = measured(protocol, pictures, tmp_path / "rows.jsonl")
    fills = ProtocolFills(tiny_pipe(), protocol, pictures, tmp_path / "rows.jsonl", methods={"paper": WALK}, samples=3)
    fills.fill()
    rows = {row.metric: row for row in measured_fills(fills, Backbones(generated_alexnet(tmp_path, monkeypatch)))}
    assert list(rows) == ["psnr", "energy", "crps", "diversity", "diversity_ssim", "diversity_lpips"]
    assert rows["psnr"] == once
    each = [
        [
            crps(np.stack([i[hole.mask].ravel() for i in many]) * 1.0, hole.image[hole.mask].ravel() * 1.0),
            diversity(many, hole.mask),
        ]
        for hole, many in fills.images("box", "paper")
    ]
    assert [rows["crps"].value, rows["diversity"].value] == pytest.approx(np.mean(each, axis=0))
    assert rows["diversity_ssim"].value > 0
    assert rows["diversity_lpips"].value > 0


def test_an_interrupted_protocol_resumes_to_the_same_bits(tmp_path: Path) -> None:
    """If this fails, days of filling are lost with a killed process, or end with other pictures or figures."""
    protocol, pictures = small_box(tmp_path / "data", 5)
    (tmp_path / "whole").mkdir()
    unbroken = measured(protocol, pictures, tmp_path / "whole" / "rows.jsonl", batch=2, samples=2)
    for stop in (0, 1, 3, 9):
        broken = tmp_path / f"broken {stop}"
        broken.mkdir()
        calls = [0]

        def interrupt(*_: Any, stop: int = stop, calls: list[int] = calls) -> dict[str, Any]:
            calls[0] += 1
            if calls[0] > stop:
                raise KeyboardInterrupt
            return {}

        fills = ProtocolFills(
            tiny_pipe(), protocol, pictures, broken / "rows.jsonl", methods={"paper": WALK}, samples=2
        )
        with pytest.raises(KeyboardInterrupt):
            fills.fill(2, on_call=interrupt)
        assert len(fills.rows.found) == 2 * (stop // 2), "two calls fill a batch of two"
        assert measured(protocol, pictures, broken / "rows.jsonl", batch=2, samples=2) == unbroken
        assert contents(broken) == contents(tmp_path / "whole")
    again = ProtocolFills(tiny_pipe(), protocol, pictures, broken / "rows.jsonl", methods={"paper": WALK}, samples=2)
    assert again.calls(2) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p, d: (replace(p, name="daps-box"), d, {}), "protocol is 'diffpir-box' instead of 'daps-box'"),
        (lambda p, d: (p, {name: 255 - image for name, image in d.items()}, {}), "picture.sha256 is '"),
        (lambda p, d: (p, d, {"seed": 1}), "seed is 0 instead of 1"),
        (lambda p, d: (p, d, {"methods": {"paper": JumpSchedule.paper(3, 1, 1)}}), "method.steps is 2 instead of 3"),
        (lambda p, d: (p, d, {"pipe": tiny_pipe(seed=1)}), "prior is '"),
    ],
)
def test_rows_of_another_run_are_refused(tmp_path: Path, change: Any, message: str) -> None:
    """If this fails, figures of two protocols, priors, data or methods are mixed."""
    protocol, pictures = small_box(tmp_path / "data", 1)
    out = tmp_path / "rows.jsonl"
    measured(protocol, pictures, out)
    protocol, pictures, options = change(protocol, pictures)
    pipe = options.pop("pipe", None) or tiny_pipe()
    with pytest.raises(InputError, match=r"rows\.jsonl line 1: from another run") as refused:
        ProtocolFills(pipe, protocol, pictures, out, **{"methods": {"paper": WALK}, **options})
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_saved_fills_that_changed_are_refused(tmp_path: Path) -> None:
    """If this fails, figures are those of a picture that somebody edited, or a missing one ends in a traceback."""
    protocol, pictures = small_box(tmp_path / "data", 1)
    out = tmp_path / "rows.jsonl"
    rows = measured(protocol, pictures, out)
    (file,) = (tmp_path / "rows.fills").rglob("*.png")
    assert file.name == "000-0.png"
    Image.fromarray(pictures["000"]).save(file)
    with pytest.raises(
        InputError, match=r"000-0\.png: is not the picture that was saved\. Remove the line with \w+ from"
    ):
        measured(protocol, pictures, out)
    file.unlink()
    with pytest.raises(InputError, match=r"000-0\.png: is missing\. Remove the line with"):
        measured(protocol, pictures, out)
    out.unlink()
    assert measured(protocol, pictures, out) == rows
