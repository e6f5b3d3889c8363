"""Latent priors: encoding and decoding, and that pixels under the hole never affect the result."""

from __future__ import annotations

import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import DDIMPipeline, DDIMScheduler, DDPMScheduler, LDMPipeline, StableDiffusionXLPipeline
from helpers.pipeline_cases import CASES
from helpers.pipeline_run import conditions_of
from helpers.small_inputs import hole, photo, quiet
from helpers.tiny_latents import AUTOENCODERS, tiny_vae
from helpers.tiny_priors import tiny_pipe, tiny_unet
from PIL import Image
from scipy.ndimage import distance_transform_edt

from repaint.errors import InputError, NonFiniteError, PriorError, StateError
from repaint.pictures.push_pull import smooth_fill
from repaint.pipeline import RePaintPipeline
from repaint.priors.driven import DrivenPrior
from repaint.priors.latent import LatentCodec, LatentPrior, widen
from repaint.priors.load import load
from repaint.priors.pixel import PixelPrior
from repaint.sampling.levels import Level
from repaint.sampling.prior import Conditions
from repaint.sampling.schedule import JumpSchedule

WALK = JumpSchedule.paper(4, 2, 2)
SIZE = 18, 22  # 4 divides neither: the factor of the autoencoder is 2, that of the UNet 2


def prior(kind: str, **vae: Any) -> LatentPrior:
    return LatentPrior(tiny_unet(in_channels=4, out_channels=4), DDIMScheduler(), tiny_vae(kind, **vae))


def random(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1)) * 2 - 1


# --- Whole runs


@pytest.mark.parametrize("kind", AUTOENCODERS)
def test_folders_load_and_keep_what_is_kept(tmp_path: Path, kind: str) -> None:
    """If this fails, the layout of LDMPipeline cannot be used, or decoding changes kept pixels."""
    unet = tiny_unet(in_channels=4, out_channels=4)
    if kind == "VQModel":
        LDMPipeline(tiny_vae(kind), unet, DDIMScheduler()).save_pretrained(tmp_path)
    else:
        DDIMPipeline(unet, DDIMScheduler()).save_pretrained(tmp_path)
        tiny_vae(kind).save_pretrained(tmp_path / "vae")
        index = (tmp_path / "model_index.json").read_text()
        (tmp_path / "model_index.json").write_text(index.replace("{", f'{{"vae": ["diffusers", "{kind}"],', 1))
    loaded = load(tmp_path)
    assert type(loaded) is LatentPrior
    assert (loaded.channels, loaded.multiple_of, loaded.dtype) == (3, 4, torch.float32)
    half = load(tmp_path, torch_dtype=torch.bfloat16)
    assert isinstance(half, LatentPrior)
    assert half.unet.dtype == half.codec.vae.dtype == torch.bfloat16
    image, mask = photo(), hole()
    out = quiet(loaded)(image, mask, schedule=WALK, generator=0)
    result = np.asarray(out.images[0])
    assert np.array_equal(result[mask == 0], image[mask == 0])
    assert (result[mask > 0] != image[mask > 0]).mean() > 0.9
    again = quiet(prior(kind))(image, mask, schedule=WALK, generator=0).images[0]
    assert np.abs(result.astype(int) - np.asarray(again)).max() <= 1, "other weights than those that were saved"


@pytest.mark.parametrize("kind", AUTOENCODERS)
@pytest.mark.parametrize("under", [0, 255, "noise"])
def test_nothing_leaks_from_under_the_hole(kind: str, under: Any) -> None:
    """If this fails, the encoder's receptive field carries hidden pixels into the result, and all scores are wrong."""
    image, mask, pipe = photo(), hole(), quiet(prior(kind))
    other = image.copy()
    other[mask > 0] = photo(7)[mask > 0] if under == "noise" else under
    for output in ("np", "latent"):
        a, b = (pipe(x, mask, schedule=WALK, generator=0, output_type=output).images for x in (image, other))
        assert np.array_equal(np.asarray(a[0]), np.asarray(b[0]))


def test_live_pipelines_are_wrapped() -> None:
    """If this fails, a live latent pipeline cannot be used, or its parts are copied."""
    vae, unet = tiny_vae("VQModel"), tiny_unet(in_channels=4, out_channels=4)
    wrapped = RePaintPipeline.from_pipe(LDMPipeline(vae, unet, DDIMScheduler())).prior
    assert isinstance(wrapped, LatentPrior)
    assert wrapped.codec.vae is vae
    assert wrapped.unet is unet


