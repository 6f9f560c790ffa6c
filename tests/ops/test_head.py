"""Pooling and classifier, by hand."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor

from vitesse.arch import BatchNorm, Head, LayerNorm
from vitesse.ops.head import Classifier

X = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0))  # two extra tokens, three patches


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize(("pool", "by_hand"), [("class", X[:, 0]), ("mean", X[:, 2:].mean(1)), ("distilled", X[:, :2])])
def test_pooling(pool: Literal["class", "mean", "distilled"], by_hand: Tensor, norm_first: bool) -> None:
    head = Classifier(Head(classes=4, pool=pool, norm_first=norm_first), 6)
    torch.nn.init.normal_(head.norm.weight)  # type: ignore[arg-type]
    # The network's features have the norm already where it comes first.
    torch.testing.assert_close(head.pool(X, 2), by_hand if norm_first else head.norm(by_hand))


def test_two_classifiers_are_averaged() -> None:
    head = Classifier(Head(classes=4, pool="distilled"), 6)
    pooled = X[:, :2]
    logits = (head.classifier(X[:, 0]) + head.classifier_distilled(X[:, 1])) / 2
    torch.testing.assert_close(head(pooled), logits)
    assert not torch.allclose(head.classifier(X[:, 0]), logits)


def test_two_norms_and_classifiers_read_the_mean() -> None:
    head = Classifier(Head(classes=4, pool="mean_distilled", norm=BatchNorm(), norm_first=False), 6).eval()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    mean = X[:, 2:].mean(1)
    each = head.classifier(head.norm(mean)), head.classifier_distilled(head.norm_distilled(mean))  # type: ignore[operator]
    torch.testing.assert_close(head(head.pool(X, 2)), (each[0] + each[1]) / 2)
    assert not torch.allclose(*each)


def test_no_classes_give_the_features() -> None:
    assert torch.equal(Classifier(Head(classes=0, norm=LayerNorm()), 6)(X[:, 0]), X[:, 0])
    both = Classifier(Head(classes=0, pool="distilled"), 6)
    torch.testing.assert_close(both(X[:, :2]), X[:, :2].mean(1))


def test_a_hidden_layer_stands_before_the_classifier() -> None:
    head = Classifier(Head(classes=4, pool="mean", norm=None, norm_first=False, hidden=9, act="relu"), 6)
    inner = head.hidden(X[:, 2:].mean(1)).relu()
    torch.testing.assert_close(head.pool(X, 2), inner)
    torch.testing.assert_close(head(head.pool(X, 2)), head.classifier(inner))


def test_a_norm_before_a_hidden_layer_is_folded_into_it() -> None:
    head = Classifier(Head(classes=4, pool="mean", norm=BatchNorm(), norm_first=False, hidden=9), 6).eval()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    expected = head(head.pool(X, 2))
    torch.testing.assert_close(head.folded()(head.pool(X, 2)), expected)
    assert isinstance(head.norm, torch.nn.Identity)
