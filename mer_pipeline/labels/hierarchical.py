"""The hierarchical label model: Dawid-Skene whose confusions are shrunk, on clips that are clear or ambiguous.

The model of Dawid & Skene (dawid_skene.py) has two faults. Its C (C - 1) parameters per family are too many for few
votes, and it takes all errors for independent, so that its posteriors are far too sure where families are misled by
the same clips. Two things mend that:

    shrinkage    pi^w_{ck} = (N^w_{ck} + kappa T^w_{ck}) / (sum_k N^w_{ck} + kappa), where N are the expected counts
                 and T^w is the one-coin confusion of the same family. kappa = 5 is nearly Dawid-Skene, infinite
                 kappa is the one-coin model (one_coin.py).
    ambiguity    a fraction h of the clips is ambiguous: there every family sees one of two classes {c, d}, each with
                 probability 1/2 and independently, and votes for it as it votes for a clip of that class. Only one of
                 the two is the clip's class.

    P(y_i, c) = p_c [(1 - h) prod_w pi^w_{c, y_iw}
                     + h / (C - 1) sum_{d != c} prod_w (pi^w_{c, y_iw} + pi^w_{d, y_iw}) / 2]

EM estimates p, pi and h. kappa is the one with the highest held-out-vote likelihood: each vote is predicted from the
other votes on its clip, with confusions from which the clip's own contribution is taken off.

    sum_iw log P(y_iw | the other votes on clip i; pi without clip i)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from mer_pipeline.labels.ambiguity import AMBIGUOUS, STRENGTH, either_of, log_shares, of_class
from mer_pipeline.labels.dawid_skene import PRIOR_RIGHT, PRIOR_WRONG
from mer_pipeline.labels.em import TINY, Estimate, distinct, smoothed_prior, softmax
from mer_pipeline.labels.votes import MISSING
from mer_pipeline.labels.weighted import log_odds_weights

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

KAPPAS = (5.0, 50.0, 500.0, 1e6)  # pseudo-votes for each class and family
ITERATIONS, CHANGE = 100, 1e-4  # EM ends after so many iterations, or when no posterior changes by this much
FIRST = 25  # iterations before kappa is chosen


@dataclass(frozen=True)
class Hierarchical(Estimate):
    """The result of `hierarchical`.

    Attributes:
        blind: float64 (n, C), the posterior of each clip if its own gold label were not known.
        ambiguous: h, the estimated fraction of ambiguous clips.
        kappa: the strength of the shrinkage.
        held_out: float64 (W,), the sum of the log-likelihoods of each family's held-out votes, in nats.
        votes: float64 (W,), the number of these votes.
    """

    blind: Floats
    ambiguous: float
    kappa: float
    held_out: Floats
    votes: Floats

    def held_out_votes(self, families: Iterable[int]) -> float:
        """Return the mean log-likelihood of a held-out vote of these families."""
        at = list(families)
        return float(self.held_out[at].sum() / max(self.votes[at].sum(), TINY))


def hierarchical(
    matrix: Ints, classes: int, gold: Ints | None = None, kappas: tuple[float, ...] = KAPPAS
) -> Hierarchical:
    """Fit the model with each kappa, and return the fit with the highest held-out-vote likelihood.

    Args:
        matrix: int64 (n, W) with n >= 1, the votes of W families or raters on n clips, MISSING where there is none.
        classes: the number C of classes, at least 2.
        gold: int64 (n,), the classes that are known beyond doubt, MISSING elsewhere.
        kappas: the strengths to choose from; of equal ones the last is taken.
    """
    known = np.full(len(matrix), MISSING) if gold is None else gold
    found = distinct(matrix, known)
    rows = found.rows.astype(np.int64)
    answers = _Answers(rows[:, :-1], found.weight, rows[:, -1], classes)
    fits = [_fit(answers, kappa, FIRST) for kappa in reversed(kappas)]
    best = _fit(answers, max(fits, key=lambda fit: float(fit.held_out.sum())).kappa, ITERATIONS)
    return replace(best, posterior=best.posterior[found.back], blind=best.blind[found.back])


class _Answers:
    """The votes of m distinct rows in long form: one entry per vote, so that sparse votes cost what they hold.

    `kind` is the voter and its vote as one index, w * C + k. `pairs` are the J pairs of classes. All sums are made by
    `bincount`, which adds in a fixed order.
    """

    def __init__(self, rows: Ints, weight: Floats, gold: Ints, classes: int) -> None:
        self.row, voter = np.nonzero(rows != MISSING)
        self.kind = voter * classes + rows[self.row, voter]
        self.m, self.voters, self.classes = len(rows), rows.shape[1], classes
        self.weight, self.gold = weight, gold
        self.pairs = np.array(list(combinations(range(classes), 2)))
        odds = log_odds_weights(rows, weight, classes)
        start = self.by_row(np.eye(classes)[self.kind % classes] * odds[voter][:, None])
        self.start = softmax(start)

    def by_row(self, values: Floats) -> Floats:
        """Sum values (votes, X) over the votes of each row: (m, X)."""
        columns = [np.bincount(self.row, column, self.m) for column in values.T]
        return np.stack(columns, axis=1)

    def by_kind(self, values: Floats) -> Floats:
        """Sum values (m, X), weighted by the rows' numbers of clips, over the votes of each kind: (W, C, X)."""
        weighted = values * self.weight[:, None]
        columns = [np.bincount(self.kind, column[self.row], self.voters * self.classes) for column in weighted.T]
        summed: Floats = np.asarray(np.stack(columns, axis=1), dtype=np.float64)
        return summed.reshape(self.voters, self.classes, -1)


