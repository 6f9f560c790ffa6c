"""ExecuTorch runs what was written for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vitesse.deploy.runtime import missing
from vitesse.errors import VitesseError

if reason := missing("executorch"):
    pytest.skip(reason, allow_module_level=True)

from vitesse.deploy.executorch_runtime import ExecutorchRuntime


def test_a_file_that_is_damaged_or_missing(tmp_path: Path) -> None:
    (tmp_path / "cut.pte").write_bytes(np.zeros(100).tobytes())
    with pytest.raises(VitesseError, match=r"cut\.pte cannot be read"):
        ExecutorchRuntime(tmp_path / "cut.pte")
    with pytest.raises(VitesseError, match="does not exist"):
        ExecutorchRuntime(tmp_path / "no.pte")
