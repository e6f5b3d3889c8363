"""The training scripts under examples/: interrupted runs resume exactly, and their output loads."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from repaint import RePaintPipeline

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a script of examples/ by name."""
    monkeypatch.syspath_prepend(str(EXAMPLES))

    def load(name: str) -> ModuleType:
        __import__(name)
        return sys.modules[name]

    return load


def test_steps_that_are_already_made_are_refused(tmp_path: Path, script: Any) -> None:
    """If this fails, a run that starts from a model ends at once, without a word."""
    training = script("training")
    args = training.options("", out=str(tmp_path), steps=6, learning_rate=0.1).parse_args(["--precision", "bf16"])
    with pytest.raises(
        SystemExit, match=r"^--steps 6 must be above 7: it counts the steps before --start-from, too\.$"
    ):
        training.train(
            torch.nn.Linear(3, 2),
            lambda _model, _draw: pytest.fail("a step was made"),
            report=lambda _model: {},
            export=lambda _model, _facts: None,
            args=args,
            before={"step": 7, "images": 70, "seconds": 1.0},
        )


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, script: Any) -> None:
    """If this fails, resuming skips or repeats batches, or loses the optimizer, the average or the schedule."""
    training = script("training")

    def run(out: Path, break_at: int | None = None) -> torch.Tensor:
        torch.manual_seed(0)
        exported: list[torch.Tensor] = []

        def loss(model: torch.nn.Module, draw: Any) -> tuple[torch.Tensor, int]:
            if draw.step == break_at:
                raise KeyboardInterrupt
            x = torch.from_numpy(draw.rng.normal(size=(4, 3))).float()
            return (model(x) - torch.randn(4, 2, generator=draw.generator)).square().mean(), 4

        args = training.options("", out=str(out), steps=6, learning_rate=0.1).parse_args(
            ["--save-every", "2", "--precision", "bf16"]
        )
        training.train(
            torch.nn.Linear(3, 2),
            loss,
            report=lambda model: {"bias": float(model.bias[0])},
            export=lambda model, _facts: exported.append(model.weight.clone()),
            args=args,
        )
        return exported[-1]

    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", break_at=5)
    assert torch.equal(run(tmp_path / "broken"), whole)
    log = [json.loads(line) for line in (tmp_path / "broken" / "log.jsonl").read_text().splitlines()]
    assert [(row["step"], row["images"]) for row in log] == [(2, 8), (4, 16), (6, 24)]


def glyphs_of(count: int) -> Any:
    """Return random images in place of emoji_glyphs.variants, which needs a font."""
    return lambda code, copies: np.random.default_rng(code).integers(0, 256, (copies, 64, 64, 3), dtype=np.uint8)


