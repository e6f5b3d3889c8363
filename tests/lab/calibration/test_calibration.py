"""Calibration end to end on a prior whose posterior is known, and its command."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from repaint.cli import app
from repaint.cli.calibrate import _table
from repaint.errors import InputError, ScheduleError
from repaint.lab.calibration.calibration_plot import calibration_plot
from repaint.lab.calibration.calibration_run import CalibrationRun
from repaint.lab.calibration.calibration_summary import calibrations
from repaint.lab.calibration.hole_kinds import draw_hole
from repaint.lab.calibration.proper_scores import rank_test, score_hole
from repaint.lab.calibration.scored_fills import fill_batches, fill_cells, hole_seed, score_batch
from repaint.lab.calibration.truths import fingerprint, picture_truths, prior_truths, sample_shape
from repaint.measure.distances import energy_distance
from repaint.measure.intervals import mean_interval
from repaint.priors.gaussian import GaussianMixturePrior
from repaint.sampling.method import Method, as_method
from repaint.sampling.prior import Conditions
from repaint.sampling.sampler import Sampler
from repaint.sampling.schedule import JumpSchedule
from repaint.sampling.solvers import DDPM
from repaint.testing import PixelByPixelPrior

SIDE = 4


def fields() -> GaussianMixturePrior:
    """Two smooth random fields of 4 x 4 pixels with different means."""
    rows, columns = np.mgrid[:SIDE, :SIDE].reshape(2, -1)
    squared = (rows[:, None] - rows) ** 2 + (columns[:, None] - columns) ** 2
    covariance = torch.from_numpy(0.5 * np.exp(-squared / 4) + 0.02 * np.eye(SIDE**2))
    means = torch.stack([torch.full((SIDE**2,), value, dtype=torch.float64) for value in (-0.6, 0.6)])
    return GaussianMixturePrior(torch.ones(2), means, covariance.expand(2, -1, -1), shape=(1, SIDE, SIDE))


def rows_of(prior: GaussianMixturePrior, truths: torch.Tensor, methods: list[Method], samples: int) -> list[dict]:
    cells = fill_cells(methods, ["box"], len(truths), samples, seed=0, facts={})
    return [row for batch in fill_batches(cells, 100) for row in score_batch(prior, truths, batch, unit=1.0)]


def test_the_energy_score_agrees_with_the_exact_error() -> None:
    """If this fails, `repaint calibrate` and `repaint exactness` rank methods differently where both can be computed.

    A method's energy score exceeds that of exact fills by half its energy distance to the exact posterior.
    """
    prior, count, samples = fields(), 150, 8
    truths = prior.sample(count, torch.Generator().manual_seed(0)).reshape(count, 1, SIDE, SIDE)
    method = as_method("none")
    method = Method(as_method("fast").schedule, name="poor", spacing="linspace")
    rows = rows_of(prior, truths, [method], samples)
    cells = fill_cells([method], ["box"], count, samples, seed=0, facts={})
    differences, distances = [], []
    for row in rows:
        cell = cells[row["index"]]
        hole = ~torch.from_numpy(_hole(row))
        x0 = truths[cell.index].flatten()
        posterior = prior.posterior(hole.flatten().nonzero()[:, 0], x0[hole.flatten()])
        exact = posterior.sample(256, torch.Generator().manual_seed(row["index"]))
        truth = x0[~hole.flatten()]
        rng = np.random.default_rng(0)
        best = score_hole(exact.numpy(), truth.numpy(), np.ones((1, exact.shape[1])), rng)
        differences.append(row["energy"] - best.energy)
        sampler = Sampler(prior, method)
        start = sampler.start(x0.reshape(1, 1, SIDE, SIDE).expand(64, -1, -1, -1), hole, [row["index"]])
        *_, last = sampler.run(start)
        fills = last.x.reshape(64, -1)[:, ~hole.flatten()]
        distances.append(energy_distance(fills, exact) / 2 / np.sqrt(exact.shape[1]))
    error = np.hypot(np.std(differences), np.std(distances)) / np.sqrt(count)
    assert np.mean(distances) > 5 * np.std(distances) / np.sqrt(count), "the method must have an error to measure"
    assert np.mean(differences) == pytest.approx(np.mean(distances), abs=3 * error)


def _hole(row: dict) -> np.ndarray:
    return draw_hole(row["kind"], SIDE, SIDE, hole_seed(row["seed"], row["index"]))


def test_a_good_method_is_calibrated_and_a_collapsed_one_is_not() -> None:
    """If this fails, the command cannot see overconfidence, for which it is made."""
    prior = fields()
    truths = prior_truths(prior, (1, SIDE, SIDE), 150)
    good = as_method("balanced")
    collapsed = as_method("balanced", solver="ddim(0)", corrector="langevin(3, h=5)")
    collapsed = Method(**{**vars(collapsed), "name": "collapsed"})
    found = {each.schedule: each for each in calibrations(rows_of(prior, truths, [good, collapsed], 4))}
    assert found["balanced"].ratio == pytest.approx(1, abs=0.1)
    assert found["collapsed"].ratio < 0.9
    assert found["collapsed"].against is not None
    assert found["collapsed"].against.mean > 0


def test_rows_without_crps_are_summarised() -> None:
    """If this fails, files of an earlier version cannot be resumed, or their CRPS is that of a part of the holes."""
    prior = fields()
    rows = rows_of(prior, prior_truths(prior, (1, SIDE, SIDE), 2), [as_method("fast")], 2)
    (whole,) = calibrations(rows)
    assert whole.crps == pytest.approx(np.mean([row["crps"] for row in rows]))
    del rows[0]["crps"]
    (part,) = calibrations(rows)
    assert part.crps is None
    assert part.energy == whole.energy


def test_holes_of_one_picture_are_resampled_together() -> None:
    """If this fails, crops of a few photographs count as independent, or rows of an earlier version cannot be read."""
    base = {"kind": "box", "samples": 2, "crps": 1.0, "model_calls": 3, "seconds": 1.0, "schedule": "fast"}
    smooth, pixels = (
        np.array([[i % 4, 1, 3 - i % 4] for i in range(8)]),
        np.array([[3 - i, 8, i] for i in range(8)]) % 5,
    )
    rows = [
        base
        | {"index": i, "energy": 1.0 + i, "error": 2.0 + i % 4, "spread": 1.0 + i % 4}
        | {"pixel_ranks": pixels[i].tolist(), "smooth_ranks": smooth[i].tolist()}
        for i in range(8)
    ]
    other = [row | {"schedule": "quick", "energy": row["energy"] + row["index"] % 4} for row in rows]
    named = [row | {"picture": f"p{row['index'] % 4}"} for row in rows]
    (old, after), (first, second) = calibrations([*rows, *other]), calibrations([*named, *other])
    assert (old.holes, old.units, first.holes, first.units) == (8, 8, 8, 4)
    clusters = [row["picture"] for row in named]
    gaps = np.arange(8.0) % 4
    assert after.against == mean_interval(gaps)
    assert second.against == mean_interval(gaps, clusters=clusters)
    assert first.ratio == old.ratio
    assert first.ratio_high - first.ratio_low > old.ratio_high - old.ratio_low
    for ranks, alone, together in ((smooth, old.smooth, first.smooth), (pixels, old.pixels, first.pixels)):
        assert alone == rank_test(ranks)
        assert together == rank_test(ranks, clusters)
        assert None not in (alone.p, together.p)
        assert alone.p != together.p


def test_only_holes_that_all_methods_filled_count() -> None:
    """If this fails, a method that was interrupted is compared over other holes than the rest, such as easier ones."""
    base = {"samples": 2, "crps": 1.0, "model_calls": 3, "seconds": 1.0, "spread": 1.0}
    base |= {"pixel_ranks": [1, 2, 3], "smooth_ranks": [2, 0, 2]}

    def rows(name: str, energies: dict[int, float]) -> list[dict]:
        kinds = ("box", "half")
        return [
            base | {"schedule": name, "index": i, "kind": kinds[i % 2], "energy": energy, "error": 1.0 + 3 * i}
            for i, energy in energies.items()
        ]

    whole, part = rows("whole", {0: 1.0, 1: 2.0, 2: 6.0, 3: 50.0}), rows("part", {2: 4.0, 1: 1.0, 0: 1.0})
    first, second = calibrations([*whole, *part])
    assert (first.energy, second.energy, first.holes, second.holes) == (3, 2, 3, 3)
    assert first.kinds == {"box": 3.5, "half": 2}
    assert second.against == mean_interval(np.array([0.0, -1.0, -2.0]))
    assert first.ratio == pytest.approx(1 / 2)  # the mean error of 1, 4 and 7 is 4
    assert 0 <= first.ratio_low < 1 / 2 < first.ratio_high
    assert (first.against, [each.front for each in (first, second)]) == (None, [False, True])
    first, second = calibrations([*whole, *part], "part")
    assert (first.against, second.against) == (mean_interval(np.array([0.0, 1.0, 2.0])), None)
    assert calibrations([*whole[3:], *part]) == []


def test_gradient_calls_count_for_the_front() -> None:
    """If this fails, a method that differentiates through the network counts as cheap as one that does not."""
    base = {"kind": "box", "samples": 2, "index": 0, "crps": 1.0, "seconds": 1.0, "error": 1.0, "spread": 1.0}
    base |= {"pixel_ranks": [1, 2, 3], "smooth_ranks": [2, 0, 2]}
    rows = [
        base | {"schedule": name, "model_calls": calls, "energy": energy, **cost}
        for name, calls, energy, cost in (
            ("guided", 20, 2.0, {"cost": 60}),
            ("plain", 40, 1.9, {"cost": 40}),
            ("old", 10, 3.0, {}),
        )
    ]
    found = calibrations(rows)
    assert [(each.model_calls, each.cost, each.front) for each in found] == [
        (20, 60, False),
        (40, 40, True),
        (10, 10, True),
    ]
    assert calibration_plot(found).axes[0].get_xlabel() == "cost (model calls; one with its gradient counts as three)"
    assert calibration_plot(found[1:]).axes[0].get_xlabel() == "model calls"
    assert [column.header for column in _table(found).columns][1:3] == ["calls", "cost"]
    assert "cost" not in [column.header for column in _table(found[1:]).columns]


def test_rows_hold_the_cost() -> None:
    """If this fails, rows of a guided method lack the cost of its gradients."""
    prior = fields()
    guided = as_method(JumpSchedule.paper(3, 1, 1), merge="none", guidance="dps(1)")
    assert guided.cost == 3 * guided.model_calls
    (row,) = rows_of(prior, prior_truths(prior, (1, SIDE, SIDE), 1), [guided], 2)
    assert (row["model_calls"], row["cost"]) == (guided.model_calls, guided.cost)


def test_rows_name_the_picture_of_their_hole(tmp_path: Path) -> None:
    """If this fails, holes of one photograph cannot be resampled together."""
    from PIL import Image

    for name in "ab":
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(
            tmp_path / f"{name}.png"
        )
    methods = [Method(as_method("fast").schedule, name="one")]
    run = CalibrationRun(
        PixelByPixelPrior(), methods, tmp_path / "rows.jsonl", ["box"], count=3, samples=2, side=16, truth=tmp_path
    )
    run.fill()
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [row["picture"] for row in sorted(rows, key=lambda row: row["index"])] == ["a", "b", "a"]
    assert run.summary()[0].units == 2


def test_rows_belong_to_their_pictures(tmp_path: Path) -> None:
    """If this fails, a run over a changed folder adds holes of other pictures to rows under the same names."""
    from PIL import Image

    def run(folder: Path) -> CalibrationRun:
        methods = [Method(as_method("fast").schedule, name="one")]
        rows = tmp_path / "rows.jsonl"
        return CalibrationRun(PixelByPixelPrior(), methods, rows, ["box"], count=2, samples=2, side=16, truth=folder)

    folder = tmp_path / "pictures"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    run(folder).fill()
    moved = folder.rename(tmp_path / "moved")
    assert run(moved).done == 2
    Image.fromarray(pixels).save(moved / "b.png")
    with pytest.raises(InputError, match=r"rows\.jsonl line 1: from another run \(truth is 'pictures \w+' instead of"):
        run(moved)


def test_a_side_that_the_prior_does_not_take(tmp_path: Path) -> None:
    """If this fails, the error is one about weights, from inside the network."""
    prior = PixelByPixelPrior()
    prior.multiple_of = 8
    with pytest.raises(InputError, match="side of the samples is 33, but must be a multiple of 8 pixels"):
        CalibrationRun(prior, [as_method("fast")], tmp_path / "rows.jsonl", side=33)


def test_results_do_not_depend_on_the_batch() -> None:
    """If this fails, a resumed or sharded run has other rows than an unbroken one."""
    prior = fields()
    truths = prior_truths(prior, (1, SIDE, SIDE), 4)
    cells = fill_cells([as_method("fast")], ["box", "lines"], 4, 3, seed=5, facts={})
    together = score_batch(prior, truths, cells)
    apart = [row for cell in cells for row in score_batch(prior, truths, [cell])]
    assert [row["energy"] for row in together] == pytest.approx([row["energy"] for row in apart], rel=1e-9)
    assert [row["kind"] for row in together] == ["box", "lines", "box", "lines"]


THREE = as_method(JumpSchedule.paper(3, 1, 1))


def test_every_hole_and_every_fill_has_its_own_noise() -> None:
    """If this fails, all holes have one place, or their fills share noise, so that more holes average nothing out."""
    prior = fields()
    truth = prior_truths(prior, (1, SIDE, SIDE), 1).expand(24, -1, -1, -1)
    rows = {
        seed: score_batch(prior, truth, fill_cells([THREE], ["half"], 24, 2, seed=seed, facts={})) for seed in (0, 1)
    }
    assert len({_hole(row).tobytes() for row in rows[0]}) == 4, "each half of the picture"
    assert len({row["energy"] for row in rows[0] + rows[1]}) == 48, "equal truths and holes, but other fills"


@pytest.mark.parametrize("name", ["fast", "thin"])  # thin begins at a smooth fill
def test_fills_never_read_the_truth(name: str) -> None:
    """If this fails, a method that looks at the truth under the hole is called the best one."""
    prior, method = fields(), as_method(name)
    truths = prior_truths(prior, (1, SIDE, SIDE), 3)
    first = rows_of(prior, truths, [method], 2)
    hidden = torch.stack([torch.from_numpy(_hole(row)) for row in first])[:, None]
    second = rows_of(prior, torch.where(hidden, truths + 1, truths), [method], 2)
    assert [row["spread"] for row in first] == [row["spread"] for row in second]
    assert all(a["error"] != b["error"] for a, b in zip(first, second, strict=True))


def test_scores_are_in_8_bit_values_and_calls_are_counted() -> None:
    """If this fails, a published score has another unit, or the progress bar another total."""
    prior, calls = fields(), []
    truths = prior_truths(prior, (1, SIDE, SIDE), 3)
    cells = fill_cells([THREE], ["box"], 3, 2, seed=0, facts={})
    plain = score_batch(prior, truths, cells, unit=1.0)
    scaled = score_batch(prior, truths, cells, on_call=calls.append)
    for name, factor in (("energy", 127.5), ("crps", 127.5), ("error", 127.5**2), ("spread", 127.5**2)):
        assert [row[name] for row in scaled] == pytest.approx([factor * row[name] for row in plain], rel=1e-9)
    assert sum(calls) == THREE.model_calls * 3 * 2


@dataclass
class Captioned(PixelByPixelPrior):
    """Latents of 2 x 2 pixels under a prompt."""

    channels: int = 1
    latent_factor: int = 2
    serves: tuple[str, ...] = ("prompt", "guidance_scale")

    def conditioned(self, count: int, conditions: Conditions) -> Captioned:
        assert (len(conditions.prompt), conditions.guidance_scale) == (count, 1.0), "guidance changes the distribution"
        assert conditions.size == (8, 8)
        return self

    def encode(self, image: torch.Tensor, known: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return image[:, :, ::2, ::2], known[:, :, ::2, ::2]

    def decode(self, x: torch.Tensor) -> torch.Tensor:
        return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def test_latents_are_scored_as_pixels_and_without_guidance(tmp_path: Path) -> None:
    """If this fails, latent priors cannot be calibrated, or truths of one prompt are taken for those of another."""
    prior, shape, cache = Captioned(), (1, 4, 4), tmp_path / "truths.npz"
    assert sample_shape(prior, 8) == shape
    truths = prior_truths(prior, shape, 2, prompt="a cat", cache=cache)
    with pytest.raises(InputError, match=r"was drawn with prior Captioned \w+ 'a cat', not Captioned \w+ 'a dog'"):
        prior_truths(prior, shape, 2, prompt="a dog", cache=cache)
    cells = fill_cells([THREE], ["box"], 2, 2, seed=0, facts={})
    for row in score_batch(prior, truths, cells, prompt="a cat"):
        assert sum(row["pixel_ranks"]) == 4 * int(draw_hole("box", 4, 4, hole_seed(0, row["index"])).sum())


def test_a_cache_is_resumed_and_belongs_to_one_prior(tmp_path: Path) -> None:
    """If this fails, truths of another model are scored, or drawn again at every run."""
    prior, cache = fields(), tmp_path / "truths.npz"
    calls: list[int] = []
    first = prior_truths(prior, (1, SIDE, SIDE), 3, cache=cache, on_call=calls.append)
    assert sum(calls) == 3 * 200
    more = prior_truths(prior, (1, SIDE, SIDE), 5, cache=cache, on_call=calls.append)
    assert sum(calls) == 5 * 200
    assert torch.equal(first, more[:3])
    torch.testing.assert_close(more, prior_truths(prior, (1, SIDE, SIDE), 5))
    with pytest.raises(InputError, match=r"truths\.npz: was drawn with seed 0, not 1\. Delete it, or pass another"):
        prior_truths(prior, (1, SIDE, SIDE), 3, seed=1, cache=cache)
    other = GaussianMixturePrior(
        torch.ones(1), torch.zeros(1, SIDE**2), torch.eye(SIDE**2)[None], shape=(1, SIDE, SIDE)
    )
    with pytest.raises(InputError, match=r"was drawn with prior GaussianMixturePrior \w+, not GaussianMixturePrior"):
        prior_truths(other, (1, SIDE, SIDE), 3, cache=cache)
    cache.write_bytes(b"not an archive")
    with pytest.raises(InputError, match=r"truths\.npz: cannot be read .*\. Delete it, or pass another cache\.$"):
        prior_truths(prior, (1, SIDE, SIDE), 3, cache=cache)


def test_a_prior_is_more_than_its_network() -> None:
    """If this fails, draws of a prior are reused after its noise schedule or its autoencoder was replaced."""
    shape, config = (3, 8, 8), {"beta_schedule": "squaredcos_cap_v2"}
    plain, other = PixelByPixelPrior(), PixelByPixelPrior(scheduler=config)
    assert fingerprint(plain, shape) == fingerprint(PixelByPixelPrior(), shape) != fingerprint(other, shape)
    network = torch.nn.Linear(2, 2)
    found = set()
    for autoencoder in (None, torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)):
        prior = PixelByPixelPrior()
        prior.network, prior.autoencoder = network, autoencoder
        found.add(fingerprint(prior, shape))
    assert len(found) == 3


def test_pictures_as_truth(tmp_path: Path) -> None:
    """If this fails, held-out pictures cannot be used, or one of another size is resized silently."""
    from PIL import Image

    prior = PixelByPixelPrior()
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    truths = picture_truths(prior, tmp_path, 16, 3)
    assert truths.shape == (3, *sample_shape(prior, 16))
    values = (truths * 127.5 + 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (16, 16), axis=(0, 1)).transpose(0, 1, 3, 4, 2)
    assert all((windows == value).all(axis=(2, 3, 4)).any() for value in values)
    assert len({value.tobytes() for value in values}) == 3, "each crop has its own place"
    assert torch.equal(picture_truths(prior, tmp_path, 16, 2), truths[:2])
    assert not torch.equal(picture_truths(prior, tmp_path, 16, 2, seed=1), truths[:2])
    with pytest.raises(InputError, match=r"a\.png: 30 x 20 must be at least 24 x 24 pixels\. Lower --size\."):
        picture_truths(prior, tmp_path, 24, 1)


def test_methods_need_different_names(tmp_path: Path) -> None:
    """If this fails, the rows of two methods are averaged as if they were one's."""
    methods = [as_method("fast"), replace(as_method("quick"), name="fast")]
    with pytest.raises(ScheduleError, match="names of schedules must differ, but 'fast' is repeated"):
        CalibrationRun(fields(), methods, tmp_path / "rows.jsonl", ["box"], count=2, samples=2, side=SIDE)


