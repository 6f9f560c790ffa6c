"""The views of a store: the recipe that fixes them, and a look at whether they come out the same here and now.

Nothing of a view is stored. It is a function of (seed, epoch, index) and of the recipe, so reading makes it anew. In a
store that was converted from a published one it is a function of the picture and of the seed in its record.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from vitesse.data import Augment, Mix, Part, Parts, Preprocess
from vitesse.data.part import Seeds
from vitesse.distill.store.keys import load_keys
from vitesse.distill.store.reading import LogitStore
from vitesse.distill.store.records import Ints
from vitesse.errors import UsageError, VitesseError

REPLAY, PUBLISHED = "vitesse", "published"
_MIXING = ("mixup", "cutmix", "probability", "switch")  # what of a Mix changes a view; smoothing changes targets
_PROBED = 8
_TOLERANCE = 1e-3  # of a view's mean and spread, in normalised units


def recipe_of(parts: Parts, *, augment: Augment, mix: Mix, seed: int) -> dict[str, Any]:
    """Everything that fixes the training views of `parts.learn`, as plain JSON values."""
    mixing = {name: getattr(mix, name) for name in _MIXING} if mix.mixes else None
    recipe = {
        "replay": REPLAY,
        "seed": seed,
        "part": "learn",
        "data": parts.fingerprint,
        "kept": parts.learn.kept,
        "augment": dataclasses.asdict(augment),
        "mix": mixing,
        "preprocess": parts.preprocess.to_dict(),
    }
    plain: dict[str, Any] = json.loads(json.dumps(recipe))
    return plain


def views_of(recipe: Mapping[str, Any], *, smoothing: float = 0.0) -> tuple[int, Augment, Mix, Preprocess | None]:
    """The seed, augmentation, mixing and preprocessing of a recipe, to train on the views of a store.

    smoothing: of the labels' targets, of which a store knows nothing. Published views may have any size, so that no
    preprocessing is told, and the seed is of the order alone. UsageError where the recipe is of neither kind.
    """
    if recipe.get("replay") == PUBLISHED:
        return 0, Augment(), Mix(smoothing=smoothing), None
    if recipe.get("replay") != REPLAY:
        raise UsageError(
            f"The views of a store must be of {REPLAY!r} or {PUBLISHED!r}, but this one's are of {recipe.get('replay')!r}. "
            "Its records can be read, but there are no images to go with them."
        )
    try:
        changed: dict[str, Any] = {
            key: tuple(one) if isinstance(one, list) else one for key, one in recipe["augment"].items()
        }
        mix = Mix(**(recipe["mix"] or {}), smoothing=smoothing)
        return int(recipe["seed"]), Augment(**changed), mix, Preprocess.from_dict(recipe["preprocess"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise VitesseError(
            f"The recipe of the store cannot be understood ({error}). Use the Vitesse that wrote it."
        ) from error


def is_published(store: LogitStore) -> bool:
    """Whether the views of a store are those of the seeds in its records."""
    return bool(store.manifest.recipe.get("replay") == PUBLISHED)


def require_recipe(store: LogitStore, parts: Parts) -> None:
    """Raise UsageError where the store was written for other views of other data; seeds alone fix those of published ones."""
    seed, augment, mix, _ = views_of(store.manifest.recipe)
    if not is_published(store):
        store.check(recipe=recipe_of(parts, augment=augment, mix=mix, seed=seed))


def samples_of(store: LogitStore, part: Part) -> Ints:
    """The number in the store of each image of a part, (N,); a converted store knows images by their names.

    A name there is the image's own, or that without the folder of its split, or without all folders and the ending; or a
    number, its place in the part, where the store has as many. Raises UsageError where an image has no record.
    """
    if store.manifest.keys is None:
        return np.arange(len(part))
    places = {key: number for number, key in enumerate(load_keys(store.folder, store.manifest))}
    forms = {
        "as they are": list(part.names),
        "without their first folder": [name.partition("/")[2] for name in part.names],
        "without folders and ending": [PurePosixPath(name).stem for name in part.names],
    }
    if store.samples == len(part):
        forms["as numbers"] = [str(number) for number in range(len(part))]
    missing = {}
    for form, names in forms.items():
        absent = [name for name in names if name not in places]
        if not absent and len(set(names)) == len(names):
            return np.array([places[name] for name in names], np.int64)
        missing[form] = len(absent)
    raise UsageError(
        f"Every image to learn from needs a record, but of {len(part)} images the store {store.folder} lacks "
        f"{min(missing.values())} at least. It knows names like {next(iter(places))!r}, the data like {part.names[0]!r}."
    )


def seeds_of(store: LogitStore, samples: Ints, *, epoch: int) -> Seeds | None:
    """The published seeds of a stored epoch's views, by the images' places in their part; None where views are ours."""
    if not is_published(store):
        return None
    return lambda indices: store.seeds(epoch, samples[indices]).astype(np.int64)


def probe(parts: Parts, *, augment: Augment, mix: Mix, seed: int, epoch: int) -> dict[str, list[float]]:
    """Mean and spread of a few views, by which a later version of a library that draws other ones is noticed."""
    indices = np.unique(np.linspace(0, len(parts.learn) - 1, _PROBED).astype(np.int64))
    views = next(parts.learn.views([indices], epoch=epoch, seed=seed, augment=augment, mix=mix))
    means, spreads = views.mean((1, 2, 3)), views.std((1, 2, 3), correction=0)
    return {"means": [round(v, 6) for v in means.tolist()], "spreads": [round(v, 6) for v in spreads.tolist()]}


def check_views(store: LogitStore, parts: Parts) -> None:
    """Raise VitesseError where the views of these data do not come out as they did when the store was written."""
    seed, augment, mix, _ = views_of(store.manifest.recipe)
    then = store.manifest.made.get("probe")
    if not isinstance(then, dict):
        return
    now = probe(parts, augment=augment, mix=mix, seed=seed, epoch=store.manifest.first)
    away = max(
        (abs(a - b) for name in now for a, b in zip(now[name], then.get(name, []), strict=False)), default=float("inf")
    )
    if away > _TOLERANCE:
        versions = store.manifest.made.get("versions")
        raise VitesseError(
            f"The views of the store {store.folder} must come out as they were written, but differ by {away:.2g} (at most "
            f"{_TOLERANCE:g}). Install the libraries that it was written with ({versions}), or write it anew."
        )
