"""The studio in an installed Chromium, with mouse and keyboard (`pytest -m browser`)."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.studio_process import studio
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright
from skimage import data

from repaint.pictures.damage import damage
from repaint.sampling.method import Method
from repaint.studio.inputs import sample

pytestmark = pytest.mark.browser

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
]
PATIENCE = 180_000  # milliseconds; a page takes a hundredth of it on an idle machine
KEEP = os.environ.get("REPAINT_SCREENSHOTS")  # folder for screenshots


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert found, "no Chromium is installed: apt-get install chromium"
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with studio() as url:
        yield url


@pytest.fixture
def page(chromium: Browser, address: str) -> Iterator[Page]:
    """An open page. It must not send requests to other hosts or raise script errors."""
    context = chromium.new_context(viewport={"width": 1280, "height": 1000}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    foreign: list[str] = []
    broken: list[str] = []
    page.on("request", lambda r: None if r.url.startswith((address, "data:", "blob:")) else foreign.append(r.url))
    page.on("pageerror", lambda error: broken.append(str(error)))
    page.goto(address)
    expect(page.locator("#cost")).to_contain_text("model calls", timeout=PATIENCE)
    yield page
    context.close()
    assert foreign == []
    assert broken == []


def choose(page: Page, box: str, option: str) -> None:
    field = page.locator(f"#{box} input")
    field.click()
    field.fill(option)
    page.get_by_role("option", name=option, exact=True).click()


def draw(page: Page) -> None:
    """Paint a stroke through the middle of the canvas."""
    canvas = page.locator("#canvas canvas").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    middle, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(middle - 60, y)
    page.mouse.down()
    page.mouse.move(middle + 60, y, steps=8)
    page.mouse.up()


def take(page: Page, name: str = "textures:brick") -> None:
    choose(page, "sample", name)
    expect(page.locator("#cost")).to_contain_text("s a call", timeout=PATIENCE)
    page.wait_for_timeout(1000)  # until the canvas shows its background


def upload(page: Page, path: Path) -> np.ndarray:
    """Upload a scratched photograph."""
    photograph = data.chelsea()[40:220, 80:350].copy()
    photograph[damage("scratches", *photograph.shape[:2], seed=2)] = 235
    Image.fromarray(photograph).save(path)
    page.locator("#upload input[type=file]").set_input_files(path)
    expect(page.locator("#cost")).to_contain_text("s a call", timeout=PATIENCE)
    page.wait_for_timeout(1000)  # until the canvas shows its background
    return photograph


def progress(page: Page) -> Locator:
    return page.locator("#progress .progress")


def calls(page: Page) -> int:
    return int(progress(page).get_attribute("data-calls") or 0)


def run(page: Page, schedule: str, until: str) -> None:
    choose(page, "preset", schedule)
    page.locator("#run").click()
    chosen = re.compile(rf"\b{schedule}, ")  # until then, the page shows the status of the run before
    expect(page.locator("#runs input")).to_have_value(chosen, timeout=PATIENCE)
    expect(progress(page)).to_have_attribute("data-status", until, timeout=PATIENCE)


def branch(page: Page) -> None:
    """Branch the finished run of `fast` by one large jump, on the tab for it."""
    page.get_by_role("tab", name="Explore from here").click()
    where = re.compile(rf"After move \d+ of {len(Method.from_preset('fast').moves)},")  # not of the run before
    expect(page.locator("#where")).to_contain_text(where, timeout=PATIENCE)
    page.get_by_label("one large jump").click()
    expect(page.locator("#branch-cost")).to_contain_text("model calls", timeout=PATIENCE)
    page.locator("#branch").click()
    expect(page.locator("#tree figure")).to_have_count(2, timeout=PATIENCE)


def download(page: Page, name: str) -> bytes:
    link = page.locator("#files a", has_text=re.compile("B|K|M")).and_(page.locator(f'a[download="{name}"]'))
    with page.expect_download() as got:
        link.first.click()
    return Path(got.value.path()).read_bytes()


def photographed(page: Page, name: str, whole: bool = True) -> None:
    if KEEP:
        page.wait_for_timeout(800)
        page.screenshot(path=Path(KEEP) / name, full_page=whole)


def test_paint_run_cancel_run_branch_download(page: Page) -> None:
    """If this fails, the usual workflow of the studio is broken."""
    take(page)
    draw(page)
    run(page, "paper", "running")  # long enough that a slow page sees it on its way
    first = calls(page)
    expect(progress(page)).not_to_have_attribute("data-calls", str(first), timeout=PATIENCE)
    assert calls(page) > first
    page.locator("#cancel").click()
    expect(progress(page)).to_have_attribute("data-status", "cancelled", timeout=PATIENCE)
    assert calls(page) < Method.from_preset("paper").model_calls

    run(page, "fast", "done")
    before = np.asarray(sample("textures:brick").image)
    after, mask = (np.asarray(Image.open(io.BytesIO(download(page, name)))) for name in ("result.png", "mask.png"))
    hole = mask == 255
    assert 0.02 < hole.mean() < 0.5
    assert hole[32, 32]
    assert np.array_equal(after[~hole], before[~hole])
    assert not np.array_equal(after[hole], before[hole])
    assert "repaint inpaint picture.png mask.png" in json.loads(download(page, "recipe.json"))["command"]
    photographed(page, "studio-painted.png")

    branch(page)
    assert "one large jump" in page.locator("#tree figure").nth(1).inner_text()
    photographed(page, "studio-branched.png")

    page.get_by_role("tab", name="Audit").click()
    page.locator("#audit").click()
    expect(page.locator("#audit-numbers")).to_contain_text("No kept pixel changed.", timeout=PATIENCE)


def test_the_pictures_of_the_manual(page: Page, tmp_path: Path) -> None:
    """If this fails, a scratched photograph cannot be restored on the page, or a fill of it branched.

    With REPAINT_SCREENSHOTS=examples it takes the pictures of docs/studio.md again.
    """
    before = upload(page, tmp_path / "cat.png")
    page.get_by_label("Restore", exact=True).click()
    page.get_by_label("bright", exact=True).click()
    page.locator("#find-button").click()
    expect(page.get_by_text("Damage found: ")).to_be_visible(timeout=PATIENCE)
    page.locator("#run").click()
    expect(progress(page)).to_have_attribute("data-status", "done", timeout=5 * PATIENCE)
    assert calls(page) == Method.from_preset("mean").model_calls
    after = np.asarray(Image.open(io.BytesIO(download(page, "result.png"))))
    hole = np.asarray(Image.open(io.BytesIO(download(page, "mask.png")))) == 255
    assert np.array_equal(before[~hole], after[~hole])
    assert (before[hole] == 235).mean() > 0.1 > (after[hole] == 235).mean()
    photographed(page, "studio.png")

    page.get_by_label("Fill", exact=True).click()
    run(page, "fast", "done")
    branch(page)
    expect(page.locator("#branch-cost")).to_contain_text("model calls", timeout=PATIENCE)
    expect(page.locator("#state-image img")).to_be_visible(timeout=PATIENCE)
    photographed(page, "studio-explore.png")


def test_a_large_photograph_keeps_the_detail_of_its_mask(page: Page, tmp_path: Path) -> None:
    """If this fails, a mask of a photograph that the page shows reduced is coarse, or a stroke on it is lost."""
    large, hole = np.tile(data.chelsea()[:280, :320], (5, 5, 1)), np.zeros((1400, 1600), bool)
    hole[200, 300:420], hole[700, 790:810] = True, True  # one pixel wide; the second lies under the stroke
    Image.fromarray(large).save(tmp_path / "large.png")
    Image.fromarray(hole).save(tmp_path / "hole.png")
    page.locator("#upload input[type=file]").set_input_files(tmp_path / "large.png")
    expect(page.get_by_text("1600 x 1400 pixels, mode RGB, shown and painted at 1/2 of its size")).to_be_visible(
        timeout=PATIENCE
    )
    expect(page.locator("#cost")).to_contain_text("for a hole in one window of 96 pixels", timeout=PATIENCE)
    page.wait_for_timeout(1000)  # until the canvas shows its background
    with page.expect_file_chooser() as chooser:
        page.get_by_text("Upload mask").click()
    chooser.value.set_files(tmp_path / "hole.png")
    page.wait_for_timeout(3000)  # until the canvas shows the mask
    draw(page)
    page.wait_for_timeout(3000)  # until the page has the stroke
    run(page, "turbo", "done")
    mask = np.asarray(Image.open(io.BytesIO(download(page, "mask.png")))) == 255
    assert np.array_equal(mask[:500], hole[:500])
    stroke = mask[500:900].reshape(200, 2, 800, 2)
    assert (stroke == stroke[:, :1, :, :1]).all()
    assert mask[690:710, 780:820].all()
    after = np.asarray(Image.open(io.BytesIO(download(page, "result.png"))))
    assert np.array_equal(after[~mask], large[~mask])


def test_mean_and_uncertainty_of_several_images(page: Page) -> None:
    """If this fails, the panel of several images never opens, or stays for a run of one image."""
    take(page)
    draw(page)
    page.get_by_label("Images", exact=True).fill("3")
    page.get_by_label("Seed", exact=True).click()
    run(page, "fast", "done")
    expect(page.locator("#spread-summary")).to_contain_text("3 images. Uncertainty: mean", timeout=PATIENCE)
    page.locator("#spread-summary").scroll_into_view_if_needed()  # browsers load images when they come near
    for name in ("#mean img", "#map img"):
        expect(page.locator(name)).to_be_visible(timeout=PATIENCE)
    photographed(page, "studio-uncertainty.png")
    page.get_by_label("Images", exact=True).fill("1")
    page.get_by_label("Seed", exact=True).click()
    run(page, "fast", "done")
    expect(page.get_by_text("Mean and uncertainty of the images")).to_be_hidden(timeout=PATIENCE)


def test_a_page_loaded_again_finds_its_run(page: Page) -> None:
    """If this fails, reloading the page during a run loses the run."""
    take(page)
    draw(page)
    run(page, "paper", "running")
    page.reload()
    expect(progress(page)).to_have_attribute("data-status", "running", timeout=PATIENCE)
    page.locator("#cancel").click()
    expect(progress(page)).to_have_attribute("data-status", "cancelled", timeout=PATIENCE)
    assert page.locator("#runs input").input_value()


def test_undo_erase_and_invert(page: Page) -> None:
    """If this fails, a stroke cannot be undone, or the wrong part is repainted."""
    take(page)
    draw(page)
    page.get_by_role("button", name="Undo").click()
    page.wait_for_timeout(500)
    page.locator("#run").click()
    expect(page.get_by_text("The mask is empty")).to_be_visible(timeout=PATIENCE)
    draw(page)
    page.wait_for_timeout(500)
    page.get_by_role("button", name="Invert mask").click()
    page.wait_for_timeout(2000)
    run(page, "fast", "done")
    mask = np.asarray(Image.open(io.BytesIO(download(page, "mask.png"))))
    assert mask[32, 32] == 0
    assert mask[0, 0] == 255


def test_bad_uploads_are_told(page: Page, tmp_path: Path) -> None:
    """If this fails, a user who uploads a wrong file sees nothing, or a traceback."""
    (tmp_path / "text.png").write_text("no image")
    page.locator("#upload input[type=file]").set_input_files(tmp_path / "text.png")
    expect(page.get_by_text("text.png: not a readable image")).to_be_visible(timeout=PATIENCE)


@pytest.mark.parametrize("width", [1280, 420])
def test_nothing_is_cut_off(page: Page, width: int) -> None:
    """If this fails, the studio cannot be used on a phone, or scrolls sideways."""
    page.set_viewport_size({"width": width, "height": 900})
    take(page)
    for tab in ("Fill", "Compare", "Explore from here", "Audit"):
        found = page.get_by_role("tab", name=tab)
        if found.is_visible():
            found.click()
            page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, tab
    page.get_by_role("tab", name="Fill").click()
    for name in ("run", "cancel", "upload", "canvas", "prior", "preset", "runs"):
        box = page.locator(f"#{name}").bounding_box()
        assert box is not None, name
        assert box["x"] >= 0, name
        assert box["x"] + box["width"] <= width, name
    photographed(page, f"studio-{width}.png")


def test_every_control_has_a_name(page: Page) -> None:
    """If this fails, a screen reader says "button" without a name."""
    take(page)
    page.get_by_text("Schedule editor").click()
    session: Any = page.context.new_cdp_session(page)
    controls = {"button", "textbox", "combobox", "checkbox", "radio", "slider", "spinbutton", "tab", "link"}
    nameless, seen = [], 0
    for tab in ("Fill", "Compare", "Explore from here", "Audit"):
        page.get_by_role("tab", name=tab).click()
        page.wait_for_timeout(500)
        for node in session.send("Accessibility.getFullAXTree")["nodes"]:
            if node.get("ignored") or node.get("role", {}).get("value") not in controls:
                continue
            seen += 1
            if not node.get("name", {}).get("value", "").strip():
                about = session.send("DOM.describeNode", {"backendNodeId": node["backendDOMNodeId"]})["node"]
                nameless.append((tab, node["role"]["value"], about["nodeName"], about.get("attributes")))
    assert seen > 40  # otherwise the tree was not read
    assert not nameless, nameless


def test_the_keyboard_reaches_run(page: Page) -> None:
    """If this fails, the studio needs a mouse even to start."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('#run') !== null"):
            break
    else:
        pytest.fail("Tab never reached Run")
    page.keyboard.press("Enter")
    expect(page.get_by_text("There is no picture to fill")).to_be_visible(timeout=PATIENCE)


