"""Hostile input: folders, files and requests that try to run code, read other files or exhaust memory.

Each payload creates a folder (`mark`) when it runs; the tests check that the folder does not exist.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import socket
import struct
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.pickles import check_runs, plant
from helpers.small_inputs import edit_json
from helpers.studio_process import studio
from helpers.tiny_latents import tiny_sd
from helpers.tiny_priors import tiny_folder_pipeline
from PIL import Image
from safetensors.torch import load_file

from repaint import JumpSchedule, Method, RePaintPipeline, cli
from repaint.errors import InputError, PriorError, RepaintError, ScheduleError, StateError
from repaint.lab.sweep.grid import read_grid
from repaint.pictures.decoding import open_image
from repaint.pictures.masks import read_keep
from repaint.priors import safe_folder
from repaint.priors.guided_diffusion import GuidedCheckpoint
from repaint.priors.load import load
from repaint.sampling.state import SamplerState

WEIGHTS = Path("unet") / "diffusion_pytorch_model.safetensors"


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "executed"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a pixel prior ("ddpm") and a text prior ("sd"), which tests must not change."""
    root = tmp_path_factory.mktemp("priors")
    tiny_folder_pipeline().save_pretrained(root / "ddpm")
    tiny_sd(root / "tokens").save_pretrained(root / "sd")
    return root


@pytest.fixture
def ddpm(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved / "ddpm", tmp_path / "ddpm"))


@pytest.fixture
def sd(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved / "sd", tmp_path / "sd"))


def refused(error: type[RepaintError], match: str, what: Callable[[], object], mark: Path) -> None:
    """Check that a call raises a short one-line error quickly, and that no payload runs."""
    started = time.monotonic()
    with pytest.raises(error, match=match) as raised:
        what()
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 1500, "the message quotes the hostile input"
    assert time.monotonic() - started < 5
    assert not mark.exists(), "the payload was executed"


# --- Pickles


@pytest.mark.usefixtures("pickles")
@pytest.mark.parametrize(
    "name",
    [
        "unet/diffusion_pytorch_model.bin",
        "unet/diffusion_pytorch_model.safetensors",  # a pickle in spite of the suffix
        "unet/diffusion_pytorch_model.pt",
        "unet/diffusion_pytorch_model.ckpt",
        "unet/model.ckpt",
        "diffusion_pytorch_model.bin",
    ],
)
@pytest.mark.parametrize("form", ["torch", "pickle"])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_pickle_in_a_folder_is_never_run(ddpm: Path, mark: Path, name: str, form: str) -> None:
    """If this fails, downloaded weights run code."""
    (ddpm / WEIGHTS).unlink()
    plant(ddpm / name, mark, form)
    refused(PriorError, r"^[^\n]*: unet cannot be loaded .*\. Save or download it again\.$", lambda: load(ddpm), mark)
    check_runs(ddpm / name, mark, form)


@pytest.mark.usefixtures("pickles")
@pytest.mark.parametrize("form", ["torch", "pickle"])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_pickled_text_encoder_is_never_run(sd: Path, mark: Path, form: str) -> None:
    """If this fails, pickled weights run code in the parts that transformers loads."""
    next((sd / "text_encoder").glob("*.safetensors")).unlink()
    plant(sd / "text_encoder" / "pytorch_model.bin", mark, form)
    refused(PriorError, r"cannot be loaded", lambda: load(sd), mark)


@pytest.mark.usefixtures("pickles")
@pytest.mark.parametrize("form", ["torch", "pickle"])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_pickled_checkpoint_is_never_run(tmp_path: Path, mark: Path, form: str) -> None:
    """If this fails, converting a guided-diffusion file runs code."""
    plant(tmp_path / "model.pt", mark, form)
    refused(PriorError, r"only tensors are read", lambda: GuidedCheckpoint.read(tmp_path / "model.pt"), mark)


@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_a_pickled_state_is_never_run(tmp_path: Path, mark: Path, form: str) -> None:
    """If this fails, a saved state from someone else runs code."""
    plant(tmp_path / "half.safetensors", mark, form)
    path = tmp_path / "half.safetensors"
    refused(StateError, r"cannot be read as a saved state", lambda: SamplerState.load(path), mark)


