"""guided-diffusion checkpoints: the converted network computes the same, or conversion ends with one clear error."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline, UNet2DModel
from diffusers.models.attention_processor import Attention, AttnProcessor
from helpers.guided_reference import Flags, predict, published, random_state, shapes
from torch import Tensor

from repaint.errors import InputError, PriorError
from repaint.pipeline import RePaintPipeline
from repaint.priors.guided_diffusion import GuidedCheckpoint, Layout, Settings, convert
from repaint.priors.load import load
from repaint.priors.pixel import PixelPrior
from repaint.sampling.noise import NoiseSchedule
from repaint.sampling.prior import Conditions
from repaint.sampling.schedule import JumpSchedule

State = dict[str, Tensor]


def settings(flags: Flags, noise_schedule: str = "linear") -> Settings:
    return Settings(noise_schedule, flags.head_channels, flags.heads, flags.new_attention_order)


def understood(state: State, given: Settings | None = None) -> GuidedCheckpoint:
    """Return what `GuidedCheckpoint.read` returns for a file with that state."""
    layout = Layout.read(state)
    return GuidedCheckpoint(state, layout, (given or Settings()).completed(layout))


def saved(folder: Path, flags: Flags) -> Path:
    path = folder / "model.pt"
    torch.save({name: tensor.float() for name, tensor in random_state(flags).items()}, path)
    return path


def on_meta(flags: Flags) -> State:
    """Return a checkpoint of meta tensors, which take no memory."""
    return {name: torch.empty(shape, device="meta") for name, shape in shapes(flags).items()}


# --- The same numbers


VARIANTS = {
    "legacy order": Flags(),
    "new order, classes": Flags(new_attention_order=True, classes=5),
    "4 heads of two widths": Flags(mults=(1, 2, 4), heads=4, head_channels=None),
    "4 heads of two widths, new order": Flags(mults=(1, 2, 4), heads=4, head_channels=None, new_attention_order=True),
    "1 head": Flags(heads=1, head_channels=None),
    "4 heads of one width": Flags(mults=(1, 1, 2), attention=(4,), heads=4, head_channels=None),
    "attention at the bottom alone, 2 blocks": Flags(attention=(), res_blocks=2),
    "attention at the top alone": Flags(mults=(1, 1, 3), attention=(1,)),
    "plain resampling, added time": Flags(resblock_updown=False, scale_shift=False, learn_sigma=False),
    "plain resampling, scaled time": Flags(resblock_updown=False, attention=(1, 4)),
    "one level, grey": Flags(mults=(1,), attention=(), image_channels=1),
    "five levels": Flags(mults=(1, 1, 2, 3, 4), res_blocks=2, attention=(4, 8, 16), heads=4, head_channels=None),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_the_converted_network_computes_the_same(name: str) -> None:
    """If this fails, a converted model predicts something else than the original.

    Both compute in float64, but for the sines of the timestep, which both round to float32 alike. An error of rounding
    is then about 1e-14 of outputs of order 1.
    """
    flags = VARIANTS[name]
    state = random_state(flags)
    g = torch.Generator().manual_seed(1)
    side = 2 ** len(flags.mults)
    x = torch.randn(2, flags.image_channels, side, 2 * side, generator=g, dtype=torch.float64)
    t, labels = torch.tensor([3, 987]), torch.tensor([0, 4]) if flags.classes else None
    unet = understood(state, settings(flags)).unet(torch.float64)
    with torch.no_grad():
        expected = predict(flags, state, x, t, labels)
        assert expected.std() > 0.1
        assert (unet(x, t, class_labels=labels).sample - expected).abs().max() < 1e-12


@pytest.mark.parametrize("wrong", [{"new_attention_order": True}, {"head_channels": 32}, {"head_channels": 8}])
def test_what_shapes_do_not_tell_matters(wrong: dict[str, Any]) -> None:
    """If this fails, the test above cannot detect a wrong split of attention heads."""
    flags = Flags()
    state = random_state(flags)
    x, t = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64), torch.tensor([500])
    unet = understood(state, Settings(**(vars(settings(flags)) | wrong))).unet(torch.float64)
    with torch.no_grad():
        assert (unet(x, t).sample - predict(flags, state, x, t)).abs().max() > 1e-3


def test_a_prior_by_class_denoises_with_the_class() -> None:
    """If this fails, class labels or the learned variance of a converted model do not reach the sampler."""
    flags = Flags(classes=5)
    state = random_state(flags)
    prior = understood(state, settings(flags)).prior(torch.float64)
    level = prior.schedule(10)[6]
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        found = prior.conditioned(2, Conditions(class_labels=[1, 4])).denoise(x, level)
        eps, v = predict(flags, state, x, torch.full((2,), level.t), torch.tensor([1, 4])).chunk(2, dim=1)
    x0 = ((x - level.sigma * eps) / level.alpha).clamp(-1, 1)
    assert torch.allclose(found.x0_hat, x0, atol=1e-10)
    assert found.variance is not None
    assert torch.allclose(found.variance, (v + 1) / 2, atol=1e-10)
    with pytest.raises(
        PriorError, match=r"class_labels must be given as numbers from 0 to 4 \(this model has no null class\)"
    ):
        prior.conditioned(2, Conditions())


# --- The published models


# Millions of parameters: Dhariwal & Nichol 2021, App. I; the last figure of the unconditional one to the unit, as users
# of the file report it (2,211,383,297 bytes).
@pytest.mark.parametrize(
    ("size", "classes", "millions", "exactly", "text"),
    [
        (64, 1000, 296, None, "cosine noise schedule, heads of 64 channels, new attention order"),
        (128, 1000, 422, None, "linear noise schedule, 4 heads, legacy attention order"),
        (256, 1000, 554, None, "linear noise schedule, heads of 64 channels, legacy attention order"),
        (256, 0, 553, 552_814_086, "linear noise schedule, heads of 64 channels, legacy attention order"),
    ],
)
def test_the_published_models(size: int, classes: int, millions: int, exactly: int | None, text: str) -> None:
    """If this fails, a published checkpoint is refused, loses a tensor, or is read with the wrong flags."""
    flags = published(size, classes)
    found = understood(on_meta(flags))
    unet = found.unet()
    assert str(found.settings) == text
    assert found.settings == settings(flags, "cosine" if size == 64 else "linear")
    assert unet.num_parameters() == found.parameters
    assert round(found.parameters / 1e6) == millions
    assert found.parameters == (exactly or found.parameters)
    config = unet.config
    assert (config.sample_size, config.in_channels, config.out_channels) == (size, 3, 6)
    assert config.num_class_embeds == (classes or None)
    attending = [2**level for level, kind in enumerate(config.down_block_types) if kind == "AttnDownBlock2D"]
    assert [size // factor for factor in attending] == [32, 16, 8]


def test_their_heads() -> None:
    """If this fails, the number of heads is right at some levels and wrong at others."""
    for size, expected in ((64, {6, 9, 12}), (128, {4}), (256, {8, 16})):
        unet = understood(on_meta(published(size, 1000))).unet()
        found = {
            module.heads for name, module in unet.named_modules() if name.endswith(("attentions.0", "attentions.1"))
        }
        assert found == expected


def test_noise_levels_are_those_of_the_papers() -> None:
    """If this fails, a model runs at wrong timesteps, and results are blurred or noisy.

    Linear: Ho et al. 2020, Sec. 4. Cosine: Nichol & Dhariwal 2021, eq. 17 with betas of at most 0.999. 250 steps:
    their Sec. 4, evenly spaced real numbers, rounded.
    """
    t = np.arange(1001)
    f = np.cos((t / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2
    betas = {"linear": np.linspace(1e-4, 0.02, 1000), "cosine": np.minimum(1 - f[1:] / f[:-1], 0.999)}
    for name, expected in betas.items():
        scheduler = understood(on_meta(Flags()), settings(Flags(), name)).scheduler()
        assert np.allclose(scheduler.betas, expected, rtol=1e-5)  # float32
        assert (scheduler.config.variance_type, scheduler.config.clip_sample) == ("learned_range", True)
        schedule = NoiseSchedule.from_scheduler(scheduler, 250)
        assert [level.t for level in schedule.levels[1:]] == list(np.round(np.linspace(0, 999, 250)))
        abar = np.cumprod(1 - expected)
        assert np.allclose(
            [level.alpha**2 for level in schedule.levels[1:]], abar[np.round(np.linspace(0, 999, 250)).astype(int)]
        )
    fixed = understood(on_meta(Flags(learn_sigma=False)), settings(Flags())).scheduler()
    assert fixed.config.variance_type == "fixed_large"


# --- Settings that are given or missing


def test_other_models_need_their_flags() -> None:
    """If this fails, a model that was not published is converted with guessed settings."""
    with pytest.raises(PriorError) as caught:
        understood(random_state(Flags()))
    assert str(caught.value) == (
        "Settings are missing: noise_schedule, new_attention_order, head_channels (or heads). Pass those that the "
        "model was trained with; they cannot be read from its tensors, and no published model has 1 residual block on "
        "each of 3 levels, of 32, 64, 64 channels; attention at 1/2, 1/4 of the size; unconditional; learned variance."
    )
    with pytest.raises(PriorError, match=r"missing: new_attention_order\. Pass"):
        understood(random_state(Flags()), Settings("linear", 16))


def test_given_settings_override_the_published() -> None:
    """If this fails, explicit settings are ignored for a model of a published size."""
    state = on_meta(published(128, 0))
    assert understood(state, Settings(head_channels=64)).settings == Settings("linear", 64, None, False)
    assert understood(state, Settings("cosine", heads=8)).settings == Settings("cosine", None, 8, False)
    assert understood(state, Settings(new_attention_order=True)).settings == Settings("linear", None, 4, True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Settings("linear", 16, 4, True), r"heads=4 and head_channels=16 exclude each other\. Pass one of them"),
        (
            Settings("linaer", 16, None, True),
            r"noise_schedule='linaer' must be one of linear, cosine\. Did you mean 'linear'\?",
        ),
        (Settings("linear", 24, None, True), r"head_channels=24 must divide the 64 channels"),
        (Settings("linear", None, 3, True), r"heads=3 must divide the 64 channels"),
        (Settings("linear", 0, None, True), r"head_channels=0 must divide the 64 channels"),
    ],
)
def test_invalid_settings(given: Settings, message: str) -> None:
    """If this fails, an invalid setting gives a traceback, or another network."""
    with pytest.raises(PriorError, match=message):
        understood(random_state(Flags()), given)


# --- Checkpoints that do not fit


def changed(state: State, change: str) -> State:
    """Return the state with one fault."""
    if change == "missing":
        return {name: tensor for name, tensor in state.items() if name != "middle_block.1.proj_out.bias"}
    if change == "many missing":
        return {name: tensor for name, tensor in state.items() if not name.startswith("input_blocks.1.0")}
    if change == "extra":
        return state | {"input_blocks.9.0.weight": torch.zeros(1)}
    if change == "both":
        name = "output_blocks.0.1.qkv.weight"
        return {name.replace("qkv", "kqv") if name == each else each: tensor for each, tensor in state.items()}
    if change == "shape":
        return state | {"output_blocks.2.0.in_layers.2.weight": torch.zeros(64, 128, 1, 1)}
    if change == "qkv":
        return state | {"middle_block.1.qkv.weight": torch.zeros(128, 64, 1)}
    if change == "classifier":
        return {name: tensor for name, tensor in state.items() if not name.startswith("output_blocks")}
    if change == "prefix":
        return {f"module.{name}": tensor for name, tensor in state.items()}
    if change == "empty":
        return {}
    if change == "no input":
        return {name: tensor for name, tensor in state.items() if name != "input_blocks.0.0.weight"}
    if change == "flat input":
        return state | {"input_blocks.0.0.weight": torch.zeros(3)}
    if change == "uneven":
        return {name: tensor for name, tensor in state.items() if not name.startswith("output_blocks.5.")}
    raise ValueError(change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", r"The checkpoint lacks middle_block\.1\.proj_out\.bias\. It is damaged or of another model"),
        ("many missing", r"lacks input_blocks\.1\.0\.emb_layers\.1\.bias, (\S+, ){3}\S+ and 5 more\. It is"),
        ("extra", r"The checkpoint has unknown tensors input_blocks\.9\.0\.weight\. It is"),
        (
            "both",
            r"lacks output_blocks\.0\.1\.qkv\.weight and has unknown tensors output_blocks\.0\.1\.kqv\.weight\. It",
        ),
        (
            "shape",
            r"output_blocks\.2\.0\.in_layers\.2\.weight has shape 64 x 128 x 1 x 1 but must be 64 x 128 x 3 x 3 in a",
        ),
        ("qkv", r"middle_block\.1\.qkv\.weight has shape 128 x 64 x 1 but must be 192 x 64 in a UNet with"),
        (
            "classifier",
            r"This checkpoint is a classifier: it has input_blocks but no output_blocks\. Convert the diffusion",
        ),
        (
            "prefix",
            r"This is not a guided-diffusion checkpoint: .* output_blocks\.\*, but module\.\S+, .* and \d+ more\.",
        ),
        ("empty", r"not a guided-diffusion checkpoint: no tensor is named output_blocks\.\*, but nothing\."),
        (
            "no input",
            r"input_blocks\.0\.0\.weight, a weight of every guided-diffusion UNet, is missing from the checkpoint",
        ),
        ("flat input", r"input_blocks\.0\.0\.weight, a weight of .* UNet, has only 1 axes\. Download"),
        (
            "uneven",
            r"of its 5 upward blocks, those numbered \[1, 3\] end a level, but a UNet2DModel needs the same num",
        ),
    ],
)
def test_checkpoints_that_do_not_fit(change: str, message: str) -> None:
    """If this fails, a checkpoint of another model is converted to a network with random or missing parts."""
    flags = Flags()
    with pytest.raises(PriorError, match=message):
        understood(changed(random_state(flags), change), settings(flags)).unet()


@pytest.mark.parametrize(
    ("flags", "name", "shape", "message"),
    [
        (
            Flags(image_channels=6),
            "",
            (),
            r"its UNet takes 6 channels, but images have 1 or 3 \(upsamplers also take a small image\)",
        ),
        (
            Flags(),
            "time_embed.0.weight",
            (128, 64),
            r"its time embedding has 64 channels and its first level 32 \(as in the",
        ),
        (Flags(channels=48), "", (), r"its levels have \(48, 96, 96\) channels, but guided-diffusion normalises in 32"),
    ],
)
def test_networks_that_diffusers_cannot_express(flags: Flags, name: str, shape: tuple[int, ...], message: str) -> None:
    """If this fails, an upsampler or the 512 x 512 model is approximated by another network."""
    state = on_meta(flags) | ({name: torch.empty(shape, device="meta")} if name else {})
    with pytest.raises(PriorError, match=message):
        understood(state, settings(flags))


@pytest.mark.usefixtures("pickles")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"model\.pt: cannot be read \(.*No such file.*\)\. Check the path\."),
        (b"", r"model\.pt: not a complete torch\.save file \(EOFError\(.*\)\)\. Download it again\."),
        (b"hello world", r"model\.pt: not a complete torch\.save file \(KeyError\(.*\)\)\. Download it again\."),
        (b"\x07" * 999, r"model\.pt is damaged or contains Python objects; only tensors are read"),
        (
            {"a": argparse.Namespace()},
            r"contains Python objects \(argparse\.Namespace\); only tensors are read, because other objects can run "
            r"code\. Get the plain state dict or, if you trust the file, load it with weights_only=False",
        ),
        (
            {"ema": {"out.2.weight": torch.zeros(1)}, "step": 3},
            r"contains a dict with ema, step instead of a dict from names to tensors",
        ),
        (
            [torch.zeros(1)],
            r"contains a list instead of a dict from names to tensors\. torch\.save only the state dict",
        ),
        ({3: torch.zeros(1)}, r"contains a dict with 3 instead of a dict from names to tensors"),
        (
            {"a": torch.zeros(1).long()},
            r"model\.pt: a is torch\.int64, but weights must be dense floating-point tensors",
        ),
        ({"a": torch.zeros(1).to_sparse()}, r"a is torch\.sparse_coo, but weights must be dense floating-point"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_files_that_are_something_else(tmp_path: Path, content: Any, message: str) -> None:
    """If this fails, a damaged or dangerous file gives a traceback, or is executed."""
    path = tmp_path / "model.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(PriorError, match=message):
        GuidedCheckpoint.read(path)


@pytest.mark.usefixtures("pickles")
def test_a_cut_download(tmp_path: Path) -> None:
    """If this fails, an interrupted download gives a traceback from torch."""
    path = saved(tmp_path, Flags())
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(PriorError, match=r"model\.pt: not a complete torch\.save file \(RuntimeError"):
        GuidedCheckpoint.read(path)


# --- The folder


def filled(prior: Any, class_labels: int | None = None) -> None:
    """Check a whole run: kept pixels are bit-equal, and the hole changes."""
    pipe = RePaintPipeline(prior)
    pipe.set_progress_bar_config(disable=True)
    image = np.random.default_rng(0).integers(0, 256, (13, 18, 3), dtype=np.uint8)
    mask = np.zeros((13, 18), np.uint8)
    mask[4:10, 5:12] = 255
    out = pipe(image, mask, schedule=JumpSchedule.paper(4, 2, 2), class_labels=class_labels, generator=0)
    result = np.asarray(out.images[0])
    assert np.array_equal(result[mask == 0], image[mask == 0])
    assert (result[mask > 0] != image[mask > 0]).mean() > 0.9


@pytest.mark.usefixtures("pickles")
def test_a_folder_for_repaint_and_for_diffusers(tmp_path: Path) -> None:
    """If this fails, a converted checkpoint loads as another network, or not in diffusers' own pipeline."""
    flags = Flags(mults=(1, 2), new_attention_order=True)
    path, folder = saved(tmp_path, flags), tmp_path / "prior"
    convert(path, folder, settings(flags))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.pt", "prior"]
    x, t = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([500])
    prior, alone = load(folder), UNet2DModel.from_pretrained(folder / "unet")
    assert isinstance(prior, PixelPrior)
    with torch.no_grad():
        expected = predict(flags, random_state(flags), x.double(), t)
        for unet in (prior.unet, alone):
            assert (unet(x, t).sample - expected).abs().max() < 1e-4  # float32, forty layers deep
    pipe = DDPMPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    assert pipe(num_inference_steps=2, output_type="np", generator=torch.Generator()).images.shape == (1, 16, 16, 3)
    filled(prior)


