"""repaint inpaint: one image, or many."""

from __future__ import annotations

import hashlib
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from repaint.cli.console import about, calls_bar, print_json, progress_bar, say, say_aside, tell, together
from repaint.cli.loading import Device, mask_of, place_of, process_state
from repaint.cli.options import AsJson, DType, PriorName, Seed, Threads, Threshold, torch_dtype
from repaint.cli.sample_files import SampleFiles
from repaint.errors import InputError
from repaint.threads import set_threads

if TYPE_CHECKING:
    from repaint.folders.filling import Outcome
    from repaint.pipeline import RePaintPipeline
    from repaint.sampling.method import Method

__all__ = ["inpaint"]


def inpaint(
    images: Annotated[list[Path], typer.Argument(help="An image, several images, a pattern, or a folder of images.")],
    mask: Annotated[
        Path, typer.Argument(help="Mask; white is repainted. For many images: one mask for all, or a folder of masks.")
    ],
    out_path: Annotated[
        Path,
        typer.Option(
            "--out", help="Result file, whose suffix sets the format; for many images, the folder of results."
        ),
    ],
    prior: PriorName = "photos",
    schedule: Annotated[
        str | None, typer.Option(help="Preset name or YAML file. Default: the prior's own, usually fast.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Number of steps of the schedule, instead of its own.")] = None,
    calls: Annotated[
        int | None, typer.Option(help="The most model calls: the schedule gets as many steps as fit.")
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="Text prompt, for text-conditioned priors.")] = None,
    negative_prompt: Annotated[str | None, typer.Option(help="Text to avoid, for text-conditioned priors.")] = None,
    class_label: Annotated[
        str | None, typer.Option("--class", help="Class name or number, for class-conditioned priors.")
    ] = None,
    guidance_scale: Annotated[float | None, typer.Option(help="Weight of classifier-free guidance.")] = None,
    latent_margin: Annotated[
        int, typer.Option(help="Width in latent cells by which the hole grows, for latent priors.")
    ] = 0,
    strength: Annotated[
        str,
        typer.Option(
            metavar="S|MAP", help="How much may change: a number in (0, 1], or a grey image, black (nothing) to white."
        ),
    ] = "1",
    blend_rim: Annotated[
        float,
        typer.Option(
            help="Width in pixels inside the rim of the hole that is shifted to continue the kept pixels, for latent "
            "priors. Try 2."
        ),
    ] = 0.0,
    crop: Annotated[
        bool, typer.Option(help="Cut windows around the holes of an image that is too large for the prior.")
    ] = True,
    seed: Seed = 0,
    samples: Annotated[
        int,
        typer.Option(min=1, help="Single image: number of results. If above 1, the seed is added to each file name."),
    ] = 1,
    mean: Annotated[
        bool,
        typer.Option("--mean", help="Write to --out the mean of the samples, drawn in pairs with opposite noise."),
    ] = False,
    uncertainty: Annotated[
        Path | None,
        typer.Option(metavar="MAP.png", help="Also write the standard deviation of the samples as a heat map."),
    ] = None,
    branch: Annotated[
        Path | None,
        typer.Option(help="Single image: continue from this saved state with the schedule and new noise of the seed."),
    ] = None,
    keep_mask: Annotated[
        bool, typer.Option("--keep-mask", help="White in the mask is kept instead of repainted.")
    ] = False,
    threshold: Threshold = None,
    device: Device = "auto",
    dtype: DType = "auto",
    variant: Annotated[
        str | None, typer.Option(help="Variant of the weight files, such as fp16. Default: the ordinary files.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Folder with the configs of a prior in a single .safetensors file.")
    ] = None,
    lora: Annotated[list[str] | None, typer.Option(help="File, folder or Hub id of LoRA weights; repeatable.")] = None,
    threads: Threads = "auto",
    batch_size: Annotated[int, typer.Option(help="Many images: number of images of one size in a batch.", min=1)] = 8,
    shard: Annotated[
        str | None, typer.Option(help="Many images: i/n fills the i-th of n parts, for job arrays.")
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", help="Many images: also those in subfolders, into subfolders of --out.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Many images: replace their results of other settings in --out.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Fill the holes of one or many images. Kept pixels stay bit-equal.

    Masks in a folder are matched to images by name without suffix: NAME, NAME_mask or NAME_mask001. Images and masks
    may lie in one folder: pass it twice. An interrupted run resumes when the same command is given again. An
    image without a mask ends the command; a file that cannot be used is reported, the others are filled, and the exit
    status is 2. To use several processes or GPUs: accelerate launch -m repaint inpaint FOLDER ...

    Example: repaint inpaint photo.png mask.png --out filled.png --schedule fast

    Example: repaint inpaint photo.png mask.png --out mean.png --samples 8 --mean --uncertainty map.png

    Example: repaint inpaint photos/ masks/ --out filled/ --batch-size 16

    Example: repaint inpaint photos/*.jpg mask.png --out filled/ --prior FOLDER --prompt "a cat"
    """
    from repaint.arguments import check_copies
    from repaint.folders.tasks import is_one_file
    from repaint.priors.load import default_schedule
    from repaint.sampling.budget import with_budget
    from repaint.sampling.method import as_method

    model_type, method = torch_dtype(dtype, place_of(device)), None if schedule is None else as_method(schedule)
    if steps is not None or calls is not None:
        method = with_budget(schedule or default_schedule(prior), steps=steps, calls=calls)
    labels = int(class_label) if class_label is not None and class_label.isdecimal() else class_label
    options: dict[str, Any] = {
        "prompt": prompt,
        "negative_prompt": negative_prompt,
        "class_labels": labels,
        "guidance_scale": guidance_scale,
        "latent_margin": latent_margin,
        "blend_rim": blend_rim,
        "strength": _number_or_file(strength),
        "crop": "auto" if crop else "off",
    }
    files = {"variant": variant, "config": config}
    load = _Loader(prior, model_type, device, threads, method, files, lora or [])
    wanted = SampleFiles(samples, mean, uncertainty)
    wanted.check(out_path, branch)
    if method is not None:
        check_copies(method, samples, "--samples")
    if is_one_file(images, mask):
        if shard or overwrite or recursive:
            option = "--shard" if shard else "--overwrite" if overwrite else "--recursive"
            raise InputError(f"{option} needs many images, but one is given. Leave it out.")
        with about(str(images[0]), str(mask)):
            _one(images[0], mask, out_path, load, options, seed, wanted, branch, (keep_mask, threshold), as_json)
        return
    if samples > 1:
        raise InputError("--samples needs a single image, but there are several. Pass one image, or omit --samples.")
    if branch is not None:
        raise InputError("--branch needs a single image, but there are several. Pass the image of the saved state.")
    own = {"variant": variant, "config": config and str(config), "lora": lora}
    own = {name: value for name, value in own.items() if value}
    shared = {"dtype": str(model_type)[6:], "seed": seed, "keep_mask": keep_mask, "threshold": threshold}
    settings = {**own, **shared, **options}
    _many(images, mask, out_path, load, settings, options, batch_size, shard, recursive, overwrite, as_json)


def _number_or_file(text: str) -> float | str:
    """Read --strength: a number, or the name of a file."""
    try:
        return float(text)
    except ValueError:
        return text


class _Loader:
    """Loads the pipeline, after all other arguments were checked. A method of None is the prior's own default."""

    def __init__(
        self,
        prior: str,
        model_type: Any,
        device: str,
        threads: str,
        method: Method | None,
        files: dict[str, Any],
        lora: list[str],
    ) -> None:
        self.prior, self.model_type, self.device, self.threads = prior, model_type, device, threads
        self.files, self.lora = files, lora
        self._method = method

    @property
    def method(self) -> Method:
        from repaint.priors.load import default_schedule
        from repaint.sampling.method import as_method

        self._method = self._method or as_method(default_schedule(self.prior))
        return self._method

    def __call__(self, device: Any = None) -> RePaintPipeline:
        from repaint.pipeline import RePaintPipeline

        if self.device != "auto" or device is None:
            device = place_of(self.device)
        set_threads(self.threads)
        pipe = RePaintPipeline.from_pretrained(self.prior, torch_dtype=self.model_type, **self.files)
        for weights in self.lora:
            pipe.load_lora_weights(weights)
        pipe.to(str(device))
        pipe.set_progress_bar_config(disable=True)
        return pipe


def _one(
    image: Path,
    mask: Path,
    out_file: Path,
    load: _Loader,
    options: dict[str, Any],
    seed: int,
    wanted: SampleFiles,
    branch: Path | None,
    mask_options: tuple[bool, float | None],
    as_json: bool,
) -> None:
    from repaint.arguments import calls_at
    from repaint.cutouts import window_seed
    from repaint.files import check_unread
    from repaint.pictures.decoding import open_image
    from repaint.pictures.encoding import check_writable
    from repaint.pictures.images import read_images
    from repaint.sampling.state import SamplerState

    read = [image, mask, *([Path(options["strength"])] if isinstance(options["strength"], str) else [])]
    check_unread([*wanted.named(out_file, range(seed, seed + wanted.samples)), wanted.uncertainty], read)
    picture = open_image(image)
    shown = read_images(picture)[0]
    check_writable(out_file, shown.output("pil"))
    wanted.check_map(shown.size)
    keep = mask_of(shown, mask, *mask_options)
    state, method = None, load.method
    if branch is not None:
        state = SamplerState.load(branch)
        state = state.branch([window_seed(seed, n) for n in range(len(state.x))])
        walk = method.schedule
        if walk.levels[0] > state.level > 0 and state.level in walk.levels:  # a walk that begins there may jump up
            method = replace(method, schedule=walk.capped(state.level))
    pipe = load()
    given = {"keep_mask": keep, **options, "schedule": method}
    done = 0 if state is None else state.model_calls
    with calls_bar(f"filling {image.name} with {method.name}", calls_at(method, options["strength"]), done) as step:
        if state is None:
            several: dict[str, Any] = {"num_images_per_prompt": wanted.samples, "antithetic": wanted.mean}
            if wanted.samples > 1:
                several["batch_size"] = "auto"  # one image fits or fails; more of them can be run in smaller batches
            result = pipe(picture, **given, **several, generator=seed, callback_on_step_end=step)
        else:
            result = pipe.resume(state, picture, **given, callback_on_step_end=step)
        files = wanted.save(result, out_file)
    report = {
        "image": str(image),
        "mask": str(mask),
        "out": str(out_file),
        "prior": load.prior,
        **({} if branch is None else {"branch": str(branch)}),
        "seed": seed,
        "model_calls": result.model_calls,
        "method": method.describe(),
        **wanted.report(result, files),
    }
    tell(report, as_json, wanted.text(result, files, method))


def _many(
    images: list[Path],
    masks: Path,
    out: Path,
    load: _Loader,
    settings: dict[str, Any],
    options: dict[str, Any],
    batch_size: int,
    shard: str | None,
    recursive: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    from accelerate.utils import gather_object

    from repaint.arguments import calls_at
    from repaint.folders.filling import check_options, run
    from repaint.folders.result_folder import check_settings, write_settings
    from repaint.folders.tasks import batches, tasks
    from repaint.sampling.rng import seeds_for
    from repaint.shards import share_of
    from repaint.version import __version__

    method = load.method
    seeds_for(1, settings["seed"])
    described = method.describe() | {"levels": hashlib.sha256(str(method.schedule.levels).encode()).hexdigest()[:16]}
    settings = {"repaint": __version__, "prior": load.prior, "method": described, **settings}
    todo = tasks(images, masks, out, settings["seed"], recursive=recursive)
    check_settings(out, settings, todo, overwrite=overwrite)
    state = process_state(load.device)
    own_batches = share_of(batches(todo, batch_size), shard, state.process_index, state.num_processes)
    pipe = load(state.device)
    check_options(pipe, options)
    if state.is_main_process:
        write_settings(out, settings, todo)
    with together("The results"):
        state.wait_for_everyone()
    outcomes: list[Outcome] = []
    count = sum(map(len, own_batches))
    calls = count * calls_at(method, options["strength"])
    bar = progress_bar(f"filling {count} images with {method.name}", calls, "calls")
    with bar if state.is_main_process else nullcontext(_ignore) as advance:
        for outcome in run(
            pipe,
            own_batches,
            method,
            options,
            keep_mask=settings["keep_mask"],
            threshold=settings["threshold"],
            on_calls=advance,
            say=say_aside,
        ):
            outcomes.append(outcome)
            if outcome.status == "failed":
                named = str(outcome.reason).startswith(outcome.image)
                say_aside(str(outcome.reason) if named else f"{outcome.image}: {outcome.reason}")
    with together("The results"):
        outcomes = gather_object(outcomes)
    if state.is_main_process:
        _tell(out, settings, outcomes, as_json)
    state.destroy_process_group()
    if any(outcome.status == "failed" for outcome in outcomes):  # only now, so that no process exits while others work
        raise typer.Exit(2)


def _tell(out: Path, settings: dict[str, Any], outcomes: list[Outcome], as_json: bool) -> None:
    counts = Counter(outcome.status for outcome in outcomes)
    counted = {status: counts[status] for status in ("filled", "found", "failed")}
    if as_json:
        images = [outcome.as_dict() for outcome in sorted(outcomes, key=lambda outcome: outcome.image)]
        print_json({"out": str(out), **counted, "settings": settings, "images": images})
        return
    parts = [f"{counts['filled']} filled", f"{counts['found']} already filled", f"{counts['failed']} failed"]
    say(f"{', '.join(part for part in parts if not part.startswith('0 ')) or 'No image'}. Results: {out}")


def _ignore(_more: int) -> None:
    """Ignore progress, in the processes that show no bar."""