@dataclass(frozen=True)
class _Beliefs:
    """The E step: what each row is.

    Attributes:
        clear: float64 (m, C), P(the clip is clear and of class c).
        pair: float64 (m, J), P(the clip is ambiguous between the classes of pair j).
        posterior: float64 (m, C), P(the clip is of class c).
    """

    clear: Floats
    pair: Floats
    posterior: Floats


def _beliefs(answers: _Answers, prior: Floats, h: float, log_vote: Floats, log_either: Floats) -> _Beliefs:
    """Apply Bayes' rule.

    Args:
        answers: the votes.
        prior: float64 (C,).
        h: the fraction of ambiguous clips.
        log_vote: float64 (W * C, C), log P(the vote | class c) of each kind of vote.
        log_either: float64 (W * C, J), log of the mean of that over the classes of pair j.
    """
    evidence = answers.by_row(np.concatenate([log_vote, log_either], axis=1)[answers.kind])
    joint = softmax(log_shares(prior, h, answers.pairs) + evidence)
    clear, pair = joint[:, : answers.classes], joint[:, answers.classes :]
    return _Beliefs(clear, pair, of_class(joint, prior, answers.pairs))


def _clamped(beliefs: _Beliefs, gold: Ints) -> _Beliefs:
    """Make each row with a gold class a clear clip of that class."""
    settled = (gold != MISSING)[:, None]
    if not settled.any():
        return beliefs
    one = np.eye(beliefs.clear.shape[1])[gold]
    return _Beliefs(
        np.where(settled, one, beliefs.clear),
        np.where(settled, 0.0, beliefs.pair),
        np.where(settled, one, beliefs.posterior),
    )


def _expected(answers: _Answers, beliefs: _Beliefs, log_vote: Floats | None) -> Floats:
    """Return N, the expected counts of votes, float64 (W, C, C): [w, c, k] of votes k where family w sees class c."""
    classes = answers.classes
    seen = answers.by_kind(beliefs.clear)  # (W, k, c)
    if log_vote is not None:
        among = answers.by_kind(beliefs.pair)
        by_class = log_vote.reshape(answers.voters, classes, classes)
        c, d = answers.pairs.T
        saw_c = among / (1 + np.exp(by_class[:, :, d] - by_class[:, :, c]))
        seen += np.einsum("wkj,jc->wkc", saw_c, np.eye(classes)[c])
        seen += np.einsum("wkj,jc->wkc", among - saw_c, np.eye(classes)[d])
    return seen.transpose(0, 2, 1)


