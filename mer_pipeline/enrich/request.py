"""What is known of one clip when its text is enriched; never its label, never its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mer_pipeline.base.clips import Clip


@dataclass(frozen=True)
class Request:
    """One clip's words, what was said around it, and its measured cues in words.

    Attributes:
        zh, en: the transcript, where there is one.
        before, after: of the same scene, oldest first.
        cues: measured behaviour of voice and face.
    """

    zh: str | None
    en: str | None
    cues: tuple[str, ...]
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to say of the clip itself."""
        return not (self.zh or self.en or self.cues)

    @property
    def spoken(self) -> str:
        """The transcript in the languages that there are."""
        return " / ".join(text for text in (self.zh, self.en) if text)


def request_of(clip: Clip) -> Request:
    """From a clip with a transcript and cue words."""
    spoken, context = clip.maybe("transcript") or {}, clip.maybe("cue_words") or {}
    zh, en = (None if spoken.get(key) is None else str(spoken[key]) for key in ("zh", "en"))
    cues, before, after = (_texts(context.get(key)) for key in ("words", "before", "after"))
    return Request(zh, en, cues, before, after)


def _texts(value: object) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, Sequence) else ()
