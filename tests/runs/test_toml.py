from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitesse.errors import VitesseError
from vitesse.runs.toml import to_toml

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
values = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)
tables: st.SearchStrategy[dict[str, Any]] = st.recursive(
    st.dictionaries(texts, values, max_size=4),
    lambda inner: st.dictionaries(texts, values | inner, max_size=4),
    max_leaves=8,
)


@given(tables)
def test_it_reads_back_equal(table: dict[str, Any]) -> None:
    assert tomllib.loads(to_toml(table)) == table


def test_it_reads_well() -> None:
    table = {"b": {"x": 1, "inner": {"y": [1.5, "a"]}}, "a": True, "empty": {}}
    assert to_toml(table) == 'a = true\n\n[b]\nx = 1\n\n[b.inner]\ny = [1.5, "a"]\n\n[empty]\n'


def test_what_toml_does_not_know_is_refused() -> None:
    with pytest.raises(TypeError, match="None"):
        to_toml({"a": None})
    with pytest.raises(VitesseError, match="UTF-8"):
        to_toml({"a": "\udcff"})
