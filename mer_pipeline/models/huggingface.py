"""Load a Hugging Face checkpoint from a folder.

Nothing is downloaded, weights are read from safetensors only and used in float32, and no code in the folder is run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from mer_pipeline.base.errors import CheckpointError
from mer_pipeline.config.section import Count
from mer_pipeline.models.checkpoint import check_complete

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel
    from transformers.utils import ModelOutput

# The hidden layers that are summed: the last n, or those at the given indices (0 is the embeddings).
Layers = Count | Annotated[tuple[int, ...], Field(min_length=1)]

# Beginnings of the names of weights that are not used, such as the pooling layer of BERT and ViT. Checkpoints that were
# trained for another task lack them.
UNUSED = ("pooler.", "masked_spec_embed", "classifier.")


def load_config(folder: Path, known: tuple[str, ...]) -> PretrainedConfig:
    """Load the configuration of a checkpoint.

    Args:
        folder: the folder of the checkpoint, with a config.json.
        known: the model types that the family can load.

    Raises:
        CheckpointError: if the configuration is missing, cannot be read, or is of another type.
    """
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{folder} has no readable config.json ({error})") from None
    if kind not in known:
        raise CheckpointError(f"{folder} is a '{kind}' model; this family loads {', '.join(known)}")
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


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
        CheckpointError: if the files cannot be read, or are not complete.
    """
    import torch
    from safetensors import SafetensorError

    quiet()
    try:
        model, info = model_class.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"{folder} cannot be loaded: {' '.join(str(error).split())[:300]}") from None
    check_complete(folder, set(info["missing_keys"]), unused)
    return model.requires_grad_(False).eval().to(device)


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
