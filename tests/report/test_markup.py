from __future__ import annotations

import pytest

from vitesse.report.markup import Html, code, facts, section, table, tag, text


def test_strings_are_escaped_once() -> None:
    assert text("<b>&") == "&lt;b&gt;&amp;"
    assert text(text("<b>&")) == "&lt;b&gt;&amp;"
    assert tag("p", "<i>", Html("<b></b>")) == "<p>&lt;i&gt;<b></b></p>"


def test_attributes_are_escaped() -> None:
    assert tag("p", class_='"><script>', aria_label="a") == '<p class="&quot;&gt;&lt;script&gt;" aria-label="a"></p>'


@pytest.mark.parametrize(
    ("value", "words"), [(True, "yes"), (1e-4, "0.0001"), ([1, 2.5], "1, 2.5"), ({"a": False}, "a no"), (3, "3")]
)
def test_settings_are_written_as_a_person_would(value: object, words: str) -> None:
    assert text(value) == words


def test_what_is_empty_is_left_out() -> None:
    assert section("a", "Title", "", Html("")) == ""
    assert facts({"a": None, "b": ""}) == ""
    assert facts({"a": 0}) != ""


def test_tables_escape_their_cells_and_mark_their_numbers() -> None:
    made = table(("name", "value"), [("<x>", 3)], numbers=(1,))
    assert '<th scope="row">&lt;x&gt;</th><td class="number">3</td>' in made
    assert '<th class="number" scope="col">value</th>' in made


def test_code_keeps_its_lines() -> None:
    assert code("a < b\n  c\n") == "<pre><code>a &lt; b\n  c</code></pre>"
