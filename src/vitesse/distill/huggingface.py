"""Teachers of the Hugging Face Hub, behind timm's model interface; they need the extra `transformers`.

`hf:owner/name` is an image classifier as it is, or the vision tower of anything else as an encoder; `clip:owner/name` is a
CLIP whose classifier is made of the classes' names. A local folder in place of owner/name serves, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vitesse.data.preprocess import Preprocess
from vitesse.errors import UsageError, VitesseError

PREFIXES = ("hf:", "clip:")
PROMPT = "a photo of a {}."


def is_hub_name(name: str) -> bool:
    """Whether the name asks for a model of the Hub."""
    return name.startswith(PREFIXES)


def hub_teacher(name: str, *, pretrained: bool = True) -> HubModel:
    """The model behind `hf:...` or `clip:...`; VitesseError where it cannot be had.

    pretrained False: only its shape, for weights of one's own.
    """
    kind, _, source = name.partition(":")
    try:
        library: Any = import_module("transformers")
    except ImportError:
        raise VitesseError(
            f"The teacher {name} needs the extra 'transformers': pip install 'vitesse-ml[transformers]'"
        ) from None
    try:
        config = library.AutoConfig.from_pretrained(source)
        preprocess = _preprocess(library, source, config)
        if kind == "clip":
            return ClipModel(_loaded(library.CLIPModel, source, config, pretrained), source, preprocess=preprocess)
        if any(made.endswith("ForImageClassification") for made in config.architectures or ()):
            whole = _loaded(library.AutoModelForImageClassification, source, config, pretrained)
            names = tuple(config.id2label[place] for place in range(config.num_labels))
            return HubModel(whole.base_model, whole, preprocess=preprocess, classes=names)
        whole = _loaded(library.AutoModel, source, config, pretrained)
        return HubModel(getattr(whole, "vision_model", whole), None, preprocess=preprocess)
    except (OSError, ValueError, KeyError) as error:  # what transformers raises for names and files that are not there
        raise VitesseError(f"The model {source} could not be loaded from the Hugging Face Hub: {error}") from error


def hub_licence(name: str) -> str | None:
    """The licence that the model's card names; None where there is no card, no word of it, or no connection."""
    from huggingface_hub import ModelCard
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    source = name.partition(":")[2]
    card = Path(source) / "README.md"
    try:
        if Path(source).exists() and not card.exists():
            return None
        told = ModelCard.load(card if card.exists() else source).data.to_dict().get("license")
    except (HfHubHTTPError, HFValidationError, OSError, ValueError):
        return None
    return str(told) if told else None


class HubModel(nn.Module):
    """A vision model of transformers that gives logits (B, classes), or the pooled features (B, C) of an encoder.

    body: the encoder. whole: body and classifier together; None for an encoder.
    """

    def __init__(
        self, body: nn.Module, whole: nn.Module | None, *, preprocess: Preprocess, classes: tuple[str, ...] = ()
    ) -> None:
        super().__init__()
        self.body, self.whole = body, whole
        self.preprocess, self.class_names, self.num_classes = preprocess, classes, len(classes)
        width, self.num_prefix_tokens = self._shape()
        self.num_features = width

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) to logits, or to pooled features."""
        if self.whole is None:
            return self.pooled(self.body(images))
        output = self.whole(images)
        logits: Tensor = output if isinstance(output, Tensor) else output.logits
        return logits

    def feature_site(self, of: str) -> str:
        """The module whose output holds the features: of the encoder the last hidden state, or the whole's where pooled."""
        return "" if of == "pooled" and self.whole is None else "body"

    def pooled(self, output: Any) -> Tensor:
        """What the encoder itself pools, else the mean of its map."""
        vector: Tensor | None = output.get("pooler_output")
        if vector is not None:
            return vector.flatten(1)
        hidden: Tensor = output.last_hidden_state
        return hidden.mean((2, 3)) if hidden.ndim == 4 else hidden[:, self.num_prefix_tokens :].mean(1)

    def reset_classifier(self, classes: int) -> None:
        """A new, untrained classifier: in the place of the model's own, or one on the pooled features of an encoder."""
        if self.whole is None:
            self.whole = _OnPooled(self, nn.Linear(self.num_features, classes))
        else:
            whole: Any = self.whole
            head: nn.Module = whole.classifier
            inside = [name for name, layer in head.named_modules() if isinstance(layer, nn.Linear)]
            if not inside:
                raise VitesseError(f"{type(self.whole).__name__} has no linear classifier that could be replaced.")
            old: Any = head.get_submodule(inside[-1])
            fresh = nn.Linear(old.in_features, classes).to(old.weight)
            if inside[-1]:
                head.set_submodule(inside[-1], fresh)
            else:
                whole.classifier = fresh
            if hasattr(whole, "num_labels"):
                whole.num_labels = whole.config.num_labels = classes
        self.num_classes, self.class_names = classes, ()

    def _shape(self) -> tuple[int, int]:
        """The width of the pooled features, and how many tokens come before the patches."""
        with torch.no_grad():
            output = self.body.eval()(torch.zeros(1, self.preprocess.channels, *self.preprocess.size))
        hidden = output.last_hidden_state
        patch = getattr(self.body.config, "patch_size", None)
        extra = 0
        if hidden.ndim == 3 and isinstance(patch, int) and not hasattr(self.body.config, "depths"):
            extra = hidden.shape[1] - (self.preprocess.size[0] // patch) * (self.preprocess.size[1] // patch)
        self.num_prefix_tokens = extra
        return self.pooled(output).shape[-1], extra


class _OnPooled(nn.Module):
    """A linear classifier on an encoder's pooled features."""

    def __init__(self, model: HubModel, classifier: nn.Linear) -> None:
        super().__init__()
        self.classifier = classifier
        self._pool, self._body = model.pooled, [model.body]  # in a list: the body is no second child

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self._pool(self._body[0](images)))
        return logits


