"""Options of other programs, and their names here."""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["habit"]

_STEPS = ("--steps N, or --calls N for a number of model calls", "--schedule NAME or FILE.yaml")
_ETA = (
    "--schedule NAME or FILE.yaml: the solver of the schedule sets the noise, with a line such as solver: ddim(0.5)",
)
_JUMPS = ("--schedule paper, or a FILE.yaml: the schedule sets the jumps; see repaint schedule show paper",)
_MODEL = ("--prior NAME or FOLDER",)
_SEAM = ("--blend-rim PIXELS against a seam at the rim, or paint a soft edge (grey) into the mask",)
# Names of an option elsewhere: what to use, in order of preference. The first one that a command has is suggested.
_HABITS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("--output", "--outdir", "--output-dir", "-o"): ("--out RESULT",),
    ("--num-inference-steps", "--num_inference_steps", "--ddim-steps", "--sampling-steps"): _STEPS,
    ("--eta", "--ddim-eta", "--ddim_eta"): _ETA,
    ("--model", "--ckpt", "--checkpoint", "--model-path", "--model_path"): _MODEL,
    ("--cfg", "--cfg-scale", "--scale", "--guidance"): ("--guidance-scale NUMBER",),
    ("--invert", "--invert-mask", "--mask-invert"): ("--keep-mask if white is kept",),
    ("--mask-blur", "--blur", "--feather"): _SEAM,
    ("--n-samples", "--n_samples", "--num-samples", "--n-iter", "-n"): ("--samples N", "--candidates N"),
    ("--negative", "--neg-prompt"): ("--negative-prompt TEXT",),
    ("--batch", "--bs"): ("--batch-size N",),
    ("--jump-length",): _JUMPS,
    ("--fp16",): ("--dtype float16",),
    ("--gpu",): ("--device cuda",),
}
_ARGUMENTS: dict[tuple[str, ...], str] = {
    ("--mask", "--mask-image", "--mask_image", "--mask-path", "-m"): "mask",
    ("--image", "--input", "--init-image", "--init-img", "-i"): "image",
}


def habit(option: str, options: Collection[str], arguments: Collection[str], usage: str) -> str:
    """Suggest what to use instead of an option of another program; "" if nothing is known.

    Args:
        option: what was given.
        options, arguments: the names that the command has.
        usage: the command with its arguments.
    """
    for names, argument in _ARGUMENTS.items():
        if option in names and {argument, f"{argument}s"} & set(arguments):
            return f" The {argument} is an argument without a name: {usage}."
    for names, ways in _HABITS.items():
        if option in names:
            return next((f" Use {way}." for way in ways if way.split()[0].rstrip(",:") in options), "")
    return ""