def test_old_torch_reads_no_pickles(
    ddpm: Path, sd: Path, tmp_path: Path, mark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails, a torch whose weights_only has known bypasses (before 2.10) still reads pickles."""
    torch.save(load_file(ddpm / WEIGHTS), ddpm / "unet" / "diffusion_pytorch_model.bin")
    shutil.copy(ddpm / "unet" / "diffusion_pytorch_model.bin", tmp_path / "model.pt")
    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")
    load(ddpm)  # reads the safetensors file beside it
    load(sd)
    (ddpm / WEIGHTS).unlink()
    message = r"is a pickle, and torch 2\.9\.1\+cpu may run code inside it .*\. Update torch to 2\.10 or newer"
    refused(PriorError, message, lambda: load(ddpm), mark)
    refused(PriorError, message, lambda: GuidedCheckpoint.read(tmp_path / "model.pt"), mark)
    for version in ("2.10.0", "2.15.0+cu130", "3.0.0a0+git1"):
        monkeypatch.setattr(torch, "__version__", version)
        assert safe_folder.pickles_are_safe()
    load(ddpm)


# --- Code


def nested_pipeline(folder: Path) -> None:
    edit_json(folder / "model_index.json", scheduler=["diffusers", "DiffusionPipeline"])
    (folder / "scheduler" / "model_index.json").write_text(json.dumps({"_class_name": ["pipeline", "Evil"]}))


def in_index(**entries: Any) -> Callable[[Path], None]:
    return lambda folder: edit_json(folder / "model_index.json", **entries)


def in_config(name: str, **entries: Any) -> Callable[[Path], None]:
    return lambda folder: edit_json(folder / name, **entries)


def auto_class(folder: Path) -> None:
    in_index(text_encoder=["transformers", "AutoModel"])(folder)


AUTO = {"auto_map": {"AutoModel": "evil.Evil"}}
ATTACKS: dict[str, tuple[Callable[[Path], None], str]] = {
    "class of a file": (in_index(_class_name=["pipeline", "Evil"]), r"_class_name=\['pipeline', 'Evil'\] must be"),
    "custom pipeline": (in_index(custom_pipeline="pipeline"), r"model_index\.json names custom code \(custom_p"),
    "no pipeline": (in_index(_class_name="AutoModel"), r"_class_name=AutoModel must be a pipeline of this diffusers"),
    "a module": (in_index(_class_name="utils"), r"_class_name=utils must be a pipeline of this diffusers"),
    "file of the scheduler": (in_index(scheduler=["evil", "Evil"]), r"scheduler=evil\.Evil must be a class of diffu"),
    "file of the encoder": (in_index(text_encoder=["evil", "Evil"]), r"text_encoder=evil\.Evil must be a"),
    "module of Python": (in_index(text_encoder=["os", "system"]), r"text_encoder=os\.system must be a"),
    "path": (in_index(text_encoder=["../evil", "Evil"]), r"text_encoder=\.\./evil\.Evil must be a"),
    "a pipeline within": (nested_pipeline, r"scheduler=diffusers\.DiffusionPipeline must be a Sched"),
    "a function": (in_index(scheduler=["diffusers", "logging"]), r"scheduler=diffusers\.logging must be"),
    "automatic class": (auto_class, r"text_encoder=transformers\.AutoModel may load code from"),
    "auto_map": (in_config("text_encoder/config.json", **AUTO), r"config\.json names custom code \(auto_map\)"),
    "auto_map within": (in_config("text_encoder/config.json", text_config=AUTO), r"names custom code \(auto_map\)"),
    "auto_map of tokens": (
        in_config("tokenizer/tokenizer_config.json", **AUTO),
        r"tokenizer_config\.json names custom",
    ),
    "auto_map of the UNet": (in_config("unet/config.json", **AUTO), r"unet.config\.json names custom code"),
    "a kernel of the Hub": (
        in_config("text_encoder/config.json", attn_implementation="owner/evil"),
        r"names custom code \(attn_implementation\)",
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_code_in_a_folder_is_never_imported(sd: Path, mark: Path, attack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, Python code in a prior's folder runs."""
    payload = f"import os\nos.mkdir({str(mark)!r})\nclass Evil: pass\n"
    for place in (sd, *(path for path in sd.iterdir() if path.is_dir())):
        for name in ("evil.py", "pipeline.py"):
            (place / name).write_text(payload)
    monkeypatch.syspath_prepend(str(sd))
    plan, message = ATTACKS[attack]
    plan(sd)
    refused(PriorError, message, lambda: load(sd), mark)
    runpy.run_path(str(sd / "evil.py"))
    assert mark.exists(), "the payload is harmless"


def test_unused_python_files_are_ignored(sd: Path, mark: Path) -> None:
    """If this fails, a Hub repository with a pipeline.py beside ordinary weights does not load, or runs that file."""
    (sd / "pipeline.py").write_text(f"import os\nos.mkdir({str(mark)!r})\n")
    load(sd)
    assert not mark.exists()


# --- Files elsewhere


def test_links_are_followed_and_never_quoted(ddpm: Path, tmp_path: Path, mark: Path) -> None:
    """If this fails, the Hub's cache, which consists of links, does not load, or an error quotes a linked file."""
    blob = tmp_path / "blobs"
    blob.mkdir()
    for path in (ddpm / WEIGHTS, ddpm / "model_index.json"):
        path.rename(blob / path.name)
        path.symlink_to(blob / path.name)
    load(ddpm)
    secret = tmp_path / "secret"
    secret.write_text("root:x:0:0:very secret")
    for name in (Path("unet/config.json"), Path("model_index.json"), WEIGHTS):
        kept = (ddpm / name).read_bytes()
        (ddpm / name).unlink()
        (ddpm / name).symlink_to(secret)
        with pytest.raises(PriorError) as error:
            load(ddpm)
        assert "secret" not in str(error.value).replace(str(secret), "")
        (ddpm / name).unlink()
        (ddpm / name).write_bytes(kept)


@pytest.mark.parametrize(
    "shard", ["../stolen.safetensors", "/etc/passwd", "..\\stolen.bin", "a/b.safetensors", "..", ""]
)
def test_shards_must_be_beside_their_index(ddpm: Path, mark: Path, shard: str) -> None:
    """If this fails, an index file can read weights from anywhere on the disk."""
    tensors = load_file(ddpm / WEIGHTS)
    (ddpm / WEIGHTS).rename(ddpm / "stolen.safetensors")
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(tensors, shard)}
    (ddpm / f"{WEIGHTS}.index.json").write_text(json.dumps(index))
    refused(PriorError, r"index\.json: weight file '.*' must be in the same folder", lambda: load(ddpm), mark)


