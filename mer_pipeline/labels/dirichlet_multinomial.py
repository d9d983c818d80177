"""The Dirichlet-multinomial label model: one accuracy per family, for counts of votes by raters who err together.

It extends the one-coin model (one_coin.py) to families with several raters per clip. Ten listeners of one clip are not
independent: if the sound misleads one of them, it misleads most. So on a clip of class c the model first draws the
family's rates of naming each class from a Dirichlet distribution, with weight A_w on c and B_w on every other class,
and then draws the votes of the family's N raters by these rates. With the counts x, s = A + (C - 1) B and
lf(n; a) = log Gamma(a + n) - log Gamma(a),

    log P(x | c) = lf(x_c; A) + sum_{k != c} lf(x_k; B) - lf(N; s) + const

A / s is the accuracy of one rater, and 1 / (1 + s) is the correlation of two (0: independent, 1: always the same vote).

    E: q_ic is proportional to p_c prod_w P(x_iw | c)
    M: p_c = mean_i q_ic, smoothed (em.py); A and B by maximum likelihood

The votes of a family with at most one vote per clip say nothing about such a correlation. That family is modelled as
in one_coin.py with a (soft) vote, log P(x | c) = sum_k x_k log P(k | c). If every family is like that, the whole model
is the one-coin model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mer_pipeline.labels.dawid_skene import PRIOR_RIGHT, PRIOR_WRONG, Step
from mer_pipeline.labels.em import Estimate, distinct, expand, iterate, shares, smoothed_prior, softmax
from mer_pipeline.labels.one_coin import coins
from mer_pipeline.labels.votes import MISSING

MORE_THAN_ONE = 1 + 1e-6  # a distribution's sum is 1 up to rounding
LIMIT = 9.0  # the most that |log A| and |log B| may be; beyond it only the last digits of the result change
EM_TOLERANCE = 1e-6  # about as exact as the A and B that the optimiser finds


def dirichlet_multinomial(
    evidence: NDArray[np.float64], classes: int, gold: NDArray[np.int64] | None = None
) -> Estimate:
    """Fit the model by EM, starting from each clip's shares of all votes.

    Args:
        evidence: float64 (n, F, C) with n >= 1, a family's evidence for each class: counts of votes, or a
            distribution; all zero where the family has no vote.
        classes: the number C of classes, at least 2.
        gold: int64 (n,), the classes that are known beyond doubt, MISSING elsewhere.
    """
    known = np.full(len(evidence), MISSING) if gold is None else gold
    found = distinct(evidence, known)
    votes = found.rows[:, :-1].reshape(len(found.rows), evidence.shape[1], classes)
    model = _Model([_family(votes[:, w], found.weight) for w in range(evidence.shape[1])], found.weight)
    start = shares(votes)
    return expand(iterate(start, found.rows[:, -1].astype(np.int64), model, tolerance=EM_TOLERANCE), found.back)


@dataclass
class _Model:
    """One step of EM, as `iterate` calls it."""

    families: list[_Counts | _Soft]
    weight: NDArray[np.float64]

    def __call__(self, posterior: NDArray[np.float64]) -> Step:
        mass = posterior * self.weight[:, None]
        prior = smoothed_prior(mass.sum(axis=0))
        log = np.log(prior) + np.zeros_like(posterior)
        accuracy = []
        for family in self.families:
            right, gain = family.fit(mass)
            accuracy.append(right)
            log += gain
        return prior, coins(np.array(accuracy), posterior.shape[1]), softmax(log)


def _family(votes: NDArray[np.float64], weight: NDArray[np.float64]) -> _Counts | _Soft:
    return (_Counts if votes.sum(axis=1).max() > MORE_THAN_ONE else _Soft)(votes, weight)


class _Soft:
    """A family with at most one vote per clip, for one class or spread over several."""

    def __init__(self, votes: NDArray[np.float64], weight: NDArray[np.float64]) -> None:
        self.votes, self.classes = votes, votes.shape[1]
        self.total = float((votes.sum(axis=1) * weight).sum())

    def fit(self, mass: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return the family's accuracy, and log P(x | c) (m, C) up to a constant per row, for the mass (m, C)."""
        right = float((mass * self.votes).sum()) + PRIOR_RIGHT
        accuracy = right / (self.total + PRIOR_RIGHT + (self.classes - 1) * PRIOR_WRONG)
        return accuracy, self.votes * np.log(accuracy * (self.classes - 1) / (1 - accuracy))


class _Counts:
    """A family with several raters per clip.

    Sums over clips are taken over the distinct values of the counts, because there are few of them.
    """

    def __init__(self, votes: NDArray[np.float64], weight: NDArray[np.float64]) -> None:
        self.classes = votes.shape[1]
        self.counts, at = np.unique(votes, return_inverse=True)
        self.at = at.reshape(votes.shape)
        self.often = np.bincount(self.at.ravel(), np.repeat(weight, self.classes), len(self.counts))
        self.totals, row = np.unique(votes.sum(axis=1), return_inverse=True)
        self.how_many = np.bincount(row.reshape(-1), weight, len(self.totals))
        self.log_ab = np.log([2.0, 0.5])

    def fit(self, mass: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return what `_Soft.fit` returns. The optimiser starts from the A and B of the previous call."""
        from scipy.optimize import minimize
        from scipy.special import gammaln

        true = np.bincount(self.at.ravel(), mass.ravel(), len(self.counts))
        bounds = [(-LIMIT, LIMIT)] * 2
        found = minimize(self._loss, self.log_ab, (true,), jac=True, method="L-BFGS-B", bounds=bounds)
        self.log_ab = found.x
        a, b = np.exp(found.x)
        gain = (gammaln(a + self.counts) - gammaln(a)) - (gammaln(b + self.counts) - gammaln(b))
        return float(a / (a + (self.classes - 1) * b)), gain[self.at]

    def _loss(self, log_ab: NDArray[np.float64], true: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return the negative log-likelihood per clip, with the prior on the accuracy, and its gradient.

        The gradient is by log A and log B.
        """
        from scipy.special import digamma, gammaln

        a, b = np.exp(log_ab)
        others = self.classes - 1
        s = a + others * b
        false = self.often - true
        right, wrong = PRIOR_RIGHT, PRIOR_WRONG * others
        value = (
            (true * (gammaln(a + self.counts) - gammaln(a))).sum()
            + (false * (gammaln(b + self.counts) - gammaln(b))).sum()
            - (self.how_many * (gammaln(s + self.totals) - gammaln(s))).sum()
            + right * np.log(a / s)
            + wrong * np.log(b / s)
        )
        shared = (self.how_many * (digamma(s + self.totals) - digamma(s))).sum() + (right + wrong) / s
        by_a = (true * (digamma(a + self.counts) - digamma(a))).sum() + right / a - shared
        by_b = (false * (digamma(b + self.counts) - digamma(b))).sum() + wrong / b - others * shared
        clips = self.how_many.sum()
        return -float(value) / clips, -np.array([a * by_a, b * by_b]) / clips
