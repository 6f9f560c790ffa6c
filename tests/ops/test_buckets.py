"""The buckets against the published records and by their own laws."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from vitesse.arch import Grid, ImageRelativePosition
from vitesse.ops.buckets import Method, bucket_matrix, piecewise
from vitesse.ops.image_position import ImagePositionTables

GOLDEN = Path(__file__).parents[1] / "golden"
FACTS = json.loads((GOLDEN / "irpe_A.json").read_text())["index"]
METHODS: dict[str, Method] = {
    "euc": "euclidean",
    "quant": "quantization",
    "product": "product",
    "cross_rows": "cross_rows",
    "cross_cols": "cross_columns",
}


def steps(ratio: float) -> dict[str, float]:
    return {"alpha": ratio, "beta": 2 * ratio, "gamma": 8 * ratio}


def matrix(method: Method, ratio: float, height: int, width: int, extra: int) -> Tensor:
    return bucket_matrix(method, **steps(ratio), height=height, width=width, extra=extra)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    return load_file(GOLDEN / "irpe_A.safetensors")


@pytest.mark.parametrize("fact", [fact for fact in FACTS if "skip" in fact], ids=lambda fact: fact["key"])
def test_matrices_are_the_recorded_ones(tensors: dict[str, Tensor], fact: dict[str, Any]) -> None:
    found = matrix(METHODS[fact["method"]], fact["ratio"], fact["height"], fact["width"], fact["skip"])
    assert torch.equal(found, tensors[fact["key"]].long())
    assert found.max() < fact["num_buckets_incl_skip"]


@pytest.mark.parametrize("fact", [fact for fact in FACTS if "skip_of_sha" in fact], ids=lambda f: str(f["skip_of_sha"]))
def test_the_matrix_of_deit_is_the_recorded_one(fact: dict[str, Any]) -> None:
    found = matrix("product", fact["ratio"], fact["height"], fact["width"], fact["skip_of_sha"])
    assert list(found.shape) == fact["full_shape"]
    assert hashlib.sha256(found.numpy().tobytes()).hexdigest() == fact["sha256_full_int64"]


@pytest.mark.parametrize("ratio", ["0.7", "1.9", "2.5", "20", "33"])
@pytest.mark.parametrize("kind", ["int", "float"])
def test_steps_are_the_recorded_ones(tensors: dict[str, Tensor], kind: str, ratio: str) -> None:
    distances = torch.arange(-60, 61) if kind == "int" else torch.arange(61, dtype=torch.float32)
    expected = tensors[f"piecewise.{kind}.a{ratio}"].long()
    assert torch.equal(piecewise(distances, **steps(float(ratio))), expected)
    assert torch.equal(piecewise(distances.double(), **steps(float(ratio))), expected)


def test_a_worked_example() -> None:
    found = matrix("product", 1.9, 14, 14, 0)
    first = found[0].view(14, 14)
    assert first[0].tolist()[:6] == [24, 23, 22, 22, 21, 21]
    assert [row[0] for row in first.tolist()] == [24, 17, 10, 10, *[3] * 10]
    middle = found[7 * 14 + 7].view(14, 14)
    corners = [int(middle[y, x]) for y, x in ((7, 7), (0, 0), (13, 13), (0, 13), (13, 0))]
    assert corners == [24, 48, 0, 42, 6]


@pytest.mark.parametrize(
    ("method", "ratio", "used"),
    [("product", 1.9, 50), ("product", 2.5, 82), ("euclidean", 20, 20), ("quantization", 33, 51)],
)
def test_the_number_in_a_published_name_is_that_of_used_buckets(method: Method, ratio: float, used: int) -> None:
    found = matrix(method, ratio, 14, 14, 1)
    assert len(found.unique()) == used
    assert found.max() + 1 == ImageRelativePosition(method=method, **steps(ratio)).buckets  # type: ignore[arg-type]


@pytest.mark.parametrize("extra", [0, 1, 2, 5])
@pytest.mark.parametrize("size", [(1, 1), (3, 8), (9, 2)])
def test_turning_a_pair_round_mirrors_its_bucket(size: tuple[int, int], extra: int) -> None:
    product, squared = (matrix(method, 1.9, *size, extra) for method in ("product", "quantization"))
    assert torch.equal((product + product.T)[extra:, extra:], torch.full_like(product[extra:, extra:], 48))
    assert torch.equal(squared, squared.T)
    assert (product[:extra] == 49).all() and (product[:, :extra] == 49).all()


def test_a_bigger_map_holds_the_smaller_one() -> None:
    big = matrix("product", 2.0, 9, 11, 0).view(9, 11, 9, 11)
    assert torch.equal(big[:4, :5, :4, :5].reshape(20, 20), matrix("product", 2.0, 4, 5, 0))


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="but got 'rank'"):
        matrix("rank", 1.9, 2, 2, 0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="but got 0 x 2 and 0 extra"):
        matrix("product", 1.9, 0, 2, 0)


def test_what_is_kept_from_inference_can_be_trained_on() -> None:
    """A tensor made in inference mode cannot be saved for a backward pass: the kept index must not be one."""
    grid = Grid(2, 7, 1)  # a map that no other test has
    tables = ImagePositionTables(ImageRelativePosition(on="qkv"), 2, 4)
    x = torch.randn(1, 2, grid.tokens, 4)
    with torch.inference_mode():
        first = tables.attend(x, x, x, grid)
    again = tables.attend(x, x, x, grid)
    again.sum().backward()
    torch.testing.assert_close(first, again)
    assert all(parameter.grad is not None for parameter in tables.parameters())
