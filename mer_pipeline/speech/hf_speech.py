"""`hf-speech`: encoders of sound at 16 kHz with HuBERT, wav2vec 2.0, WavLM, data2vec or Whisper.

The hidden states are averaged over time, and padding does not enter the average (`sound_model.py`). Whisper's encoder
computes them on its window of 30 s, or on the clip's own length where params.yaml says so (`whisper.py`). Two options
give one vector for each chunk instead of one for each step: `states: decoder` (`whisper_decoder.py`), and
`output: scores`, which is what a checkpoint that classifies sound says, as the judge `hf-audio`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.encoder import ModelParams, PooledEncoder
from mer_pipeline.base.errors import ParamsError, Skip
from mer_pipeline.media.sound import SAMPLE_RATE
from mer_pipeline.models.checkpoint import resolve, value_files
from mer_pipeline.models.huggingface import Layers, check_layers, hidden_states, load_model, sum_layers
from mer_pipeline.speech.fixed_chunks import FixedChunks
from mer_pipeline.speech.sound_model import Chunks, SoundModel, times_of
from mer_pipeline.speech.track import Sound
from mer_pipeline.speech.whisper import OwnLength
from mer_pipeline.speech.whisper_decoder import AUTO, Prompted

if TYPE_CHECKING:
    import torch

# Weights that a checkpoint that classifies may lack, because only training uses them.
UNUSED_BY_SCORES = tuple(f"{kind}.masked_spec_embed" for kind in ("hubert", "wav2vec2", "wavlm", "data2vec_audio"))


class HfSpeechParams(ModelParams):
    """HuBERT, wav2vec 2.0, WavLM, data2vec or Whisper from a Hugging Face folder."""

    input: Literal["audio"]  # the sound track
    layers: Layers = 1  # sum of the last n hidden layers, or of these (0 = embeddings)
    chunk_seconds: Annotated[float, Field(gt=0.1)] = 20.0  # longer clips are cut into chunks
    # equal: chunks of one length, each normalised by itself. fixed: the sound is normalised as a whole and cut every
    # chunk_seconds, as the official baseline does; not for Whisper
    chunks: Literal["equal", "fixed"] = "equal"
    window: Literal["full", "clip"] = "full"  # of Whisper: 30 s filled up with silence, or the clip's own length
    states: Literal["encoder", "decoder"] = "encoder"  # of Whisper: of each 20 ms, or one of each chunk by its decoder
    # of Whisper's decoder: a code that the model knows, such as zh or en; auto: the model finds it in each chunk
    language: Annotated[str, Field(pattern=r"^([a-z]{2,3}|auto)$")] = AUTO
    # scores: the logarithms of the probabilities that the checkpoint's own classifier gives its labels
    output: Literal["features", "scores"] = "features"

    @model_validator(mode="after")
    def _fits(self) -> HfSpeechParams:
        if self.language != AUTO and self.states == "encoder":
            raise ValueError("language is of Whisper's decoder; add states: decoder, or take language out")
        if self.output == "scores" and (self.layers, self.window, self.states) != (1, "full", "encoder"):
            raise ValueError("output 'scores' is of the whole model; take layers, window and states out")
        return self


class HfSpeech(PooledEncoder[Chunks]):
    """An encoder of sound by the mean, and on request the standard deviation, of vectors over time."""

    Params = HfSpeechParams
    params: HfSpeechParams
    uses_torch = True
    cpu_rows = 1  # as fast on a core as four at a time, and no row is a copy that fills a batch up

    def __init__(self, name: str, params: HfSpeechParams) -> None:
        self.sound = SoundModel(resolve(params.checkpoint))
        if self.sound.is_whisper and params.window == "clip":
            self.sound = OwnLength(self.sound.folder)
        if not self.sound.is_whisper and params.chunks == "fixed":
            self.sound = FixedChunks(self.sound.folder)
        config, decoder = self.sound.config, params.states == "decoder"
        if decoder and not self.sound.is_whisper:
            raise ParamsError(f"encoders.{name}: states 'decoder' is of Whisper, and {self.sound.folder} is none")
        if self.sound.is_whisper:
            layers = config.decoder_layers if decoder else config.encoder_layers
        else:
            layers = config.num_hidden_layers
        check_layers(params.layers, layers, self.sound.folder)
        self.batch_rows = self.sound.batch_rows
        dim = config.d_model if self.sound.is_whisper else config.hidden_size
        super().__init__(name, params, config.num_labels if params.output == "scores" else dim)

    def key(self) -> Mapping[str, object]:
        """Leave the configuration out of the key, because its file is one of `files`."""
        return {"sound.config": None}

    def files(self) -> Sequence[Path]:
        """The files of the checkpoint that decide its vectors."""
        return value_files(self.sound.folder)

    def setup(self, device: torch.device) -> None:
        """Load the model onto a device, and its feature extractor.

        Raises:
            CheckpointError: if the files cannot be read, or are not complete.
            ParamsError: the model does not know the language.
        """
        import transformers

        folder = self.sound.folder
        if self.params.output == "scores":
            # No weight of the classifier may be missing, or the scores would be random.
            model_class = transformers.AutoModelForAudioClassification
            self.sound.use(load_model(model_class, folder, device, UNUSED_BY_SCORES), device)
        elif self.params.states == "decoder":
            whole = load_model(transformers.WhisperForConditionalGeneration, folder, device, ("proj_out.",))
            self._decoder = Prompted(whole, folder, self.params.language)
            self.sound.use(whole.get_encoder(), device)
        else:
            model = load_model(transformers.AutoModel, folder, device)
            self.sound.use(model.get_encoder() if self.sound.is_whisper else model, device)

    def prepare(self, clip: Clip) -> Chunks:
        """Cut the sound into chunks and normalise it as the checkpoint says.

        Raises:
            Skip: if the clip has no sound, or less than the model needs.
        """
        return self.sound.chunks(Sound.of(clip.need("audio")).samples, self.params.chunk_seconds)

    def bucket(self, item: Chunks) -> int:
        """Return the padded length in samples; for Whisper it is always 0."""
        return self.sound.bucket(item)

    def infer(self, items: Sequence[Chunks]) -> list[Row | Skip]:
        """Compute vectors of the chunks of all clips, in fixed groups, and average those of each clip."""
        steps = self.sound.forward(self._network, items, self.rows_on(self.sound.device.type))
        by_chunk = (self.params.output, self.params.states) != ("features", "encoder")
        rows: list[Row | Skip] = []
        for item in items:
            counts = [1 if by_chunk else self.sound.steps(length) for length in item.lengths]
            valid = [next(steps)[:count].float().numpy() for count in counts]
            times = _middles(item.lengths) if by_chunk else times_of(self.sound, item.lengths)
            rows.append(self.pooled(np.concatenate(valid), times))
        return rows

    def _network(self, inputs: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Compute the vectors: (rows, samples) or (rows, mels, frames) to (rows, steps, dim)."""
        mask = self.sound.mask(inputs, lengths)
        if self.params.output == "scores":
            scores: torch.Tensor = self.sound.model(inputs, **mask).logits.log_softmax(dim=-1)[:, None]
            return scores
        output = self.sound.model(inputs, output_hidden_states=True, **mask)
        if self.params.states == "decoder":
            output = self._decoder(output.last_hidden_state)
        return sum_layers(hidden_states(output), self.params.layers)


def _middles(lengths: Sequence[int]) -> npt.NDArray[np.float64]:
    """The middle of each chunk, in seconds since the clip's start, by the chunks' numbers of samples."""
    ends = np.cumsum(lengths)
    middles: npt.NDArray[np.float64] = (ends - np.array(lengths) / 2) / SAMPLE_RATE
    return middles