def test_extend_and_fill(page: Page) -> None:
    """If this fails, a picture cannot be extended on the page, or the space is filled wrongly."""
    take(page, "photos:coffee")
    page.locator("#extend button").first.click()
    page.wait_for_timeout(1000)  # until the panel is open, which sets its fields to 0
    left = page.get_by_label("Left", exact=True)
    left.fill("24")
    left.press("Tab")
    expect(left).to_have_value("24")
    page.locator("#extend-button").click()
    expect(page.get_by_text("photos:coffee, extended: ")).to_be_visible(timeout=PATIENCE)
    page.wait_for_timeout(1000)
    photographed(page, "studio-extend.png")
    run(page, "fast", "done")
    after = np.asarray(Image.open(io.BytesIO(download(page, "result.png"))))
    before = np.asarray(sample("photos:coffee").image)
    assert after.shape[1] == before.shape[1] + 24
    assert np.array_equal(after[:, 24:], before)
    assert after[:, :24].std() > 1
    photographed(page, "studio-extended.png")


def test_a_phone_shows_the_whole_page(chromium: Browser, address: str, tmp_path: Path) -> None:
    """If this fails, a phone must scroll sideways, or a field is cut off."""
    context = chromium.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    expect(page.locator("#cost")).to_contain_text("model calls", timeout=PATIENCE)
    upload(page, tmp_path / "cat.png")
    draw(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for box in (page.locator(name).bounding_box() for name in ("#canvas", "#run", "#cancel", "#prior", "#sample")):
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
    shown = page.locator("#preset input")
    assert shown.evaluate("field => field.scrollWidth <= field.clientWidth"), "the name of the schedule is cut off"
    page.locator("#canvas").scroll_into_view_if_needed()
    photographed(page, "studio-phone.png", whole=False)
    context.close()


def test_a_grey_brush(page: Page) -> None:
    """If this fails, the grey brushes cannot be chosen, or paint as the pink one."""
    take(page)
    page.locator("#canvas").get_by_role("button", name="Color", exact=True).click()
    half = page.locator("#canvas button[style*='128, 128, 128'], #canvas button[style*='#808080']").first
    half.click()
    draw(page)
    photographed(page, "studio-grey.png")
    run(page, "fast", "done")
    shares = np.asarray(Image.open(io.BytesIO(download(page, "strengths.png"))))
    assert abs(int(shares[32, 32]) - 128) < 4
    assert calls(page) < 25


def test_compare_two_presets(page: Page) -> None:
    """If this fails, two presets cannot be compared on the page."""
    take(page)
    draw(page)
    page.get_by_role("tab", name="Compare").click()
    choose(page, "compare-other", "thin")
    page.locator("#compare").click()
    for name, text in (("one", "fast: 25 model calls, "), ("other", "thin: ")):
        expect(page.locator(f"#compared-{name}")).to_contain_text(text, timeout=PATIENCE)
        expect(page.locator(f"#compared-image-{name} img")).to_be_visible(timeout=PATIENCE)
    photographed(page, "studio-compare.png")


def test_restore_and_remove(page: Page) -> None:
    """If this fails, found damage is not shown for correction, or the best removal is not the first."""
    take(page, "photos:coffee")
    page.get_by_label("Restore", exact=True).click()
    page.locator("#find-button").click()
    expect(page.get_by_text("Damage found: ")).to_be_visible(timeout=PATIENCE)
    page.wait_for_timeout(1000)
    photographed(page, "studio-damage.png")
    page.get_by_role("button", name="Clear mask").click()
    page.wait_for_timeout(1000)
    draw(page)
    page.get_by_label("Images", exact=True).fill("2")
    run(page, "thin", "done")
    expect(page.locator("#index input")).to_have_value("mean of 2", timeout=3 * PATIENCE)
    photographed(page, "studio-restored.png")
    page.get_by_label("Remove", exact=True).click()
    expect(page.locator("#margin")).to_be_visible(timeout=PATIENCE)
    run(page, "thin", "done")
    expect(page.locator("#index input")).to_have_value(re.compile("best, seed"), timeout=3 * PATIENCE)
    photographed(page, "studio-removed.png")
