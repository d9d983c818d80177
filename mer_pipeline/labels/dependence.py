"""Find dependent families, which agree more often than their accuracies explain, and count them as one.

Two sources s and t that err independently agree on the fraction sum_c p_c sum_k pi^s_ck pi^t_ck of the clips, where p
is the prior and pi a confusion matrix. Sources that copy each other agree more often, and Dawid-Skene then takes their
agreement for accuracy. So neither confusion may be estimated from votes that include the other source: pi^s comes from
the votes without t and its family, pi^t from the votes without s and its family. This needs three families beside the
one that is left out, because the confusions of two families can't be identified from their votes.

The pair with the largest excess of agreement is joined to one family, and then all pairs are tested again: while
dependent families vote separately, they make the others look dependent as well.
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

# From a few hundred clips on, sources that err independently stay below an excess of EXCESS; on fewer clips they stay
# below Z standard errors (docs/results.md has the simulation).
EXCESS = 0.15
Z = 5.0
TOLD = 3.0  # standard errors by which two families agree more than by chance
NEEDED = 3  # the fewest columns of votes from which confusions can be identified


@dataclass(frozen=True)
class Excess:
    """How often two sources or two families agree, and how often they would if they erred independently.

    Attributes:
        a: the name of one.
        b: the name of the other.
        n: the number of clips that both vote on.
        agreement: the fraction of these clips on which they agree.
        expected: the fraction that independent errors explain.
    """

    a: str
    b: str
    n: int
    agreement: float
    expected: float

    @property
    def deviation(self) -> float:
        """The standard error of the agreement if `expected` is its mean."""
        return math.sqrt(max(self.expected * (1 - self.expected), 1e-6) / self.n)

    @property
    def suspicious(self) -> bool:
        """Whether the agreement exceeds the expected one by EXCESS and by Z standard errors."""
        return self.agreement - self.expected >= max(EXCESS, Z * self.deviation)


def expected_agreement(s: Estimate, t: Estimate, at: tuple[int, int]) -> float:
    """Return how often two families agree if their errors are independent given the class.

    Args:
        s: the estimate that holds the first family's confusion.
        t: the estimate that holds the second family's confusion.
        at: the index of the first family in `s` and of the second family in `t`.
    """
    prior = (s.prior + t.prior) / 2
    both = np.einsum("c,ck,ck->", prior, s.confusion[at[0]], t.confusion[at[1]])
    return float(both)


def measure(a: str, b: str, x: NDArray[np.int64], y: NDArray[np.int64], expected: float) -> Excess | None:
    """Compare two columns of votes, int64 (n,) each. Return None if no clip has a vote in both."""
    both = (x != MISSING) & (y != MISSING)
    n = int(both.sum())
    return Excess(a, b, n, float((x[both] == y[both]).mean()), expected) if n else None


def join_dependent(votes: Votes, classes: int) -> tuple[Votes, tuple[Excess, ...]]:
    """Return the votes with dependent families joined, and the joined pairs in the order of joining.

    The given label's family stays first. The votes of fewer than four families are returned unchanged.
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
    """Return the suspicious pair with the largest excess, or None.

    Only pairs that can be suspicious are fitted, because agreement by chance is the least that accuracies explain. A
    pair is not tested unless two other families agree with both beyond chance: beside families that vote at random,
    EM takes one of these for the truth, and finds that two good families agree far too often.
    """
    count = len(votes.families)
    told = np.eye(count, dtype=bool)  # whether two families agree beyond chance
    wanted = []
    for s, t in combinations(range(count), 2):
        by_chance = _by_chance(votes, s, t, classes)
        if by_chance is not None:
            told[s, t] = told[t, s] = by_chance.agreement - by_chance.expected > TOLD * by_chance.deviation
            wanted += [(s, t)] if by_chance.suspicious else []
    without: dict[int, Estimate] = {}
    pairs = []
    for s, t in wanted:
        if np.delete(told[s] & told[t], [s, t]).sum() < NEEDED - 1:
            continue
        for w in (s, t):
            if w not in without:
                without[w] = dawid_skene(np.delete(votes.matrix, w, axis=1), classes, votes.gold)
        expected = expected_agreement(without[t], without[s], (s, t - 1))
        names = votes.families[s], votes.families[t]
        pair = measure(*names, votes.matrix[:, s], votes.matrix[:, t], expected)
        if pair is not None and pair.suspicious:
            pairs.append(pair)
    return max(pairs, key=lambda pair: pair.agreement - pair.expected, default=None)


def _by_chance(votes: Votes, s: int, t: int, classes: int) -> Excess | None:
    """Compare two families' agreement with that of two families with the same shares who do not look at the clip."""
    x, y = votes.matrix[:, s], votes.matrix[:, t]
    both = (x != MISSING) & (y != MISSING)
    if not both.any():
        return None
    shares = [np.bincount(column[both], minlength=classes) / both.sum() for column in (x, y)]
    return measure(votes.families[s], votes.families[t], x, y, float(shares[0] @ shares[1]))


def _joined(votes: Votes, s: int, t: int) -> Votes:
    """Return the votes with the sources of family t moved to family s, for s < t.

    The vote of the joined family follows the rule of `read_votes`.
    """
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
    """Return the class that most columns name for each clip, int64 (n,); MISSING where no column names one.

    In a tie, the class of the leftmost column among the tied ones is returned.

    Args:
        said: int64 (n, S), the votes of S sources, MISSING where there is none.
        classes: the number of classes.

    Example:
        >>> most_named(np.array([[1, 0, 0], [1, 0, -1], [-1, -1, -1]]), classes=2).tolist()
        [0, 1, -1]
    """
    counts = (said[:, :, None] == np.arange(classes)).sum(axis=1)
    company = np.where(said == MISSING, 0, np.take_along_axis(counts, np.maximum(said, 0), axis=1))
    named: NDArray[np.int64] = said[np.arange(len(said)), company.argmax(axis=1)]
    return named


def within(votes: Votes, classes: int) -> tuple[Excess, ...]:
    """Compare the sources inside each family pair by pair, with confusions estimated beside the *other* families.

    Dependent sources inside a family do no harm, because the family has one vote. A pair that hardly exceeds the
    expected agreement could be two families. Families with one source are left out, and so are all if there are fewer
    than three.
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
