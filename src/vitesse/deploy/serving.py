"""A run's folder served in the way that was found to be the fastest on this device.

`serving.json` says what was tried and which way serves; files of the ways that are kept lie beside it. Without it, and on
another processor than the one it was measured on, ONNX Runtime serves `model.onnx`.
"""

from __future__ import annotations

import functools
import shutil
from pathlib import Path
from typing import Any

from vitesse.deploy.opening import RUN_FILE
from vitesse.deploy.openvino_export import both_whole
from vitesse.deploy.preparing import Subject, open_way, own_name
from vitesse.deploy.runtime import Runtime, missing
from vitesse.deploy.served import served
from vitesse.deploy.tried import Choice
from vitesse.deploy.ways import PRECISIONS, SOUND, Way, ways
from vitesse.errors import UsageError, VitesseError
from vitesse.measure import Conditions
from vitesse.nets import Network
from vitesse.runs.files import atomic_path, read_json, write_json
from vitesse.saved import FILE as NETWORK
from vitesse.saved import load_network

FILE = "serving.json"


def settle(choice: Choice, subject: Subject) -> None:
    """Leave the files of what is kept beside the network's ONNX file and, in the folder of a run, what was found.

    What is fastest at the first batch size and number of threads serves the run from then on.
    """
    folder, kept = subject.file.parent, []
    for one in choice.tried:
        if one.subject is subject and one.ready is not None and not one.refused:
            kept.append(one.way)
            if one.ready.file is not None and (own := own_name(one.way, subject.file)) is not None:
                _keep(one.ready.file, folder / own)
    if (folder / NETWORK).is_file():
        write_json(folder / FILE, {"network": subject.file.name, **choice.of(subject).to_dict()})
    for way in ways(list(SOUND), PRECISIONS):
        if way not in kept and (own := own_name(way, subject.file)) is not None:
            for suffix in (".xml", ".bin") if own.endswith(".xml") else (".onnx",):
                (folder / own).with_suffix(suffix).unlink(missing_ok=True)  # of an earlier trial


def serve(folder: Path | str, *, threads: int | None = None) -> Runtime:
    """The runtime that was found to be the fastest for the network of a run, on this processor; else ONNX Runtime.

    threads: of one operation; None takes as many as it was measured with. UsageError where that runtime is missing here,
    VitesseError where the folder does not hold what it needs.
    """
    folder = Path(folder)
    file, way = folder / RUN_FILE, Way("onnxruntime")
    found = read_json(folder / FILE) if (folder / FILE).is_file() else None
    if found is not None:
        file, way, measured = _fastest(found, folder)
        threads = threads or measured
    reason = missing(way.runtime)
    if reason is not None:
        raise UsageError(f"{folder} is served by {way.label}, the fastest on this device. {reason}")
    module = None
    if not way.serves_files:
        network = load_network(folder)
        assert network.preprocess is not None
        module = served(network, network.preprocess)
    own = own_name(way, file)
    return open_way(way, file if own is None else folder / own, module, threads=threads)


def load(path: Path | str) -> Network:
    """The network in a file, or in a run folder, as `load_network`; one of a folder has a `runtime()`."""
    network = load_network(path)
    if Path(path).is_dir():
        network.serving = functools.partial(serve, Path(path))
    return network


def _fastest(found: Any, folder: Path) -> tuple[Path, Way, int | None]:
    """The network's ONNX file, the way that serves it and with how many threads, by the words of `serving.json`."""
    try:
        file, fastest = folder / found["network"], found["fastest"]
        if not fastest or found["conditions"]["cpu"] != Conditions.now(threads=1).cpu:
            return file, Way("onnxruntime"), None
        runtime, precision = fastest[0]["way"].split()
        return file, Way(runtime, precision), int(fastest[0]["threads"])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise VitesseError(f"{folder / FILE} is damaged ({error!r}). Remove it, or measure again.") from error


def _keep(file: Path, place: Path) -> None:
    """Copy a file, and the weights beside an .xml, whole or not at all."""
    with (both_whole if file.suffix == ".xml" else atomic_path)(place) as draft:
        shutil.copyfile(file, draft)
        if file.suffix == ".xml":
            shutil.copyfile(file.with_suffix(".bin"), draft.with_suffix(".bin"))
