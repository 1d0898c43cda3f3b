"""The contracts of the heart as types: set, goal, objective, oracle, search, and what they say to the engine.

docs/architecture.md tells why they are as they are. Nothing here knows images: inputs, points and outputs are whatever
rows.py can index.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum, Flag, IntEnum, auto
from typing import Any, Protocol, Self, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ironbound.core.rng import Rng

Inputs = Any
"""What the model eats, one row an input: a tensor, a dict of tensors, a ragged batch, a list of strings."""
Points = Any
"""Candidate changes, one row a candidate, in the set's own coordinates (pixels, angles, words)."""
Outputs = Any
"""What the model answers: logits (m, classes), decisions (m,), a generated sequence."""
Labels = Any
"""What the goal needs to know of each input, one row an input: classes, targets, a tree of both."""
Box = tuple[float, float] | None
"""The model's valid input range; None where inputs have none (text)."""


class Can(Flag):
    """What a region or an oracle offers and a search needs; matched when an Attack is built."""

    PROJECT = auto()
    SAMPLE = auto()
    STEER = auto()
    SUPPORT = auto()
    SCALE = auto()
    NEIGHBOURS = auto()
    FINITE = auto()
    GRADIENT = auto()
    SCORES = auto()
    DECISIONS = auto()


WHITE_BOX = Can.GRADIENT | Can.SCORES | Can.DECISIONS


# ------------------------------------------------------------------------------------------------- sets and regions
@runtime_checkable
class PerturbationSet(Protocol):
    """P(x) as a frozen description that holds no inputs: "the L-infinity ball of 8/255".

    A set that holds something a problem (a radius, a mask) also has `take(index) -> set`, for some of the inputs;
    `rows.of_rows` calls it where there is one. Where `can` has STEER or SUPPORT and the set has `parts`, it is a union,
    and attacks run on its parts in turn. A set whose points are each for many inputs says `collective = True`.
    """

    @property
    def can(self) -> Can:
        """What its regions offer."""
        ...

    def at(self, x: Inputs, box: Box) -> Any:
        """The Region around these inputs; bounds are computed here once, in float64, rounded inwards."""
        ...


class Region(Protocol):
    """That set around n given problems; row i of every result depends on row i only.

    One whose `apply` draws from the Rng given (where a patch is pasted) says `random = True`: claims are judged on fresh
    draws. One whose identity is a change, too (a grey patch), says `covers = True`: a witness of size 0 is then no input that
    was wrong already. A collective one has `record()`, which is plain data that a file needs for applying points to others.
    """

    @property
    def items(self) -> Int[Tensor, " inputs"] | None:
        """None where each input is a problem of its own, else which (collective) problem each input belongs to."""
        ...

    def __len__(self) -> int:
        """The number of problems, which is not always that of inputs."""
        ...

    def take(self, index: Int[Tensor, " r"]) -> Self:
        """The region of some problems; numbers may repeat. `items` of `apply` keep meaning the inputs given to `at`."""
        ...

    def identity(self) -> Points:
        """The points that change nothing: apply(identity()) == x."""
        ...

    def leaf(self, p: Points) -> Points:
        """Where gradients are taken: p itself (the same object), or the relaxation (one-hot) of discrete points.

        A success heard at a relaxation is a claim that the judge re-runs at the point.
        """
        ...

    def apply(self, p: Points, rng: Rng, items: Int[Tensor, " m"] | None = None) -> Inputs:
        """The inputs that points (or leaves) stand for; `items` says, row by row, which input of a collective problem."""
        ...

    def contains(self, p: Points) -> Bool[Tensor, " m"]:
        """Whether each point is in the set, exactly and without tolerance: the judge, which no search may bypass."""
        ...

    def size(self, p: Points) -> Float[Tensor, " m"]:
        """How far each point goes, in the set's own unit, float64; 0 at the identity."""
        ...

    def distance(self, p: Points) -> Float[Tensor, " m"]:
        """How far each point is from the set; 0 inside."""
        ...


class Continuous(Region, Protocol):
    """A region in which one can project, draw and steer."""

    @property
    def radius(self) -> Float[Tensor, " n"]:
        """One radius a problem, float64, in input units."""
        ...

    @property
    def box(self) -> Box:
        """The model's input range: C&W's tanh and HopSkipJump's starts live in the box, not in the set."""
        ...

    def project(self, p: Points) -> Points:
        """The nearest point of the set; points inside come back unchanged. (PROJECT)"""
        ...

    def sample(self, rng: Rng) -> Points:
        """One random point a problem; the set says of what distribution. (SAMPLE)"""
        ...

    def steepest(self, g: Points) -> Points:
        """The step of unit length along which <g, step> grows most. (STEER)"""
        ...

    def support(self, g: Points) -> tuple[Points, Float[Tensor, " m"]]:
        """Argmax and max of <g, p> over the set: FGSM's step, Frank-Wolfe's vertex, a bound's concretisation. (SUPPORT)

        The argmax is contained, exactly; the max is float64.
        """
        ...

    def scaled(self, radius: Float[Tensor, " n"]) -> Self:
        """The same set with other radii, one a problem. (SCALE)"""
        ...


