"""Attacks where the answer is no class, on small nets of digits: embeddings, maps, boxes, classifier with detector."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import ironbound as ib
from ironbound import goals
from ironbound.auditing.roc import roc
from ironbound.core.errors import CompositionError, InputError, ModelError
from ironbound.core.protocols import Status
from ironbound.core.rng import forked
from ironbound.data import load
from ironbound.data.composites import composites
from ironbound.models.tasks import trained_detector, trained_embedder, trained_segmenter
from ironbound.models.zoo import digits_cnn


def ascent(goal, objective=None, steps=20):
    return ib.recipes.pgd(steps=steps).replace(goal=goal, objective=objective or ib.Margin())


def inside(found, x, eps):
    return bool(((found.adversarial - x).abs() <= eps + 1e-6).all()) and bool(
        ((found.adversarial >= 0) & (found.adversarial <= 1)).all()
    )


# ------------------------------------------------------------------------------------------------- embeddings
@pytest.fixture(scope="module")
def faces():
    """A verification system: a net, a reference of each digit, test inputs that it takes for their own identity."""
    net, train, test = trained_embedder(epochs=5), load("digits:train"), load("digits:test", samples=120)
    with torch.no_grad():
        means = torch.stack([net(train.x[train.y == digit]).mean(0) for digit in range(10)])
        gallery = F.normalize(means, dim=1)
        known = (net(test.x) * gallery[test.y]).sum(1) > 0.6
    assert int(known.sum()) > 100
    return ib.Model(net, outputs="anything"), net, gallery, test.x[known][:60], test.y[known][:60]


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_an_identity_is_dodged_and_another_impersonated(faces, metric):
    model, net, gallery, x, y = faces
    threshold = 0.6 if metric == "cosine" else (2 - 2 * 0.6) ** 0.5  # of embeddings of unit length they are the same
    same = lambda at, who: (net(at) * gallery[who]).sum(1) >= 0.6
    other = (y + 1) % 10
    for kind, who, least in ((goals.Dodge, y, 50), (goals.Impersonate, other, 30)):
        found = ib.attack(model, x, who, threat="linf:0.2", method=ascent(kind(threshold, gallery, metric)))
        assert int(found.success.sum()) >= least
        assert inside(found, x, 0.2)
        assert bool((same(found.adversarial, who) == (kind is goals.Impersonate))[found.success].all())
    own = ib.attack(
        model, x, gallery[other], threat="linf:0.2", method=ascent(goals.Impersonate(threshold, metric=metric))
    )
    assert int(own.success.sum()) >= 30  # the labels may be the references themselves; their draws are others
    assert bool(same(own.adversarial, other)[own.success].all())


def test_who_is_taken_for_another_already_is_not_attacked(faces):
    model, _, gallery, x, y = faces
    found = ib.attack(model, x[:5], y[:5], threat="linf:0.2", method=ascent(goals.Impersonate(0.6, gallery)))
    assert (found.status == Status.ALREADY_WRONG).all()
    assert torch.equal(found.adversarial, x[:5])


# ------------------------------------------------------------------------------------------------- segmentation
@pytest.fixture(scope="module")
def maps():
    net, data = trained_segmenter(epochs=5, pictures=600), composites(12, 1, "test")
    with torch.no_grad():
        assert (net(data.x).argmax(1) == data.maps)[data.maps > 0].float().mean() > 0.6
    return ib.Model(net, outputs="anything"), net, data


def test_most_pixels_are_made_wrong_by_hinged_margins(maps):
    model, net, data = maps
    goal, ink = goals.Pixels(0.9), torch.where(data.maps > 0, data.maps, -1)
    with torch.no_grad():
        assert int((goal.margin(net(data.x), ink) > 0).sum()) <= 2
    for objective in (ib.Hinged(), ib.CrossEntropy(), ib.Margin()):
        found = ib.attack(model, data.x, ink, threat="linf:0.1", method=ascent(goal, objective))
        share = goals.pixel_share(net(found.adversarial), ink)
        assert int(found.success.sum()) >= 10
        assert inside(found, data.x, 0.1)
        assert bool((share >= 0.9)[found.success].all())
        assert torch.allclose(found.margin, goal.margin(net(found.adversarial), ink).double(), atol=1e-3)


def test_every_pixel_of_a_mask_is_erased(maps):
    """The digit on the left becomes background: what counts is where it was."""
    model, net, data = maps
    wanted = torch.where(data.maps > 0, 0, -1)
    wanted[:, :, 12:] = -1
    attack = ascent(goals.PixelsTo(0.9), ib.Hinged(1.0))
    found = ib.attack(model, data.x, wanted.numpy(), threat="linf:0.4", method=attack)
    assert int(found.success.sum()) >= 8
    erased = 1 - goals.pixel_share(net(found.adversarial), wanted)
    assert bool((erased >= 0.9)[found.success].all())


# ------------------------------------------------------------------------------------------------- detection
@pytest.fixture(scope="module")
def boxes():
    net, data = trained_detector(epochs=7, pictures=500), composites(30, 1, "test")
    hide = goals.Hide()
    with torch.no_grad():
        out = net(data.x)
        assert int((hide.margins(out, data.boxes) < 0).sum()) >= 58  # both are found, nearly always
    return ib.Model(net, outputs="anything"), net, data


def detected(net, x, place):
    """Whether a detection of 0.5 or more overlaps each place by half, one by one."""
    with torch.no_grad():
        out = net(x)
    overlap = goals.intersection_over_union(place[:, None], out["boxes"])[:, 0]
    return ((overlap >= 0.5) & (out["scores"] >= 0.5)).any(1)


def test_an_object_is_hidden_while_the_other_is_still_seen_and_a_phantom_appears(boxes):
    model, net, data = boxes
    left = data.boxes[:, 0]
    hidden = ib.attack(model, data.x, left, threat="linf:0.2", method=ascent(goals.Hide()))
    assert int(hidden.success.sum()) >= 25
    assert inside(hidden, data.x, 0.2)
    assert not bool(detected(net, hidden.adversarial, left)[hidden.success].any())
    both = ib.attack(model, data.x, list(data.boxes), threat="linf:0.2", method=ascent(goals.Hide()))
    assert int(both.success.sum()) >= 20
    empty = torch.tensor([8.0, 0.0, 16.0, 8.0]).expand(len(data), 4).clone()
    empty[:, 1::2] = torch.where(left[:, 1:2] < 12, 16.0, 0.0) + torch.tensor([0.0, 8.0])
    phantom = ib.attack(model, data.x, empty, threat="linf:0.2", method=ascent(goals.Phantom()))
    assert int(phantom.success.sum()) >= 15
    assert bool(detected(net, phantom.adversarial, empty)[phantom.success].all())
    joint = goals.Hide() & goals.Part("scores", goals.Part(lambda scores: scores.amax(1), goals.Above(0.5)))
    kept = ib.attack(model, data.x, left, threat="linf:0.2", method=ascent(joint))
    assert bool((net(kept.adversarial)["scores"].amax(1) > 0.5)[kept.success].all())
    assert int(kept.success.sum()) >= 20


class Listed(nn.Module):
    """Detections as lists of different lengths, as detectors answer behind non-maximum suppression."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x):
        out = self.net(x)
        rows = zip(out["boxes"], out["scores"], strict=True)
        return [{"boxes": b[s > 0.05], "scores": s[s > 0.05]} for b, s in rows]


