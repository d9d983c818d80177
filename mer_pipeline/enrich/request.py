"""What is known about one clip when its text is enriched. Its label and its name are never part of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mer_pipeline.base.clips import Clip


@dataclass(frozen=True)
class Request:
    """The words of one clip, the words around it, and its measured cues in words.

    Attributes:
        zh, en: the transcript in Chinese and in English; None if there is none.
        cues: the measured cues of voice and face, in words.
        before, after: the words of utterances before and after it in its group, oldest first.
    """

    zh: str | None
    en: str | None
    cues: tuple[str, ...]
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether the clip itself has neither words nor cues."""
        return not (self.zh or self.en or self.cues)

    @property
    def spoken(self) -> str:
        """The transcript in all languages that it has, separated by " / "."""
        return " / ".join(text for text in (self.zh, self.en) if text)


def request_of(clip: Clip) -> Request:
    """Collect what is known about a clip from its rows of the tables `transcript` and `cue_words`."""
    spoken, context = clip.maybe("transcript") or {}, clip.maybe("cue_words") or {}
    zh, en = (None if spoken.get(key) is None else str(spoken[key]) for key in ("zh", "en"))
    cues, before, after = (_texts(context.get(key)) for key in ("words", "before", "after"))
    return Request(zh, en, cues, before, after)


def _texts(value: object) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, Sequence) else ()
