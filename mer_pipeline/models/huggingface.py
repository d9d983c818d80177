"""Load a Hugging Face checkpoint from a folder.

Nothing is downloaded, weights are read from safetensors only and used in float32, and no code in the folder is run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import Field

from mer_pipeline.base.errors import CheckpointError
from mer_pipeline.config.section import Count
from mer_pipeline.models.checkpoint import check_complete, check_finite, loading, quantised

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
    from transformers.utils import ModelOutput

# The hidden layers that are summed: the last n, or those at the given indices (0 is the embeddings).
Layers = Count | Annotated[tuple[int, ...], Field(min_length=1)]

# Beginnings of the names of weights that are not used, such as the pooling layer of BERT and ViT. Checkpoints that were
# trained for another task lack them.
UNUSED = ("pooler.", "masked_spec_embed", "classifier.")


# Values of config.json that are words. Any other word in the place of a number is for transformers to refuse.
WORDS = ("model_type", "feat_extract_norm")

QUANTISED = ("quantization_config", "quantization")  # the key of transformers, and that of MLX

# What tells how pictures or sound are prepared: the usual file, and the one of newer checkpoints.
PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")

# Any of these is a whole tokenizer.
TOKENIZER_FILES = (("tokenizer.json",), ("vocab.txt",), ("vocab.json", "merges.txt"))

Loaded = TypeVar("Loaded")


class Config:
    """The configuration of a checkpoint: what its config.json says, and for the rest what transformers' class says.

    transformers takes seconds to import and is not imported as long as config.json has what is asked for. So a stage
    that has nothing to compute does not wait for it.

    Args:
        folder: the folder of the checkpoint.
        told: the content of config.json.
    """

    def __init__(self, folder: Path, told: Mapping[str, object]) -> None:
        self._folder, self._told = folder, told

    def __getattr__(self, name: str) -> Any:
        """Return a value of the configuration.

        Raises:
            AttributeError: there is no such value.
            CheckpointError: config.json does not have it, and transformers cannot use the file.
        """
        if name.startswith("_"):
            raise AttributeError(name)
        value = self._told.get(name)
        simple = isinstance(value, int) or name in WORDS
        return value if simple and value is not None else getattr(self._whole, name)

    @cached_property
    def _whole(self) -> PretrainedConfig:
        from transformers import AutoConfig

        with loading(self._folder, "its config.json cannot be used"):
            whole: PretrainedConfig = AutoConfig.from_pretrained(
                self._folder, local_files_only=True, trust_remote_code=False
            )
        return whole


def load_config(folder: Path, known: tuple[str, ...]) -> Config:
    """Load the configuration of a checkpoint.

    Args:
        folder: the folder of the checkpoint, with a config.json.
        known: the model types that the family can load.

    Raises:
        CheckpointError: it is missing or unreadable, of another type, or says that the weights are quantised.
    """
    told = _raw_config(folder)
    if told.get("model_type") not in known:
        raise CheckpointError(f"{folder} is a '{told.get('model_type')}' model; this family loads {', '.join(known)}")
    return Config(folder, told)


def _raw_config(folder: Path) -> dict[str, object]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        how = [key for key in QUANTISED if config.get(key)]
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{folder} has no readable config.json ({error})") from None
    if how:
        raise quantised(folder, f"its config.json has `{how[0]}`")
    return dict(config)


def quiet() -> None:
    """Switch off the progress bars of transformers and its report of unused weights, which `load_model` replaces."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def load_model(
    model_class: type[PreTrainedModel], folder: Path, device: torch.device, unused: tuple[str, ...] = UNUSED
) -> PreTrainedModel:
    """Load a model in float32 for inference.

    Args:
        model_class: a model class of transformers, or one of its Auto classes.
        folder: the folder of the checkpoint.
        device: where the model is put.
        unused: beginnings of the names of weights that are not used, so that the checkpoint may lack them.

    Raises:
        CheckpointError: its files are unreadable, incomplete or quantised, or have weights that are no numbers.
    """
    import torch

    quiet()
    _raw_config(folder)
    with loading(folder, "its weights cannot be loaded"):
        model, info = model_class.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, by name
        )
    if others := sorted(info["mismatched_keys"]):
        name, stored, wanted = others[0]
        raise CheckpointError(
            f"{folder}: config.json and the weights are of two models ({name} is {tuple(stored)} in the file and "
            f"{tuple(wanted)} by the configuration); put the files of one checkpoint there"
        )
    check_complete(folder, set(info["missing_keys"]), unused)
    check_finite(folder, model)
    return model.requires_grad_(False).eval().to(device)


