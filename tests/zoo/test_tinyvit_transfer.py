from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vitesse.errors import VitesseError
from vitesse.nets import Network, build
from vitesse.zoo.tinyvit import tiny_vit
from vitesse.zoo.tinyvit_transfer import class_map, mapped_head, mapped_logits, read_class_map


def small(image: int = 32, windows: tuple[int, ...] = (1, 4, 2), classes: int = 6) -> Network:
    torch.manual_seed(0)
    arch = tiny_vit(
        dims=(8, 16, 16), depths=(1, 1, 1), heads=(1, 2, 2), windows=windows, classes=classes, image=(image, image)
    )
    network = build(arch).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network


def test_places_come_from_two_lists_of_names() -> None:
    assert class_map(["n01", "n03", "n05"], ["n05", "n02", "n01"]) == [2, -1, 0]


def test_the_published_map_gives_the_recorded_logits(golden) -> None:
    """The record shows a map of 1000 places through logits that are the place modulo 9973: it rises, and wraps twice."""
    facts = golden("tinyvit_remap_A").facts
    places: list[int] = []
    for number, value in enumerate(facts["output_row0"]):
        before = max(places, default=-1)
        fitting = [int(value) + 9973 * wrap for wrap in range(3) if int(value) + 9973 * wrap > before]
        places.append(-1 if number in facts["dummy_positions"] else fitting[0])
    assert (places[0], places[850], places[-1]) == (359, -1, 21815)
    logits = (torch.arange(2 * 21841).view(2, 21841) % 9973).float()
    found = mapped_logits(logits, places)
    assert found[0].tolist() == facts["output_row0"]
    assert found[1, :50].tolist() == facts["output_row1_head"]
    assert found[:, 850].tolist() == [0.0, 0.0]


def test_a_class_without_a_place_gets_the_mean_row() -> None:
    network = small()
    weight, bias = (getattr(network.get_classifier(), part).detach().clone() for part in ("weight", "bias"))
    images = torch.rand(2, 3, 32, 32)
    before = network(images)
    mapped = mapped_head(network, [4, -1, 0])
    assert mapped is network and network.arch.head.classes == 3
    head = network.get_classifier()
    torch.testing.assert_close(head.weight[1], weight[[4, 0]].mean(0))
    torch.testing.assert_close(head.bias[1], bias[[4, 0]].mean(0))
    torch.testing.assert_close(network(images)[:, [0, 2]], before[:, [4, 0]])


@pytest.mark.parametrize("places", [[6], [-2], [-1, -1]])
def test_impossible_maps_are_refused(places: list[int]) -> None:
    with pytest.raises(VitesseError, match="class map"):
        mapped_head(small(), places)


def test_a_map_is_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "map.txt").write_text("3\n-1\n0\n")
    assert read_class_map(tmp_path / "map.txt") == [3, -1, 0]
    (tmp_path / "map.txt").write_text("3\nx\n")
    with pytest.raises(VitesseError, match="one integer a line"):
        read_class_map(tmp_path / "map.txt")
