"""What holds for all tests: one thread, so that sums come out the same on every machine and workers do not fight."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    import torch

    torch.set_num_threads(1)
