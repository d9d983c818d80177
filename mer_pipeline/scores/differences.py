"""Test whether two systems differ that were trained with the same seeds and scored on the same clips.

    d_s = weighted F1 of the other with seed s − that of the reference with seed s,    d = their mean over S seeds
    V_g = variance of d over resamples of the G groups (speakers), the same draws for both systems
    V_s = variance of the d_s / S,    V_gs = Σ_s variance of d_s over the same resamples / S²
    se² = V_g + max(0, V_s − V_gs)
    95 % interval d ± t(.975; f) se,    p = 2 P(T_f > |d| / se)

The bootstrap alone treats the trained members as fixed. But the question is about the way of training, and a seed can
make a member worse on all clips at once. V_s measures this variation between seeds. Its part that comes from single
clips is already in V_g, so V_gs is subtracted (two-way clustering: Cameron, Gelbach & Miller 2011). T_f is Student's t
distribution with the f of Satterthwaite (1946) from G − 1 and S − 1. It replaces percentiles of the resamples, whose
intervals are too narrow if there are few groups. Both choices were checked on systems that do not differ:
docs/results.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mer_pipeline.base.modalities import Matrix
from mer_pipeline.metrics.ablation import Compared
from mer_pipeline.scores.bootstrap import Units, resample
from mer_pipeline.scores.confusion import Confusion, FloatArray, IntArray, weighted_f1
from mer_pipeline.scores.score import score


def compare(
    true: IntArray, reference: Sequence[Matrix], others: Sequence[Sequence[Matrix]], units: Units, classes: int
) -> list[Compared]:
    """Compare each of the other systems with the reference.

    Args:
        true: int64 (n,), the class indices to score against.
        reference: probabilities, float32 (n, C), per seed, or a single one for a system without random choices.
        others: the probabilities of each other system, for the same seeds or a single one.
        units: the units of the n clips that the bootstrap draws.
        classes: the number of classes.
    """
    systems = [[one.argmax(axis=1) for one in system] for system in (reference, *others)]
    ends = np.cumsum([len(system) for system in systems])[:-1]
    resampled = weighted_f1(resample(true, [one for system in systems for one in system], units, classes))
    first, *drawn = np.split(resampled, ends)
    base, *f1 = [np.array([Confusion.of(true, one, classes).weighted_f1 for one in system]) for system in systems]
    tests = [student(own - base, draws - first, units.count) for own, draws in zip(f1, drawn, strict=True)]
    adjusted = iter(holm([test[2] for test in tests if test is not None]))
    rows: list[Compared] = []
    for system, own, test in zip(others, f1, tests, strict=True):
        low, high, p = test or (None, None, None)
        rows.append(
            Compared(
                **dict(score(true, system)),
                difference=round(float(own.mean() - base.mean()), 6),
                low=low,
                high=high,
                p=p,
                p_holm=None if test is None else next(adjusted),
            )
        )
    return rows


def student(differences: FloatArray, resampled: FloatArray, groups: int) -> tuple[float, float, float] | None:
    """Test the mean difference by the formulas of the module.

    Args:
        differences: float64 (S,), the difference for each seed.
        resampled: float64 (S, R), the difference for each seed in each resample.
        groups: the number G of groups.

    Returns:
        The lower and the upper end of the 95 % interval and the p-value, rounded to 6 digits; None with fewer than two
        groups.
    """
    # Imported here, so that other stages need not load SciPy; this part of it loads quickly.
    from scipy.special import stdtr, stdtrit

    if groups < 2:
        return None
    seeds, small = len(differences), groups / (groups - 1)  # variances over resamples are too small by this factor
    d, of_groups, beyond = float(differences.mean()), small * float(resampled.mean(axis=0).var()), 0.0
    if seeds > 1:
        both = small * float(resampled.var(axis=1).sum()) / seeds**2
        beyond = max(0.0, float(differences.var(ddof=1)) / seeds - both)
    variance = of_groups + beyond
    if variance == 0:  # the groups do not differ, so the difference is certain, and the division below would fail
        return round(d, 6), round(d, 6), 1.0 if d == 0 else 0.0
    free = variance**2 / (of_groups**2 / (groups - 1) + beyond**2 / max(seeds - 1, 1))
    error = variance**0.5
    reach = float(stdtrit(free, 0.975)) * error
    return round(d - reach, 6), round(d + reach, 6), round(2 * float(stdtr(free, -abs(d) / error)), 6)


def holm(p: Sequence[float]) -> list[float]:
    """Return adjusted p-values (Holm 1979), rounded to 6 digits, in the order given.

    If all adjusted values below .05 count as significant, the probability of any false positive is at most .05.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p)), key=lambda i: p[i])
    adjusted, most = [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        most = max(most, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = round(most, 6)
    return adjusted
