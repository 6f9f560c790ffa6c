"""The meta network: its score and the loss as the published code has them, and its lesson against plain differentiation."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.func import functional_call

from vitesse.arch import MLP, Attention, Backbone, Block, Head, PatchEmbed, Stage
from vitesse.losses.classification import cross_entropy, distillation
from vitesse.nets import build
from vitesse.tasks.rating import Rating, path_loss

GOLDEN = Path(__file__).parents[1] / "golden"
CLASSES, REFERENCES, TEACHERS, RATE = 3, 2, 4, 0.3


def rating(**changes: Any) -> Rating:
    settings: dict[str, Any] = {"classes": CLASSES, "images": REFERENCES, "lr": 0.01, "seed": 0}
    return Rating(**settings | changes, accelerator=Accelerator(cpu=True))


def test_the_published_loss() -> None:
    record = load_file(GOLDEN / "cream_loss_A.safetensors")
    found = distillation(record["pred"], record["soft"].log(), form="cross_entropy")
    torch.testing.assert_close(found, record["loss"][0], rtol=1e-5, atol=0)
    # With the other term at hand: (meta * kd + (2 - meta) * ce) / 2.
    assert path_loss(0.25, torch.tensor(4.0), torch.tensor(2.0)).item() == pytest.approx((0.25 * 4 + 1.75 * 2) / 2)


def test_the_published_meta_layer() -> None:
    record = load_file(GOLDEN / "cream_supernet_small_A.safetensors")
    images, classes = record["meta.input"].shape
    found = rating(classes=classes, images=images)
    found.layer.load_state_dict({name: record[f"state.meta_layer.{name}"] for name in ("weight", "bias")})
    torch.testing.assert_close(found.scores(record["meta.input"][None]), record["meta.output"][0], rtol=1e-5, atol=0)


def test_the_best_score_teaches_and_its_sigmoid_is_the_match() -> None:
    generator = torch.Generator().manual_seed(0)
    differences = torch.randn(TEACHERS, REFERENCES, CLASSES, generator=generator)
    one = rating()
    scores = one.scores(differences).detach()
    best = int(scores.argmax())
    place, match = one.choose(differences, able=range(TEACHERS))
    assert place == best and match == pytest.approx(torch.sigmoid(scores[best]).item())
    others = [other for other in range(TEACHERS) if other != best]
    assert one.choose(differences, able=others)[0] == max(others, key=lambda other: float(scores[other]))
    _, published = rating(published=True).choose(differences, able=range(TEACHERS))
    assert published == pytest.approx(torch.sigmoid(-scores[-1]).item())


class Case:
    """A small network in float64, two halves of a batch, and what a teacher says."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        block = Block(Attention(heads=2, head_dim=4), MLP(ratio=2.0))
        arch = Backbone(
            stem=PatchEmbed(image=(8, 8), patch=(4, 4), channels=1),
            stages=(Stage(dim=8, depth=2, block=block),),
            head=Head(classes=CLASSES),
        )
        self.network = build(arch).double()
        for parameter in self.network.parameters():
            nn.init.normal_(parameter, std=0.4)
        self.images, self.ahead = torch.randn(2, 5, 1, 8, 8, dtype=torch.float64)
        self.guide, targets = torch.randn(2, 5, CLASSES, dtype=torch.float64)
        self.targets = targets.softmax(-1)
        self.differences = torch.randn(TEACHERS, REFERENCES, CLASSES, dtype=torch.float64)

    def gradient(self, one: Rating, place: int) -> dict[str, Tensor]:
        """What the lesson gives the meta layer."""
        one.layer.double()
        one.learn(
            copy.deepcopy(self.network), self.differences, place, images=self.images, guide=self.guide,
            ahead=self.ahead, targets=self.targets, rate=RATE,
        )  # fmt: skip
        return {name: parameter.grad for name, parameter in one.layer.named_parameters() if parameter.grad is not None}

    def logits(self, weights: dict[str, Tensor], images: Tensor) -> Tensor:
        return functional_call(self.network, weights, (images,))  # type: ignore[no-any-return]

    def after(self, match: Tensor, *, differentiable: bool) -> Tensor:
        """The loss after the simulated step of every tensor, as the paper writes it."""
        weights = dict(self.network.named_parameters())
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            kd = match * _exact(self.logits(weights, self.images).log_softmax(-1), self.guide.softmax(-1))
            steps = torch.autograd.grad(kd, list(weights.values()), create_graph=differentiable)
            moved = {name: w - RATE * g for (name, w), g in zip(weights.items(), steps, strict=True)}
            return _exact(self.logits(moved, self.ahead).log_softmax(-1), self.targets)


def _exact(logs: Tensor, soft: Tensor) -> Tensor:
    """Cross-entropy in float64; ours computes in float32."""
    return -(soft * logs).sum(-1).mean()


def test_the_lesson_is_the_derivative_of_the_unrolled_step() -> None:
    """Against differentiation through the whole step, and against a difference quotient."""
    case, place = Case(), 2
    one = rating()
    layer = copy.deepcopy(one.layer).double()

    def match() -> Tensor:
        return torch.sigmoid(layer(case.differences.flatten(1)).squeeze(1)[place])

    case.after(match(), differentiable=True).backward()
    found = case.gradient(one, place)
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 1e-4
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-4, atol=1e-7)
    bump = 1e-4
    with torch.no_grad():
        layer.bias += bump
    up = case.after(match().detach(), differentiable=False).item()
    with torch.no_grad():
        layer.bias -= 2 * bump
    down = case.after(match().detach(), differentiable=False).item()
    assert found["bias"].item() == pytest.approx((up - down) / (2 * bump), rel=1e-3)


def test_a_lesson_raises_the_match_of_a_teacher_that_helps() -> None:
    """A teacher that knows the targets of the very images on which the step is judged."""
    case = Case()
    case.ahead, case.guide = case.images, 5 * case.targets.log()
    one = rating(lr=0.05)
    before = one.choose(case.differences.float(), able=[1])[1]
    for _ in range(3):
        case.gradient(one, 1)
    assert one.choose(case.differences, able=[1])[1] > before
    case.guide = -case.guide  # one that says the contrary
    wrong = rating(lr=0.05)
    for _ in range(3):
        case.gradient(wrong, 1)
    assert wrong.choose(case.differences, able=[1])[1] < before


def test_the_published_lesson_sees_the_first_tensor_alone() -> None:
    case = Case()
    whole, first = case.gradient(rating(), 3)["bias"], case.gradient(rating(published=True), 3)["bias"]
    network = copy.deepcopy(case.network)
    scores = rating().layer.double()(case.differences.flatten(1)).squeeze(1)
    match = torch.sigmoid(-scores[-1])
    parameters = list(network.parameters())
    toward = torch.autograd.grad(distillation(network(case.images), case.guide, form="cross_entropy"), parameters)
    with torch.no_grad():
        for parameter, gradient in zip(parameters, toward, strict=True):
            parameter -= RATE * match.detach() * gradient
    after = torch.autograd.grad(cross_entropy(network(case.ahead), case.targets), parameters[:1])
    slope = -RATE * (toward[0] * after[0]).sum()
    expected = slope * -match * (1 - match)  # the sign is that of the published match
    torch.testing.assert_close(first[0], expected.detach(), rtol=1e-5, atol=1e-9)
    assert first.item() != pytest.approx(whole.item(), rel=0.01)


def test_the_layer_is_the_seed_s_and_draws_nothing_from_others() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, again, other = rating(), rating(), rating(seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first.layer.weight, again.layer.weight)
    assert not torch.equal(first.layer.weight, other.layer.weight)