def test_classes_and_learned_variance_split_at_the_latent_channels() -> None:
    """If this fails, 3 image channels are taken for the UNet's 4, and a variance channel is guided as noise."""
    unet = tiny_unet(in_channels=4, out_channels=8, num_class_embeds=3)
    free = LatentPrior(unet, DDPMScheduler(), tiny_vae("AutoencoderKL"), {0: "cat", 1: "dog"})
    x, level = random(1, 4, 4, 4), Level(0.6, 0.8, 500.0)
    with torch.no_grad():
        plain, strong = (
            free.conditioned(1, Conditions(class_labels="dog", guidance_scale=scale)).denoise(x, level)
            for scale in (1.0, 9.0)
        )
    assert plain.variance is not None
    assert strong.variance is not None
    assert plain.x0_hat.shape == plain.variance.shape == x.shape
    assert torch.allclose(plain.variance, strong.variance, atol=1e-6)
    assert not torch.allclose(plain.x0_hat, strong.x0_hat)


@pytest.mark.parametrize("kind", ["learned", "learned_range"])
def test_only_a_position_between_the_variances_is_used(kind: str) -> None:
    """If this fails, channels that hold the variance itself are read as a position between two variances."""
    scheduler, level = DDPMScheduler(variance_type=kind), Level(0.6, 0.8, 500.0)
    own = PixelPrior(tiny_unet(out_channels=6), scheduler).conditioned(1, Conditions())
    assert (own.denoise(random(1, 3, 8, 8), level).variance is None) == (kind == "learned")
    pipe, given = CASES["IFPipeline"].made()
    pipe.scheduler = pipe.scheduler.from_config(pipe.scheduler.config, variance_type=kind)
    prior = DrivenPrior(pipe)
    count, conditions = conditions_of(prior, given, (8, 16))
    bound = prior.conditioned(count, conditions)
    found = bound.denoise(random(count, 3, 8, 16), bound.schedule(5)[3])
    bound.release()
    assert (found.variance is None) == (kind == "learned")


# --- The seam


@pytest.mark.parametrize("kind", AUTOENCODERS)
def test_margin_and_feather_leak_nothing_and_keep_what_is_kept(kind: str) -> None:
    """If this fails, blending the rim brings hidden pixels back, or changes kept pixels."""
    image, mask, pipe = photo(), hole(), quiet(prior(kind))
    other = image.copy()
    other[mask > 0] = photo(7)[mask > 0]
    run: dict[str, Any] = {"schedule": WALK, "generator": 0, "output_type": "np"}
    plain = pipe(image, mask, **run).images[0]
    results = [plain]
    for seam in ({"blend_rim": 3}, {"latent_margin": 1}, {"blend_rim": 3, "latent_margin": 1}):
        a, b = (pipe(x, mask, **run, **seam).images[0] for x in (image, other))
        assert np.array_equal(a[mask == 0], image[mask == 0])
        assert np.array_equal(a[mask > 0], b[mask > 0])
        assert all(not np.array_equal(a, result) for result in results), f"{seam} does nothing of its own"
        results.append(a)
    beyond = distance_transform_edt(mask) > 3
    assert np.array_equal(results[1][beyond], plain[beyond]), "the feather is wider than asked"


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "I;16", "uint16", "float32", "soft"])
def test_feather_with_every_kind_of_picture(mode: str) -> None:
    """If this fails, an image mode or a soft mask loses kept bits when the rim is blended, or is not blended."""
    rgb = Image.fromarray(photo())
    picture: Any = {
        "I;16": lambda: Image.fromarray(photo()[..., 0].astype(np.uint16) * 257),
        "uint16": lambda: photo().astype(np.uint16) * 257,
        "float32": lambda: photo().astype(np.float32) / 255,
        "soft": lambda: rgb,
    }.get(mode, lambda: rgb.convert(mode))()
    mask = hole()
    if mode == "soft":
        mask[5:12, 7] = 100
    pipe = quiet(prior("AutoencoderKL"))
    plain, met = (
        pipe(picture, mask, schedule=WALK, generator=0, output_type="np", blend_rim=width).images[0] for width in (0, 4)
    )
    assert (met.dtype, met.shape) == (plain.dtype, np.asarray(picture).shape)
    assert np.array_equal(met[mask == 0], np.asarray(picture)[mask == 0])
    assert not np.array_equal(met, plain)


