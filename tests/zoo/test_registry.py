from __future__ import annotations

import subprocess
import sys

import pytest
import timm
import torch
from timm.data import resolve_model_data_config

from vitesse.errors import UsageError, VitesseError
from vitesse.zoo.published import MODELS

NAME = "vitesse_autoformer_tiny"
SMALL = {"img_size": 32, "num_classes": 5}


def run(code: str) -> str:
    found = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()


def test_listed_when_timm_comes_later() -> None:
    after = "before = 'timm' in sys.modules; import timm; print(before, timm.is_model('vitesse_autoformer_tiny'), "
    rest = "timm.__loader__ is timm.__spec__.loader, [f for f in sys.meta_path if 'vitesse' in type(f).__module__])"
    assert run("import sys, vitesse; " + after + rest + "; timm.__loader__.get_source('timm')") == "False True True []"


def test_listed_at_once_when_timm_is_there() -> None:
    assert run(f"import timm, vitesse; print(timm.is_model({NAME!r}))") == "True"


def test_listed_when_our_own_networks_bring_timm() -> None:
    code = f"import vitesse.nets; import timm; print(timm.create_model({NAME!r}).num_classes)"
    assert run(code) == "1000"


def test_a_failed_import_of_timm_may_be_tried_again() -> None:
    code = (
        "import sys, vitesse; sys.modules['timm.models'] = None\n"
        "try:\n    import timm\nexcept ImportError:\n    pass\n"
        f"del sys.modules['timm.models']; import timm; print(timm.is_model({NAME!r}))"
    )
    assert run(code) == "True"


def test_every_model_is_listed() -> None:
    assert {f"vitesse_{model.name}" for model in MODELS} <= set(timm.list_models("vitesse_*"))


def test_timm_knows_the_input_before_the_model_is_made() -> None:
    cfg = timm.get_pretrained_cfg(NAME)
    assert (cfg.input_size, cfg.crop_pct, cfg.mean) == ((3, 224, 224), 0.875, (0.485, 0.456, 0.406))


def test_keywords_of_timm() -> None:
    network = timm.create_model(NAME, num_classes=5, in_chans=1, img_size=64, drop_path_rate=0.1, global_pool="token")
    assert network(torch.zeros(2, 1, 64, 64)).shape == (2, 5)
    assert network.arch.head.pool == "class"
    assert network.stages[0].blocks[12][1].drop_path.drop_prob == pytest.approx(0.1)
    assert resolve_model_data_config(network)["input_size"] == (1, 64, 64)


def test_timm_trains_with_its_own_defaults() -> None:
    assert timm.create_model("vitesse_deit_tiny_patch16_224", drop_rate=0.0, pretrained=False, **SMALL).num_classes == 5


def test_features_are_maps_and_nothing_is_built_beyond_them() -> None:
    features = timm.create_model(NAME, features_only=True, out_indices=(1, 3), img_size=64)
    maps = features(torch.zeros(2, 3, 64, 64))
    assert [tuple(m.shape) for m in maps] == [(2, 192, 4, 4)] * 2
    assert features.feature_info.channels() == [192, 192]
    sum(m.sum() for m in maps).backward()
    assert [name for name, p in features.named_parameters() if p.grad is None] == []


def test_features_of_a_hierarchical_network_are_maps_of_images_of_any_size() -> None:
    features = timm.create_model("vitesse_tiny_vit_5m_224", features_only=True, out_indices=(1, 2, 3))
    assert (features.feature_info.channels(), features.feature_info.reduction()) == ([128, 160, 320], [8, 16, 32])
    maps = features(torch.zeros(1, 3, 72, 104))  # rounded up, as convolutions of stride 2 do
    assert [tuple(m.shape) for m in maps] == [(1, 128, 9, 13), (1, 160, 5, 7), (1, 320, 3, 4)]


def test_features_of_a_hierarchical_network_are_those_of_its_stages() -> None:
    features = timm.create_model("vitesse_tiny_vit_5m_224", features_only=True, img_size=64)
    maps = features(torch.zeros(1, 3, 64, 64))
    assert [tuple(m.shape[1:]) for m in maps] == [(64, 16, 16), (128, 8, 8), (160, 4, 4), (320, 2, 2)]
    assert features.feature_info.reduction() == [4, 8, 16, 32]
    early = timm.create_model("vitesse_tiny_vit_5m_224", features_only=True, out_indices=(1,), img_size=64)
    assert len(early.model.stages) == 2


def test_large_images_are_not_cropped() -> None:
    assert timm.get_pretrained_cfg("vitesse_tiny_vit_21m_384").crop_pct == 1.0
    assert timm.get_pretrained_cfg("vitesse_tiny_vit_21m_224").crop_pct == 0.875


def test_features_by_default_are_the_last_three() -> None:
    assert len(timm.create_model(NAME, features_only=True, **SMALL)(torch.zeros(1, 3, 32, 32))) == 3


def test_pretrained_says_that_there_is_nothing() -> None:
    with pytest.raises(VitesseError, match="from_published"):
        timm.create_model(NAME, pretrained=True)


@pytest.mark.parametrize("keyword", [{"drop_rate": 0.1}, {"qk_norm": True}, {"global_pool": "max"}])
def test_other_keywords_are_refused(keyword: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(keyword))):
        timm.create_model(NAME, **keyword)
