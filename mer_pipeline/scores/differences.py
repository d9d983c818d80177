"""Whether two systems that were trained with the same seeds and tried on the same clips differ.

    d_s = weighted F1 of the other with seed s − that of the reference with seed s,    d = their mean over S seeds
    V_g = variance of d over resamples of the G groups (speakers), the same draws for both systems
    V_s = variance of the d_s / S,    V_gs = Σ_s variance of d_s over the same resamples / S²
    se² = V_g + max(0, V_s − V_gs)
    95 % interval d ± t(.975; f) se,    p = 2 P(T_f > |d| / se)

The bootstrap alone takes the members as they are. But the question is about the way of training, and a seed can make a
member worse on all clips at once; V_s sees that, and what of it is chance clip by clip, which V_g has counted, is
taken off again (two-way clustering: Cameron, Gelbach & Miller 2011). T_f is Student's t, f by Satterthwaite (1946) from
G − 1 and S − 1. It stands in for percentiles of the resamples, which are too sure of themselves where groups are few.
Both were measured on systems that do not differ: docs/results.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mer_pipeline.metrics.ablation import Compared
from mer_pipeline.scores.bootstrap import Units, resample
from mer_pipeline.scores.confusion import Confusion, FloatArray, IntArray, weighted_f1
from mer_pipeline.scores.score import score


def compare(
    true: IntArray, reference: Sequence[IntArray], others: Sequence[Sequence[IntArray]], units: Units, classes: int
) -> list[Compared]:
    """Each of the others against the reference.

    Args:
        true: int64 (n,), class indices.
        reference: a prediction int64 (n,) per seed, or one where chance plays no part.
        others: likewise, with the same seeds or one.
        units: of the n clips, which are drawn together.
        classes: how many there are.
    """
    systems = [reference, *others]
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
                **dict(score(true, system, classes)),
                difference=round(float(own.mean() - base.mean()), 6),
                low=low,
                high=high,
                p=p,
                p_holm=None if test is None else next(adjusted),
            )
        )
    return rows


def student(differences: FloatArray, resampled: FloatArray, groups: int) -> tuple[float, float, float] | None:
    """Interval and p of the mean difference, to 6 digits; None with fewer than two groups.

    Args:
        differences: float64 (S,), of each seed.
        resampled: float64 (S, R), the same of each resample.
        groups: G.
    """
    # scikit-learn brings SciPy, and this part of it is quick to load.
    from scipy.special import stdtr, stdtrit

    if groups < 2:
        return None
    seeds, small = len(differences), groups / (groups - 1)  # a resample's variance is that much too small
    d, of_groups, beyond = float(differences.mean()), small * float(resampled.mean(axis=0).var()), 0.0
    if seeds > 1:
        both = small * float(resampled.var(axis=1).sum()) / seeds**2
        beyond = max(0.0, float(differences.var(ddof=1)) / seeds - both)
    variance = of_groups + beyond
    if variance == 0:  # no group differs: nothing to doubt, and nothing to divide by
        return round(d, 6), round(d, 6), 1.0 if d == 0 else 0.0
    free = variance**2 / (of_groups**2 / (groups - 1) + beyond**2 / max(seeds - 1, 1))
    error = variance**0.5
    reach = float(stdtrit(free, 0.975)) * error
    return round(d - reach, 6), round(d + reach, 6), round(2 * float(stdtr(free, -abs(d) / error)), 6)


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p-values (Holm 1979): below .05 each, the chance of any false one is below .05; in the order given."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    adjusted, most = [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        most = max(most, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = round(most, 6)
    return adjusted
