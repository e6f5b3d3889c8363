"""Train the bundled `emoji` prior: a small Stable Diffusion, from scratch, on glyphs and their names.

    python examples/train_emoji_vae.py --out runs/emoji-vae
    python examples/train_emoji.py --vae runs/emoji-vae/vae --out runs/emoji

Writes the folder --out/model, which `repaint.RePaintPipeline` and diffusers' `StableDiffusionPipeline` both load.
"""

from __future__ import annotations

import copy
import json
import re
import shutil
import tempfile
from functools import partial
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from emoji_glyphs import code_points, is_held_out, variants
from training import Draw, Facts, options, to_tensor, train, velocity_loss

BATCH = 64
VARIANTS = 8  # renderings of each glyph, moved and scaled a little
EMPTY_SHARE = 0.12  # share of prompts replaced by the empty one, for classifier-free guidance
WINDOW = 24  # tokens; the longest name has fewer
WIDTH = 128  # width of the text encoder
MERGES = 1700
START, END = "<|startoftext|>", "<|endoftext|>"


def write_tokenizer(names: list[str], folder: Path) -> CLIPTokenizer:
    """Train a byte-pair encoding in CLIP's layout (vocab.json, merges.txt) on the names."""
    core = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=2 * len(alphabet) + MERGES, end_of_word_suffix="</w>", initial_alphabet=alphabet, show_progress=False
    )
    words = [word for name in names for word in re.findall(r"[a-z]+|[0-9]|[^\sa-z0-9]+", name)]
    core.train_from_iterator(words, trainer)
    merges = [tuple(pair) for pair in json.loads(core.to_str())["model"]["merges"]]
    tokens = [*alphabet, *(letter + "</w>" for letter in alphabet), *("".join(pair) for pair in merges), START, END]
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *(" ".join(pair) for pair in merges)]) + "\n")
    facts = {"tokenizer_class": "CLIPTokenizer", "model_max_length": WINDOW}
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    (folder / "tokenizer_config.json").write_text(json.dumps(facts | special, indent=2) + "\n")
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2) + "\n")
    return CLIPTokenizer.from_pretrained(folder)


def text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=2 * WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=WINDOW,
            projection_dim=WIDTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def unet() -> UNet2DConditionModel:
    """Convolutions at 16 x 16, attention to the image and the prompt at 8 x 8 and 4 x 4."""
    return UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(64, 112, 128),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def noise_scheduler() -> DDPMScheduler:
    """Return Stable Diffusion's noise levels, with v-prediction as in version 2."""
    return DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        clip_sample=False,
        steps_offset=1,
        timestep_spacing="trailing",
    )


