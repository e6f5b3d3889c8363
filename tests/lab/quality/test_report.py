"""A benchmark's report: what it writes is what was measured, and differences are those of the named methods."""

from __future__ import annotations

import csv
import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.tiny_priors import tiny_pipe

from repaint.errors import InputError
from repaint.lab.calibration.proper_scores import crps, energy_score
from repaint.lab.quality.cases import texture_holes
from repaint.lab.quality.report import Report, bench, save
from repaint.measure.intervals import paired_difference
from repaint.sampling.method import Method
from repaint.sampling.schedule import JumpSchedule


@pytest.fixture(scope="module")
def report() -> Report:
    """Three small holes, two short walks, two seeds, a tiny random prior."""
    holes = [replace(hole, conditions={}) for hole in texture_holes()[:3]]
    walks = {"two": JumpSchedule.paper(2, 1, 1), "three": JumpSchedule.paper(3, 1, 1)}
    return bench(tiny_pipe(), holes, walks, seeds=2)


def test_the_floor_is_the_truth(report: Report) -> None:
    """If this fails, the floor is not that of the true content, and scores have no reference."""
    summary = report.summary()
    assert list(summary) == ["real (floor)", "biharmonic", "two", "three"]
    assert summary["real (floor)"]["psnr"] is None, "infinite"
    assert summary["real (floor)"]["ssim"] == 1
    assert summary["two"]["model_calls"] == 2
    assert summary["biharmonic"]["diversity"] is None
    assert summary["two"]["diversity"] > 0
    for name in ("energy", "crps", "diversity_ssim"):
        assert summary["real (floor)"][name] is None, "one result"
        assert summary["two"][name] > 0
    assert (summary["two"]["diversity_lpips"] is None) is ("lpips_alex" in report.missing)
    assert set(report.missing) | {kind for kind in report.values if kind.startswith("lpips")} == {
        "lpips_alex",
        "lpips_vgg",
        "lpips_squeeze",
    }


def test_scores_of_several_results(report: Report) -> None:
    """If this fails, CRPS or energy score are of other values than those in the hole, or of another method."""
    values = [
        (np.stack([image[hole.mask].ravel() for image in many]) * 1.0, hole.image[hole.mask].ravel() * 1.0)
        for hole, many in zip(report.holes, report.filled["two"].images, strict=True)
    ]
    for name, of in (("crps", crps), ("energy", energy_score)):
        assert report.summary()["two"][name] == pytest.approx(np.mean([of(*each) for each in values]))


def test_differences_are_the_first_schedule_less_the_others(report: Report) -> None:
    """If this fails, a better method is reported as worse."""
    found = {kind: (name, difference) for kind, name, difference in report.differences()}
    assert {"psnr", "ssim", "patches", "gradients", "loss"} <= set(found)
    name, difference = found["psnr"]
    assert name == "two - three"
    psnrs = report.values["psnr"]
    assert difference.mean == pytest.approx(np.mean(psnrs["two"] - psnrs["three"]))


def test_holes_of_one_photograph_are_resampled_together(report: Report) -> None:
    """If this fails, holes of one photograph count as independent, and intervals are too narrow."""
    names = [hole.picture for hole in report.holes]
    assert len(set(names)) == 1
    apart = replace(report, holes=[replace(report.holes[0], source="a"), *report.holes[1:]])
    psnrs = {kind: difference for kind, _, difference in apart.differences()}["psnr"]
    values = report.values["psnr"]
    assert psnrs == paired_difference(values["two"], values["three"], clusters=["a", *names[1:]])
    assert psnrs != paired_difference(values["two"], values["three"])


