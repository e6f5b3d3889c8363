"""Event handlers of the tab Audit."""

from __future__ import annotations

from typing import Any

import numpy as np

from repaint.errors import InputError
from repaint.measure.audit import Audit, audit, audit_files
from repaint.measure.plots import changes_plot
from repaint.pictures.decoding import upright
from repaint.studio.inputs import read_photo
from repaint.studio.page_errors import errors_on_page
from repaint.studio.run import Runner
from repaint.studio.views import audit_html

__all__ = ["Auditor"]


class Auditor:
    """The event handlers of the tab.

    Args:
        runner: holds the runs.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    @errors_on_page
    def audit_run(self, run_id: str | None, index: int | None) -> tuple[str, Any]:
        """Audit the pixels outside the hole of the chosen result."""
        run = self._runner.find(run_id)
        if index is None or index >= len(run.results):
            raise InputError("The chosen run has no result to audit. Wait until it has one, or upload one.")
        before, after = (np.asarray(image) for image in (upright(run.job.photo.image), run.results[index].image))
        return _audited(audit(after, before, run.job.hole))

    @errors_on_page
    def audit_upload(self, result: str | None, image: str | None, mask: str | None) -> tuple[str, Any]:
        """Audit an uploaded result of any program."""
        if not (result and image and mask):
            raise InputError("An audit needs three files: the result, the picture and the mask. Add the missing ones.")
        for path in (result, image, mask):
            read_photo(path)
        return _audited(audit_files(result, image, mask))


def _audited(found: Audit) -> tuple[str, Any]:
    return audit_html(found), changes_plot(found)