def test_the_emoji_scripts_write_a_stable_diffusion_folder(
    tmp_path: Path, script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails, the bundled prior cannot be retrained: a script fails, or diffusers cannot load its output."""
    from diffusers import StableDiffusionPipeline

    names = {f"{colour} {shape}": i for i, (colour, shape) in enumerate((c, s) for c in "abcdef" for s in "xyz")}
    for name in ("train_emoji_vae", "train_emoji"):
        module = script(name)
        monkeypatch.setattr(module, "code_points", lambda: names)
        monkeypatch.setattr(module, "is_held_out", lambda text: text.endswith("z"))
        monkeypatch.setattr(module, "variants", glyphs_of(len(names)))
        monkeypatch.setattr(module, "BATCH", 2)
        monkeypatch.setattr(module, "VARIANTS", 2)
    given = ["train", "--steps", "2", "--save-every", "2", "--precision", "bf16", "--out"]
    monkeypatch.setattr(sys, "argv", [*given, str(tmp_path / "vae")])
    script("train_emoji_vae").main()
    monkeypatch.setattr(sys, "argv", [*given, str(tmp_path / "prior"), "--vae", str(tmp_path / "vae" / "vae")])
    script("train_emoji").main()

    folder = tmp_path / "prior" / "model"
    facts = json.loads((folder / "card.json").read_text())["training"]
    assert facts["step"] == 2
    assert {"seen_prompt_loss", "seen_empty_loss", "held_out_prompt_loss", "held_out_empty_loss"} <= set(facts)
    theirs = StableDiffusionPipeline.from_pretrained(folder)
    theirs.set_progress_bar_config(disable=True)
    image = theirs("a x", num_inference_steps=2, height=64, width=64, output_type="np").images[0]
    assert image.shape == (64, 64, 3)
    ours = RePaintPipeline.from_pretrained(folder)
    picture, hole = glyphs_of(1)(0, 1)[0], np.zeros((64, 64), bool)
    hole[20:40, 20:40] = True
    result = ours(picture, hole, prompt="a x", schedule="predicted", generator=0, output_type="np").images[0]
    assert np.array_equal(result[~hole], picture[~hole])


def test_latents_are_standardised_without_changing_the_autoencoder(script: Any) -> None:
    """If this fails, folding mean and scale into the 1 x 1 convolutions changes the reconstructions."""
    module = script("train_emoji_vae")
    torch.manual_seed(0)
    vae = module.autoencoder().eval()
    images = torch.rand(6, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        before = vae.encode(images).latent_dist
        folded = module.standardised(vae, images)
        after = folded.encode(images).latent_dist
        assert after.mean.mean(dim=(0, 2, 3)).abs().max() < 1e-4
        assert (after.mean.std(dim=(0, 2, 3)) - 1).abs().max() < 1e-4
        gain = before.mean.std(dim=(0, 2, 3)).reshape(1, -1, 1, 1)
        torch.testing.assert_close(after.std * gain, before.std, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(
            folded.decode(after.mean).sample, vae.decode(before.mean).sample, rtol=1e-3, atol=1e-4
        )


def test_the_bake_off_is_between_networks_that_may_ship(script: Any) -> None:
    """If this fails, a contender wins by weights that do not fit the package (20 MiB), or it does not run."""
    module = script("bake_off")
    for name, contender in module.CONTENDERS.items():
        with torch.device("meta"):
            network = module.Candidate(contender, None).model
            x, t = torch.empty(2, 3, 48, 48), torch.empty(2)
            assert network(x, t).sample.shape == x.shape, name
        assert sum(p.numel() for p in network.parameters()) * 2 < 20 * 2**20, name


def test_the_bake_off_trains_each_contender_once(
    tmp_path: Path, script: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If this fails, the networks for `photos` cannot be compared, or an interrupted comparison begins again."""
    module = script("bake_off")
    small = {"block_out_channels": (8, 8, 16)} | {
        f"{way}_block_types": (f"{way.capitalize()}Block2D",) * 3 for way in ("down", "up")
    }
    contenders = {
        "plain": module.Contender(small, crops={48: 1, 64: 1, 96: 1}),
        "weighted": module.Contender(small, crops={48: 1, 64: 1, 96: 1}, min_snr=True),
    }
    for name, value in {"CONTENDERS": contenders, "ROUNDS": 1, "TRIAL_STEPS": 1, "HELD_OUT_CROPS": 2}.items():
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(module, "entries", lambda _split: [0, 1])
    monkeypatch.setattr(
        module, "read", lambda _folder, seed: np.random.default_rng(seed).integers(0, 256, (120, 130, 3), np.uint8)
    )
    monkeypatch.setattr(sys, "argv", ["bake_off", "--minutes", "0", "--out", str(tmp_path)])
    module.main()
    lines = capsys.readouterr().out.splitlines()
    results = [line for line in lines if "held out" in line]
    assert [line.split()[0] for line in results] == ["plain", "weighted"]
    times = [(tmp_path / name / "facts.json").stat().st_mtime_ns for name in contenders]
    module.main()
    assert [line for line in capsys.readouterr().out.splitlines() if "held out" in line] == results
    assert [(tmp_path / name / "facts.json").stat().st_mtime_ns for name in contenders] == times
