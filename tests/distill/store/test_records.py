from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.numpy import load_file

from vitesse.distill.store.records import BOUNDS, Layout
from vitesse.distill.store.writing import top_of
from vitesse.errors import UsageError

GOLDEN = Path(__file__).parents[2] / "golden" / "tinyvit_distill_A.safetensors"


@pytest.mark.parametrize("case", ["b4_c20_k5", "b3_c1000_k10"])
def test_a_record_is_the_published_one(case: str) -> None:
    golden = {key.removeprefix(f"{case}."): value for key, value in load_file(GOLDEN).items() if key.startswith(case)}
    layout = Layout(classes=golden["teacher_logits"].shape[1], top=golden["index"].shape[1], seeds=True)
    classes, values = top_of(torch.from_numpy(golden["teacher_logits"]), layout.top)
    rows = layout.encode(classes, values, golden["seed"])
    assert rows.tobytes() == golden["record_bytes"].tobytes()
    again, stored = layout.decoder()(rows)
    assert np.array_equal(again, golden["index"]) and np.array_equal(stored, golden["value"].astype(np.float32))
    assert np.array_equal(layout.seeds_of(rows), golden["seed"])


@pytest.mark.parametrize(("classes", "kind", "width"), [(65536, "<u2", 40), (65537, "<u4", 60)])
def test_class_numbers_are_as_wide_as_they_must_be(classes: int, kind: str, width: int) -> None:
    layout = Layout(classes=classes, top=10)
    assert layout.class_type == np.dtype(kind) and layout.width == width
    numbers = np.arange(classes - 10, classes)[None]
    rows = layout.encode(numbers, np.full((1, 10), 0.1))
    assert np.array_equal(layout.decoder()(rows)[0], numbers)


@given(values=arrays.arrays(np.float32, (3, 4), elements=st.floats(0, 1, width=32)))
@settings(max_examples=200, deadline=None)
@pytest.mark.parametrize("kind", BOUNDS)
def test_no_value_is_further_off_than_stated(kind: str, values: np.ndarray) -> None:
    values = -np.sort(-values, 1)
    layout = Layout(classes=9, top=4, values=kind)  # type: ignore[arg-type]
    stored = layout.decoder()(layout.encode(np.zeros((3, 4), int), values))[1]
    assert np.abs(stored - values).max() <= BOUNDS[kind] + 1e-7
    assert (np.diff(stored, axis=1) <= 0).all(), "descending stays descending"
    assert stored.dtype == np.float32


def test_a_byte_has_its_worst_error_near_one() -> None:
    values = np.linspace(0, 1, 100_001, dtype=np.float32)[:, None]
    layout = Layout(classes=2, top=1, values="uint8")
    away = np.abs(layout.decoder()(layout.encode(np.zeros_like(values), values))[1] - values)
    assert 0.9 * BOUNDS["uint8"] < away.max() <= BOUNDS["uint8"] and away.argmax() > 99_000


def test_a_store_without_seeds_has_none() -> None:
    layout = Layout(classes=9, top=2)
    with pytest.raises(UsageError, match="no seeds"):
        layout.seeds_of(layout.encode(np.zeros((1, 2), int), np.zeros((1, 2))))


@pytest.mark.parametrize(
    ("changes", "word"),
    [({"classes": 1}, "at least 2"), ({"top": 0}, "1 <= top"), ({"top": 21}, "21 of 20"), ({"values": "x"}, "float16")],
)
def test_impossible_layouts_are_refused(changes: dict[str, object], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        Layout(**{"classes": 20, "top": 5, **changes})  # type: ignore[arg-type]
