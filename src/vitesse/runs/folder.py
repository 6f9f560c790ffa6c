"""The folder of a run: who works on it, what it was asked, which stages are done, what was measured on the way."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from vitesse.errors import UsageError, VitesseError
from vitesse.runs.files import explained, read_json, write_json, write_text
from vitesse.runs.lock import lock
from vitesse.runs.metrics import append_line, drop_after, drop_unfinished_line
from vitesse.runs.settings import FACTS, flat, read_toml
from vitesse.runs.toml import to_toml

SETTINGS, METRICS, STAGES = "run.toml", "metrics.jsonl", "stages"
_NO_WORK = (SETTINGS, "latencies.jsonl", "report.html")  # where no more lies, nothing was trained or searched yet
_DRAFT = re.compile(r"\..+\.[0-9a-f]{8}\.tmp(\..+)?")  # what files.atomic_path leaves where its process is killed


class RunFolder:
    """One run's folder. `RunFolder.open` begins a run or goes on with it; `RunFolder(path)` looks on from beside."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._lock: IO[bytes] | None = None

    @classmethod
    def open(
        cls, path: Path | str, *, settings: Mapping[str, Any], facts: Mapping[str, Mapping[str, Any]]
    ) -> RunFolder:
        """The folder at `path`, held by this process alone until it ends, however it ends.

        settings: the run's settings as a tree; a folder that holds a run with others, or of another verb, is refused,
        unless that came to nothing, as with a budget that nothing can meet: then it begins anew.
        facts: the tables `run` (verb, command, when), `versions` and `device`, written down when the run begins; values
        that are None are left out. Raises UsageError where the folder holds something else, VitesseError where another
        process works on it or it cannot be written.
        """
        folder = cls(path)
        try:
            folder.path.mkdir(parents=True, exist_ok=True)
            folder._refuse_foreign()
            folder._lock = lock(folder.path)
            folder._tidy()
            if folder._begun():
                folder._require_same(settings, verb=facts["run"].get("verb"))
            else:
                write_text(folder.path / SETTINGS, to_toml(_tables(facts, settings)))
        except OSError as error:
            folder.close()
            raise explained(error, folder.path) from error
        except BaseException:
            folder.close()
            raise
        return folder

    def close(self) -> None:
        """Let other processes work on the run."""
        if self._lock is not None:
            self._lock.close()

    def done(self, stage: str) -> bool:
        """Whether a stage has been finished."""
        return self._marker(stage).is_file()

    def finish(self, stage: str, outputs: Mapping[str, Any], *, seconds: float) -> None:
        """Write down that a stage is finished, and what it gave: plain values for later stages."""
        write_json(self._marker(stage), {"seconds": seconds, "outputs": dict(outputs)})

    def outputs(self, stage: str) -> dict[str, Any]:
        """What a finished stage gave; VitesseError where it is not done."""
        return dict(self._read(stage, "outputs"))

    def seconds(self) -> dict[str, float]:
        """How long each finished stage took, in its last go; in the order in which they were finished."""
        markers = sorted((self.path / STAGES).glob("*.json"), key=lambda marker: marker.stat().st_mtime_ns)
        return {marker.stem: float(self._read(marker.stem, "seconds")) for marker in markers}

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a record, which names its `stage` and `step`, to `metrics.jsonl`."""
        append_line(self.path / METRICS, record)

    def truncate_after(self, stage: str, step: int) -> None:
        """Drop what `metrics.jsonl` says of a stage beyond `step`: those steps will be taken again."""
        drop_after(self.path / METRICS, stage, step=step)

    def _marker(self, stage: str) -> Path:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", stage):
            raise ValueError(f"A stage's name is made of small letters, digits, - and _, but got {stage!r}.")
        return self.path / STAGES / f"{stage}.json"

    def _read(self, stage: str, key: str) -> Any:
        path = self._marker(stage)
        marker = read_json(path)
        if not isinstance(marker, dict) or key not in marker:
            raise VitesseError(f"{path} holds no {key!r}. Remove it to do the stage again.")
        return marker[key]

    def _names(self) -> list[str]:
        # Hidden files do not count: the lock and drafts of a run that was killed at once, .gitkeep, .DS_Store.
        return sorted(item.name for item in self.path.iterdir() if not item.name.startswith("."))

    def _begun(self) -> bool:
        return any(name not in _NO_WORK for name in self._names())

    def _refuse_foreign(self) -> None:
        names = self._names()
        if names and SETTINGS not in names:
            more = " and more" if len(names) > 3 else ""
            raise UsageError(
                f"A run needs a folder of its own, but {self.path} holds {', '.join(names[:3])}{more}. Choose another --out."
            )

    def _tidy(self) -> None:
        """Remove what a killed process left half written; the lock is held, so nobody is at it."""
        for draft in self.path.rglob(".*"):
            if draft.is_file() and _DRAFT.fullmatch(draft.name):
                draft.unlink()
        drop_unfinished_line(self.path / METRICS)

    def _require_same(self, settings: Mapping[str, Any], *, verb: object) -> None:
        begun = read_toml(self.path / SETTINGS)
        before = begun.get("run", {}).get("verb")
        if before != verb:
            raise UsageError(
                f"{self.path} holds a run of `vitesse {before}`, not of `vitesse {verb}`. Choose another --out."
            )
        old, new = flat({key: value for key, value in begun.items() if key not in FACTS}), flat(settings)
        differing = [key for key in dict.fromkeys([*old, *new]) if _shown(old, key) != _shown(new, key)]
        if differing:
            shown = "\n".join(f"  {key}: {_shown(old, key)} there, {_shown(new, key)} now" for key in differing)
            raise UsageError(
                f"{self.path} holds another run; these settings differ:\n{shown}\n"
                "Give the same settings to go on with it, or choose another --out."
            )


def _shown(values: Mapping[str, object], key: str) -> str:
    return repr(values[key]) if key in values else "absent"


def _tables(facts: Mapping[str, Mapping[str, Any]], settings: Mapping[str, Any]) -> dict[str, Any]:
    clash = settings.keys() & set(FACTS) | facts.keys() - set(FACTS)
    if clash:
        raise TypeError(
            f"run.toml keeps facts in {', '.join(FACTS)} and settings elsewhere, but got {', '.join(clash)}."
        )
    known = {name: {key: value for key, value in table.items() if value is not None} for name, table in facts.items()}
    return {**known, **settings}
