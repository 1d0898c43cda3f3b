"""What the engine promises of every attack, as functions of a trial: nothing but the problem itself changes its result."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ironbound.core.protocols import Budget
from ironbound.core.result import Result
from ironbound.testing.promise import require
from ironbound.testing.tables import FIELDS, assert_same, order
from ironbound.testing.trials import Counted, Trial, require_witnesses


def rows_change_nothing(trial: Trial, count: int, ours: Result | None = None) -> None:
    """Passes of `count` rows give the same result as passes of as many as fit."""
    assert_same(ours or trial.run(), trial.run(rows=count), why=f"with passes of {count} rows")


def compaction_changes_nothing(trial: Trial, ours: Result | None = None) -> None:
    """Whether finished problems leave the search's tables at once, or never, changes nothing."""
    ours = ours or trial.run()
    for when in ("always", "never"):
        assert_same(ours, trial.run(compaction=when), why=f"with compaction={when!r}")


def order_changes_nothing(trial: Trial, which: str, ours: Result | None = None) -> None:
    """The same problems in another order, or some of them (see `order`), have the results they have together."""
    fields = tuple(f for f in FIELDS if not (trial.collective and f == "adversarial"))  # which has one row an input
    index = order(trial.problems, which)
    assert_same(ours or trial.run(), trial.run_on(index), index, fields, f"of the problems {which}")


def budget_holds(trial: Trial, forward: int, cheap: bool = False) -> None:
    """Never one row more, forward or backward, the judge's rows included; and what was charged was run."""
    backward, stages = forward // 3, trial.stages
    attack = trial.attack.replace(budget=Budget(forward=forward, backward=backward), cheap=cheap)
    model, x, y = trial.build(torch.float32)
    spy = Counted(model)
    result = attack(spy, x, y)
    mend = "the engine grants rows by the oracle's `cost`, which must be the rows it runs for each row asked."
    require(
        result.forward <= forward * stages, f"{int(result.forward.max())} forward rows of {forward * stages}.", mend
    )
    require(
        result.backward <= backward * stages,
        f"{int(result.backward.max())} backward rows of {backward * stages}.",
        mend,
    )
    require(result.judged <= result.forward, "the judge's rows are not among the forward rows.", mend)
    require(spy.ran >= int(result.forward.sum()) - _elsewhere(attack, result), "more rows were charged than run.", mend)


def _elsewhere(attack: Any, result: Result) -> int:
    """How many of the rows charged an oracle ran on models of its own."""
    oracle: Any = getattr(attack, "oracle", None)
    share: int = getattr(oracle, "elsewhere", 0)
    return int((result.forward - result.judged).sum()) * share // oracle.cost if share else 0


def no_row_is_alone(trial: Trial) -> None:
    """Kernels for one row differ in the last bits from those for many: no pass has one."""
    spies = list[Counted]()

    def wrap(model: Any) -> Counted:
        spies.append(Counted(model))
        return spies[0]

    trial.run_on(torch.tensor([0]), wrap=wrap, rows=1)
    require(spies[0].sizes, "nothing ran.", "ask for at least one point.")
    require(min(spies[0].sizes) >= 2, "a pass had one row only.", "call the model through the door alone.")


def witnesses_hold(trial: Trial, kind: torch.dtype, result: Result | None = None) -> None:
    """Measured again in float64: inside ball and box, without tolerance; and the net alone is fooled at batch size 1."""
    model, x, y = trial.build(kind)
    result = trial.attack(model, x, y) if result is None else result
    if trial.finds:
        require(result.success.any(), "nothing was found.", "try larger radii in `threats`, or say finds = False.")
    require_witnesses(trial, model, x, y, result)


# ------------------------------------------------------------------------------------------------- the user's model
def model_is_left_alone(trial: Trial) -> None:
    """Weights, buffers, modes per submodule, requires_grad, .grad and the global generators are as they were."""
    model, x, y = trial.build(torch.float64)
    before = snapshot(model.net)
    trial.attack(model, x, y)
    assert_untouched(model.net, before)


def gradients_are_not_kept(trial: Trial, ours: Result | None = None) -> None:
    """Parameters that want gradients and parameters that want none give the same result, and neither is given a .grad."""
    for wanted in (True, False):
        model, x, y = trial.build(torch.float64)
        model.net.requires_grad_(wanted)
        words = "wanting gradients" if wanted else "frozen"
        assert_same(ours or trial.run(), trial.attack(model, x, y), why=f"with all parameters {words}")
        kept = [name for name, weight in model.net.named_parameters() if weight.grad is not None]
        require(not kept, f".grad was left on {', '.join(kept)}.", "never call the model from a search.")
        flags = {weight.requires_grad for weight in model.net.parameters()}
        require(flags == {wanted}, "requires_grad was changed.", "never call the model from a search.")


def snapshot(net: nn.Module) -> dict[str, Any]:
    """What must be the same afterwards; a frozen submodule in another mode, a frozen and a used parameter included."""
    net.train()
    list(net.modules())[-1].eval()
    parameters = list(net.parameters())
    parameters[0].requires_grad_(False)
    parameters[-1].grad = torch.ones_like(parameters[-1])
    return {
        "state": {name: tensor.clone() for name, tensor in net.state_dict(keep_vars=True).items()},
        "ids": [id(tensor) for tensor in (*net.parameters(), *net.buffers())],
        "modes": [module.training for module in net.modules()],
        "wanted": [parameter.requires_grad for parameter in parameters],
        "grads": [parameter.grad for parameter in parameters],
        "torch": torch.random.get_rng_state(),
        "numpy": np.random.get_state()[1].copy(),  # type: ignore[index]  # noqa: NPY002
    }


def assert_untouched(net: nn.Module, before: dict[str, Any]) -> None:
    """The net and the global generators are as `snapshot` saw them."""
    parameters, state = list(net.parameters()), net.state_dict()
    generator: Tensor = before["torch"]
    kept = before["state"].keys() == state.keys()
    checks = {
        "modes": before["modes"] == [module.training for module in net.modules()],
        "requires_grad": before["wanted"] == [parameter.requires_grad for parameter in parameters],
        ".grad": all(a is b for a, b in zip(before["grads"], [p.grad for p in parameters], strict=True))
        and bool((parameters[-1].grad == 1).all() if parameters[-1].grad is not None else False),
        "names": kept,
        "values": kept and all(torch.equal(value, state[name]) for name, value in before["state"].items()),
        "tensors": before["ids"] == [id(tensor) for tensor in (*net.parameters(), *net.buffers())],
        "torch's generator": torch.equal(generator, torch.random.get_rng_state()),
        "NumPy's generator": np.array_equal(before["numpy"], np.random.get_state()[1]),  # type: ignore[index]  # noqa: NPY002
    }
    changed = [name for name, same in checks.items() if not same]
    mend = "never call the model from a search, and draw from task.rng and task.fresh only."
    require(not changed, f"the user's model was changed: {', '.join(changed)}.", mend)
