"""`vitesse logits`: a teacher's answers, written once and read by every student."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from vitesse.cli.options import Recipe

_Store = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="STORE")]
_Json = Annotated[bool, tyro.conf.FlagCreatePairsOff]
_Sets = Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="KEY=VALUE")]


@dataclass(frozen=True, kw_only=True)
class Write:
    """Ask a teacher about every training view of some epochs, and keep its answers.

    What is kept of a view is the K most probable classes and their probabilities. How pictures are changed follows from the
    settings and the seed, and is stored once; training takes it from the store. The size is said first, and asked about
    where it is large. Killed at any moment, the same command goes on. Under torchrun each process writes its share; machines
    without a common disk write epochs of their own (--epochs 0:45, --epochs 45:90), which `vitesse logits merge` joins.

    Examples:
      vitesse logits write --teacher runs/photos --data photos/ --epochs 30 --out stores/photos
      vitesse logits write --teacher vit_large_patch14_clip_224.openai_ft_in12k_in1k --data imagenet/ \\
        --epochs 300 --top 10 --recipe autoformer_tiny --yes --out stores/imagenet
    """

    out: Path
    """The store's folder: a new one, or one to go on with."""
    epochs: str
    """How many epochs, or which: 30, or 30:60 for those from 30 to 59."""
    teacher: str | None = None
    """A timm name, a run folder, or a file of weights."""
    data: str | None = None
    """digits, a folder of images by class (or with train/, val/, test/), .tar shards, or a saved dataset."""
    top: int | None = None
    """Classes kept of each view; 10, or all where the teacher tells fewer."""
    values: Literal["float16", "uint8"] = "float16"
    """The type of a kept probability: 2 bytes, or 1 byte and a coarser value."""
    recipe: Recipe | None = None
    """Change pictures as a published method does."""
    settings: Path | None = None
    """Settings as TOML, for data, augment and mix; the run.toml of a run serves, too."""
    set: _Sets = ()
    """One setting over the file, such as augment.flip=0.5; may be repeated."""
    seed: int | None = None
    """Of the views and their order."""
    batch: int = 64
    """Pictures of one question to the teacher."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of the teacher's computation."""
    yes: _Json = False
    """Write a large store without being asked."""
    json: _Json = False
    """Print what `vitesse logits info --json` prints, last."""

    def run(self) -> None:
        """Do it."""
        from vitesse.cli.storing import write_store

        write_store(self)


@dataclass(frozen=True, kw_only=True)
class Info:
    """Say what a store holds, how large it is, and where its records come from.

    Examples:
      vitesse logits info stores/photos
    """

    store: _Store
    """The store's folder."""
    json: _Json = False
    """Print JSON instead of a table."""

    def run(self) -> None:
        """Do it."""
        from vitesse.cli.storing import show_store

        show_store(self.store, as_json=self.json)


@dataclass(frozen=True, kw_only=True)
class Verify:
    """Read a whole store and check every checksum; ask the teacher again about some views.

    Ends with 1 where a block is damaged, which is named, or where the teacher now says something else. To mend a store,
    remove the files that are named and start the command that wrote it: it writes those again.

    Examples:
      vitesse logits verify stores/photos
      vitesse logits verify stores/photos --sample 200
    """

    store: _Store
    """The store's folder."""
    sample: int = 0
    """Ask the teacher again about so many views."""
    tolerance: float | None = None
    """The largest difference of a probability; as large as rounding and other kernels make it, where none is given."""
    teacher: str | None = None
    """The teacher, where it lies elsewhere now."""
    data: str | None = None
    """The data, where they lie elsewhere now."""
    json: _Json = False
    """Print the result as one JSON object."""

    def run(self) -> None:
        """Do it."""
        from vitesse.cli.storing import verify_store

        verify_store(self)


@dataclass(frozen=True, kw_only=True)
class Merge:
    """Join stores that hold different epochs of one teacher and one recipe.

    Examples:
      vitesse logits merge stores/first stores/second --out stores/all
    """

    stores: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="STORE...")]
    """The folders of the stores."""
    out: Path
    """The folder of the joined one."""

    def run(self) -> None:
        """Do it."""
        from vitesse.cli.storing import merge_stores

        merge_stores(self.stores, self.out)


@dataclass(frozen=True, kw_only=True)
class Convert:
    """Turn a store of TinyViT's published layout (logits_top100_epoch0/rank0-values.bin, ...) into ours, or back.

    Which way is seen from the folder. Records, names and seeds are kept, so that `vitesse distill --store` and
    `vitesse shrink --teacher-store` make the same views again, from images of the same names.

    Examples:
      vitesse logits convert downloads/logits --classes 21841 --out stores/imagenet22k
      vitesse logits convert stores/imagenet22k --out published/
    """

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """The folder that holds the published epochs, or a store."""
    out: Path
    """The folder to write."""
    classes: int | None = None
    """How many classes the teacher tells; published files do not say it."""
    teacher: str = ""
    """The teacher's name, to be kept with the records."""
    licence: str | None = None
    """The licence of its weights, to be kept with the records."""

    def run(self) -> None:
        """Do it."""
        from vitesse.cli.storing import convert_store

        convert_store(self)


@dataclass(frozen=True, kw_only=True)
class Logits:
    """Store what a teacher says about training images, so that it is paid for once.

    Examples:
      vitesse logits write --teacher runs/photos --data photos/ --epochs 30 --out stores/photos
      vitesse logits info stores/photos
      vitesse logits verify stores/photos --sample 200
      vitesse logits merge stores/first stores/second --out stores/all
      vitesse logits convert downloads/logits --classes 21841 --out stores/imagenet22k
    """

    what: Annotated[Literal["write", "info", "verify", "merge", "convert"], tyro.conf.Positional]
    """write: ask a teacher. info: what a store holds. verify: is it sound? merge: join stores. convert: from TinyViT's
    published layout, or to it. Each teaches itself: vitesse logits write --help."""

    def run(self) -> None:
        """Only reached where something stands before the verb, such as `--`."""
        from vitesse.errors import UsageError

        raise UsageError(f"The verb comes first: vitesse logits {self.what} ...")


VERBS = {"write": Write, "info": Info, "verify": Verify, "merge": Merge, "convert": Convert}
