"""The three bases of a score, and access to the scores of the metric files by basis.

A basis says which predictions are compared with which labels:

    test    predictions of the candidates, compared with their true labels
    given   out-of-fold predictions of the training clips, compared with the given (noisy) labels
    true    out-of-fold predictions of the training clips, compared with their true labels

The report never compares scores of different bases with each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from mer_pipeline.metrics.predict import PredictMetrics
from mer_pipeline.metrics.pseudo import PseudoMetrics
from mer_pipeline.metrics.scores import Baselines, GroupedScore, Score
from mer_pipeline.metrics.train import TrainMetrics

Basis = Literal["test", "given", "true"]
BASES: tuple[Basis, ...] = ("test", "given", "true")
AnyScore = TypeVar("AnyScore", bound=Score)


@dataclass(frozen=True)
class Metrics:
    """The metric files of a run, with access to scores by basis."""

    train: TrainMetrics
    predict: PredictMetrics | None
    pseudo: PseudoMetrics | None = None

    def fused(self, basis: Basis) -> dict[str, GroupedScore]:
        """Return the scores of the heads on all modalities, best first; empty if there are none on this basis."""
        if basis == "test":
            return _ranked(self.predict.test.heads if self.predict and self.predict.test else {})
        each = self.train.heads.items()
        return _ranked({name: of.given if basis == "given" else of.true for name, of in each})

    def single(self, basis: Basis) -> dict[str, dict[str, Score]]:
        """Return the scores of the heads on single modalities, by modality in the order of the tokens, best first."""
        if basis == "test":
            test = self.predict.test if self.predict else None
            found = {name: _ranked(heads) for name, heads in test.single.items()} if test else {}
        else:
            found = {
                name: _ranked({head: of.given if basis == "given" else of.true for head, of in heads.items()})
                for name, heads in self.train.single.items()
            }
        order = {name: at for at, name in enumerate(self.train.modalities)}
        return {name: found[name] for name in sorted(found, key=lambda n: (order.get(n, len(order)), n)) if found[name]}

    def blind(self, basis: Basis) -> Baselines | None:
        """Return what is had on a basis without looking at a clip; None if there are no scores on it."""
        if basis == "test":
            return self.predict.test.baselines if self.predict and self.predict.test else None
        found = self.train.baselines
        return None if found is None else found.given if basis == "given" else found.true

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reviewer would ask about the scores."""
        return (*self.train.warnings, *(self.predict.warnings if self.predict else ()))

    @property
    def basis(self) -> Basis:
        """The basis of the headline: "test" if the candidates have scores, else "given"."""
        return "test" if self.fused("test") else "given"

    @property
    def selected(self) -> str | None:
        """The head whose predictions are used; None if there is no head."""
        return None if self.train.empty else self.train.selected


def _ranked(scores: Mapping[str, AnyScore | None]) -> dict[str, AnyScore]:
    known = {name: score for name, score in scores.items() if score is not None}
    return dict(sorted(known.items(), key=lambda item: (-item[1].weighted_f1, item[0])))