@pytest.mark.usefixtures("pickles")
def test_a_folder_with_heads_of_several_widths(tmp_path: Path) -> None:
    """If this fails, the 128 x 128 model loads with wrong attention heads, here or in diffusers."""
    flags = VARIANTS["4 heads of two widths"]
    path = saved(tmp_path, flags)
    convert(path, tmp_path / "prior", settings(flags))
    x, t = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([500])
    prior = load(tmp_path / "prior")
    assert isinstance(prior, PixelPrior)
    prior.unet.save_pretrained(tmp_path / "prior" / "unet")  # and once more around
    again = load(tmp_path / "prior")
    assert isinstance(again, PixelPrior)
    with torch.no_grad():
        expected = predict(flags, random_state(flags), x.double(), t)
        for unet in (prior.unet, again.unet):
            assert (unet(x, t).sample - expected).abs().max() < 1e-4
            for module in unet.modules():
                if isinstance(module, Attention):
                    module.set_processor(AttnProcessor())  # which reads the scale that diffusers keeps beside the heads
            assert (unet(x, t).sample - expected).abs().max() < 1e-4
    with pytest.raises(TypeError):
        UNet2DModel.from_pretrained(tmp_path / "prior" / "unet")
    filled(prior)


@pytest.mark.usefixtures("pickles")
def test_half_and_classes(tmp_path: Path) -> None:
    """If this fails, --half writes full precision, or a class-conditional folder loses its classes."""
    flags = Flags(classes=3)
    convert(saved(tmp_path, flags), tmp_path / "prior", settings(flags), torch_dtype=torch.float16)
    raw = UNet2DModel.from_pretrained(tmp_path / "prior" / "unet", torch_dtype=torch.float16)
    assert {tensor.dtype for tensor in raw.state_dict().values()} == {torch.float16}
    size = sum(file.stat().st_size for file in (tmp_path / "prior").rglob("*.safetensors"))
    assert size < 0.6 * (tmp_path / "model.pt").stat().st_size
    prior = load(tmp_path / "prior")
    assert isinstance(prior, PixelPrior)
    assert (prior.num_classes, prior.null_class) == (3, None)
    filled(prior, class_labels=2)


