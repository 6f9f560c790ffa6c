"""The store of teacher logits beside zarr, LMDB, a file for each sample, and the published layout.

    python benchmarks/logit_store.py [--quick] [--json FILE]

Records of 10 and of 100 classes out of 1,000 for one epoch of images: bytes an image, records written a second, and records
read a second in batches of 256 random images. Each way gives what a student needs: class numbers as int64 and
probabilities as float32, (256, K). The published layout is written and read as its format asks: a name a line in one file,
records in another, a dictionary from names to places, a seek and a read for each record. zarr: chunks of 4,096 records;
LMDB: one transaction for a batch, decoded at once or, as a data set gives its
items, one by one; what is not installed is left out aloud. The clock is the processor time of the process,
the contestants take turns. Beside it the time to decode a photograph-like JPEG of 256 pixels.

Then the step of a student with the store against one with a live teacher, for a pair of the ratio of ViT-L to TinyViT-5M.
Targets: reading at least 25 times zarr, LMDB and the published layout; a record below a tenth of its JPEG.
"""

from __future__ import annotations

import io
import multiprocessing
import shutil
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from showing import Row, conditions, end, options, show
from torch.nn import functional

from vitesse.arch import MLP, Attention, Backbone, Block, Head, PatchEmbed, Stage, cost
from vitesse.distill.store import LogitStore
from vitesse.distill.store.making import begin, finish, shard_size, shards_to_write
from vitesse.distill.store.manifest import BLOCK, Manifest
from vitesse.distill.store.records import Layout
from vitesse.distill.store.shards import ShardWriter
from vitesse.nets import build

CLASSES, BATCH = 1000, 256
Answer = tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]


class Way(Protocol):
    """One way to keep records: written in order, in batches, then read at random."""

    def write(self, folder: Path, classes: npt.NDArray[Any], values: npt.NDArray[np.float32]) -> None:
        """Write everything, (N, K), in batches of `BATCH`, and bring it to the disk."""

    def open(self, folder: Path) -> Callable[[npt.NDArray[np.int64]], Answer]:
        """Give the function that reads a batch."""


def batches(count: int) -> Iterator[slice]:
    """All records in order."""
    return (slice(low, min(low + BATCH, count)) for low in range(0, count, BATCH))


class Store:
    """Ours."""

    def __init__(self, values: Any = "float16") -> None:
        self.values = values

    def write(self, folder: Path, classes: npt.NDArray[Any], values: npt.NDArray[np.float32]) -> None:
        layout = Layout(classes=CLASSES, top=classes.shape[1], values=self.values)
        size = shard_size(len(classes), block=BLOCK, writers=1)
        plan = Manifest(layout=layout, samples=len(classes), epochs=1, shard=size, teacher={"name": "x"}, recipe={})
        manifest = begin(folder, plan)
        for shard in shards_to_write(folder, manifest):
            with ShardWriter(shard) as writer:
                for one in batches(len(classes)):
                    writer.append(classes[one], values[one])
        finish(folder, manifest)

    def open(self, folder: Path) -> Callable[[npt.NDArray[np.int64]], Answer]:
        store = LogitStore.open(folder)
        store.read(0, [0])  # maps the files and checks them: once an epoch, told apart
        return lambda indices: store.read(0, indices)


