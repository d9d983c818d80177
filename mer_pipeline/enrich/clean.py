"""Text from outside made harmless: what goes into a prompt, and what comes back from a model.

A subtitle is hostile until it is data. `plain` takes away what nobody can see or say (control characters, marks that
turn the direction of writing, unpaired surrogates) and bounds the length; `as_data` writes it as JSON in which
no brace, bracket, angle bracket, bar or backtick stands bare, so that it can neither end the object that it is in nor
spell a chat template's special tokens (`<|im_end|>`, `</s>`, `[INST]`).
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence

UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
RISKY = re.compile(r"[<>{}\[\]|`]")
STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


def plain(text: str, limit: int) -> str:
    """A text in NFC on one line, without invisible characters, of at most `limit` characters (the last one "…")."""
    # Cut first, generously: 50,000 characters are not worth looking at one by one.
    cut = unicodedata.normalize("NFC", text[: 4 * limit])
    seen = "".join(" " if unicodedata.category(char) in UNSEEN else char for char in cut)
    words = " ".join(seen.split())
    return words if len(words) <= limit and len(text) <= 4 * limit else words[: limit - 1].rstrip() + "…"


def as_data(values: Mapping[str, str | Sequence[str]]) -> str:
    """A JSON object that is equal to `values` when it is parsed, with nothing risky bare in its strings."""
    text = json.dumps(values, ensure_ascii=False)
    return STRING.sub(lambda match: RISKY.sub(lambda char: f"\\u{ord(char[0]):04x}", match[0]), text)
