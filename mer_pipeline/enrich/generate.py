"""The backend `transformers`: a language model from a checkpoint writes the replies, in this process.

It generates greedily, in batches of a fixed number of rows. A prompt is padded on the left to a length that depends on
this prompt alone, so that a reply does not depend on the other prompts of its batch (`batching.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mer_pipeline.base.batching import forward_rows
from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.errors import CheckpointError, Skip
from mer_pipeline.base.transform import Transform
from mer_pipeline.enrich import replies
from mer_pipeline.enrich.backend import Backend, LanguageModelParams
from mer_pipeline.models.checkpoint import Checkpoint, loading, resolve, value_files
from mer_pipeline.models.huggingface import load_model, load_tokenizer
from mer_pipeline.store.fingerprint import names_of, sha256_of
from mer_pipeline.tables.rows import digest

if TYPE_CHECKING:
    import torch

    from mer_pipeline.base.runtime import LlmSettings
    from mer_pipeline.enrich.journal import Journal
    from mer_pipeline.enrich.ledger import Ledger

STEP = 64  # padded lengths are multiples of this


class ByCheckpointParams(LanguageModelParams):
    """A language model from a checkpoint, in this process. It generates greedily."""

    model: Checkpoint  # dir:PATH or hf:org/name@rev

    @property
    def checkpoint(self) -> str:
        """The spec of the checkpoint whose files are in models.lock."""
        return self.model


class ByCheckpoint(Backend):
    """The backend that asks a language model in this process about every clip."""

    Params = ByCheckpointParams
    params: ByCheckpointParams

    def replier(
        self, classes: tuple[str, ...], settings: LlmSettings, journal: Journal | None, ledger: Ledger | None
    ) -> Transform[object]:
        """Make the transform that generates replies."""
        del settings, journal, ledger
        return Generate(self.params, classes)  # type: ignore[return-value]


@dataclass(frozen=True)
class Conversation:
    """One request to the model.

    Attributes:
        prompt: the clip's row of the table `prompts`.
        tokens: the token ids of the messages, by the checkpoint's chat template.
    """

    prompt: Row
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class Said:
    """An answer of the model.

    Attributes:
        text: what the model wrote.
        tokens_in, tokens_out: how many tokens were read and written.
    """

    text: str
    tokens_in: int
    tokens_out: int


class Generate(Transform[Conversation]):
    """The transform from a prompt to a reply."""

    name = "replies"
    sources = (replies.SOURCE,)
    schema = replies.SCHEMA
    external_response = True
    uses_torch = True
    batch_rows = 4

    def __init__(self, params: ByCheckpointParams, classes: tuple[str, ...]) -> None:
        self.folder = resolve(params.model)
        # The fingerprint has the content of the checkpoint's files, and so not its name.
        self.params: replies.Sampling = replies.Sampling(
            backend=params.backend, model="", max_tokens=params.max_tokens, temperature=0.0, seed=0
        )
        self._classes, self._max_chars = classes, params.max_chars

    def files(self) -> Sequence[Path]:
        """The files of the checkpoint: weights, configuration, tokeniser and chat template."""
        return value_files(self.folder)

    def setup(self, device: torch.device) -> None:
        """Load the model onto a device, and its tokeniser.

        Raises:
            CheckpointError: if the files cannot be read or are not complete, or there is no chat template.
        """
        import transformers

        self._device = device
        self._content = digest({name: sha256_of(path) for name, path in names_of(self.files()).items()})
        self._model = load_model(transformers.AutoModelForCausalLM, self.folder, device)
        self._tokenizer = load_tokenizer(self.folder, len(self._model.get_input_embeddings().weight))
        if self._tokenizer.chat_template is None:
            raise CheckpointError(f"{self.folder} has no chat template; take one that was tuned to instructions")
        example: Row = {"system": "system", "user": "user"}
        with loading(self.folder, "its chat template cannot write a prompt"):
            self._conversation(example, replies.second_request(example, "answer", "reason"))
        ends = self._model.generation_config.eos_token_id or self._tokenizer.eos_token_id
        self._ends = set(ends) if isinstance(ends, list) else {ends}
        pad = self._tokenizer.pad_token_id
        self._pad = pad if pad is not None else next((end for end in self._ends if end is not None), 0)
        self._length = int(getattr(self._model.config, "max_position_embeddings", 1 << 30))

    def prepare(self, clip: Clip) -> Conversation:
        """Turn the prompt into tokens by the checkpoint's chat template.

        Raises:
            Skip: if the clip has no prompt, or the prompt and a reply are longer than the model can read.
        """
        prompt = clip.need("prompts")
        item = self._conversation(prompt, replies.first_request(prompt))
        if self.bucket(item) + self.params.max_tokens > self._length:
            raise Skip(f"the prompt and {self.params.max_tokens} tokens are longer than the model's {self._length}")
        return item

    def bucket(self, item: Conversation) -> int:
        """Return the padded length in tokens."""
        return -(-len(item.tokens) // STEP) * STEP

    def infer(self, items: Sequence[Conversation]) -> list[Row | Skip]:
        """Generate an answer to each prompt, and a second one where the first does not fit."""
        first = self._generate(items)
        whys = [replies.why_not(one.text, self._classes, self._max_chars) for one in first]
        again = {
            at: self._conversation(items[at].prompt, replies.second_request(items[at].prompt, first[at].text, why))
            for at, why in enumerate(whys)
            if why is not None
        }
        by_length: dict[int, list[int]] = {}
        for at, item in again.items():
            if self.bucket(item) + self.params.max_tokens <= self._length:
                by_length.setdefault(self.bucket(item), []).append(at)
        second = {
            at: said
            for ats in by_length.values()
            for at, said in zip(ats, self._generate([again[at] for at in ats]), strict=True)
        }
        return [
            self._row(item, [first[at], *([second[at]] if at in second else [])], whys[at])
            for at, item in enumerate(items)
        ]

    def _conversation(self, prompt: Row, messages: replies.Messages) -> Conversation:
        text = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return Conversation(prompt, tuple(self._tokenizer(text, add_special_tokens=False)["input_ids"]))

    def _generate(self, items: Sequence[Conversation]) -> list[Said]:
        """Generate the answers to conversations of one bucket."""
        import torch

        length = self.bucket(items[0])
        ids = torch.tensor([(self._pad,) * (length - len(item.tokens)) + item.tokens for item in items])
        masks = torch.tensor([[0] * (length - len(item.tokens)) + [1] * len(item.tokens) for item in items])
        written = [
            row[length:].tolist() for row in forward_rows(self._network, [ids, masks], self.batch_rows, self._device)
        ]
        said = []
        for item, tokens in zip(items, written, strict=True):
            end = next((at for at, token in enumerate(tokens) if token in self._ends), len(tokens))
            said.append(Said(self._tokenizer.decode(tokens[:end], skip_special_tokens=True), len(item.tokens), end))
        return said

    def _network(self, ids: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        tokens: torch.Tensor = self._model.generate(
            input_ids=ids,
            attention_mask=masks,
            do_sample=False,
            num_beams=1,
            max_new_tokens=self.params.max_tokens,
            pad_token_id=self._pad,
        )
        return tokens

    def _row(self, item: Conversation, answers: Sequence[Said], reason: str | None) -> Row:
        texts = [answer.text for answer in answers]
        why = reason if len(texts) == 1 else replies.why_not(texts[-1], self._classes, self._max_chars)
        return {
            **replies.status_of(texts, reason, why),
            "model": self._content,
            "mode": "text",
            "asked": replies.asked(item.prompt, self.params),
            "tokens_in": sum(answer.tokens_in for answer in answers),
            "tokens_out": sum(answer.tokens_out for answer in answers),
            "requests": len(answers),
            "seconds": None,  # not measured: rows of two runs would differ
        }
