"""`openai`: ask a server about every clip. The answers are bought, so none is lost and none is asked for twice."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from mer_pipeline.clips import Clip, Row
from mer_pipeline.enrich import replies
from mer_pipeline.enrich.chat import Answer, Chat
from mer_pipeline.enrich.journal import Journal
from mer_pipeline.enrich.ledger import Ledger
from mer_pipeline.errors import Skip
from mer_pipeline.params import EnrichParams
from mer_pipeline.runtime import LlmSettings
from mer_pipeline.transform import Transform


class Ask(Transform[Row]):
    """A prompt to a reply. A clip whose server fails is quarantined and not remembered; it is asked next time.

    Args:
        params: which model.
        classes: in order.
        settings: where the server is.
        journal: of replies that no store has yet.
        ledger: counts.
    """

    name = "replies"
    sources = (replies.SOURCE,)
    schema = replies.SCHEMA
    bought = True

    def __init__(
        self,
        params: EnrichParams,
        classes: tuple[str, ...],
        settings: LlmSettings,
        journal: Journal | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        self.params: replies.Sampling = replies.sampling_of(params)
        self.in_flight = settings.in_flight
        self._classes, self._max_chars = classes, params.max_chars
        self._journal, self._ledger = journal, ledger or Ledger()
        body = {"model": params.model, "max_tokens": params.max_tokens, "temperature": params.temperature}
        self._chat = Chat(settings, {**body, "seed": params.seed}, self._ledger)

    def prepare(self, clip: Clip) -> Row:
        """Ask, once more where the answer does not fit.

        Raises:
            Transient: the server did not answer.
            UsageError, StageError: it never will.
        """
        prompt = clip.need("prompts")
        key = replies.asked(prompt, self.params)
        row = self._journal.get(key) if self._journal is not None else None
        if row is None:
            row = self._settled(prompt) | {"asked": key}
            if self._journal is not None:
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

    def _settled(self, prompt: Row) -> dict[str, object]:
        schema = json.loads(str(prompt["schema"]))
        answers = [self._chat.ask(replies.first_request(prompt), schema)]
        reason = why = self._why_not(answers[0])
        if reason is not None:
            # Where the server fails now, the clip fails: a fallback would be for good, and this may pass.
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
