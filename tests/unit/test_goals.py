"""Goals about more than a class against brute force: pixels counted one by one, boxes compared one by one."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ironbound as ib
from ironbound import goals
from ironbound.core.errors import ModelError, UsageError
from ironbound.core.judge import scale_of

few = settings(max_examples=40, deadline=None, derandomize=True, database=None)
seeds = st.integers(0, 10_000)


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ------------------------------------------------------------------------------------------------- dense
@few
@given(seeds, st.sampled_from([0.05, 0.25, 1 / 3, 0.5, 0.9, 1.0]), st.booleans())
def test_dense_goals_are_met_where_enough_pixels_are(seed, share, targeted):
    g = drawn(seed)
    out = torch.randn(5, 4, 3, 3, generator=g)
    y = torch.randint(-1, 4, (5, 3, 3), generator=g)
    y[0] = -1  # nothing counts
    goal = goals.PixelsTo(share) if targeted else goals.Pixels(share)
    met = goal.margin(out, y) > 0
    for row in range(5):
        counted, hit, margins = 0, 0, []
        for i in range(3):
            for j in range(3):
                label = int(y[row, i, j])
                if label == -1:
                    continue
                counted += 1
                logits = out[row, :, i, j]
                rival = max(float(logits[c]) for c in range(4) if c != label)
                margin = float(logits[label]) - rival if targeted else rival - float(logits[label])
                margins.append(margin)
                hit += margin > 0
        assert bool(met[row]) == (counted > 0 and hit >= share * counted - 1e-9)
        if counted:
            needed = math.ceil(share * counted - 1e-9)
            assert float(goal.margin(out, y)[row]) == pytest.approx(sorted(margins, reverse=True)[needed - 1], abs=1e-6)
            cut = sum(min(m, 0.0) for m in margins) / counted
            assert float(ib.Hinged()(out, y, goal)[row]) == pytest.approx(cut, abs=1e-6)
        assert not targeted or counted == 0 or float(goals.pixel_share(out, y)[row]) == pytest.approx(1 - hit / counted)


def test_a_map_of_its_own_classes_and_a_mask_are_labels():
    out = torch.zeros(1, 2, 2, 2)
    out[0, 1, 0, 0] = 3.0  # class 1 at one pixel
    y = torch.tensor([[[0, -1], [-1, -1]]])
    assert goals.Pixels().margin(out, y).tolist() == [3.0]
    assert goals.PixelsTo().margin(out, y + 1).tolist() != [3.0]  # 0 counts now
    assert goals.PixelsTo(ignore=0).margin(out, y + 1).tolist() == [3.0]


def test_nan_is_no_success_wherever_it_stands():
    out = torch.zeros(1, 2, 1, 4)
    out[:, 1], out[..., 0] = 1.0, math.nan
    wanted = torch.ones(1, 1, 4, dtype=torch.int64)
    assert goals.PixelsTo(0.5).margin(out, wanted).isnan().all()
    assert goals.Pixels(0.5).margin(out, 1 - wanted).isnan().all()
    wanted[..., 0] = -1  # where it does not count, it does no harm
    assert goals.PixelsTo(0.5).margin(out, wanted).tolist() == [1.0]
    assert goals.TopK(2).margin(torch.tensor([[1.0, math.nan, 5, 2]]), torch.tensor([0])).isnan().all()


# ------------------------------------------------------------------------------------------------- boxes
def overlap(a, b):
    """By counting: the area in common over the area of either."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    area = lambda c: max(0.0, c[2] - c[0]) * max(0.0, c[3] - c[1])
    union = area(a) + area(b) - width * height
    return width * height / union if union > 0 else 0.0


def some_boxes(g, *shape):
    low = torch.randint(0, 6, (*shape, 2), generator=g).double()
    return torch.cat([low, low + torch.randint(0, 6, (*shape, 2), generator=g)], -1)


@few
@given(seeds, st.sampled_from([0.3, 0.5, 0.9]), st.integers(0, 6))
def test_box_goals_are_met_where_every_detection_says_so(seed, iou, count):
    g = drawn(seed)
    boxes, scores = some_boxes(g, 4, count), torch.rand(4, count, generator=g, dtype=torch.float64)
    places = some_boxes(g, 4, 2)
    out = {"boxes": boxes, "scores": scores}
    table = goals.intersection_over_union(places, boxes)
    hidden, seen = goals.Hide(0.5, iou).margin(out, places), goals.Phantom(0.5, iou).margin(out, places)
    for row in range(4):
        each = [[overlap(p, b) for b in boxes[row].tolist()] for p in places[row].tolist()]
        assert torch.allclose(table[row], torch.tensor(each, dtype=torch.float64).reshape(2, count))
        pairs = [list(zip(scores[row].tolist(), overlaps, strict=True)) for overlaps in each]
        assert bool(hidden[row] > 0) == all(s < 0.5 for place in pairs for s, o in place if o >= iou)
        assert bool(seen[row] > 0) == all(any(s > 0.5 and o > iou for s, o in place) for place in pairs)


