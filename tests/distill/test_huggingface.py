"""Models of the Hub, tiny and random, from folders of this machine: nothing is downloaded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from vitesse.data.part import Batch
from vitesse.data.preprocess import Preprocess
from vitesse.distill.foreign import foreign_preprocess, foreign_teacher
from vitesse.distill.huggingface import ClipModel
from vitesse.errors import UsageError, VitesseError
from vitesse.nets.taps import layers_of
from vitesse.tasks.settings import DistillSettings
from vitesse.tasks.teaching import Teaching

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before transformers is imported
transformers = pytest.importorskip("transformers", reason="the extra 'transformers' is not installed")

SMALL = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def saved(model: Any, folder: Path, processor: Any = None) -> str:
    transformers.utils.logging.disable_progress_bar()
    model.eval().save_pretrained(folder)
    if processor is not None:
        processor.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    config = transformers.ViTConfig(**SMALL, image_size=16, patch_size=4, num_labels=3)
    config.id2label = {0: "ant", 1: "bee", 2: "cat"}
    processor = transformers.ViTImageProcessor(size={"height": 16, "width": 16}, image_mean=[0.4, 0.5, 0.6])
    return saved(transformers.ViTForImageClassification(config), tmp_path_factory.mktemp("vit"), processor)


@pytest.fixture(scope="module")
def dino(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(1)
    config = transformers.Dinov2Config(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=16, patch_size=8
    )
    return saved(transformers.Dinov2Model(config), tmp_path_factory.mktemp("dino"))


def test_a_classifier(vit: str) -> None:
    teacher = foreign_teacher(f"hf:{vit}").eval()
    assert (teacher.class_names, teacher.num_classes) == (("ant", "bee", "cat"), 3)
    assert foreign_preprocess(teacher) == Preprocess(
        size=(16, 16), mean=(0.4, 0.5, 0.6), std=(0.5,) * 3, interpolation="bilinear", crop=1.0
    )
    own = transformers.ViTForImageClassification.from_pretrained(vit).eval()
    with torch.no_grad():
        torch.testing.assert_close(teacher(IMAGES), own(IMAGES).logits)
    (first, second) = layers_of(teacher, IMAGES[:1])
    assert (first.extra, first.patches, second.width) == (1, 16, 24)


def test_a_new_classifier_can_be_saved_and_loaded_into_the_shape_alone(vit: str, dino: str) -> None:
    for name in (f"hf:{vit}", f"hf:{dino}"):
        torch.manual_seed(3)
        teacher = foreign_teacher(name, classes=5).eval()
        again = foreign_teacher(name, classes=5, pretrained=False).eval()
        again.load_state_dict(teacher.state_dict())
        with torch.no_grad():
            assert teacher(IMAGES).shape == (2, 5)
            torch.testing.assert_close(again(IMAGES), teacher(IMAGES))


@pytest.mark.parametrize("of", ["map", "pooled"])
def test_an_encoder_teaches_by_its_features(dino: str, of: Any) -> None:
    import timm

    teacher = foreign_teacher(f"hf:{dino}")
    assert (teacher.num_classes, teacher.num_prefix_tokens, teacher.num_features) == (0, 1, 24)
    student = timm.create_model("test_vit", img_size=16, patch_size=4, num_classes=3)
    labels = torch.tensor([0, 2])
    batch = Batch(IMAGES, torch.eye(3)[labels], labels, torch.arange(2))
    teaching = Teaching(teacher, DistillSettings(feature_of=of), classifies=False)
    pupil = teaching.prepare(student, IMAGES)
    loss = teaching.loss(teaching.look(pupil, IMAGES), batch, teaching.told(batch), student=pupil)
    loss.backward()
    assert loss.isfinite() and pupil.projections["features"].weight.grad is not None
    mine, told = teaching.compare(student, IMAGES)
    assert told.shape == (2, 24) and mine.shape[0] == 2


def test_a_clip_classifies_by_names(tmp_path: Path) -> None:
    torch.manual_seed(2)
    text = {**SMALL, "vocab_size": 99, "max_position_embeddings": 16, "eos_token_id": 2, "bos_token_id": 1}
    config = transformers.CLIPConfig(
        text_config=text, vision_config={**SMALL, "image_size": 16, "patch_size": 8}, projection_dim=20
    )
    clip = transformers.CLIPModel(config)
    source = saved(clip, tmp_path / "clip")
    words(tmp_path / "clip")
    teacher = foreign_teacher(f"clip:{source}").eval()
    assert isinstance(teacher, ClipModel) and teacher.num_classes == 0
    with torch.no_grad():
        assert teacher(IMAGES).shape == (2, 20)
    teacher.name_classes(("ant", "bee", "cat"), prompt="a {}")
    tokens = {"input_ids": torch.tensor([[1, 3, 4, 2], [1, 3, 5, 2], [1, 3, 6, 2]])}
    with torch.no_grad():
        wanted = clip(pixel_values=IMAGES, **tokens).logits_per_image
        torch.testing.assert_close(teacher(IMAGES), wanted, rtol=1e-4, atol=1e-4)
    with pytest.raises(UsageError, match="holds {}"):
        teacher.name_classes(("ant",), prompt="a photo")


def words(folder: Path) -> None:
    """A tokenizer of six words."""
    tokenizers = pytest.importorskip("tokenizers")
    known = {"<pad>": 0, "<s>": 1, "</s>": 2, "a": 3, "ant": 4, "bee": 5, "cat": 6}
    whole = tokenizers.Tokenizer(tokenizers.models.WordLevel(known, unk_token="<pad>"))
    whole.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    whole.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=whole, pad_token="<pad>", bos_token="<s>", eos_token="</s>", model_max_length=16
    )
    fast.save_pretrained(folder)


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(VitesseError, match="could not be loaded from the Hugging Face Hub"):
        foreign_teacher(f"hf:{tmp_path}/nothing")