class Discrete(Region, Protocol):
    """A region whose points have neighbours, or can be listed."""

    def neighbours(self, p: Points, rng: Rng) -> tuple[Points, Int[Tensor, " k"]]:
        """Points one move away that are still inside, and the row each belongs to. (NEIGHBOURS)"""
        ...

    def enumerate(self) -> tuple[Points, Int[Tensor, " k"]]:
        """All points, and the row each belongs to: the exact answer. (FINITE)"""
        ...


# ------------------------------------------------------------------------------------------------- goal and objective
class Goal(Protocol):
    """Did it work?"""

    def margin(self, out: Outputs, y: Labels) -> Float[Tensor, " m"]:
        """By how much it worked, in logits. Success IS margin > 0 (argmax != y differs from it at ties)."""
        ...

    def cross_entropy(self, out: Outputs, y: Labels) -> Float[Tensor, " m"]:
        """The goal's own cross-entropy in nats, up as the goal comes nearer."""
        ...


class Objective(Protocol):
    """How close is it? Up is always better for the attacker, whatever the goal."""

    def __call__(self, out: Outputs, y: Labels, goal: Goal) -> Float[Tensor, " m"]:
        """One number a row, differentiable where the outputs are."""
        ...


# ------------------------------------------------------------------------------------------------- model and oracle
Counted = Callable[[Inputs, Rng], Outputs]
"""A model as oracles see it: inputs and one random stream an input in, outputs out. Oracles nest because all are this."""


class Model(Protocol):
    """The user's model with its input range, as the door needs it (models/model.py is the one for PyTorch)."""

    @property
    def box(self) -> Box:
        """The valid range of inputs."""
        ...

    @property
    def gives(self) -> Can:
        """What the model can tell: gradients, scores, decisions."""
        ...

    @property
    def random(self) -> bool:
        """Whether two passes of one input may differ."""
        ...

    @property
    def device(self) -> torch.device:
        """Where its passes run."""
        ...

    def admit(self, x: Inputs, y: Labels) -> tuple[Inputs, Labels]:
        """Inputs and labels checked, in the model's type and on its device; raises InputError or ModelError."""
        ...

    def opened(self, cheap: bool = False) -> AbstractContextManager[Counted]:
        """Evaluation mode, parameters out of the graph, the user's module left as it was afterwards.

        `cheap` passes run in bfloat16.
        """
        ...


class Oracle(Protocol):
    """How the attacker sees the model; oracles nest: Eot(Bpda(jpeg), draws=20)."""

    @property
    def gives(self) -> Can:
        """What the attacker gets to see."""
        ...

    @property
    def cost(self) -> int:
        """Model rows per row asked: charged before it is granted, checked at the door."""
        ...

    @property
    def exact(self) -> bool:
        """Whether its outputs are the model's own, so that a claim needs no second pass."""
        ...

    def bind(self, model: Counted) -> Counted:
        """The model as seen through this oracle."""
        ...


# ------------------------------------------------------------------------------------------------- what a search says
@dataclass(frozen=True)
class Terms:
    """What a loss of the search's own may use, row-aligned."""

    points: Points
    inputs: Inputs
    outputs: Outputs
    objective: Float[Tensor, " m"]
    y: Labels
    region: Any

    @property
    def size(self) -> Float[Tensor, " m"]:
        """How far each point goes, in the set's own unit."""
        size: Tensor = self.region.size(self.points)
        return size


@dataclass(frozen=True)
class Rows:
    """A large ask whose points are made chunk by chunk, never all at once.

    `make` must be pure, and stay so when the search has moved on: claims and the best failures are
    made twice. Bind what it reads to local names; tables of the state change.
    """

    count: int
    make: Callable[[slice], Points]