def packed(classes: npt.NDArray[Any], values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Records of uint16 classes and float16 values, for the ways that keep plain bytes."""
    return np.concatenate([classes.astype("<u2").view(np.uint8), values.astype("<f2").view(np.uint8)], 1)


def unpacked(rows: npt.NDArray[np.uint8]) -> Answer:
    """The inverse."""
    half = rows.shape[1] // 2
    return rows[:, :half].view("<u2").astype(np.int64), rows[:, half:].view("<f2").astype(np.float32)


class Published:
    """TinyViT's layout."""

    def write(self, folder: Path, classes: npt.NDArray[Any], values: npt.NDArray[np.float32]) -> None:
        folder.mkdir()
        with (folder / "rank0-keys.txt").open("w") as keys, (folder / "rank0-values.bin").open("wb") as data:
            for one in batches(len(classes)):
                for index in range(one.start, one.stop):
                    keys.write(f"n00000000_{index}\n")
                    seed = np.int32(index).tobytes()
                    data.write(seed + classes[index].astype("<i2").tobytes() + values[index].astype("<f2").tobytes())

    def open(self, folder: Path) -> Callable[[npt.NDArray[np.int64]], Answer]:
        names = (folder / "rank0-keys.txt").read_text().splitlines()
        places = {name: place for place, name in enumerate(names)}
        width = (folder / "rank0-values.bin").stat().st_size // len(names)
        file = (folder / "rank0-values.bin").open("rb")
        top = (width - 4) // 4

        def read(indices: npt.NDArray[np.int64]) -> Answer:
            classes, values = [], []
            for index in indices.tolist():
                file.seek(places[f"n00000000_{index}"] * width)
                record = file.read(width)
                classes.append(np.frombuffer(record, "<i2", top, 4))
                values.append(np.frombuffer(record, "<f2", top, 4 + 2 * top))
            return np.stack(classes).astype(np.int64), np.stack(values).astype(np.float32)

        return read


class Lmdb:
    """A key and a value for each record. each: decode one by one, as a data set's items are, and not the batch at once."""

    def __init__(self, *, each: bool) -> None:
        self.each = each

    def write(self, folder: Path, classes: npt.NDArray[Any], values: npt.NDArray[np.float32]) -> None:
        import lmdb

        with lmdb.open(str(folder), map_size=2**32, writemap=True) as held:
            for one in batches(len(classes)):
                rows = packed(classes[one], values[one])
                with held.begin(write=True) as change:
                    for place, row in enumerate(rows):
                        change.put((one.start + place).to_bytes(8, "big"), row.tobytes(), append=True)

    def open(self, folder: Path) -> Callable[[npt.NDArray[np.int64]], Answer]:
        import lmdb

        held = lmdb.open(str(folder), readonly=True, lock=False)

        def read(indices: npt.NDArray[np.int64]) -> Answer:
            with held.begin(buffers=True) as look:
                found = b"".join(look.get(index.to_bytes(8, "big")) for index in indices.tolist())
            return unpacked(np.frombuffer(found, np.uint8).reshape(len(indices), -1))

        def read_each(indices: npt.NDArray[np.int64]) -> Answer:
            found = []
            for index in indices.tolist():
                with held.begin(buffers=True) as look:
                    found.append(unpacked(np.frombuffer(look.get(index.to_bytes(8, "big")), np.uint8)[None]))
            classes, values = zip(*found, strict=True)
            return np.concatenate(classes), np.concatenate(values)

        return read_each if self.each else read


class Zarr:
    """One array of records in compressed chunks."""

    def write(self, folder: Path, classes: npt.NDArray[Any], values: npt.NDArray[np.float32]) -> None:
        import zarr

        width, step = 4 * classes.shape[1], 16 * BATCH
        array = zarr.create_array(str(folder), shape=(len(classes), width), chunks=(step, width), dtype="uint8")
        for low in range(0, len(classes), step):  # whole chunks: smaller writes would read each one again
            array[low : low + step] = packed(classes[low : low + step], values[low : low + step])

    def open(self, folder: Path) -> Callable[[npt.NDArray[np.int64]], Answer]:
        import zarr

        array = zarr.open_array(str(folder), mode="r")
        return lambda indices: unpacked(np.asarray(array.oindex[indices]))


class Files:
    """A file for each record, a folder for each thousand."""

    def write(self, folder: Path, classes: npt.NDArray[Any], values: npt.NDArray[np.float32]) -> None:
        for one in batches(len(classes)):
            for index, row in zip(range(one.start, one.stop), packed(classes[one], values[one]), strict=True):
                if index % 1000 == 0:
                    (folder / str(index // 1000)).mkdir(parents=True)
                (folder / str(index // 1000) / str(index)).write_bytes(row.tobytes())

    def open(self, folder: Path) -> Callable[[npt.NDArray[np.int64]], Answer]:
        def read(indices: npt.NDArray[np.int64]) -> Answer:
            found = b"".join((folder / str(index // 1000) / str(index)).read_bytes() for index in indices.tolist())
            return unpacked(np.frombuffer(found, np.uint8).reshape(len(indices), -1))

        return read


def ways() -> dict[str, Way]:
    """Every way whose library is there."""
    all_ways: dict[str, Way] = {"store": Store(), "store, uint8": Store("uint8"), "published": Published()}
    for name, way in (("lmdb", Lmdb(each=False)), ("lmdb, one by one", Lmdb(each=True)), ("zarr", Zarr())):
        if find_spec(name.partition(",")[0]) is None:
            print(f"{name} is not installed and is left out (pip install -e '.[bench]')")
        else:
            all_ways[name] = way
    return all_ways | {"a file each": Files()}


def on_disk(folder: Path) -> int:
    """The bytes that the files take, in whole disk blocks, as `du` counts."""
    return sum(512 * one.stat().st_blocks for one in folder.rglob("*") if one.is_file())


FEW = 5_000  # a file each takes too long for more


def storing(top: int, count: int, rounds: int, place: Path) -> tuple[list[Row], float]:
    """Compare the ways; also the seconds that decoding one JPEG takes."""
    rng = np.random.default_rng(0)
    values = -np.sort(-rng.dirichlet(np.full(top, 0.3), count).astype(np.float32), 1)
    classes = rng.random((count, CLASSES), np.float32).argpartition(top, 1)[:, :top]
    found: dict[str, dict[str, Any]] = {}
    readers: dict[str, Callable[[npt.NDArray[np.int64]], Answer]] = {}
    for name, way in ways().items():
        seconds, most = [], FEW if name == "a file each" else count
        for _ in range(rounds):
            folder = place / name.replace(", ", "-")
            shutil.rmtree(folder, ignore_errors=True)
            before = time.process_time()
            way.write(folder, classes[:most], values[:most])
            seconds.append(time.process_time() - before)
        tracemalloc.start()
        readers[name] = way.open(folder)
        held = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        found[name] = {
            "write": most / min(seconds),
            "disk": on_disk(folder) / most,
            "memory": held / most,
            "most": most,
        }
        looked = rng.integers(0, most, BATCH)
        again, stored = readers[name](looked)
        assert np.array_equal(again, classes[looked]) and np.abs(stored - values[looked]).max() < 0.005
    speeds: dict[str, list[float]] = {name: [] for name in readers}
    repeats = {"store": 200, "store, uint8": 200, "zarr": 2, "a file each": 5}
    for _ in range(3 * rounds):
        for name, read in readers.items():
            asked = [rng.integers(0, found[name]["most"], BATCH) for _ in range(repeats.get(name, 20))]
            before = time.process_time()
            for indices in asked:
                read(indices)
            speeds[name].append(BATCH * len(asked) / (time.process_time() - before))
    own = statistics.median(speeds["store"])
    rows: list[Row] = [
        {
            "way": name,
            "K": top,
            "read/s": statistics.median(speeds[name]),
            "store reads times as fast": own / statistics.median(speeds[name]),
            "write/s": held["write"],
            "store writes times as fast": found["store"]["write"] / held["write"],
            "bytes an image": held["disk"],
            "bytes in memory": held["memory"],
        }
        for name, held in found.items()
    ]
    return rows, 1 / own


def decoding() -> float:
    """Seconds to decode a JPEG of a photograph's size and detail, 256 pixels, to RGB."""
    rng = np.random.default_rng(0)
    rough = Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).resize(
        (256, 256), Image.Resampling.BICUBIC
    )
    noise = rng.normal(0, 8, (256, 256, 3))
    data = io.BytesIO()
    Image.fromarray((np.asarray(rough) + noise).clip(0, 255).astype(np.uint8)).save(data, "JPEG", quality=90)
    seconds = []
    for _ in range(30):
        before = time.process_time()
        for _ in range(10):
            Image.open(io.BytesIO(data.getvalue())).convert("RGB").load()
        seconds.append((time.process_time() - before) / 10)
    print(f"\nThe JPEG has {len(data.getvalue()) / 1000:.0f} kB.")
    return statistics.median(seconds)


def network(dim: int, depth: int) -> Backbone:
    """A plain ViT of 64 tokens."""
    block = Block(Attention(heads=dim // 32, head_dim=32), MLP(ratio=4.0))
    stem = PatchEmbed(image=(64, 64), patch=(8, 8), channels=3)
    return Backbone(stem=stem, stages=(Stage(dim=dim, depth=depth, block=block),), head=Head(classes=CLASSES))


# ViT-L/14 has 64 times the multiply-adds of TinyViT-5M (81.1 and 1.26 G) and 56 times its weights.
STUDENT, TEACHER = network(96, 3), network(384, 12)
STEP_IMAGES, STEP_BATCH, STEP_TOP = 512, 32, 10


class Lesson:
    """A student, and either a store or a teacher that it learns from."""

    def __init__(self, place: Path, *, live: bool) -> None:
        torch.manual_seed(0)
        self.student = build(STUDENT)
        self.optimizer = torch.optim.AdamW(self.student.parameters(), lr=1e-4)
        self.teacher = build(TEACHER).eval() if live else None
        self.store = LogitStore.open(place)

    def targets(self, images: torch.Tensor, indices: npt.NDArray[np.int64]) -> torch.Tensor:
        """What is learned of the images, (B, classes)."""
        if self.teacher is not None:
            with torch.no_grad():
                answer: torch.Tensor = self.teacher(images).softmax(-1)
                return answer
        classes, values = (torch.from_numpy(one) for one in self.store.read(0, indices))
        rest = (1 - values.sum(1, keepdim=True)).clamp(min=0) / (CLASSES - STEP_TOP)
        return rest.expand(-1, CLASSES).scatter(1, classes, values)

    def step(self, images: torch.Tensor, indices: npt.NDArray[np.int64]) -> float:
        """One update; the seconds it took."""
        before = time.process_time()
        loss = functional.cross_entropy(self.student(images), self.targets(images, indices))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return time.process_time() - before


def greatest_memory() -> float:
    """The most memory that this program has had, in MB; getrusage would count what started it, too."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def peak(place: Path, live: bool, answer: Any) -> None:
    """In a process of its own: what a few steps add to the greatest memory of the process, in MB."""
    torch.set_num_threads(1)
    before = greatest_memory()
    lesson = Lesson(place, live=live)
    for _ in range(3):
        lesson.step(torch.randn(STEP_BATCH, 3, 64, 64), np.arange(STEP_BATCH))
    answer.put(greatest_memory() - before)


def stepping(rounds: int, place: Path) -> list[Row]:
    """A student's step that reads the store against one that asks a teacher."""
    chance = np.random.default_rng(0).dirichlet(np.full(STEP_TOP, 0.3), STEP_IMAGES).astype(np.float32)
    Store().write(place / "step", np.tile(np.arange(STEP_TOP), (STEP_IMAGES, 1)), -np.sort(-chance, 1))
    lessons = {name: Lesson(place / "step", live=name == "live") for name in ("stored", "live")}
    seconds: dict[str, list[float]] = {name: [] for name in lessons}
    rng = np.random.default_rng(1)
    for _ in range(rounds + 2):
        images, indices = torch.randn(STEP_BATCH, 3, 64, 64), rng.integers(0, STEP_IMAGES, STEP_BATCH)
        for name, lesson in lessons.items():
            seconds[name].append(lesson.step(images, indices))
    medians = {name: statistics.median(times[2:]) for name, times in seconds.items()}  # the first two warm up
    context, memory = multiprocessing.get_context("spawn"), {}
    for name in lessons:
        answer = context.Queue()
        child = context.Process(target=peak, args=(place / "step", name == "live", answer))
        child.start()
        memory[name] = answer.get(timeout=600)
        child.join()
    return [
        {
            "step": name,
            "ms": 1e3 * medians[name],
            "times stored": medians[name] / medians["stored"],
            "memory, MB": memory[name],
            "times stored's": memory[name] / memory["stored"],
        }
        for name in lessons
    ]


def main() -> None:
    args, before = options(__doc__), conditions()
    count, rounds = (10_000, 1) if args.quick else (50_000, 3)
    rows: list[Row] = []
    each: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as held:
        for top in (10, 100):
            (place := Path(held) / str(top)).mkdir()
            found, each[top] = storing(top, count, rounds, place)
            rows += found
            shutil.rmtree(place)
        jpeg = decoding()
        steps = stepping(3 if args.quick else 25, Path(held))
    parts = ", ".join(f"{seconds / jpeg:.2%} at K = {top}" for top, seconds in each.items())
    show(
        f"Records of {count:,} images, batches of {BATCH}",
        rows,
        notes=(f"Decoding the JPEG takes {1e3 * jpeg:.2f} ms; reading its record takes {parts} of that.",),
    )
    ratio = cost(TEACHER).macs / cost(STUDENT).macs, cost(TEACHER).params / cost(STUDENT).params
    show(
        "A step of a student, stored against live teacher",
        steps,
        notes=(
            f"The teacher has {ratio[0]:.0f} times the multiply-adds and {ratio[1]:.0f} times the weights of the student.",
        ),
    )
    end(args, before, {"rows": rows, "jpeg_seconds": jpeg, "record_seconds": each, "steps": steps})


if __name__ == "__main__":
    main()
