"""Ways to serve tried against each other: which are kept, which is the fastest, and what is left in a run's folder."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest

import vitesse
from vitesse.deploy import ExportedFile, OnnxRuntime, Proof, choosing, half_onnx, preparing, serving
from vitesse.deploy.choosing import choose
from vitesse.deploy.evidence import Evidence, Pictures
from vitesse.deploy.preparing import Subject
from vitesse.deploy.served import served
from vitesse.deploy.serving import serve, settle
from vitesse.deploy.torch_runtime import TorchRuntime
from vitesse.deploy.tried import Choice
from vitesse.deploy.ways import Way, ways
from vitesse.errors import UsageError, VitesseError
from vitesse.measure import Latency
from vitesse.nets import Network
from vitesse.saved import load_network, save_network

PLAIN, HALF, INT8 = (Way("onnxruntime", precision) for precision in ("fp32", "fp16", "int8"))
EAGER, EAGER_BF16 = Way("eager"), Way("eager", "bf16")


@pytest.fixture
def subject(exported: ExportedFile, network: Network, proof: Proof, tmp_path: Path) -> Subject:
    """A run's folder with its network and its file, judged by the network's own answers."""
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(exported.path, run / "model.onnx")
    network.preprocess, network.class_names = exported.metadata.preprocess, exported.metadata.classes
    save_network(network, run / "model.safetensors")
    pictures = Pictures(images=proof.images.numpy())
    evidence = Evidence(calibration=pictures, judged=pictures, tolerance=0.05)
    module = served(network, exported.metadata.preprocess)
    return Subject(name="small", file=run / "model.onnx", module=module, evidence=evidence)


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let the ways take given times, in their order, which a noise of so many per cent blurs."""

    def set_times(*medians: float, noise: float = 0.01) -> None:
        def interleaved(calls: Mapping[str, Callable[[], object]], **asked: object) -> dict[str, Latency]:
            assert len(calls) == len(medians)
            for call in calls.values():
                call()
            blurs = np.random.default_rng(0).uniform(1 - noise, 1 + noise, (len(medians), 20))
            return {
                name: Latency(samples_ms=tuple(median * blur))
                for name, median, blur in zip(calls, medians, blurs, strict=True)
            }

        monkeypatch.setattr(choosing, "time_interleaved", interleaved)

    return set_times


def tried(subject: Subject, asked: Sequence[Way], folder: Path, **more) -> Choice:
    place = folder / "draft"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    return choose([subject], asked, place, **more)


def refusals(choice: Choice) -> dict[str, str]:
    return {one.way.label: one.refused for one in choice.tried}


def test_bf16_is_not_imitated(subject: Subject, timed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "computes_bf16", lambda: False)
    timed(2.0, 8.0)
    choice = tried(subject, [PLAIN, EAGER, EAGER_BF16], tmp_path)
    assert "no arithmetic in bfloat16" in refusals(choice)["eager bf16"]


def test_kept_where_faster_and_true(subject: Subject, timed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "computes_bf16", lambda: True)
    timed(2.0, 2.0, 1.0, 8.0, 4.0)
    choice = tried(subject, [PLAIN, HALF, INT8, EAGER, EAGER_BF16], tmp_path)
    assert refusals(choice) == {
        "onnxruntime fp32": "",
        "onnxruntime fp16": "not faster than onnxruntime fp32",
        "onnxruntime int8": "",
        "eager fp32": "",
        "eager bf16": "",
    }
    assert [one.way for one in choice.fastest] == [INT8]
    assert choice.reference == EAGER
    plain, _, int8, eager, _ = choice.tried
    assert eager.timed[0].verdict == "the reference" and "4.0" in plain.timed[0].verdict
    assert plain.fidelity is not None and plain.fidelity.difference == 0
    assert int8.fidelity is not None and 0 < int8.fidelity.difference < 0.2
    assert int8.ready is not None and plain.ready is not None and int8.ready.bytes != plain.ready.bytes


def test_what_loses_too_much_is_refused_however_fast(
    subject: Subject, timed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(source: Path, target: Path) -> None:
        model = onnx.load(source)
        for tensor in model.graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT:
                tensor.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(tensor), tensor.name))
        onnx.save(model, target)

    monkeypatch.setattr(half_onnx, "fp16_onnx", spoil)
    timed(2.0, 0.1)
    choice = tried(subject, [PLAIN, HALF], tmp_path)
    assert re.match(r"loses \d+\.\d\d% of accuracy, where 5.00% may be lost", refusals(choice)["onnxruntime fp16"])
    assert [one.way for one in choice.fastest] == [PLAIN]
    settle(choice, subject)
    assert not (subject.file.parent / "model.fp16.onnx").exists()


