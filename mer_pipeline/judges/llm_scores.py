"""The judge `llm-scores`: the scores of the classes in the replies of the language model that enriched the words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np

from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.errors import Skip
from mer_pipeline.base.transform import Source
from mer_pipeline.judges.judge import Floats, Judge, JudgeParams


class LlmScoresParams(JudgeParams):
    """The scores that the language model gave when it enriched the words; `enrich.backend: template` gives none."""

    reads_scores: ClassVar[bool] = True

    input: Literal["enriched"]  # the enriched text


class LlmScores(Judge[Floats]):
    """Vote with the column `scores` of data/enriched. An item is a float64 array (classes,)."""

    Params = LlmScoresParams

    def __init__(self, name: str, params: LlmScoresParams, classes: tuple[str, ...]) -> None:
        super().__init__(name, params, classes, Source("enriched", ("scores", "status")))

    def prepare(self, clip: Clip) -> Floats:
        """Return the clip's scores.

        Raises:
            Skip: the clip has no scores.
        """
        row = clip.need("enriched")
        if row["scores"] is None:
            raise Skip(f"the enrichment has no scores (status: {row['status']})")
        return np.array(row["scores"], np.float64)

    def infer(self, items: Sequence[Floats]) -> list[Row | Skip]:
        """Return the rows; the scores only have to be normalised."""
        return [self.verdict(item) for item in items]