def test_feather_repairs_an_autoencoder_that_is_off() -> None:
    """If this fails, an autoencoder's colour offset is visible at the rim of the hole."""
    pipe = quiet(prior("AutoencoderKL"))
    codec = pipe.prior.codec  # type: ignore[attr-defined]
    codec.encode = lambda image, known: (F.avg_pool2d(image, 2).repeat(1, 2, 1, 1)[:, :4], known[:, :, ::2, ::2])
    codec.decode = lambda x: F.interpolate(0 * x[:, :3] - 0.5, scale_factor=2)  # all is -0.5, where 0 was kept
    grey = np.full((*SIZE, 3), 0.5)
    run: dict[str, Any] = {"schedule": WALK, "generator": 0, "output_type": "np"}
    half = np.zeros(SIZE)
    half[:, 8:] = 1
    plain, met = (pipe(grey, half, **run, blend_rim=width).images[0][0, :, 0] for width in (0, 3))
    assert plain == pytest.approx([0.5] * 8 + [0.25] * 14)
    assert met == pytest.approx([0.5] * 8 + [0.4375, 0.375, 0.3125] + [0.25] * 11)


def test_a_pixel_prior_takes_a_feather_and_needs_none() -> None:
    """If this fails, a pixel-space result depends on blending, although its kept pixels are already exact."""
    run: dict[str, Any] = {"schedule": WALK, "generator": 0, "output_type": "np"}
    plain, met = (tiny_pipe()(photo(), hole(), **run, blend_rim=width).images for width in (0, 5))
    assert np.array_equal(plain, met)


@pytest.mark.parametrize("margin", [0, 1, 2, 3])
def test_a_margin_widens_a_hole_by_that_many_cells(margin: int) -> None:
    """If this fails, the margin has another width, or also applies at the image's border."""
    pipe, image, mask = quiet(prior("VQModel")), photo(size=(24, 28)), np.zeros((24, 28), np.uint8)
    mask[11, 17] = mask[0, 27] = 255  # cells (5, 8) and (0, 13)
    seen: list[torch.Tensor] = []

    def look(_pipe: Any, _step: int, _level: int, kwargs: dict[str, Any]) -> None:
        seen.append(kwargs["state"].known)

    pipe(image, mask, schedule=WALK, generator=0, latent_margin=margin, callback_on_step_end=look)
    expected = torch.ones(12, 14, dtype=torch.bool)
    expected[5 - margin : 6 + margin, 8 - margin : 9 + margin] = False
    expected[: 1 + margin, 13 - margin :] = False
    assert all(torch.equal(known, expected.expand(1, 4, 12, 14)) for known in seen)


def test_a_run_with_a_margin_is_resumed() -> None:
    """If this fails, an interrupted run with a margin or blending cannot be resumed, or gives another result."""
    pipe, image, mask, kept = quiet(prior("VQModel")), photo(), hole(), {}
    run: dict[str, Any] = {"schedule": WALK, "output_type": "np", "latent_margin": 1, "blend_rim": 2}

    def keep(_pipe: Any, step: int, _level: int, kwargs: dict[str, Any]) -> None:
        kept[step] = kwargs["state"]

    whole = pipe(image, mask, **run, generator=0, callback_on_step_end=keep).images
    assert np.array_equal(pipe.resume(kept[2], image, mask, **run).images, whole)
    with pytest.raises(StateError, match=r"Pass the original image, mask, crop and latent_margin"):
        pipe.resume(kept[2], image, mask, **(run | {"latent_margin": 0}))


def test_what_margin_and_blend_rim_refuse(unchecked: None) -> None:
    """If this fails, an invalid margin or blending width is ignored, or gives an unrelated image."""
    pipe = quiet(prior("VQModel"))
    for asked, message in [
        ({"latent_margin": -1}, r"latent_margin=-1 must be an integer of at least 0"),
        ({"latent_margin": 1.5}, r"latent_margin=1\.5 must be an integer"),
        ({"latent_margin": True}, r"latent_margin=True must be an integer"),
        (
            {"latent_margin": 9},
            r"latent_margin=9 must leave at least one known latent cell \(it removes all 100 of them\)\. Lower",
        ),
        ({"blend_rim": -2}, r"blend_rim=-2 must be a width in pixels of at least 0"),
        ({"blend_rim": float("nan")}, r"blend_rim=nan must be a width"),
        ({"blend_rim": 2, "output_type": "latent"}, r"blend_rim=2 cannot be used with output_type='latent'"),
    ]:
        with pytest.raises(InputError, match=message):
            pipe(photo(), hole(), schedule=WALK, generator=0, **asked)
    with pytest.raises(
        InputError, match=r"latent_margin=1 needs a latent prior, and PixelPrior works on .*masks\.grow"
    ):
        tiny_pipe()(photo(), hole(), schedule=WALK, latent_margin=1)