# --- False headers


def header(length: int, text: bytes, body: bytes = b"") -> bytes:
    return struct.pack("<Q", length) + text + body


def entry(dtype: str, shape: list[int], end: int) -> bytes:
    return json.dumps({"conv_in.weight": {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}}).encode()


HEADERS = {
    "longer than the file": header(2**60, b"{}"),
    "longer than memory": header(2**63 - 1, b"{}"),
    "not JSON": header(4, b"!!!!"),
    "deep": header(200_000, b"[" * 200_000),
    "a size that overflows": header(len(entry("F32", [2**40, 2**40], 4)), entry("F32", [2**40, 2**40], 4), b"1234"),
    "beyond the end": header(len(entry("F32", [2**30], 2**32)), entry("F32", [2**30], 2**32), b"1234"),
    "an unknown type": header(len(entry("PICKLE", [1], 4)), entry("PICKLE", [1], 4), b"1234"),
    "empty": b"",
}


@pytest.mark.parametrize("kind", HEADERS)
def test_false_headers(ddpm: Path, tmp_path: Path, mark: Path, kind: str) -> None:
    """If this fails, a false size in a file's header exhausts the memory, or ends in a traceback."""
    (ddpm / WEIGHTS).write_bytes(HEADERS[kind])
    refused(PriorError, r"unet cannot be loaded", lambda: load(ddpm), mark)
    refused(
        StateError,
        r"cannot be read as a saved state|not a saved state",
        lambda: SamplerState.load(ddpm / WEIGHTS),
        mark,
    )


