"""The command `repaint`: thin. Each command reads its arguments, calls the library, and prints.

Exit status: 0 on success, 2 on bad input with one clear line and nothing written.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from repaint import presets
from repaint.errors import InputError, RepaintError
from repaint.method import Method

if TYPE_CHECKING:
    from repaint.pipeline import StepCallback
    from repaint.state import SamplerState

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, help="Fill holes in images with a pretrained diffusion model."
)
schedule_app = typer.Typer(no_args_is_help=True, help="Look at resampling schedules: list, show, plot.")
priors_app = typer.Typer(no_args_is_help=True, help="Priors: list those that ship with the package, convert others.")
app.add_typer(schedule_app, name="schedule")
app.add_typer(priors_app, name="priors")
out, err = Console(emoji=False), Console(stderr=True, emoji=False)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PriorName = Annotated[str, typer.Option(help="Bundled name, folder or Hub id.")]
ScheduleName = Annotated[str, typer.Option(help="Preset name or YAML file.")]
Seed = Annotated[int, typer.Option(help="Seed of the first image, from 0.")]


# What typer raises for a wrong command line: click's class, or that of typer's own copy of click, which has no name.
UsageError: Any = typer.BadParameter.__base__


def main() -> None:
    """Entry point: errors of the command line and of the library become one line and exit status 2."""
    try:
        sys.exit(app(standalone_mode=False))
    except RepaintError as error:
        _fail(str(error))
    except OSError as error:  # a full disk, a folder that vanished: nothing half-written stays (files.atomic_path)
        _fail(f"{error}. Check the disk and the path.")
    except UsageError as error:
        if text := error.format_message().strip():  # empty where the help was printed instead
            command = error.ctx.command_path if error.ctx else "repaint"
            _fail(f"{text.rstrip('.')}. See {command} --help.")
        sys.exit(2)
    except typer.Abort:
        sys.exit(1)


def _fail(message: str) -> None:
    line = " ".join(message.split())
    err.print(f"[red]repaint:[/red] {escape(line)}", highlight=False, soft_wrap=True)
    sys.exit(2)


@app.command()
def demo(
    out_file: Annotated[Path, typer.Option("--out", help="Where the strip goes, a PNG.")] = Path("repaint-demo.png"),
    schedule: ScheduleName = "predicted",
    seed: Seed = 0,
) -> None:
    """Fill holes in parts of photographs that the bundled prior never saw, and write a before/after strip.

    Example: repaint demo --out strip.png
    """
    from repaint.demo import run
    from repaint.files import check_writable
    from repaint.images import save_image
    from repaint.method import as_method

    check_writable(out_file, "RGB")
    method = as_method(schedule)
    with _calls_bar(f"filling 5 holes with {method.name}", method.model_calls) as step:
        strip, calls = run(method, seed, step)
    save_image(strip, out_file)
    line = f"{calls} model calls per hole with schedule {method.name}, seed {seed}. Strip: {out_file}"
    out.print(line, highlight=False, markup=False, soft_wrap=True)


@app.command()
def inpaint(
    image: Annotated[Path, typer.Argument(help="The image.")],
    mask: Annotated[Path, typer.Argument(help="Its mask, of the same size: white is repainted.")],
    out_file: Annotated[Path, typer.Option("--out", help="Where the result goes; the suffix names the format.")],
    prior: PriorName = "textures",
    schedule: ScheduleName = "paper",
    prompt: Annotated[str | None, typer.Option(help="What to draw, for text-conditioned priors.")] = None,
    negative_prompt: Annotated[str | None, typer.Option(help="What not to draw, for such priors.")] = None,
    class_label: Annotated[str | None, typer.Option("--class", help="Class name or number, for such priors.")] = None,
    guidance_scale: Annotated[float | None, typer.Option(help="Weight of classifier-free guidance.")] = None,
    seed: Seed = 0,
    keep_mask: Annotated[bool, typer.Option("--keep-mask", help="The mask's white is kept, not repainted.")] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.")] = "cpu",
    dtype: Annotated[str, typer.Option(help="The model's type: float32, bfloat16 or float16.")] = "float32",
    as_json: AsJson = False,
) -> None:
    """Fill the hole of one image. Kept pixels come out bit-equal.

    Example: repaint inpaint photo.png mask.png --out filled.png --schedule quick
    """
    import torch

    from repaint.files import check_writable, open_image
    from repaint.images import save_image
    from repaint.method import as_method
    from repaint.pipeline import RePaintPipeline

    types = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if dtype not in types:
        raise InputError(f"--dtype {dtype}: it is one of {', '.join(types)}. Choose one.")
    picture = open_image(image)
    check_writable(out_file, picture.mode)
    method = as_method(schedule)
    pipe = RePaintPipeline.from_pretrained(prior, torch_dtype=types[dtype]).to(device)
    pipe.set_progress_bar_config(disable=True)
    labels = int(class_label) if class_label is not None and class_label.isdecimal() else class_label
    masks: dict[str, Any] = {"keep_mask" if keep_mask else "mask_image": mask}
    with _calls_bar(f"filling {image.name} with {method.name}", method.model_calls) as step:
        result = pipe(
            picture,
            **masks,
            prompt=prompt,
            negative_prompt=negative_prompt,
            class_labels=labels,
            guidance_scale=guidance_scale,
            schedule=method,
            generator=seed,
            callback_on_step_end=step,
        )
        save_image(result.images[0], out_file)
    report = {
        "image": str(image),
        "mask": str(mask),
        "out": str(out_file),
        "prior": prior,
        "seed": seed,
        "model_calls": result.model_calls,
        "method": method.describe(),
    }
    _report(
        report,
        as_json,
        f"{result.model_calls} model calls with schedule {method.name}, seed {seed}. Result: {out_file}",
    )


@app.command()
def mask(
    kind: Annotated[str, typer.Argument(help="box, circle, half, expand, alternating_lines, super_resolve, ...")],
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT in pixels.")],
    out_file: Annotated[Path, typer.Option("--out", help="Where the mask goes, an 8-bit image.")],
    option: Annotated[list[str] | None, typer.Option(help="name=value for the generator, e.g. radius=0.3")] = None,
    seed: Annotated[int | None, typer.Option(help="For the random ones.", min=0)] = None,
    keep_mask: Annotated[bool, typer.Option("--keep-mask", help="White is kept, not repainted.")] = False,
) -> None:
    """Draw a benchmark mask; white is repainted.

    Example: repaint mask circle --size 256x256 --option radius=0.3 --out mask.png
    """
    import numpy as np
    from PIL import Image

    from repaint.files import check_writable
    from repaint.images import save_image
    from repaint.masks import generate

    check_writable(out_file, "L")
    width, x, height = size.partition("x")
    if not (x and width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise InputError(f"--size {size}: it is WIDTHxHEIGHT in pixels, such as 256x256.")
    if int(width) * int(height) > (Image.MAX_IMAGE_PIXELS or math.inf):
        raise InputError(f"--size {size}: PIL would not read more than {Image.MAX_IMAGE_PIXELS} pixels. Choose less.")
    options = dict(_named_value(text) for text in option or [])
    if seed is not None:
        options["seed"] = seed
    try:
        keep = generate(kind, int(height), int(width), **options)[0].numpy()
    except (TypeError, ValueError) as error:  # text became a value of a kind that the generator cannot take
        if isinstance(error, RepaintError):
            raise
        given = ", ".join(option or ())
        raise InputError(f"--option {given}: {kind} cannot take this ({error}). Correct it.") from error
    white = keep if keep_mask else 1 - keep
    save_image(Image.fromarray(np.round(white * 255).astype(np.uint8)), out_file)
    _say(f"{kind}, {width} x {height}, {100 * float((1 - keep).mean()):.1f} % hole: {out_file}")


@app.command()
def bench(
    schedule: Annotated[list[str] | None, typer.Option(help="Preset or YAML file; may be repeated.")] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="Also write the first three holes of each photograph, a PNG.")
    ] = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Are painted patches like real ones? 65 holes in photographs that the `textures` prior never saw.

    Beside each schedule stand the floor (the true content) and biharmonic inpainting.

    Example: repaint bench --schedule predicted --schedule quick
    """
    from repaint.files import check_writable
    from repaint.images import save_image
    from repaint.lab.quality import held_out_holes, score_textures
    from repaint.method import as_method
    from repaint.pipeline import RePaintPipeline
    from repaint.plots import holes_sheet

    if sheet is not None:
        check_writable(sheet, "RGB")
    methods = {method.name: method for method in map(as_method, schedule or ["predicted", "corrected", "quick"])}
    holes, batch = held_out_holes(), 16
    pipe = RePaintPipeline.from_pretrained("textures")
    pipe.set_progress_bar_config(disable=True)
    total = sum(method.model_calls for method in methods.values()) * -(-len(holes) // batch)
    with _calls_bar(f"filling {len(holes)} holes, {batch} at a time", total) as step:
        results = score_textures(pipe, methods, holes=holes, seed=seed, batch=batch, on_call=step)
    if sheet is not None:
        save_image(holes_sheet(holes, {name: images for name, (_, images) in results.items()}), sheet)
    if as_json:
        rows = {name: vars(score) | {"psnr": _finite(score.psnr)} for name, (score, _) in results.items()}
        print(json.dumps(rows, indent=2))
        return
    table = Table("fills with", "patch distance", "gradient distance", "PSNR in hole", "model calls", "seconds")
    for name, (score, _) in results.items():
        cells = f"{score.patches:.4f}", f"{score.gradients:.4f}", f"{score.psnr:.2f}", str(score.model_calls)
        table.add_row(name, *cells, f"{score.seconds:.1f}")
    out.print(table)


@schedule_app.command("list")
def schedule_list(as_json: AsJson = False) -> None:
    """The presets, with what each costs."""
    methods = [Method.from_preset(name) for name in presets.available()]
    if as_json:
        print(json.dumps([method.describe() for method in methods], indent=2))
        return
    table = Table("name", "steps", "transitions", "model calls", "about", box=None, header_style="bold")
    for method in sorted(methods, key=lambda method: method.model_calls):
        counts = str(method.schedule.steps), str(len(method.schedule)), str(method.model_calls)
        table.add_row(method.name, *counts, method.about)
    out.print(table)


@schedule_app.command("show")
def schedule_show(
    name: Annotated[str, typer.Argument(help="Preset name or YAML file.")], as_json: AsJson = False
) -> None:
    """One schedule: what it is, where it comes from, what it costs.

    Example: repaint schedule show paper
    """
    from repaint.method import as_method

    method = as_method(name)
    lines = [method.name, method.about, f"source: {method.source}"]
    lines += [f"{key}: {value}" for key, value in method.describe().items() if key != "name" and value is not None]
    measured = presets.read(name)[1].measured
    lines += [f"measured, {key}: {value}" for key, value in measured.items()]
    _report(
        method.describe() | {"measured": measured, "levels": list(method.schedule.levels)},
        as_json,
        "\n".join(line for line in lines if line),
    )


@schedule_app.command("plot")
def schedule_plot(
    name: Annotated[str, typer.Argument(help="Preset name or YAML file.")],
    out_file: Annotated[Path, typer.Option("--out", help="Where the plot goes: .png, .svg or .pdf.")],
) -> None:
    """Draw a walk: noise level over transition.

    Example: repaint schedule plot paper --out paper.png
    """
    import matplotlib as mpl

    from repaint.files import atomic_path
    from repaint.method import as_method

    method = as_method(name)
    if out_file.suffix.lower() not in {".png", ".svg", ".pdf"}:
        raise InputError(f"--out {out_file}: a plot is a .png, .svg or .pdf file. Change the suffix.")
    mpl.use("Agg")
    figure = method.schedule.plot().get_figure(root=True)
    assert figure is not None
    with atomic_path(out_file) as temporary:
        figure.savefig(temporary, dpi=150)
    _say(f"{method.name}: {len(method.schedule)} transitions. Plot: {out_file}")


@priors_app.command("list")
def priors_list(as_json: AsJson = False) -> None:
    """The priors that ship with the package and work offline."""
    from repaint.priors.load import BUNDLED, bundled

    rows = []
    for name in bundled():
        card = json.loads((BUNDLED / name / "card.json").read_text(encoding="utf-8"))
        size = sum(path.stat().st_size for path in (BUNDLED / name).rglob("*.safetensors"))
        rows.append({"name": name, "about": card["about"], "licence": card["licence"], "mib": round(size / 2**20, 1)})
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    table = Table("name", "MiB", "licence", "about", box=None, header_style="bold")
    for row in rows:
        table.add_row(row["name"], str(row["mib"]), row["licence"], row["about"])
    out.print(table)


@priors_app.command("convert")
def priors_convert(
    checkpoint: Annotated[Path, typer.Argument(help="A .pt file of OpenAI's guided-diffusion.")],
    out_folder: Annotated[Path, typer.Option("--out", help="The folder to write, in diffusers' layout.")],
    noise_schedule: Annotated[str | None, typer.Option(help="linear or cosine.")] = None,
    head_channels: Annotated[int | None, typer.Option(min=1, help="Channels of an attention head.")] = None,
    heads: Annotated[int | None, typer.Option(min=1, help="Attention heads on each level, instead.")] = None,
    new_attention_order: Annotated[bool | None, typer.Option(help="As use_new_attention_order in training.")] = None,
    half: Annotated[bool, typer.Option("--half", help="Write float16 weights.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a prior that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Convert a guided-diffusion checkpoint into a prior's folder, for --prior and for diffusers.

    The published models need no options; of others, say how they were trained.

    Example: repaint priors convert 256x256_diffusion_uncond.pt --out imagenet-256
    """
    import torch

    from repaint.priors.guided import Settings, convert

    told = Settings(noise_schedule, head_channels, heads, new_attention_order)
    found = convert(
        checkpoint, out_folder, told, torch_dtype=torch.float16 if half else torch.float32, overwrite=overwrite
    )
    lines = [f"{found.anatomy}; {found.parameters / 1e6:.1f} M parameters.", f"{found.settings}."]
    if found.head_width is None:
        lines.append("Its heads differ in width between levels: repaint loads this folder, diffusers alone cannot.")
    report = {"checkpoint": str(checkpoint), "out": str(out_folder), "parameters": found.parameters, "half": half}
    _report(report | vars(found.anatomy) | vars(found.settings), as_json, "\n".join([*lines, f"Prior: {out_folder}"]))


@contextmanager
def _calls_bar(title: str, total: int) -> Iterator[StepCallback]:
    """A progress bar of model calls done of model calls planned, as a pipeline callback."""
    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TextColumn("calls")
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=err) as bar:
        task = bar.add_task(title, total=total)
        before = 0

        def step(_pipe: object, moves: int, _level: int, kwargs: dict[str, Any]) -> None:
            nonlocal before
            state: SamplerState = kwargs["state"]
            bar.update(task, advance=state.model_calls - (0 if moves == 1 else before))
            before = state.model_calls

        try:
            yield step
        except BaseException:
            # An error stands alone: without a bar that will never fill, or the empty line that bar.stop() adds.
            bar.live.transient = True
            bar.live.stop()
            bar.disable = True
            raise


def _named_value(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--option {text}: write name=value, such as radius=0.3.")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _finite(value: float) -> float | None:
    """JSON knows no infinity: the PSNR of the truth itself becomes null."""
    return value if math.isfinite(value) else None


def _report(data: dict[str, Any], as_json: bool, text: str) -> None:
    if as_json:
        print(json.dumps(data, indent=2))
    else:
        _say(text)


def _say(text: str) -> None:
    out.print(text, highlight=False, markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
