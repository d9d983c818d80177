"""The table `enriched`: the context-enriched text of every clip, by rules or from a language model's reply.

    text = the transcript [the context]

The transcript is always in the text, unchanged. If a model gave no reply that fits, the text is the transcript alone,
the status is `fallback`, and the column `why` has the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.errors import Skip
from mer_pipeline.base.transform import Source, Transform
from mer_pipeline.config.section import Section
from mer_pipeline.enrich.backend import EnrichParams, LanguageModelParams
from mer_pipeline.enrich.clean import plain
from mer_pipeline.enrich.prompt import SPOKEN_CHARS
from mer_pipeline.enrich.reply import ParsedReply, UnparsableReply, parse_reply
from mer_pipeline.enrich.request import Request, request_of
from mer_pipeline.enrich.template import describe

WORDS = (Source("transcript", ("zh", "en")), Source("cue_words", ("words",)))
REPLIES = (Source("replies", ("raw", "status", "why")), Source("quarantine/replies", ("message",)))


class TextParams(Section):
    """The params that decide the text."""

    uses_model: bool
    language: str
    classes: tuple[str, ...]
    max_chars: int


@dataclass(frozen=True)
class Material:
    """What the text of one clip is made from.

    Attributes:
        request: the clip's words and cues.
        answers: the answers of a language model as they were written, oldest first; at most two.
        why: the reason why there is no answer, or none that fits; else None.
    """

    request: Request
    answers: tuple[str, ...] = ()
    why: str | None = None


class Enrich(Transform[Material]):
    """The transform from transcript, cue words and, if a language model was asked, its reply, to one text per clip."""

    name = "enriched"

    def __init__(self, params: EnrichParams, classes: tuple[str, ...]) -> None:
        model = isinstance(params, LanguageModelParams)
        self.params: TextParams = TextParams(
            uses_model=model,
            language=params.language,
            classes=classes,
            max_chars=params.max_chars if isinstance(params, LanguageModelParams) else 0,
        )
        self.sources = (*WORDS, *REPLIES) if model else WORDS
        self.schema = pa.schema(
            [
                pa.field("text", pa.string()),  # for the text encoder
                pa.field("transcript", pa.string()),  # what was said, as it stands in the text
                pa.field("cues", pa.list_(pa.string())),  # measured cues, and those that a model named
                pa.field("status", pa.string()),  # ok, repaired, no subtitle, fallback
                pa.field("why", pa.string()),  # of a fallback
                pa.field("meaning", pa.string()),  # this and the following are from a reply
                pa.field("context", pa.string()),
                pa.field("intensity", pa.float32()),  # 0 to 1
                pa.field("scores", pa.list_(pa.float32(), len(classes))),  # sum to 1, in the classes' order
            ]
        )

    def prepare(self, clip: Clip) -> Material:
        """Collect what is known about the clip.

        Raises:
            Skip: if the clip has neither words nor cues.
        """
        request = request_of(clip)
        if request.is_empty:
            raise Skip("neither words nor cues")
        return _replied(clip, request) if self.params.uses_model else Material(request)

    def infer(self, items: Sequence[Material]) -> list[Row | Skip]:
        """Write the text of each clip."""
        return [self._from_reply(item) if self.params.uses_model else self._by_rule(item) for item in items]

    def _by_rule(self, item: Material) -> Row:
        request = item.request
        context = describe(request, self.params.language)
        return self._row(request, context, "ok" if request.spoken else "no subtitle")

    def _from_reply(self, item: Material) -> Row:
        """Make a row from the last answer that fits.

        The answers are parsed again here, so that a better parser can also use old answers.
        """
        request, why = item.request, item.why
        said = (plain(text, SPOKEN_CHARS) for text in (request.zh, request.en) if text)
        asked = "\n".join((*said, *request.cues))
        for at in reversed(range(len(item.answers))):
            try:
                reply = parse_reply(item.answers[at], asked, self.params.classes, self.params.max_chars)
            except UnparsableReply as error:
                why = why or str(error)
            else:
                return self._row(request, reply.text, "repaired" if at else "ok", None, reply)
        # A clip without words has only its measured cues.
        context = "" if request.spoken else describe(request, self.params.language)
        return self._row(request, context, "fallback", why)

    def _row(
        self, request: Request, context: str, status: str, why: str | None = None, reply: ParsedReply | None = None
    ) -> Row:
        spoken = request.spoken
        row: dict[str, object] = {
            "text": f"{spoken} [{context}]" if spoken and context else spoken or f"[{context}]",
            "transcript": spoken,
            "cues": [*request.cues, *(reply.cues if reply else ())],
            "status": status,
            "why": why,
        }
        of_model = ("meaning", "context", "intensity", "scores")
        return row | {name: None if reply is None else getattr(reply, name) for name in of_model}


def _replied(clip: Clip, request: Request) -> Material:
    replied, failed = clip.rows["replies"], clip.rows["quarantine/replies"]
    if replied is None:
        return Material(request, why="no reply" if failed is None else str(failed["message"]))
    if replied["valid"] is False:
        return Material(request, why=str(replied["reason"]))
    raw, why = replied["raw"], replied["why"]
    assert isinstance(raw, list)
    # If the reply fits, `why` is about the answer before it.
    return Material(request, tuple(raw), None if why is None or replied["status"] != "fallback" else str(why))
