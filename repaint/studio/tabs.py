"""The tabs beside Fill: their layout, and the handler of each event."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import gradio as gr

from repaint.sampling import presets
from repaint.studio.auditing import Auditor
from repaint.studio.comparing import Comparison
from repaint.studio.exploring import Explorer
from repaint.studio.handlers import NOTHING_RUN, Handlers
from repaint.studio.tree import KINDS

__all__ = ["QUIET", "SHOWN", "audit_tab", "compare_tab", "explore_tab"]

PRIVATE: dict[str, Any] = {"api_visibility": "private"}
QUIET: dict[str, Any] = {**PRIVATE, "show_progress": "hidden"}
# Options of images that are only shown.
SHOWN: dict[str, Any] = {"format": "png", "interactive": False, "height": 420, "buttons": []}


def explore_tab(page: SimpleNamespace, does: Handlers) -> Callable[[], None]:
    """Build the tab; return the function that connects it once the page is complete."""
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
        page.state_image = gr.Image(label="Prediction at this state", elem_id="state-image", min_width=320, **SHOWN)
    page.tree = gr.HTML(elem_id="tree")

    def wire() -> None:
        explorer, quiet = Explorer(does), QUIET
        chosen = [page.runs, page.index]
        shown = [page.slider, page.files, page.tree]
        page.index.change(does.choose, chosen, shown, show_progress="hidden", api_name="result")
        gr.on(
            [page.state.change, page.index.change],
            explorer.look,
            [*chosen, page.state],
            [page.state_image, page.where],
            **quiet,
        )
        gr.on(
            [page.kind.change, page.runs.change],
            explorer.lengths,
            [page.runs, page.kind],
            [page.jump, page.times],
            **quiet,
        )
        settings = [*chosen, page.state, page.kind, page.jump, page.times, page.branch_seed, page.branch_seeds]
        gr.on([field.change for field in settings[1:]], explorer.branch_cost, settings, page.branch_cost, **quiet)
        page.branch.click(explorer.branch, settings, [page.runs, page.remembered], **quiet)
        page.progress.change(lambda html: html, page.progress, page.branch_progress, **quiet)

    return wire


def compare_tab(page: SimpleNamespace, does: Handlers) -> Callable[[], None]:
    """Build the tab; return the function that connects it once the page is complete."""
    gr.Markdown("Fill the picture and mask of the tab Fill with two schedules and the same seed, one after the other.")
    sides: list[Any] = []
    with gr.Row():
        for name, preset in (("one", "fast"), ("other", "balanced")):
            with gr.Column(min_width=320):
                chosen = gr.Dropdown(
                    label=f"Schedule, {name}", choices=presets.available(), value=preset, elem_id=f"compare-{name}"
                )
                line = gr.HTML(NOTHING_RUN, elem_id=f"compared-{name}")
                image = gr.Image(label=f"Result, {name}", elem_id=f"compared-image-{name}", **SHOWN)
                sides.append((chosen, line, image))
    with gr.Row():
        start = gr.Button("Compare", variant="primary", elem_id="compare")
        cancel = gr.Button("Cancel both", variant="stop")
    ids = gr.State([])

    def wire() -> None:
        both = Comparison(does)
        settings = [*page.chosen, page.seed, *(chosen for chosen, _, _ in sides)]
        seen = [part for _, line, image in sides for part in (line, image)]
        started = start.click(both.start, settings, [ids, page.runs], **QUIET)
        started.success(both.watch, ids, seen, concurrency_limit=None, **QUIET)
        cancel.click(both.cancel, ids, None, queue=False, **QUIET)

    return wire


def audit_tab(page: SimpleNamespace, does: Handlers) -> None:
    """Build the tab."""
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
    auditor = Auditor(does.runner)
    audit_chosen.click(auditor.audit_run, [page.runs, page.index], [numbers, plot], **PRIVATE)
    audit_files.click(auditor.audit_upload, files, [numbers, plot], **PRIVATE)
