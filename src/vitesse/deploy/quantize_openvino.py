"""Static int8 of a network in OpenVINO by NNCF, told that it is a transformer: without that int8 is slower than float."""

from __future__ import annotations

import contextlib
import io
import logging
import os
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vitesse.deploy.runtime import Images, require_runtime
from vitesse.errors import UsageError

PRODUCTS = ("MatMul", "Convolution", "GroupConvolution")


class OpenVinoInt8:
    """Quantizes one .onnx or .xml, any number of times.

    images: float32 (N, C, H, W) in 0..1, as the file is served, N >= 1. `products` are the names of the operations that
    become int8, in the order in which they are computed.
    """

    def __init__(self, source: Path, images: Images) -> None:
        self._openvino, self._nncf = _packages()
        self._source, self._images = source, images
        operations = self._read().get_ordered_ops()
        self.products = tuple(one.get_friendly_name() for one in operations if one.get_type_name() in PRODUCTS)

    def write(self, target: Path, *, keep: Collection[str] = ()) -> None:
        """Write the int8 network to `target` (.xml, with its .bin beside it); the products named in `keep` stay in float."""
        nncf = self._nncf
        # One image at a time: what is measured of a batch would be taken for one image of other proportions.
        images = nncf.Dataset([self._images[at : at + 1] for at in range(len(self._images))])
        with contextlib.redirect_stdout(io.StringIO()):  # stdout is for results, and it draws progress bars there
            quantized = nncf.quantize(
                self._read(),
                images,
                model_type=nncf.ModelType.TRANSFORMER,
                preset=nncf.QuantizationPreset.MIXED,  # weights symmetric, all else not
                subset_size=len(self._images),
                ignored_scope=nncf.IgnoredScope(names=sorted(keep)) if keep else None,
                advanced_parameters=_one_range_per_tensor(),
            )
        self._openvino.save_model(quantized, target, compress_to_fp16=False)

    def _read(self) -> Any:
        return self._openvino.Core().read_model(self._source)


def _packages() -> tuple[Any, Any]:
    """OpenVINO and NNCF, imported late, for that takes seconds; UsageError where they are not installed."""
    require_runtime("openvino")
    if find_spec("nncf") is None:
        raise UsageError(
            "NNCF, which makes int8, is not installed. Install it: python -m pip install 'vitesse-ml[openvino]'"
        )
    os.environ.setdefault("NNCF_CI", "1")  # else NNCF reports each use to its makers
    import nncf
    import openvino

    nncf.set_log_level(logging.ERROR)
    return openvino, nncf


def _one_range_per_tensor() -> Any:
    """Of what layers take in. NNCF would give each channel before a depthwise convolution a range of its own, and where
    tokens are laid out as a map on the way there it means the wrong axis: OpenVINO refuses to run the file.
    """
    from nncf.quantization import advanced_parameters as advanced

    ranges = advanced.QuantizationParameters(per_channel=False)
    return advanced.AdvancedQuantizationParameters(activations_quantization_params=ranges)
