"""The table `heard`: the words of clips that have no subtitle, as a Whisper checkpoint hears them.

    sound ─► log-mel ─► language ─► windows of 30 s ─► words with their times ─► one row

transformers decodes, by Whisper's own rules (Radford et al., 2022, arXiv:2212.04356, section 4.5). It decodes greedily
first. Where the result repeats itself, or where its mean log-probability is low, the window is decoded again at higher
temperatures. A window is taken to have no speech where the model says so and the log-probability is low too. We add one
rule: a clip whose words have a low log-probability in the end has no words, because these are mostly made up.

The random numbers of the higher temperatures begin at the same seed for every clip, and each clip is decoded alone. So
a clip's words do not depend on other clips, on the batch size or on the number of workers.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.errors import CheckpointError, ParamsError, Skip, did_you_mean
from mer_pipeline.base.transform import Source, Transform
from mer_pipeline.config.section import Fraction, Section
from mer_pipeline.media.sound import SAMPLE_RATE
from mer_pipeline.models.checkpoint import Checkpoint, loading, resolve, value_files
from mer_pipeline.models.huggingface import load_config, load_model, load_processor, load_tokenizer
from mer_pipeline.speech.track import Sound

if TYPE_CHECKING:
    import torch

TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)  # those of the paper; the first is greedy
SEED = 0  # of the higher temperatures, for every clip
WINDOW_FRAMES = 3000  # of the log-mel, 30 s
FRAMES = 100  # of the log-mel per second
NEEDED = ("no_timestamps_token_id", "decoder_start_token_id", "eos_token_id")  # of the generation configuration
AUTO = "auto"
HAS_SUBTITLE = "the dataset has its words"
NO_WORDS = "no words heard"
TIME = [("text", pa.string()), ("start", pa.float32()), ("end", pa.float32())]


class TranscriptParams(Section):
    """The words of clips that have no subtitle. A clip's own subtitle is never replaced."""

    backend: Literal["none", "whisper"] = "none"  # none: such clips have no words
    checkpoint: Checkpoint | None = None  # of a Whisper model: dir:PATH or hf:org/name@rev
    # auto: the model finds the language of each clip; else a code that the model knows, such as en, zh or de
    language: Annotated[str, Field(pattern=r"^([a-z]{2,3}|auto)$")] = AUTO
    # A window has no speech if the model's probability of that is above this, and the log-probability is low
    no_speech_threshold: Fraction = 0.6
    logprob_threshold: Annotated[float, Field(le=0.0)] = -1.0  # a lower mean log-probability of the tokens is low
    # Tokens that can be compressed by more than this repeat themselves; the paper's 2.4 is for text instead of tokens
    compression_ratio_threshold: Annotated[float, Field(gt=0.0)] = 1.35

    @model_validator(mode="after")
    def _complete(self) -> TranscriptParams:
        if self.backend != "none" and self.checkpoint is None:
            raise ValueError("checkpoint is missing: backend 'whisper' needs it, e.g. hf:openai/whisper-base")
        return self

    @property
    def used(self) -> TranscriptParams | Section:
        """This section where a recogniser is used, else an empty one, which names no checkpoint to lock."""
        return Section() if self.backend == "none" else self


def _once(encode: Callable[..., Any]) -> Callable[..., Any]:
    """Return an encoder that keeps its last result.

    transformers encodes a window anew to find its language, to look for speech and at every temperature. It also asks
    for the encoder's attention, which nothing uses, and which needs gigabytes in a large model.

    Args:
        encode: the method `forward` of the encoder.
    """
    kept: list[tuple[torch.Tensor, Any]] = []

    @wraps(encode)
    def forward(input_features: torch.Tensor, **options: object) -> Any:
        del options  # they choose what is returned beside the states
        if not kept or not kept[0][0].equal(input_features):
            kept[:] = [(input_features, encode(input_features))]
        return kept[0][1]

    return forward


@dataclass(frozen=True)
class Heard:
    """The input of the model for one clip.

    Attributes:
        mel: (1, mels, frames) float32, the log-mel; silence fills it up to 3000 frames.
        mask: (1, frames), 1 where the clip has sound.
    """

    mel: torch.Tensor
    mask: torch.Tensor


