"""Parts of the user's own, schedules, images changed at random, and the history as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from ironbound.core.errors import UsageError
from ironbound.core.rng import Rng
from ironbound.defenses.train import Adversarial, Standard, Steps, Training, train
from ironbound.defenses.train.history import COLUMNS
from ironbound.defenses.train.transforms import transformed
from ironbound.models.model import Model
from training_samples import EPS, images, same, small_net, state_of, trained


# ------------------------------------------------------------------------------------------------ schedules
def test_schedules() -> None:
    rates = lambda **parts: [Training(Standard(), 1, rate=2.0, **parts).rate_at(k / 4) for k in range(5)]
    assert rates(schedule="step") == pytest.approx([2, 2, 0.2, 0.02, 0.02])
    assert rates(schedule="step", milestones=(0.25,), drop=0.5) == [2, 1, 1, 1, 1]
    assert rates(schedule="cosine")[::2] == pytest.approx([2, 1, 0])
    assert rates(schedule="cyclic") == pytest.approx([0, 1.25, 10 / 6, 5 / 6, 0])
    assert rates(schedule=lambda share: share**2) == [0, 0.125, 0.5, 1.125, 2]


# ------------------------------------------------------------------------------------------------ optimisers
def test_an_own_optimiser_trains_what_torchs_does_by_name() -> None:
    own = lambda weights: torch.optim.SGD(weights, 0.05, momentum=0.9)
    named = trained(optimiser="sgd", rate=0.05).model.net
    assert same(state_of(trained(optimiser=own, rate=1.0).model.net), state_of(named))


def test_groups_keep_their_rates_in_proportion() -> None:
    made: list[torch.optim.Optimizer] = []

    def own(weights: list[Any]) -> torch.optim.Optimizer:
        groups = [{"params": weights[:2], "lr": 0.01}, {"params": weights[2:], "lr": 0.1}]
        made.append(torch.optim.SGD(groups, 1.0))
        return made[-1]

    history = trained(optimiser=own, schedule=lambda share: 0.5).history
    assert [group["lr"] for group in made[-1].param_groups] == [0.005, 0.05]
    assert history[-1]["rate"] == 0.005


@pytest.mark.parametrize(
    ("optimiser", "says"),
    [
        (lambda weights: "adam", "it gave str"),
        (lambda weights: torch.optim.LBFGS(weights), "no closure"),
        (lambda weights: torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.1), "was not given"),
    ],
)
def test_optimisers_that_cannot_train_are_refused(optimiser: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        trained(optimiser=optimiser)


def test_what_a_checkpoint_cannot_hold_is_named(tmp_path: Path) -> None:
    class Holding(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:
            super().step()
            self.state[self.param_groups[0]["params"][0]]["made"] = {1, 2}

    training = Training(Standard(), 1, optimiser=lambda weights: Holding(weights, 0.1))
    assert train(Model(small_net()), images(), None, training).history
    with pytest.raises(UsageError, match="Holding keeps 'made' as set"):
        train(Model(small_net()), images(), None, training, folder=tmp_path)


def test_settings_of_torchs_optimisers_are_refused_beside_an_own_one() -> None:
    with pytest.raises(UsageError, match="weight_decay"):
        Training(Standard(), 1, optimiser=torch.optim.SGD, weight_decay=0.1)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------ losses
def test_an_own_loss_is_minimised_and_attacked() -> None:
    seen: list[bool] = []

    def hinge(logits: Tensor, y: Tensor) -> Tensor:
        seen.append(logits.shape[1] == 3)
        return torch.nn.functional.multi_margin_loss(logits, y, reduction="none")

    result = trained(Adversarial(Steps(2)), loss=hinge, epochs=3)
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    assert len(seen) == 3 * 3 * 3  # epochs, batches, two steps and the update


# ------------------------------------------------------------------------------------------------ images
def test_flips_and_crops_are_those_of_each_sample() -> None:
    x = torch.arange(2.0 * 3 * 5 * 4).view(2, 3, 5, 4).repeat(40, 1, 1, 1) + 1
    rng = Rng.of(0, torch.arange(80)).fold("epoch")
    made = transformed(x, "flip+crop", 2, rng)
    assert torch.equal(made, transformed(x, "flip+crop", 2, rng))
    assert torch.equal(made[7:9], transformed(x[7:9], "flip+crop", 2, rng.take(torch.tensor([7, 8]))))
    assert not torch.equal(made, transformed(x, "flip+crop", 2, rng.fold("other")))
    found = set()
    for before, after in zip(x, made, strict=True):
        wide = torch.nn.functional.pad(before, (2, 2, 2, 2))
        cuts = {
            (down, right, flip): (wide.flip(2) if flip else wide)[:, down : down + 5, right : right + 4]
            for down in range(5) for right in range(5) for flip in (False, True)
        }  # fmt: skip
        where = [place for place, cut in cuts.items() if torch.equal(cut, after)]
        assert len(where) == 1
        found.add(where[0])
    assert {place[0] for place in found} == {place[1] for place in found} == set(range(5))
    assert {place[2] for place in found} == {False, True}


def test_what_comes_in_at_an_edge_is_a_valid_input() -> None:
    x = torch.full((50, 1, 3, 3), 0.5)
    rng = Rng.of(0, torch.arange(50))
    assert transformed(x, "crop", 2, rng, (0.0, 1.0)).unique().tolist() == [0.0, 0.5]
    assert transformed(x, "crop", 2, rng, (0.25, 1.0)).unique().tolist() == [0.25, 0.5]
    assert transformed(x, "crop", 2, rng, (-3.0, -1.0)).max() == 0.5
    assert torch.equal(transformed(x, "flip", 2, rng), x)


def test_transforms_are_of_images_only() -> None:
    net = torch.nn.Linear(4, 2)
    data = (torch.zeros(4, 4), torch.tensor([0, 1, 0, 1]))
    with pytest.raises(UsageError, match="transform is for images"):
        train(Model(net), data, None, Training(Standard(), 1, transform="flip"))


def test_a_transform_is_trained_on() -> None:
    assert not same(state_of(trained().model.net), state_of(trained(transform="crop", padding=1).model.net))


# ------------------------------------------------------------------------------------------------ history
def test_the_history_is_a_file_with_meanings(tmp_path: Path) -> None:
    training = Training(Adversarial(Steps(1)), 2, batch=40, validation=20)
    result = train(Model(small_net()), images(), EPS, training, folder=tmp_path)
    table = pq.read_table(tmp_path / "history.parquet")
    assert table.to_pylist() == result.history
    assert table.column_names == list(COLUMNS)
    assert all(table.schema.field(name).metadata[b"description"] for name in COLUMNS)