def test_answers_of_different_sizes_are_attacked_all_the_same(boxes):
    _, net, data = boxes
    model, some = ib.Model(Listed(net), outputs="anything"), slice(0, 8)
    found = ib.attack(model, data.x[some], list(data.boxes[some, 0]), threat="linf:0.2", method=ascent(goals.Hide()))
    assert int(found.success.sum()) >= 6
    assert not bool(detected(net, found.adversarial, data.boxes[some, 0])[found.success].any())


# ------------------------------------------------------------------------------------------------- classifier and detector
class Guarded(nn.Module):
    """A classifier with a detector of adversarial examples, which was trained on those of an attack on the classifier."""

    def __init__(self, net: nn.Module, detector: nn.Module) -> None:
        super().__init__()
        self.net, self.detector = net, detector

    def forward(self, x):
        return {"classes": self.net(x), "detector": self.detector(x)[:, 0]}


def fit(net, loss, count, epochs=4):
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    with forked(0):
        for _ in range(epochs):
            for at in torch.randperm(count).split(64):
                optimiser.zero_grad()
                loss(at).backward()
                optimiser.step()
    return net.eval()


@pytest.fixture(scope="module")
def guarded():
    data, net = load("digits:train"), digits_cnn()
    fit(net, lambda at: F.cross_entropy(net(data.x[at]), data.y[at]), len(data))
    bad = ib.recipes.pgd(steps=10).replace(set=ib.Linf(0.15))(ib.Model(net), data.x, data.y).adversarial
    detector, both, label = (
        digits_cnn(1, 1),
        torch.cat([data.x, bad]),
        torch.arange(2 * len(data)).ge(len(data)).float(),
    )
    fit(detector, lambda at: F.binary_cross_entropy_with_logits(detector(both[at])[:, 0], label[at]), len(both), 3)
    test = load("digits:test", samples=100)
    return Guarded(net, detector), test


