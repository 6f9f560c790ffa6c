"""JSON: what is written is read back equal, and whatever is read, only ValueError comes."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitesse.arch import (
    MLP,
    Attention,
    Backbone,
    Block,
    Choice,
    Head,
    LayerNorm,
    PatchEmbed,
    RelativePosition,
    Stage,
    from_json,
    sample,
    to_json,
)

TYPES = [
    "Attention",
    "Backbone",
    "Block",
    "Choice",
    "Head",
    "LayerNorm",
    "MLP",
    "PatchEmbed",
    "RelativePosition",
    "Stage",
]
FIELDS = [
    "version",
    "type",
    "options",
    "branches",
    "stem",
    "stages",
    "head",
    "dim",
    "depth",
    "block",
    "heads",
    "head_dim",
]
FIELDS += [
    "bias",
    "position",
    "reach",
    "on",
    "ratio",
    "act",
    "norm",
    "eps",
    "image",
    "patch",
    "tokens",
    "classes",
    "pool",
]
WORDS = ["class", "mean", "distilled", "all", "kv", "gelu", "packed"]
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from([0, 1, 4, 16, 32, 10**400, 1e308])
    | st.sampled_from(TYPES + WORDS)
    | st.text(max_size=4)
)
NOISE = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=4), inner, max_size=5)
        | st.fixed_dictionaries({"type": st.sampled_from(TYPES)}, optional=dict.fromkeys(FIELDS[2:], inner))
    ),
    max_leaves=12,
)


ARCH = Backbone(
    stem=PatchEmbed(image=32, patch=16, norm=LayerNorm()),  # type: ignore[arg-type]
    stages=(
        Stage(
            dim=16,
            depth=2,
            block=(
                Block(Attention(heads=2, position=RelativePosition(reach=2)), MLP(ratio=2.0)),
                Block(Attention(heads=1, norm=None), MLP(act="relu")),
            ),
        ),
    ),
    head=Head(classes=5),
)


def read(text: str) -> Backbone | None:
    try:
        return from_json(text)
    except ValueError:
        return None


def test_round_trip(space: Backbone, nested: Backbone) -> None:
    rng = random.Random(0)
    for value in (space, nested, *(sample(space, rng) for _ in range(20)), *(sample(nested, rng) for _ in range(20))):
        text = to_json(value)
        assert from_json(text) == value and to_json(from_json(text)) == text
        assert hash(from_json(text)) == hash(value)


def test_equal_values_give_equal_text(space: Backbone) -> None:
    assert MLP(ratio=4) == MLP(ratio=4.0) and to_json(MLP(ratio=4)) == to_json(MLP(ratio=4.0))
    assert to_json(MLP(ratio=Choice(3, 4))) == to_json(MLP(ratio=Choice(3.0, 4.0)))


def test_every_field_is_written() -> None:
    value = Attention(heads=3, bias="packed", qk_norm=True, position=RelativePosition(on="v"), norm=LayerNorm(eps=1e-5))
    data = json.loads(to_json(value))
    assert (
        data["type"] == "Attention" and data["bias"] == "packed" and data["norm"] == {"type": "LayerNorm", "eps": 1e-5}
    )
    assert data["position"] == {"type": "RelativePosition", "reach": 14, "on": "v"} and data["version"] == 1


@settings(max_examples=200, deadline=None)
@given(text=st.text())
def test_any_text_gives_a_value_or_a_value_error(text: str) -> None:
    assert read(text) is None


@settings(max_examples=300, deadline=None)
@given(data=NOISE)
def test_any_json_gives_a_value_or_a_value_error(data: Any) -> None:
    read(json.dumps(data))


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_an_architecture_with_one_wrong_place(data: st.DataObject) -> None:
    """The JSON of a real network with anything at all put in one place: refused, or a value that round-trips."""
    whole = json.loads(to_json(ARCH))
    node: Any = whole
    while True:
        key = data.draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        if not isinstance(node[key], (dict, list)) or not node[key] or data.draw(st.booleans()):
            break
        node = node[key]
    node[key] = data.draw(NOISE)
    value = read(json.dumps(whole))
    if value is not None:
        assert from_json(to_json(value)) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is written as JSON, but this is not"),
        ("[" * 100_000, "is written as JSON|never ends"),
        ("3", "is a JSON object, but this is a int"),
        ("{}", "the type must be one of"),
        ('{"type":"Backbone","version":2}', "has format version 2, but this Vitesse reads 1"),
        ('{"type":"MLP"}', "The outermost type must be Backbone or CellNetwork, but got MLP"),
        ('{"type":"Backbone","stages":[{"type":"Stage","dim":0,"depth":1}]}', r"arch.stages\[0\]"),
        ('{"type":"Choice","options":"abc"}', "A Choice needs at least one option, but got 'abc'"),
        ('{"type":"__import__"}', "the type must be one of"),
        ('{"type":["Backbone"]}', "the type must be one of"),
        ('{"type":"Block","branches":3}', 'it must hold one list, "branches"'),
    ],
)
def test_the_message_names_the_place(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_json(text)


def test_deep_nesting_is_refused() -> None:
    text = '{"type":"Choice","options":[' * 900 + "]}" * 900
    with pytest.raises(ValueError, match=r"never ends|is written as JSON|arch\.options"):
        from_json(text)
