"""A crowd: a family with several raters per clip, whose counts of votes are evidence.

The raters of one clip are misled together, so their agreement with each other is no proof of anything. How often a
rater is right is therefore measured beside the *other* families. With q_ic, what those make of clip i, and x_ik, how
many of its N_i raters name class k,

    m      = mean_i sum_k q_ik x_ik / N_i            how often a rater names what the others believe
    s      = mean_i sum_c q_ic^2                     how often one without error would; r = (1 - s) / (C - 1)
    a      = (m - r) / (s - r)                       the accuracy of a rater
    rho    = (agree - expect) / (1 - expect)         the correlation of two raters of one clip
    agree  = the fraction of pairs of raters of one clip who name the same class
    expect = a^2 + (1 - a)^2 / (C - 1)               the same fraction for raters who err independently

The counts are then Dirichlet-multinomial (dirichlet_multinomial.py) with A + (C - 1) B = 1 / rho - 1 and
A / (A + (C - 1) B) = a. N raters are worth N / (1 + (N - 1) rho) independent ones. A family with one vote per clip is
the same with N = 1, where rho plays no part.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mer_pipeline.labels.dawid_skene import PRIOR_RIGHT, PRIOR_WRONG
from mer_pipeline.labels.em import softmax

Floats = NDArray[np.float64]

LEAST_RHO, MOST_RHO = 1e-3, 0.95


@dataclass(frozen=True)
class Crowd:
    """What the counts of a family say.

    Attributes:
        log: float64 (n, C), log P(counts | class) up to a constant per clip; 0 where nobody voted.
        accuracy: the accuracy a of one rater.
        correlation: the correlation rho of two raters of one clip; 0 if no clip has two.
        worth: float64 (n,), how many independent raters the raters of each clip are worth.
    """

    log: Floats
    accuracy: float
    correlation: float
    worth: Floats


def weigh_crowd(counts: Floats, beliefs: Floats, *, own: bool = False, most: float = 1.0) -> Crowd:
    """Measure a family beside what is believed of the clips, and turn its counts into evidence.

    Args:
        counts: float64 (n, C), whole numbers: how many raters name each class.
        beliefs: float64 (n, C), a distribution over the classes for each clip.
        own: whether the family's own vote is among what the beliefs were made of. If so, a is m itself.
        most: the highest accuracy that is believed.

    Example:
        Ten raters who always agree with each other are worth little more than one:

        >>> sure = np.eye(2)[[0, 1] * 50]
        >>> wrong = np.arange(100) < 30
        >>> found = weigh_crowd(10 * np.where(wrong[:, None], 1 - sure, sure), sure)
        >>> round(found.accuracy, 2), round(found.correlation, 2), round(float(found.worth[0]), 1)
        (0.71, 0.95, 1.0)
    """
    classes, raters = counts.shape[1], counts.sum(axis=1)
    accuracy = min(_accuracy(counts[raters > 0], beliefs[raters > 0], own), most)
    rho = _correlation(counts, accuracy)
    a, b = _rates(accuracy, rho, classes)
    worth = raters / (1 + np.maximum(raters - 1, 0) * rho)
    return Crowd(_log_likelihood(counts, a, b), accuracy, rho if raters.max() > 1 else 0.0, worth)


def held_out_raters(counts: Floats, found: Crowd, log_others: Floats) -> float:
    """Return the mean log-likelihood of a rater's vote, given the other raters of the clip and the other families.

    Args:
        counts: float64 (n, C), as `weigh_crowd` takes them.
        found: what it returned.
        log_others: float64 (n, C), the log of the distribution over the classes by the other families.
    """
    classes = counts.shape[1]
    a, b = _rates(found.accuracy, max(found.correlation, LEAST_RHO), classes)
    rates = np.where(np.eye(classes, dtype=bool), a, b)  # [c, k]
    total = 0.0
    for k in range(classes):
        named = np.flatnonzero(counts[:, k] > 0)
        rest = counts[named] - np.eye(classes)[k]
        believed = softmax(log_others[named] + _log_likelihood(rest, a, b))
        chance = (rates[:, k] + rest[:, [k]]) / (rates.sum(axis=1) + rest.sum(axis=1, keepdims=True))
        total += float(np.sort(np.log((believed * chance).sum(axis=1)) * counts[named, k]).sum())
    return total / float(counts.sum())


def _accuracy(counts: Floats, beliefs: Floats, own: bool) -> float:
    """Return a, with the pseudo-votes of dawid_skene.py; at least chance, so that no crowd is believed to lie."""
    n, classes = counts.shape
    # The sums are over sorted values, so that they do not depend on the order of the clips.
    agreed = float(np.sort((beliefs * counts).sum(axis=1) / counts.sum(axis=1)).sum())
    if not own:
        certain = float(np.sort((beliefs**2).sum(axis=1)).sum())
        doubt = (n - certain) / (classes - 1)
        agreed = n * (agreed - doubt) / max(certain - doubt, 1e-9)
    smoothed = (agreed + PRIOR_RIGHT) / (n + PRIOR_RIGHT + (classes - 1) * PRIOR_WRONG)
    return float(np.clip(smoothed, 1 / classes + 1e-3, 0.99))


def _correlation(counts: Floats, accuracy: float) -> float:
    raters = counts.sum(axis=1)
    pairs = float((raters * (raters - 1)).sum())
    if not pairs:
        return LEAST_RHO
    agree = float((counts * (counts - 1)).sum()) / pairs
    expect = accuracy**2 + (1 - accuracy) ** 2 / (counts.shape[1] - 1)
    return float(np.clip((agree - expect) / (1 - expect), LEAST_RHO, MOST_RHO))


def _rates(accuracy: float, rho: float, classes: int) -> tuple[float, float]:
    total = 1 / rho - 1
    return total * accuracy, total * (1 - accuracy) / (classes - 1)


def _log_likelihood(counts: Floats, a: float, b: float) -> Floats:
    from scipy.special import gammaln

    log: Floats = (gammaln(a + counts) - gammaln(a)) - (gammaln(b + counts) - gammaln(b))
    return log
