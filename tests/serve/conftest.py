"""A tiny network as a run folder, its service in this process, and pictures."""

from __future__ import annotations

import io
import multiprocessing
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("starlette", reason="without the extra 'serve' nothing of the service is checked")
from starlette.testclient import TestClient

from vitesse.arch import MLP, Attention, Backbone, Block, Head, PatchEmbed, Stage, to_json
from vitesse.data import Preprocess
from vitesse.deploy.metadata import Metadata
from vitesse.deploy.onnx_export import draft_onnx
from vitesse.deploy.served import served
from vitesse.nets import build
from vitesse.serve.app import service_app
from vitesse.serve.model import load_model
from vitesse.serve.settings import ServeSettings

CLASSES = ("zero", "eins", "zwölf <b>", "quatre")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a file and a model card."""
    stem = PatchEmbed(image=(8, 8), patch=(4, 4), channels=3)
    block = Block(Attention(heads=1, head_dim=8), MLP(ratio=1.0))
    arch = Backbone(stem=stem, stages=(Stage(dim=8, depth=1, block=block),), head=Head(classes=len(CLASSES)))
    torch.manual_seed(0)
    network = build(arch)
    for parameter in network.parameters():  # a fresh head would find all classes alike
        torch.nn.init.normal_(parameter)
    preprocess = Preprocess(size=(8, 8), mean=(0.4,) * 3, std=(0.3,) * 3, crop=0.8)
    about = Metadata(preprocess=preprocess, classes=CLASSES, arch_json=to_json(arch), version="1")
    path = tmp_path_factory.mktemp("runs") / "tiny"
    path.mkdir()
    draft_onnx(served(network, preprocess), path / "model.onnx", metadata=about)
    (path / "README.md").write_text("# tiny\n")
    return path


@contextmanager
def running(folder: Path, **settings: Any) -> Iterator[TestClient]:
    before = decoders()
    given = {"decode_workers": 1, "threads": 1, "decode_s": 30.0, **settings}
    with TestClient(service_app(load_model(folder, threads=1), ServeSettings(**given))) as client:
        yield client
    assert decoders() == before  # it ended its own


@contextmanager
def process(folder: Path, *more: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """`vitesse serve` as a process of its own, and its port."""
    command = [sys.executable, "-m", "vitesse", "serve", str(folder), "--port", "0", "--decode-workers", "1", *more]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    try:
        line = server.stderr.readline()
        found = re.search(r"Serving tiny on http://127\.0\.0\.1:(\d+)", line)
        assert found, line + server.stderr.read()
        yield server, int(found[1])
    finally:
        server.kill()
        server.wait()
        server.stderr.close()


def decoders() -> list[Any]:
    """The decoding processes that this process has."""
    return [one for one in multiprocessing.active_children() if one.name == "vitesse-decoder"]


@pytest.fixture
def service(folder: Path) -> Callable[..., Any]:
    """Run a service: `with service(queue=2) as client`."""
    return lambda **settings: running(folder, **settings)


@pytest.fixture
def started(folder: Path) -> Callable[..., Any]:
    """Start a process: `with started("--queue", "2") as (process, port)`."""
    return lambda *more: process(folder, *more)


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    """One service with low limits for a file of tests, as they must not harm each other anyway."""
    with running(folder, max_body=200_000, max_pixels=1_000_000) as client:
        yield client


def picture(seed: int = 0, size: tuple[int, int] = (20, 24), kind: str = "PNG") -> bytes:
    """An encoded picture of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, kind)
    return data.getvalue()


@pytest.fixture(scope="session", name="picture")
def _picture() -> Callable[..., bytes]:
    return picture


@pytest.fixture(scope="session", name="decoders")
def _decoders() -> Callable[[], list[Any]]:
    return decoders
