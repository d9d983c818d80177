"""What Whisper's decoder makes of a sound before it writes the first word, in a language that is named or found.

    log-mel ─► encoder ─► decoder <|startoftranscript|> <|zh|> <|transcribe|> <|notimestamps|> ─► the last state

The state at the last of these prompt tokens is the one that the first word is predicted from. It has seen the whole
sound by cross-attention, and it knows the language. MERTools reads the decoder at two tokens <|startoftranscript|>,
without a language.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mer_pipeline.base.errors import CheckpointError, ParamsError, did_you_mean

if TYPE_CHECKING:
    import torch
    from transformers.modeling_outputs import BaseModelOutput

AUTO = "auto"


class Prompted:
    """A Whisper whose decoder is given the prompt of a transcription.

    Args:
        model: WhisperForConditionalGeneration, loaded.
        folder: of its checkpoint, for messages.
        language: a code that the model knows, such as "zh"; or "auto", for the language that the model finds in each
            chunk (Radford et al., 2022, arXiv:2212.04356, section 2.3).

    Raises:
        CheckpointError: the checkpoint's generation_config.json does not name the tokens of the prompt.
        ParamsError: the model does not know the language.
    """

    def __init__(self, model: Any, folder: Path, language: str) -> None:
        self._model, config = model, model.generation_config
        self._start = config.decoder_start_token_id
        no_times = getattr(config, "no_timestamps_token_id", None)
        if self._start is None or no_times is None:
            raise CheckpointError(
                f"{folder}: its generation_config.json has no `decoder_start_token_id` or `no_timestamps_token_id`, "
                "which `states: decoder` needs; put the file of this checkpoint there"
            )
        known = getattr(config, "lang_to_id", None) if getattr(config, "is_multilingual", True) else None
        self._end = [no_times]
        self._language: int | None = None
        self._many = bool(known)
        if known:
            self._end = [config.task_to_id["transcribe"], no_times]
        codes = {token.strip("<|>"): at for token, at in (known or {}).items()}
        if language not in {AUTO, *(codes or {"en"})}:  # a model without languages is an English one
            raise ParamsError(
                f"language: {folder} does not know '{language}'{did_you_mean(language, codes)}; write auto or one of "
                "its codes"
            )
        self._language = codes.get(language)

    def __call__(self, encoded: torch.Tensor) -> BaseModelOutput:
        """Run the decoder on the prompt.

        Args:
            encoded: (rows, steps, dim), the last hidden state of the encoder.

        Returns:
            The decoder's output with its hidden states, (rows, 1, dim) each: those of the last token of the prompt.
        """
        import torch
        from transformers.modeling_outputs import BaseModelOutput

        def column(token: int) -> torch.Tensor:
            return torch.full((len(encoded), 1), token, device=encoded.device)

        columns = [column(self._start)]
        if self._many and self._language is None:
            found = self._model.detect_language(encoder_outputs=BaseModelOutput(last_hidden_state=encoded))
            columns.append(found[:, None])
        elif self._language is not None:
            columns.append(column(self._language))
        prompt = torch.cat([*columns, *map(column, self._end)], dim=1)
        output = self._model.get_decoder()(
            input_ids=prompt, encoder_hidden_states=encoded, output_hidden_states=True, use_cache=False
        )
        return BaseModelOutput(
            last_hidden_state=output.last_hidden_state[:, -1:],
            hidden_states=tuple(states[:, -1:] for states in output.hidden_states),
        )
