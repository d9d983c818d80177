"""`char-ngram`: an encoder of text by hashed n-grams of characters, for any language; it needs no model.

Chinese has no blanks between words, so that n-grams of characters stand for its words. In English they stand for stems
and endings of words. The hashing needs no vocabulary, so that the vector of a clip depends on its own text alone.
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

NGRAMS = (1, 4)  # the shortest and the longest n-gram, in characters


class CharNgramParams(EncoderParams):
    """Hashed character n-grams (1 to 4)."""

    input: Words  # the table of words that is read
    language: Language = "zh"  # of the transcript; for a clip without words in this language, the other
    dim: Count = 512  # length of the hashed vector


class CharNgram(Encoder[str]):
    """An encoder of text. An item is the text of one clip, and its vector has unit length."""

    Params = CharNgramParams
    params: CharNgramParams

    def __init__(self, name: str, params: CharNgramParams) -> None:
        super().__init__(name, params, params.dim)

    @cached_property
    def _hasher(self) -> HashingVectorizer:
        """The hasher. It is made at its first use: if all rows are in the store, scikit-learn is not loaded."""
        return make_hasher(self.params.dim)

    def prepare(self, clip: Clip) -> str:
        """Return the clip's text.

        Raises:
            Skip: if the clip has no words.
        """
        return text_of(clip, self.params.input, self.params.language)

    def infer(self, items: Sequence[str]) -> list[Row | Skip]:
        """Compute the vector of each text."""
        return [self.row(vector) for vector in self._hasher.transform(items).toarray().astype(np.float32)]


def make_hasher(dim: int) -> HashingVectorizer:
    """Make a hasher that turns texts into vectors of hashed n-grams, scaled to unit length.

    The n-grams lie within words. Their counts are added with a sign that the hash decides (Weinberger et al., 2009).

    Args:
        dim: the length of a vector.
    """
    from sklearn.feature_extraction.text import HashingVectorizer

    return HashingVectorizer(analyzer="char_wb", ngram_range=NGRAMS, n_features=dim, norm="l2", alternate_sign=True)