def _shrunk(counts: Floats, kappa: float) -> tuple[Floats, Floats]:
    """Return the confusions pi and the one-coin confusions T that they are shrunk to, float64 (W, C, C) each."""
    classes = counts.shape[1]
    right = np.trace(counts, axis1=1, axis2=2) + PRIOR_RIGHT
    accuracy = (right / (counts.sum(axis=(1, 2)) + PRIOR_RIGHT + (classes - 1) * PRIOR_WRONG))[:, None, None]
    target = np.where(np.eye(classes, dtype=bool), accuracy, (1 - accuracy) / (classes - 1))
    return (counts + kappa * target) / (counts.sum(axis=2, keepdims=True) + kappa), target


def _by_kind(confusion: Floats) -> Floats:
    """Return log P(vote | class) by kind of vote, float64 (W * C, C), of confusions (W, C, C)."""
    log: Floats = np.log(np.maximum(confusion, TINY)).transpose(0, 2, 1).reshape(-1, confusion.shape[1])
    return log


def _fit(answers: _Answers, kappa: float, iterations: int) -> Hierarchical:
    none = np.zeros((answers.m, len(answers.pairs)))
    beliefs = _clamped(_Beliefs(answers.start, none, answers.start), answers.gold)
    h, clips = AMBIGUOUS, answers.weight.sum()
    log_vote: Floats | None = None
    blind = beliefs
    for _ in range(iterations):
        before = beliefs.posterior
        counts = _expected(answers, beliefs, log_vote)
        confusion, target = _shrunk(counts, kappa)
        prior = smoothed_prior((before * answers.weight[:, None]).sum(axis=0))
        if log_vote is not None:
            among = float((beliefs.pair.sum(axis=1) * answers.weight).sum())
            h = (among + STRENGTH * AMBIGUOUS) / (clips + STRENGTH)
        log_vote = _by_kind(confusion)
        blind = _beliefs(answers, prior, h, log_vote, either_of(log_vote, answers.pairs))
        beliefs = _clamped(blind, answers.gold)
        if np.abs(beliefs.posterior - before).max() < CHANGE:
            break
    held_out, votes = _held_out(answers, beliefs, (prior, h, kappa), counts, target)
    return Hierarchical(beliefs.posterior, prior, confusion, blind.posterior, h, kappa, held_out, votes)


def _held_out(
    answers: _Answers, beliefs: _Beliefs, fitted: tuple[Floats, float, float], counts: Floats, target: Floats
) -> tuple[Floats, Floats]:
    """Return the log-likelihood of each family's votes, summed, and their number, float64 (W,) each.

    A vote's likelihood is given the other votes on its clip, and confusions without the clip.
    """
    prior, h, kappa = fitted
    own = beliefs.posterior[answers.row]  # the part that the vote itself has in the counts of its row, about
    voter, label = answers.kind // answers.classes, answers.kind % answers.classes
    share = counts[voter, :, label] - own + kappa * target[voter, :, label]
    total = counts.sum(axis=2)[voter] - own + kappa
    vote = np.log(np.maximum(share, TINY)) - np.log(np.maximum(total, TINY))
    terms = np.concatenate([vote, either_of(vote, answers.pairs)], axis=1)
    joint = log_shares(prior, h, answers.pairs) + answers.by_row(terms)[answers.row]
    without = joint - terms
    gain = _log_sum(joint) - _log_sum(without)
    weight = answers.weight[answers.row]
    summed = np.bincount(voter, gain * weight, answers.voters)
    number = np.bincount(voter, weight, answers.voters)
    return np.asarray(summed, dtype=np.float64), np.asarray(number, dtype=np.float64)


def _log_sum(log: Floats) -> Floats:
    top = log.max(axis=1)
    total: Floats = top + np.log(np.exp(log - top[:, None]).sum(axis=1))
    return total