class Transcribe(Transform[Heard]):
    """The transform from a clip's sound to its words.

    A window whose words have times by Whisper's alignment (`alignment_heads` of the generation configuration) gives one
    entry of `times` for each word. With a checkpoint that has no alignment heads, each entry is one segment.

    Args:
        params: the section `transcript` of params.yaml, with a checkpoint.

    Raises:
        CheckpointError: the checkpoint's folder is missing, unfit, or not a Whisper model.
    """

    name = "heard"
    sources = (Source("subtitles", ("zh", "en")), Source("audio", ("pcm",)))
    schema = pa.schema(
        [
            pa.field("text", pa.string()),
            pa.field("language", pa.string()),  # a code of Whisper's, such as "de"
            pa.field("language_probability", pa.float32()),  # null where the language was given
            pa.field("confidence", pa.float32()),  # geometric mean of the tokens' probabilities: exp(mean log p)
            pa.field("unit", pa.string()),  # of `times`: "word" or "segment"
            pa.field("times", pa.list_(pa.struct(TIME))),  # seconds from the beginning of the clip
        ]
    )
    uses_torch = True

    def __init__(self, params: TranscriptParams) -> None:
        assert params.checkpoint is not None
        self.folder = resolve(params.checkpoint)
        load_config(self.folder, ("whisper",))
        # The fingerprint has the content of the checkpoint's files, and so not its name.
        self.params: TranscriptParams = params.model_copy(update={"checkpoint": None, "backend": "none"})

    def files(self) -> Sequence[Path]:
        """The files of the checkpoint: weights, configurations and tokeniser."""
        return value_files(self.folder)

    def setup(self, device: torch.device) -> None:
        """Load the model onto a device, its feature extractor and its tokeniser.

        Raises:
            CheckpointError: the files cannot be read or are not complete, or cannot write words with times.
            ParamsError: the model does not know the language that params.yaml names.
        """
        import transformers

        self._device = device
        model = load_model(transformers.WhisperForConditionalGeneration, self.folder, device, ("proj_out.",))
        model.set_attn_implementation("eager")  # the only one that gives the attention which words are aligned by
        model.get_encoder().forward = _once(model.get_encoder().forward)
        self._model: Any = model
        self._config: Any = model.generation_config
        for name in NEEDED:
            if getattr(self._config, name, None) is None:
                raise CheckpointError(
                    f"{self.folder}: its generation_config.json has no `{name}`, which words with times need; put the "
                    "file of this checkpoint there"
                )
        self._extractor: Any = load_processor(transformers.WhisperFeatureExtractor.from_pretrained, self.folder)
        self._tokenizer: Any = load_tokenizer(self.folder, len(model.get_input_embeddings().weight))
        with loading(self.folder, "its feature extractor does not fit the model"):
            mels = self._features(np.zeros(SAMPLE_RATE, np.float32)).mel.shape[1]
        if mels != model.config.num_mel_bins:
            raise CheckpointError(f"{self.folder}: its feature extractor makes {mels} mels, not those of the model")
        self._aligned = getattr(self._config, "alignment_heads", None) is not None
        known = getattr(self._config, "lang_to_id", None) if getattr(self._config, "is_multilingual", True) else None
        self._languages = {token.strip("<|>"): at for token, at in (known or {}).items()}
        codes = self._languages or {"en": 0}  # a model without languages is an English one
        if self.params.language not in {AUTO, *codes}:
            raise ParamsError(
                f"transcript.language: {self.folder} does not know '{self.params.language}'"
                f"{did_you_mean(self.params.language, codes)}; write auto or one of its codes"
            )

    def prepare(self, clip: Clip) -> Heard:
        """Make the log-mel of the clip's whole sound.

        Raises:
            Skip: the clip has a subtitle, or no sound.
        """
        if clip.maybe("subtitles") is not None:
            raise Skip(HAS_SUBTITLE)
        return self._features(Sound.of(clip.need("audio")).samples)

    def infer(self, items: Sequence[Heard]) -> list[Row | Skip]:
        """Transcribe each clip on its own."""
        return [self._transcribe(item) for item in items]

    def _features(self, samples: np.ndarray) -> Heard:
        made = self._extractor(
            samples,
            sampling_rate=SAMPLE_RATE,
            return_tensors="pt",
            padding="max_length",
            truncation=False,
            return_attention_mask=True,
        )
        return Heard(made["input_features"].float(), made["attention_mask"])

    def _transcribe(self, item: Heard) -> Row | Skip:
        import torch

        mel, mask = item.mel.to(self._device), item.mask.to(self._device)
        with torch.no_grad(), torch.random.fork_rng(), warnings.catch_warnings():
            # Of the silence that fills up a window; see below.
            warnings.filterwarnings("ignore", r"std\(\): degrees of freedom", UserWarning)
            torch.manual_seed(SEED)
            language, probability = self._language(mel)
            of_language = {"language": language, "task": "transcribe"} if self._languages else {}
            made = self._model.generate(
                mel,
                attention_mask=mask,
                return_timestamps=True,
                return_segments=True,
                return_token_timestamps=self._aligned,
                output_logits=True,
                return_dict_in_generate=True,
                num_beams=1,
                condition_on_prev_tokens=False,
                temperature=TEMPERATURES,
                no_speech_threshold=self.params.no_speech_threshold,
                logprob_threshold=self.params.logprob_threshold,
                compression_ratio_threshold=self.params.compression_ratio_threshold,
                **of_language,
            )
        # transformers also decodes the silence that fills up a window; the paper's code does not.
        segments = [segment for segment in made["segments"][0] if segment["start"] < int(mask.sum()) / FRAMES]
        text = "".join(self._tokenizer.decode(self._text_of(segment)) for segment in segments).strip()
        if not any(map(str.isalnum, text)):
            return Skip(NO_WORDS)
        mean = np.concatenate([self._log_probabilities(segment) for segment in segments]).mean(dtype=np.float64)
        if mean < self.params.logprob_threshold:  # at the highest temperature Whisper keeps whatever comes out
            return Skip(NO_WORDS)
        return {
            "text": text,
            "language": language,
            "language_probability": probability,
            "confidence": float(np.exp(mean)),
            "unit": "word" if self._aligned else "segment",
            "times": [time for segment in segments for time in self._times(segment, language)],
        }

    def _language(self, mel: torch.Tensor) -> tuple[str, float | None]:
        """The clip's language by its first 30 s, and its probability among all languages; null where it is given."""
        import torch

        if self.params.language != AUTO:
            return self.params.language, None
        if not self._languages:
            return "en", None
        start = torch.tensor([[self._config.decoder_start_token_id]], device=self._device)
        logits = self._model(input_features=mel[:, :, :WINDOW_FRAMES], decoder_input_ids=start).logits[0, -1]
        chances = logits[list(self._languages.values())].float().softmax(dim=0)
        best = int(chances.argmax())
        return list(self._languages)[best], float(chances[best])

    def _spoken(self, segment: Mapping[str, Any]) -> list[int]:
        """The places of a segment's tokens that are text. Marks of times, of the language and of the end come last."""
        return [at for at, token in enumerate(segment["tokens"].tolist()) if token < self._tokenizer.eos_token_id]

    def _text_of(self, segment: Mapping[str, Any]) -> list[int]:
        return [int(segment["tokens"][at]) for at in self._spoken(segment)]

    def _log_probabilities(self, segment: Mapping[str, Any]) -> np.ndarray:
        """The model's own log-probability of each token of a segment's text, (tokens,) float32."""
        import torch

        whole, logits = segment["result"]["sequences"], segment["result"]["logits"]
        first = segment["idxs"][0] - (len(whole) - len(logits))
        found = [
            torch.log_softmax(logits[first + at].float(), dim=-1)[segment["tokens"][at]] for at in self._spoken(segment)
        ]
        return np.array(found, np.float32)

    def _times(self, segment: Mapping[str, Any], language: str) -> Iterator[Row]:
        """Each word of a segment with its beginning and end, or the segment itself where words cannot be aligned."""
        from transformers.models.whisper.tokenization_whisper import LANGUAGES, _combine_tokens_into_words

        spoken, tokens = self._spoken(segment), self._text_of(segment)
        if not tokens:
            return
        if not self._aligned:
            text = self._tokenizer.decode(tokens).strip()
            yield {"text": text, "start": float(segment["start"]), "end": float(segment["end"])}
            return
        ends = segment["token_timestamps"].tolist()  # of each token; it begins where the one before it ends
        words, _, places = _combine_tokens_into_words(self._tokenizer, tokens, LANGUAGES.get(language, "english"))
        for word, at in zip(words, places, strict=True):
            first, last = spoken[at[0]], spoken[at[-1]]
            start = ends[first - 1] if first else float(segment["start"])
            yield {"text": word.strip(), "start": round(start, 2), "end": round(ends[last], 2)}