@pytest.mark.usefixtures("pickles")
def test_a_folder_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """If this fails, a failed conversion leaves an incomplete folder, or deletes an older prior or other files."""
    flags = Flags(mults=(1,), attention=())
    path, folder = saved(tmp_path, flags), tmp_path / "prior"
    bad = tmp_path / "bad.pt"
    torch.save({"out.2.weight": torch.zeros(1)}, bad)
    with pytest.raises(PriorError, match="no tensor is named output_blocks"):
        convert(bad, folder)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["bad.pt", "model.pt"]
    convert(path, folder, settings(flags))
    (folder / "note.txt").write_text("mine")
    with pytest.raises(InputError, match=r"Cannot write .*prior: it exists\. Remove it, choose another name, or allow"):
        convert(path, folder, settings(flags))
    with pytest.raises(PriorError, match="no tensor is named output_blocks"):
        convert(bad, folder, overwrite=True)
    assert (folder / "note.txt").exists()
    convert(path, folder, settings(flags, "cosine"), overwrite=True)
    assert not (folder / "note.txt").exists()
    assert (
        json.loads((folder / "scheduler" / "scheduler_config.json").read_text())["beta_schedule"] == "squaredcos_cap_v2"
    )
    assert sorted(file.name for file in tmp_path.iterdir()) == ["bad.pt", "model.pt", "prior"]
