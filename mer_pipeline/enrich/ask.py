"""`openai`: ask a server about every clip. Replies cost money, so none is lost and none is asked for twice."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.errors import Skip
from mer_pipeline.base.runtime import LlmSettings
from mer_pipeline.base.transform import Transform
from mer_pipeline.config.section import Seed
from mer_pipeline.enrich import replies
from mer_pipeline.enrich.backend import Backend, LanguageModelParams
from mer_pipeline.enrich.chat import Chat
from mer_pipeline.enrich.completion import Answer
from mer_pipeline.enrich.journal import Journal
from mer_pipeline.enrich.ledger import Ledger
from mer_pipeline.tables.shards import read_folder

FIRST = ":first"  # the journal's entry of an answer that did not fit, until the second is there


class ByServerParams(LanguageModelParams):
    """A language model behind any OpenAI-compatible server: vLLM, llama.cpp, Ollama, a provider."""

    by_server: ClassVar[bool] = True

    temperature: Annotated[float, Field(ge=0.0, le=2.0)] = 0.0  # of the model's sampling; 0: greedy
    seed: Seed = 0  # likewise


class ByServer(Backend):
    """A server is asked about every clip."""

    Params = ByServerParams
    params: ByServerParams

    def replier(
        self, classes: tuple[str, ...], settings: LlmSettings, journal: Journal | None, ledger: Ledger | None
    ) -> Transform[object]:
        """Ask."""
        return Ask(self.params, classes, settings, journal, ledger)  # type: ignore[return-value]


def open_journal() -> Journal:
    """The project's journal of replies, and of first answers; what an older version wrote otherwise is passed over."""
    shapes = ({*replies.SCHEMA.names}, {field.name for field in fields(Answer)})
    return Journal(fits=lambda entry: set(entry) in shapes)


def clear_kept(journal: Journal, folder: Path) -> None:
    """Take out of the journal what a table of replies, and with it the store, has."""
    kept = read_folder(folder, ["asked"])["asked"].to_pylist()
    journal.clear({*kept, *(f"{asked}{FIRST}" for asked in kept)})


class Ask(Transform[Row]):
    """A prompt to a reply. A clip whose server fails is quarantined and not remembered; it is asked next time.

    Args:
        params: which model.
        classes: in order.
        settings: where the server is.
        journal: of replies that no store has yet; by default the project's.
        ledger: counts.
    """

    name = "replies"
    sources = (replies.SOURCE,)
    schema = replies.SCHEMA
    external_response = True

    def __init__(
        self,
        params: ByServerParams,
        classes: tuple[str, ...],
        settings: LlmSettings,
        journal: Journal | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        self.params: replies.Sampling = replies.Sampling(
            backend=params.backend,
            model=params.model,
            max_tokens=params.max_tokens,
            temperature=params.temperature,
            seed=params.seed,
        )
        self.in_flight = settings.in_flight
        self._classes, self._max_chars = classes, params.max_chars
        self._journal, self._ledger = journal or open_journal(), ledger or Ledger()
        self._guard, self._turns = threading.Lock(), dict[str, threading.Lock]()
        body = {"model": params.model, "max_tokens": params.max_tokens, "temperature": params.temperature}
        self._chat = Chat(settings, {**body, "seed": params.seed}, self._ledger)

    def prepare(self, clip: Clip) -> Row:
        """Ask, once more where the answer does not fit. Clips of which the same is asked are asked about once.

        Raises:
            Transient: the server did not answer.
            UsageError, StageError: it never will.
        """
        prompt = clip.need("prompts")
        key = replies.asked(prompt, self.params)
        with self._guard:
            turn = self._turns.setdefault(key, threading.Lock())
        with turn:
            row = self._journal.get(key)
            if row is None:
                row = {**self._settled(prompt, key), "asked": key}
                self._journal.add(key, row)
                self._ledger.settled(str(row["status"]))
        return row

    def infer(self, items: Sequence[Row]) -> list[Row | Skip]:
        """Nothing is left to do."""
        return list(items)

    def close(self) -> None:
        """Close connections, and write what it all took."""
        self._chat.close()
        if self._ledger.requests:
            self._ledger.save()

    def _settled(self, prompt: Row, key: str) -> dict[str, object]:
        schema = json.loads(str(prompt["schema"]))
        # Where the server fails at the second request, the clip fails: a fallback would be for good, and this may
        # pass. The first answer is not asked for again then.
        first = self._journal.get(f"{key}{FIRST}")
        answers = [self._chat.ask(replies.first_request(prompt), schema) if first is None else Answer(**first)]  # type: ignore[arg-type]
        reason = why = self._why_not(answers[0])
        if reason is not None:
            if first is None:
                self._journal.add(f"{key}{FIRST}", asdict(answers[0]))
            answers.append(self._chat.ask(replies.second_request(prompt, answers[0].content, reason), schema))
            why = self._why_not(answers[1])
        return {**replies.status_of([answer.content for answer in answers], reason, why), **_taken(answers)}

    def _why_not(self, answer: Answer) -> str | None:
        return replies.why_not(answer.content, self._classes, self._max_chars)


def _taken(answers: Sequence[Answer]) -> Mapping[str, object]:
    return {
        "model": answers[-1].model,
        "mode": answers[-1].mode,
        "tokens_in": _sum([answer.tokens_in for answer in answers]),
        "tokens_out": _sum([answer.tokens_out for answer in answers]),
        "requests": sum(answer.requests for answer in answers),
        "seconds": round(sum(answer.seconds for answer in answers), 3),
    }


def _sum(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
