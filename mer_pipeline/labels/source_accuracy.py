"""How often each source is right, judged by all of them, with an interval.

accuracy_s = mean over its votes of q_{i, y_is}, the posterior of what it said by Dawid-Skene on the families' votes.
The interval is that of a bootstrap over clips, EM and all. It says how far another draw of clips would move the
figure; it does not know of errors that families have in common, which make every figure too good.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mer_pipeline.labels.dawid_skene import weighted_dawid_skene
from mer_pipeline.labels.em import distinct, vote_shares
from mer_pipeline.labels.votes import MISSING, Votes

RESAMPLES, SEED = 200, 0
COARSE = 1e-4  # of a posterior: the spread between resamples is a hundred times that
INTERVAL = (2.5, 97.5)  # percentiles


@dataclass(frozen=True)
class SourceAccuracy:
    """Of one source; accuracy and interval are None where only one family, or the source never, votes."""

    source: str
    family: str
    votes: int
    accuracy: float | None
    low: float | None
    high: float | None


def source_accuracies(votes: Votes, classes: int) -> tuple[SourceAccuracy, ...]:
    """Every source's, family by family; the same for the same votes, in any order of the clips."""
    single = np.concatenate([*votes.single, np.empty((len(votes.given), 0), np.int64)], axis=1)
    names = [(s, f) for f, members in zip(votes.families, votes.sources, strict=True) for s in members]
    counts = (single != MISSING).sum(axis=0)
    if len(votes.families) < 2 or not len(votes.given):
        return tuple(SourceAccuracy(s, f, int(n), None, None, None) for (s, f), n in zip(names, counts, strict=True))

    families = len(votes.families)
    found = distinct(votes.matrix, votes.gold, single)
    rows = found.rows.astype(np.int64)
    matrix, gold, said = rows[:, :families], rows[:, families], rows[:, families + 1 :]
    full = weighted_dawid_skene(matrix, found.weight, gold, vote_shares(matrix, classes)).posterior
    rng = np.random.default_rng(SEED)
    n = len(votes.given)
    draws = rng.multinomial(n, found.weight / n, size=RESAMPLES).astype(np.float64)
    again = []
    for weight in draws:
        drawn = weight > 0
        posterior = weighted_dawid_skene(
            matrix[drawn], weight[drawn], gold[drawn], full[drawn], tolerance=COARSE
        ).posterior
        again.append(_accuracy(posterior, said[drawn], weight[drawn]))
    accuracy = _accuracy(full, said, found.weight)
    # A source that no resample has drawn has no interval either; nothing that votes is missed 200 times.
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
    """Float64 (S,): the mean posterior of what each source said; NaN for one that is silent."""
    voted = (said != MISSING) * weight[:, None]
    right = (np.take_along_axis(posterior, np.maximum(said, 0), axis=1) * voted).sum(axis=0)
    total = voted.sum(axis=0)
    return np.where(total > 0, right / np.where(total > 0, total, 1), np.nan)