def test_a_margin_spares_images_that_are_all_hole() -> None:
    """If this fails, a margin makes a batch fail because one image has no kept pixel."""
    cells = torch.ones(2, 1, 5, 5, dtype=torch.bool)
    cells[0] = False
    cells[1, 0, 0, 0] = False
    left = widen(cells, 3)
    assert not left[0].any()
    assert int(left[1].sum()) == 25 - 16
    with pytest.raises(
        InputError, match=r"latent_margin=4 must leave at least one known latent cell \(it removes all 24"
    ):
        widen(cells, 4)


# --- The codec


@pytest.mark.parametrize(
    "config",
    [
        {"scaling_factor": 0.18215},
        {"scaling_factor": 1.5305, "shift_factor": 0.0609},
        {"scaling_factor": 0.5, "latents_mean": [0.1, -0.2, 0.3, 0.4], "latents_std": [1.0, 2.0, 0.5, 4.0]},
    ],
)
def test_encoding_is_the_normalised_posterior_mean(config: dict[str, Any]) -> None:
    """If this fails, known latents have another scale than the model was trained on, or are drawn at random."""
    vae = tiny_vae("AutoencoderKL", **config)
    image, known = random(2, 3, 8, 8), torch.ones(2, 1, 8, 8, dtype=torch.bool)
    codec = LatentCodec(vae)
    latents, cells = codec.encode(image, known)
    with torch.no_grad():
        mean = vae.encode(image).latent_dist.mean
        if "latents_mean" in config:
            shift, std = (torch.tensor(config[key]).view(1, 4, 1, 1) for key in ("latents_mean", "latents_std"))
            expected = (mean - shift) * config["scaling_factor"] / std
        else:
            expected = (mean - config.get("shift_factor", 0.0)) * config["scaling_factor"]
        assert torch.allclose(latents, expected, atol=1e-6)
        assert cells.all()
        assert torch.allclose(codec.decode(latents), vae.decode(mean).sample, atol=1e-5)


@pytest.mark.parametrize("kind", ["VQModel", "AutoencoderTiny"])
def test_encoders_without_a_posterior(kind: str) -> None:
    """If this fails, known latents of these families have another scale, or are quantised too early."""
    vae, image = tiny_vae(kind, scaling_factor=0.7), random(1, 3, 8, 8)
    codec = LatentCodec(vae)
    latents, _ = codec.encode(image, torch.ones(1, 1, 8, 8, dtype=torch.bool))
    with torch.no_grad():
        assert torch.allclose(latents, vae.encode(image).latents * 0.7, atol=1e-6)
        assert torch.allclose(codec.decode(latents), vae.decode(vae.encode(image).latents).sample, atol=1e-5)


def test_decoding_is_that_of_diffusers(tmp_path: Path) -> None:
    """If this fails, decoding does not invert the scaling of encoding, and colours and contrast change."""
    from helpers.tiny_latents import tiny_sd, tiny_sd3, tiny_sdxl

    normalised = {"latents_mean": [0.1, -0.2, 0.3, 0.4], "latents_std": [1.0, 2.0, 0.5, 4.0]}
    for build in (tiny_sd, tiny_sdxl, tiny_sd3):
        pipe = build(tmp_path)
        if isinstance(pipe, StableDiffusionXLPipeline):
            pipe.vae.register_to_config(**normalised)
        pipe.set_progress_bar_config(disable=True)
        shared: dict[str, Any] = {
            "prompt": "a",
            "num_inference_steps": 2,
            "height": 8,
            "width": 8,
            "guidance_scale": 1.0,
        }
        latents, image = (
            pipe(**shared, generator=torch.Generator().manual_seed(0), output_type=kind).images
            for kind in ("latent", "pt")
        )
        with torch.no_grad():
            mine = LatentCodec(pipe.vae).decode(latents)
        assert torch.allclose((mine / 2 + 0.5).clamp(0, 1), image, atol=1e-5)


