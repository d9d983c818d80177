"""The source accuracies: how often each source is right, as all sources together judge it, with an interval.

The accuracy of source s is the mean of q_{i, y_is} over its votes, where q is the posterior of Dawid-Skene on the
families' votes and y_is is the vote of s on clip i. The interval comes from a bootstrap over clips that repeats EM for
every resample. It shows how much the accuracy would differ for another sample of clips. It does not cover errors that
families have in common: those make every accuracy too high.

Below four families nobody can tell whether sources that agree are right or copies of each other, and such an interval
would claim just that. The accuracies are then those by the posterior of few families (few.py), without an interval.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mer_pipeline.labels.dawid_skene import weighted_dawid_skene
from mer_pipeline.labels.em import clamp, distinct, vote_shares
from mer_pipeline.labels.few import IDENTIFIABLE, TESTABLE, believe_few, voting
from mer_pipeline.labels.votes import MISSING, Votes

RESAMPLES, SEED = 200, 0
MANY, FEWER = 12, 50  # above so many families each resample takes long, and there are fewer
COARSE = 1e-4  # tolerance of EM in a resample: the spread between resamples is a hundred times as large
INTERVAL = (2.5, 97.5)  # percentiles


@dataclass(frozen=True)
class SourceAccuracy:
    """The accuracy of one source.

    Accuracy and interval are None if fewer than two families vote or the source has no vote, and the interval alone if
    dependence can't be tested.

    Attributes:
        source: the name of the source.
        family: the name of its family.
        votes: on how many clips it votes.
        accuracy: the estimate, from 0 to 1.
        low: the lower end of the 95 % interval.
        high: the upper end of the 95 % interval.
    """

    source: str
    family: str
    votes: int
    accuracy: float | None
    low: float | None
    high: float | None


def source_accuracies(votes: Votes, classes: int, *, independent: bool = False) -> tuple[SourceAccuracy, ...]:
    """Return the accuracy of every source, family by family. The result does not depend on the order of the clips.

    Args:
        votes: the votes.
        classes: the number of classes.
        independent: whether three families are known to err independently.
    """
    single = np.concatenate([*votes.single, np.empty((len(votes.given), 0), np.int64)], axis=1)
    names = [(s, f) for f, members in zip(votes.families, votes.sources, strict=True) for s in members]
    counts = (single != MISSING).sum(axis=0)
    if len(votes.families) < 2 or not len(votes.given):
        return tuple(SourceAccuracy(s, f, int(n), None, None, None) for (s, f), n in zip(names, counts, strict=True))

    if voting(votes) < (IDENTIFIABLE if independent else TESTABLE):
        few = _accuracy(clamp(believe_few(votes, classes).blind, votes.gold), single, np.ones(len(single)))
        return tuple(
            SourceAccuracy(s, f, int(counts[i]), float(few[i]) if counts[i] else None, None, None)
            for i, (s, f) in enumerate(names)
        )
    families = len(votes.families)
    found = distinct(votes.matrix, votes.gold, single)
    rows = found.rows.astype(np.int64)
    matrix, gold, said = rows[:, :families], rows[:, families], rows[:, families + 1 :]
    full = weighted_dawid_skene(matrix, found.weight, gold, vote_shares(matrix, classes)).posterior
    rng = np.random.default_rng(SEED)
    n = len(votes.given)
    draws = rng.multinomial(n, found.weight / n, size=RESAMPLES if families <= MANY else FEWER).astype(np.float64)
    again = []
    for weight in draws:
        drawn = weight > 0
        posterior = weighted_dawid_skene(
            matrix[drawn], weight[drawn], gold[drawn], full[drawn], tolerance=COARSE
        ).posterior
        again.append(_accuracy(posterior, said[drawn], weight[drawn]))
    accuracy = _accuracy(full, said, found.weight)
    # Sources without votes have no interval. One with a single vote is drawn in some of the 200 resamples, practically
    # always, so no column is all NaN.
    low, high = np.nanpercentile(np.array(again)[:, counts > 0], INTERVAL, axis=0)
    at = np.cumsum(counts > 0) - 1
    return tuple(
        SourceAccuracy(s, f, int(counts[i]), float(accuracy[i]), float(low[at[i]]), float(high[at[i]]))
        if counts[i]
        else SourceAccuracy(s, f, 0, None, None, None)
        for i, (s, f) in enumerate(names)
    )


def _accuracy(
    posterior: NDArray[np.float64], said: NDArray[np.int64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the mean posterior of the classes that each source voted for, float64 (S,); NaN if it has no vote.

    Args:
        posterior: float64 (m, C), of each row.
        said: int64 (m, S), each source's votes, MISSING where it has none.
        weight: float64 (m,), how many clips each row stands for.
    """
    voted = (said != MISSING) * weight[:, None]
    # sorted: the sum must not depend on the order of the rows
    right = np.sort(np.take_along_axis(posterior, np.maximum(said, 0), axis=1) * voted, axis=0).sum(axis=0)
    total = voted.sum(axis=0)
    return np.where(total > 0, right / np.where(total > 0, total, 1), np.nan)
