"""A piecewise-linear network as constraints: the values of one input as affine functions of a mixed-integer program's variables.

Affine operations cost no variables. A ReLU whose sign the bounds leave open costs one variable in [0, 1], one binary
and four inequalities; leaky ReLU, clamps, absolute values, maxima and max pooling are written as ReLUs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SMALL = 1e-9
"""Coefficients up to which HiGHS drops without a word (small_matrix_value): rows are widened for them instead."""


@dataclass(frozen=True, eq=False)
class Values:
    """Some values of one input, flat: `matrix @ variables + offset`, each in [low, high]."""

    matrix: Any
    """Sparse (size, variables so far)."""
    offset: Array
    low: Array
    high: Array

    def __len__(self) -> int:
        return len(self.offset)

    def take(self, index: NDArray[np.int64]) -> Values:
        """Some of them, in that order."""
        return Values(self.matrix[index], self.offset[index], self.low[index], self.high[index])

    def within(self, low: Array, high: Array) -> Values:
        """The same with what else is known of them: the tighter bound counts."""
        return Values(self.matrix, self.offset, np.maximum(self.low, low), np.minimum(self.high, high))


@dataclass(eq=False)
class Program:
    """Variables and inequalities of one mixed-integer program, as they come. All variables have a size of about 1."""

    low: list[Array] = field(default_factory=list)
    high: list[Array] = field(default_factory=list)
    integral: list[NDArray[np.uint8]] = field(default_factory=list)
    rows: list[tuple[Any, Array]] = field(default_factory=list)
    """Pairs (matrix, most): matrix @ variables <= most."""
    width: int = 0

    def variables(self, low: Array, high: Array, integral: bool = False) -> Any:
        """New variables in [low, high], as the sparse matrix (how many, width) that picks them."""
        from scipy import sparse

        count, start = len(low), self.width
        self.low.append(low)
        self.high.append(high)
        self.integral.append(np.full(count, integral, dtype=np.uint8))
        self.width += count
        places = (np.arange(count), np.arange(start, self.width))
        return sparse.csr_array((np.ones(count), places), shape=(count, self.width))

    def at_most(self, matrix: Any, most: Array) -> None:
        """matrix @ variables <= most, scaled so that the largest coefficient of each row is 1; tiny ones become slack."""
        from scipy import sparse

        matrix = self.widened(matrix)
        largest = abs(matrix).max(axis=1).toarray().reshape(-1)
        scale = 1 / np.where(largest > 0, largest, 1.0)
        matrix = (sparse.diags_array(scale) @ matrix).tocsr()
        tiny = abs(matrix.data) <= SMALL
        dropped = matrix.copy()
        dropped.data = np.where(tiny, dropped.data, 0.0)
        slack = -self.range(dropped, np.zeros(len(most)))[0]
        matrix.data = np.where(tiny, 0.0, matrix.data)
        matrix.eliminate_zeros()
        self.rows.append((matrix, most * scale + slack))

    def widened(self, matrix: Any) -> Any:
        """The same matrix with a column for each variable that has come since."""
        matrix = matrix.tocsr(copy=True)
        matrix.resize((matrix.shape[0], self.width))
        return matrix

    def range(self, matrix: Any, offset: Array) -> tuple[Array, Array]:
        """The least and the greatest of matrix @ variables + offset over the variables' own bounds."""
        matrix = self.widened(matrix)
        low, high = np.concatenate([*self.low, np.zeros(0)]), np.concatenate([*self.high, np.zeros(0)])
        up, down = matrix.maximum(0), matrix.minimum(0)
        return up @ low + down @ high + offset, up @ high + down @ low + offset

    def values(self, matrix: Any, offset: Array) -> Values:
        """Values from their coefficients."""
        return Values(matrix, offset, *self.range(matrix, offset))

    def constants(self, offset: Array) -> Values:
        """Values that no variable changes."""
        from scipy import sparse

        return Values(sparse.csr_array((len(offset), self.width)), offset, offset, offset)

    # ------------------------------------------------------------------------------------------------------ arithmetic
    def sum(self, *terms: tuple[Any, Values]) -> Values:
        """The sum of factor * values; a factor is a number or one a value."""
        from scipy import sparse

        size = len(terms[0][1])
        matrix, offset, low, high = sparse.csr_array((size, self.width)), np.zeros(size), np.zeros(size), np.zeros(size)
        for factor, part in terms:
            factors = np.broadcast_to(np.asarray(factor, dtype=np.float64), (len(part),))
            scaled = sparse.diags_array(factors) @ self.widened(part.matrix)
            matrix = matrix + scaled
            offset = offset + factors * part.offset
            low = low + np.minimum(factors * part.low, factors * part.high)
            high = high + np.maximum(factors * part.low, factors * part.high)
        return self.values(matrix, offset).within(low, high)

    def relu(self, x: Values) -> Values:
        """max(x, 0), exactly: with binary a and y = scale * s, s in [0, 1]: y >= x, y <= x - low (1 - a), y <= high a.

        Paper: Tjeng et al. 2019 (arXiv 1711.07356), equations 4 to 8 of section 4.1.
        """
        from scipy import sparse

        on, off = x.low >= 0, x.high <= 0
        open_ = (~(on | off)).nonzero()[0]
        matrix = sparse.diags_array(on.astype(float)) @ self.widened(x.matrix)
        offset = np.where(on, x.offset, 0.0)
        if len(open_):
            part = x.take(open_)
            most = np.maximum(part.high, abs(part.matrix).max(axis=1).toarray().reshape(-1) * 1e-3)  # see `at_most`
            share = self.variables(np.zeros(len(open_)), part.high / most)
            active = self.variables(np.zeros(len(open_)), np.ones(len(open_)), integral=True)
            share, inner = sparse.diags_array(most) @ self.widened(share), self.widened(part.matrix)
            self.at_most(inner - share, -part.offset)
            self.at_most(share - inner - sparse.diags_array(part.low) @ active, part.offset - part.low)
            self.at_most(share - sparse.diags_array(part.high) @ active, np.zeros(len(open_)))
            into = sparse.csr_array((np.ones(len(open_)), (open_, np.arange(len(open_)))), shape=(len(x), len(open_)))
            matrix = self.widened(matrix) + into @ share
        return self.values(matrix, offset).within(np.maximum(x.low, 0), np.maximum(x.high, 0))

    def maximum(self, a: Values, b: Values) -> Values:
        """max(a, b) = a + max(b - a, 0), value by value."""
        found = self.sum((1, a), (1, self.relu(self.sum((1, b), (-1, a)))))
        return found.within(np.maximum(a.low, b.low), np.maximum(a.high, b.high))

    def clamp(self, x: Values, low: Any, high: Any) -> Values:
        """min(max(x, low), high) for constants, None where there is no such end."""
        if low is not None:
            low = np.broadcast_to(np.asarray(low, dtype=np.float64), (len(x),))
            x = self.maximum(self.constants(low), x)
        if high is not None:
            high = np.broadcast_to(np.asarray(high, dtype=np.float64), (len(x),))
            x = self.sum((-1, self.maximum(self.constants(-high), self.sum((-1, x)))))
        return x

    def most(self, x: Values, windows: list[NDArray[np.int64]]) -> Values:
        """The greatest value of each window (indices of x), by rounds of pairs; windows of one size together."""
        places, found = [], []
        for size in sorted({len(window) for window in windows}):
            mine = [at for at, window in enumerate(windows) if len(window) == size]
            best = [x.take(column) for column in np.stack([windows[at] for at in mine], 1)]
            while len(best) > 1:
                pairs = [self.maximum(a, b) for a, b in zip(best[::2], best[1::2], strict=False)]
                best = [*pairs, *best[2 * len(pairs) :]]
            places += mine
            found += best
        return self._joined(found).take(np.argsort(np.asarray(places)))

    def _joined(self, parts: list[Values]) -> Values:
        from scipy import sparse

        matrix = sparse.vstack([self.widened(part.matrix) for part in parts]).tocsr()
        return Values(
            matrix, *(np.concatenate([getattr(p, name) for p in parts]) for name in ("offset", "low", "high"))
        )
