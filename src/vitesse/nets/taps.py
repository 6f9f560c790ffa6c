"""Taps: named features of any network, read while it runs, without a change to it.

A `Site` is the output of one call of one of its modules; the call counts, because a network with shared blocks runs one
module several times. `layers_of` finds where q, k, v and hidden states are, by running one image through it.
"""

from __future__ import annotations

import contextlib
import difflib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vitesse.errors import VitesseError

Found = Mapping["Site", Tensor]

# The names that projections to q, k and v go by where they are three layers.
_TRIPLES = (("q_proj", "k_proj", "v_proj"), ("query", "key", "value"), ("to_q", "to_k", "to_v"))


@dataclass(frozen=True, slots=True)
class Site:
    """The output of the `call`-th call (from 0) of the module of this name in one forward pass."""

    name: str
    call: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """One layer with attention: where its q, k, v come from, and what it leaves.

    projections: one site of q, k, v joined, or three. hidden: the output of the whole block. split: takes the
    projections' outputs to q, k, v of (B, N, C) each. width: of the hidden state. extra: tokens before the patches, of
    which there are `patches` in the whole image.
    """

    projections: tuple[Site, ...]
    hidden: Site
    split: Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]]
    width: int
    extra: int
    patches: int

    def qkv(self, found: Found) -> dict[str, Tensor]:
        """q, k and v, each (B, N, C); B counts windows, too."""
        parts = self.split(tuple(found[site] for site in self.projections))
        return dict(zip("qkv", (part.flatten(1, -2) for part in parts), strict=True))

    def tokens(self, found: Found) -> Tensor:
        """The hidden state, (B, N, C)."""
        return as_tokens(found[self.hidden], self.width)


@contextlib.contextmanager
def taps(network: nn.Module, sites: Iterable[Site]) -> Iterator[dict[Site, Tensor]]:
    """Read the sites of what runs inside: `with taps(network, sites) as found: network(images)`.

    The hooks are gone at the end, however it ends. VitesseError for a module that does not exist.
    """
    wanted: dict[str, set[int]] = {}
    for site in sites:
        wanted.setdefault(site.name, set()).add(site.call)
    found: dict[Site, Tensor] = {}
    with contextlib.ExitStack() as stack:
        for name, calls in wanted.items():
            hook = _Reader(name, calls, found)
            stack.callback(module_named(network, name).register_forward_hook(hook).remove)
        yield found


class _Reader:
    def __init__(self, name: str, calls: set[int], found: dict[Site, Tensor]) -> None:
        self.name, self.calls, self.found, self.count = name, calls, found, 0

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if self.count in self.calls:
            self.found[Site(self.name, self.count)] = first_tensor(output)
        self.count += 1


def module_named(network: nn.Module, name: str) -> nn.Module:
    """The module of that dotted name; VitesseError with the closest names where there is none."""
    modules: dict[str, nn.Module] = dict(network.named_modules())
    if name not in modules:
        close = ", ".join(difflib.get_close_matches(name, modules, n=3, cutoff=0.0))
        raise VitesseError(
            f"Features are read at a module's name, but {type(network).__name__} has no module {name!r}. "
            f"The closest are {close}."
        )
    return modules[name]


def first_tensor(output: Any) -> Tensor:
    """What a module gives, where it gives several things the first."""
    if isinstance(output, Tensor):
        return output
    several = output.values() if isinstance(output, Mapping) else output
    return first_tensor(next(iter(several)))


