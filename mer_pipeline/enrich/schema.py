"""What a backend is asked and what it answers; the seam where an LLM goes in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Request:
    """One clip's words and measured cues; never its label.

    Attributes:
        zh, en: the transcript, where there is one.
        cues: measured cues in words, in `language`.
        language: of what is added.
    """

    zh: str | None
    en: str | None
    cues: tuple[str, ...]
    language: str


@dataclass(frozen=True)
class Enrichment:
    """A backend's answer.

    Attributes:
        text: the transcript with its context, for a text encoder.
        status: "ok", or what was missing.
    """

    text: str
    status: str


class Backend(Protocol):
    """Turns requests into enrichments, in their order."""

    def enrich(self, requests: Sequence[Request]) -> list[Enrichment]:
        """One enrichment per request."""
