"""`char-ngram`: hashed character n-grams, without any model or download, for any language and script.

Chinese has no blanks between words, so n-grams of characters carry them; in English they carry stems and
endings. scikit-learn's HashingVectorizer needs no vocabulary, so a row depends on its own text alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.encoder import Encoder, EncoderParams
from mer_pipeline.base.errors import Skip
from mer_pipeline.config.section import Count
from mer_pipeline.text.words import Language, Words, text_of

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import HashingVectorizer

NGRAMS = (1, 4)


class CharNgramParams(EncoderParams):
    """Hashed character n-grams (1 to 4)."""

    input: Words  # the table of words that is read
    language: Language = "zh"  # of the transcript; the other where a clip has no words in it
    dim: Count = 512  # length of the hashed vector


class CharNgram(Encoder[str]):
    """Text to a vector of unit length."""

    Params = CharNgramParams
    params: CharNgramParams

    def __init__(self, name: str, params: CharNgramParams) -> None:
        super().__init__(name, params, params.dim)

    @cached_property
    def _hasher(self) -> HashingVectorizer:
        """Made when it is first used: where every row is known, scikit-learn need not be loaded."""
        return make_hasher(self.params.dim)

    def prepare(self, clip: Clip) -> str:
        """The clip's text."""
        return text_of(clip, self.params.input, self.params.language)

    def infer(self, items: Sequence[str]) -> list[Row | Skip]:
        """Hash; each text on its own."""
        return [self.row(vector) for vector in self._hasher.transform(items).toarray().astype(np.float32)]


def make_hasher(dim: int) -> HashingVectorizer:
    """Signed hashing (Weinberger et al. 2009) of n-grams within words, scaled to unit length."""
    from sklearn.feature_extraction.text import HashingVectorizer

    return HashingVectorizer(analyzer="char_wb", ngram_range=NGRAMS, n_features=dim, norm="l2", alternate_sign=True)
