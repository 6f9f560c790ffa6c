"""The meta network of prioritized paths: who should teach a path, and how much of the loss is the teacher's.

Peng et al., "Cream of the Crop", NeurIPS 2020 (arXiv 2010.15821), sections 3.2 and 3.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vitesse.losses.classification import cross_entropy, distillation
from vitesse.train.processes import Accelerator, average_gradients, total


def path_loss(match: float | Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """What a path learns: (match * teacher + (2 - match) * labels) / 2, two losses that the match in (0, 1) weighs."""
    return (match * teacher + (2 - match) * labels) / 2


class Rating:
    """One linear layer from what two paths say differently of a few images to a score, and the optimizer that teaches it.

    The score's sigmoid is the match. published: the match is that of minus the score of the board's last path, whoever
    teaches, and of the unrolled step only the first tensor counts, as in the released code.
    """

    def __init__(
        self, *, classes: int, images: int, lr: float, seed: int, accelerator: Accelerator, published: bool = False
    ) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layer = nn.Linear(classes * images, 1)
        self.layer, self.accelerator, self.published = layer.to(accelerator.device), accelerator, published
        self.optimizer = torch.optim.Adam(self.layer.parameters(), lr=lr)

    def scores(self, differences: Tensor) -> Tensor:
        """Differences of probabilities (K, images, classes), the path's minus those of K teachers, to scores (K,)."""
        rated: Tensor = self.layer(differences.flatten(1)).squeeze(1)
        return rated

    def choose(self, differences: Tensor, *, able: Sequence[int]) -> tuple[int, float]:
        """Whom of the `able` the scores prefer, and the match; the same on all processes, whose scores are averaged."""
        with torch.no_grad():
            own = self.scores(differences).tolist()
        known = own if self.accelerator.num_processes == 1 else total(own, self.accelerator)
        scores = torch.tensor(known, dtype=torch.float64) / self.accelerator.num_processes
        place = max(able, key=lambda one: float(scores[one]))  # of equals the better path
        return place, float(self._match(scores, place))

    def _match(self, scores: Tensor, place: int) -> Tensor:
        return torch.sigmoid(-scores[-1]) if self.published else torch.sigmoid(scores[place])

    def learn(
        self, student: nn.Module, differences: Tensor, place: int, *, images: Tensor, guide: Tensor, ahead: Tensor,
        targets: Tensor, rate: float,
    ) -> None:  # fmt: skip
        """One lesson: how the match should have been for a step towards the teacher to help with the labels of other images.

        The simulated step is w' = w - rate * match * d KD / d w, on `images` with the teacher's logits `guide`; what it is
        judged by is the cross-entropy of w' on the images `ahead` with `targets`. In the step the match is a factor that
        does not depend on w, so that the derivative of that loss by the match is exactly -rate * <d KD / d w, d CE / d w'>: two
        backward passes, and no second derivative, which fused attention has not. `student`: a copy, which is changed.
        """
        match = self._match(self.scores(differences), place)
        weights = [weight for weight in student.parameters() if weight.requires_grad]
        # Weights that shared blocks lack, or that nothing reads, get no gradient.
        how: dict[str, Any] = {"allow_unused": True, "materialize_grads": True}
        toward = torch.autograd.grad(distillation(student(images), guide, form="cross_entropy"), weights, **how)
        with torch.no_grad():
            for weight, gradient in zip(weights, toward, strict=True):
                weight.sub_(rate * match * gradient)
        after = torch.autograd.grad(cross_entropy(student(ahead), targets), weights, **how)
        pairs = list(zip(toward, after, strict=True))[: 1 if self.published else None]
        slope = -rate * torch.stack([(one * other).sum() for one, other in pairs]).sum()
        self.optimizer.zero_grad(set_to_none=True)
        (slope * match).backward()
        average_gradients(self.layer, self.accelerator)
        self.optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """The layer and its optimizer."""
        return {"layer": self.layer.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.layer.load_state_dict(state["layer"])
        self.optimizer.load_state_dict(state["optimizer"])
