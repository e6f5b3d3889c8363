"""The endpoint /fill: what it returns, what it refuses, and many requests at once."""

from __future__ import annotations

import math
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.studio_process import studio
from helpers.tiny_priors import tiny_folder_pipeline, tiny_pipe
from PIL import Image

from repaint.errors import InputError, RepaintError
from repaint.studio.endpoint import _filled
from repaint.studio.handlers import Handlers
from repaint.studio.run import Runner

HOLE = np.zeros((16, 12), dtype=bool)
HOLE[4:9, 3:9] = True


def picture(number: int = 0) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (16, 12, 3), dtype=np.uint8)


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    Image.fromarray(picture()).save(tmp_path / "picture.png")
    Image.fromarray(HOLE).save(tmp_path / "mask.png")
    return str(tmp_path / "picture.png"), str(tmp_path / "mask.png")


def filled(does: Handlers, *given: str | None, **options: Any) -> tuple[str, dict[str, Any]]:
    named = {"prior": "tiny", "schedule": "fast", "prompt": "", "class_label": "", "guidance_scale": 0.0, "seed": 0.0}
    return _filled(does, *given, **(named | {"blend_rim": 0.0} | options))


@pytest.fixture
def does() -> Any:
    made = Handlers(Runner(lambda name: tiny_pipe(("cat", "dog") if name == "classes" else ()), ["tiny", "classes"]))
    yield made
    made.close()


def test_it_returns_what_the_pipeline_gives(does: Handlers, files: tuple[str, str]) -> None:
    """If this fails, another program gets another picture than the library gives, or a wrong recipe."""
    path, recipe = filled(does, *files, seed=7)
    expected = tiny_pipe()(picture(), HOLE, schedule="fast", generator=7, output_type="np").images[0]
    assert np.array_equal(np.asarray(Image.open(path)), expected)
    assert (recipe["seed"], recipe["prior"], recipe["method"]["name"]) == (7, "tiny", "fast")
    assert "--schedule=fast --seed=7" in recipe["command"]
    other, _ = filled(does, *files, seed=8)
    assert other != path
    _, recipe = filled(does, *files, prior="classes", class_label="dog")
    assert recipe["class_labels"] == "dog"


def test_warnings_are_in_the_recipe(does: Handlers, files: tuple[str, str], tmp_path: Path) -> None:
    """If this fails, another program cannot learn that its mask is empty or its hole too large."""
    assert filled(does, *files)[1]["warnings"] == []
    Image.fromarray(np.where(HOLE, 253, 2).astype(np.uint8)).save(tmp_path / "soft.png")
    (said,) = filled(does, files[0], str(tmp_path / "soft.png"))[1]["warnings"]
    assert "almost but not exactly black or white" in said


def test_it_reads_no_file_of_the_server_as_a_schedule(does: Handlers, files: tuple[str, str], tmp_path: Path) -> None:
    """If this fails, a client can read YAML files on the server: the error about one repeats its content."""
    secret = tmp_path / "secret.yaml"
    secret.write_text("steps: hunter2\npassword: 1\n")
    with pytest.raises(RepaintError, match="must be one of") as error:
        filled(does, *files, schedule=str(secret))
    assert "hunter2" not in str(error.value)
    assert "password" not in str(error.value)