def as_map(x: Tensor, width: int, *, extra: int, aspect: float = 1.0) -> Tensor:
    """(B, C, H, W) of tokens (B, N, C), whose first `extra` are left out, or of a map; aspect: height over width."""
    if x.ndim == 4:
        return x.permute(0, 3, 1, 2) if x.shape[-1] == width and x.shape[1] != width else x
    patches = x[:, extra:]
    rows = round(math.sqrt(patches.shape[1] * aspect))
    if rows * (patches.shape[1] // max(rows, 1)) != patches.shape[1]:
        raise VitesseError(
            f"Tokens must fill a map to be compared as one, but {patches.shape[1]} tokens do not for images of height / "
            f'width {aspect:.3g}. Compare pooled features: distill.feature_of = "pooled".'
        )
    laid_out: Tensor = patches.transpose(1, 2).unflatten(2, (rows, -1))
    return laid_out


def as_tokens(x: Tensor, width: int) -> Tensor:
    """(B, N, C) of tokens (B, N, C) or of a map (B, H, W, C) or (B, C, H, W) with C = `width`."""
    if x.ndim == 4:
        return x.flatten(1, 2) if x.shape[-1] == width else x.flatten(2).transpose(1, 2)
    return x


@dataclass(frozen=True, slots=True)
class _Event:
    name: str
    call: int
    shape: tuple[int, ...]


def layers_of(network: nn.Module, images: Tensor) -> tuple[Layer, ...]:
    """The network's layers with attention, in the order in which they run; () where none is known.

    One image (1, C, H, W) runs through it, in evaluation mode and without gradients; afterwards it is as before.
    """
    events = _trace(network, images)
    modules = dict(network.named_modules())
    kinds = {name: kind for name, module in modules.items() if (kind := _projections(module)) is not None}
    last = {
        f"{name}.{kind[-1]}": name for name, kind in kinds.items()
    }  # when it has run, the attention has its q, k, v
    starts = [place for place, event in enumerate(events) if event.name in last]
    layers = []
    for number, start in enumerate(starts):
        event, end = events[start], starts[number + 1] if number + 1 < len(starts) else len(events)
        name = last[event.name]
        left = _block_end(_block_of(name, kinds, modules), events[start + 1 : end])
        if left is None:
            continue
        parts, extra = kinds[name], extra_tokens(network)
        width = int(modules[f"{name}.{parts[0]}"].in_features)
        layers.append(
            Layer(
                projections=tuple(Site(f"{name}.{part}", event.call) for part in parts),
                hidden=Site(left.name, left.call),
                split=_splitting(modules[name], len(parts)),
                width=width,
                extra=extra,
                patches=math.prod(left.shape) // left.shape[0] // width - extra,
            )
        )
    return tuple(layers)


def extra_tokens(network: nn.Module) -> int:
    """The tokens before the patches, as timm's networks and ours tell."""
    return int(getattr(network, "num_prefix_tokens", 0))


def _trace(network: nn.Module, images: Tensor) -> list[_Event]:
    """Each call of a module in a pass, in the order of their ends."""
    events: list[_Event] = []
    counts: dict[str, int] = {}

    def told(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            events.append(_Event(name, counts.setdefault(name, 0), tuple(first_tensor(output).shape)))
            counts[name] += 1

        return hook

    with contextlib.ExitStack() as stack, looking(network):
        for name, module in network.named_modules():
            stack.callback(module.register_forward_hook(told(name)).remove)
        network(images)
    return events


@contextlib.contextmanager
def looking(network: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients, for a look at what a network computes; afterwards it is as before."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():  # one by one: a part may have been in another mode than the whole
            module.training = mode


def _projections(module: nn.Module) -> tuple[str, ...] | None:
    """The names of the layers in an attention that make q, k and v."""
    joined = getattr(module, "qkv", None)
    if isinstance(joined, nn.Linear) and joined.out_features % 3 == 0:
        return ("qkv",)
    for names in _TRIPLES:
        if all(isinstance(getattr(module, name, None), nn.Linear) for name in names):
            return names
    return None


def _splitting(attention: nn.Module, count: int) -> Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]]:
    if count == 3:
        return lambda parts: parts
    if hasattr(attention, "key_dim"):  # TinyViT and its kin: q, k, v side by side within each head
        heads, key = int(attention.num_heads), int(attention.key_dim)  # type: ignore[arg-type]

        def by_heads(parts: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            joint = parts[0].unflatten(-1, (heads, -1))
            sizes = (key, key, joint.shape[-1] - 2 * key)
            return tuple(part.flatten(-2) for part in joint.split(sizes, -1))

        return by_heads
    return lambda parts: parts[0].chunk(3, -1)


def _block_of(attention: str, kinds: Mapping[str, Any], modules: Mapping[str, nn.Module]) -> str:
    """The name of the block around an attention: the innermost item of a list all of whose items have attention."""
    parts, numbered = attention.split("."), []
    for length in range(len(parts), 0, -1):
        if not parts[length - 1].isdigit():
            continue
        name, parent = ".".join(parts[:length]), ".".join(parts[: length - 1])
        numbered.append(name)
        items = [f"{parent}.{item}".removeprefix(".") for item, _ in modules[parent].named_children()]
        if all(any(kind == item or kind.startswith(f"{item}.") for kind in kinds) for item in items):
            return name
    return numbered[0] if numbered else attention


def _block_end(block: str, later: list[_Event]) -> _Event | None:
    """The first end of the block, or, where blocks are mere lists of branches, the last branch of the one that ends first:
    of a block that uses the weights of another, whose name its layers have, the branches are its own.
    """
    whole = next((event for event in later if event.name == block), None)
    if whole is None:
        beside = block.rpartition(".")[0]
        owners = [(event.name.rpartition(".")[0], event) for event in later]
        branches = [(owner, event) for owner, event in owners if owner.rpartition(".")[0] == beside]
        ends = [event for owner, event in branches if owner == branches[0][0]]
        whole = ends[-1] if ends else None
    return whole
