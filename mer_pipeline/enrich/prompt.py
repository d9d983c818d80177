"""The table `prompts`: all that a language model is asked about each clip. A reply's key is made from it.

The system message is a file of the project (`prompts/NAME.LANGUAGE.md`). The user message is one JSON object of data.
It never has a label, nor the name of the clip, because names often contain the label.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from string import Template

import pyarrow as pa

from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.errors import ParamsError, Skip
from mer_pipeline.base.transform import Source, Transform
from mer_pipeline.config.project import PROMPTS
from mer_pipeline.config.section import Section
from mer_pipeline.enrich.backend import LanguageModelParams
from mer_pipeline.enrich.clean import as_data, plain
from mer_pipeline.enrich.reply import reply_schema
from mer_pipeline.enrich.request import Request, request_of

SPOKEN_CHARS = 2000  # the most characters of a transcript
NEIGHBOUR_CHARS = 200  # the most characters of a neighbour's words


class PromptParams(Section):
    """The params that decide a prompt, together with its file."""

    classes: tuple[str, ...]
    max_chars: int


class RenderPrompt(Transform[Request]):
    """The transform from a clip's transcript, neighbours and cue words to the messages of one request.

    Raises:
        ParamsError: if there is no file with the system message.
    """

    name = "prompts"
    sources = (Source("transcript", ("zh", "en")), Source("cue_words", ("words", "before", "after")))
    schema = pa.schema(
        [
            pa.field("system", pa.string()),
            pa.field("user", pa.string()),
            pa.field("schema", pa.string()),  # JSON schema of the reply
        ]
    )

    def __init__(self, params: LanguageModelParams, classes: tuple[str, ...]) -> None:
        self.params: PromptParams = PromptParams(classes=classes, max_chars=params.max_chars)
        self.path = PROMPTS / f"{params.prompt}.{params.language}.md"
        if not self.path.is_file():
            raise ParamsError(f"enrich.prompt: there is no {self.path}; write it, or name one that is in {PROMPTS}/")

    def files(self) -> Sequence[Path]:
        """The file with the system message."""
        return (self.path,)

    def prepare(self, clip: Clip) -> Request:
        """Collect what is known about the clip.

        Raises:
            Skip: if the clip has neither words nor cues.
        """
        request = request_of(clip)
        if request.is_empty:
            raise Skip("neither words nor cues")
        return request

    def infer(self, items: Sequence[Request]) -> list[Row | Skip]:
        """Write the messages of each clip."""
        return [{"system": self._system, "user": user_message(item), "schema": self._schema} for item in items]

    @cached_property
    def _system(self) -> str:
        names = ", ".join(json.dumps(name, ensure_ascii=False) for name in self.params.classes)
        text = Template(self.path.read_text(encoding="utf-8"))
        return text.safe_substitute(classes=names, max_chars=self.params.max_chars).strip()

    @cached_property
    def _schema(self) -> str:
        return json.dumps(reply_schema(self.params.classes, self.params.max_chars), ensure_ascii=False)


def user_message(request: Request) -> str:
    """Write the user message: one JSON object, without keys that would be empty.

    Example:
        >>> print(user_message(Request(zh=None, en="I am fine.", cues=("very quiet",))))
        {"english": "I am fine.", "voice and face": ["very quiet"]}
    """
    spoken = {"chinese": request.zh, "english": request.en}
    around = {"before": request.before, "after": request.after}
    data: dict[str, str | Sequence[str]] = {key: plain(text, SPOKEN_CHARS) for key, text in spoken.items() if text}
    data |= {key: [plain(text, NEIGHBOUR_CHARS) for text in texts] for key, texts in around.items() if texts}
    return as_data(data | ({"voice and face": request.cues} if request.cues else {}))