def test_a_cell_is_a_hole_as_soon_as_one_pixel_is() -> None:
    """If this fails, partly hidden cells are kept, and the smooth fill is visible at the rim of every hole."""
    known = torch.ones(1, 1, 8, 8, dtype=torch.bool)
    known[0, 0, 3, 5] = False
    _, cells = LatentCodec(tiny_vae("AutoencoderKL")).encode(random(1, 3, 8, 8), known)
    expected = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    expected[0, 0, 1, 2] = False
    assert torch.equal(cells, expected)


def test_a_mask_without_a_known_cell_is_refused() -> None:
    """If this fails, an image whose kept pixels fill no latent cell is silently replaced by an unrelated one."""
    mask = np.zeros(SIZE, np.uint8)
    mask[::2] = 255
    with pytest.raises(InputError, match=r"leaves no known latent cell .*2 x 2 pixels are\)\. Use a coarser mask"):
        quiet(prior("AutoencoderKL"))(photo(), mask, schedule=WALK)


def test_a_whole_image_can_be_painted() -> None:
    """If this fails, a latent prior rejects an image that is all hole, which pixel priors accept."""
    out = quiet(prior("VQModel"))(photo(), np.full(SIZE, 255, np.uint8), schedule=WALK, generator=0)
    assert np.asarray(out.images[0]).std() > 1


def test_unsupported_models_are_named() -> None:
    """If this fails, a model with other latents gives a traceback or a meaningless image."""
    from diffusers import AutoencoderKLTemporalDecoder

    video = AutoencoderKLTemporalDecoder.__new__(AutoencoderKLTemporalDecoder)  # its class is all that is looked at
    with pytest.raises(
        PriorError, match=r"A AutoencoderKLTemporalDecoder is not a supported autoencoder\. Use .* Autoenc"
    ):
        LatentCodec(video)
    with pytest.raises(
        PriorError, match=r"A UNet2DModel with 3 channels in does not fit a VQModel with 4 latent channels"
    ):
        LatentPrior(tiny_unet(), DDIMScheduler(), tiny_vae("VQModel"))


# --- The fill


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 1), (2, 2), (13, 10), (16, 16), (31, 33)])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_smooth_fill(size: tuple[int, int], share: float) -> None:
    """If this fails, known pixels change before they are encoded, hidden pixels affect it, or it overshoots."""
    g = torch.Generator().manual_seed(0)
    image, known = random(2, 3, *size), torch.rand(2, 1, *size, generator=g) < share
    known[:, :, 0, 0] = True
    filled = smooth_fill(image, known)
    assert torch.equal(torch.where(known, filled, 0), torch.where(known, image, 0))
    for hidden in (0.0, 1e6, float("nan")):
        assert torch.equal(smooth_fill(torch.where(known, image, hidden), known), filled)
    low = torch.where(known, image, torch.inf).amin((2, 3), keepdim=True)
    high = torch.where(known, image, -torch.inf).amax((2, 3), keepdim=True)
    assert bool(((filled >= low - 1e-6) & (filled <= high + 1e-6)).all())  # 1e-6: rounding of averages
    assert torch.equal(smooth_fill(image[:1], known[:1]), filled[:1]), "the batch changes it"


def test_smooth_fill_of_nothing_and_of_a_constant() -> None:
    """If this fails, an image without a known pixel becomes NaN, or a constant image gets a stain."""
    known = torch.zeros(1, 1, 5, 6, dtype=torch.bool)
    assert torch.equal(smooth_fill(torch.full((1, 3, 5, 6), torch.nan), known), torch.zeros(1, 3, 5, 6))
    known[0, 0, 4, :2] = True
    flat = smooth_fill(torch.full((1, 3, 5, 6), 0.25), known)
    assert torch.equal(flat, torch.full((1, 3, 5, 6), 0.25))


# --- Precision and memory


class Overflowing(torch.nn.Module):
    """A decoder and encoder that overflow in half precision, once or always."""

    def __init__(self, always: bool) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.always = always
        self.config = SimpleNamespace(get={}.get)

    @property
    def dtype(self) -> torch.dtype:
        return self.weight.dtype

    def decode(self, z: torch.Tensor) -> Any:
        gone = self.always or self.dtype == torch.float16
        return SimpleNamespace(sample=z * torch.inf if gone else z * self.weight)

    def encode(self, x: torch.Tensor) -> Any:
        return SimpleNamespace(latents=self.decode(torch.nn.functional.avg_pool2d(x, 2)).sample)


