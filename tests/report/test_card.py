from __future__ import annotations

from pathlib import Path

import pytest

from vitesse.report import model_card, read_summary, summary_lines, write_model_card


def test_the_front_matter_is_yaml(hostile_folder: Path) -> None:
    yaml = pytest.importorskip("yaml")
    _, head, _ = model_card(read_summary(hostile_folder)).split("---\n", 2)
    told = yaml.safe_load(head)
    assert (told["license"], told["library_name"]) == ("mit", "vitesse")
    assert told["model-index"][0]["name"] == hostile_folder.name
    assert told["model-index"][0]["results"][0]["metrics"][0]["value"] == 0.9341


def test_the_card_tells_the_facts(folder: Path) -> None:
    card = write_model_card(folder).read_text(encoding="utf-8")
    assert "| accuracy on the test part | 93.41 % (92.5–94.2) | 94.68 % |" in card
    assert "| latency | 8.31 ms | 24.6 ms |" in card
    assert "Abyssinian, Bengal" in card
    assert "14 images occur twice" in card
    assert "vitesse.load('.')" in card and str(folder) not in card


def test_the_teacher_s_licence_is_told_or_asked_for(folder: Path) -> None:
    import json

    path = folder / "result.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, "teacher_name": "deit_small"}))
    assert "licence: not known" in model_card(read_summary(folder))
    path.write_text(json.dumps({**told, "teacher_name": "deit_small", "teacher_licence": "Apache-2.0"}))
    card = model_card(read_summary(folder))
    assert "licence: Apache-2.0" in card and "not known" not in card


def test_hostile_names_stay_words(hostile_folder: Path) -> None:
    card = model_card(read_summary(hostile_folder))
    outside = "".join(part for place, part in enumerate(card.split("---\n", 2)[2].split("```")) if place % 2 == 0)
    assert "<script>" not in outside.replace("\\<script\\>", "")
    assert "\\<script\\>" in outside


def test_a_run_that_only_began_has_a_card(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("[run]\nseed = 3\n")
    card = model_card(read_summary(tmp_path))
    assert "no result yet" in card and "seed: 3" in card
    assert "None" not in card and "|" not in card


def test_the_last_lines_say_what_came_out(folder: Path) -> None:
    lines = "\n".join(summary_lines(read_summary(folder)))
    assert "8.31 ms and 93.41 %" in lines
    assert "computes the same" in lines and "4 h 17 min" in lines
    assert "MISSED" not in lines and "14 images occur twice" in lines


def test_a_missed_budget_is_loud(folder: Path) -> None:
    path = folder / "result.json"
    path.write_text(path.read_text().replace('"budget_met": true', '"budget_met": false'))
    assert any("MISSED" in line for line in summary_lines(read_summary(folder)))