class Prior(torch.nn.Module):
    """The two networks that are trained together."""

    def __init__(self, vocabulary: CLIPTokenizer) -> None:
        super().__init__()
        self.text_encoder = text_encoder(vocabulary)
        self.unet = unet()

    def forward(self, x_t: torch.Tensor, t: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        prompt = self.text_encoder(tokens).last_hidden_state
        prediction: torch.Tensor = self.unet(x_t, t, encoder_hidden_states=prompt).sample
        return prediction


def tokenize(tokenizer: CLIPTokenizer, prompts: list[str]) -> torch.Tensor:
    """(B, WINDOW) token ids, padded as diffusers' pipelines pad."""
    ids: torch.Tensor = tokenizer(
        prompts, padding="max_length", max_length=WINDOW, truncation=True, return_tensors="pt"
    ).input_ids
    return ids


@torch.no_grad()
def latents_of(vae: AutoencoderKL, codes: list[int], count: int) -> torch.Tensor:
    """(glyphs, count, 4, 16, 16): the posterior's means of `count` renderings of each glyph."""
    images = torch.cat([to_tensor(variants(code, count)) for code in codes])
    encoded = torch.cat([vae.encode(some).latent_dist.mean for some in images.split(64)])
    return encoded.unflatten(0, (len(codes), count))


def export(
    model: Prior, facts: Facts, *, folder: Path, vae: AutoencoderKL, tokenizer: CLIPTokenizer, scheduler: DDPMScheduler
) -> None:
    """Write a Stable Diffusion folder with fp16 weights, and a card with the facts of the training.

    The tokenizer is saved in both layouts: as one file, and as the vocabulary and merges that older transformers read.
    The text encoder's config asks for float32: else transformers would load it, alone of the three, in half precision.
    """
    pipe = StableDiffusionPipeline(
        vae=copy.deepcopy(vae).half(),
        text_encoder=copy.deepcopy(model.text_encoder).half(),
        tokenizer=tokenizer,
        unet=copy.deepcopy(model.unet).half(),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.save_pretrained(folder)
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(Path(tokenizer.name_or_path) / name, folder / "tokenizer")
    config = folder / "text_encoder" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"dtype": "float32"}, indent=2) + "\n")
    card = {
        "about": "Emoji at 64 x 64, latent and text-conditioned: the prompt is a glyph's Unicode name in lower case.",
        "licence": "weights: Apache-2.0; glyphs: SIL Open Font License 1.1",
        "data": "Noto Color Emoji 2.042 (Debian's fonts-noto-color-emoji), nine tenths of its named code points",
        "training": facts,
    }
    (folder / "card.json").write_text(json.dumps(card, indent=2) + "\n")


def main() -> None:
    parser = options(__doc__ or "", out="runs/emoji", steps=10_000, learning_rate=6e-4)
    parser.add_argument("--vae", type=Path, required=True)
    args = parser.parse_args()

    vae = AutoencoderKL.from_pretrained(args.vae).eval()
    scheduler = noise_scheduler()
    codes = code_points()
    seen, unseen = ({n: c for n, c in codes.items() if is_held_out(n) == held_out} for held_out in (False, True))
    tokenizer = write_tokenizer(list(seen), Path(tempfile.mkdtemp()))
    data = latents_of(vae, list(seen.values()), VARIANTS)
    prompts = tokenize(tokenizer, list(seen))
    empty = tokenize(tokenizer, [""])
    tests = {
        key: (latents_of(vae, some, 1)[:, 0], tokenize(tokenizer, names))
        for key, names, some in (
            ("seen", list(seen)[::8], list(seen.values())[::8]),
            ("held_out", list(unseen), list(unseen.values())),
        )
    }

    def loss(model: torch.nn.Module, draw: Draw) -> tuple[torch.Tensor, int]:
        glyph = draw.rng.integers(len(data), size=BATCH)
        x0 = data[glyph, draw.rng.integers(VARIANTS, size=BATCH)]
        tokens = torch.where(torch.from_numpy(draw.rng.random((BATCH, 1)) < EMPTY_SHARE), empty, prompts[glyph])
        x0 = x0.to(draw.device, memory_format=torch.channels_last)
        denoise = partial(model, tokens=tokens.to(draw.device))
        return velocity_loss(denoise, scheduler, x0, draw.generator), BATCH

    def report(model: torch.nn.Module) -> Facts:
        """Return the loss with the right prompt and with none, always with the same timesteps and noise."""
        device = next(model.parameters()).device
        facts = Facts()
        for part, (x0, tokens) in tests.items():
            for kind, given in (("prompt", tokens), ("empty", empty.expand_as(tokens))):
                denoise, generator = partial(model, tokens=given.to(device)), torch.Generator().manual_seed(0)
                value = velocity_loss(denoise, scheduler, x0.to(device), generator).item()
                facts[f"{part}_{kind}_loss"] = round(value, 5)
        return facts

    finish = partial(export, folder=args.out / "model", vae=vae, tokenizer=tokenizer, scheduler=scheduler)
    train(Prior(tokenizer), loss, report, finish, args)


if __name__ == "__main__":
    main()
