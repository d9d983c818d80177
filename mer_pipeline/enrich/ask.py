"""The backend `openai`: ask a language model on a server about every clip.

Replies cost money. Therefore each reply is written to the journal at once, and no prompt is sent again that has one.
"""

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

FIRST = ":first"  # ends the key of a first answer that did not fit; the journal keeps it until the second one comes


class ByServerParams(LanguageModelParams):
    """A language model on any server with OpenAI's API: vLLM, llama.cpp, Ollama, or a provider."""

    by_server: ClassVar[bool] = True

    temperature: Annotated[float, Field(ge=0.0, le=2.0)] = 0.0  # of the model's sampling; 0: greedy
    seed: Seed = 0  # of the model's sampling


class ByServer(Backend):
    """The backend that asks a language model on a server about every clip."""

    Params = ByServerParams
    params: ByServerParams

    def replier(
        self, classes: tuple[str, ...], settings: LlmSettings, journal: Journal | None, ledger: Ledger | None
    ) -> Transform[object]:
        """Make the transform that asks the server."""
        return Ask(self.params, classes, settings, journal, ledger)  # type: ignore[return-value]


def open_journal() -> Journal:
    """Open the project's journal of replies and first answers. Entries of an older version's form are left out."""
    shapes = ({*replies.SCHEMA.names}, {field.name for field in fields(Answer)})
    return Journal(fits=lambda entry: set(entry) in shapes)


def clear_kept(journal: Journal, folder: Path) -> None:
    """Remove the replies from the journal that the table of replies has, because the store then has them too.

    Args:
        journal: the journal.
        folder: the folder of the table `replies`.
    """
    kept = read_folder(folder, ["asked"])["asked"].to_pylist()
    journal.clear({*kept, *(f"{asked}{FIRST}" for asked in kept)})


class Ask(Transform[Row]):
    """The transform from a prompt to a reply. `prepare` sends the requests.

    If the server fails, the clip is put into quarantine, nothing is stored for it, and the next run asks again.

    Args:
        params: the section `enrich` of params.yaml.
        classes: the class names, in order.
        settings: where the server is and how often it is asked.
        journal: the replies that no store has yet; by default the project's journal.
        ledger: counts requests and tokens; by default a new one.

    Raises:
        UsageError: if the key or the address of the server is not usable.
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
        """Ask for a reply, and once more if the first answer does not fit. Clips with equal prompts share one reply.

        Raises:
            Skip: if the clip has no prompt.
            Transient: if the server did not answer.
            UsageError: if the server cannot be used, for instance because of a wrong address or key.
            StageError: if the server stopped answering.
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
        """Return the rows as they are: `prepare` has done all the work."""
        return list(items)

    def close(self) -> None:
        """Close the connections, and write the ledger if any request was sent."""
        self._chat.close()
        if self._ledger.requests:
            self._ledger.save()

    def _settled(self, prompt: Row, key: str) -> dict[str, object]:
        schema = json.loads(str(prompt["schema"]))
        # If the server fails at the second request, the clip fails. A fallback would be stored for good, but the
        # failure may pass. The next run finds the first answer in the journal and does not ask for it again.
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
