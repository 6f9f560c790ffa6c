from __future__ import annotations

import subprocess
import sys

from vitesse.arch import cost
from vitesse.nets import build
from vitesse.zoo import deit, models, tiny_vit_5m_224, tiny_vit_11m_224, tiny_vit_21m_224

KEYS = ["name", "family", "params", "macs", "input_size", "published"]


def test_every_model_has_exactly_these_facts() -> None:
    for model in models():
        assert list(model) == KEYS
        assert list(model["published"]) == ["params", "macs", "top1", "source"]
        assert "arXiv" in model["published"]["source"]


def test_counts_are_those_of_the_published_code() -> None:
    counted = {model["name"]: (model["params"], model["macs"]) for model in models()}
    assert counted["autoformer_tiny"] == (5_867_944, 1_481_938_432)
    assert counted["autoformer_small"] == (22_891_432, 5_161_400_832)
    assert counted["autoformer_base"] == (53_691_688, 11_691_179_008)
    assert counted["deit_tiny_patch16_224"] == (5_717_416, 1_253_683_200)
    assert counted["deit_small_patch16_224"] == (22_050_664, 4_598_882_304)
    assert counted["deit_base_patch16_224"] == (86_567_656, 17_563_828_224)
    assert counted["mini_deit_tiny_patch16_224"] == (3_090_304, 1_276_989_312)
    assert counted["mini_deit_small_patch16_224"] == (11_450_824, 4_651_473_408)
    assert counted["mini_deit_base_patch16_224"] == (44_098_408, 17_692_925_952)
    assert counted["mini_deit_base_patch16_384"] == (44_390_248, 56_784_893_952)
    assert counted["cream_14"] == (2_673_096, 13_188_608)
    assert counted["cream_604"] == (9_695_624, 578_698_368)
    assert counted["cdarts_a"] == (6_987_728, 283_102_336)
    assert counted["efficientvit_m0"] == (2_349_436, 79_193_600)
    assert counted["efficientvit_m1"] == (2_980_560, 167_051_840)
    assert counted["efficientvit_m2"] == (4_187_554, 201_035_712)
    assert counted["efficientvit_m3"] == (6_900_722, 262_662_208)
    assert counted["efficientvit_m4"] == (8_804_228, 299_308_544)
    assert counted["efficientvit_m5"] == (12_473_772, 521_583_104)
    assert counted["mini_swin_tiny_patch4_window7_224"] == (12_001_765, 4_593_828_864)
    assert counted["mini_swin_small_patch4_window7_224"] == (26_463_205, 8_921_584_128)
    assert counted["mini_swin_base_patch4_window7_224"] == (46_444_852, 15_701_395_456)
    assert counted["mini_swin_base_patch4_window12_384"] == (46_512_532, 48_550_322_176)
    assert counted["s3_tiny"] == (28_328_674, 4_623_332_352)
    assert counted["s3_small"] == (49_737_298, 9_404_703_744)
    assert counted["s3_base"] == (71_125_762, 13_655_012_352)
    assert counted["tiny_vit_5m_224"] == (5_392_764, 1_255_174_720)
    assert counted["tiny_vit_11m_224"] == (10_996_972, 2_016_046_144)
    assert counted["tiny_vit_21m_224"] == (21_198_568, 4_250_329_536)
    assert counted["tiny_vit_21m_384"] == (21_230_488, 13_697_865_216)
    assert counted["tiny_vit_21m_512"] == (21_268_120, 26_883_623_424)


def test_networks_of_imagenet_22k_are_the_published_ones() -> None:
    counts = [cost(make(classes=21841)).params for make in (tiny_vit_5m_224, tiny_vit_11m_224, tiny_vit_21m_224)]
    assert counts == [12_082_725, 20_354_581, 33_223_825]


def test_published_figures_stand_beside_the_counted_ones() -> None:
    for model in models():
        published = model["published"]
        assert published["params"] is None or abs(published["params"] - model["params"]) < 0.15 * model["params"]
        assert published["macs"] is None or abs(published["macs"] - model["macs"]) < 0.15 * model["macs"]


def test_counted_parameters_are_those_of_the_network() -> None:
    network = build(deit.deit_tiny_distilled_patch16_224())
    counted = {model["name"]: model["params"] for model in models()}["deit_tiny_distilled_patch16_224"]
    assert sum(p.numel() for p in network.parameters()) == counted


def test_the_list_needs_no_torch() -> None:
    code = "import sys; from vitesse.zoo import models; models(); print({'torch', 'timm', 'numpy'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
