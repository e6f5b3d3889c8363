"""Options that other programs have, and what they are called here."""

from __future__ import annotations

__all__ = ["habit"]

_MASK = "The mask is the second argument: repaint inpaint IMAGE MASK --out RESULT"
_IMAGE = "The image is the first argument: repaint inpaint IMAGE MASK --out RESULT"
_STEPS = "Use --steps N, or --calls N for a number of model calls"
_ETA = "The solver of the schedule sets the noise: --schedule NAME or FILE.yaml, with a line such as solver: ddim(0.5)"
_KEEP = "Use --keep-mask if white is kept"
_HABITS = {
    **dict.fromkeys(("--mask", "--mask-image", "--mask_image", "--mask-path", "-m"), _MASK),
    **dict.fromkeys(("--image", "--input", "--init-image", "--init-img", "-i"), _IMAGE),
    **dict.fromkeys(("--output", "--outdir", "--output-dir", "-o"), "Use --out RESULT"),
    **dict.fromkeys(("--num-inference-steps", "--num_inference_steps", "--ddim-steps", "--sampling-steps"), _STEPS),
    **dict.fromkeys(("--eta", "--ddim-eta", "--ddim_eta"), _ETA),
    **dict.fromkeys(
        ("--model", "--ckpt", "--checkpoint", "--model-path", "--model_path"), "Use --prior NAME or FOLDER"
    ),
    **dict.fromkeys(("--cfg", "--cfg-scale", "--scale", "--guidance"), "Use --guidance-scale"),
    **dict.fromkeys(("--invert", "--invert-mask", "--mask-invert"), _KEEP),
    **dict.fromkeys(("--mask-blur", "--blur", "--feather"), "Use --blend-rim PIXELS"),
    **dict.fromkeys(("--n-samples", "--n_samples", "--num-samples", "--n-iter", "-n"), "Use --samples N"),
    **dict.fromkeys(("--negative", "--neg-prompt"), "Use --negative-prompt TEXT"),
    **dict.fromkeys(("--batch", "--bs"), "Use --batch-size N"),
    "--jump-length": "The schedule sets the jumps: --schedule paper, or a FILE.yaml; see repaint schedule show paper",
    "--fp16": "Use --dtype float16",
    "--gpu": "Use --device cuda",
}


def habit(option: str) -> str:
    """What to use instead of an option of other programs, as the end of a message; "" if it is unknown."""
    found = _HABITS.get(option)
    return "" if found is None else f" {found}."
