"""The text of a clip that an encoder reads."""

from __future__ import annotations

from typing import Literal

from mer_pipeline.base.clips import Clip
from mer_pipeline.base.errors import Skip

Words = Literal["transcript", "enriched"]  # the tables that have words
Language = Literal["zh", "en"]


def text_of(clip: Clip, table: Words, language: Language) -> str:
    """Return the enriched text of a clip, or its transcript.

    Args:
        clip: the clip, with its row of that table.
        table: "enriched" or "transcript".
        language: the language of the transcript; the other one is used if the clip has no words in this language.

    Raises:
        Skip: if the clip has no words.

    Example:
        >>> clip = Clip("a", "", {"transcript": {"zh": None, "en": "hello"}})
        >>> text_of(clip, "transcript", "zh")
        'hello'
    """
    row = clip.need(table)
    wanted = ("text",) if table == "enriched" else ("zh", "en") if language == "zh" else ("en", "zh")
    for column in wanted:
        if row[column]:
            return str(row[column])
    raise Skip("no words")