def test_within_the_noise_the_plainest_serves(subject: Subject, timed, tmp_path: Path) -> None:
    timed(1.02, 1.0, noise=0.3)
    choice = tried(subject, [PLAIN, EAGER], tmp_path)
    assert [one.way for one in choice.fastest] == [PLAIN]


def test_each_batch_and_number_of_threads_has_its_fastest(subject: Subject, timed, tmp_path: Path) -> None:
    timed(1.0, 2.0)
    choice = tried(subject, [PLAIN, EAGER], tmp_path, batches=(1, 4), threads=(1, 2))
    assert [(one.batch, one.threads) for one in choice.fastest] == [(1, 1), (1, 2), (4, 1), (4, 2)]
    assert [len(one.timed) for one in choice.tried] == [4, 4]
    assert json.loads(json.dumps(choice.to_dict(), allow_nan=False))["tried"][1]["times"][3]["batch"] == 4


def test_what_cannot_be_done_is_said_in_its_row(exported: ExportedFile, timed, tmp_path: Path) -> None:
    timed(1.0)
    choice = tried(Subject(name="file", file=exported.path), [PLAIN, INT8, EAGER], tmp_path)
    found = refusals(choice)
    assert "Name some with --data" in found["onnxruntime int8"]
    assert "Name the folder of its run" in found["eager fp32"]
    assert choice.tolerance is None and choice.tried[0].refused == ""


def test_an_empty_request_is_refused(subject: Subject, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 1, but got 1 networks, 1 ways, batches \\[0\\]"):
        choose([subject], [PLAIN], tmp_path, batches=(0,))


def test_a_run_is_served_in_what_was_fastest(subject: Subject, timed, tmp_path: Path) -> None:
    run, images = subject.file.parent, subject.evidence.judged.images[:4]
    assert isinstance(vitesse.load(run).runtime(), OnnxRuntime)  # before anything was tried
    timed(2.0, 1.0, 4.0)
    choice = tried(subject, ways(["onnxruntime"], ["int8", "fp16"]), tmp_path)
    settle(choice, subject)
    assert sorted(file.name for file in run.iterdir()) == [
        "model.fp16.onnx",
        "model.onnx",
        "model.safetensors",
        "serving.json",
    ]
    runtime = vitesse.load(run).runtime()
    assert isinstance(runtime, OnnxRuntime) and runtime.path.name == "model.fp16.onnx"

    # What is tried later takes its place, and the files of before go.
    timed(2.0, 1.0)
    settle(tried(subject, [PLAIN, EAGER], tmp_path), subject)
    assert not (run / "model.fp16.onnx").exists()
    runtime = serve(run)
    assert isinstance(runtime, TorchRuntime)
    assert np.allclose(runtime.run(images), OnnxRuntime(subject.file).run(images), atol=1e-4)


def test_on_another_processor_nothing_is_known(subject: Subject, timed, tmp_path: Path) -> None:
    timed(2.0, 1.0)
    settle(tried(subject, [PLAIN, EAGER], tmp_path), subject)
    file = subject.file.parent / "serving.json"
    found = json.loads(file.read_text())
    found["conditions"]["cpu"] = "Another"
    file.write_text(json.dumps(found))
    assert isinstance(serve(file.parent), OnnxRuntime)


def test_a_missing_runtime_and_a_damaged_file_are_said(
    subject: Subject, timed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed(2.0, 1.0)
    settle(tried(subject, [PLAIN, EAGER], tmp_path), subject)
    monkeypatch.setattr(serving, "missing", lambda name: f"{name} is gone.")
    with pytest.raises(UsageError, match="eager fp32, the fastest on this device. eager is gone"):
        serve(subject.file.parent)
    (subject.file.parent / "serving.json").write_text("{}")
    with pytest.raises(VitesseError, match="serving.json is damaged"):
        serve(subject.file.parent)


def test_a_network_without_a_folder_has_no_runtime(subject: Subject) -> None:
    with pytest.raises(UsageError, match=r"vitesse\.load\(RUN\)\.runtime\(\)"):
        load_network(subject.file.parent).runtime()


def test_a_batch_that_a_way_cannot_take_is_said(
    subject: Subject, timed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bind = TorchRuntime.bind

    def at_most_two(runtime: TorchRuntime, images: np.ndarray) -> Callable[[], object]:
        if len(images) > 2:
            raise VitesseError("Two images at once, no more.")
        return bind(runtime, images)

    monkeypatch.setattr(TorchRuntime, "bind", at_most_two)
    timed(1.0)
    choice = tried(subject, [PLAIN, EAGER], tmp_path, batches=(4,))
    assert refusals(choice)["eager fp32"] == "at batch 4: Two images at once, no more."
