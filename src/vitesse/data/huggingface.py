"""Hugging Face datasets that were saved on disk (`save_to_disk`); needs the extra `hf`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vitesse.data.source import FREE, SPLIT_NAMES, Source
from vitesse.errors import VitesseError


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """The encoded images of several splits, one after the other."""

    splits: tuple[Any, ...]
    starts: tuple[int, ...]
    column: str

    def __call__(self, index: int) -> bytes:
        which = int(np.searchsorted(self.starts, index, side="right")) - 1
        cell = self.splits[which][index - self.starts[which]][self.column]
        data: bytes = cell["bytes"] if cell["bytes"] is not None else Path(cell["path"]).read_bytes()
        return data


def open_huggingface(path: Path) -> Source:
    """Open a saved dataset or dict of datasets; its image column and its class column are found by their types."""
    try:
        import datasets
    except ImportError:
        raise VitesseError(
            f"{path} is a Hugging Face dataset, which needs the extra 'hf': pip install 'vitesse-ml[hf]'"
        ) from None
    loaded = datasets.load_from_disk(str(path))
    named = _splits(loaded, path)
    splits = tuple(named.values())
    image, label = _columns(splits[0].features, datasets, path)
    feature = splits[0].features[label]
    values = np.concatenate([np.asarray(split[label][:]) for split in splits])
    if isinstance(feature, datasets.ClassLabel):
        classes, labels = tuple(feature.names), values.astype(np.int64)
        if (labels < 0).any():
            raise VitesseError(f"{path} holds images without a label (-1). Filter them out and save it again.")
    else:
        found, labels = np.unique(values, return_inverse=True)
        classes = tuple(str(value) for value in found)
    starts = np.cumsum([0] + [len(split) for split in splits[:-1]])
    raw = tuple(split.select_columns([image]).cast_column(image, datasets.Image(decode=False)) for split in splits)
    return Source(
        place=str(path),
        classes=classes,
        names=tuple(f"{name}-{row:06d}" for name, split in named.items() for row in range(len(split))),
        labels=labels.astype(np.int64),
        given=np.concatenate(
            [
                np.full(len(split), FREE if len(named) == 1 else SPLIT_NAMES[name], np.int8)
                for name, split in named.items()
            ]
        ),
        read=_Rows(raw, tuple(int(start) for start in starts), image),
    )


def _splits(loaded: Any, path: Path) -> dict[str, Any]:
    """The splits by name; splits of names that say nothing of their use are refused."""
    if not isinstance(loaded, Mapping):
        return {"train": loaded}
    if "train" not in loaded or not set(loaded) <= set(SPLIT_NAMES):
        raise VitesseError(
            f"The splits of {path} must be train and optionally validation and test, but are {', '.join(loaded)}. "
            "Save it with splits of these names."
        )
    return dict(loaded)


def _columns(features: Mapping[str, Any], datasets: Any, path: Path) -> tuple[str, str]:
    """The names of the image column and of the class column."""
    images = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    labels = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    labels = labels or [name for name in ("label", "labels") if name in features]
    if len(images) != 1 or len(labels) != 1:
        raise VitesseError(
            f"{path} must have one image column and one class column, but its columns are "
            f"{', '.join(f'{name} ({type(feature).__name__})' for name, feature in features.items())}. "
            "Remove the others, or cast the columns to Image and ClassLabel."
        )
    return images[0], labels[0]
