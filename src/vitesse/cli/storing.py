"""What the verbs of `vitesse logits` do: settings, the question about size, the work, the last words."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import nn

from vitesse.cli.console import Speaker, result_json, result_table
from vitesse.cli.logits import Convert, Verify, Write
from vitesse.data import Augment, Parts, Preprocess, load_parts
from vitesse.data.load import DataSettings
from vitesse.distill.huggingface import ClipModel
from vitesse.distill.licence import licence_of
from vitesse.distill.store import LogitStore
from vitesse.distill.store.comparing import compare
from vitesse.distill.store.making import size_text, store_size
from vitesse.distill.store.manifest import FILE, Manifest
from vitesse.distill.store.merging import merge
from vitesse.distill.store.published import from_published, is_published, to_published
from vitesse.distill.store.reading import flat, shards_of
from vitesse.distill.store.verifying import faults
from vitesse.distill.store.writing import TeacherFacts, plan, write
from vitesse.errors import UsageError, VitesseError
from vitesse.recipes import recipe_named
from vitesse.runs.settings import load_settings
from vitesse.shrink.settings import ShrinkSettings
from vitesse.shrink.teacher import preprocess_of, teacher_named
from vitesse.train.processes import processes

ASK_ABOVE = 10**9  # bytes


def write_store(options: Write) -> None:
    """`vitesse logits write`."""
    epochs, settings = _epochs(options.epochs), _settings(options)
    accelerator = processes()
    speaker = Speaker(silent=not accelerator.is_main_process)
    name = settings.teacher.model
    if not name:
        raise UsageError(
            "A store is of a teacher, but none is named. Give --teacher: a timm name, a run folder, or a file."
        )
    teacher, preprocess = _teacher(name, size=settings.data.size, speaker=speaker)
    parts = _parts(settings.data, preprocess, speaker)
    if isinstance(teacher, ClipModel):
        teacher.name_classes(parts.classes, prompt=settings.teacher.prompt)
    manifest = plan(
        teacher,
        parts,
        facts=TeacherFacts(name=name, licence=licence_of(name)),
        epochs=epochs,
        augment=settings.augment or Augment.suited(settings.data.source),
        mix=settings.mix,
        seed=settings.seed,
        top=options.top,
        values=options.values,
        precision=options.precision,
        writers=accelerator.num_processes,
        data=settings.data,
    )
    _say_size(manifest, options, speaker)
    if manifest.layout.classes != len(parts.classes):
        speaker.say(
            f"The teacher tells {manifest.layout.classes} classes and the data have {len(parts.classes)}: the students of this "
            "store will have the teacher's classes."
        )
    with speaker.stage("logits") as progress:
        store = write(options.out, teacher, parts, plan=manifest, batch=options.batch, progress=progress)
    if store is not None:
        _conclude(store, speaker)
        if options.json:
            result_json(facts_of(options.out))


def show_store(folder: Path, *, as_json: bool) -> None:
    """`vitesse logits info`."""
    facts = facts_of(folder)
    if as_json:
        result_json(facts)
        return
    shown = {
        key: value for key, value in flat(facts).items() if not key.startswith(("made.probe", "format", "version"))
    }
    result_table({"": "<", str(folder): "<"}, [(key, str(value)) for key, value in shown.items()])


def facts_of(folder: Path) -> dict[str, Any]:
    """What a store says of itself, with its sizes; also of one that is not complete."""
    manifest = Manifest.load(folder)
    epochs = range(manifest.first, manifest.first + manifest.epochs)
    written = sum(shard.written() for epoch in epochs for shard in shards_of(folder, manifest, epoch))
    records = manifest.samples * manifest.epochs
    return {
        "complete": manifest.complete,
        "records": records,
        "written": written,
        "bytes": store_size(manifest),
        "bytes_per_record": manifest.layout.width,
        "classes": manifest.layout.classes,
        "top": manifest.layout.top,
        "values": manifest.layout.values,
        "seeds": manifest.layout.seeds,
        "samples": manifest.samples,
        "first": manifest.first,
        "epochs": manifest.epochs,
        "shard": manifest.shard,
        "block": manifest.block,
        "error": dict(manifest.error),
        "teacher": dict(manifest.teacher),
        "recipe": dict(manifest.recipe),
        "made": dict(manifest.made),
    }


def verify_store(options: Verify) -> None:
    """`vitesse logits verify`; VitesseError where anything is wrong."""
    speaker = Speaker()
    with speaker.stage("verify") as progress:
        found = list(faults(options.store, progress=progress))
    verdict: dict[str, Any] = {"faults": found}
    if options.sample and not found:
        verdict["sample"] = _compared(options, speaker)
    if options.json:
        result_json(verdict)
    if found:
        shown = "".join(f"\n  {line}" for line in found[:20]) + ("\n  ..." if len(found) > 20 else "")
        raise VitesseError(f"The store {options.store} is damaged in {len(found)} places:{shown}")
    sample = verdict.get("sample")
    if sample is None:
        speaker.say(f"The store {options.store} is sound: every checksum fits.")
        return
    text = (
        f"over {sample['samples']} views, stored and live probabilities differ by {sample['greatest']:.2g} at most and by "
        f"{sample['mean']:.2g} in the mean (tolerance {sample['tolerance']:.2g}); {sample['same_first']:.1%} have the same "
        "first class"
        + ("" if sample["same_weights"] else ", and its weights are not those that the store was written with")
    )
    if not sample["agrees"]:
        raise VitesseError(
            f"The store must say what the teacher says, but {text}. Is this the teacher it was written with?"
        )
    speaker.say(f"The store {options.store} is sound, and says what the teacher says: {text}.")


def merge_stores(stores: Sequence[Path], out: Path) -> None:
    """`vitesse logits merge`."""
    speaker = Speaker()
    with speaker.stage("merge") as progress:
        store = merge(stores, out, progress=progress)
    _conclude(store, speaker)


def convert_store(options: Convert) -> None:
    """`vitesse logits convert`."""
    speaker = Speaker()
    if (options.source / FILE).exists():
        with speaker.stage("convert") as progress:
            written = to_published(options.source, options.out, progress=progress)
        speaker.say(f"{len(written)} epochs in the published layout lie in {options.out}.")
        return
    if not is_published(options.source):
        raise UsageError(
            f"{options.source} must be a store, or hold folders logits_topK_epochE, but holds neither. Name another folder."
        )
    if options.classes is None:
        raise UsageError("The published files do not say how many classes the teacher tells. Give --classes.")
    with speaker.stage("convert") as progress:
        store = from_published(
            options.source,
            options.out,
            classes=options.classes,
            teacher=options.teacher,
            licence=options.licence,
            progress=progress,
        )
    _conclude(store, speaker)


def _epochs(text: str) -> range:
    first, colon, last = text.partition(":")
    try:
        found = range(int(first), int(last)) if colon else range(int(first))
    except ValueError:
        found = range(0)
    if not len(found) or found.start < 0:
        raise UsageError(
            f"--epochs is how many epochs (30), or which (30:60 for those from 30 to 59), but got {text!r}."
        )
    return found


def _settings(options: Write) -> ShrinkSettings:
    default = None if options.recipe is None else recipe_named(options.recipe)
    flags = {"data.source": options.data, "teacher.model": options.teacher, "seed": options.seed}
    return load_settings(ShrinkSettings, file=options.settings, sets=options.set, flags=flags, default=default)


def _teacher(name: str, *, size: int | None, speaker: Speaker) -> tuple[nn.Module, Preprocess]:
    """The network of that name, and how it wants its pictures."""
    network = teacher_named(name, say=speaker.say)
    return network, preprocess_of(network, size=size)


def _parts(data: DataSettings, preprocess: Preprocess, speaker: Speaker) -> Parts:
    with speaker.stage("data") as progress:
        parts = load_parts(data, preprocess=preprocess, progress=progress)
    for note in parts.notes:
        speaker.say(note)
    return parts


def _say_size(manifest: Manifest, options: Write, speaker: Speaker) -> None:
    """Say what the store takes, and ask whether that is meant where it is much."""
    size = store_size(manifest)
    speaker.say(
        f"{manifest.samples} views x {manifest.epochs} epochs x {manifest.layout.width} bytes "
        f"({manifest.layout.top} of {manifest.layout.classes} classes): {size_text(size)} in {options.out}"
    )
    if size <= ASK_ABOVE or options.yes or (options.out / FILE).exists():
        return
    if not sys.stdin.isatty() or processes().num_processes > 1:
        raise UsageError(
            f"A store above {size_text(ASK_ABOVE)} needs a word: this one takes {size_text(size)}. Add --yes."
        )
    sys.stderr.write("Write it? [y/N] ")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise VitesseError(
            "Nothing was written. Fewer --epochs, a smaller --top or --values uint8 make a smaller store."
        )


def _compared(options: Verify, speaker: Speaker) -> dict[str, Any]:
    store = LogitStore.open(options.store)
    made, recipe = store.manifest.made.get("data", {}), store.manifest.recipe
    name = options.teacher or str(store.manifest.teacher["name"])
    source = options.data or made.get("source")
    if not name or not source:
        raise UsageError(
            f"The store {options.store} does not say which teacher or which data it is of. Give --teacher and --data."
        )
    settings = load_settings(DataSettings, flags=made | {"source": source})
    teacher, wanted = _teacher(name, size=None, speaker=speaker)
    if "preprocess" in recipe:
        parts = _parts(replace(settings, size=None, channels=None), Preprocess.from_dict(recipe["preprocess"]), speaker)
    else:  # published views, which the teacher saw in its own size and colours, cut from whole pictures
        parts = _parts(replace(settings, cache_bytes=0), wanted, speaker)
    with speaker.stage("sample"):
        found = compare(store, teacher, parts, samples=options.sample, tolerance=options.tolerance)
    return asdict(found) | {"agrees": found.agrees}


def _conclude(store: LogitStore, speaker: Speaker) -> None:
    manifest, error = store.manifest, store.manifest.error
    speaker.say(
        f"The store lies in {store.folder}: {store.samples} samples, {store.epochs} epochs, {size_text(store_size(manifest))}. "
        f"The {store.top} kept classes hold {error['mass']:.1%} of the probability; as {manifest.layout.values}, a value is "
        f"off by {error['greatest']:.2g} at most and by {error['mean']:.2g} in the mean. "
        f"Next: vitesse logits verify {store.folder}"
    )
