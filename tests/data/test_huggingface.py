import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from vitesse.data import DataSettings, load_parts
from vitesse.data.huggingface import open_huggingface
from vitesse.data.source import TEST, TRAIN
from vitesse.errors import VitesseError

needs_datasets = pytest.mark.skipif(importlib.util.find_spec("datasets") is None, reason="needs the extra hf")
Noise = Callable[..., Image.Image]


def test_without_the_extra_the_hint_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    (tmp_path / "dataset_info.json").write_text("{}")
    with pytest.raises(VitesseError, match=r"pip install 'vitesse-ml\[hf\]'"):
        load_parts(DataSettings(source=str(tmp_path)))


@needs_datasets
def test_a_saved_dataset_is_read(tmp_path: Path, noise: Noise) -> None:
    import datasets

    features = datasets.Features({"img": datasets.Image(), "kind": datasets.ClassLabel(names=["cat", "dog"])})
    pictures = [noise(number) for number in range(12)]
    table = datasets.Dataset.from_dict({"img": pictures, "kind": [n % 2 for n in range(12)]}, features=features)
    table.save_to_disk(str(tmp_path / "set"))
    parts = load_parts(DataSettings(source=str(tmp_path / "set"), size=16))
    assert parts.classes == ("cat", "dog")
    assert len(parts.learn) + len(parts.search) + len(parts.test) == 12
    assert parts.test.labels.tolist() == [int(name[-6:]) % 2 for name in parts.test.names]
    anew = load_parts(DataSettings(source=str(tmp_path / "set"), size=16, cache_bytes=0, workers=1))
    assert torch.equal(next(anew.test.batches(9)).images, next(parts.test.batches(9)).images)


@needs_datasets
def test_splits_are_given_parts(tmp_path: Path, noise: Noise) -> None:
    import datasets

    def table(first: int, count: int) -> datasets.Dataset:
        rows = {"image": [noise(first + n) for n in range(count)], "label": ["ab"[n % 2] for n in range(count)]}
        return datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())

    splits = datasets.DatasetDict({"train": table(0, 6), "test": table(6, 4)})
    splits.save_to_disk(str(tmp_path / "set"))
    source = open_huggingface(tmp_path / "set")
    assert source.classes == ("a", "b")
    assert source.given.tolist() == [TRAIN] * 6 + [TEST] * 4
    assert source.names[6] == "test-000000"
    assert source.read(7) != source.read(6)
    splits["odd"] = splits.pop("test")
    splits.save_to_disk(str(tmp_path / "odd"))
    with pytest.raises(VitesseError, match="but are train, odd"):
        open_huggingface(tmp_path / "odd")