@few
@given(seeds)
def test_ragged_detections_and_places_are_those_of_each_row_alone(seed):
    g = drawn(seed)
    counts, wanted = torch.randint(0, 4, (4,), generator=g).tolist(), torch.randint(1, 4, (4,), generator=g).tolist()
    out = [{"boxes": some_boxes(g, k), "scores": torch.rand(k, generator=g, dtype=torch.float64)} for k in counts]
    places = [some_boxes(g, j) for j in wanted]
    for goal in (goals.Hide(), goals.Phantom()):
        whole = goal.margin(out, places)
        for row in range(4):
            alone = {name: table[None] for name, table in out[row].items()}
            assert float(goal.margin(alone, places[row][None])) == float(whole[row])
            parts = goal.margins(alone, places[row][None])[0]
            nats = torch.nn.functional.logsigmoid(parts[parts < math.inf])
            expected = float(nats.mean()) if len(nats) else 0.0
            assert float(goal.cross_entropy(out, places)[row]) == pytest.approx(expected)
            assert (float(whole[row]) > 0) == bool(
                (parts > 0).all()
            )  # Hinged is 0 where the goal is met, and nowhere else


def test_the_scores_of_near_detections_carry_the_gradient():
    boxes = torch.tensor([[[0.0, 0, 8, 8], [1, 0, 9, 8], [5, 0, 13, 8]]])  # overlaps 1, .78 and .23 with the first
    scores = torch.tensor([[0.9, 0.2, 0.1]], requires_grad=True)
    for goal, expected in ((goals.Hide(), [[-1.0, 0.0, 0.0]]), (goals.Phantom(0.95), [[1.0, 0.0, 0.0]])):
        (grad,) = torch.autograd.grad(goal.margin({"boxes": boxes, "scores": scores}, boxes[:, 0]).sum(), scores)
        assert grad.tolist() == expected


@few
@given(seeds)
def test_a_margin_is_what_boxes_and_scores_may_move_by(seed):
    """A detection that barely overlaps, or barely does not, may be seen otherwise in another batch."""
    g = drawn(seed)
    boxes, places = some_boxes(g, 8, 5), some_boxes(g, 8, 1)
    scores = torch.rand(8, 5, generator=g, dtype=torch.float64)
    iou = float(goals.intersection_over_union(places, boxes)[0].flatten()[0].clamp(0.1, 0.9)) + 1e-7 * (-1) ** seed
    for goal in (goals.Hide, goals.Phantom):
        sure = goal(0.5, iou).margin({"boxes": boxes, "scores": scores}, places) > 1e-4
        for moved in (iou - 1e-6, iou + 1e-6):
            again = goal(0.5, moved).margin({"boxes": boxes, "scores": scores}, places)
            assert bool((again[sure] > 0).all())


def test_hiding_counts_boxes_that_all_but_overlap():
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 4.9998]]])
    out = {"boxes": boxes, "scores": torch.tensor([[0.1, 0.9]])}
    assert 0 < float(goals.Hide().margin(out, boxes[:, 0])) < 1e-4
    seen = {"boxes": torch.tensor([[[0.0, 0, 10, 5.0002]]]), "scores": torch.tensor([[0.9]])}
    assert 0 < float(goals.Phantom().margin(seen, boxes[:, 0])) < 1e-4


def test_boxes_are_judged_by_the_size_of_scores_and_not_of_pixels():
    out = {"boxes": torch.full((1, 2, 4), 640.0), "scores": torch.tensor([[0.2, 0.9]])}
    assert scale_of(out).tolist() == [640.0]
    assert scale_of(out, goals.Hide()).tolist() == [1.0]


# ------------------------------------------------------------------------------------------------- embeddings
@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_distances_by_hand(metric):
    g = drawn(3)
    out, gallery = torch.randn(6, 5, generator=g).double(), torch.randn(4, 5, generator=g).double()
    y = torch.tensor([0, 3, 1, 2, 2, 0])
    threshold = 0.2 if metric == "cosine" else 2.5
    near, far = (kind(threshold, gallery, metric).margin(out, y) for kind in (goals.Impersonate, goals.Dodge))
    for row in range(6):
        a, b = out[row], gallery[y[row]]
        if metric == "cosine":
            expected = float(a @ b / (a.norm() * b.norm())) - threshold
        else:
            expected = threshold - float((a - b).norm())
        assert float(near[row]) == pytest.approx(expected)
        assert float(far[row]) == pytest.approx(-expected)
    as_labels = goals.Impersonate(threshold, None, metric)
    assert torch.equal(as_labels.margin(out, gallery[y]), near)


