"""The page: its layout, and the handler of each event."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gradio as gr

from repaint.sampling import presets
from repaint.studio.endpoint import wire_endpoint
from repaint.studio.handlers import NOTHING_RUN, PINK, Handlers
from repaint.studio.inputs import samples
from repaint.studio.tree import KINDS

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
.numbers th { text-align: left; padding-right: 1rem; font-weight: normal; }
#preview img, #slider img, #gallery img, #state-image img, #mean img, #map img { image-rendering: pixelated; }
"""


def theme() -> Any:
    """The theme. It uses system fonts only, so that the page loads nothing from other hosts."""
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
        with gr.Tab("Explore from here"):
            _explore_tab(page)
        with gr.Tab("Audit"):
            _audit_tab(page, does)
        _wire_runs(page, does, app)
        _wire_explore(page, does)
        _wire_spread(page, does)
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
            label="x0_hat during the run, then the result",
            elem_id="preview",
            min_width=320,
            format="png",
            interactive=False,
            height=420,
            buttons=[],
        )
        page.slider = gr.ImageSlider(
            label="Before and after",
            elem_id="slider",
            min_width=320,
            format="png",
            type="pil",
            interactive=False,
            height=420,
            buttons=[],
        )
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
    options: dict[str, Any] = {"format": "png", "interactive": False, "height": 420, "buttons": [], "min_width": 320}
    with gr.Accordion("Mean and uncertainty of the images", visible=False, elem_id="spread") as page.spread:
        page.summary = gr.Markdown(elem_id="spread-summary")
        with gr.Row():
            page.mean = gr.Image(label="Mean", elem_id="mean", **options)
            page.map = gr.Image(label="Uncertainty: dark is 0, yellow is the largest value", elem_id="map", **options)


def _picture(page: SimpleNamespace) -> None:
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
        brush=gr.Brush(default_size=60, colors=[f"rgb{PINK}"], color_mode="fixed"),
        eraser=gr.Eraser(default_size=60),
        canvas_size=(16, 16),  # grows with the picture; on a larger one, layers would be shown beside it
        buttons=[],
        height=560,
        elem_id="canvas",
    )
    with gr.Row():
        page.invert = gr.Button("Invert mask", size="sm")
        page.clear = gr.Button("Clear mask", size="sm")
        page.mask = gr.UploadButton("Upload mask", file_types=["image"], type="filepath", size="sm")
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
        page.preset = gr.Dropdown(label="Schedule", choices=choices, value="", elem_id="preset")
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


def _explore_tab(page: SimpleNamespace) -> None:
    gr.Markdown("Continue from a state of the chosen result in another way.")
    with gr.Row():
        with gr.Column(min_width=320):
            page.state = gr.Slider(
                label="Position in the run, %", minimum=0, maximum=100, step=1, value=50, elem_id="state"
            )
            page.where = gr.Markdown(elem_id="where")
            page.kind = gr.Radio(label="Continue with", choices=list(KINDS), value=KINDS[0], elem_id="kind")
            with gr.Row():
                page.jump = gr.Number(label="Jump length, levels", value=30, precision=0, visible=False, min_width=100)
                page.times = gr.Number(label="Jumps", value=15, precision=0, visible=False, min_width=80)
                page.branch_seed = gr.Number(label="New seed", value=1, precision=0, minimum=0, min_width=80)
                page.branch_seeds = gr.Number(
                    label="Branches", value=1, precision=0, minimum=1, maximum=16, min_width=80
                )
            page.branch_cost = gr.HTML(elem_id="branch-cost")
            page.branch = gr.Button("Branch", variant="primary", elem_id="branch")
            page.branch_progress = gr.HTML(NOTHING_RUN, elem_id="branch-progress")
        page.state_image = gr.Image(
            label="x0_hat of this state",
            elem_id="state-image",
            min_width=320,
            format="png",
            interactive=False,
            height=420,
            buttons=[],
        )
    page.tree = gr.HTML(elem_id="tree")


