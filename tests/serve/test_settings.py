from __future__ import annotations

from typing import Any

import pytest

from vitesse.errors import UsageError
from vitesse.serve.settings import ServeSettings


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": -1},
        {"port": 65536},
        {"max_batch": 0},
        {"max_wait_ms": -1.0},
        {"max_wait_ms": float("nan")},
        {"max_body": 0},
        {"max_pixels": 0},
        {"queue": 0},
        {"upload_s": 0.0},
        {"decode_s": float("inf")},
        {"decode_workers": 0},
        {"threads": 0},
    ],
)
def test_what_is_out_of_range_is_named(wrong: dict[str, Any]) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(UsageError, match=name.replace("_", ".")) as caught:
        ServeSettings(**wrong)
    assert str(value) in str(caught.value)
