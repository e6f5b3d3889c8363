"""Render the glyphs that the bundled `emoji` prior is trained on: Noto Color Emoji at 64 x 64, with Unicode names.

    apt-get install fonts-noto-color-emoji
    python examples/emoji_glyphs.py --out repaint/pictures/data      # the glyphs that `repaint.pictures.samples` reads

The font has the SIL Open Font License 1.1. Each code point with a Unicode name (version 14, as in Python 3.11) and
its own glyph is drawn on white. A tenth of the glyphs, selected by a hash of the name, is held out from training.
"""

from __future__ import annotations

import argparse
import json
import unicodedata
from pathlib import Path
from zlib import crc32

import numpy as np
from fontTools.ttLib import TTFont
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
BITMAP = 109  # the only bitmap size of the font
SIZE = 64
CANVAS = 224  # leaves room for each shift and scale
ZOOM = 0.44  # 136 px bitmaps become 60 px: two pixels of white on every side
SKIN_TONES = range(0x1F3FB, 0x1F400)


def code_points() -> dict[str, int]:
    """Return lower-case Unicode names with their code points, in the order of the code points."""
    mapped = TTFont(str(FONT), lazy=True).getBestCmap()
    named = {unicodedata.name(chr(code), "").lower(): code for code in sorted(mapped) if code > 0xA0}
    parts = ("variation selector", "zero width", "tag ", "cancel tag", "regional indicator", "combining")
    return {
        name: code for name, code in named.items() if name and not name.startswith(parts) and code not in SKIN_TONES
    }


def is_held_out(name: str) -> bool:
    """Whether this glyph is held out from training: a tenth of all names, the same on each machine."""
    return crc32(name.encode()) % 10 == 0


def render(code: int, *, zoom: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)) -> NDArray[np.uint8]:
    """One glyph on white, (64, 64, 3) uint8, scaled by `zoom` about the centre and moved by `shift` pixels (x, y)."""
    face = ImageFont.truetype(str(FONT), BITMAP)
    left, top, right, bottom = face.getbbox(chr(code))
    canvas = Image.new("RGB", (CANVAS, CANVAS), "white")
    origin = ((CANVAS - right - left) / 2, (CANVAS - bottom - top) / 2)
    ImageDraw.Draw(canvas).text(origin, chr(code), font=face, embedded_color=True)
    half = SIZE / 2 / (ZOOM * zoom)
    middle = CANVAS / 2 - shift[0] / ZOOM, CANVAS / 2 - shift[1] / ZOOM
    box = (middle[0] - half, middle[1] - half, middle[0] + half, middle[1] + half)
    return np.asarray(canvas.resize((SIZE, SIZE), Image.Resampling.LANCZOS, box=box))


def variants(code: int, count: int) -> NDArray[np.uint8]:
    """(count, 64, 64, 3): the glyph as it is, then copies moved by up to 3 pixels and scaled by up to a tenth."""
    rng = np.random.default_rng(code)
    copies = [render(code)]
    for _ in range(count - 1):
        copies.append(render(code, zoom=rng.uniform(0.9, 1.05), shift=tuple(rng.uniform(-3, 3, size=2))))
    return np.stack(copies)


def write_sheet(folder: Path, columns: int = 20) -> None:
    """All held-out glyphs and as many trained ones, evenly spread, as one PNG and a list of their names."""
    codes = code_points()
    unseen = [name for name in codes if is_held_out(name)]
    others = [name for name in codes if not is_held_out(name)]
    seen = [others[i] for i in np.linspace(0, len(others) - 1, len(unseen)).round().astype(int)]
    images = np.stack([render(codes[name]) for name in unseen + seen])
    rows = -(-len(images) // columns)
    sheet = np.full((rows * columns, SIZE, SIZE, 3), 255, dtype=np.uint8)
    sheet[: len(images)] = images
    sheet = sheet.reshape(rows, columns, SIZE, SIZE, 3).swapaxes(1, 2).reshape(rows * SIZE, columns * SIZE, 3)
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).save(folder / "glyphs.png", optimize=True)
    (folder / "glyphs.json").write_text(json.dumps({"held_out": unseen, "train": seen}, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("repaint/data"))
    write_sheet(parser.parse_args().out)
