"""What a store says about itself: one JSON file, checked field by field when it is read."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from vitesse.distill.store.records import Layout
from vitesse.errors import UsageError, VitesseError
from vitesse.runs.files import write_text

FILE = "manifest.json"
FORMAT, VERSION = "vitesse-logit-store", 1
BLOCK = 256
_MOST_FILES = 2**22
_CHECK = '  "crc32": '


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """A store's shape, and where its records come from.

    samples: images of one epoch. first: the number of the first stored epoch. epochs: how many are stored. shard: images
    in a file; the last of an epoch may hold fewer. block: records under one checksum. teacher: "name", "licence",
    "fingerprint" of its weights, "precision". recipe: what fixes the views; two stores of one recipe hold the same views.
    keys: the SHA-256 of keys.txt where samples have names (converted stores). made: versions and settings, for people.
    error: how far the stored values are from the teacher's, once complete. sums: for each file of records the SHA-256
    of its file of checksums; empty until the store is complete.
    """

    layout: Layout
    samples: int
    epochs: int
    teacher: Mapping[str, Any]
    recipe: Mapping[str, Any]
    first: int = 0
    shard: int = 2**20
    block: int = BLOCK
    keys: str | None = None
    made: Mapping[str, Any] = field(default_factory=dict)
    error: Mapping[str, float] = field(default_factory=dict)
    sums: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, least in {"samples": 1, "epochs": 1, "first": 0, "shard": 1, "block": 1}.items():
            if not least <= getattr(self, name) < 2**48:
                raise UsageError(f"{name} must be at least {least} and below 2**48, but got {getattr(self, name)}.")
        if self.shard % self.block:
            raise UsageError(f"A shard holds whole blocks of {self.block}, but got a shard of {self.shard} images.")
        if self.epochs * self.shards > _MOST_FILES:
            raise UsageError(
                f"A store has at most {_MOST_FILES} files of records, but got {self.epochs * self.shards}."
            )
        if self.sums and len(self.sums) != self.epochs * self.shards:
            raise UsageError(
                f"sums must name {self.epochs * self.shards} files of records, but names {len(self.sums)}."
            )

    @property
    def complete(self) -> bool:
        """Whether every record is there."""
        return bool(self.sums)

    @property
    def shards(self) -> int:
        """Files of records of one epoch."""
        return -(-self.samples // self.shard)

    @property
    def identity(self) -> dict[str, Any]:
        """What must be equal for two stores to hold records of one kind, which epochs aside.

        A teacher is known by its weights, wherever they lie; by its name only where its weights are not known.
        """
        return {
            **asdict(self.layout),
            "samples": self.samples,
            "teacher": self.teacher.get("fingerprint") or self.teacher.get("name"),
            "precision": self.teacher.get("precision"),
            "recipe": dict(self.recipe),
            "keys": self.keys,
        }

    def save(self, folder: Path) -> None:
        """Write `manifest.json`, whole or not at all."""
        values = asdict(self)
        tree = {"format": FORMAT, "version": VERSION, **values.pop("layout"), **values}
        text = json.dumps(tree, indent=2, ensure_ascii=False, allow_nan=False)
        body = text.removesuffix("\n}") + ",\n"
        write_text(folder / FILE, f"{body}{_CHECK}{zlib.crc32(body.encode())}\n}}\n")

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """Read `manifest.json`; VitesseError where it is missing, damaged, or of another format."""
        path = folder / FILE
        tree = _tree(path)
        wanted = {one.name for one in (*fields(cls), *fields(Layout))} - {"layout"}
        missing = sorted(wanted - tree.keys())
        if missing:
            raise VitesseError(f"{path} lacks {', '.join(missing)}. Copy the store again from where it was whole.")
        try:
            tree["sums"] = tuple(tree["sums"])
            layout = Layout(**{one.name: _typed(one.name, one.type, tree.pop(one.name)) for one in fields(Layout)})
            rest = {one.name: _typed(one.name, one.type, tree[one.name]) for one in fields(cls) if one.name in tree}
            return cls(layout=layout, **rest)
        except (UsageError, TypeError, ValueError, OverflowError) as error:
            raise VitesseError(f"{path} is no manifest of a store of logits: {error}") from error


def _tree(path: Path) -> dict[str, Any]:
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        raise VitesseError(
            f"{path.parent} holds no store of logits ({FILE} is missing). Write one with vitesse logits write."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise VitesseError(f"{path} cannot be read: {error}") from error
    body, check, crc = text.rpartition(_CHECK)
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise VitesseError(
            f"{path} cannot be read as JSON: {error}. Copy the store again from where it was whole."
        ) from error
    if not isinstance(tree, dict) or tree.get("format") != FORMAT:
        raise VitesseError(f"{path} is no manifest of a store of logits: its format must be {FORMAT!r}.")
    if tree.get("version") != VERSION:
        raise VitesseError(
            f"This Vitesse reads version {VERSION} of the store of logits, but {path} is of version {tree.get('version')!r}. "
            "Use a newer Vitesse."
        )
    if not check or crc != f"{zlib.crc32(body.encode())}\n}}\n":
        raise VitesseError(
            f"{path} is damaged: its checksum does not fit. Copy the store again from where it was whole."
        )
    return tree


def _typed(name: str, kind: Any, value: Any) -> Any:
    """The value, once it is sure that it is what the field of that (textual) type holds."""
    kinds: dict[str, type | tuple[type, ...]] = {
        "int": int,
        "bool": bool,
        "Values": str,
        "str | None": (str, type(None)),
        "tuple[str, ...]": tuple,
        "Mapping[str, Any]": dict,
        "Mapping[str, float]": dict,
    }
    wrong = not isinstance(value, kinds[kind]) or (kind == "int" and isinstance(value, bool))
    if wrong or (isinstance(value, tuple) and not all(isinstance(one, str) for one in value)):
        raise TypeError(f"{name} is {str(value)[:60]!r}, which is no {kind}.")
    return value