def test_what_it_refuses(does: Handlers, files: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, a wrong request ends in a traceback or in some picture."""
    for options, message in [
        ({"prior": "other"}, "prior='other' must be one of tiny, classes"),
        ({"schedule": "fsat"}, "Did you mean 'fast'"),
        ({"prompt": "a cat"}, "must be empty for the prior tiny"),
        ({"seed": 0.5}, "seed=0.5 must be a whole number"),
        ({"seed": None}, "seed=None must be a whole number"),
        ({"seed": "x"}, "seed='x' must be a whole number"),
        ({"seed": math.inf}, "seed=inf must be a whole number"),
        ({"seed": math.nan}, "seed=nan must be a whole number"),
        ({"blend_rim": "x"}, "blend_rim='x' must be a number"),
        ({"guidance_scale": []}, "guidance_scale=\\[\\] must be a number"),
    ]:
        with pytest.raises(RepaintError, match=message):
            filled(does, *files, **options)
    with pytest.raises(InputError, match="must be files"):
        filled(does, files[0], None)
    monkeypatch.setattr("repaint.studio.run.Runner._make", lambda *_: 1 / 0)
    with pytest.raises(RepaintError, match="ZeroDivisionError"):
        filled(does, *files)


def rejected(url: str, path: str, body: bytes, kind: str) -> int:
    """The status of a POST that the server refuses, 0 if it closed the connection."""
    request = urllib.request.Request(url + path, body, {"Content-Type": kind})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


@pytest.mark.slow
def test_two_hundred_requests_at_once(tmp_path: Path) -> None:
    """If this fails, requests are lost or mixed up, or slow clients and oversized bodies stop the others."""
    from gradio_client import Client, handle_file

    tiny_folder_pipeline().save_pretrained(tmp_path / "tiny")
    Image.fromarray(HOLE).save(tmp_path / "mask.png")
    for number in range(4):
        Image.fromarray(picture(number)).save(tmp_path / f"{number}.png")
    mask = handle_file(str(tmp_path / "mask.png"))
    found: dict[int, np.ndarray] = {}
    with studio("--prior", tmp_path / "tiny", "--dtype", "float32") as url:
        host, port = url.removeprefix("http://").split(":")
        slow = [socket.create_connection((host, int(port))) for _ in range(20)]
        for client in slow:  # they never finish their request
            client.sendall(b"POST /gradio_api/queue/join HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n{")
        oversized: list[int] = []

        def overload() -> None:
            oversized.append(rejected(url, "/gradio_api/queue/join", b" " * 2**21, "application/json"))

        threads = [threading.Thread(target=overload) for _ in range(5)]
        patient: dict[str, Any] = {"verbose": False, "httpx_kwargs": {"timeout": 300}}
        clients = [Client(url, download_files=str(tmp_path / f"files-{i}"), **patient) for i in range(5)]
        jobs = {}
        for seed in range(200):
            image = handle_file(str(tmp_path / f"{seed % 4}.png"))
            given = {"image": image, "mask": mask, "prior": str(tmp_path / "tiny"), "schedule": "fast", "seed": seed}
            jobs[seed] = clients[seed % 5].submit(**given, api_name="/fill")
        for thread in threads:
            thread.start()
        for seed, job in jobs.items():
            path, recipe = job.result(timeout=500)
            assert recipe["seed"] == seed
            found[seed] = np.asarray(Image.open(path))
        for thread in threads:
            thread.join()
        for client in slow:
            client.close()
        assert len(oversized) == 5
        assert set(oversized) <= {413, 0}
        again, _ = clients[0].predict(**given, api_name="/fill")
        assert np.array_equal(np.asarray(Image.open(again)), found[199])
    pipe = tiny_pipe()
    for seed, image in found.items():
        before = picture(seed % 4)
        expected = pipe(before, HOLE, schedule="fast", generator=seed, output_type="np").images[0]
        assert np.array_equal(image[~HOLE], before[~HOLE])
        # Another process can round differently, by 1 of 255. Results of other seeds differ by far more.
        assert np.abs(image.astype(int) - expected).max() <= 1, seed


def test_the_client_script(tmp_path: Path) -> None:
    """If this fails, the example of another program fails, or its command gives another picture."""
    tiny_folder_pipeline().save_pretrained(tmp_path / "tiny")
    Image.fromarray(picture()).save(tmp_path / "photo.png")
    Image.fromarray(HOLE).save(tmp_path / "mask.png")
    script = Path(__file__).parents[2] / "examples" / "studio_client.py"
    words = [sys.executable, script, "photo.png", "mask.png", "--prior", tmp_path / "tiny", "--seed", "7"]
    with studio("--prior", tmp_path / "tiny", "--dtype", "float32") as url:
        given: dict[str, Any] = {"cwd": tmp_path, "capture_output": True, "text": True}
        done = subprocess.run([*words, "--schedule", "fast", "--url", url], **given)
        wrong = subprocess.run([*words, "--schedule", "fsat", "--url", url], **given)
    gone = subprocess.run([*words, "--url", url], **given)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("filled.png: seed 7, 25 model calls. Again: repaint inpaint picture.png mask.png")
    filled = np.asarray(Image.open(tmp_path / "filled.png"))
    expected = tiny_pipe()(picture(), HOLE, schedule="fast", generator=7, output_type="np").images[0]
    assert np.array_equal(filled[~HOLE], picture()[~HOLE])
    assert np.abs(filled.astype(int) - expected).max() <= 1  # see test_two_hundred_requests_at_once
    for failed, message in ((wrong, "Did you mean 'fast'"), (gone, f"No studio answers at {url}")):
        assert failed.returncode == 1
        assert message in failed.stderr
        assert failed.stderr.count("\n") == 1, failed.stderr
