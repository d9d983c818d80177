"""The backend `template`: the context of a clip by rules, without a language model.

It lists the measured cues, whether the words are positive or negative, and whether there is a question or exclamation.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from mer_pipeline.enrich.backend import Backend, EnrichParams
from mer_pipeline.enrich.request import Request

if TYPE_CHECKING:
    from mer_pipeline.base.runtime import LlmSettings
    from mer_pipeline.enrich.journal import Journal
    from mer_pipeline.enrich.ledger import Ledger

LABELS = {
    "en": {"+": "positive words", "-": "negative words", "?": "a question", "!": "an exclamation", "join": ", "},
    "zh": {"+": "用词积极", "-": "用词消极", "?": "疑问", "!": "感叹", "join": "，"},
}


class ByRulesParams(EnrichParams):
    """Rules, without a language model: the measured cues of voice and face, and the polarity of the words."""


class ByRules(Backend):
    """The backend that asks no language model. `transform.py` writes the text with `describe`."""

    Params = ByRulesParams

    def replier(
        self, classes: tuple[str, ...], settings: LlmSettings, journal: Journal | None, ledger: Ledger | None
    ) -> None:
        """Return None, because no language model is asked."""
        del classes, settings, journal, ledger


def describe(request: Request, language: str) -> str:
    """Describe a clip by rules.

    Args:
        request: what is known about the clip.
        language: "en" or "zh".

    Example:
        >>> describe(Request(zh=None, en="Are you happy?", cues=("voice higher",)), "en")
        'voice higher, positive words, a question'
    """
    spoken, words = request.spoken, LABELS[language]
    signs = polarity(spoken)
    noted = [words[sign] for sign in ("+", "-") if sign in signs]
    noted += [words[mark] for mark, forms in (("?", "?？"), ("!", "!！")) if any(form in spoken for form in forms)]
    return words["join"].join([*request.cues, *noted])


def polarity(text: str) -> frozenset[str]:
    """Return the polarity of a text: "+" if it has a positive word of the lexicon, "-" if it has a negative one.

    Example:
        >>> sorted(polarity("I was sad, but now I am happy."))
        ['+', '-']
    """
    lowered = text.lower()
    return frozenset(sign for pattern, sign in _lexicon() if pattern.search(lowered))


@cache
def _lexicon() -> tuple[tuple[re.Pattern[str], str], ...]:
    text = resources.files("mer_pipeline.enrich").joinpath("polarity.tsv").read_text(encoding="utf-8")
    by_sign: dict[str, list[str]] = {}
    for line in text.splitlines():
        word, sign = line.split("\t")
        # An English word must stand alone. A Chinese word may be anywhere, because there are no blanks between words.
        by_sign.setdefault(sign, []).append(rf"\b{re.escape(word)}\b" if word.isascii() else re.escape(word))
    return tuple((re.compile("|".join(words)), sign) for sign, words in sorted(by_sign.items()))
