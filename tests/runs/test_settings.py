from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitesse.errors import UsageError
from vitesse.runs.settings import flat, load_settings, settings_tree
from vitesse.runs.toml import to_toml


@dataclass(frozen=True, kw_only=True, slots=True)
class Train:
    epochs: int = 10
    lr: float = 1e-3
    precision: Literal["fp32", "bf16"] = "fp32"

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ValueError(f"epochs must be at least 1, but got {self.epochs}.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    seed: int = 0
    name: str = "x"
    size: int | None = None
    sizes: tuple[int, ...] = (1, 2)
    crop: tuple[float, float] = (0.1, 0.9)
    words: list[str] = field(default_factory=list)
    fast: bool = False
    finish: Train = field(default_factory=Train)
    extra: Train | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Needy:
    path: str


def said(call: object, *words: str) -> bool:
    text = str(call)
    return all(word in text for word in words)


def test_defaults_file_sets_and_flags_lie_over_each_other(tmp_path: Path) -> None:
    file = tmp_path / "job.toml"
    file.write_text("seed = 1\nname = 'file'\n[finish]\nepochs = 5\nlr = 1\n")
    job = load_settings(
        Job, file=file, sets=["finish.epochs=6", "seed=2"], flags={"seed": 3, "name": None}, default=Job(fast=True)
    )
    assert job == Job(seed=3, name="file", fast=True, finish=Train(epochs=6, lr=1.0))
    assert type(job.finish.lr) is float


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("name=digits", Job(name="digits")),
        ("name=5", Job(name="5")),
        ('name="a = b"', Job(name="a = b")),
        ("name=a = b", Job(name="a = b")),
        ("name=", Job(name="")),
        ("name=x\nseed = 3", Job(name="x\nseed = 3")),
        ("size=8", Job(size=8)),
        ("size=none", Job(size=None)),
        ("sizes=[3]", Job(sizes=(3,))),
        ("crop=[0, 1]", Job(crop=(0.0, 1.0))),
        ("words=['a', 'b']", Job(words=["a", "b"])),
        ("fast=true", Job(fast=True)),
        ("finish.precision=bf16", Job(finish=Train(precision="bf16"))),
        ("finish.lr=5e-4", Job(finish=Train(lr=5e-4))),
        ("extra.epochs=2", Job(extra=Train(epochs=2))),
    ],
)
def test_set_reads_a_value_as_what_it_is_for(entry: str, expected: Job) -> None:
    assert load_settings(Job, sets=[entry]) == expected


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("seed=1.5", ("seed must be a whole number", "'1.5'")),
        ("seed=true", ("seed must be a whole number",)),
        ("fast=1", ("fast must be true or false",)),
        ("finish.precision=fp16", ("'fp32' or 'bf16'", "'fp16'")),
        ("size=big", ("size must be a whole number or none",)),
        ("crop=[0.5]", ("crop must be a list of 2",)),
        ("sizes=['a']", ("sizes must be a list, each a whole number",)),
        ("finish=3", ("finish must be a table (finish.epochs",)),
        ("seed", ("takes key=value", "'seed'")),
        ("=3", ("takes key=value",)),
        ("epochs=3", ("epochs is not a setting", "Did you mean extra.epochs or finish.epochs?")),
        ("finish.epocs=3", ("Did you mean finish.epochs",)),
        ("seed.x=3", ("seed must be a whole number, but got a table",)),
        ("qqqq=3", ("There are: seed, name",)),
        ("finish.epochs=0", ("finish: epochs must be at least 1, but got 0.",)),
    ],
)
def test_what_is_wrong_is_said(entry: str, words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        load_settings(Job, sets=[entry])
    assert said(caught.value, *words)


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        load_settings(Job, sets=["sed=1", "fast=maybe", "finish.epochs=0", "nonsense", "seed=1", "seed.x=2"])
    lines = str(caught.value).splitlines()
    assert len(lines) == 6
    assert said(caught.value, "Did you mean seed?", "fast must", "finish: epochs", "'nonsense'", "seed is set to '1'")


def test_a_setting_without_default_must_be_set() -> None:
    with pytest.raises(UsageError, match=r"path must be set"):
        load_settings(Needy)
    assert load_settings(Needy, flags={"path": "a"}) == Needy(path="a")


def test_a_run_toml_is_a_settings_file(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    job = Job(seed=4, extra=Train(lr=2.0))
    file.write_text(to_toml({"run": {"seed": 1}, "versions": {"python": "3"}, "device": {}, **settings_tree(job)}))
    assert load_settings(Job, file=file) == job


@pytest.mark.parametrize(("content", "word"), [(b"a = ", "TOML"), (b"\xff", "UTF-8"), (b"a = 1\na = 2", "TOML")])
def test_a_damaged_file_is_a_usage_error(content: bytes, word: str, tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(content)
    with pytest.raises(UsageError, match=word):
        load_settings(Job, file=tmp_path / "x.toml")


def test_a_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot be read"):
        load_settings(Job, file=tmp_path / "none.toml")


def test_a_type_that_is_no_setting_is_our_own_mistake() -> None:
    @dataclass(frozen=True)
    class Odd:
        path: Path = Path()

    with pytest.raises(TypeError, match="Settings hold"):
        load_settings(Odd, sets=["path=x"])


def test_the_word_none_cannot_hide_as_text() -> None:
    @dataclass(frozen=True)
    class Named:
        name: str | None = None

    globals()["Named"] = Named
    with pytest.raises(UsageError, match="'none'"):
        settings_tree(Named(name="none"))


# Surrogates are no characters of UTF-8; the writer refuses them.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
trains = st.builds(
    Train,
    epochs=st.integers(min_value=1),
    lr=st.floats(allow_nan=False),
    precision=st.sampled_from(["fp32", "bf16"]),
)
jobs = st.builds(
    Job,
    seed=st.integers(),
    name=texts,
    size=st.none() | st.integers(),
    sizes=st.lists(st.integers(), max_size=4).map(tuple),
    crop=st.tuples(st.floats(allow_nan=False), st.floats(allow_nan=False)),
    words=st.lists(texts, max_size=4),
    fast=st.booleans(),
    finish=trains,
    extra=st.none() | trains,
)


@given(jobs)
def test_settings_come_back_from_toml(job: Job) -> None:
    tree = tomllib.loads(to_toml(settings_tree(job)))
    assert load_settings(Job, flags=flat(tree)) == job
    assert tree == settings_tree(job)


KEYS = st.sampled_from(
    ["seed", "name", "size", "sizes", "crop", "words", "fast", "finish.epochs", "finish", "extra.lr"]
)


@given(st.lists(st.one_of(texts, st.builds("{}={}".format, KEYS | texts, texts | st.floats().map(repr))), max_size=5))
def test_any_set_gives_settings_or_a_usage_error(sets: list[str]) -> None:
    try:
        job = load_settings(Job, sets=sets)
    except UsageError as error:
        said_so = str(error).startswith("These settings cannot be used:\n  ")
        assert said_so
    else:
        assert type(job.seed) is int
        assert type(job.finish.lr) is float
