"""What is left in float: nothing where nothing is lost, the part that harms where one does, and never endless trying."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

import pytest

from vitesse.deploy.fidelity import Fidelity
from vitesse.deploy.sensitive import PARTS, Mixture, quantize
from vitesse.errors import VitesseError
from vitesse.measure import Accuracy


class Imagined:
    """A network of numbered products; of each it is known how many of 100 answers it spoils in int8."""

    def __init__(self, count: int, harm: dict[int, int]) -> None:
        self.products = tuple(f"product {number}" for number in range(count))
        self.harm = {self.products[number]: lost for number, lost in harm.items()}
        self.written = 0

    def write(self, target: Path, *, keep: Collection[str] = ()) -> None:
        self.written += 1
        target.write_text(json.dumps(sorted(set(self.harm) - set(keep))))

    def judge(self, file: Path) -> Fidelity:
        lost = sum(self.harm[name] for name in json.loads(file.read_text()))
        whole = Accuracy(correct=100, total=100)
        return Fidelity(network=whole, accuracy=Accuracy(correct=100 - lost, total=100), difference=lost / 1000)


def run(network: Imagined, folder: Path, **more) -> Mixture:
    return quantize(network, folder / "file", judge=network.judge, tolerance=0.02, **more)


def test_nothing_is_kept_where_little_is_lost(tmp_path: Path) -> None:
    network = Imagined(40, {3: 1, 20: 1})
    mixture = run(network, tmp_path)
    assert mixture.kept == () and mixture.note == "" and mixture.attempts == network.written == 1


def test_the_one_part_that_harms_stays_in_float(tmp_path: Path) -> None:
    network, told = Imagined(40, {17: 30, 20: 1}), []
    mixture = run(network, tmp_path, progress=lambda *step: told.append(step))
    assert "product 17" in mixture.kept and len(mixture.kept) == 40 / PARTS
    assert mixture.note == "5 of 40 products kept in float"
    assert mixture.fidelity.lost == pytest.approx(0.01)
    assert mixture.attempts == 1 + 4 and [step[0] for step in told] == list(range(5))  # it is in the fourth part
    assert (
        network.judge(tmp_path / "file") == mixture.fidelity
    )  # the file is that of the mixture, not of the last trial


def test_two_that_harm_stay_together(tmp_path: Path) -> None:
    mixture = run(Imagined(40, {3: 10, 37: 20}), tmp_path)
    assert {"product 3", "product 37"} <= set(mixture.kept) and len(mixture.kept) == 10


def test_where_nothing_helps_the_closest_is_written_after_bounded_work(tmp_path: Path) -> None:
    network = Imagined(40, dict.fromkeys(range(40), 2))
    mixture = run(network, tmp_path)
    assert mixture.fidelity.lost > 0.02
    assert len(mixture.kept) == 20  # half of it: more in float would save nothing
    assert mixture.attempts == 1 + PARTS + PARTS // 2 - 1
    assert network.judge(tmp_path / "file") == mixture.fidelity


def test_a_network_of_one_product_has_no_parts_to_choose(tmp_path: Path) -> None:
    assert run(Imagined(1, {0: 50}), tmp_path).attempts == 1


def test_nothing_to_quantize_is_said(tmp_path: Path) -> None:
    with pytest.raises(VitesseError, match="this network has none"):
        run(Imagined(0, {}), tmp_path)