@dataclass(frozen=True)
class Ask:
    """What a search says: these points, please. They may become the answer: do not write to their tensors afterwards."""

    points: Points | Rows
    owner: Int[Tensor, " m"] | None = None
    """Whose point each is, a row number among the problems now in the task; None: one each, in order."""
    items: Int[Tensor, "m b"] | None = None
    """Collective problems: the inputs each point is tried on. None: all of its problem, and only then can it be a claim."""
    grad: bool = False
    jac: Int[Tensor, "m k"] | None = None
    """The outputs whose gradients are wanted (DeepFool, FAB, JSMA)."""
    less: Int[Tensor, " m"] | None = None
    """An output of each row whose gradient is taken off those of `jac`: differences of k outputs to it in k passes."""
    loss: Callable[..., Float[Tensor, " m"]] | None = None
    """Replaces the objective under the gradient: loss(terms, *args) (C&W, EAD)."""
    args: tuple[Tensor, ...] = ()
    partial: bool = False
    """Take what the budget still allows, instead of all or nothing per problem."""


@dataclass(frozen=True)
class Answer:
    """What it hears, row by row of the ask; rows that were not granted carry -inf, False and 0."""

    outputs: Outputs
    """(m, ...); of a collective ask (m, b, ...), or None where problems have different numbers of items.

    Also None where nothing was granted and nothing was heard before, so that nobody knows their shape.
    """
    value: Float[Tensor, " m"]
    success: Bool[Tensor, " m"]
    """What the search's own pass said, judged or not."""
    granted: Bool[Tensor, " m"]
    rate: Float[Tensor, " m"] | None = None
    """The share of the items on which it worked; collective asks only."""
    loss: Float[Tensor, " m"] | None = None
    grad: Any = None
    """Of the objective (or the loss) at each point, in the shape of the set's leaf; None unless asked for."""
    jac: Any = None
    """(m, k, ...), of the outputs chosen."""


class State(Protocol):
    """The search's rows, one a problem, that leave with their problems."""

    def __getattr__(self, name: str) -> Any:
        """A table of rows."""
        ...

    def __setattr__(self, name: str, value: Any) -> None:
        """Replace or add a table of rows."""
        ...


class Task(Protocol):
    """What a search is given: the problems that are still open."""

    @property
    def n(self) -> int:
        """How many."""
        ...

    @property
    def region(self) -> Any:
        """Their region."""
        ...

    @property
    def goal(self) -> Goal:
        """What is to be reached: for searches that are about classes, as JSMA is; others climb the objective."""
        ...

    @property
    def y(self) -> Labels:
        """Their labels, one row a problem; of collective problems one row an input, as given."""
        ...

    @property
    def rng(self) -> Rng:
        """Their streams, the same at every ask: for starts."""
        ...

    @property
    def fresh(self) -> Rng:
        """Streams that change with the count of asks granted to the problem itself: for probes and proposals."""
        ...

    def state(self, **rows: Any) -> Any:
        """Keep these tables of rows, so that they shrink with the task."""
        ...

    def turn(self, number: int) -> None:
        """Start over with other streams in `rng`: for a search that runs another one several times."""
        ...

    def members(self, row: int) -> Int[Tensor, " items"]:
        """The inputs of one collective problem, for minibatches (`Ask.items`)."""
        ...

    def compact(self) -> None:
        """Let finished problems leave; call it where the search holds no row numbers of its own."""
        ...


class Search(Protocol):
    """Where to look next: a generator that yields an Ask and receives an Answer.

    One that works on another set than the threat that people name (one change for all inputs, where they say how large a
    change is) has `lifts(set) -> set`; the attack then has that set.
    """

    @property
    def needs(self) -> Can:
        """What set and oracle must offer."""
        ...

    def run(self, task: Any) -> Generator[Ask, Answer, None]:
        """Search all problems of the task at once."""
        ...


# ------------------------------------------------------------------------------------------------- wishes and outcomes
class Want(Enum):
    """Which success is kept."""

    FIRST = auto()
    """Any: a problem is finished with its first witness; where there is none, the contained point nearest to one is kept."""
    SMALLEST = auto()
    """The smallest, so that problems stay open until the search ends; where there is none, the input stands."""
    STRONGEST = auto()
    """The one with the highest objective; where there is none, the best failure."""


@dataclass(frozen=True)
class Budget:
    """Model rows per problem, the judge's included. Never seconds: clocks are not reproducible."""

    forward: int | None = None
    backward: int | None = None


class Status(IntEnum):
    """How a problem ended."""

    FOUND = 0
    NOT_FOUND = 1
    ALREADY_WRONG = 2
    """The witness is the input itself. (A search that starts elsewhere may find another one first.)"""
    BUDGET = 3
    """Nothing was found, and an ask was refused for want of budget."""
    NON_FINITE = 4
    """Nothing was found, and the model answered NaN on the way."""
