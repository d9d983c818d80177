"""Generated crowds of many kinds, with known truth: for the tests of this folder and for benchmarks/crowds.py.

A crowd is true labels, given labels and the votes of other families, each (n, 1), or (n, R) for a crowd of R raters.
Nothing in the models was chosen on seeds from 100 on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mer_pipeline.labels.votes import MISSING, Votes
from tests.labels.make import as_votes

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Made:
    """A generated crowd; `raters` says whether the families of several columns are crowds with known raters."""

    true: Ints
    given: Ints
    families: tuple[Ints, ...]
    classes: int

    def votes(self, *, raters: bool = True) -> Votes:
        """The given label and the other families; the columns of one family are its raters, known or counted."""
        groups, start = [[0]], 1
        for family in self.families:
            groups.append(list(range(start, start + family.shape[1])))
            start += family.shape[1]
        votes = as_votes(self.matrix, self.classes, groups)
        if not raters or all(family.shape[1] == 1 for family in self.families):
            return votes
        return replace(votes, raters=(None, *(each if each.shape[1] > 1 else None for each in self.families)))

    @property
    def matrix(self) -> Ints:
        """A column per voter, the given label first: what a method sees that knows no families."""
        return np.column_stack([self.given, *self.families])

    @property
    def names(self) -> tuple[str, ...]:
        """The classes."""
        return tuple("abcdefgh"[: self.classes])


def coin(accuracy: float, classes: int) -> Floats:
    """The confusion of a voter who errs evenly."""
    wrong = (1 - accuracy) / (classes - 1)
    return np.full((classes, classes), wrong) + np.eye(classes) * (accuracy - wrong)


def say(rng: np.random.Generator, true: Ints, confusion: Floats, missing: float = 0.0) -> Ints:
    """Votes by a confusion matrix."""
    drawn = (rng.random(len(true))[:, None] > confusion[true].cumsum(axis=1)).sum(axis=1).clip(0, len(confusion) - 1)
    return np.where(rng.random(len(true)) < missing, MISSING, drawn)


def _made(true: Ints, columns: Sequence[Ints], classes: int) -> Made:
    return Made(true, columns[0], tuple(c[:, None] if c.ndim == 1 else c for c in columns[1:]), classes)


def _coins(
    seed: int, n: int, classes: int, accuracy: Sequence[float], missing: float = 0.1, skew: float = 0.0
) -> tuple[np.random.Generator, Ints, list[Ints]]:
    rng = np.random.default_rng(seed)
    share = np.exp(-skew * np.arange(classes))
    true = rng.choice(classes, n, p=share / share.sum())
    return rng, true, [say(rng, true, coin(a, classes), missing if w else 0.0) for w, a in enumerate(accuracy)]


def independent(seed: int, n: int = 1500) -> Made:
    """Five families that err independently."""
    _, true, columns = _coins(seed, n, 6, (0.8, 0.72, 0.7, 0.78, 0.6))
    return _made(true, columns, 6)


def little(seed: int) -> Made:
    """The same on 150 clips."""
    return independent(seed, 150)


def two(seed: int) -> Made:
    """The given label and one other family."""
    _, true, columns = _coins(seed, 1500, 6, (0.8, 0.72))
    return _made(true, columns, 6)


def three(seed: int) -> Made:
    """The given label and two families that err independently."""
    _, true, columns = _coins(seed, 1500, 6, (0.8, 0.72, 0.7))
    return _made(true, columns, 6)


def copied(seed: int) -> Made:
    """The given label and two families, of which one copies the other in 80 %."""
    rng, true, columns = _coins(seed, 1500, 6, (0.82, 0.76, 0.74), missing=0.0)
    columns[2] = np.where(rng.random(1500) < 0.8, columns[1], columns[2])
    return _made(true, columns, 6)


def clique(seed: int) -> Made:
    """Five families, of which one copies another in 80 %."""
    rng, true, columns = _coins(seed, 1500, 6, (0.8, 0.72, 0.7, 0.78, 0.25), missing=0.0)
    columns[2] = np.where(rng.random(1500) < 0.8, columns[1], columns[2])
    return _made(true, columns, 6)


def misled(seed: int) -> Made:
    """Five families that are misled by the same 30 % of the clips, in half of their votes on these."""
    rng = np.random.default_rng(seed)
    true = rng.choice(6, 1500)
    decoy, hard = (true + rng.integers(1, 6, 1500)) % 6, rng.random(1500) < 0.3
    columns = []
    for a in (0.85, 0.8, 0.8, 0.75, 0.7):
        said = np.where(hard & (rng.random(1500) < 0.5), decoy, say(rng, true, coin(a, 6)))
        columns.append(np.where((rng.random(1500) < 0.1) & bool(columns), MISSING, said))
    return _made(true, columns, 6)


def one_good(seed: int) -> Made:
    """A poor given label, one good family and eight at random."""
    _, true, columns = _coins(seed, 1000, 5, (0.6, 0.92, *([0.2] * 8)))
    return _made(true, columns, 5)


def poor_given(seed: int) -> Made:
    """Half of the given labels are wrong, and four families are good."""
    _, true, columns = _coins(seed, 1500, 6, (0.5, 0.75, 0.75, 0.7, 0.72))
    return _made(true, columns, 6)


def adversaries(seed: int) -> Made:
    """Four honest families, and two that name the next class on purpose."""
    rng, true, columns = _coins(seed, 1500, 5, (0.75, 0.7, 0.7, 0.68))
    columns += [(say(rng, true, coin(0.8, 5)) + 1) % 5 for _ in range(2)]
    return _made(true, columns, 5)


def rare(seed: int) -> Made:
    """Eight classes, the rarest a sixtieth of the commonest."""
    _, true, columns = _coins(seed, 1500, 8, (0.72, 0.6, 0.6, 0.55, 0.55, 0.5), missing=0.2, skew=0.6)
    return _made(true, columns, 8)


def rare_and_biased(seed: int) -> Made:
    """Eight skewed classes, and six families that say one of the two commonest too often."""
    rng, true, columns = _coins(seed, 1500, 8, (0.72,), skew=0.5)
    for _ in range(6):
        confusion = coin(0.65, 8) * 0.75
        confusion[:, rng.integers(0, 2)] += 0.25
        columns.append(say(rng, true, confusion, 0.2))
    return _made(true, columns, 8)


def biased(seed: int) -> Made:
    """Five families, each of which takes some classes for others."""
    rng, true, columns = _coins(seed, 1500, 6, (0.75,))
    columns += [say(rng, true, rng.dirichlet(np.full(6, 0.3), 6) * 0.45 + np.eye(6) * 0.55, 0.1) for _ in range(5)]
    return _made(true, columns, 6)


def nine_workers(seed: int) -> Made:
    """Given labels of .70 beside one crowd of nine raters who err independently."""
    _, true, columns = _coins(seed, 1500, 6, (0.7, 0.35, 0.4, 0.4, 0.45, 0.45, 0.45, 0.5, 0.5, 0.55), missing=0.0)
    return _made(true, [columns[0], np.column_stack(columns[1:])], 6)


def correlated(seed: int, rates: Sequence[tuple[float, float]], given: float, bias: float = 0.0) -> Made:
    """Crowds of nine raters with Dirichlet-multinomial counts; `bias` is added to the rate of the first class."""
    rng = np.random.default_rng(seed)
    true = rng.choice(6, 1500)
    columns = [say(rng, true, coin(given, 6))]
    for right, wrong in rates:
        alpha = np.where(np.eye(6)[true] == 1, right, wrong)
        alpha[:, 0] += bias
        share = rng.standard_gamma(alpha)
        share /= share.sum(axis=1, keepdims=True)
        votes = [(rng.random(1500)[:, None] > share.cumsum(axis=1)).sum(axis=1).clip(0, 5) for _ in range(9)]
        columns.append(np.column_stack(votes))
    return _made(true, columns, 6)


def two_crowds(seed: int) -> Made:
    """Given labels and two crowds whose raters are misled together."""
    return correlated(seed, ((2.0, 0.4), (1.2, 0.45)), 0.75)


def poor_crowd(seed: int) -> Made:
    """Good given labels beside one crowd that says the first class far too often."""
    return correlated(seed, ((1.0, 0.5),), 0.8, bias=0.8)


def workers(seed: int) -> Made:
    """109 workers, each a family, with 5,242 answers about 584 clips, of which 40 % mislead them."""
    rng = np.random.default_rng(seed)
    n, crowd, answers = 584, 109, 5242
    true = rng.choice(4, n)
    decoy, hard = (true + rng.integers(1, 4, n)) % 4, rng.random(n) < 0.4
    accuracy, busy = rng.beta(6, 2, crowd), rng.dirichlet(np.full(crowd, 0.5)) + 1e-5
    matrix = np.full((n, crowd), MISSING)
    for at in range(answers):
        i = at % n
        w = rng.choice(crowd, p=np.where(matrix[i] == MISSING, busy, 0) / busy[matrix[i] == MISSING].sum())
        said = true[i] if rng.random() < accuracy[w] else rng.integers(4)
        matrix[i, w] = decoy[i] if hard[i] and rng.random() < 0.6 else said
    return _made(true, [say(rng, true, coin(0.65, 4)), *matrix.T], 4)


KINDS: dict[str, Callable[[int], Made]] = {
    make.__name__: make
    for make in (
        independent,
        little,
        two,
        three,
        copied,
        clique,
        misled,
        one_good,
        poor_given,
        adversaries,
        rare,
        rare_and_biased,
        biased,
        nine_workers,
        two_crowds,
        poor_crowd,
        workers,
    )
}