@pytest.mark.parametrize("name", ["model_index.json", "unet/config.json", "scheduler/scheduler_config.json"])
def test_deep_json(ddpm: Path, mark: Path, name: str) -> None:
    """If this fails, deeply nested JSON ends in a traceback or crashes the interpreter."""
    (ddpm / name).write_text("[" * 200_000)
    refused(PriorError, r"cannot be (loaded|read) \(", lambda: load(ddpm), mark)


# --- YAML


LAUGHS = "a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha, ha]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
)
YAMLS = {
    "a tag": "steps: !!python/object/apply:os.mkdir ['{mark}']\n",
    "a class": "!!python/object/new:os.mkdir ['{mark}']\n",
    "a name": "steps: !!python/name:os.mkdir\n",
    "laughs": LAUGHS + "steps: *a9\n",
    "laughs in a key's place": LAUGHS + "images: *a9\nmasks: *a9\nschedules: [*a9]\n",
    "a circle": "steps: &a [*a]\n",
    "a circle of keys": "&a {steps: *a}\n",
    "deep lists": "steps: " + "[" * 20_000,
    "deep mappings": "steps: " + "{a: " * 5_000,
    "deep blocks": "".join(f"{' ' * depth}a:\n" for depth in range(1_500)),
    "a long number": "steps: " + "9" * 100_000 + "\n",
    "a large number": "steps: 1000000000000\n",
    "a long name": f"steps: {'x' * 100_000}\n",
}


@pytest.mark.parametrize("form", YAMLS)
def test_hostile_yaml(tmp_path: Path, mark: Path, form: str) -> None:
    """If this fails, a hostile YAML file runs code or exhausts the memory."""
    path = tmp_path / "walk.yaml"
    path.write_text(YAMLS[form].replace("{mark}", str(mark)))
    refused(ScheduleError, r"walk", lambda: Method.from_yaml(path), mark)
    refused(ScheduleError, r"walk", lambda: JumpSchedule.from_yaml(path), mark)
    refused(InputError, r"walk\.yaml", lambda: read_grid(path), mark)


# --- Pictures


