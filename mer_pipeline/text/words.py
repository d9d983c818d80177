"""Which text of a clip an encoder reads."""

from __future__ import annotations

from mer_pipeline.clips import Clip
from mer_pipeline.encoder import EncoderParams
from mer_pipeline.errors import Skip


def text_of(clip: Clip, params: EncoderParams) -> str:
    """The enriched text, or the transcript in the wanted language, or else in the other.

    Raises:
        Skip: the clip has no words.
    """
    row = clip.need(params.input)
    wanted = ("text",) if params.input == "enriched" else ("zh", "en") if params.language == "zh" else ("en", "zh")
    for column in wanted:
        if row[column]:
            return str(row[column])
    raise Skip("no words")