@dataclass(frozen=True)
class Exploding(DDPM):
    """A solver that diverges."""

    def step(self, *given: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        x, carry = super().step(*given)
        return x * math.inf, carry


def test_a_method_that_diverges_is_left_out(tmp_path: Path) -> None:
    """If this fails, one diverging method ends a run of hours, or is ranked by the holes where it did not diverge."""
    methods = [replace(as_method("fast"), name="wild", solver=Exploding()), as_method("fast")]
    run = CalibrationRun(fields(), methods, tmp_path / "rows.jsonl", ["box"], count=4, samples=2, side=SIDE)
    run.fill(batch=2)
    assert list(run.diverged) == ["wild"]
    assert "holds NaN or infinity" in run.diverged["wild"]
    assert [(each.schedule, each.holes) for each in run.summary()] == [("fast", 4)]


def test_a_live_prior_is_shared_out(tmp_path: Path) -> None:
    """If this fails, two processes give other rows than one, or a finished run draws and fills again."""
    methods = [as_method("fast"), as_method("quick")]

    def run(name: str) -> CalibrationRun:
        return CalibrationRun(fields(), methods, tmp_path / name, ["box"], count=6, samples=2, side=SIDE)

    alone = run("alone.jsonl")
    alone.fill(batch=2)
    for process in (0, 1):
        shared = run("shared.jsonl")
        shared.fill(batch=2, process=process, processes=2)
        assert shared.done == (6, 12)[process]
    assert [each.energy for each in shared.summary()] == [each.energy for each in alone.summary()]
    assert run("alone.jsonl").draw() is None


def test_the_command_resumes(tmp_path: Path) -> None:
    """If this fails, the command prints no table, or computes rows twice."""
    out = tmp_path / "rows.jsonl"
    walk = tmp_path / "three.yaml"
    walk.write_text("steps: 3\nspacing: karras\nsolver: multistep(1)\n")
    arguments = [*("calibrate", "--prior", "textures", "--size", "16", "--count", "2", "--samples", "2"), "--json"]
    arguments += ["--schedule", str(walk), "--kind", "box", "--cache", str(tmp_path / "c.npz"), "--out", str(out)]
    first = CliRunner().invoke(app, [*arguments, "--threads", "1"], catch_exceptions=False)
    assert first.exit_code == 0
    assert json.loads(first.stdout)[0]["holes"] == 2
    before = out.read_bytes()
    second = CliRunner().invoke(app, [*arguments, "--plot", str(tmp_path / "plot.png")], catch_exceptions=False)
    assert json.loads(second.stdout) == json.loads(first.stdout)
    assert out.read_bytes() == before
    assert (tmp_path / "plot.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--samples", "1"], r"^samples=1 must be an integer of at least 2 \(one fill has no spread to score\)\.$"),
        (["--prompt", "a cat"], r"^prompt='a cat' must be left out \(PixelPrior takes no prompt\)\.$"),
        (["--kind", "blob"], r"^--kind blob must be one of lines, box"),
        (["--against", "best"], r"^--against best must be one of fast"),
    ],
)
def test_bad_arguments_of_the_command(arguments: list[str], message: str, tmp_path: Path) -> None:
    """If this fails, a wrong argument gives a number that means nothing, after hours of work."""
    with pytest.raises(InputError, match=message):
        CliRunner().invoke(
            app,
            ["calibrate", "--schedule", "fast", "--size", "16", "--out", str(tmp_path / "r.jsonl"), *arguments],
            catch_exceptions=False,
        )
