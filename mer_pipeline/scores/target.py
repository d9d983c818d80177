"""Compute the scores of the metric files for sets of classes (sets.py) and for numbers (numbers.py)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mer_pipeline.base.modalities import Mask, Matrix
from mer_pipeline.base.target import Target
from mer_pipeline.metrics.scores import Interval
from mer_pipeline.metrics.target import MAIN, TargetScore
from mer_pipeline.scores.bootstrap import Units, middle
from mer_pipeline.scores.confusion import FloatArray
from mer_pipeline.scores.numbers import MEASURES, moments, resampled_ccc
from mer_pipeline.scores.sets import class_precisions, resampled_map, set_f1

Each = dict[str, FloatArray]  # the scores of each class or dimension, float64 (C,), by name


def judge(
    target: Target,
    true: Matrix,
    predicted: Sequence[Matrix],
    decided: Sequence[Mask] | None = None,
    units: Units | None = None,
) -> TargetScore:
    """Return the mean scores of several predictions of the same clips.

    Args:
        target: what is predicted.
        true: float32 (n, C), the numbers of the labels to score against.
        predicted: one prediction, float32 (n, C), per seed.
        decided: the sets that each prediction amounts to, bool (n, C); None to leave out the scores of sets.
        units: the units of the clips, for an interval over them; None for no interval.
    """
    main = MAIN[target.kind]
    found = [
        _of_numbers(true, one)
        if target.kind == "regression"
        else _of_sets(true, one, None if decided is None else decided[s])
        for s, one in enumerate(predicted)
    ]
    figures = {name: _rounded([whole[name] for whole, _ in found]) for name in found[0][0]}
    each = {
        name: {key: _rounded([own[key][c] for _, own in found]) for key in found[0][1]}
        for c, name in enumerate(target.names)
    }
    interval = None
    if units is not None and len(true):
        resampled = resampled_ccc if target.kind == "regression" else resampled_map
        low, high = middle(np.mean([resampled(true, one, units) for one in predicted], axis=0))
        interval = Interval(low=low, high=high, over=units.over, n=units.count)
    sd = round(float(np.std([whole[main] for whole, _ in found])), 6)
    return TargetScore(n=len(true), figures=figures, sd=sd, interval=interval, each=each)


def _of_numbers(true: Matrix, predicted: Matrix) -> tuple[dict[str, float], Each]:
    sums = moments(true, predicted).sum(axis=0)
    each = {name: measure(sums) for name, measure in MEASURES.items()}
    return {name: float(values.mean()) for name, values in each.items()}, each


def _of_sets(true: Matrix, probabilities: Matrix, decided: Mask | None) -> tuple[dict[str, float], Each]:
    each: Each = {"ap": class_precisions(true, probabilities), "support": true.sum(axis=0, dtype=np.float64)}
    occurs = each["support"] > 0
    whole = {"map": float(each["ap"][occurs].mean()) if occurs.any() else 0.0}
    if decided is not None:
        each["f1"], micro = set_f1(true > 0, decided)
        met = occurs | decided.any(axis=0)
        whole["macro_f1"] = float(each["f1"][met].mean()) if met.any() else 0.0
        whole |= {"micro_f1": micro, "exact": float((decided == (true > 0)).all(axis=1).mean()) if len(true) else 0.0}
    return whole, each


def _rounded(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 6)
