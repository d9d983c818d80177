"""The language of a dataset's words: found in its transcripts by `mer init`, and set in params.yaml.

It decides the language of the prompt and of the cues (`enrich.language`), the transcript that a text encoder reads
first (`language`), and which checkpoints of text and speech the full profiles name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal, get_args

from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from mer_pipeline.base.encoder import EncoderParams
from mer_pipeline.config.components import ENCODERS
from mer_pipeline.datasets.folder import is_chinese
from mer_pipeline.datasets.listing import Entry

Language = Literal["zh", "en"]
LANGUAGES: tuple[Language, ...] = get_args(Language)

# A sentence has a third to a quarter as many letters in Chinese as in English. So where half of what is said is
# Chinese, about a fifth of the letters are Chinese.
CHINESE_FROM = 0.2

# For each checkpoint of the full profiles that reads Chinese, one of the same size and kind that reads English.
ENGLISH = {
    "hf:hfl/chinese-roberta-wwm-ext-large@a25cc9e05974bd9687e528edd516f2cfdb3f5db9":
    "hf:FacebookAI/roberta-large@722cf37b1afa9454edce342e7895e588b6ff1d59",
    "hf:hfl/chinese-roberta-wwm-ext@5c58d0b8ec1d9014354d691c538661bf00bfdb44":
    "hf:FacebookAI/roberta-base@e2da8e2f811d1448a5b465c236feacd80ffbac7b",
    "hf:TencentGameMate/chinese-hubert-large@90cb660492214f687e60f5ca509b20edae6e75bd":
    "hf:facebook/hubert-large-ll60k@ff022d095678a2995f3c49bab18a96a9e553f782",
}  # fmt: skip
CHINESE = {english: chinese for chinese, english in ENGLISH.items()}


def find_language(entries: Iterable[Entry], usual: Language | None = None) -> tuple[Language, str]:
    """Find the language of a dataset's words.

    Args:
        entries: the clips. Of a clip with words in both languages the Chinese ones count, because a release of Chinese
            clips has an English translation, and no other has both.
        usual: the language where no clip has words; None: English.

    Returns:
        The language, and why it was chosen, for a message.

    Example:
        >>> find_language([Entry("a", zh="你好吗")])
        ('zh', '100 % of the letters in 1 transcript are Chinese')
    """
    texts = [text for entry in entries if (text := entry.zh or entry.en) is not None]
    letters = Counter(char for text in texts for char in text if char.isalpha())
    if not letters:
        because = "as in every release of this layout" if usual else "the default"
        return usual or "en", f"{because}; there is no transcript to tell"
    share = sum(count for char, count in letters.items() if is_chinese(char)) / letters.total()
    because = f"{100 * share:.0f} % of the letters in {len(texts)} transcript{'s' * (len(texts) > 1)} are Chinese"
    return "zh" if share >= CHINESE_FROM else "en", because


def set_language(params: CommentedMap, language: Language) -> list[str]:
    """Set the language in the content of a params file.

    An encoder whose checkpoint was trained on one language, and has no counterpart in `ENGLISH`, is left as it is.

    Args:
        params: the content of a profile; it is changed.
        language: of the words.

    Returns:
        The names of the text encoders that read the other language still.
    """
    params["enrich"]["language"] = language
    others = []
    counterparts = ENGLISH if language == "en" else CHINESE
    for name, section in params["encoders"].items():
        spec = section.get("checkpoint")
        if spec in counterparts:
            section["checkpoint"] = spec = DoubleQuotedScalarString(counterparts[spec])
        option = ENCODERS.params_of(section["family"], EncoderParams).model_fields.get("language")
        if option is None or section["input"] != "transcript" or section.get("language", option.default) == language:
            continue
        if spec is None or spec in {*ENGLISH, *CHINESE}:
            section["language"] = language
        else:
            others.append(name)
    return others
