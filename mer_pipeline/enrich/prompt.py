"""`data/prompts/`: what a model is asked about each clip; the whole of it, so that a reply's key is what was asked.

The system message is a file that is kept with the project (`prompts/NAME.LANGUAGE.md`); the user message is one
JSON object of data. Neither a label nor a clip's name (names often spell the label) is ever part of it.
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

SPOKEN_CHARS = 2000
NEIGHBOUR_CHARS = 200


class PromptParams(Section):
    """What of the params decides a prompt, beside its file."""

    classes: tuple[str, ...]
    max_chars: int


class RenderPrompt(Transform[Request]):
    """Transcript, neighbours and cue words to the messages of one request."""

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
        """The system message, as it is written."""
        return (self.path,)

    def prepare(self, clip: Clip) -> Request:
        """Gather what is known of the clip."""
        request = request_of(clip)
        if request.is_empty:
            raise Skip("neither words nor cues")
        return request

    def infer(self, items: Sequence[Request]) -> list[Row | Skip]:
        """Write the messages."""
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
    """One JSON object; only keys that have something to say."""
    spoken = {"chinese": request.zh, "english": request.en}
    around = {"before": request.before, "after": request.after}
    data: dict[str, str | Sequence[str]] = {key: plain(text, SPOKEN_CHARS) for key, text in spoken.items() if text}
    data |= {key: [plain(text, NEIGHBOUR_CHARS) for text in texts] for key, texts in around.items() if texts}
    return as_data(data | ({"voice and face": request.cues} if request.cues else {}))
