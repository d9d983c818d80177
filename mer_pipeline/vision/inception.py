"""InceptionResnetV1, the face network of facenet-pytorch (Schroff et al., 2015): its weights and its input."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from mer_pipeline.models.checkpoint import check_complete, check_finite, loading

if TYPE_CHECKING:
    import torch

DIM = 512
SIDE = 160


def load_inception(folder: Path, device: torch.device) -> torch.nn.Module:
    """Load the network onto a device. The last layer, a classifier, is left out if the file has it.

    Args:
        folder: with its state dict as safetensors.
        device: where it is put.

    Returns:
        The network, (rows, 3, 160, 160) float32 to (rows, 512) float32 of unit length.

    Raises:
        CheckpointError: if the files cannot be read, or are not complete.
    """
    from facenet_pytorch import InceptionResnetV1
    from safetensors.torch import load_file

    model = InceptionResnetV1(pretrained=None, classify=False)
    with loading(folder, "its weights cannot be loaded"):
        state: dict[str, torch.Tensor] = {}
        for file in sorted(folder.glob("*.safetensors")):
            state |= {name: value for name, value in load_file(file).items() if not name.startswith("logits.")}
        check_complete(folder, model.state_dict().keys() - state.keys())
        model.load_state_dict(state)
    check_finite(folder, model)
    network: torch.nn.Module = model.eval().requires_grad_(False).to(device)
    return network


def to_input(picture: npt.NDArray[np.uint8]) -> torch.Tensor:
    """Scale a face crop to 160 × 160 pixels and its values to (x - 127.5) / 128, as in the model's training.

    Args:
        picture: (height, width, 3) uint8.

    Returns:
        (3, 160, 160) float32.
    """
    import torch

    image = Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    pixels = (np.asarray(image, np.float32) - np.float32(127.5)) / np.float32(128)
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())
