"""Trainings that learn from more than the labelled data: losses by the papers' formulas, stages, what is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ironbound as ib
from ironbound.core.errors import CompositionError, FingerprintMismatch, InputError, ModelError, UsageError
from ironbound.core.progress import Event
from ironbound.core.rng import Rng, content_keys
from ironbound.defenses.train import (
    Adversarial,
    Augmented,
    Awp,
    DefensiveDistillation,
    Distill,
    Given,
    MultiNorm,
    Standard,
    Started,
    Steps,
    Training,
    Transferred,
    Unlabelled,
    train,
    training_named,
)
from ironbound.defenses.train.earlier import Earlier
from ironbound.defenses.train.giving import beside
from ironbound.defenses.train.objective import Batch, Scene
from ironbound.defenses.train.objectives.distillation import Tempered
from ironbound.defenses.train.objectives.transferred import LeastLikely, RandomFirst
from ironbound.models.model import Model
from ironbound.sets import Linf
from training_samples import EPS, UNION, Stop, images, same, small_net, state_of, stop

ONE = Earlier(earlier_epochs=1, batch=45, rate=0.01)
MORE = images(60, seed=2)[0]


@dataclass(frozen=True)
class Shifted:
    """An inner attack that adds a constant, and keeps what it was to climb."""

    rows = 1
    climbed: tuple[Any, ...] = ()
    seen: list[Tensor] = field(default_factory=list)

    def check(self, scene: Scene, threat: Any) -> None:
        pass

    def inputs(self, scene: Scene, batch: Batch, region: Any, climbed: Any = None) -> Tensor:
        self.climbed[0].append(climbed)
        self.seen.append(batch.x)
        return (batch.x + 0.05).clamp(0, 1)


def shifted() -> Shifted:
    return Shifted(([],))


def double(seed: int = 0) -> Model:
    model = Model(small_net(seed, norm=False, dropout=0).double())
    model.settle(images(3)[0].double())
    return model


def scene_of(model: Model, **given: Any) -> tuple[Scene, Batch]:
    x, y = images(12)
    scene = Scene(model, EPS, x.double(), y, given=Given(**given))
    rng = Rng.of(0, content_keys(x, y))
    return scene, Batch(x.double(), y, rng, 0.25, torch.arange(12))


def log_softmax(logits: Tensor, temperature: float = 1.0) -> np.ndarray:
    numbers = logits.detach().numpy() / temperature
    numbers = numbers - numbers.max(1, keepdims=True)
    return numbers - np.log(np.exp(numbers).sum(1, keepdims=True))


def kl(target: Tensor, logits: Tensor, temperature: float = 1.0) -> np.ndarray:
    p, q = log_softmax(target, temperature), log_softmax(logits, temperature)
    return (np.exp(p) * (p - q)).sum(1)


def ce(logits: Tensor, y: Tensor) -> np.ndarray:
    return -log_softmax(logits)[np.arange(len(y)), y.numpy()]


def gradient(loss: Tensor, net: nn.Module) -> Tensor:
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(net.parameters()))])


# -------------------------------------------------------------------------------------------------- distillation
@pytest.mark.parametrize(("kind", "alpha", "t"), [("ard", 1.0, 30.0), ("ard", 0.7, 4.0), ("rslad", 5 / 6, 1.0)])
def test_distillation_is_as_in_the_papers(kind: Any, alpha: float, t: float) -> None:
    student, teacher = double(0), double(1)
    inner = shifted()
    scene, batch = scene_of(student, teacher=teacher)
    outcome = Distill(inner, kind=kind, alpha=alpha, temperature=t).loss(scene, batch)
    moved = (batch.x + 0.05).clamp(0, 1)
    clean, attacked, target = student.net(batch.x), student.net(moved), teacher.net(batch.x)
    if kind == "ard":
        expected = alpha * t**2 * kl(target, attacked, t) + (1 - alpha) * ce(clean, batch.y)
        assert inner.climbed[0] == [None]
    else:
        expected = alpha * kl(target, attacked) + (1 - alpha) * kl(target, clean)
        np.testing.assert_allclose(inner.climbed[0][0](attacked).detach(), kl(target, attacked), rtol=1e-9)
    np.testing.assert_allclose(outcome.losses.detach(), expected, rtol=1e-9)
    outcome.losses.sum().backward()
    assert all(parameter.grad is None for parameter in teacher.net.parameters())


@pytest.mark.parametrize("kind", ["ard", "rslad"])
def test_what_goes_around_distillation_learns_from_the_teacher_too(kind: Any) -> None:
    inner = shifted()
    scene, batch = scene_of(double(0), teacher=double(1))
    distill = Distill(inner, kind=kind)
    alone = distill.loss(scene, batch).losses
    torch.testing.assert_close(Awp(distill, gamma=0).loss(scene, batch).losses, alone)
    union = scene.replace(threat=UNION)
    torch.testing.assert_close(MultiNorm(distill, how="average").loss(union, batch).losses, alone)
    assert all((climbed is None) == (kind == "ard") for climbed in inner.climbed[0])


def test_defensive_distillation_is_the_cross_entropy_with_soft_labels() -> None:
    student, teacher = double(0), double(1)
    scene, batch = scene_of(student, teacher=teacher)
    objective = DefensiveDistillation(temperature=20.0)
    objective.prepare(scene)
    outcome = objective.loss(scene, batch)
    wanted = np.exp(log_softmax(teacher.net(batch.x), 20.0))
    expected = -(wanted * log_softmax(student.net(batch.x), 20.0)).sum(1)
    np.testing.assert_allclose(outcome.losses.detach(), expected, rtol=1e-9)
    hard = Tempered(20.0).loss(scene, batch).losses
    np.testing.assert_allclose(hard.detach(), ce(student.net(batch.x) / 20.0, batch.y), rtol=1e-9)


# ---------------------------------------------------------------------------------------------- unlabelled inputs
@pytest.mark.parametrize("ratio", [1, 3])
def test_pseudo_labels_are_weighed_against_labels(ratio: int) -> None:
    model, teacher = double(0), double(1)
    scene, batch = scene_of(model, unlabelled=MORE.double(), teacher=teacher)
    objective = Unlabelled(Adversarial(shifted()), unlabelled_weight=0.5, ratio=ratio)
    objective.prepare(scene)
    outcome = objective.loss(scene, batch)
    drawn = objective.drawn(scene, batch)
    assert len(drawn) == ratio * 12
    assert len(set(drawn.tolist())) > 8
    more = MORE.double()[drawn]
    pseudo = teacher.net(more).argmax(1)
    losses = [ce(model.net((x + 0.05).clamp(0, 1)), y) for x, y in ((batch.x, batch.y), (more, pseudo))]
    expected = (losses[0].sum() + 0.5 * losses[1].sum()) / (12 + 0.5 * len(drawn))
    assert float(outcome.losses.detach().mean()) == pytest.approx(expected, rel=1e-9)
    assert outcome.attacked is not None
    assert len(outcome.attacked) == 12  # of pseudo-labels nothing is claimed


def test_online_targets_are_detached_answers() -> None:
    model = double(0)
    scene, batch = scene_of(model, unlabelled=MORE.double())
    inner = shifted()
    objective = Unlabelled(Standard(), targets="online", online=inner, unlabelled_weight=2.0)
    objective.prepare(scene)
    outcome = objective.loss(scene, batch)
    more = MORE.double()[objective.drawn(scene, batch)]
    attacked, target = model.net((more + 0.05).clamp(0, 1)), model.net(more)
    expected = (ce(model.net(batch.x), batch.y).sum() + 2 * kl(target, attacked).sum()) / (12 * 3)
    assert float(outcome.losses.detach().mean()) == pytest.approx(expected, rel=1e-9)
    np.testing.assert_allclose(inner.climbed[0][0](attacked).detach(), kl(target, attacked), rtol=1e-9)

    fixed = target.detach()  # with the target outside the graph, KL has the gradient of the cross-entropy alone
    written = nn.functional.cross_entropy(model.net(batch.x), batch.y, reduction="sum")
    written = written - 2 * (fixed.softmax(1) * model.net((more + 0.05).clamp(0, 1)).log_softmax(1)).sum()
    torch.testing.assert_close(gradient(outcome.losses.mean(), model.net), gradient(written / 36, model.net))


def test_both_targets_are_their_sum() -> None:
    model, teacher = double(0), double(1)
    scene, batch = scene_of(model, unlabelled=MORE.double(), teacher=teacher)
    parts = {}
    for targets in ("fixed", "online", "both"):
        objective = Unlabelled(Adversarial(shifted()), targets=targets, online=shifted())  # type: ignore[arg-type]
        objective.prepare(scene)
        parts[targets] = objective.loss(scene, batch).losses.detach()
    torch.testing.assert_close(parts["both"][12:], parts["fixed"][12:] + parts["online"][12:])
    torch.testing.assert_close(parts["both"][:12], parts["fixed"][:12])


def test_labels_of_the_rest_are_not_looked_at() -> None:
    x, y = images(90)
    fits = {"threat": EPS, "method": Training(Unlabelled(earlier=ONE), 1, batch=20), "audit": None, "labelled": 30}
    net = small_net()
    one = ib.harden(net, (x, y), test=images(9, seed=5), **fits)
    kept = ib.data.load((x, y)).subset(30, 0).index
    wrong = (y + 1) % 3
    wrong[kept] = y[kept]
    other = ib.harden(net, (x, wrong), test=images(9, seed=5), **fits)
    assert same(state_of(one.model.net), state_of(other.model.net))
    alone = ib.harden(net, (x, y), test=images(9, seed=5), **{**fits, "method": "pgd", "epochs": 1})
    assert len(alone.history) == 1


# ----------------------------------------------------------------------------------------------- other models' examples
def test_each_batch_draws_a_source_and_an_attack() -> None:
    own, others = double(0), (double(1), double(2))
    scene, batch = scene_of(own, models=others)
    attacks = (shifted(), shifted())
    objective = Transferred(attacks, mix=0.25)
    objective.prepare(scene)
    drawn = [objective.drawn(scene, replace(batch, at=step / 40)) for step in range(120)]
    pairs = {(id(source), id(attack)) for source, attack in drawn}
    assert pairs == {(id(model), id(attack)) for model in (own, *others) for attack in attacks}
    assert drawn[7] == objective.drawn(scene, replace(batch, at=7 / 40))
    static = replace(objective, own=False)
    assert all(static.drawn(scene, replace(batch, at=step / 40))[0] is not own for step in range(60))
    losses = objective.loss(scene, batch).losses.detach()
    moved = (batch.x + 0.05).clamp(0, 1)
    expected = 0.75 * ce(own.net(batch.x), batch.y) + 0.25 * ce(own.net(moved), batch.y)
    np.testing.assert_allclose(losses, expected, rtol=1e-9)


def test_examples_are_those_of_the_source() -> None:
    own, other = double(0), double(1)
    scene, batch = scene_of(own, models=(other,))
    objective = Transferred(("fgsm",), own=False, mix=1.0)
    objective.prepare(scene)
    leaf = batch.x.clone().requires_grad_()
    nn.functional.cross_entropy(other.net(leaf), batch.y, reduction="sum").backward()
    assert leaf.grad is not None
    moved = (batch.x + 0.1 * leaf.grad.sign()).clamp(0, 1)
    np.testing.assert_allclose(objective.loss(scene, batch).losses.detach(), ce(own.net(moved), batch.y), rtol=1e-6)


def test_single_steps_are_as_in_the_papers() -> None:
    model = double(0)
    scene, batch = scene_of(model)
    region = scene.region(batch)

    def sign_of_gradient(at: Tensor, y: Tensor) -> Tensor:
        leaf = at.clone().requires_grad_()
        nn.functional.cross_entropy(model.net(leaf), y, reduction="sum").backward()
        assert leaf.grad is not None
        return leaf.grad.sign()

    noise = batch.rng.fold("first").normal((1, 6, 6), torch.float64)
    first = (batch.x + 0.05 * noise.sign()).clamp(0, 1)
    second = (first + 0.05 * sign_of_gradient(first, batch.y)).clamp(0, 1)
    torch.testing.assert_close(RandomFirst().inputs(scene, batch, region), second)
    least = model.net(batch.x).argmin(1)
    expected = (batch.x - 0.1 * sign_of_gradient(batch.x, least)).clamp(0, 1)
    found = LeastLikely(Steps(1, share=1.0, start="clean")).inputs(scene, batch, region)
    torch.testing.assert_close(found, expected)


def test_examples_are_made_once_of_the_plain_model(tmp_path: Path) -> None:
    from ironbound.core.store import read_tensors

    x, y = images(90)
    objective = Augmented(Steps(5), earlier=Earlier(8, 45, 0.01))
    train(Model(small_net(dropout=0)), (x, y), Linf(0.35), Training(objective, 1, 45), folder=tmp_path)
    examples = read_tensors(tmp_path / "examples.safetensors")[0]["examples"]
    assert (examples - x).abs().max() <= 0.35 + 1e-6
    plain = small_net(dropout=0)
    tables = read_tensors(tmp_path / "plain" / "checkpoint.safetensors")[0]["net"]
    plain.load_state_dict(tables, strict=False)
    plain.eval()
    assert (plain(x).argmax(1) == y).float().mean() > 0.95
    assert (plain(examples).argmax(1) == y).float().mean() < 0.5

    model = double(0)
    scene, batch = scene_of(model)
    scene.made["examples"] = (scene.x + 0.05).clamp(0, 1)
    losses = Augmented().loss(scene, batch).losses.detach()
    expected = np.concatenate([ce(model.net(batch.x), batch.y), ce(model.net(scene.made["examples"]), batch.y)])
    np.testing.assert_allclose(losses, expected, rtol=1e-9)


def test_examples_are_made_at_the_strength_of_the_training() -> None:
    scene, batch = scene_of(double(0))
    scene, objective = scene.replace(strength=0.5), Augmented(Steps(1, share=1.0, start="clean"), earlier=Earlier(0))
    objective.prepare(scene)
    assert float((scene.made["examples"] - scene.x).abs().max()) == pytest.approx(0.05)
    assert float(objective.loss(scene, replace(batch, strength=0.1)).eps) == pytest.approx(0.05)  # type: ignore[arg-type]


def test_models_that_are_given_are_copied_where_the_training_runs_elsewhere() -> None:
    teacher, here = double(1), torch.device("cpu")
    given = Given(teacher=teacher, models=(teacher,))
    assert beside(given, here).teacher is teacher
    other = beside(given, torch.device("meta"))
    assert other.teacher is not None
    assert {model.device.type for model in (other.teacher, *other.models)} == {"meta"}
    assert (other.teacher.outputs, other.teacher.classes, other.teacher.box) == ("logits", 3, teacher.box)
    assert (teacher.device, next(teacher.net.parameters()).device) == (here, here)


def test_examples_and_unlabelled_inputs_are_transformed_as_the_data_are() -> None:
    scene, batch = scene_of(double(0))
    scene = scene.replace(transform=Training(Standard(), 1, transform="flip+crop", padding=2).transforming((0.0, 1.0)))
    batch = replace(batch, x=scene.transformed(batch.x, batch.rng))
    scene.made["examples"] = scene.x  # not attacked: then each is its sample, moved alike
    losses = Augmented().loss(scene, batch).losses
    torch.testing.assert_close(losses[:12], losses[12:])
    white = scene.replace(given=Given(unlabelled=torch.ones(5, 1, 6, 6, dtype=torch.float64)))
    inner = shifted()
    Unlabelled(Standard(), targets="online", online=inner).loss(white, batch)
    seen = inner.seen[0]
    assert {float(number) for number in seen.unique()} == {0.0, 1.0}  # what comes in at the edges


# --------------------------------------------------------------------------------------------------- another task
def test_frozen_features_stay_as_they_are_in_the_source() -> None:
    source, net = small_net(3), small_net(0)
    source[1].running_mean.fill_(0.3)
    objective = Started(frozen=True)
    found = train(
        Model(net), images(), EPS, Training(objective, 2, 45, rate=0.01), given=Given(source=source.state_dict())
    )
    after, before = state_of(found.model.net), state_of(source)
    features = [name for name in before if not name.startswith("7.")]
    assert features
    assert all(torch.equal(after[name], before[name]) for name in features)
    for wrong in (source, net):
        assert not torch.equal(after["7.weight"], state_of(wrong)["7.weight"])
    assert all(parameter.requires_grad for parameter in found.model.net.parameters())
    tuned = train(Model(net), images(), EPS, Training(Started(), 1, 45), given=Given(source=source)).model.net  # type: ignore[arg-type]
    assert not torch.equal(tuned[0].weight, source[0].weight)
    assert (tuned[0].weight - source[0].weight).abs().max() < 0.02 < (tuned[0].weight - net[0].weight).abs().max()


def test_weights_of_another_head_are_left_out() -> None:
    source = small_net(3)
    source[7] = nn.Linear(12, 8)
    source[5] = nn.Linear(6 * 36, 12)
    scene = Scene(Model(small_net(0)), EPS, *images(), given=Given(source=dict(source.state_dict())))
    objective = Started()
    objective.check(scene)
    objective.prepare(scene)
    assert torch.equal(scene.model.net[0].weight, source[0].weight)
    assert scene.model.net[7].weight.shape == (3, 12)
    named = Started(head="5").fitting(scene.model.net, dict(source.state_dict()))
    assert not any(name.startswith("5.") for name in named)
    assert "1.running_mean" in named


# ------------------------------------------------------------------------------------------------------- resuming
STAGED: dict[str, tuple[Any, Callable[[], Given]]] = {
    "ensemble": (Transferred(("fgsm", "r-fgsm"), held_out=1, earlier=ONE), Given),
    "augment": (Augmented(Steps(1), earlier=ONE), Given),
    "semi-supervised": (
        Unlabelled(Adversarial(Steps(1)), targets="both", online=Steps(1), earlier=ONE),
        lambda: Given(unlabelled=MORE),
    ),
    "distill": (Distill(Steps(1)), lambda: Given(teacher=Model(small_net(5)))),
    "defensive-distillation": (DefensiveDistillation(earlier=ONE), Given),
    "robust-transfer": (Started(Adversarial(Steps(1)), frozen=True), lambda: Given(source=small_net(4).state_dict())),
}


@pytest.mark.parametrize("name", STAGED)
def test_trainings_with_stages_go_on_where_they_were_stopped(name: str, tmp_path: Path) -> None:
    objective, given = STAGED[name]
    training = Training(objective, 2, batch=45, rate=0.01)
    whole = train(Model(small_net()), images(), EPS, training, given=given())
    stops = 0
    while True:  # each gets one batch further, in a stage or behind it
        seen: list[Event] = []

        def after_two(event: Event, seen: list[Event] = seen) -> None:
            seen.append(event)
            if len(seen) == 2:
                stop(event)

        options: dict[str, Any] = {"folder": tmp_path, "resume": True, "every": 1, "progress": after_two}
        try:
            parts = train(Model(small_net()), images(), EPS, training, given=given(), **options)
            break
        except Stop:
            stops += 1
    assert stops >= (3 if name in ("distill", "robust-transfer") else 5)
    assert same(state_of(whole.model.net), state_of(parts.model.net))


@pytest.mark.parametrize(
    ("name", "other", "says"),
    [
        ("distill", Given(teacher=Model(small_net(6))), "given.teacher"),
        ("semi-supervised", Given(unlabelled=MORE.flip(0)), "given.unlabelled"),
        ("robust-transfer", Given(source=small_net(7).state_dict()), "given.source"),
    ],
)
def test_resuming_with_other_things_given_is_refused(name: str, other: Given, says: str, tmp_path: Path) -> None:
    objective, given = STAGED[name]
    training = Training(objective, 1, batch=45, rate=0.01)
    train(Model(small_net()), images(), EPS, training, given=given(), folder=tmp_path)
    with pytest.raises(FingerprintMismatch, match=says):
        train(Model(small_net()), images(), EPS, training, given=other, folder=tmp_path, resume=True)


# ------------------------------------------------------------------------------------------------------- refusals
def four_classes() -> nn.Sequential:
    net = small_net()
    net[7] = nn.Linear(12, 4)
    return net


class Bare(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net, self.scale = small_net(), nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.net(x)


@pytest.mark.parametrize(
    ("objective", "given", "error", "says"),
    [
        (Distill(), lambda: Given(), UsageError, "--teacher FILE:NAME"),
        (Distill(), lambda: Given(teacher=Model(four_classes())), ModelError, "teacher answers with 4 classes"),
        (Distill(), lambda: Given(teacher=Model(small_net(), range=(0, 255))), ModelError, "one input would mean two"),
        (Distill(), lambda: Given(teacher=Model(small_net().double())), ModelError, "float64"),
        (Distill(), lambda: Given(teacher=Model(nn.Linear(9, 3))), ModelError, "the teacher: the model Linear fails"),
        (Adversarial(), lambda: Given(teacher=Model(small_net())), UsageError, "no use for a teacher.*: distill"),
        (Unlabelled(), lambda: Given(), UsageError, "labelled=500"),
        (Unlabelled(), lambda: Given(unlabelled=MORE[..., :5]), InputError, r"rows of shape \(1, 6, 5\)"),
        (Unlabelled(), lambda: Given(unlabelled=MORE * 3), InputError, "unlabelled inputs: inputs lie in"),
        (Unlabelled(earlier=Earlier(0)), lambda: Given(unlabelled=MORE), UsageError, "pseudo-labels come from"),
        (Unlabelled(Augmented()), lambda: Given(unlabelled=MORE), CompositionError, "such as pgd or trades"),
        (Started(), lambda: Given(), UsageError, "--start-from"),
        (Started(), lambda: Given(source={"a.weight": torch.ones(2)}), UsageError, "no weight to start from fits"),
        (Started(head="12"), lambda: Given(source=small_net().state_dict()), UsageError, "head names a part"),
        (Started(frozen=True), lambda: Given(source=small_net(norm=False).state_dict()), UsageError, "1.bias"),
        (Transferred(), lambda: Given(models=(Model(four_classes()),)), ModelError, "other model 1 answers with 4"),
        (Transferred(own=False, held_out=0), lambda: Given(), UsageError, "no source of examples"),
    ],
)
def test_what_does_not_go_together_is_refused(objective: Any, given: Any, error: Any, says: str) -> None:
    with pytest.raises(error, match=says):
        train(Model(small_net()), images(), EPS, Training(objective, 1), given=given())


def test_weights_that_cannot_be_drawn_anew_are_named() -> None:
    with pytest.raises(ModelError, match=r"the net \(Bare\) holds weights and has no reset_parameters"):
        train(Model(Bare()), images(), EPS, Training(Transferred(), 1))


@pytest.mark.parametrize(
    "build",
    [lambda: Distill(kind="kd"), lambda: Distill(alpha=0.0), lambda: Distill(temperature=0), lambda: Earlier(-1),  # type: ignore[arg-type]
     lambda: DefensiveDistillation(earlier=Earlier(0)), lambda: Transferred(("cw",)), lambda: Transferred(mix=2.0),
     lambda: Transferred(held_out=-1), lambda: Unlabelled(targets="soft"), lambda: Unlabelled(unlabelled_weight=0.0),  # type: ignore[arg-type]
     lambda: Unlabelled(ratio=0)],
)  # fmt: skip
def test_bad_settings_are_refused_when_built(build: Any) -> None:
    with pytest.raises(UsageError, match="got"):
        build()


def test_a_divergence_needs_a_start_beside_the_input() -> None:
    with pytest.raises(UsageError, match="random start"):
        Unlabelled(targets="online", online=Steps(1, start="clean"))


def test_bases_and_attacks_have_names() -> None:
    assert training_named("robust-transfer", base="standard", frozen=True).objective == Started(Standard(), frozen=True)
    assert training_named("semi-supervised", base="pgd", steps=3).objective.base == Adversarial(Steps(3))
    assert training_named("ensemble", attacks=("fgsm",)).objective.attacks == (Steps(1, share=1.0, start="clean"),)
    both = training_named("defensive-distillation", epochs=4, rate=1e-4, earlier_epochs=2)
    assert (both.objective.earlier.earlier_epochs, both.objective.earlier.rate, both.rate) == (2, 1e-4, 1e-4)
    with pytest.raises(UsageError, match="labelled is a number of rows"):
        ib.harden(small_net(), images(), threat=EPS, method="pgd", labelled=90, audit=None)
