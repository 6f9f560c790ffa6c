"""A network as one file: weights, architecture, preprocessing and class names together; and back."""

from __future__ import annotations

import json
from pathlib import Path

from vitesse.arch import from_json, to_json
from vitesse.data.preprocess import Preprocess
from vitesse.errors import VitesseError
from vitesse.nets import Network, build
from vitesse.nets.interface import pretrained_cfg
from vitesse.weights.files import load_state, save_state

FILE = "model.safetensors"


def save_network(network: Network, path: Path | str) -> None:
    """Write the network to `path` (.safetensors), whole or not at all."""
    extra = {"classes": json.dumps(network.class_names)}
    if network.preprocess is not None:
        extra["preprocess"] = json.dumps(network.preprocess.to_dict())
    save_state(path, network.state_dict(), arch_json=to_json(network.arch), metadata=extra)


def load_network(path: Path | str) -> Network:
    """The network in a file, or in a run folder, in evaluation mode, with its `preprocess` and `class_names`.

    VitesseError where the file is missing or damaged, holds code, or does not fit its own architecture.
    """
    file = Path(path) / FILE if Path(path).is_dir() else Path(path)
    state, arch_json, extra = load_state(file)
    try:
        network = build(from_json(arch_json))
        network.load_state_dict(state)
        network.class_names = tuple(json.loads(extra.get("classes", "[]")))
        if "preprocess" in extra:
            network.preprocess = Preprocess.from_dict(json.loads(extra["preprocess"]))
            network.default_cfg = network.pretrained_cfg = pretrained_cfg(network.arch, network.preprocess)
    except (ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise VitesseError(f"{file} does not hold the network that it describes: {error}") from error
    return network.eval()
