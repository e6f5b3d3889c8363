"""The page: its layout, and the handler of each event."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, get_args

import gradio as gr

from repaint.defaults import MARGIN, SENSITIVITY, TONE
from repaint.pictures.detection import Tone
from repaint.sampling import presets
from repaint.studio import canvas
from repaint.studio.endpoint import wire_endpoint
from repaint.studio.handlers import NOTHING_RUN, Handlers
from repaint.studio.inputs import samples
from repaint.studio.jobs import TASKS
from repaint.studio.tabs import QUIET, SHOWN, audit_tab, compare_tab, explore_tab

__all__ = ["CSS", "build", "theme"]

CSS = """
.gradio-container { max-width: 1280px !important; }
.progress progress { width: 100%; height: 1rem; }
.progress[data-status=failed] span { color: #b00020; font-weight: 600; }
.walk { position: relative; max-width: 720px; }
.walk img { width: 100%; display: block; background: white; }
.walk .mark { position: absolute; width: 12px; height: 12px; margin: -6px; border-radius: 50%; background: #e4007f; }
.tree ul { list-style: none; margin: 0 0 0 1rem; padding-left: 1rem; border-left: 2px solid #8888; }
.tree > ul { margin: 0; padding: 0; border: 0; }
.tree figure { display: flex; align-items: center; gap: .75rem; margin: .4rem 0; }
.tree img { width: 64px; height: 64px; object-fit: contain; image-rendering: pixelated; }
.tree .chosen > figure { outline: 2px solid #e4007f; outline-offset: 3px; }
#files .label-clear-button { display: none; } /* it would remove a file from the list only */
.numbers th { text-align: left; padding-right: 1rem; font-weight: normal; }
#preview img, #state-image img, #mean img, #map img { width: 100%; height: 100%; object-fit: contain; }
#preview img, #slider img, #gallery img, #state-image img, #mean img, #map img { image-rendering: pixelated; }
"""


def theme() -> Any:
    """Make the theme. It uses system fonts only, so that the page loads nothing from other hosts."""
    return gr.themes.Default(
        font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"], primary_hue="pink"
    )


def build(does: Handlers) -> Any:
    """Build the app, `gradio.Blocks`. `repaint.studio.server` serves it."""
    with gr.Blocks(title="repaint studio", analytics_enabled=False, delete_cache=(3600, 86400)) as app:
        gr.Markdown("# repaint studio\nPaint over what to remove. Kept pixels stay bit-equal.")
        page = SimpleNamespace(photo=gr.State(None), remembered=gr.BrowserState("", storage_key="repaint-studio-run"))
        with gr.Row():
            page.runs = gr.Dropdown(label="Recent runs", choices=[], value=None, scale=4, elem_id="runs")
            page.index = gr.Dropdown(label="Result", choices=[], value=None, scale=1, elem_id="index")
        with gr.Tab("Fill"):
            _fill_tab(page, does)
        with gr.Tab("Compare"):
            wire_compare = compare_tab(page, does)
        with gr.Tab("Explore from here"):
            wire_explore = explore_tab(page, does)
        with gr.Tab("Audit"):
            audit_tab(page, does)
        _wire_canvas(page, does)
        _wire_runs(page, does, app)
        _wire_spread(page, does)
        wire_compare()
        wire_explore()
        wire_endpoint(does)
    return app


def _fill_tab(page: SimpleNamespace, does: Handlers) -> None:
    with gr.Row():
        with gr.Column(scale=5, min_width=340):
            _picture(page)
        with gr.Column(scale=4, min_width=340):
            _settings(page, does)
            with gr.Row():
                page.run = gr.Button("Run", variant="primary", elem_id="run")
                page.cancel = gr.Button("Cancel", variant="stop", elem_id="cancel")
            page.progress = gr.HTML(NOTHING_RUN, elem_id="progress")
            page.walk = gr.HTML(elem_id="walk")
    with gr.Row():
        page.preview = gr.Image(
            label="Prediction during the run, then the result", elem_id="preview", min_width=320, **SHOWN
        )
        page.slider = gr.ImageSlider(label="Before and after", elem_id="slider", min_width=320, type="pil", **SHOWN)
    page.gallery = gr.Gallery(
        label="Results: choose one",
        elem_id="gallery",
        visible=False,
        format="png",
        columns=4,
        height="auto",
        interactive=False,
        buttons=[],
    )
    _spread_panel(page)
    page.files = gr.File(
        label="Downloads: result, mask, recipe, and a zip of everything",
        file_count="multiple",
        interactive=False,
        elem_id="files",
        visible=False,
    )


def _spread_panel(page: SimpleNamespace) -> None:
    with gr.Accordion("Mean and uncertainty of the images", visible=False, elem_id="spread") as page.spread:
        page.summary = gr.Markdown(elem_id="spread-summary")
        with gr.Row():
            page.mean = gr.Image(label="Mean", elem_id="mean", min_width=320, **SHOWN)
            page.map = gr.Image(
                label="Uncertainty: dark is 0, yellow is the largest value", elem_id="map", min_width=320, **SHOWN
            )


def _picture(page: SimpleNamespace) -> None:
    page.task = gr.Radio(
        label="Task",
        choices=list(TASKS),
        value=TASKS[0],
        info="Restore finds damage. Remove grows the mask and puts the best image first.",
        elem_id="task",
    )
    with gr.Row():
        page.upload = gr.File(label="Picture", file_types=["image"], type="filepath", height=150, elem_id="upload")
        page.sample = gr.Dropdown(label="Or a sample", choices=samples(), value=None, elem_id="sample")
    page.about = gr.Markdown()
    page.canvas = gr.ImageEditor(
        label="Mask",
        image_mode="RGBA",
        type="numpy",
        format="png",
        sources=[],
        transforms=[],
        layers=False,
        **canvas.tools(20),
        canvas_size=(16, 16),  # grows with the picture; on a larger one, layers would be shown beside it
        buttons=[],
        height=560,
        elem_id="canvas",
    )
    with gr.Row():
        page.invert = gr.Button("Invert mask", size="sm")
        page.clear = gr.Button("Clear mask", size="sm")
        page.mask = gr.UploadButton("Upload mask", file_types=["image"], type="filepath", size="sm")
    with gr.Accordion("Find damage", visible=False, elem_id="find") as page.find:
        with gr.Row():
            page.sensitivity = gr.Slider(label="Sensitivity", minimum=0.1, maximum=0.9, step=0.05, value=SENSITIVITY)
            page.tone = gr.Radio(label="Damage is", choices=list(get_args(Tone)), value=TONE)
        page.detect = gr.Button("Find scratches, dust and lettering", elem_id="find-button")
    page.margin = gr.Number(
        label="Grow the mask, pixels", value=MARGIN, precision=0, minimum=0, maximum=64, visible=False, elem_id="margin"
    )
    gr.Markdown("Pink may change fully. Grey brushes let a pixel change by three quarters, a half or a quarter.")
    with gr.Accordion("Extend the picture", open=False, elem_id="extend"):
        with gr.Row():
            page.sides = [
                gr.Number(label=side, value=0, precision=0, minimum=0, maximum=1024, min_width=70)
                for side in ("Left", "Right", "Top", "Bottom")
            ]
        page.extend = gr.Button("Add space, in pixels", size="sm", elem_id="extend-button")


def _settings(page: SimpleNamespace, does: Handlers) -> None:
    page.prior = gr.Dropdown(label="Prior", choices=does.runner.names, value=does.runner.names[0], elem_id="prior")
    page.prompt = gr.Textbox(label="Prompt", visible=False, lines=1, elem_id="prompt")
    page.class_label = gr.Dropdown(label="Class", choices=[("no class", "")], value="", visible=False, elem_id="class")
    with gr.Row():
        choices = [("the prior's own", ""), *((name, name) for name in presets.available())]
        page.preset = gr.Dropdown(label="Schedule", choices=choices, value="", min_width=200, elem_id="preset")
        page.seed = gr.Number(label="Seed", value=0, precision=0, minimum=0, min_width=80)
        page.seeds = gr.Number(label="Images", value=1, precision=0, minimum=1, maximum=16, min_width=80)
    with gr.Accordion("Schedule editor", open=False):
        page.own = gr.Checkbox(label="Custom walk, with the other parts of the schedule", value=False)
        with gr.Row():
            page.steps = gr.Number(label="steps", value=50, precision=0, minimum=1, min_width=110)
            page.length = gr.Number(label="jump_length", value=10, precision=0, minimum=1, min_width=110)
            page.samples = gr.Number(label="jump_n_sample", value=5, precision=0, minimum=1, min_width=110)
        with gr.Row():
            page.start = gr.Number(label="window: highest level that jumps", value=None, precision=0, min_width=160)
            page.stop = gr.Number(label="window: lowest level that jumps", value=0, precision=0, min_width=160)
        page.guidance = gr.Number(label="Guidance scale (0: default of the prior)", value=0, minimum=0)
        page.blend_rim = gr.Number(label="Width of the blended rim, pixels", value=0, minimum=0)
    page.cost = gr.HTML(elem_id="cost")


def _wire_canvas(page: SimpleNamespace, does: Handlers) -> None:
    """Connect pictures, masks, the task and plans."""
    page.schedule = [page.preset, page.own, page.steps, page.length, page.samples, page.start, page.stop]
    page.plan = {
        "fn": does.plan,
        "inputs": [page.photo, page.prior, page.seeds, *page.schedule],
        "outputs": [page.walk, page.cost],
        **QUIET,
    }
    taken = [page.photo, page.canvas, page.about]
    for took in (
        page.upload.change(canvas.take_upload, page.upload, taken, **QUIET),
        page.sample.input(canvas.take_sample, page.sample, taken, api_name="sample"),
        page.extend.click(canvas.extend, [page.photo, page.canvas, *page.sides], taken, **QUIET),
    ):
        took.success(canvas.fit_brush, page.photo, page.canvas, **QUIET).success(**page.plan)
    page.invert.click(canvas.invert, [page.photo, page.canvas], taken[:2], **QUIET)
    page.clear.click(canvas.clear, page.photo, taken[:2], **QUIET)
    page.mask.upload(canvas.take_mask, [page.photo, page.mask], taken[:2], **QUIET)
    page.detect.click(canvas.find_damage, [page.photo, page.sensitivity, page.tone], taken, **QUIET)
    page.task.change(does.task, page.task, [page.preset, page.seeds, page.margin, page.find], **QUIET)


def _wire_runs(page: SimpleNamespace, does: Handlers, app: gr.Blocks) -> None:
    """Connect pictures, plans and runs. Every page that has chosen a run watches it."""
    conditions = [page.prompt, page.class_label, page.guidance]
    page.prior.change(does.abilities, page.prior, conditions, **QUIET).success(**page.plan)
    gr.on([field.change for field in (page.seeds, *page.schedule)], **page.plan)

    page.chosen = [page.photo, page.canvas, page.prior, page.prompt, page.class_label, page.guidance, page.blend_rim]
    page.run.click(
        does.start,
        [*page.chosen, page.seed, page.seeds, *page.schedule, page.task, page.margin],
        [page.runs, page.remembered],
        api_name="start",
    )
    # A reloaded page finds the run that it started.
    app.load(does.refresh, page.remembered, page.runs, **QUIET)
    app.load(does.abilities, page.prior, conditions, **QUIET).success(**page.plan)
    page.runs.focus(does.refresh, page.runs, page.runs, **QUIET)
    watched = [page.progress, page.walk, page.preview, page.gallery, page.slider, page.index]
    watch = {"fn": does.watch, "inputs": page.runs, "outputs": watched, "concurrency_limit": None}
    cancelled = page.cancel.click(does.cancel, page.runs, None, queue=False, **QUIET)
    page.watching = (
        page.runs.change(**watch, trigger_mode="multiple", show_progress="hidden", api_name="watch"),
        cancelled.then(**watch, **QUIET),  # so that the page shows the end even where it has lost its stream
    )
    for watching in page.watching:
        watching.then(does.refresh, page.runs, page.runs, **QUIET)
    page.gallery.select(does.pick, None, page.index, **QUIET)


def _wire_spread(page: SimpleNamespace, does: Handlers) -> None:
    """Hide the panel as soon as another run is chosen, and show it when that run has ended."""
    shown = [page.spread, page.summary, page.mean, page.map]
    page.runs.change(does.spread, page.runs, shown, **QUIET)
    for watching in page.watching:
        watching.then(does.spread, page.runs, shown, **QUIET)
