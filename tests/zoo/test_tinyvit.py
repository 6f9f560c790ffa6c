from __future__ import annotations

import pytest

from vitesse.arch import LocalConv, MBConv, WindowAttention
from vitesse.zoo import tiny_vit_5m_224, tiny_vit_11m_224, tiny_vit_21m_224, tiny_vit_21m_384, tiny_vit_21m_512


@pytest.mark.parametrize(
    ("make", "dims", "windows"),
    [
        (tiny_vit_5m_224, (64, 128, 160, 320), (7, 14, 7)),
        (tiny_vit_11m_224, (64, 128, 256, 448), (7, 14, 7)),
        (tiny_vit_21m_224, (96, 192, 384, 576), (7, 14, 7)),
        (tiny_vit_21m_384, (96, 192, 384, 576), (12, 24, 12)),
        (tiny_vit_21m_512, (96, 192, 384, 576), (16, 32, 16)),
    ],
)
def test_the_published_plan(make, dims, windows) -> None:
    arch = make()
    assert tuple(stage.dim for stage in arch.stages) == dims
    assert tuple(stage.depth for stage in arch.stages) == (2, 2, 6, 2)
    side = arch.stem.image[0]
    assert [grid.rows for grid in arch.grids] == [side // 4, side // 8, side // 16, side // 32]
    assert isinstance(arch.stages[0].blocks[0].branches[0], MBConv)
    for stage, window in zip(arch.stages[1:], windows, strict=True):
        attention, local, _ = stage.blocks[0].branches
        assert isinstance(local, LocalConv) and isinstance(attention, WindowAttention)
        assert (attention.window, attention.head_dim) == (window, 32) and attention.heads * 32 == stage.dim


def test_classes_and_images_are_arguments() -> None:
    arch = tiny_vit_5m_224(classes=7, image=64)
    assert arch.head.classes == 7 and arch.stem.image == (64, 64)