def test_decompression_bombs(tmp_path: Path, mark: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, a small file decodes to gigabytes (PIL only warns up to twice its limit)."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    for side in (120, 200):  # above PIL's limit (PIL warns), and above twice the limit (PIL raises)
        path = tmp_path / f"{side}.png"
        Image.new("L", (side, side)).save(path)
        refused(InputError, r"more than 10000 pixels, PIL's limit", lambda path=path: open_image(path), mark)
        refused(
            InputError,
            r"more than 10000 pixels, PIL's limit",
            lambda path=path: read_keep(str(path), sizes=[(4, 4)]),
            mark,
        )


def test_postscript_is_refused(tmp_path: Path, mark: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, a PostScript file named .png is passed to Ghostscript."""
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\nmkdir {mark}\necho 9\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    path = tmp_path / "picture.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n%%EOF\n")
    refused(InputError, r"picture\.png is PostScript", lambda: open_image(path), mark)


# --- The network


def test_bundled_priors_open_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, a bundled prior contacts a host, or waits for the network."""
    addresses: list[object] = []

    def connect(_: socket.socket, address: object) -> None:
        addresses.append(address)
        raise OSError("no network")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *address, **_: connect(None, address))  # type: ignore[arg-type]
    for name, more in (("textures", {}), ("emoji", {"prompt": "cat"})):
        pipe = RePaintPipeline.from_pretrained(name)
        mask = Image.new("L", (64, 64))
        mask.paste(255, (20, 20, 30, 30))
        pipe(Image.new("RGB", (64, 64)), mask, schedule=JumpSchedule.paper(2, 1, 1), generator=0, **more)
    assert addresses == []


# --- The studio, in a process of its own

SECRET = "root:x:0:0"
LONG = 30  # seconds


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("secret") / "passwd.png"
    path.write_text(SECRET)
    return path


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with studio() as address:
        yield int(address.rpartition(":")[2])


def ask(port: int, path: str, method: str = "GET", body: bytes = b"", **headers: str) -> tuple[int, bytes]:
    """Send one request over a plain socket (HTTP clients normalise paths) and return (status, response)."""
    headers = {"Host": f"127.0.0.1:{port}", "Connection": "close", "Content-Length": str(len(body))} | headers
    lines = [f"{method} {path} HTTP/1.1", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    with socket.create_connection(("127.0.0.1", port), LONG) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + body)
        answer = b"".join(iter(lambda: connection.recv(2**16), b""))
    return int(answer.split(b" ", 2)[1]), answer


def post(port: int, path: str, content: object, **headers: str) -> tuple[int, bytes]:
    return ask(port, path, "POST", json.dumps(content).encode(), Content_Type="application/json", **headers)


def event(port: int, number: int, data: list[Any], session: str) -> bytes:
    """Send one of the page's events and return the response."""
    content = {"data": data, "fn_index": number, "session_hash": session, "event_data": None, "trigger_id": None}
    code, answer = post(port, "/gradio_api/queue/join", content)
    if code != 200:
        return answer
    return ask(port, f"/gradio_api/queue/data?session_hash={session}")[1]


def alive(port: int) -> bool:
    answer = event(port, events(port)["sample"], ["textures:brick"], f"alive{time.monotonic_ns()}")
    return b"textures:brick: 64 x 64 pixels" in answer and ask(port, "/")[0] == 200


def events(port: int) -> dict[str, int]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/config", timeout=LONG) as answer:
        return {each["api_name"]: each["id"] for each in json.load(answer)["dependencies"]}


ROUTES = [
    "/",
    "/gradio_api/file=",
    "/gradio_api/file/",
    "/file=",
    "/file/",
    "/static/",
    "/assets/",
    "/svelte/",
    "/gradio_api/proxy=",
    "/gradio_api/custom_component/image/client/component/",
    "/gradio_api/stream/a/b/",
    "/gradio_api/run-history/records/a/b/assets/",
    "/gradio_api/deep_link?path=",
    "/monitoring/",
    "/pwa_icon/",
]


def payloads(path: str) -> list[str]:
    """List encodings of an absolute path."""
    bare = path.lstrip("/")
    up = [
        f"{step * 12}{bare}"
        for step in (
            "../", "..%2f", "..%2F", "%2e%2e/", "%2e%2e%2f", "%252e%252e%252f", "..%252f", "%25252e%25252e%25252f",
            "..\\", "..%5c", "%2e%2e%5c", "..%255c", "....//", "..;/", "..%00/", "%c0%ae%c0%ae/", "..%c0%af",
            "%uff0e%uff0e%u2215", ".%2e/", "./../", "//..//", "..%09/", "..%0d%0a/", "%ef%bc%8e%ef%bc%8e/",
        )
    ]  # fmt: skip
    absolute = [
        path, f"/{path}", f"//{path}", f"%2f{bare}", f"%252f{bare}", f"/.{path}", f"/./{bare}",
        f"/proc/self/root{path}", f"file:{path}", f"file://{path}", f"file://localhost{path}",
        f"FILE://{path}", f"file%3a%2f%2f{path}",
        f"file={path}", f"{path}%00", f"{path}%00.png", f"{path}%20", f"{path}/", f"{path}/.", f"{path}%3f.png",
        f"{path};.png", f"{path}#.png", f"~/../../{bare}", f"C:{path}", f"\\\\?\\{bare}", f"\\\\localhost{path}",
        f"{path.replace('/', '%2f')}", f"{path.replace('/', chr(92))}", f"{path.replace('/', '%5c')}",
        f"http://127.0.0.1{path}", f"HTTP://localhost{path}", f"ftp://localhost{path}", f"data:text/plain,{bare}",
        f"url:file://{path}", f"jar:file://{path}!/", f"[{path}]", f"%u002f{bare}",
    ]  # fmt: skip
    return up + absolute


def test_no_route_serves_files(port: int, secret: Path) -> None:
    """If this fails, any client of the port can read files through a gradio route."""
    tried = [*payloads(str(secret)), *payloads("/etc/passwd"), "/proc/self/environ", "/proc/self/fd/0", "/dev/zero"]
    assert len(tried) > 100
    for route in ROUTES:
        for payload in tried:
            code, answer = ask(port, route + payload)
            # Anything after # or ? is not part of the path; a path of only slashes and dots is the page.
            assert 400 <= code < 500, (route, payload, code)
            assert SECRET.encode() not in answer, (route, payload)
            assert b"PYTHONUNBUFFERED" not in answer, (route, payload)
    assert alive(port)


def test_no_event_reads_files_of_the_server(port: int, secret: Path) -> None:
    """If this fails, a client can pass a server path as an upload and receive the file."""
    named = events(port)

    def file(path: str) -> dict[str, Any]:
        return {"path": path, "meta": {"_type": "gradio.FileData"}, "url": path, "orig_name": "a.png"}

    for count, path in enumerate([str(secret), "/etc/passwd", f"/tmp/../{secret}", "/dev/zero", "/proc/self/environ"]):
        for name, data in {
            "take_upload": [file(path)],
            "audit_upload": [file(path)] * 3,
            "take_mask": [None, file(path)],
            "invert": [None, {"background": file(path), "layers": [file(path)], "composite": None}],
        }.items():
            answer = event(port, named[name], data, f"{name}{count}")
            assert b'"success":false' in answer, (name, path, answer)
            assert SECRET.encode() not in answer
    assert alive(port)


@pytest.mark.parametrize("scheme", ["http://", "https://", "HTTP://", " https://"])
def test_no_event_makes_the_studio_contact_a_host(port: int, scheme: str) -> None:
    """If this fails, a client can make the studio fetch URLs and fill the disk."""
    file = {"path": f"{scheme}huggingface.co/a.png", "meta": {"_type": "gradio.FileData"}}
    answer = event(port, events(port)["take_upload"], [file], f"host{time.monotonic_ns()}")
    assert answer.startswith(b"HTTP/1.1 403")
    code, _ = ask(port, f"/gradio_api/file={scheme.strip()}huggingface.co/a.png")
    assert code == 404


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", ""])
def test_other_host_names_are_refused(port: int, host: str) -> None:
    """If this fails, another site can read the results by DNS rebinding."""
    assert ask(port, "/config", Host=host)[0] in (400, 403)
    assert ask(port, "/config", Host=f"localhost:{port}")[0] == 200


def test_pages_of_other_sites_are_refused(port: int) -> None:
    """If this fails, any page that the user opens can fill the disk of a studio: browsers send such uploads unasked."""
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\nbytes\r\n--x--\r\n'

    def upload(**headers: str) -> int:
        kind = "multipart/form-data; boundary=x"
        return ask(port, "/gradio_api/upload", "POST", body, Content_Type=kind, **headers)[0]

    for site in ("cross-site", "same-site"):
        assert upload(Sec_Fetch_Site=site, Origin="http://evil.example") == 403
        assert post(port, "/gradio_api/queue/join", {}, Sec_Fetch_Site=site)[0] == 403
        assert ask(port, "/", Sec_Fetch_Site=site)[0] == 200  # a link
    assert upload() == upload(Sec_Fetch_Site="same-origin") == 200


def test_the_studio_listens_on_loopback_only(port: int) -> None:
    """If this fails, the studio is open to the network."""
    with socket.socket() as other:
        other.bind(("127.0.0.2", port))  # fails if the studio listens on all addresses


def test_malformed_calls(port: int) -> None:
    """If this fails, a malformed request stops the studio or exhausts its memory."""
    bodies = [b"", b"{", b"[]", b"null", b"[" * 100_000, b'{"data":', b"\xff\xfe", b'{"fn_index": 1e999, "data": []}']
    for path in ("/gradio_api/queue/join", "/gradio_api/cancel", "/gradio_api/reset", "/gradio_api/upload", "/login"):
        for body in bodies:
            ask(port, path, "POST", body, Content_Type="application/json")
    code, _ = ask(port, "/gradio_api/queue/join", "POST", b" " * (2**20 + 1), Content_Type="application/json")
    assert code == 413
    for content in (
        {"data": [], "fn_index": 10**9, "session_hash": "m"},
        {"data": [], "fn_index": -1, "session_hash": "m"},
        {"data": "x", "fn_index": 2, "session_hash": {}},
        {"data": [{"path": ["/etc/passwd"], "meta": {"_type": "gradio.FileData"}}], "fn_index": 2, "session_hash": "m"},
    ):
        assert SECRET.encode() not in post(port, "/gradio_api/queue/join", content)[1]
    past_the_queue = post(port, "/gradio_api/run/start", {"data": [], "fn_index": 0})[0]
    assert past_the_queue in (401, 404)
    for path in ("/gradio_api/component_server", "/gradio_api/vibe-edit", "/gradio_api/call/start"):
        assert post(port, path, {})[0] == 404
    assert ask(port, "/gradio_api/queue/join", "BREW")[0] == 405
    for bytes_ in (b"\0" * 1000, b"GET", b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", port), LONG) as connection:
            connection.sendall(bytes_)
    assert alive(port)


def test_endless_uploads_are_cut_off(port: int) -> None:
    """If this fails, one chunked upload without a size fills the disk."""
    head = (
        f"POST /gradio_api/upload HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    part = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    sent = 0
    with socket.create_connection(("127.0.0.1", port), LONG) as connection:
        connection.sendall(head.encode() + f"{len(part):x}\r\n".encode() + part + b"\r\n")
        chunk = b"100000\r\n" + b"0" * 2**20 + b"\r\n"
        with suppress(OSError):
            while sent < 60:  # MiB
                connection.sendall(chunk)
                sent += 1
        with suppress(OSError):
            assert b"413" in connection.recv(100)
    assert sent < 60, "the upload was read to the end"
    assert alive(port)


@pytest.mark.slow
def test_two_hundred_requests_beside_slow_clients(port: int) -> None:
    """If this fails, slow clients, or many at once, block the studio for everyone else."""
    slow = [socket.create_connection(("127.0.0.1", port), LONG) for _ in range(30)]
    request = f"POST /gradio_api/queue/join HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 900\r\n\r\n"
    stop = threading.Event()

    def trickle() -> None:
        for byte in request.encode():
            for connection in slow:
                connection.sendall(bytes([byte]))
            if stop.wait(1):
                return

    trickling = threading.Thread(target=trickle)
    trickling.start()
    paths = ["/", "/config", "/theme.css", "/gradio_api/queue/status"]
    with ThreadPoolExecutor(200) as pool:
        codes = list(pool.map(lambda number: ask(port, paths[number % 4])[0], range(200)))
    assert codes == [200] * 200
    number = events(port)["sample"]
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda i: event(port, number, ["textures:brick"], f"many{i}"), range(40)))
    assert all(b"64 x 64 pixels" in answer for answer in answers)
    assert alive(port)
    stop.set()
    trickling.join()
    for connection in slow:
        connection.close()
    assert alive(port)


def test_a_password_from_end_to_end() -> None:
    """If this fails, a studio with a password is open, or the right password does not work."""
    with studio("--password", "open sesame") as address:
        port = int(address.rpartition(":")[2])
        for path in ("/config", "/gradio_api/info", "/gradio_api/file=x.png", "/gradio_api/queue/data?session_hash=a"):
            assert ask(port, path)[0] == 401, path
        assert post(port, "/gradio_api/queue/join", {"data": [], "fn_index": 0, "session_hash": "a"})[0] == 401
        assert ask(port, "/gradio_api/upload", "POST")[0] == 401
        form = {"Content_Type": "application/x-www-form-urlencoded"}
        for body in (b"username=repaint&password=wrong", b"username=admin&password=open+sesame", b"password[]=", b""):
            assert 400 <= ask(port, "/login", "POST", body, **form)[0] < 500
        code, answer = ask(port, "/login", "POST", b"username=repaint&password=open+sesame", **form)
        assert code == 200
        cookies = re.findall(rb"(?i)^set-cookie: ([^;]+);([^\r]*)", answer, flags=re.MULTILINE)
        assert cookies
        assert all(b"HttpOnly" in rest for _, rest in cookies)
        cookie = b"; ".join(name for name, _ in cookies).decode()
        assert ask(port, "/config", Cookie=cookie)[0] == 200
        assert ask(port, "/config", Cookie=cookie.replace(";", "x;") + "x")[0] == 401


def test_no_open_host_without_a_password(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """If this fails, `--host 0.0.0.0` alone opens the studio to everyone."""
    monkeypatch.setattr("sys.argv", ["repaint", "studio", "--host", "0.0.0.0", "--no-browser"])
    monkeypatch.delenv("REPAINT_PASSWORD", raising=False)
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 2
    assert "--host 0.0.0.0 needs --password" in capsys.readouterr().err