def load_processor(loader: Callable[..., Loaded], folder: Path) -> Loaded:
    """What prepares a checkpoint's pictures or sound.

    Args:
        loader: `from_pretrained` of AutoImageProcessor or AutoFeatureExtractor.
        folder: of the checkpoint.

    Raises:
        CheckpointError: its file is missing or not what is known.
    """
    if not any((folder / name).is_file() for name in PROCESSOR_FILES):
        raise CheckpointError(
            f"{folder} has no {PROCESSOR_FILES[0]}, which says how its input is prepared; put the file of this "
            "checkpoint there, or write it by its save_pretrained"
        )
    with loading(folder, f"its {PROCESSOR_FILES[0]} cannot be used"):
        return loader(folder, local_files_only=True, trust_remote_code=False)


def load_tokenizer(folder: Path, rows: int | None = None) -> PreTrainedTokenizerBase:
    """A checkpoint's tokenizer.

    transformers makes one without a vocabulary where the files are missing, and every word becomes [UNK]. So the files
    must be there, and the vocabulary must be the model's.

    Args:
        folder: of the checkpoint.
        rows: of the model's table of embeddings; None where nobody knows.

    Raises:
        CheckpointError: its files are missing, only SentencePiece's, or another model's.
    """
    from transformers import AutoTokenizer

    if not any(all((folder / name).is_file() for name in names) for names in TOKENIZER_FILES):
        pieces = next(iter(sorted(folder.glob("*.model"))), None)
        if pieces is not None:
            raise CheckpointError(
                f"{folder} has its tokenizer as SentencePiece's {pieces.name} alone, which is not read here; make a "
                "tokenizer.json of it once (docs/encoders.md says how)"
            )
        raise CheckpointError(
            f"{folder} has no tokenizer, without which no word is known; put the files of this checkpoint there "
            f"({' or '.join(' with '.join(names) for names in TOKENIZER_FILES)})"
        )
    with loading(folder, "its tokenizer cannot be loaded"):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        words = set(tokenizer.get_vocab().values()) - set(tokenizer.all_special_ids)
        # Special tokens may have no row, as long as they are never put around a text.
        last = max({*words, *tokenizer("")["input_ids"]}, default=-1)
    if not words or (rows is not None and 4 * len(words) < rows):
        of_model = "" if rows is None else f" of the model's {rows}"
        raise CheckpointError(f"{folder}: its tokenizer knows {len(words)}{of_model} tokens; are its files complete?")
    if rows is not None and last >= rows:
        raise CheckpointError(
            f"{folder}: its tokenizer has token {last} and the model {rows} only; it is another model's"
        )
    return tokenizer


def hidden_states(output: ModelOutput) -> tuple[torch.Tensor, ...]:
    """Return the hidden states after the embeddings and after each layer: (batch, steps, dim) each.

    The last state is the one after the model's final normalisation. If a model normalises before each layer (HuBERT
    large, WavLM large), transformers 5 gives the last state before that normalisation. Transformers 4 gives the state
    after it, and published features were made so.

    Args:
        output: what a model returned with `output_hidden_states=True`.
    """
    return (*output.hidden_states[:-1], output.last_hidden_state)


def sum_layers(states: tuple[torch.Tensor, ...], layers: Layers) -> torch.Tensor:
    """Sum hidden states over layers.

    Args:
        states: the hidden states, (batch, steps, dim) each; the first is the embeddings.
        layers: n for the last n states, or the indices of the states.

    Returns:
        (batch, steps, dim).

    Example:
        >>> import torch
        >>> states = tuple(torch.full((1, 1, 1), value) for value in (1.0, 10.0, 100.0))
        >>> sum_layers(states, 2).item(), sum_layers(states, (0, 2)).item()
        (110.0, 101.0)
    """
    import torch

    chosen = states[-layers:] if isinstance(layers, int) else [states[at] for at in layers]
    return torch.stack(list(chosen)).sum(dim=0)


def check_layers(layers: Layers, available: int, folder: Path) -> None:
    """Check that a model has the layers that params.yaml asks for.

    Args:
        layers: the value in params.yaml: a number of layers, or their indices.
        available: the number of the model's hidden layers, without the embeddings (index 0).
        folder: the folder of the checkpoint, for the message.

    Raises:
        CheckpointError: if the model has fewer layers, or an index is negative.
    """
    wanted = layers - 1 if isinstance(layers, int) else max(layers)
    if wanted > available or (not isinstance(layers, int) and min(layers) < 0):
        raise CheckpointError(f"{folder} has {available} layers; `layers: {layers}` asks for more")