def test_reports_hold_every_result(report: Report, tmp_path: Path) -> None:
    """If this fails, rows are lost or doubled, or do not agree with the summary."""
    for name in ("report.csv", "report.json", "report.md"):
        save(report, tmp_path / name)
    rows = list(csv.DictReader((tmp_path / "report.csv").open()))
    assert len(rows) == 3 + 3 + 3 * 2 + 3 * 2
    assert len({(row["method"], row["hole"], row["seed"]) for row in rows}) == len(rows)
    mean = np.mean([float(row["ssim"]) for row in rows if row["method"] == "three"])
    data = json.loads((tmp_path / "report.json").read_text())
    assert data["summary"]["three"]["ssim"] == pytest.approx(mean)
    assert len(data["rows"]) == len(rows)
    table = (tmp_path / "report.md").read_text()
    assert f"{mean:.4f}".rstrip("0") in table
    assert "| psnr | two - three |" in table


def test_a_measure_without_a_value_is_explained(tmp_path: Path) -> None:
    """If this fails, a hole thinner than a patch gives a difference of +nan, or an empty cell without a reason."""
    (hole,) = texture_holes()[:1]
    mask = np.zeros_like(hole.mask)
    mask[20:24, 10:40] = True
    walks = {"two": JumpSchedule.paper(2, 1, 1), "three": JumpSchedule.paper(3, 1, 1)}
    report = bench(tiny_pipe(), [replace(hole, mask=mask, conditions={})], walks)
    assert report.summary()["two"]["patches"] is None
    assert report.missing["patches"].startswith("1 of 1 holes: thinner than 14 pixels, or")
    assert "gradients" not in report.missing
    assert {kind for kind, _, _ in report.differences()} & {"psnr", "patches", "gradients"} == {"psnr", "gradients"}
    save(report, tmp_path / "report.md")
    table = (tmp_path / "report.md").read_text()
    assert "nan" not in table
    assert "n/a" in table


def test_holes_at_the_border_of_one_pixel_and_in_flat_pictures_do_not_end_a_benchmark(tmp_path: Path) -> None:
    """If this fails, one hole that a measure is not defined for discards hours of work, or is not reported."""
    (hole,) = (replace(each, conditions={}) for each in texture_holes()[:1])
    border, lines = np.zeros((2, *hole.mask.shape), dtype=bool)
    border[:, :4], lines[::2] = True, True
    flat = np.full_like(hole.image, 128)
    holes = [hole, *(replace(hole, mask=mask, real=~mask) for mask in (border, lines)), replace(hole, image=flat)]
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        report = bench(tiny_pipe(), holes, {"two": JumpSchedule.paper(2, 1, 1)}, seeds=2)
        alone = bench(tiny_pipe(), [replace(hole, image=flat)], {"two": JumpSchedule.paper(2, 1, 1)})
    ssims = report.values["ssim"]["two"]
    assert np.isnan(ssims[1]).all()
    assert report.summary()["two"]["ssim"] == pytest.approx(ssims[[0, 2, 3]].mean())
    assert report.missing["ssim"] == "1 of 4 holes: nearer to the border of the picture than 5 pixels."
    assert report.summary()["two"]["diversity_ssim"] > 0
    assert alone.summary()["biharmonic"]["seam"] is None
    save(report, tmp_path / "report.md")
    assert "ssim n/a: 1 of 4 holes" in (tmp_path / "report.md").read_text()


def test_a_method_without_noise_has_one_result_per_hole() -> None:
    """If this fails, a benchmark of several seeds fails at a schedule of temperature 0, after the others are done."""
    hole = replace(texture_holes()[0], conditions={})
    walk = Method(JumpSchedule.paper(2, 1, 1))
    report = bench(tiny_pipe(), [hole], {"drawn": walk, "mean": replace(walk, temperature=0)}, seeds=2)
    assert [len(report.filled[name].images[0]) for name in ("drawn", "mean")] == [2, 1]
    assert report.summary()["mean"]["energy"] is None
    assert {name for _, name, _ in report.differences()} == {"drawn - mean"}


def test_a_report_that_cannot_be_written_is_refused(report: Report, tmp_path: Path) -> None:
    """If this fails, results are lost because of a typo in the suffix."""
    with pytest.raises(InputError, match=r"report\.xls: the suffix of a report must be one of \.csv, \.json, \.md\."):
        save(report, tmp_path / "report.xls")
    with pytest.raises(InputError, match="no folder"):
        save(report, tmp_path / "nowhere" / "report.csv")
