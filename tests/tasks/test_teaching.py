"""The loss of a step: terms by hand, layers matched, projections trained and dropped."""

from __future__ import annotations

from dataclasses import replace

import pytest
import timm
import torch
from torch import Tensor, nn

from vitesse.arch import (
    MLP,
    Attention,
    Backbone,
    Block,
    Cell,
    CellNetwork,
    CellStage,
    CellStem,
    Edge,
    Genotype,
    Head,
    PatchEmbed,
    Stage,
)
from vitesse.data.part import Batch
from vitesse.errors import UsageError, VitesseError
from vitesse.losses.classification import cross_entropy, distillation
from vitesse.losses.features import cosine, l2, normalized_l2
from vitesse.losses.relations import attention_relations, hidden_relations
from vitesse.nets import Network, build
from vitesse.nets.taps import layers_of, taps
from vitesse.tasks.matching import matched
from vitesse.tasks.settings import DistillSettings
from vitesse.tasks.teaching import Pupil, Seen, Teaching, network_of


def vit(dim: int, depth: int, *, classes: int = 5, tokens: tuple[str, ...] = ("class",), patch: int = 8) -> Network:
    torch.manual_seed(dim + depth)
    network = build(
        Backbone(
            stem=PatchEmbed(image=(16, 16), patch=(patch, patch), tokens=tokens),
            stages=(Stage(dim=dim, depth=depth, block=Block(Attention(heads=2, head_dim=dim // 2), MLP(ratio=1.0))),),
            head=Head(classes=classes, pool="mean"),
        )
    )
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(6) % 5
    images = torch.randn(6, 3, 16, 16, generator=generator)
    return Batch(images, nn.functional.one_hot(labels, 5).float(), labels, torch.arange(6))


def step(teaching: Teaching, student: nn.Module, batch: Batch) -> Tensor:
    return teaching.loss(teaching.look(student, batch.images), batch, teaching.told(batch), student=student)


def test_labels_and_logits(batch: Batch) -> None:
    teacher, student = vit(16, 2).train(), vit(8, 2)
    teaching = Teaching(teacher, DistillSettings(logits=0.25, temperature=3.0))
    assert not teacher.training and not any(p.requires_grad for p in teacher.parameters())  # a teacher is not taught
    assert teaching.prepare(student, batch.images) is student
    told = teaching.told(batch)
    assert told is not None and told.logits is not None and not told.logits.requires_grad
    logits = student(batch.images)
    by_hand = 0.75 * cross_entropy(logits, batch.targets) + 0.25 * distillation(logits, told.logits, temperature=3.0)
    torch.testing.assert_close(step(teaching, student, batch), by_hand)
    assert Teaching().told(batch) is None
    assert torch.equal(step(Teaching(), student, batch), cross_entropy(logits, batch.targets))


def test_the_three_terms_of_minivit(batch: Batch) -> None:
    teacher, student = vit(16, 4), vit(8, 2)
    settings = DistillSettings(
        logits=1.0, attention=2.0, hidden=0.5, temperature=1.0, form="cross_entropy",
        pairs=("qk", "vv"), relation_heads=2, layers=(1,), teacher_layers=(2,),
    )  # fmt: skip
    teaching = Teaching(teacher, settings)
    assert teaching.prepare(student, batch.images) is student  # relations need no projection
    ours, theirs = layers_of(student, batch.images[:1])[1], layers_of(teacher, batch.images[:1])[2]
    with taps(student, [*ours.projections, ours.hidden]) as mine:
        logits = student(batch.images)
    with torch.no_grad(), taps(teacher, [*theirs.projections, theirs.hidden]) as other:
        told = teacher(batch.images)
    by_hand = (
        distillation(logits, told, form="cross_entropy")
        + 2.0 * attention_relations(ours.qkv(mine), theirs.qkv(other), pairs=[("q", "k"), ("v", "v")], heads=2)
        + 0.5 * hidden_relations(ours.tokens(mine), theirs.tokens(other))
    )
    found = step(teaching, student, batch)
    torch.testing.assert_close(found, by_hand)
    found.backward()
    assert all(p.grad is None for p in teacher.parameters())
    assert student.stages[0].blocks[0][0].op.qkv.weight.grad.abs().sum() > 0


def test_tokens_that_only_one_has_are_left_out(batch: Batch) -> None:
    teacher, student = vit(16, 2), vit(8, 2, tokens=())
    teaching = Teaching(teacher, DistillSettings(hidden=1.0, logits=0.0, labels=0.0, layers=(1,)))
    teaching.prepare(student, batch.images)
    with torch.no_grad():
        (mine,), (other,) = (
            network.eval().forward_intermediates(batch.images, 1, output_fmt="NLC", intermediates_only=True)
            for network in (student, teacher)
        )
    torch.testing.assert_close(step(teaching, student, batch), hidden_relations(mine, other))


@pytest.mark.parametrize(("form", "loss"), [("cosine", cosine), ("l2", normalized_l2)])
def test_features_of_an_encoder_through_a_projection(batch: Batch, form: str, loss) -> None:
    """The teacher's map is finer: it is brought to the student's."""
    teacher, student = vit(12, 1, classes=0, patch=4), vit(8, 2)
    teaching = Teaching(teacher, DistillSettings(feature_form=form), classifies=False)  # type: ignore[arg-type]
    assert teaching.weights.features == teaching.weights.labels == 1.0
    pupil = teaching.prepare(student, batch.images, seed=3)
    assert isinstance(pupil, Pupil) and network_of(pupil) is student
    assert pupil.projections["features"].weight.shape == (12, 8)
    with torch.no_grad():
        wanted = teacher.forward_features(batch.images)[:, 1:].transpose(1, 2).unflatten(2, (4, 4))
    wanted = nn.functional.interpolate(wanted, (2, 2), mode="bilinear", antialias=True).flatten(2).transpose(1, 2)
    mine = pupil.projections["features"](student.forward_features(batch.images)[:, 1:])
    by_hand = cross_entropy(student(batch.images), batch.targets) + loss(mine, wanted)
    found = step(teaching, pupil, batch)
    torch.testing.assert_close(found, by_hand)
    found.backward()
    assert pupil.projections["features"].weight.grad is not None  # it is trained
    assert torch.equal(pupil(batch.images), student(batch.images))
    assert pupil.no_weight_decay() == {"network.stem.position", "network.stem.tokens"}


def test_hidden_states_through_a_projection_each(batch: Batch) -> None:
    teacher, student = vit(16, 4), vit(8, 4)
    teaching = Teaching(teacher, DistillSettings(logits=0.0, labels=0.0, hidden=1.0, hidden_form="l2"))
    pupil = teaching.prepare(student, batch.images)
    assert isinstance(pupil, Pupil) and set(pupil.projections) == {"hidden_0", "hidden_1"}  # layers 1 and 3
    seen, told = teaching.look(pupil, batch.images), teaching.told(batch)
    assert told is not None
    each = [
        l2(pupil.projections[f"hidden_{i}"](ours.tokens(seen.found)), theirs.tokens(told.found))
        for i, (ours, theirs) in enumerate(teaching.layers)
    ]
    torch.testing.assert_close(step(teaching, pupil, batch), torch.stack(each).mean())


def test_pooled_features_of_images_related_to_each_other(batch: Batch) -> None:
    teacher, student = timm.create_model("test_resnet", num_classes=0, in_chans=3).eval(), vit(8, 1, classes=0)
    settings = DistillSettings(feature_form="relation", feature_of="pooled", labels=0.0)
    teaching = Teaching(teacher, settings, classifies=False, labelled=False)
    assert teaching.prepare(student, batch.images) is student
    with torch.no_grad():
        mine, other = student(batch.images), teacher(batch.images)
    torch.testing.assert_close(step(teaching, student, batch), hidden_relations(mine[None], other[None]))
    first, second = teaching.compare(student, batch.images)
    torch.testing.assert_close(first, mine)
    torch.testing.assert_close(second, other)


def test_features_at_named_modules(batch: Batch) -> None:
    teacher = nn.Sequential(nn.Conv2d(3, 12, 8, stride=8), nn.ReLU())
    student = vit(8, 2)
    settings = DistillSettings(labels=0.0, teacher_module="0", student_module="stages.0.blocks.0.1")
    teaching = Teaching(teacher, settings, classifies=False)
    pupil = teaching.prepare(student, batch.images)
    assert step(teaching, pupil, batch).item() > 0
    with pytest.raises(VitesseError, match=r"Sequential has neither. Name one"):
        Teaching(teacher, replace(settings, teacher_module=""), classifies=False).prepare(student, batch.images)


def test_layers_of_one_map_are_matched_by_depth() -> None:
    """Mini-Swin's student of 2, 2, 6, 2 layers and its teacher of 2, 2, 18, 2, at a small size: the published pairs."""

    def swin(*depths: int) -> tuple[nn.Module, list[int]]:
        network = timm.create_model(
            "swin_tiny_patch4_window7_224", img_size=56, window_size=2, embed_dim=4, depths=depths, num_heads=(1,) * 4
        )
        return network, list(range(sum(depths)))

    image = torch.zeros(1, 3, 56, 56)
    (small, _), (big, order) = swin(2, 2, 6, 2), swin(2, 2, 18, 2)
    theirs = layers_of(big, image)
    pairs = matched(layers_of(small, image), theirs, settings=DistillSettings(), teacher=big)
    assert [order[theirs.index(second)] for _, second in pairs] == [1, 3, 9, 15, 21, 23]


def test_what_cannot_be_matched_is_named(batch: Batch) -> None:
    student, hidden = vit(8, 2), DistillSettings(hidden=1.0)
    with pytest.raises(VitesseError, match="the teacher has none that is known"):
        Teaching(timm.create_model("test_resnet", num_classes=5), hidden).prepare(student, batch.images)
    with pytest.raises(VitesseError, match="student sees 4 patches, but the teacher's layers see 16"):
        Teaching(vit(8, 2, patch=4), hidden).prepare(student, batch.images)
    with pytest.raises(VitesseError, match=r"between 0 and 1.*is \(2,\)"):
        Teaching(vit(8, 2), replace(hidden, layers=(2,))).prepare(student, batch.images)


def test_answers_from_elsewhere(batch: Batch) -> None:
    """A store answers instead of the teacher; what else is asked for needs the teacher itself."""
    student, asked = vit(8, 1), []

    def answers(given: Batch, number: int) -> Tensor:
        asked.append((given.indices.tolist(), number))
        return torch.zeros(len(given.indices), 5)

    teaching = Teaching(None, DistillSettings(logits=1.0, temperature=1.0), answers=answers)
    told = teaching.told(batch, 7)
    assert told is not None and asked == [(list(range(6)), 7)]
    loss = teaching.loss(Seen(logits=student(batch.images)), batch, told)
    torch.testing.assert_close(loss, distillation(student(batch.images), torch.zeros(6, 5)))
    with pytest.raises(VitesseError, match="store holds logits alone"):
        Teaching(None, DistillSettings(hidden=1.0), answers=answers)


def test_a_supernet_hears_logits_alone(batch: Batch) -> None:
    teaching = Teaching(vit(16, 2), DistillSettings(hidden=1.0, logits=0.5)).logits_only()
    assert teaching.weights.labels == teaching.weights.logits == 0.5 and not teaching.weights.deep


@pytest.mark.parametrize(
    ("settings", "kind", "labelled", "message"),
    [
        (DistillSettings(attention=1.0), "none", True, "distill.attention: this needs a teacher"),
        (DistillSettings(logits=1.0), "encoder", True, "knows no classes"),
        (DistillSettings(labels=0.5), "encoder", False, "Images without labels"),
        (DistillSettings(labels=0.0, logits=0.0), "classifier", True, "must be told something"),
    ],
)
def test_settings_that_contradict_the_teacher(settings: DistillSettings, kind, labelled: bool, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        settings.weights(teacher=kind, labelled=labelled)


@pytest.mark.parametrize(
    "wrong", [{"hidden": -1.0}, {"temperature": 0.0}, {"pairs": ("qx",)}, {"pairs": ()}, {"teacher_layers": (1,)}]
)
def test_settings_that_mean_nothing(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="distill"):
        DistillSettings(**wrong)  # type: ignore[arg-type]


def test_under_autocast(batch: Batch) -> None:
    teacher, student = vit(16, 2), vit(8, 2)
    teaching = Teaching(teacher, DistillSettings(attention=1.0, hidden=1.0, features=1.0))
    pupil = teaching.prepare(student, batch.images)
    wanted = step(teaching, pupil, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = step(teaching, pupil, batch)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted, rtol=5e-2, atol=5e-2)


def cells(*, auxiliary: bool = False) -> Network:
    torch.manual_seed(0)
    cell = Cell(((Edge("sep_conv_3x3", 0), Edge("skip_connect", 1)),))
    stages = tuple(
        CellStage(depth=1, channels=4, genotype=Genotype(cell, cell), halves=halves) for halves in (True, False)
    )
    arch = CellNetwork(
        stem=CellStem(dim=4, image=(16, 16)),
        stages=stages,
        head=Head(classes=5, pool="mean", norm=None, norm_first=False),
    )
    return build(replace(arch, auxiliary=arch.usual_auxiliary) if auxiliary else arch)


@pytest.mark.parametrize("own", [True, False])
def test_an_auxiliary_classifier(batch: Batch, own: bool) -> None:
    """It is the network's own, or is trained with it and dropped."""
    teaching, student = Teaching(settings=DistillSettings(auxiliary=0.4)), cells(auxiliary=own)
    trained = teaching.prepare(student, batch.images)
    assert isinstance(trained, Pupil) == (not own) and network_of(trained) is student
    head = student.auxiliary if own else trained.projections["auxiliary"]
    student.eval()
    head.eval()
    (tapped,) = student.forward_intermediates(batch.images, [0], intermediates_only=True)
    by_hand = cross_entropy(student(batch.images), batch.targets) + 0.4 * cross_entropy(head(tapped), batch.targets)
    loss = step(teaching, trained, batch)
    torch.testing.assert_close(loss, by_hand)
    loss.backward()
    assert all(parameter.grad is not None for parameter in trained.parameters())
    assert not any("auxiliary" in name for name in student.state_dict()) or own


def test_an_auxiliary_classifier_beside_a_teacher(batch: Batch) -> None:
    settings = DistillSettings(labels=0.0, logits=1.0, features=1.0, auxiliary=0.4)
    teaching = Teaching(vit(8, 1), settings)
    trained = teaching.prepare(cells(), batch.images)
    assert isinstance(trained, Pupil) and set(trained.projections) == {"features", "auxiliary"}
    step(teaching, trained, batch).backward()
    assert all(parameter.grad is not None for parameter in trained.projections.parameters())


def test_only_networks_of_cells_have_an_auxiliary_classifier(batch: Batch) -> None:
    with pytest.raises(UsageError, match="for a network of cells"):
        Teaching(settings=DistillSettings(auxiliary=0.4)).prepare(vit(8, 1), batch.images)
