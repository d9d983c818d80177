"""Load a Hugging Face checkpoint from a folder: offline, safetensors, fp32, no code of its own."""

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

# Which hidden layers are summed: the last n, or those at these indices (0 = embeddings).
Layers = Count | Annotated[tuple[int, ...], Field(min_length=1)]

# The pooling head of BERT and ViT is not read; checkpoints trained for something else lack it.
UNUSED = ("pooler.", "masked_spec_embed", "classifier.")


def load_config(folder: Path, known: tuple[str, ...]) -> PretrainedConfig:
    """A checkpoint's configuration.

    Args:
        folder: with a config.json.
        known: the model types that the family can load.

    Raises:
        CheckpointError: it is missing or unreadable, or of another type.
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
    """Without transformers' report of unused weights and its bars; what matters is checked here."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def load_model(
    model_class: type[PreTrainedModel], folder: Path, device: torch.device, unused: tuple[str, ...] = UNUSED
) -> PreTrainedModel:
    """A model in fp32 for inference.

    Args:
        model_class: a transformers class, or one of its Auto classes.
        folder: of the checkpoint.
        device: where it goes.
        unused: beginnings of the names of weights that nobody reads, and that the checkpoint may lack.

    Raises:
        CheckpointError: its files are unreadable or incomplete.
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
    """The states after the embeddings and after each layer, the last one after the model's final normalisation.

    Where a model normalises before each layer (HuBERT large, WavLM large), transformers 5 records the last state before
    the final normalisation; transformers 4, and so published features, have it after.
    """
    return (*output.hidden_states[:-1], output.last_hidden_state)


def sum_layers(states: tuple[torch.Tensor, ...], layers: Layers) -> torch.Tensor:
    """Sum of the last n hidden states, or of those at the given indices (0 = embeddings): (batch, steps, dim)."""
    import torch

    chosen = states[-layers:] if isinstance(layers, int) else [states[at] for at in layers]
    return torch.stack(list(chosen)).sum(dim=0)


def check_layers(layers: Layers, available: int, folder: Path) -> None:
    """Refuse layers that the model does not have.

    Args:
        layers: of the params.
        available: number of hidden layers; the embeddings come on top as index 0.
        folder: for the message.

    Raises:
        CheckpointError: there are fewer.
    """
    wanted = layers - 1 if isinstance(layers, int) else max(layers)
    if wanted > available or (not isinstance(layers, int) and min(layers) < 0):
        raise CheckpointError(f"{folder} has {available} layers; `layers: {layers}` asks for more")
