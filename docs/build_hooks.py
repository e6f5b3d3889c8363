"""Hooks of `mkdocs build`: pages made from files outside docs/, and links to such files.

The README is the home page. Notebooks become pages with their saved outputs, and every public module is listed in the
API reference. A link to another file of the repository copies that file into the site.
"""

from __future__ import annotations

import ast
import base64
import json
import re
from pathlib import Path
from posixpath import relpath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = {  # file in the repository -> page of the site
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "examples/cluster/README.md": "cluster.md",
    **{f"notebooks/{path.name}": f"notebooks/{path.stem}.md" for path in sorted(ROOT.glob("notebooks/*.ipynb"))},
}
SOURCES = {page: ROOT / source for source, page in PAGES.items()}
NOT_LISTED = {"cli", "studio"}  # documented by their help texts and docs/studio.md
FIRST = ("pipeline", "errors", "sampler", "schedule", "method")  # modules that lead their page


def order(path: Path) -> tuple[int, str]:
    """Modules of `FIRST` in that order, then the others by name."""
    return FIRST.index(path.stem) if path.stem in FIRST else len(FIRST), path.as_posix()


def modules() -> dict[str, list[str]]:
    """Public modules by page of the reference: a module is public if it defines `__all__`."""
    pages: dict[str, list[str]] = {}
    for path in sorted((ROOT / "repaint").rglob("*.py"), key=order):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[1] in NOT_LISTED or parts[-1] == "__init__":
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        targets = [node.targets[0] for node in tree.body if isinstance(node, ast.Assign)]
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            pages.setdefault(".".join(parts[:-1]), []).append(".".join(parts))
    return pages


def reference_page(name: str, members: list[str]) -> str:
    return "\n".join([f"# {name}", "", *(f"::: {member}\n" for member in members)])


def notebook_page(path: Path, pictures: dict[str, bytes]) -> str:
    """Markdown of a notebook; its saved pictures are added to `pictures` by page-relative name."""
    parts: list[str] = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if "image/png" in data:
                name = f"{path.stem}-{len(pictures)}.png"
                pictures[name] = base64.b64decode("".join(data["image/png"]))
                parts.append(f"![Output]({name})")
            elif "text/plain" in data:
                parts.append(f"```text\n{''.join(data['text/plain'])}\n```")
    return "\n\n".join(parts) + "\n"


def on_config(config: Any) -> Any:
    """Fill in the two generated sections of the navigation."""
    notebooks = [page for page in PAGES.values() if page.startswith("notebooks/")]
    filled = {"notebooks": notebooks, "reference": [{name: f"reference/{name}.md"} for name in modules()]}
    config.nav = [{title: filled.get(str(entry), entry) for title, entry in item.items()} for item in config.nav]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages."""
    for source, page in PAGES.items():
        if source.endswith(".ipynb"):
            pictures: dict[str, bytes] = {}
            text = notebook_page(ROOT / source, pictures)
            for name, content in pictures.items():
                files.append(File.generated(config, f"notebooks/{name}", content=content))
        else:
            text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    for name, members in modules().items():
        files.append(File.generated(config, f"reference/{name}.md", content=reference_page(name, members)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Point links at pages of the site, copy linked files into it, and make links to folders plain text."""
    here = page.file.src_uri
    folder = (SOURCES[here] if here in SOURCES else DOCS / here).parent

    def moved(match: re.Match[str]) -> str:
        text, link = match.groups()
        path, _, anchor = link.partition("#")
        target = (folder / path).resolve()
        if not path or "://" in link or not target.is_relative_to(ROOT) or not target.exists():
            return match.group()
        if target.is_dir():
            return text
        source = target.relative_to(ROOT).as_posix()
        inside = target.is_relative_to(DOCS)
        uri = target.relative_to(DOCS).as_posix() if inside else PAGES.get(source, f"files/{source}")
        if uri.endswith(".md") and not files.get_file_from_path(uri):
            uri += ".txt"  # copied as a text file, not rendered
        if not files.get_file_from_path(uri):
            files.append(File.generated(config, uri, abs_src_path=str(target)))
        return f"[{text}]({relpath(uri, Path(here).parent.as_posix())}{'#' + anchor if anchor else ''})"

    return re.sub(r"\[([^\[\]]*)\]\(([^)\s]+)\)", moved, markdown)
