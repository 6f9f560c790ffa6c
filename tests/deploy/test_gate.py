"""The gate opens only for a file that computes the same, at every batch size and on real images."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from vitesse.deploy import OnnxRuntime, Proof, TorchRuntime, check
from vitesse.deploy.gate import require
from vitesse.deploy.runtime import Images, Logits
from vitesse.errors import UsageError, VitesseError


class Fake:
    """A runtime that computes whatever it is told."""

    def __init__(self, compute: Callable[[Images], Logits]) -> None:
        self._compute = compute

    def run(self, images: Images) -> Logits:
        return self._compute(images)

    def bind(self, images: Images) -> Callable[[], object]:
        return lambda: self._compute(images)


def three(images: Images) -> Logits:
    return images.mean((2, 3)) * 10


def test_a_file_of_fixed_batch_is_caught(tmp_path: Path, foreign, linear: nn.Module, proof: Proof) -> None:
    """It says that its batch is free and is right at batch 1."""
    file = OnnxRuntime(foreign(tmp_path / "fixed.onnx", fixed=True))
    assert file.shape[0] is None
    report = check(file, TorchRuntime(linear), proof)
    assert [one.failure is None for one in report.batches] == [True, False, False]
    assert not report.passed and report.file is None
    good = check(OnnxRuntime(foreign(tmp_path / "free.onnx")), TorchRuntime(linear), proof)
    assert good.passed and good.file == good.network


@pytest.mark.parametrize(("error", "passes"), [(0.0, True), (0.5e-4, True), (2e-4, False), (float("nan"), False)])
def test_the_tolerance_is_a_share_of_the_largest_logit(error: float, passes: bool, proof: Proof) -> None:
    def off(images: Images) -> Logits:
        logits = three(images).copy()
        logits[0, 0] += error * np.abs(logits).max()
        return logits

    report = check(Fake(off), Fake(three), proof)
    assert report.passed is passes
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["passed"] is passes


def test_close_logits_with_other_answers_are_caught(proof: Proof) -> None:
    """Within a wide tolerance, but the accuracy on the data is another: closeness alone would have let it pass."""
    loose = Proof(images=proof.images, labels=proof.labels, tolerance=2.0)
    report = check(Fake(lambda images: np.roll(three(images), 1, axis=1)), Fake(three), loose)
    assert report.close and not report.passed
    with pytest.raises(VitesseError, match=r"accuracy: network \d+\.\d\d%, file \d+\.\d\d% on 100 images"):
        require(report, "m.onnx")


def test_only_wrong_from_batch_three_on(proof: Proof) -> None:
    report = check(Fake(lambda images: three(images) * (1 if len(images) == 1 else 1.01)), Fake(three), proof)
    assert [one.difference is not None and one.difference < 1e-4 for one in report.batches] == [True, False, False]
    assert not report.passed


def test_logits_of_another_shape(proof: Proof) -> None:
    report = check(Fake(lambda images: three(images)[:, :2]), Fake(three), proof)
    assert not report.passed and "(1, 2) instead of (1, 3)" in report.table()


def test_a_network_whose_logits_are_all_zero(proof: Proof) -> None:
    zero = Fake(lambda images: three(images) * 0)
    assert check(zero, zero, proof).passed
    assert not check(Fake(three), zero, proof).passed


def test_without_labels_only_closeness_counts(proof: Proof) -> None:
    report = check(Fake(three), Fake(three), Proof(images=proof.images))
    assert report.passed and report.network is None and "accuracy" not in report.table()
    require(report, "m.onnx")


def test_few_images_are_repeated() -> None:
    report = check(Fake(three), Fake(three), Proof(images=torch.rand(2, 3, 8, 8), labels=torch.zeros(2)))
    assert report.passed and [one.batch for one in report.batches] == [1, 3, 8]
    assert report.file is not None and report.file.total == 2


def test_a_proof_needs_images_and_their_labels() -> None:
    with pytest.raises(UsageError, match="needs images"):
        Proof(images=torch.rand(0, 3, 8, 8))
    with pytest.raises(UsageError, match="one label for each"):
        Proof(images=torch.rand(9, 3, 8, 8), labels=torch.zeros(8))
