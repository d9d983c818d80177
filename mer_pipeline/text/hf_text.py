"""`hf-text`: encoders of text with Hugging Face models, BERT-like encoders as well as decoder language models.

Hidden states are summed over the chosen layers and averaged over the tokens of the text. Padding and special tokens
([CLS], <s>, ...) do not enter the average.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mer_pipeline.base.batching import forward_rows
from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.encoder import ModelParams, PooledEncoder
from mer_pipeline.base.errors import Skip
from mer_pipeline.config.section import Count
from mer_pipeline.models.checkpoint import resolve, value_files
from mer_pipeline.models.huggingface import (
    Layers,
    check_layers,
    hidden_states,
    load_config,
    load_model,
    load_tokenizer,
    sum_layers,
)
from mer_pipeline.text.words import Language, Words, text_of

if TYPE_CHECKING:
    import torch

MODELS = ("bert", "roberta", "xlm-roberta", "electra", "deberta-v2", "llama", "qwen2", "qwen3", "mistral", "gemma2")
STEP = 16  # padded lengths are multiples of this


@dataclass(frozen=True)
class Tokens:
    """The tokens of one text.

    Attributes:
        ids: the token ids, with special tokens.
        words: for each token whether it belongs to the text, that is, is not a special token.
    """

    ids: list[int]
    words: list[bool]


class HfTextParams(ModelParams):
    """A BERT-like encoder or a decoder language model from a Hugging Face folder."""

    input: Words  # the table of words that is read
    layers: Layers = 1  # sum of the last n hidden layers, or of these (0 = embeddings)
    language: Language = "zh"  # of the transcript; for a clip without words in this language, the other
    max_tokens: Count = 512  # longer texts are cut
    prefix: str = ""  # is put before each text and read as part of it, such as "query: " of E5


class HfText(PooledEncoder[Tokens]):
    """An encoder of text by the mean of its tokens' hidden states."""

    Params = HfTextParams
    params: HfTextParams
    uses_torch = True
    batch_rows = 8

    def __init__(self, name: str, params: HfTextParams) -> None:
        self.folder = resolve(params.checkpoint)
        self.config = load_config(self.folder, MODELS)
        check_layers(params.layers, self.config.num_hidden_layers, self.folder)
        super().__init__(name, params, self.config.hidden_size)

    def key(self) -> Mapping[str, object]:
        """Leave the configuration out of the key, because its file is one of `files`."""
        return {"config": None}

    def files(self) -> Sequence[Path]:
        """The files of the checkpoint that decide its vectors: weights, configuration and tokeniser."""
        return value_files(self.folder)

    def setup(self, device: torch.device) -> None:
        """Load the model onto a device, and its tokeniser.

        Raises:
            CheckpointError: if the model's files cannot be read, or are not complete.
        """
        import transformers

        self._device = device
        self._model = load_model(transformers.AutoModel, self.folder, device)
        self._tokenizer = load_tokenizer(self.folder, len(self._model.get_input_embeddings().weight))

    def prepare(self, clip: Clip) -> Tokens:
        """Turn the clip's text into tokens. A text longer than `max_tokens`, or than the model can read, is cut.

        Raises:
            Skip: if the clip has no words.
        """
        positions = getattr(self.config, "max_position_embeddings", None) or self.params.max_tokens
        coded = self._tokenizer(
            self.params.prefix + text_of(clip, self.params.input, self.params.language),
            truncation=True,
            max_length=min(self.params.max_tokens, positions - 2),
            return_special_tokens_mask=True,
        )
        words = [not special for special in coded["special_tokens_mask"]]
        if not any(words):
            raise Skip("no words")
        return Tokens(coded["input_ids"], words)

    def bucket(self, item: Tokens) -> int:
        """Return the padded number of tokens."""
        return -(-len(item.ids) // STEP) * STEP

    def infer(self, items: Sequence[Tokens]) -> list[Row | Skip]:
        """Compute hidden states in groups of a fixed number of rows, and average those of each text's tokens."""
        import torch

        length = self.bucket(items[0])
        # The padding must have the configuration's padding id, because RoBERTa counts positions by it.
        ids = torch.full((len(items), length), getattr(self.config, "pad_token_id", None) or 0)
        mask = torch.zeros_like(ids)
        for at, item in enumerate(items):
            ids[at, : len(item.ids)] = torch.tensor(item.ids)
            mask[at, : len(item.ids)] = 1
        states = forward_rows(self._network, [ids, mask], self.batch_rows, self._device)
        return [
            self.pooled(state[: len(item.ids)].float().numpy()[np.array(item.words)])
            for item, state in zip(items, states, strict=True)
        ]

    def _network(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Compute the chosen hidden states: (rows, tokens) to (rows, tokens, dim)."""
        output = self._model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        return sum_layers(hidden_states(output), self.params.layers)
