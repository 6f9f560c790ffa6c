from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from vitesse.report import read_summary, write_report
from vitesse.report.page import page

VOID = {"meta", "br", "input", "link", "img", "hr"}
OPTIONAL = [
    "arch.json",
    "teacher/arch.json",
    "metrics.jsonl",
    "candidates.jsonl",
    "result.json",
    "speed.json",
    "gate.json",
    "model.onnx",
    "model.safetensors",
]


class Page(HTMLParser):
    """What stands in a page: its elements with their attributes, its words, and whether every element is closed."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(source)
        self.close()
        assert self.open == [], "elements are left open"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def sections(self) -> list[str | None]:
        return [attributes.get("id") for tag, attributes in self.elements if tag == "section"]


def test_the_page_is_whole_and_in_order(folder: Path) -> None:
    path = write_report(folder)
    assert path == folder / "report.html"
    assert Page(path.read_text(encoding="utf-8")).sections() == [
        "front",
        "architecture",
        "curves",
        "speed",
        "export",
        "use",
        "data",
        "time",
        "repeat",
    ]


def test_the_page_asks_nothing_of_the_network(folder: Path) -> None:
    shown = Page(write_report(folder).read_text(encoding="utf-8"))
    for tag, attributes in shown.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith("#")
    policy = next(item["content"] for tag, item in shown.elements if tag == "meta" and "http-equiv" in item)
    assert policy is not None and policy.startswith("default-src 'none'")
    css = re.search(r"<style>(.*?)</style>", page(read_summary(folder)), re.DOTALL)
    assert css is not None and "url(" not in css[1] and "@import" not in css[1]


def test_every_link_has_its_target(folder: Path) -> None:
    shown = Page(page(read_summary(folder)))
    ids = [attributes["id"] for _, attributes in shown.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {(attributes.get("href") or "")[1:] for tag, attributes in shown.elements if tag == "a"}
    figures = {attributes["data-figure"] for _, attributes in shown.elements if "data-figure" in attributes}
    assert targets | figures <= set(ids)
    assert len(figures) == 4


def test_hostile_names_stay_words(hostile_folder: Path) -> None:
    source = page(read_summary(hostile_folder))
    shown = Page(source)
    tags = [tag for tag, _ in shown.elements]
    assert "img" not in tags
    assert tags.count("script") == 5 + 2  # the five figures, plotly and what draws
    assert not any(name.startswith("on") for _, attributes in shown.elements for name in attributes)
    assert shown.text.count('</script><script>alert("x")</script>') >= 10


def test_the_numbers_are_those_of_the_files(folder: Path) -> None:
    told = json.loads((folder / "result.json").read_text())
    told.update(params=1_234_567, macs=222e6, memory_bytes=3 * 2**20, latency_ms=4.56, test_accuracy=0.6789)
    told.update(test_interval=[0.611, 0.744], teacher_params=12_345_678, seconds=3725, budget_met=False)
    (folder / "result.json").write_text(json.dumps(told))
    words = Page(page(read_summary(folder))).text
    for number in ("1.23 M", "222 M", "3.00 MiB", "4.56 ms", "67.89 %", "61.1–74.4", "1 h 02 min"):
        assert number in words
    assert "10.0× less than the teacher’s 12.3 M" in words
    assert "over the budget" in words and "within the budget" not in words
    for number in ("8.22 ms", "26.9 ms", "11.40 %", "noisy", "2.10e-06", "sha256:5f0c1a7b9d3e46f2a8"):
        assert number in words
    assert "vitesse shrink --data 'Oxford pets/images' --max-params 6.5M" in words
    assert "cats/201.jpg" in words


def test_a_gate_that_failed_says_so(folder: Path) -> None:
    gate = {"tolerance": 1e-4, "rows": [{"batch": 4, "max_difference": 0.5}]}
    (folder / "gate.json").write_text(json.dumps(gate))
    words = Page(page(read_summary(folder))).text
    assert "✗ failed" in words and "✓ passed" not in words


@pytest.mark.parametrize("missing", OPTIONAL)
def test_any_part_may_be_missing(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    shown = Page(page(read_summary(folder)))
    gone = {"metrics.jsonl": "curves", "candidates.jsonl": "front", "speed.json": "speed", "gate.json": "export"}
    assert gone.get(missing) not in shown.sections()
    assert "repeat" in shown.sections()
    assert "None" not in shown.text.replace("session.run(None,", "") and "nan" not in shown.text.split()


def test_a_run_that_only_began_has_a_small_page(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('[run]\ncommand = "vitesse train --data x"\n')
    source = page(read_summary(tmp_path))
    assert Page(source).sections() == ["repeat"]
    assert "There is no result yet." in source
    assert len(source) < 30_000  # without plots the page carries no plotly


def test_a_plain_training_run_shows_its_curve_and_its_network(folder: Path) -> None:
    for name in ("teacher/arch.json", "candidates.jsonl", "result.json", "speed.json", "gate.json", "model.onnx"):
        (folder / name).unlink()
    shown = Page(page(read_summary(folder)))
    assert shown.sections() == ["architecture", "curves", "use", "repeat"]
    assert "teacher" not in [attributes.get("class") for tag, attributes in shown.elements if tag == "svg"]


def test_a_failed_report_leaves_the_old_one(folder: Path) -> None:
    path = write_report(folder)
    before = path.read_bytes()
    (folder / "gate.json").write_text("{")
    with pytest.raises(Exception, match=r"gate\.json"):
        write_report(folder)
    assert path.read_bytes() == before
    assert not list(folder.glob(".*"))
