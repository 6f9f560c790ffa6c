"""What the verbs that make a run folder have in common: settings, the folder, the work, the last words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vitesse.arch import Backbone, CellNetwork, to_json
from vitesse.arch.budget import parse_bytes, parse_count, parse_milliseconds
from vitesse.cli.console import Speaker, result
from vitesse.cli.options import BudgetOptions, RunOptions
from vitesse.errors import UsageError
from vitesse.recipes import recipe_named
from vitesse.report import summary_lines, write_model_card, write_report
from vitesse.report.reading import read_summary
from vitesse.runs.facts import run_facts, versions
from vitesse.runs.folder import RunFolder
from vitesse.runs.settings import load_settings, settings_tree
from vitesse.shrink.job import Voice
from vitesse.shrink.settings import ShrinkSettings
from vitesse.train.processes import processes

# What `--json` prints, beside where the files are.
RESULTS = (
    "params",
    "macs",
    "memory_bytes",
    "latency_ms",
    "test_accuracy",
    "teacher_test_accuracy",
    "teacher_params",
    "teacher_licence",
    "agreement",
    "seconds",
)


def run_verb(
    options: RunOptions,
    *,
    work: Callable[..., dict[str, Any]],
    flags: Mapping[str, object],
    arguments: Mapping[str, Any] | None = None,
) -> None:
    """Resolve the settings, open the folder, do the work, write the report, and say where everything lies.

    arguments: what `work` takes beside settings and folder.
    """
    perform(options, _settings(options, flags), work=work, arguments=arguments or {})


def perform(
    options: RunOptions, settings: Any, *, work: Callable[..., dict[str, Any]], arguments: Mapping[str, Any]
) -> None:
    """The same with settings that are resolved, of whatever kind the work takes."""
    accelerator = processes()
    speaker = Speaker(silent=not accelerator.is_main_process)
    # One process holds the folder; the others look on, and so must wait until it is there.
    if accelerator.is_main_process:
        folder = _opened(options, settings, arguments, device=str(accelerator.device))
    accelerator.wait_for_everyone()
    if not accelerator.is_main_process:
        folder = RunFolder(options.out)
    try:
        found = work(settings, folder, voice=Voice(stage=speaker.stage, say=speaker.say), **arguments)
        if accelerator.is_main_process:
            _conclude(folder.path, found, speaker, as_json=options.json)
    finally:
        folder.close()


def asked_budget(options: BudgetOptions) -> dict[str, float | None]:
    """The budget's flags as settings; UsageError where one is no number with a unit."""

    def read(flag: str, text: str | None, parse: Callable[[str], float]) -> float | None:
        try:
            return None if text is None else parse(text)
        except ValueError as error:
            raise UsageError(f"--{flag}: {error}") from None

    return {
        "budget.max_params": read("max-params", options.max_params, parse_count),
        "budget.max_macs": read("max-macs", options.max_macs, parse_count),
        "budget.max_latency_ms": read("max-latency", options.max_latency, parse_milliseconds),
        "budget.max_memory_bytes": read("max-memory", options.max_memory, parse_bytes),
    }


def _settings(options: RunOptions, flags: Mapping[str, object]) -> ShrinkSettings:
    """The recipe or the defaults, the file over them, `--set` over that, the flags last."""
    default = None if options.recipe is None else recipe_named(options.recipe)
    every = {
        "data.source": options.data,
        "teacher.model": options.teacher,
        "effort": options.effort,
        "seed": options.seed,
        **(asked_budget(options) if isinstance(options, BudgetOptions) else {}),
        **flags,
    }
    return load_settings(ShrinkSettings, file=options.settings, sets=options.set, flags=every, default=default)


def _opened(options: RunOptions, settings: Any, given: Mapping[str, Any], *, device: str) -> RunFolder:
    asked = {
        name: to_json(value) if isinstance(value, (Backbone, CellNetwork)) else str(value)
        for name, value in given.items()
    }
    facts: dict[str, dict[str, Any]] = {
        "run": {**run_facts(_verb(options), seed=settings.seed), **asked},
        "versions": versions(),
        "device": {"kind": device},
    }
    return RunFolder.open(options.out, settings=settings_tree(settings), facts=facts)


def _verb(options: RunOptions) -> str:
    """How the command line spells what these options are of: SearchSpace is `search-space`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", type(options).__name__).lower()


def _conclude(folder: Path, found: Mapping[str, Any], speaker: Speaker, *, as_json: bool) -> None:
    report = write_report(folder)
    if (folder / "model.safetensors").exists():
        write_model_card(folder)
    if (folder / "result.json").exists():
        for line in summary_lines(read_summary(folder)):
            speaker.say(line)
    else:
        speaker.say(
            f"The supernet lies in {folder}. Next: vitesse search {folder} --data ... --max-params ... --out ..."
        )
    if as_json:
        kind, names = ("detector", ("params", "detection", "seconds")) if "detection" in found else ("model", RESULTS)
        files = {"model": folder / f"{kind}.safetensors", "onnx": folder / f"{kind}.onnx", "report": report}
        places = {name: str(path) for name, path in files.items() if path.exists()}
        result(json.dumps({name: found.get(name) for name in names} | places))
