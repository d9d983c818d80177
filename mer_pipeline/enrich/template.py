"""`template`: enrichment without any model: the transcript, the cues, and the words' polarity, as sentences."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from importlib import resources

from mer_pipeline.enrich.schema import Enrichment, Request

LABELS = {
    "en": {"+": "positive words", "-": "negative words", "?": "a question", "!": "an exclamation", "join": ", "},
    "zh": {"+": "用词积极", "-": "用词消极", "?": "疑问", "!": "感叹", "join": "，"},
}


class Template:
    """A Backend that needs nothing and always answers the same."""

    def enrich(self, requests: Sequence[Request]) -> list[Enrichment]:
        """As Backend.enrich."""
        return [self._one(request) for request in requests]

    def _one(self, request: Request) -> Enrichment:
        spoken = " / ".join(text for text in (request.zh, request.en) if text)
        words = LABELS[request.language]
        noted = [words[sign] for sign in ("+", "-") if sign in polarity(spoken)]
        noted += [words[mark] for mark, forms in (("?", "?？"), ("!", "!！")) if any(form in spoken for form in forms)]
        context = words["join"].join([*request.cues, *noted])
        text = f"{spoken} [{context}]" if spoken and context else spoken or f"[{context}]"
        return Enrichment(text, "ok" if spoken else "no subtitle")


def polarity(text: str) -> frozenset[str]:
    """The signs, "+" and "-", of the lexicon's words that a text has."""
    lowered = text.lower()
    return frozenset(sign for pattern, sign in _lexicon() if pattern.search(lowered))


@cache
def _lexicon() -> tuple[tuple[re.Pattern[str], str], ...]:
    text = resources.files("mer_pipeline.enrich").joinpath("polarity.tsv").read_text(encoding="utf-8")
    by_sign: dict[str, list[str]] = {}
    for line in text.splitlines():
        word, sign = line.split("\t")
        # English words stand alone; Chinese has no blanks between words.
        by_sign.setdefault(sign, []).append(rf"\b{re.escape(word)}\b" if word.isascii() else re.escape(word))
    return tuple((re.compile("|".join(words)), sign) for sign, words in sorted(by_sign.items()))