def overflowing(always: bool) -> LatentCodec:
    codec = LatentCodec(tiny_vae("AutoencoderTiny"))
    codec.vae = Overflowing(always).half()
    return codec


def test_overflow_in_float16_is_done_again_in_float32() -> None:
    """If this fails, half precision gives black images, or leaves the autoencoder in float32."""
    codec, z = overflowing(always=False), random(1, 4, 2, 2)
    with pytest.warns(UserWarning, match=r"The autoencoder decoded infinity in float16: repeating in float32"):
        assert torch.equal(codec.decode(z), z)
    assert codec.vae.dtype == torch.float16
    with pytest.warns(UserWarning, match=r"encoded infinity in float16"):
        latents, _ = codec.encode(z, torch.ones(1, 1, 2, 2, dtype=torch.bool))
    assert torch.allclose(latents, z.mean((2, 3), keepdim=True), atol=2e-3)  # float16 on the way in


def test_what_overflows_in_float32_too_is_an_error() -> None:
    """If this fails, damaged weights give a black image instead of an error that names the autoencoder."""
    with (
        pytest.warns(UserWarning, match=r"infinity in float16"),
        pytest.raises(NonFiniteError, match=r"The Overflowing decoded NaN or infinity: its weights are damaged"),
    ):
        overflowing(always=True).decode(random(1, 4, 2, 2))


def test_force_upcast_is_obeyed() -> None:
    """If this fails, autoencoders known to overflow in float16 are run in it, and each call computes twice."""
    vae = tiny_vae("AutoencoderKL", force_upcast=True).half()
    seen = []
    vae.decoder.register_forward_pre_hook(lambda _module, args: seen.append(args[0].dtype))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("error")
        LatentCodec(vae).decode(random(1, 4, 4, 4))
    assert seen == [torch.float32]
    assert vae.dtype == torch.float16


def test_threads_that_share_an_autoencoder() -> None:
    """If this fails, one thread returns the autoencoder to float16 while another one runs it in float32."""
    vae, z = tiny_vae("AutoencoderKL", force_upcast=True).half(), random(1, 4, 4, 4)
    with torch.no_grad():
        alone = LatentCodec(vae).decode(z)
    vae.decoder.register_forward_pre_hook(lambda _module, _args: time.sleep(0.05))

    def later(number: int) -> torch.Tensor:
        time.sleep(0.02 * number)
        with torch.no_grad():
            return LatentCodec(vae).decode(z)

    with ThreadPoolExecutor(3) as threads:
        assert all(torch.equal(image, alone) for image in threads.map(later, range(3)))
    assert vae.dtype == torch.float16


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_dtypes(dtype: torch.dtype) -> None:
    """If this fails, a latent model in another precision mixes its types, or changes kept pixels."""
    pipe, image, mask = quiet(prior("AutoencoderKL")).to(dtype), photo(), hole()
    result = np.asarray(pipe(image, mask, schedule=WALK, generator=0).images[0])
    assert np.array_equal(result[mask == 0], image[mask == 0])


def test_slicing_and_tiling_pass_through() -> None:
    """If this fails, large images cannot be decoded in pieces, or an unsupported option is silently ignored."""
    pipe = quiet(prior("AutoencoderKL"))
    vae = pipe.prior.codec.vae  # type: ignore[attr-defined]
    pipe.enable_vae_slicing()
    pipe.enable_vae_tiling()
    assert (vae.use_slicing, vae.use_tiling) == (True, True)
    pipe.disable_vae_slicing()
    pipe.disable_vae_tiling()
    assert (vae.use_slicing, vae.use_tiling) == (False, False)
    with pytest.raises(InputError, match=r"enable_tiling needs an autoencoder, but a PixelPrior has none\."):
        tiny_pipe().enable_vae_tiling()
    with pytest.raises(InputError, match=r"enable_slicing is not supported by the VQModel of this LatentPrior\."):
        quiet(prior("VQModel")).enable_vae_slicing()


def test_prompts_are_refused_without_a_text_encoder() -> None:
    """If this fails, a prompt for an unconditional model is silently ignored."""
    for pipe in (tiny_pipe(), quiet(prior("VQModel"))):
        with pytest.raises(
            PriorError, match=r"prompt must be left out: a prior without a text encoder takes only class_labels"
        ):
            pipe(photo(), hole(), prompt="a cat", schedule=WALK)
