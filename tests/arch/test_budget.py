"""Budgets: what people write is understood exactly, everything else is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitesse.arch.budget import Budget, parse_bytes, parse_count, parse_milliseconds


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (parse_count, "5.7M", 5_700_000),
        (parse_count, "1.3G", 1_300_000_000),
        (parse_count, "60k", 60_000),
        (parse_count, " 60 K ", 60_000),
        (parse_count, "1_300_000", 1_300_000),
        (parse_count, ".5M", 500_000),
        (parse_count, "1.001k", 1001),  # 1000.9999999999999 in floating point
        (parse_bytes, "300MB", 300_000_000),
        (parse_bytes, "1.5GiB", 3 * 2**29),
        (parse_bytes, "2000000", 2_000_000),
        (parse_milliseconds, "12ms", 12.0),
        (parse_milliseconds, "800us", 0.8),
        (parse_milliseconds, "800µs", 0.8),
        (parse_milliseconds, "0.5s", 500.0),
        (parse_milliseconds, "12", 12.0),
    ],
)
def test_what_people_write(parse: Callable[[str], float], text: str, value: float) -> None:
    assert parse(text) == pytest.approx(value, rel=1e-12)
    assert parse is parse_milliseconds or isinstance(parse(text), int)


@pytest.mark.parametrize("parse", [parse_count, parse_bytes, parse_milliseconds])
@pytest.mark.parametrize(
    "text", ["", "M", "-3", "0", "0.0", "1e6", "5,7M", "5.7 Mb/s", "nan", "inf", "1__0", "٣", "5.7x"]
)
def test_what_is_refused(parse: Callable[[str], float], text: str) -> None:
    with pytest.raises(ValueError, match="A limit .*, but got"):
        parse(text)


def test_less_than_one_parameter_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1, but got '0.4'"):
        parse_count("0.4")


@settings(max_examples=300, deadline=None)
@given(text=st.text(max_size=12) | st.from_regex(r"[0-9._]{0,6} ?[a-zA-Zµ]{0,3}", fullmatch=True))
def test_any_text_gives_a_positive_number_or_a_value_error(text: str) -> None:
    for parse in (parse_count, parse_bytes, parse_milliseconds):
        try:
            value = parse(text)
        except ValueError:
            continue
        assert value > 0 and math.isfinite(value)


@settings(max_examples=200, deadline=None)
@given(thousandths=st.integers(1, 10**9))
def test_decimals_are_exact(thousandths: int) -> None:
    assert parse_count(f"{thousandths // 1000}.{thousandths % 1000:03d}M") == Fraction(thousandths, 1000) * 10**6


def test_limits_are_those_that_are_set() -> None:
    assert Budget().limits() == {}
    assert Budget(max_params=60_000, max_latency_ms=1.5).limits() == {"params": 60_000, "latency_ms": 1.5}
    for wrong in (0, -1, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"max_latency_ms is {wrong}. Leave it out for none"):
            Budget(max_latency_ms=wrong)
