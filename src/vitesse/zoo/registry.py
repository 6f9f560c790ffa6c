"""The zoo in timm's own registry: after `import vitesse`, `timm.create_model("vitesse_autoformer_tiny")`.

timm takes seconds to import, and `import vitesse` must answer at once. So timm is not imported here: where it is loaded
already the models are registered now, else right after whoever wants it has imported it. For that a finder stands on
`sys.meta_path`, which leaves the finding to the others, adds one step after timm's own code has run, and goes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Literal

from vitesse.arch import Arch, CellNetwork, Stage, seeing
from vitesse.errors import UsageError, VitesseError
from vitesse.zoo.published import MODELS, Model, fed

# What timm's factory hands to every entrypoint about weights; there are none to load.
_ABOUT_WEIGHTS = ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir", "pretrained_model_args")
_POOLS: dict[str, Literal["mean", "class"]] = {"avg": "mean", "token": "class"}

# Filled by timm's `register_model`, which also asks for `default_cfgs` by the model's name.
__all__: list[str] = []
default_cfgs: dict[str, Any] = {}


def list_in_timm() -> None:
    """List the zoo's models in timm: now where timm is loaded, else as soon as it is. To be called once."""
    if getattr(sys.modules.get("timm"), "create_model", None) is not None:
        register()
    else:
        sys.meta_path.insert(0, _AfterTimm())


def register() -> None:
    """Put the zoo's models into timm's registry, as `vitesse_` and their names."""
    # Nothing of Vitesse that needs torch may be imported here: it may be what is just importing timm.
    from timm.models import register_model
    from timm.models._registry import generate_default_cfgs

    points = {f"vitesse_{model.name}": _entrypoint(model) for model in MODELS}
    cfgs: dict[str, Any] = {f"vitesse_{model.name}": _cfg(model.make()) for model in MODELS}
    default_cfgs.update(generate_default_cfgs(cfgs))
    for point in points.values():
        register_model(point)


class _AfterTimm(MetaPathFinder):
    """Finds timm as the other finders do, and has the models registered once it is loaded."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "timm":
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, (finder.find_spec(fullname, path, target) for finder in others)), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _ThenRegister(spec.loader, self)
        return spec


class _ThenRegister(Loader):
    """Loads by another loader, which it puts back in its own place, then registers the models."""

    def __init__(self, loader: Loader, finder: _AfterTimm) -> None:
        self.loader, self.finder = loader, finder

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self.loader
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        self.loader.exec_module(module)
        # Only now: an import of timm that failed may be tried again.
        sys.meta_path.remove(self.finder)
        register()


def _entrypoint(model: Model) -> Callable[..., Any]:
    def entrypoint(pretrained: bool = False, **kwargs: Any) -> Any:
        return _create(model, pretrained, kwargs)

    entrypoint.__name__ = entrypoint.__qualname__ = f"vitesse_{model.name}"
    entrypoint.__doc__ = model.make.__doc__
    return entrypoint


def _create(model: Model, pretrained: bool, kwargs: dict[str, Any]) -> Any:
    """timm's keywords to a network, or to its features."""
    from vitesse.nets import build
    from vitesse.zoo.preprocessing import set_preprocessing

    if pretrained:
        raise VitesseError(
            f"No weights of vitesse_{model.name} are published in this form. Convert the published ones with "
            "vitesse.zoo.from_published, or train it; pretrained=False gives a fresh network."
        )
    given = {name: value for name, value in kwargs.items() if name not in _ABOUT_WEIGHTS}
    rate, features = given.pop("drop_path_rate", 0.0), given.pop("features_only", False)
    indices = given.pop("out_indices", None)
    arch = _adapted(model.make(), given)
    if features:
        return _features(arch, rate, indices)
    network = build(arch, drop_path=rate)
    set_preprocessing(network, fed(model.make()))
    return network


def _cfg(arch: Arch) -> dict[str, Any]:
    """What timm tells of the model before it is made."""
    return {
        **fed(arch),
        "num_classes": arch.head.classes,
        "input_size": (arch.stem.channels, *arch.stem.image),
        "first_conv": arch.stem.first_conv,
        "classifier": "head.classifier",
    }


def _adapted(arch: Arch, given: dict[str, Any]) -> Arch:
    """`arch` with timm's `num_classes`, `in_chans`, `img_size`, `global_pool`; UsageError for any other keyword."""
    dropout = given.pop("drop_rate", 0.0)
    size = given.pop("img_size", arch.stem.image)
    image = (size, size) if isinstance(size, int) else tuple(size)
    channels = given.pop("in_chans", arch.stem.channels)
    pool = given.pop("global_pool", None)
    classes = given.pop("num_classes", arch.head.classes)
    if dropout or given or pool not in (None, *_POOLS):
        wrong = {**given, **({"drop_rate": dropout} if dropout else {}), **({"global_pool": pool} if pool else {})}
        raise UsageError(
            "The models of Vitesse take num_classes, in_chans, img_size, drop_path_rate, features_only, out_indices "
            f"and global_pool ({' or '.join(_POOLS)}), but got {', '.join(f'{k}={v!r}' for k, v in wrong.items())}."
        )
    head = replace(arch.head, classes=classes, pool=arch.head.pool if pool is None else _POOLS[pool])
    return replace(seeing(arch, image=image, channels=channels), head=head)


def _features(arch: Arch, rate: float, indices: int | Sequence[int] | None) -> Any:
    """timm's wrapper that gives the maps asked for; what comes after the last of them is not built.

    Of a plain ViT there is one after each block (by default the last three), else one after each stage (all of them).
    """
    from timm.models._features import FeatureGetterNet, feature_take_indices

    from vitesse.nets import build
    from vitesse.nets.build import drop_path_rates

    stage, many = arch.stages[0], len(arch.stages) > 1 or isinstance(arch, CellNetwork)
    indices = (len(arch.stages) if many else 3) if indices is None else indices
    count = len(arch.stages) if many else stage.depth
    taken, last = feature_take_indices(count, indices if isinstance(indices, int) else list(indices))
    head = replace(arch.head, classes=0, norm=None)
    if isinstance(arch, CellNetwork):
        headless: Arch = replace(arch, stages=arch.stages[: last + 1], head=head, auxiliary=None)
        return FeatureGetterNet(build(headless, drop_path=rate), out_indices=tuple(taken))
    rates = drop_path_rates(rate, sum(stage.depth for stage in arch.stages))
    assert isinstance(stage, Stage)
    depth = min(stage.depth, -(-(last + 1) // stage.group) * stage.group)  # blocks that share weights stay together
    shallow = replace(stage, depth=depth, block=stage.blocks[:depth])
    kept = arch.stages[: last + 1] if many else (shallow,)
    headless = replace(arch, stages=kept, head=replace(arch.head, classes=0, norm=None, hidden=0))
    return FeatureGetterNet(build(headless, drop_path=rates), out_indices=tuple(taken))