class ClipModel(HubModel):
    """A CLIP: an encoder until `name_classes` makes it a classifier by its text tower (Radford et al. 2021, section 3.1)."""

    def __init__(self, clip: Any, source: str, *, preprocess: Preprocess) -> None:
        super().__init__(clip.vision_model, None, preprocess=preprocess)
        self.projection = clip.visual_projection
        self.texts: Tensor
        self.scale: Tensor
        self.register_buffer("texts", torch.zeros(0, clip.projection_dim))
        self.register_buffer("scale", clip.logit_scale.detach().exp())
        self._clip, self._source = [clip], source  # in a list: the text tower is no part of the teacher

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the named classes; before any are named, the embedding of the image, (B, C)."""
        embedding = functional.normalize(self.projection(self.pooled(self.body(images))), dim=-1)
        return self.scale * embedding @ self.texts.T if self.num_classes else embedding

    def feature_site(self, of: str) -> str:
        """The map is the last hidden state; pooled it is the embedding that texts are compared with."""
        return "projection" if of == "pooled" else "body"

    def name_classes(self, classes: Sequence[str], *, prompt: str = PROMPT) -> None:
        """Classify by the names: each class is the embedding of `prompt` with its name at the braces."""
        if "{}" not in prompt:
            raise UsageError(f"A prompt holds {{}} for the name of the class, but got {prompt!r}.")
        tokenizer = import_module("transformers").AutoTokenizer.from_pretrained(self._source)
        words = tokenizer([prompt.format(name) for name in classes], padding=True, truncation=True, return_tensors="pt")
        (clip,) = self._clip
        with torch.no_grad():
            output = clip.text_model(**words).pooler_output
            self.texts = functional.normalize(clip.text_projection(output), dim=-1).to(self.scale.device)
        self.num_classes, self.class_names = len(classes), tuple(classes)


def _loaded(kind: Any, source: str, config: Any, pretrained: bool) -> Any:
    """The model with its weights, safetensors only, or with its shape alone."""
    if pretrained:
        return kind.from_pretrained(source, config=config, use_safetensors=True, attn_implementation="sdpa").eval()
    made = getattr(kind, "from_config", None)
    return (kind(config) if made is None else made(config)).eval()


def _preprocess(library: Any, source: str, config: Any) -> Preprocess:
    """How the model's own processor prepares an image; where it has none, ImageNet's way at the model's size."""
    try:
        told = library.AutoImageProcessor.from_pretrained(source)
    except (OSError, ValueError):
        side = getattr(getattr(config, "vision_config", config), "image_size", 224)
        return Preprocess(size=(side, side) if isinstance(side, int) else tuple(side))
    crop, size = getattr(told, "crop_size", None), told.size
    inner = crop if crop and getattr(told, "do_center_crop", True) else size
    high = inner.height or inner.shortest_edge
    wide = inner.width or inner.shortest_edge
    whole = size.shortest_edge or size.height or high
    return Preprocess(
        size=(high, wide),
        mean=tuple(told.image_mean),
        std=tuple(told.image_std),
        interpolation="bilinear" if told.resample == 2 else "bicubic",
        crop=min(1.0, high / whole),
    )
