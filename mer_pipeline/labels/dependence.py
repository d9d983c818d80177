"""Families that agree with each other more than their accuracy explains, and how to count them as one.

Two sources that err independently agree in sum_c p_c sum_k pi^s_ck pi^t_ck of the clips. Sources that copy each other
agree more, and Dawid-Skene, seeing two agree, believes both. So neither confusion may be estimated in the other's
company: pi^s comes from the votes without t and its family, pi^t from those without s and its family. That takes
three families beside the one left out, because the confusions of two can't be told from their votes.

The pair that agrees most beyond what is expected is counted as one family and the rest is looked at again: as long as
a clique votes, everybody else looks dependent as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mer_pipeline.base.clips import GIVEN
from mer_pipeline.labels.dawid_skene import dawid_skene
from mer_pipeline.labels.em import Estimate
from mer_pipeline.labels.votes import MISSING, Votes

T = TypeVar("T")

EXCESS = 0.15  # of agreement; sources that err independently stay below it from a few hundred clips on, and below
Z = 5.0  # standard errors on fewer (docs/results.md has the simulation)
NEEDED = 3  # columns of votes that confusions can be told from


@dataclass(frozen=True)
class Excess:
    """Two sources or families on the n clips that both vote on: the agreement seen, and that which errors explain."""

    a: str
    b: str
    n: int
    agreement: float
    expected: float

    @property
    def suspicious(self) -> bool:
        """More than chance and more than little."""
        deviation = math.sqrt(max(self.expected * (1 - self.expected), 1e-6) / self.n)
        return self.agreement - self.expected >= max(EXCESS, Z * deviation)


def expected_agreement(s: Estimate, t: Estimate, at: tuple[int, int]) -> float:
    """Of column at[0] of estimate s with column at[1] of estimate t, errors independent given the class."""
    prior = (s.prior + t.prior) / 2
    both = np.einsum("c,ck,ck->", prior, s.confusion[at[0]], t.confusion[at[1]])
    return float(both)


def measure(a: str, b: str, x: NDArray[np.int64], y: NDArray[np.int64], expected: float) -> Excess | None:
    """Of two columns of votes; None where no clip has both."""
    both = (x != MISSING) & (y != MISSING)
    n = int(both.sum())
    return Excess(a, b, n, float((x[both] == y[both]).mean()), expected) if n else None


def join_dependent(votes: Votes, classes: int) -> tuple[Votes, tuple[Excess, ...]]:
    """The votes with dependent families joined, and the pairs that were, in that order.

    The given label's family stays first. Fewer than four families are left as they are.
    """
    found = []
    while len(votes.families) > NEEDED:
        worst = _worst(votes, classes)
        if worst is None:
            break
        found.append(worst)
        votes = _joined(votes, votes.families.index(worst.a), votes.families.index(worst.b))
    return votes, tuple(found)


def _worst(votes: Votes, classes: int) -> Excess | None:
    count = range(len(votes.families))
    without = [dawid_skene(np.delete(votes.matrix, w, axis=1), classes, votes.gold) for w in count]
    pairs = []
    for s, t in combinations(count, 2):
        expected = expected_agreement(without[t], without[s], (s, t - 1))
        names = votes.families[s], votes.families[t]
        pair = measure(*names, votes.matrix[:, s], votes.matrix[:, t], expected)
        if pair is not None and pair.suspicious:
            pairs.append(pair)
    return max(pairs, key=lambda pair: pair.agreement - pair.expected, default=None)


def _joined(votes: Votes, s: int, t: int) -> Votes:
    """With family t's sources in family s, s < t; what they vote for is what `read_votes` says of one family."""
    of_both = [
        *zip(votes.sources[s], votes.single[s].T, strict=True),
        *zip(votes.sources[t], votes.single[t].T, strict=True),
    ]
    of_both.sort(key=lambda source: (source[0] != GIVEN, source[0]))
    single = np.stack([column for _, column in of_both], axis=1)
    evidence = votes.evidence.copy()
    evidence[:, s] += evidence[:, t]
    matrix = votes.matrix.copy()
    matrix[:, s] = most_named(single, evidence.shape[2])

    def put(items: tuple[T, ...], item: T) -> tuple[T, ...]:
        return (*items[:s], item, *items[s + 1 : t], *items[t + 1 :])

    return replace(
        votes,
        families=put(votes.families, f"{votes.families[s]}+{votes.families[t]}"),
        sources=put(votes.sources, tuple(name for name, _ in of_both)),
        single=put(votes.single, single),
        matrix=np.delete(matrix, t, axis=1),
        evidence=np.delete(evidence, t, axis=1),
    )


def most_named(said: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Per clip the class that most columns name, in a tie the one that is named first; MISSING where none does."""
    counts = (said[:, :, None] == np.arange(classes)).sum(axis=1)
    company = np.where(said == MISSING, 0, np.take_along_axis(counts, np.maximum(said, 0), axis=1))
    named: NDArray[np.int64] = said[np.arange(len(said)), company.argmax(axis=1)]
    return named


def within(votes: Votes, classes: int) -> tuple[Excess, ...]:
    """The pairs of sources of one family, each against what its accuracy among the *other* families explains.

    Copies among them are no harm, since they have one vote; where two hardly exceed the expected, they might have two.
    """
    found: list[Excess] = []
    for w, names in enumerate(votes.sources):
        if len(names) < 2 or len(votes.families) < NEEDED:
            continue
        others = np.delete(votes.matrix, w, axis=1)
        columns = votes.single[w].T
        fitted = [dawid_skene(np.column_stack([others, column]), classes, votes.gold) for column in columns]
        for i, j in combinations(range(len(names)), 2):
            expected = expected_agreement(fitted[i], fitted[j], (-1, -1))
            pair = measure(names[i], names[j], columns[i], columns[j], expected)
            found += [pair] if pair is not None else []
    return tuple(found)
