"""What an exported file says about itself: names and texts, as every format can hold them.

vitesse.format      "1": the version of this table
vitesse.version     the Vitesse that wrote the file
vitesse.input       what the graph wants, in words
vitesse.preprocess  JSON: size, channels, interpolation, crop; mean and std, which the graph ALREADY applies
vitesse.classes     JSON: the names of the classes, in the order of the logits
vitesse.arch        JSON: the architecture, absent where it has no value of ours
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import ClassVar

from vitesse.data import Preprocess
from vitesse.errors import VitesseError

FORMAT = 1
_INPUT = (
    "images: float32 (batch, channels, height, width), values 0 to 1, RGB. "
    "Do not normalise them: mean and std are applied inside the graph."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Metadata:
    """The words on the file: enough to feed it an image and to read its answer."""

    KEYS: ClassVar[tuple[str, ...]] = tuple(
        f"vitesse.{name}" for name in ("format", "version", "input", "preprocess", "classes", "arch")
    )

    preprocess: Preprocess
    classes: tuple[str, ...]
    arch_json: str | None
    version: str  # of the Vitesse that wrote it

    def to_props(self) -> dict[str, str]:
        """The entries, by name."""
        props = {
            "vitesse.format": str(FORMAT),
            "vitesse.version": self.version,
            "vitesse.input": _INPUT,
            "vitesse.preprocess": json.dumps(self.preprocess.to_dict()),
            "vitesse.classes": json.dumps(list(self.classes), ensure_ascii=False),
        }
        return props if self.arch_json is None else {**props, "vitesse.arch": self.arch_json}

    @classmethod
    def of_file(cls, path: Path, props: Mapping[str, str]) -> Metadata | None:
        """As `from_props`; the error names the file."""
        try:
            return cls.from_props(props)
        except VitesseError as error:
            raise VitesseError(f"{path}: {error}") from error

    @classmethod
    def from_props(cls, props: Mapping[str, str]) -> Metadata | None:
        """The inverse; None for a file that is not of Vitesse, VitesseError for one that a newer Vitesse wrote."""
        if "vitesse.format" not in props:
            return None
        if props["vitesse.format"] != str(FORMAT):
            raise VitesseError(
                f"This Vitesse reads files of format {FORMAT}, but this one has format {props['vitesse.format']} "
                f"(written by Vitesse {props.get('vitesse.version', 'unknown')}). Install that version or a newer one."
            )
        try:
            return cls(
                preprocess=Preprocess.from_dict(json.loads(props["vitesse.preprocess"])),
                classes=tuple(json.loads(props["vitesse.classes"])),
                arch_json=props.get("vitesse.arch"),
                version=props["vitesse.version"],
            )
        except (KeyError, ValueError, TypeError) as error:
            raise VitesseError(f"The file's own description is damaged ({error!r}). Export it again.") from error


def installed_version() -> str:
    """The version of this Vitesse; "source" where it runs from a checkout that was never installed."""
    try:
        return metadata.version("vitesse-ml")
    except metadata.PackageNotFoundError:
        return "source"
