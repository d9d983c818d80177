"""The mean opinion of several heads: of `train.heads` those that nested cross-validation keeps.

p(c | x) = mean over kept heads h of p_h(c | x)

Each fold among a lesson's training rows is left out in turn; beginning with all heads, the one whose absence raises the
weighted F1 of the mean on the left-out rows most is dropped, until none is. A mean seldom loses to its parts, so it takes
evidence to be dropped, not to be kept. The fold that the ensemble is scored on has no part in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Self

import numpy as np

from mer_pipeline.fusion.features import Features, Matrix, Rows
from mer_pipeline.fusion.heads.base import Epoch, Head, Lesson, Logits, Place
from mer_pipeline.fusion.heads.concat import Concat
from mer_pipeline.fusion.heads.ecmf import Ecmf
from mer_pipeline.fusion.heads.gated import Gated
from mer_pipeline.fusion.heads.inner import held_out, inner_folds, suited
from mer_pipeline.fusion.heads.linear import log_softmax
from mer_pipeline.fusion.heads.logreg import LogReg
from mer_pipeline.fusion.heads.mean_logits import MeanLogits
from mer_pipeline.fusion.heads.mertools import Mertools
from mer_pipeline.fusion.metrics import Confusion
from mer_pipeline.params import HeadName, TrainParams

PARTS: dict[HeadName, type[Head]] = {
    "ecmf": Ecmf,
    "mertools": Mertools,
    "concat": Concat,
    "gated": Gated,
    "mean-logits": MeanLogits,
    "logreg": LogReg,
}
FLOOR = 1e-12  # of a mean of probabilities, whose logarithm must be finite


class Ensemble(Head):
    """See the module; `parts` are the kept heads by name."""

    parts: dict[HeadName, Head]

    @classmethod
    def fit_all(
        cls,
        features: Features,
        lessons: Sequence[Lesson],
        classes: int,
        place: Place,
        tick: Callable[[], None],
    ) -> list[tuple[Self, list[Epoch]]]:
        """See `Head`; every part learns all that the ensemble's lesson has, whatever it was kept by."""
        ensembles = [cls(features.dims, classes, lesson.params) for lesson in lessons]
        kept = _choose(features, lessons, classes, place)
        for ensemble in ensembles:
            ensemble.parts = {}
        for name in PARTS:
            at = [i for i, names in enumerate(kept) if name in names]
            own = [suited(PARTS[name], lessons[i]) for i in at]
            for i, (head, _) in zip(at, PARTS[name].fit_all(features, own, classes, place, lambda: None), strict=True):
                ensembles[i].parts[name] = head
        for _ in lessons:
            tick()
        return [(ensemble, []) for ensemble in ensembles]

    def score(self, group: Features) -> Logits:
        """See `Head`; the weights are the mean of the parts' shares."""
        said = [part.score(group) for part in self.parts.values()]
        mean = np.mean([np.exp(log_softmax(one.values)) for one in said], axis=0)
        shares = [
            np.abs(w) / np.maximum(np.abs(w).sum(axis=1, keepdims=True), FLOOR) for w in (s.weights for s in said)
        ]
        return Logits(np.log(np.maximum(mean, FLOOR)), np.mean(shares, axis=0))

    def tensors(self) -> dict[str, Matrix]:
        """See `Head`."""
        return {f"{name}.{key}": array for name, part in self.parts.items() for key, array in part.tensors().items()}

    def restore(self, tensors: Mapping[str, Matrix]) -> None:
        """See `Head`."""
        self.parts = {}
        for name in PARTS:
            own = {key.removeprefix(f"{name}."): a for key, a in tensors.items() if key.startswith(f"{name}.")}
            if own:
                self.parts[name] = PARTS[name](self.dims, self.classes, self.params)
                self.parts[name].restore(own)


def candidates(params: TrainParams) -> list[HeadName]:
    """The heads that an ensemble may be of: those of `train.heads`, or all where it stands there alone."""
    return [name for name in PARTS if name in params.heads] or list(PARTS)


def _choose(features: Features, lessons: Sequence[Lesson], classes: int, place: Place) -> list[list[HeadName]]:
    """The heads to keep, of each lesson; all, where its rows are of one fold."""
    kept = [candidates(lesson.params) for lesson in lessons]
    at = [i for i, lesson in enumerate(lessons) if len(inner_folds(lesson)) > 1 and len(kept[i]) > 1]
    asked = [lessons[i] for i in at]
    said = {
        name: held_out(PARTS[name], features, asked, classes, place) for name in {n: None for i in at for n in kept[i]}
    }
    for j, i in enumerate(at):
        known = said[kept[i][0]][j][1]
        opinions = {name: said[name][j][0][known] for name in kept[i]}
        kept[i] = keep(opinions, lessons[i].train.label[known], classes)
    return kept


def keep(opinions: Mapping[HeadName, Matrix], label: Rows, classes: int) -> list[HeadName]:
    """Drop heads as the module says; opinions are held-out probabilities float32 (n, C), label int64 (n,)."""

    def f1(names: Sequence[HeadName]) -> float:
        mean = np.mean([opinions[name] for name in names], axis=0)
        return Confusion.of(label, np.asarray(mean.argmax(axis=1)), classes).weighted_f1

    names = list(opinions)
    while len(names) > 1:
        fewer = max(([n for n in names if n != out] for out in names), key=f1)
        if f1(fewer) <= f1(names):
            break
        names = fewer
    return names
