"""OpenVINO reads our ONNX files and its own, and says what it cannot do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vitesse.deploy import ExportedFile, OnnxRuntime
from vitesse.deploy.runtime import missing
from vitesse.errors import UsageError, VitesseError

if reason := missing("openvino"):
    pytest.skip(reason, allow_module_level=True)

import openvino

from vitesse.deploy.openvino_runtime import OpenVinoRuntime, read_model

IMAGES = np.random.default_rng(0).random((4, 3, 8, 8), dtype=np.float32)


@pytest.fixture(scope="module")
def saved(exported: ExportedFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("openvino") / "model.xml"
    openvino.save_model(read_model(exported.path), path, compress_to_fp16=False)
    return path


def test_both_files_compute_the_same_and_describe_themselves(exported: ExportedFile, saved: Path) -> None:
    wanted = OnnxRuntime(exported.path).run(IMAGES)
    for path in (exported.path, saved):
        runtime = OpenVinoRuntime(path, threads=1)
        assert runtime.metadata == exported.metadata and runtime.shape == (None, 3, 8, 8)
        np.testing.assert_allclose(runtime.run(IMAGES), wanted, atol=1e-5 * np.abs(wanted).max())
        np.testing.assert_array_equal(runtime.bind(IMAGES)(), runtime.run(IMAGES))


def test_what_was_answered_stays_as_it_is(saved: Path) -> None:
    """The runtime writes every answer into the same memory."""
    runtime = OpenVinoRuntime(saved)
    first = runtime.run(IMAGES)
    kept = first.copy()
    runtime.run(1 - IMAGES)
    np.testing.assert_array_equal(first, kept)


def test_images_that_would_be_misunderstood_are_refused(saved: Path) -> None:
    with pytest.raises(VitesseError, match="Divide pixels by 255"):
        OpenVinoRuntime(saved).run(IMAGES * 255)
    with pytest.raises(VitesseError, match=r"float32 \(B, 3, 8, 8\)"):
        OpenVinoRuntime(saved).bind(IMAGES[:, :1])


def test_a_foreign_file_runs_without_a_description(tmp_path: Path, foreign) -> None:
    runtime = OpenVinoRuntime(foreign(tmp_path / "f.onnx"))
    assert runtime.metadata is None
    assert runtime.run(IMAGES * 4 - 2).shape == (4, 3)


def test_a_file_that_was_cut_off_or_is_missing(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.xml").write_bytes(saved.read_bytes()[:1000])
    with pytest.raises(VitesseError, match=r"cut\.xml cannot be read by OpenVINO"):
        OpenVinoRuntime(tmp_path / "cut.xml")
    with pytest.raises(VitesseError, match="does not exist"):
        OpenVinoRuntime(tmp_path / "no.xml")


def test_a_precision_that_the_processor_lacks(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Old(openvino.Core):
        def get_property(self, device: str, name: str) -> list[str]:
            return ["FP32", "INT8"]

    monkeypatch.setattr(openvino, "Core", Old)
    with pytest.raises(UsageError, match=r"computes in FP32, INT8, but precision='bf16'"):
        OpenVinoRuntime(saved, precision="bf16")