# ------------------------------------------------------------------------------------------------- parts and joint goals
def test_joint_goals_are_met_where_all_are():
    g = drawn(5)
    out = {"classes": torch.randn(40, 3, generator=g), "detector": torch.randn(40, 1, generator=g)}
    y = torch.randint(0, 3, (40,), generator=g)
    goal = goals.Part("classes", ib.Untargeted()) & goals.Part("detector", goals.Below(0.3))
    fooled, quiet = out["classes"].argmax(1) != y, out["detector"][:, 0] < 0.3
    assert torch.equal(goal.margin(out, y) > 0, fooled & quiet)
    apart = [part.margin(out, y) for part in goal.goals]
    assert torch.equal(goal.margin(out, y), torch.minimum(*apart))
    nats = sum(torch.nn.functional.logsigmoid(part) for part in apart) / 2
    assert torch.allclose(goal.cross_entropy(out, y), nats)
    assert torch.allclose(ib.Hinged()(out, y, goal), sum(part.clamp_max(0) for part in apart) / 2)
    units = goals.Both(goal.goals, (2.0, 0.1))
    assert torch.allclose(units.margin(out, y), torch.minimum(apart[0] / 2, apart[1] / 0.1))
    three = goal & goals.Part("detector", goals.Above(-1.0))
    assert len(three.goals) == 3
    assert torch.equal(three.margin(out, y) > 0, fooled & quiet & (out["detector"][:, 0] > -1))


def test_parts_read_their_own_labels_and_functions_of_answers():
    out = (torch.tensor([[1.0, 3.0]]), torch.tensor([[0.2, 0.1]]))
    y = (torch.tensor([0]), torch.tensor([0]))
    assert goals.Part(0, ib.Untargeted()).margin(out, y).tolist() == [2.0]
    assert goals.Part(1, ib.Untargeted()).margin(out, y) == pytest.approx(-0.1)
    logits = torch.tensor([[0.0, math.log(3.0)]])
    assert float(goals.Part(goals.max_softmax, goals.Above(0.5)).margin(logits, None)) == pytest.approx(0.25)
    assert float(goals.Part(goals.energy, goals.Above(1.0)).margin(logits, None)) == pytest.approx(math.log(4.0) - 1)
    assert float(goals.energy(logits, 2.0)) == pytest.approx(2 * math.log(1 + math.sqrt(3)))


def test_scores_round_as_the_logits_do_that_they_are_made_of():
    """Logits of 8,000 move by 1e-3 with the batch, and a probability near one half by as much as a quarter of that."""
    out = torch.tensor([[8000.0, 8000.001], [8.0, 0.0]])
    half, sure = scale_of(out, goals.Part(goals.max_softmax, goals.Above(0.5))).tolist()
    assert 1000 < half < 8000
    assert sure < 1.01
    assert scale_of(out - 8000, goals.Part(goals.energy, goals.Below(3.0))).tolist() == [3.0, 8000.0]


def test_the_scale_of_a_tree_is_its_largest_number():
    out = {"a": torch.tensor([[1.0, -5.0], [0.5, math.nan]]), "b": (torch.tensor([9, 9]), torch.tensor([2.0, 3.0]))}
    assert scale_of(out).tolist() == [5.0, 3.0]
    assert scale_of({"b": torch.tensor([1, 2])}) is None
    ragged = [
        {"boxes": torch.zeros(0, 4), "scores": torch.zeros(0)},
        {"boxes": torch.full((1, 4), 7.0), "scores": torch.ones(1)},
    ]
    assert scale_of(ragged).tolist() == [0.0, 7.0]
    assert scale_of(out, goals.Part("a", ib.Untargeted())).tolist() == [5.0, 0.0]


@pytest.mark.parametrize(
    ("goal", "out", "y", "words"),
    [
        (ib.Untargeted(), {"logits": torch.zeros(2, 3)}, torch.zeros(2, dtype=torch.long), "Part\\('classes'"),
        (ib.Targeted(1), torch.zeros(2, 3, 4), torch.zeros(2, dtype=torch.long), r"\(2, 3, 4\)"),
        (ib.Part("b", ib.Untargeted()), {"a": torch.zeros(2, 3)}, None, "'b'.*'a'"),
        (goals.Pixels(), torch.zeros(2, 3), torch.zeros(2, dtype=torch.long), "height, width"),
        (goals.Pixels(), torch.zeros(2, 3, 2, 2), torch.zeros(2, 2), r"\(2, 2, 2\), a class for every pixel"),
        (goals.Hide(), torch.zeros(2, 3), torch.zeros(2, 4), "'boxes'"),
        (
            goals.Hide(),
            {"boxes": torch.zeros(2, 1, 4), "scores": torch.zeros(2, 1)},
            torch.zeros(2, 3),
            "labels are boxes",
        ),
        (goals.Impersonate(0.5), torch.zeros(2, 3), torch.zeros(2, 4), "one of each size"),
        (goals.Dodge(0.5, torch.zeros(4, 3)), torch.zeros(2, 3), torch.zeros(2), "numbers of identities"),
        (goals.Above(0.0), torch.zeros(2, 3), None, "one score an input"),
    ],
)
def test_what_a_goal_cannot_read_is_named_with_what_can(goal, out, y, words):
    with pytest.raises((ModelError, UsageError), match=words):
        goal.margin(out, y)


@pytest.mark.parametrize("make", [lambda: goals.Pixels(0.0), lambda: goals.Hide(iou=0.0), lambda: goals.Impersonate(2.0),
                                  lambda: goals.Both(()), lambda: goals.Dodge(0.5, metric="l1")])  # fmt: skip
def test_settings_that_make_no_sense_are_refused(make):
    with pytest.raises(UsageError):
        make()