def test_a_joint_goal_breaks_what_catches_an_attack_on_the_classifier_alone(guarded):
    net, test = guarded
    model = ib.Model(net, outputs="anything")
    fooled, silent = goals.Part("classes", ib.Untargeted()), goals.Part("detector", goals.Below(0.0))
    with torch.no_grad():
        assert (net(test.x)["detector"] < 0).float().mean() > 0.9
    alone = ib.attack(model, test.x, test.y, threat="linf:0.15", method=ascent(fooled))
    caught = net(alone.adversarial)["detector"][alone.success] >= 0
    passed = int((~caught).sum())
    assert int(alone.success.sum()) >= 75
    assert passed <= 15
    method = ascent(fooled & silent, ib.CrossEntropy(), 40)
    joint = ib.attack(model, test.x, test.y, threat="linf:0.15", method=method)
    assert int(joint.success.sum()) >= passed + 40
    out = net(joint.adversarial)
    assert bool(((out["classes"].argmax(1) != test.y) & (out["detector"] < 0))[joint.success].all())


def test_confident_examples_pass_detectors_of_the_unknown(guarded):
    """Energy and softmax rank examples of an attack below clean inputs, and no longer once they are asked to be high."""
    net, test = guarded[0].net, guarded[1]
    with torch.no_grad():
        clean = net(test.x)
    plain = ib.attack(net, test.x, test.y, threat="linf:0.25", method=ib.recipes.pgd(steps=20))
    for score in (goals.max_softmax, goals.energy):
        goal = ib.Untargeted() & goals.Part(score, goals.Above(float(score(clean).median())))
        sure = ib.attack(net, test.x, test.y, threat="linf:0.25", method=ascent(goal, ib.CrossEntropy(), 40))
        area = lambda found, of=score: roc(of(clean), of(net(found.adversarial[found.success]).detach())).auroc
        assert int(sure.success.sum()) >= 50
        assert area(plain) > 0.75
        assert area(sure) < 0.5


# ------------------------------------------------------------------------------------------------- what does not fit
def test_what_does_not_fit_such_answers_says_what_does(boxes, faces, maps):
    model, _, data = boxes
    run = lambda method: ib.attack(model, data.x[:2], data.boxes[:2], threat="linf:0.1", method=method)
    with pytest.raises(ModelError, match=r"Untargeted reads logits .* 'boxes'"):
        run("pgd")
    with pytest.raises(ModelError, match="Dlr compares logits"):
        run(ascent(goals.Hide(), ib.Dlr()))
    with pytest.raises(CompositionError, match="climbs the goal's own objective"):
        run(ib.recipes.fab().replace(goal=goals.Hide()))
    with pytest.raises(InputError, match="labels have 3 rows for 2 inputs"):
        ib.attack(model, data.x[:2], data.boxes[:3], threat="linf:0.1", method=ascent(goals.Hide()))
    with pytest.raises(ModelError, match="outputs='anything'"):
        ib.attack(boxes[1], data.x[:2], data.boxes[:2], threat="linf:0.1", method=ascent(goals.Hide()))
    wrong = ib.Model(nn.Flatten(0), outputs="anything")
    with pytest.raises(ModelError, match="one row an input"):
        ib.attack(wrong, data.x[:2], threat="linf:0.1", method=ascent(goals.Above(0.0)))


def test_labels_of_any_kind_are_admitted_as_rows(boxes):
    model, _, data = boxes
    x = data.x[:3]
    tree = {"map": np.zeros((3, 4)), "boxes": [np.zeros((j, 4)) for j in range(3)], "kind": [1, 2, 3]}
    _, y = model.admit(x, tree)
    assert y["map"].dtype == torch.float64
    assert [len(row) for row in y["boxes"]] == [0, 1, 2]
    assert y["kind"].dtype == torch.int64
    assert model.admit(x, None)[1] is None


def test_batches_feel_nothing_of_each_other_and_results_are_saved(boxes, tmp_path):
    model, _, data = boxes
    attack = ascent(goals.Hide(), steps=5).replace(set=ib.Linf(0.1))
    run = lambda at, **k: attack(model, data.x[at], data.boxes[at], reproducible=True, **k)
    whole = run(torch.arange(6))
    for options in ({"rows": 2}, {"compaction": "always"}):
        again = run(torch.arange(6), **options)
        assert torch.equal(again.adversarial, whole.adversarial)
        assert torch.equal(again.forward, whole.forward)
    assert torch.equal(run(torch.tensor([4, 1])).adversarial, whole.adversarial[[4, 1]])
    capped = attack.replace(budget=ib.Budget(forward=3))(model, data.x[:6], data.boxes[:6])
    assert int(capped.forward.max()) <= 3
    whole.save(tmp_path / "found.safetensors")
    assert torch.equal(ib.Result.load(tmp_path / "found.safetensors").adversarial, whole.adversarial)
