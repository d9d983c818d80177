"""The mean opinion of several heads: of `train.heads` those that nested cross-validation keeps (kept.py).

    p(c | x) = mean over kept heads h of p_h(c | x)

They are chosen on the lesson's own rows, so the fold that the ensemble is scored on has no part in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Self

import numpy as np

from mer_pipeline.fusion.features import Features, Matrix
from mer_pipeline.fusion.heads.base import Epoch, Head, Lesson, Logits, Place
from mer_pipeline.fusion.heads.inner import suited
from mer_pipeline.fusion.heads.kept import choose
from mer_pipeline.fusion.heads.linear import log_softmax
from mer_pipeline.fusion.heads.parts import PARTS
from mer_pipeline.params import HeadName

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
        kept = choose(features, lessons, classes, place)
        for ensemble in ensembles:
            ensemble.parts = {}
        for name, part in PARTS.items():
            at = [i for i, names in enumerate(kept) if name in names]
            own = [suited(part, lessons[i]) for i in at]
            for i, (head, _) in zip(at, part.fit_all(features, own, classes, place, lambda: None), strict=True):
                ensembles[i].parts[name] = head
        for _ in lessons:
            tick()
        return [(ensemble, []) for ensemble in ensembles]

    def score(self, group: Features) -> Logits:
        """See `Head`; the weights are the mean of the parts' shares."""
        said = [part.score(group) for part in self.parts.values()]
        mean = np.mean([np.exp(log_softmax(one.values)) for one in said], axis=0)
        sizes = [np.abs(one.weights) for one in said]
        shares = [size / np.maximum(size.sum(axis=1, keepdims=True), FLOOR) for size in sizes]
        return Logits(np.log(np.maximum(mean, FLOOR)), np.mean(shares, axis=0))

    def tensors(self) -> dict[str, Matrix]:
        """See `Head`."""
        return {f"{name}.{key}": array for name, part in self.parts.items() for key, array in part.tensors().items()}

    def restore(self, tensors: Mapping[str, Matrix]) -> None:
        """See `Head`."""
        self.parts = {}
        for name, part in PARTS.items():
            own = {key.removeprefix(f"{name}."): a for key, a in tensors.items() if key.startswith(f"{name}.")}
            if own:
                self.parts[name] = part(self.dims, self.classes, self.params)
                self.parts[name].restore(own)
