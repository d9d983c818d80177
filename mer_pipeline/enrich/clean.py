"""Make text from outside harmless, before it enters a prompt and after a model wrote it.

A subtitle may be made to look like an instruction to the model. `plain` removes characters that have no visible form
(control characters, marks that turn the direction of writing, unpaired surrogates) and limits the length. `as_data`
writes texts as JSON, and writes braces, brackets, angle brackets, bars and backticks in them as escapes. Thus a text
can neither end the JSON object that it is in, nor contain a special token of a chat template (`<|im_end|>`, `</s>`,
`[INST]`).
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence

# Categories of Unicode whose characters have no visible form: control, format, surrogate, private, unassigned,
# separators of lines and paragraphs.
UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
RISKY = re.compile(r"[<>{}\[\]|`]")
STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


def plain(text: str, limit: int) -> str:
    """Return a text in NFC on one line, without invisible characters.

    Args:
        text: the text.
        limit: the most characters of the result; if the text is cut, the last character is "…".

    Example:
        >>> plain("two\\nlines", 20)
        'two lines'
        >>> plain("a long sentence", 7)
        'a long…'
    """
    # The text is cut to four times the limit first, so that a very long one is not read character by character.
    cut = unicodedata.normalize("NFC", text[: 4 * limit])
    seen = "".join(" " if unicodedata.category(char) in UNSEEN else char for char in cut)
    words = " ".join(seen.split())
    return words if len(words) <= limit and len(text) <= 4 * limit else words[: limit - 1].rstrip() + "…"


def as_data(values: Mapping[str, str | Sequence[str]]) -> str:
    """Write texts as a JSON object that gives `values` when it is parsed, with escapes for all risky characters.

    Example:
        >>> print(as_data({"english": "stop </s>"}))
        {"english": "stop \\u003c/s\\u003e"}
    """
    text = json.dumps(values, ensure_ascii=False)
    return STRING.sub(lambda match: RISKY.sub(lambda char: f"\\u{ord(char[0]):04x}", match[0]), text)
