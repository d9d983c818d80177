"""The judges by kind. Each is imported when it is wanted, so that a stage loads only what it runs."""

from __future__ import annotations

from typing import TypeAlias

from mer_pipeline.errors import UsageError
from mer_pipeline.judges.judge import Judge, JudgeParams

# As in encoders.py: what passes from prepare to infer is each judge's own affair.
AnyJudge: TypeAlias = Judge[object]


def make_judge(name: str, params: JudgeParams, classes: tuple[str, ...]) -> AnyJudge:
    """The judge that an entry describes.

    Raises:
        CheckpointError: its model's files are missing or unfit.
        ParamsError: its captions or its map do not fit the classes.
        DatasetError: its CSV is not as described.
        UsageError: its kind is no transform.
    """
    match params.kind:
        case "open-clip":
            from mer_pipeline.judges.open_clip import ZeroShot

            return ZeroShot(name, params, classes)  # type: ignore[return-value]
        case "hf-image":
            from mer_pipeline.judges.hf_image import HfImage

            return HfImage(name, params, classes)  # type: ignore[return-value]
        case "hf-audio":
            from mer_pipeline.judges.hf_audio import HfAudio

            return HfAudio(name, params, classes)  # type: ignore[return-value]
        case "llm-scores":
            from mer_pipeline.judges.llm_scores import LlmScores

            return LlmScores(name, params, classes)  # type: ignore[return-value]
        case "csv":
            from mer_pipeline.judges.outside import Outside

            return Outside(name, params, classes)  # type: ignore[return-value]
        case "fusion-head":
            raise UsageError(f"judge '{name}': the own head sees all clips at once and has no rows of single clips")
