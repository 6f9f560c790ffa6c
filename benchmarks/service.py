"""The service beside a bare loop over the same runtime: requests a second, how long they take, and memory.

    python benchmarks/service.py [--quick] [--requests 50000] [--json FILE]

Two networks with random weights: one of the size that digits need, fed with PNGs of 8 pixels, and a plain ViT of DeiT-Ti's
shape, fed with JPEGs of 256 pixels. `vitesse serve`, its decoder and its network on one core, one thread; the load comes from
a process on another one, over connections that stay open, each with one request under way: 32 with a picture each (saturated),
4 with 16 pictures as a form, or one with one. The bare loop, on the core of the service and by turns with it, decodes,
computes in batches of 16 or of one, and names the classes: no HTTP, no other process. Each turn is timed by the clock and, as
others on the machine disturb the clock, by processor time: of the loop, or of the service with all its processes. Ratios:
images a second of the service to those of the loop, median of the turns. Target: at least 0.85 when saturated.

--requests N instead: the memory of the service and its processes after each tenth of N requests to the small network.
Linux only.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from showing import Row, conditions, end, options, show

from vitesse.arch import MLP, Attention, Backbone, Block, Head, PatchEmbed, Stage
from vitesse.data import Preprocess, to_pixels
from vitesse.data.image import decode
from vitesse.deploy.answers import likeliest, to_input, to_shares
from vitesse.deploy.metadata import Metadata, installed_version
from vitesse.deploy.onnx_export import draft_onnx
from vitesse.deploy.served import served
from vitesse.nets import build
from vitesse.serve.model import Model, load_model

BATCH, MANY = 16, 32
LOADS = {"saturated": (MANY, 1, BATCH), "forms of 16": (4, 16, BATCH), "one at a time": (1, 1, 1)}
TICK = os.sysconf("SC_CLK_TCK")
CORES = sorted(os.sched_getaffinity(0))


def export(folder: Path, *, side: int, patch: int, channels: int, dim: int, depth: int, classes: int) -> Path:
    """A network with random weights, as the only file of a folder."""
    stem = PatchEmbed(image=(side, side), patch=(patch, patch), channels=channels)
    block = Block(Attention(heads=dim // 32, head_dim=32), MLP(ratio=4.0))
    arch = Backbone(stem=stem, stages=(Stage(dim=dim, depth=depth, block=block),), head=Head(classes=classes))
    preprocess = Preprocess(size=(side, side), channels=channels, mean=(0.5,) * channels, std=(0.5,) * channels)
    names = tuple(f"class {number}" for number in range(classes))
    about = Metadata(preprocess=preprocess, classes=names, arch_json=None, version=installed_version())
    folder.mkdir()
    torch.manual_seed(0)
    draft_onnx(served(build(arch), preprocess), folder / "model.onnx", metadata=about)
    return folder


def encoded(kind: str, side: int, channels: int) -> list[bytes]:
    """64 pictures with the detail of photographs."""
    rng, found = np.random.default_rng(0), []
    for _ in range(64):
        rough = Image.fromarray(rng.integers(0, 256, (max(side // 8, 4),) * 2 + (3,), dtype=np.uint8))
        pixels = np.asarray(rough.resize((side, side), Image.Resampling.BICUBIC)) + rng.normal(0, 8, (side, side, 3))
        image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).convert("L" if channels == 1 else "RGB")
        data = io.BytesIO()
        image.save(data, kind, quality=90)
        found.append(data.getvalue())
    return found


class Server:
    """`vitesse serve` on one core."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "vitesse", "serve", str(folder), "--port", "0"]
        command += ["--threads", "1", "--decode-workers", "1", "--max-batch", str(BATCH)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        os.sched_setaffinity(self.process.pid, {CORES[0]})
        assert self.process.stderr is not None
        self.port = int(re.findall(r":(\d+) ", self.process.stderr.readline())[0])

    def processes(self) -> list[int]:
        """The service's, and those that it started."""
        found = [self.process.pid]
        for pid in found:
            for task in Path(f"/proc/{pid}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
        return found

    def seconds(self) -> float:
        """The processor time that all of them have used."""
        fields = [Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split() for pid in self.processes()]
        return sum(int(field[11]) + int(field[12]) for field in fields) / TICK

    def memory(self) -> tuple[float, float]:
        """Resident MB of the service itself, and MB that it and its processes have written to and share with nobody."""

        def sized(pid: int, key: str) -> float:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            return sum(int(line.split()[1]) for line in lines if line.startswith(key)) * 1024 / 1e6

        return sized(self.process.pid, "Rss:"), sum(sized(pid, "Private_Dirty:") for pid in self.processes())

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.wait(60) == 0


class Client(asyncio.Protocol):
    """One connection with one request under way, until the clock or the number of requests ends it."""

    def __init__(self, requests: Iterator[bytes], seconds: list[float], done: Callable[[], None]) -> None:
        self.requests, self.seconds, self.done, self.said = requests, seconds, done, bytearray()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.send()

    def send(self) -> None:
        request = next(self.requests, None)
        if request is None:
            self.transport.close()
            self.done()
        else:
            self.began = time.perf_counter()
            self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.said += data
        head, found, body = self.said.partition(b"\r\n\r\n")
        if found and len(body) == int(re.findall(rb"content-length: (\d+)", head)[0]):
            assert head.startswith(b"HTTP/1.1 200"), self.said
            self.seconds.append(time.perf_counter() - self.began)
            self.said.clear()
            self.send()


def wire(bodies: list[bytes]) -> bytes:
    """A request with one picture as its body, or several as a form."""
    kind, body = "image/png", bodies[0]
    if len(bodies) > 1:
        kind, part = (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="i"; filename="i"\r\n\r\n',
        )
        body = b"".join(part + one + b"\r\n" for one in bodies) + b"--x--\r\n"
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def load(
    port: int, bodies: list[bytes], connections: int, images: int, *, until: float | None, count: int | None
) -> list[float]:
    """In a process of its own: the seconds of each request, until so many seconds or requests are over."""
    os.sched_setaffinity(0, {CORES[-1]})
    wires = [wire((bodies * 2)[at : at + images]) for at in range(len(bodies))]
    begun, sent = time.perf_counter(), iter(range(count if count is not None else 10**9))

    def requests() -> Iterator[bytes]:
        for number in sent:
            if until is not None and time.perf_counter() - begun > until:
                return
            yield wires[number % len(wires)]

    async def run() -> list[float]:
        loop, seconds, open_ = asyncio.get_running_loop(), list[float](), asyncio.Semaphore(0)
        for _ in range(connections):
            await loop.create_connection(lambda: Client(requests(), seconds, open_.release), "127.0.0.1", port)
        for _ in range(connections):
            await open_.acquire()
        return seconds

    return asyncio.run(run())


def bare(model: Model, bodies: list[bytes], batch: int, until: float) -> list[float]:
    """Decode, compute, name the classes: the seconds of each image's batch."""
    about, seconds, at, begun = model.about, list[float](), 0, time.perf_counter()
    while (began := time.perf_counter()) - begun < until:
        some = [bodies[(at + place) % len(bodies)] for place in range(batch)]
        pixels = np.stack([to_pixels(decode(body, "x"), about.preprocess).numpy() for body in some])
        for shares in to_shares(model.runtime.run(to_input(pixels))):
            likeliest(shares, about.classes, 3)
        at += batch
        seconds += [time.perf_counter() - began] * batch
    return seconds


def turns(folder: Path, bodies: list[bytes], pool: ProcessPoolExecutor, *, rounds: int, until: float) -> list[Row]:
    """One row for each kind of load."""
    model, server, rows = load_model(folder, threads=1), Server(folder), list[Row]()
    with contextlib.ExitStack() as stack:
        stack.callback(server.stop)
        pool.submit(load, server.port, bodies, MANY, 1, until=1.0, count=None).result()
        for name, (connections, images, batch) in LOADS.items():
            rates: dict[str, list[float]] = {key: [] for key in ("service", "bare", "service cpu", "bare cpu")}
            waits: dict[str, list[float]] = {"service": [], "bare": []}
            for _ in range(rounds):
                before, clock = server.seconds(), time.perf_counter()
                found = pool.submit(load, server.port, bodies, connections, images, until=until, count=None).result()
                rates["service"].append(images * len(found) / (time.perf_counter() - clock))
                rates["service cpu"].append(images * len(found) / (server.seconds() - before))
                waits["service"] += found
                before, clock = time.process_time(), time.perf_counter()
                found = bare(model, bodies, batch, until)
                rates["bare"].append(len(found) / (time.perf_counter() - clock))
                rates["bare cpu"].append(len(found) / (time.process_time() - before))
                waits["bare"] += found
            rows.append({"network": folder.name, "load": name, **_row(rates, waits)})
    return rows


def _row(rates: dict[str, list[float]], waits: dict[str, list[float]]) -> Row:
    def ratio(suffix: str) -> float:
        return statistics.median(a / b for a, b in zip(rates["service" + suffix], rates["bare" + suffix], strict=True))

    row: dict[str, Any] = {"service images/s": statistics.median(rates["service"])}
    row |= {"bare images/s": statistics.median(rates["bare"]), "ratio": ratio(""), "ratio by processor": ratio(" cpu")}
    for who, seconds in waits.items():
        row[f"{who} p50 ms"], row[f"{who} p99 ms"] = (float(np.percentile(seconds, q)) * 1e3 for q in (50, 99))
    return row


def memory(folder: Path, bodies: list[bytes], pool: ProcessPoolExecutor, requests: int) -> list[Row]:
    """After a tenth to warm up, the memory after each further tenth."""
    server, rows = Server(folder), list[Row]()
    with contextlib.ExitStack() as stack:
        stack.callback(server.stop)
        for tenth in range(11):
            pool.submit(load, server.port, bodies, MANY, 1, until=None, count=requests // 10).result()
            resident, private = server.memory()
            sent = (tenth + 1) * (requests // 10)
            rows.append({"requests": sent, "service MB": resident, "written by all processes MB": private})
    return rows


def main() -> None:
    more = {"requests": {"type": int, "help": "watch the memory over so many requests instead"}}
    args = options(__doc__, more=more)
    before = conditions()
    os.sched_setaffinity(0, {CORES[0]})
    with tempfile.TemporaryDirectory() as held, ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        small = export(Path(held) / "digits", side=8, patch=4, channels=1, dim=32, depth=3, classes=10)
        digits = encoded("PNG", 8, 1)
        if args.requests is not None:
            rows = memory(small, digits, pool, args.requests)
            show(f"Memory over {args.requests} requests", rows)
        else:
            size = {"rounds": 2, "until": 1.0} if args.quick else {"rounds": 5, "until": 2.0}
            large = export(Path(held) / "vit-ti", side=224, patch=16, channels=3, dim=192, depth=12, classes=1000)
            rows = [*turns(small, digits, pool, **size), *turns(large, encoded("JPEG", 256, 3), pool, **size)]
            show("The service beside a bare loop", rows)
        end(args, before, {"rows": rows})


if __name__ == "__main__":
    main()
