"""Fill a picture from another program, through the endpoint /fill of a running studio.

repaint studio --no-browser
python examples/studio_client.py photo.png mask.png --out filled.png --url http://127.0.0.1:7860

This side needs only the package gradio_client.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import httpx
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path)
    parser.add_argument("mask", type=Path, help="white is filled")
    parser.add_argument("--out", type=Path, default=Path("filled.png"))
    parser.add_argument("--url", default="http://127.0.0.1:7860")
    parser.add_argument("--prior", default="photos")
    parser.add_argument("--schedule", default="", help="a preset; empty: the prior's own")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for path in (arguments.image, arguments.mask):
        if not path.is_file():
            sys.exit(f"No file {path}.")
    try:
        studio = Client(arguments.url, verbose=False)
        result, recipe = studio.predict(
            image=handle_file(str(arguments.image)),
            mask=handle_file(str(arguments.mask)),
            prior=arguments.prior,
            schedule=arguments.schedule,
            seed=arguments.seed,
            api_name="/fill",
        )
    except httpx.TransportError as error:
        sys.exit(f"No studio answers at {arguments.url}: {error}. Start one: repaint studio --no-browser")
    except AppError as error:  # a wrong argument, or a failed run
        sys.exit(str(error))
    shutil.copy(result, arguments.out)
    for warning in recipe["warnings"]:
        print(f"Warning: {warning}", file=sys.stderr)
    print(f"{arguments.out}: seed {recipe['seed']}, {recipe['model_calls']} model calls. Again: {recipe['command']}")


if __name__ == "__main__":
    main()
