"""The enrichment of every clip's words, through a backend."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from mer_pipeline.clips import Clip, Row
from mer_pipeline.enrich.schema import Backend, Request
from mer_pipeline.enrich.template import Template
from mer_pipeline.errors import Skip
from mer_pipeline.params import EnrichParams
from mer_pipeline.transform import Source, Transform


class Enrich(Transform[Request]):
    """Transcript and cue words to one text per clip."""

    name = "enriched"
    sources = (Source("transcript", ("zh", "en")), Source("cue_words", ("words",)))
    schema = pa.schema(
        [
            pa.field("text", pa.string()),  # for the text encoder
            pa.field("transcript", pa.string()),  # what was said, as it stands in the text
            pa.field("cues", pa.list_(pa.string())),
            pa.field("status", pa.string()),
        ]
    )

    def __init__(self, params: EnrichParams) -> None:
        self.params: EnrichParams = params
        self.backend: Backend = {"template": Template}[params.backend]()

    def prepare(self, clip: Clip) -> Request:
        """Gather what the backend is asked."""
        spoken, cues = clip.maybe("transcript") or {}, clip.maybe("cue_words") or {}
        words = cues.get("words") or ()
        assert isinstance(words, Sequence)
        zh, en = (None if spoken.get(key) is None else str(spoken[key]) for key in ("zh", "en"))
        if zh is None and en is None and not words:
            raise Skip("neither words nor cues")
        return Request(zh, en, tuple(words), self.params.language)

    def infer(self, items: Sequence[Request]) -> list[Row | Skip]:
        """Ask the backend."""
        return [
            {
                "text": answer.text,
                "transcript": " / ".join(text for text in (item.zh, item.en) if text),
                "cues": list(item.cues),
                "status": answer.status,
            }
            for item, answer in zip(items, self.backend.enrich(items), strict=True)
        ]
