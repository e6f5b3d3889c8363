"""Hostile input: folders, files and visitors that want code run, files read, or the memory.

Each planted payload leaves a mark on the disk: what is refused must not have left it.
"""

from __future__ import annotations

import io
import json
import os
import pickle
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
from repaint.priors.guided import GuidedCheckpoint
from repaint.priors.load import load
from repaint.sampling.state import SamplerState

WEIGHTS = Path("unet") / "diffusion_pytorch_model.safetensors"


class Evil:
    """A pickle that leaves a mark when it is executed."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "executed"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pixel prior ("ddpm") and a text prior ("sd") on disk; not to be changed."""
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


def edit(path: Path, **entries: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def refused(error: type[RepaintError], match: str, what: Callable[[], object], mark: Path) -> None:
    """One line, quickly, and the payload never ran."""
    started = time.monotonic()
    with pytest.raises(error, match=match) as raised:
        what()
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 1500, "the message holds what an attacker wrote"
    assert time.monotonic() - started < 5
    assert not mark.exists(), "the payload was executed"


# --- Pickles


@pytest.mark.usefixtures("pickles")
@pytest.mark.parametrize(
    "name",
    [
        "unet/diffusion_pytorch_model.bin",
        "unet/diffusion_pytorch_model.safetensors",  # only its name says that it is none
        "unet/diffusion_pytorch_model.pt",
        "unet/diffusion_pytorch_model.ckpt",
        "unet/model.ckpt",
        "diffusion_pytorch_model.bin",
    ],
)
@pytest.mark.parametrize("form", ["torch", "pickle"])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_pickle_in_a_folder_is_never_run(ddpm: Path, mark: Path, name: str, form: str) -> None:
    """If this fails, a stranger's weights run a stranger's code."""
    (ddpm / WEIGHTS).unlink()
    plant(ddpm / name, mark, form)
    refused(PriorError, r"^Cannot load unet from ", lambda: load(ddpm), mark)
    runs(ddpm / name, mark, form)


@pytest.mark.usefixtures("pickles")
@pytest.mark.parametrize("form", ["torch", "pickle"])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_pickled_text_encoder_is_never_run(sd: Path, mark: Path, form: str) -> None:
    """If this fails, the part that transformers loads is the way in."""
    next((sd / "text_encoder").glob("*.safetensors")).unlink()
    plant(sd / "text_encoder" / "pytorch_model.bin", mark, form)
    refused(PriorError, r"^Cannot load ", lambda: load(sd), mark)


@pytest.mark.usefixtures("pickles")
@pytest.mark.parametrize("form", ["torch", "pickle"])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_pickled_checkpoint_is_never_run(tmp_path: Path, mark: Path, form: str) -> None:
    """If this fails, converting a guided-diffusion file runs code."""
    plant(tmp_path / "model.pt", mark, form)
    refused(PriorError, r"only tensors are read", lambda: GuidedCheckpoint.read(tmp_path / "model.pt"), mark)


@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_a_pickled_state_is_never_run(tmp_path: Path, mark: Path, form: str) -> None:
    """If this fails, a kept state from somebody else runs code."""
    plant(tmp_path / "half.safetensors", mark, form)
    path = tmp_path / "half.safetensors"
    refused(StateError, r"^Cannot read the state ", lambda: SamplerState.load(path), mark)


def test_no_pickle_where_torch_is_too_old(
    ddpm: Path, sd: Path, tmp_path: Path, mark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails, a torch whose weights_only can be got round (before 2.10) reads pickles all the same."""
    torch.save(load_file(ddpm / WEIGHTS), ddpm / "unet" / "diffusion_pytorch_model.bin")
    shutil.copy(ddpm / "unet" / "diffusion_pytorch_model.bin", tmp_path / "model.pt")
    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")
    load(ddpm)  # the safetensors beside it
    load(sd)
    (ddpm / WEIGHTS).unlink()
    told = r"is a pickle, and torch 2\.9\.1\+cpu can be made to run code by one .*: from 2\.10 on it cannot\. Update"
    refused(PriorError, told, lambda: load(ddpm), mark)
    refused(PriorError, told, lambda: GuidedCheckpoint.read(tmp_path / "model.pt"), mark)
    for version in ("2.10.0", "2.15.0+cu130", "3.0.0a0+git1"):
        monkeypatch.setattr(torch, "__version__", version)
        assert safe_folder.pickles_are_safe()
    load(ddpm)


def plant(path: Path, mark: Path, form: str) -> None:
    if form == "torch":
        torch.save({"conv_in.weight": Evil(mark)}, path)
    else:
        path.write_bytes(pickle.dumps(Evil(mark)))


def runs(path: Path, mark: Path, form: str) -> None:
    content = io.BytesIO(path.read_bytes())
    torch.load(content, weights_only=False) if form == "torch" else pickle.load(content)
    assert mark.exists(), "the payload is harmless: the test shows nothing"


# --- Code


def nested_pipeline(folder: Path) -> None:
    edit(folder / "model_index.json", scheduler=["diffusers", "DiffusionPipeline"])
    (folder / "scheduler" / "model_index.json").write_text(json.dumps({"_class_name": ["pipeline", "Evil"]}))


def in_index(**entries: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "model_index.json", **entries)


def in_config(name: str, **entries: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder / name, **entries)


def auto_class(folder: Path) -> None:
    in_index(text_encoder=["transformers", "AutoModel"])(folder)


AUTO = {"auto_map": {"AutoModel": "evil.Evil"}}
ATTACKS: dict[str, tuple[Callable[[Path], None], str]] = {
    "class of a file": (in_index(_class_name=["pipeline", "Evil"]), r"wants the pipeline \['pipeline', 'Evil'\]"),
    "custom pipeline": (in_index(custom_pipeline="pipeline"), r"model_index\.json asks for code of its own \(custom_p"),
    "no pipeline": (in_index(_class_name="AutoModel"), r"wants the pipeline AutoModel, which is none of diffusers'"),
    "a module": (in_index(_class_name="utils"), r"wants the pipeline utils, which is none of diffusers'"),
    "file of the scheduler": (in_index(scheduler=["evil", "Evil"]), r"wants evil\.Evil as scheduler: only diffusers"),
    "file of the encoder": (in_index(text_encoder=["evil", "Evil"]), r"wants evil\.Evil as text_encoder: only"),
    "module of Python": (in_index(text_encoder=["os", "system"]), r"wants os\.system as text_encoder: only"),
    "path": (in_index(text_encoder=["../evil", "Evil"]), r"wants \.\./evil\.Evil as text_encoder: only"),
    "a pipeline within": (nested_pipeline, r"wants diffusers\.DiffusionPipeline as scheduler, which is none"),
    "a function": (in_index(scheduler=["diffusers", "logging"]), r"wants diffusers\.logging as scheduler"),
    "automatic class": (auto_class, r"wants transformers\.AutoModel as text_encoder, which would look for code"),
    "auto_map": (in_config("text_encoder/config.json", **AUTO), r"config\.json asks for code of its own \(auto_map\)"),
    "auto_map within": (in_config("text_encoder/config.json", text_config=AUTO), r"code of its own \(auto_map\)"),
    "auto_map of tokens": (in_config("tokenizer/tokenizer_config.json", **AUTO), r"tokenizer_config\.json asks for"),
    "auto_map of the UNet": (in_config("unet/config.json", **AUTO), r"unet.config\.json asks for code"),
    "a kernel of the Hub": (
        in_config("text_encoder/config.json", attn_implementation="owner/evil"),
        r"asks for code of its own \(attn_implementation\)",
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_code_in_a_folder_is_never_imported(sd: Path, mark: Path, attack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, a folder's own Python runs, with or without being asked for."""
    payload = f"import os\nos.mkdir({str(mark)!r})\nclass Evil: pass\n"
    for place in (sd, *(path for path in sd.iterdir() if path.is_dir())):
        for name in ("evil.py", "pipeline.py"):
            (place / name).write_text(payload)
    monkeypatch.syspath_prepend(str(sd))
    plan, message = ATTACKS[attack]
    plan(sd)
    refused(PriorError, message, lambda: load(sd), mark)
    runpy.run_path(str(sd / "evil.py"))
    assert mark.exists(), "the payload is harmless: the test shows nothing"


def test_python_that_nobody_asks_for_lies_still(sd: Path, mark: Path) -> None:
    """If this fails, a Hub repository with a pipeline.py beside ordinary weights cannot be used, or runs it."""
    (sd / "pipeline.py").write_text(f"import os\nos.mkdir({str(mark)!r})\n")
    load(sd)
    assert not mark.exists()


# --- Files elsewhere


def test_links_are_followed_and_never_shown(ddpm: Path, tmp_path: Path, mark: Path) -> None:
    """If this fails, the Hub's own cache, which is made of links, does not load; or a link shows a file's text."""
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
def test_shards_lie_beside_their_index(ddpm: Path, mark: Path, shard: str) -> None:
    """If this fails, an index reads weights from anywhere on the disk."""
    tensors = load_file(ddpm / WEIGHTS)
    (ddpm / WEIGHTS).rename(ddpm / "stolen.safetensors")
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(tensors, shard)}
    (ddpm / f"{WEIGHTS}.index.json").write_text(json.dumps(index))
    refused(PriorError, r"index\.json takes weights from '.*': they lie beside it", lambda: load(ddpm), mark)


# --- Numbers that lie


def header(length: int, text: bytes, body: bytes = b"") -> bytes:
    return struct.pack("<Q", length) + text + body


def entry(dtype: str, shape: list[int], end: int) -> bytes:
    return json.dumps({"conv_in.weight": {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}}).encode()


LIES = {
    "longer than the file": header(2**60, b"{}"),
    "longer than memory": header(2**63 - 1, b"{}"),
    "no JSON": header(4, b"!!!!"),
    "deep": header(200_000, b"[" * 200_000),
    "a size that overflows": header(len(entry("F32", [2**40, 2**40], 4)), entry("F32", [2**40, 2**40], 4), b"1234"),
    "beyond the end": header(len(entry("F32", [2**30], 2**32)), entry("F32", [2**30], 2**32), b"1234"),
    "an unknown type": header(len(entry("PICKLE", [1], 4)), entry("PICKLE", [1], 4), b"1234"),
    "empty": b"",
}


@pytest.mark.parametrize("lie", LIES)
def test_headers_that_lie(ddpm: Path, tmp_path: Path, mark: Path, lie: str) -> None:
    """If this fails, a few bytes in a file's head allocate the machine's memory, or give a traceback."""
    (ddpm / WEIGHTS).write_bytes(LIES[lie])
    refused(PriorError, r"^Cannot load unet", lambda: load(ddpm), mark)
    refused(StateError, r"^Cannot read the state", lambda: SamplerState.load(ddpm / WEIGHTS), mark)


@pytest.mark.parametrize("name", ["model_index.json", "unet/config.json", "scheduler/scheduler_config.json"])
def test_deep_json(ddpm: Path, mark: Path, name: str) -> None:
    """If this fails, a file of brackets ends in a traceback, or in a crash of the interpreter."""
    (ddpm / name).write_text("[" * 200_000)
    refused(PriorError, r"^Cannot (load|read) ", lambda: load(ddpm), mark)


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
    """If this fails, a schedule from somebody else runs code, or takes all memory to be refused."""
    path = tmp_path / "walk.yaml"
    path.write_text(YAMLS[form].replace("{mark}", str(mark)))
    refused(ScheduleError, r"walk", lambda: Method.from_yaml(path), mark)
    refused(ScheduleError, r"walk", lambda: JumpSchedule.from_yaml(path), mark)
    refused(InputError, r"walk\.yaml", lambda: read_grid(path), mark)


# --- Pictures


def test_decompression_bombs(tmp_path: Path, mark: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, a small file takes gigabytes: PIL alone only warns up to twice its limit."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    for side in (120, 200):  # above the limit, where PIL warns, and above twice the limit, where it refuses
        path = tmp_path / f"{side}.png"
        Image.new("L", (side, side)).save(path)
        refused(InputError, r"more than 10000 pixels, PIL's limit", lambda path=path: open_image(path), mark)
        refused(
            InputError,
            r"more than 10000 pixels, PIL's limit",
            lambda path=path: read_keep(str(path), sizes=[(4, 4)]),
            mark,
        )


def test_pictures_run_no_other_program(tmp_path: Path, mark: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, a PostScript program under a picture's name is handed to Ghostscript."""
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\nmkdir {mark}\necho 9\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    path = tmp_path / "picture.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n%%EOF\n")
    refused(InputError, r"picture\.png is PostScript", lambda: open_image(path), mark)


# --- The network


def test_a_bundled_prior_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, filling a hole with what ships tells somebody, or waits for a network."""
    asked: list[object] = []

    def connect(_: socket.socket, address: object) -> None:
        asked.append(address)
        raise OSError("no network")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *address, **_: connect(None, address))  # type: ignore[arg-type]
    for name, more in (("textures", {}), ("emoji", {"prompt": "cat"})):
        pipe = RePaintPipeline.from_pretrained(name)
        mask = Image.new("L", (64, 64))
        mask.paste(255, (20, 20, 30, 30))
        pipe(Image.new("RGB", (64, 64)), mask, schedule=JumpSchedule.paper(2, 1, 1), generator=0, **more)
    assert asked == []


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
    """One request over a bare socket, for clients tidy paths up: (status, everything that came)."""
    headers = {"Host": f"127.0.0.1:{port}", "Connection": "close", "Content-Length": str(len(body))} | headers
    lines = [f"{method} {path} HTTP/1.1", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    with socket.create_connection(("127.0.0.1", port), LONG) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + body)
        answer = b"".join(iter(lambda: connection.recv(2**16), b""))
    return int(answer.split(b" ", 2)[1]), answer


def post(port: int, path: str, content: object, **headers: str) -> tuple[int, bytes]:
    return ask(port, path, "POST", json.dumps(content).encode(), Content_Type="application/json", **headers)


def event(port: int, number: int, data: list[Any], session: str) -> bytes:
    """What comes of one of the page's events."""
    told = {"data": data, "fn_index": number, "session_hash": session, "event_data": None, "trigger_id": None}
    code, answer = post(port, "/gradio_api/queue/join", told)
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
    """Ways to say an absolute path."""
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


def test_no_payload_reaches_a_file(port: int, secret: Path) -> None:
    """If this fails, whoever reaches the port reads the disk through one of gradio's routes."""
    tried = [*payloads(str(secret)), *payloads("/etc/passwd"), "/proc/self/environ", "/proc/self/fd/0", "/dev/zero"]
    assert len(tried) > 100
    for route in ROUTES:
        for payload in tried:
            code, answer = ask(port, route + payload)
            # What stands behind # or ? is no part of the path; a path of slashes and dots alone is the page.
            assert 400 <= code < 500, (route, payload, code)
            assert SECRET.encode() not in answer, (route, payload)
            assert b"PYTHONUNBUFFERED" not in answer, (route, payload)
    assert alive(port)


def test_no_event_takes_a_file_of_the_machine(port: int, secret: Path) -> None:
    """If this fails, a visitor names a file of the server as an upload and gets it back as a picture."""
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
def test_no_event_makes_the_studio_ask_a_host(port: int, scheme: str) -> None:
    """If this fails, a visitor uses the studio to fetch from other hosts, and to fill the disk with it."""
    file = {"path": f"{scheme}huggingface.co/a.png", "meta": {"_type": "gradio.FileData"}}
    answer = event(port, events(port)["take_upload"], [file], f"host{time.monotonic_ns()}")
    assert answer.startswith(b"HTTP/1.1 403")
    code, _ = ask(port, f"/gradio_api/file={scheme.strip()}huggingface.co/a.png")
    assert code == 404


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", ""])
def test_another_sites_page_is_refused(port: int, host: str) -> None:
    """If this fails, a web page whose name is pointed at this machine reads the results (DNS rebinding)."""
    assert ask(port, "/config", Host=host)[0] in (400, 403)
    assert ask(port, "/config", Host=f"localhost:{port}")[0] == 200


def test_it_listens_on_this_machine_alone(port: int) -> None:
    """If this fails, the studio is open to the network."""
    with socket.socket() as other:
        other.bind(("127.0.0.2", port))  # taken, if the studio listened everywhere


def test_malformed_calls(port: int) -> None:
    """If this fails, a broken client ends the studio, or fills its memory."""
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


def test_an_upload_without_end_is_cut_off(port: int) -> None:
    """If this fails, one visitor fills the disk with one request that never names its size."""
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
    assert sent < 60, "it was read to its end"
    assert alive(port)


@pytest.mark.slow
def test_two_hundred_requests_beside_slow_clients(port: int) -> None:
    """If this fails, one slow client, or many at once, keep everyone else from the studio."""
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
    """If this fails, a studio with a password is open, or its owner cannot come in."""
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
    assert "Host 0.0.0.0 without a password" in capsys.readouterr().err