def _audit_tab(page: SimpleNamespace, does: Handlers) -> None:
    gr.Markdown("Measure what changed outside the hole, in the chosen result or in the result of any program.")
    audit_chosen = gr.Button("Audit the chosen result", variant="primary", elem_id="audit")
    with gr.Accordion("Result of any program", open=False):
        with gr.Row():
            files = [
                gr.File(label=name, file_types=["image"], type="filepath", height=120)
                for name in ("Result file", "Picture file", "Mask file (white was repainted)")
            ]
        audit_files = gr.Button("Audit these files")
    numbers = gr.HTML(elem_id="audit-numbers")
    plot = gr.Plot(label="Changed pixels, and their distance from the hole", format="png")
    audit_chosen.click(does.audit_run, [page.runs, page.index], [numbers, plot], api_visibility="private")
    audit_files.click(does.audit_upload, files, [numbers, plot], api_visibility="private")


def _wire_runs(page: SimpleNamespace, does: Handlers, app: gr.Blocks) -> None:
    """Connect pictures, plans and runs. Every page that has chosen a run watches it."""
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    schedule = [page.preset, page.own, page.steps, page.length, page.samples, page.start, page.stop]
    plan: dict[str, Any] = {
        "fn": does.plan,
        "inputs": [page.photo, page.prior, page.seeds, *schedule],
        "outputs": [page.walk, page.cost],
        **quiet,
    }
    taken = [page.photo, page.canvas, page.about]
    page.upload.change(does.take_upload, page.upload, taken, **quiet).success(**plan)
    page.sample.input(does.take_sample, page.sample, taken, api_name="sample").success(**plan)
    page.invert.click(does.invert, [page.photo, page.canvas], page.canvas, **quiet)
    page.clear.click(does.clear, page.photo, page.canvas, **quiet)
    page.mask.upload(does.take_mask, [page.photo, page.mask], page.canvas, **quiet)
    page.extend.click(does.extend, [page.photo, page.canvas, *page.sides], taken, **quiet).success(**plan)
    conditions = [page.prompt, page.class_label, page.guidance]
    page.prior.change(does.abilities, page.prior, conditions, **quiet).success(**plan)
    gr.on([field.change for field in (page.seeds, *schedule)], **plan)

    settings = [page.photo, page.canvas, page.prior, page.prompt, page.class_label, page.guidance, page.blend_rim]
    page.run.click(
        does.start, [*settings, page.seed, page.seeds, *schedule], [page.runs, page.remembered], api_name="start"
    )
    page.cancel.click(does.cancel, page.runs, None, queue=False, **quiet)
    # A reloaded page finds the run that it started.
    app.load(does.refresh, page.remembered, page.runs, **quiet)
    app.load(does.abilities, page.prior, conditions, **quiet).success(**plan)
    page.runs.focus(does.refresh, page.runs, page.runs, **quiet)
    watched = [page.progress, page.walk, page.preview, page.gallery, page.slider, page.index]
    watching = page.runs.change(
        does.watch,
        page.runs,
        watched,
        trigger_mode="multiple",
        concurrency_limit=None,
        show_progress="hidden",
        api_name="watch",
    )
    page.watching = watching
    watching.then(does.refresh, page.runs, page.runs, **quiet)
    page.gallery.select(does.pick, None, page.index, **quiet)


def _wire_explore(page: SimpleNamespace, does: Handlers) -> None:
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    chosen = [page.runs, page.index]
    shown = [page.slider, page.files, page.tree]
    page.index.change(does.choose, chosen, shown, show_progress="hidden", api_name="result")
    gr.on(
        [page.state.change, page.index.change],
        does.look,
        [*chosen, page.state],
        [page.state_image, page.where],
        **quiet,
    )
    gr.on([page.kind.change, page.runs.change], does.lengths, [page.runs, page.kind], [page.jump, page.times], **quiet)
    settings = [*chosen, page.state, page.kind, page.jump, page.times, page.branch_seed, page.branch_seeds]
    gr.on([field.change for field in settings[1:]], does.branch_cost, settings, page.branch_cost, **quiet)
    page.branch.click(does.branch, settings, [page.runs, page.remembered], **quiet)
    page.progress.change(lambda html: html, page.progress, page.branch_progress, **quiet)


def _wire_spread(page: SimpleNamespace, does: Handlers) -> None:
    """The panel is hidden as soon as another run is chosen, and shown when that has ended."""
    shown = [page.spread, page.summary, page.mean, page.map]
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    page.runs.change(does.spread, page.runs, shown, **quiet)
    page.watching.then(does.spread, page.runs, shown, **quiet)
