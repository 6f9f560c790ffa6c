"""How much two encoders see alike: one number, whatever their widths."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def linear_cka(first: Tensor, second: Tensor) -> float:
    """Linear centred kernel alignment of features (n, C) and (n, C') of the same n images, 0 to 1.

    1 where one is the other turned and scaled (Kornblith et al. 2019, arXiv 1905.00414, section 3). 0 where all features
    of one are the same. Fewer images than channels flatter.
    """
    one, other = ((side.double() - side.double().mean(0)) for side in (first, second))
    sizes = (one.T @ one).norm() * (other.T @ other).norm()
    return float((other.T @ one).norm() ** 2 / sizes) if float(sizes) > 0 else 0.0
