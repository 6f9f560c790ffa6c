from __future__ import annotations

import pytest

from vitesse.arch import largest, smallest
from vitesse.errors import UsageError
from vitesse.search import check_budget, within


def test_within_counts_the_limit_itself() -> None:
    assert within({"params": 10, "macs": 5}, {"params": 10})
    assert not within({"params": 10, "macs": 5}, {"params": 10, "macs": 4})


def test_a_budget_that_the_smallest_network_meets_passes(toy) -> None:
    check_budget(toy.space, toy.costs, {})
    check_budget(toy.space, toy.costs, dict(toy.costs(smallest(toy.space))))


def test_the_error_names_what_can_be_met(toy) -> None:
    least = toy.costs(smallest(toy.space))
    with pytest.raises(UsageError) as caught:
        check_budget(toy.space, toy.costs, {"params": 100, "macs": least["macs"] * 2})
    message = str(caught.value)
    assert f"params {least['params']:,}" in message
    assert f"macs {least['macs']:,}" in message
    assert "all at once" in message


def test_limits_that_only_fail_together_are_told_apart(toy) -> None:
    """A cost that falls with size: each limit alone can be met, both cannot."""

    def costs(arch):
        params = toy.costs(arch)["params"]
        return {"params": params, "waste": 1e9 / params}

    small, big = costs(smallest(toy.space)), costs(largest(toy.space))
    with pytest.raises(UsageError, match="all at once"):
        check_budget(toy.space, costs, {"params": small["params"] * 1.01, "waste": big["waste"] * 1.01})
    middle = (small["waste"] + big["waste"]) / 2
    check_budget(toy.space, costs, {"waste": middle})  # the smallest network fails, others do not


@pytest.mark.parametrize("limits", [{"watts": 3}, {"params": 0}, {"params": float("nan")}])
def test_limits_are_checked(toy, limits) -> None:
    with pytest.raises(UsageError, match="A limit must be"):
        check_budget(toy.space, toy.costs, limits)
