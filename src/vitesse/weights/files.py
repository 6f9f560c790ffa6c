"""Weights as files: safetensors with the architecture inside, written whole or not at all; and other people's files.

Metadata of a file of ours (all strings):
vitesse.format   "1": the version of this table
vitesse.version  the Vitesse that wrote the file
vitesse.arch     the architecture, as `vitesse.arch.to_json` writes it
vitesse.tied     JSON: names that share a tensor, each with the name under which that is stored; absent where none do
Whatever else the writer wants stands beside them.
"""

from __future__ import annotations

import argparse
import json
import pickle
from collections.abc import Mapping
from importlib import metadata as installed
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from vitesse.arch import buffers, from_json, parameters
from vitesse.errors import VitesseError
from vitesse.runs.files import atomic_path
from vitesse.weights.slice import lengths

FORMAT = "1"
_OWN = "vitesse."
_WRAPPERS = ("model", "model_main", "state_dict")


def save_state(
    path: Path | str, state: Mapping[str, Tensor], *, arch_json: str, metadata: Mapping[str, str] | None = None
) -> None:
    """Write the weights of the network of `arch_json`, with `metadata` beside it; tied tensors are stored once.

    VitesseError where the weights are not those of the architecture, or the file cannot be written.
    """
    _check(state, arch_json, str(path))
    stored, tied = _untied(state)
    words = {
        **(metadata or {}),
        f"{_OWN}format": FORMAT,
        f"{_OWN}version": _version(),
        f"{_OWN}arch": arch_json,
        **({f"{_OWN}tied": json.dumps(tied)} if tied else {}),
    }
    with atomic_path(path) as draft:
        save_file(stored, draft, metadata=words)


def load_state(path: Path | str, *, expected: str | None = None) -> tuple[dict[str, Tensor], str, dict[str, str]]:
    """The weights, the architecture (JSON) and the metadata of a file that `save_state` wrote.

    `expected`: the architecture (JSON) that the file must hold. VitesseError where the file is missing, damaged, not
    ours, a pickle, or of another architecture.
    """
    state, words = _read_safetensors(Path(path))
    if f"{_OWN}format" not in words:
        raise VitesseError(
            f"{path} holds weights but no architecture: Vitesse did not write it. Read it with read_checkpoint, or "
            "convert it (vitesse convert)."
        )
    if words[f"{_OWN}format"] != FORMAT:
        raise VitesseError(
            f"{path} has format {words[f'{_OWN}format']}, but this Vitesse reads {FORMAT}. It was written by Vitesse "
            f"{words.get(f'{_OWN}version', 'unknown')}: install that one or a newer one."
        )
    arch_json = words.get(f"{_OWN}arch", "")
    if expected is not None and arch_json != expected:
        raise VitesseError(
            f"{path} must hold the architecture\n  {expected}\nbut holds\n  {arch_json}\nName the right file."
        )
    try:
        state |= {name: state[source] for name, source in json.loads(words.get(f"{_OWN}tied", "{}")).items()}
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise VitesseError(f"{path}: what it says of shared weights cannot be read ({error!r}).") from error
    _check(state, arch_json, str(path))
    return state, arch_json, {name: word for name, word in words.items() if not name.startswith(_OWN)}


def read_checkpoint(path: Path | str) -> dict[str, Tensor]:
    """The weights in somebody else's file, .safetensors or .pth, by their own names; no code in it is ever run.

    What training wrapped around them ("model", "state_dict", the prefix "module.") is taken off.
    """
    path = Path(path)
    _require_file(path)
    found = _read_pickle(path) if _is_pickle(path) else _read_safetensors(path)[0]
    for wrapper in _WRAPPERS:
        if isinstance(found, dict) and isinstance(found.get(wrapper), dict):
            found = found[wrapper]
    weights = found if isinstance(found, dict) else {}
    weights = {name: tensor for name, tensor in weights.items() if isinstance(tensor, Tensor)}
    if not weights:
        raise VitesseError(f"{path} must hold named tensors, but holds a {type(found).__name__} without any.")
    wrapped = all(name.startswith("module.") for name in weights)
    return {name.removeprefix("module.") if wrapped else name: tensor for name, tensor in weights.items()}


def _check(state: Mapping[str, Tensor], arch_json: str, path: str) -> None:
    """Raise unless every parameter and buffer of the architecture is there in its shape."""
    try:
        arch = from_json(arch_json)
        shapes = parameters(arch) | buffers(arch)
    except ValueError as error:
        raise VitesseError(f"{path}: the architecture cannot be read. {error}") from error
    wrong = [
        f"{name} must be {lengths(shape)}, but is {tuple(state[name].shape) if name in state else 'missing'}"
        for name, shape in shapes.items()
        if name not in state or tuple(state[name].shape) != lengths(shape)
    ]
    if wrong:
        raise VitesseError(
            f"{path}: the weights are not those of the architecture. {'; '.join(wrong[:4])}"
            + (f"; and {len(wrong) - 4} more." if len(wrong) > 4 else ".")
        )


def _untied(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Each tensor once, on its own memory, and the names that share one with the name that is stored."""
    first: dict[object, str] = {}
    stored: dict[str, Tensor] = {}
    tied: dict[str, str] = {}
    for name, tensor in state.items():
        place = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, tensor.device)
        source = first.setdefault(place, name) if tensor.numel() else name
        if source != name:
            tied[name] = source
        else:
            stored[name] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
    return stored, tied


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    _require_file(path)
    if _is_pickle(path):
        raise VitesseError(
            f"{path} is a PyTorch pickle, which could run code, and Vitesse keeps networks as safetensors. "
            "Convert it once (vitesse convert), or read its weights with read_checkpoint."
        )
    try:
        with safe_open(path, framework="pt") as file:
            words = file.metadata() or {}
        return load_file(path), words
    except (SafetensorError, OSError) as error:
        raise VitesseError(
            f"{path} is damaged, cut short, or no safetensors file ({error}). Copy or write it again."
        ) from error


def _read_pickle(path: Path) -> object:
    try:
        # A Namespace, the settings of a training script, holds plain values only.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise VitesseError(
            f"{path} holds more than weights, and reading that could run code, so it was not read. Where you trust it, "
            f"write its weights alone: torch.save(model.state_dict(), ...). ({str(error).partition(chr(10))[0]})"
        ) from error
    except Exception as error:  # a damaged pickle may fail in any way
        raise VitesseError(f"{path} is damaged. Copy or write it again. ({error!r:.200})") from error


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise VitesseError(f"{path} {'is a folder' if path.is_dir() else 'does not exist'}. Name a file of weights.")


def _is_pickle(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(9)
    # safetensors begins with the length of its header, which may look like a pickle's first bytes, then its JSON.
    if start[8:] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size:
        return False
    # A zip archive (torch since 1.6), or a bare pickle (before).
    return start.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"))


def _version() -> str:
    try:
        return installed.version("vitesse-ml")
    except installed.PackageNotFoundError:
        return "source"
