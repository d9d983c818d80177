"""Which text of a clip an encoder reads."""

from __future__ import annotations

from typing import Literal

from mer_pipeline.base.clips import Clip
from mer_pipeline.base.errors import Skip

Words = Literal["transcript", "enriched"]  # the tables that have some
Language = Literal["zh", "en"]


def text_of(clip: Clip, table: Words, language: Language) -> str:
    """The enriched text, or the transcript in the wanted language, or else in the other.

    Raises:
        Skip: the clip has no words.
    """
    row = clip.need(table)
    wanted = ("text",) if table == "enriched" else ("zh", "en") if language == "zh" else ("en", "zh")
    for column in wanted:
        if row[column]:
            return str(row[column])
    raise Skip("no words")
