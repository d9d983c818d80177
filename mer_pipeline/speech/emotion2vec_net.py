"""The network of emotion2vec (Ma et al., 2023, arXiv:2312.15185), which is that of data2vec 2.0 (Baevski et al., 2022).

    samples ─► 7 convolutions ─► projection + convolutional positions ─► [10 extra tokens, steps] ─► 4 + 8 blocks

Blocks normalise after each part. Attention is biased by the distance of two steps, which is scaled for each head
(ALiBi: Press et al., 2021). The extra tokens are left out of the result. Weights have the names of the files that
FunASR publishes, of which only those for inference are read. Its config.yaml is config.json here (models/convert.py).
"""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mer_pipeline.base.errors import CheckpointError
from mer_pipeline.models.checkpoint import check_complete, loading

if TYPE_CHECKING:
    import torch

AUDIO = "modality_encoders.AUDIO."
PREFIX = "d2v_model."  # of the names in emotion2vec+, and not in emotion2vec

# What all published checkpoints have, and this network computes; `audio.` is of the section modalities.audio.
FIXED = {
    "layer_norm_first": False, "audio.extractor_mode": "layer_norm", "audio.use_alibi_encoder": True,
    "audio.learned_alibi": False, "audio.conv_pos_pre_ln": False,
}  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """What config.json says about the network.

    Attributes:
        dim: length of a hidden state.
        heads: of the attention.
        prenet: blocks of the context encoder.
        blocks: further blocks.
        extra: tokens before the steps.
        eps: of the normalisations in blocks.
        convolutions: channels, kernel and stride of each.
        positions: convolutions of the position encoder.
        groups: of each of these.
        normalize: whether sound has to have a mean of 0 and a variance of 1.
    """

    dim: int
    heads: int
    prenet: int
    blocks: int
    extra: int
    eps: float
    convolutions: tuple[tuple[int, int, int], ...]
    positions: int
    groups: int
    normalize: bool

    @classmethod
    def read(cls, folder: Path) -> Shape:
        """Read the configuration of a checkpoint.

        Raises:
            CheckpointError: it is missing, unreadable, or that of another network.
        """
        with loading(folder, "its config.json cannot be used"):
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            if (kind := config.get("model_type")) != "emotion2vec":
                raise CheckpointError(f"{folder} is a '{kind}' model; this family loads emotion2vec")
            conf = config["model_conf"]
            audio = conf["modalities"]["audio"]
            for key, value in FIXED.items():
                section, name = (audio, key.removeprefix("audio.")) if key.startswith("audio.") else (conf, key)
                if section[name] != value:
                    raise CheckpointError(
                        f"{folder}: {key} of its config.json is {section[name]}; emotion2vec has {value}"
                    )
            return cls(
                dim=int(conf["embed_dim"]),
                heads=int(conf["num_heads"]),
                prenet=int(audio["prenet_depth"]),
                blocks=int(conf["depth"]),
                extra=int(audio["num_extra_tokens"]),
                eps=float(conf["norm_eps"]),
                convolutions=convolutions(str(audio["feature_encoder_spec"])),
                positions=int(audio["conv_pos_depth"]),
                groups=int(audio["conv_pos_groups"]),
                normalize=bool(conf["normalize"]),
            )

    def steps(self, length: int) -> int:
        """Return the number of steps of a number of samples, 0 or less if they are too few."""
        for _, kernel, stride in self.convolutions:
            length = (length - kernel) // stride + 1
        return length

    def names(self) -> list[str]:
        """Return the names of the weights that the network needs."""
        positions = range(1, 1 + self.positions)
        blocks = [f"{AUDIO}context_encoder.blocks.{at}" for at in range(self.prenet)]
        blocks += [f"blocks.{at}" for at in range(self.blocks)]
        both = [
            *(f"{AUDIO}local_encoder.conv_layers.{at}.2.1" for at in range(len(self.convolutions))),
            *(f"{AUDIO}project_features.{at}" for at in (1, 2)),
            *(f"{AUDIO}relative_positional_encoder.{at}.0" for at in positions),
            f"{AUDIO}context_encoder.norm",
            *(
                f"{b}.{part}"
                for b in blocks
                for part in ("attn.qkv", "attn.proj", "norm1", "mlp.fc1", "mlp.fc2", "norm2")
            ),
        ]
        alone = [f"{AUDIO}local_encoder.conv_layers.{at}.0.weight" for at in range(len(self.convolutions))]
        alone += [f"{AUDIO}extra_tokens", f"{AUDIO}alibi_scale"]
        return [*alone, *(f"{name}.{kind}" for name in both for kind in ("weight", "bias"))]


def convolutions(spec: str) -> tuple[tuple[int, int, int], ...]:
    """Read fairseq's notation of a stack of convolutions, which is an expression in Python, without running it.

    Args:
        spec: lists of (channels, kernel, stride), added, and multiplied by numbers.

    Raises:
        ValueError: it is anything else.

    Example:
        >>> convolutions("[(512, 10, 5)] + [(512, 3, 2)] * 2")
        ((512, 10, 5), (512, 3, 2), (512, 3, 2))
    """

    def value(node: ast.expr) -> list[tuple[int, int, int]]:
        match node:
            case ast.List():
                found = [ast.literal_eval(entry) for entry in node.elts]
                if all(isinstance(one, tuple) and len(one) == 3 and {*map(type, one)} == {int} for one in found):
                    return found
            case ast.BinOp(op=ast.Add()):
                return value(node.left) + value(node.right)
            case ast.BinOp(op=ast.Mult(), right=ast.Constant(value=int(times))) if 0 < times < 100:
                return value(node.left) * times
        raise ValueError(f"'{ast.unparse(node)}' is no list of convolutions")

    return tuple(value(ast.parse(spec, mode="eval").body))


class Network:
    """emotion2vec's network in inference.

    Args:
        folder: of the checkpoint, for messages.
        shape: its configuration.
        state: the weights by their names in the file; others among them are not used.

    Raises:
        CheckpointError: a weight is missing.
    """

    def __init__(self, folder: Path, shape: Shape, state: dict[str, torch.Tensor]) -> None:
        state = {name.removeprefix(PREFIX): value for name, value in state.items()}
        check_complete(folder, set(shape.names()) - state.keys())
        self._shape = shape
        self._weights = {name: state[name].float() for name in shape.names()}

    def to(self, device: torch.device) -> Network:
        """Move the weights to a device, and return the network."""
        self._weights = {name: value.to(device) for name, value in self._weights.items()}
        return self

    def __call__(self, samples: torch.Tensor) -> list[torch.Tensor]:
        """Compute hidden states.

        Args:
            samples: (rows, samples) float32, at 16 kHz.

        Returns:
            The states after the context encoder and after each of the further blocks, (rows, steps, dim) each.
        """
        import torch
        from torch.nn import functional as fn

        shape, weights = self._shape, self._weights
        x = fn.layer_norm(samples, samples.shape[1:]) if shape.normalize else samples
        x = x[:, None]
        for at, (_, _, stride) in enumerate(shape.convolutions):
            name = f"{AUDIO}local_encoder.conv_layers.{at}"
            x = fn.conv1d(x, weights[f"{name}.0.weight"], stride=stride).transpose(1, 2)
            x = fn.gelu(self._norm(x, f"{name}.2.1")).transpose(1, 2)
        x = self._linear(self._norm(x.transpose(1, 2), f"{AUDIO}project_features.1"), f"{AUDIO}project_features.2")
        x = x + self._positions(x)
        bias = self._distances(x.shape[1], x.device)
        x = torch.cat([weights[f"{AUDIO}extra_tokens"].expand(len(x), -1, -1), x], dim=1)
        x = self._norm(x, f"{AUDIO}context_encoder.norm", shape.eps)
        names = [f"{AUDIO}context_encoder.blocks.{at}" for at in range(shape.prenet)]
        names += [f"blocks.{at}" for at in range(shape.blocks)]
        states = []
        for name, scale in zip(names, self._scales(len(names)), strict=True):
            x = self._block(x, name, bias * scale)
            states.append(x[:, shape.extra :])
        return states[shape.prenet - 1 :]

    def _norm(self, x: torch.Tensor, name: str, eps: float = 1e-5) -> torch.Tensor:
        from torch.nn.functional import layer_norm

        return layer_norm(x, x.shape[-1:], self._weights[f"{name}.weight"], self._weights[f"{name}.bias"], eps)

    def _linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        from torch.nn.functional import linear

        return linear(x, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])

    def _positions(self, x: torch.Tensor) -> torch.Tensor:
        """Where each step is, by convolutions over its neighbours: (rows, steps, dim)."""
        from torch.nn import functional as fn

        length = x.shape[1]
        x = x.transpose(1, 2)
        for at in range(1, 1 + self._shape.positions):
            name = f"{AUDIO}relative_positional_encoder.{at}.0"
            kernel = self._weights[f"{name}.weight"]
            x = fn.conv1d(
                x, kernel, self._weights[f"{name}.bias"], padding=kernel.shape[2] // 2, groups=self._shape.groups
            )
            x = x[..., :length].transpose(1, 2)  # an even kernel makes one step more
            x = fn.gelu(fn.layer_norm(x, x.shape[-1:])).transpose(1, 2)
        return x.transpose(1, 2)

    def _distances(self, steps: int, device: torch.device) -> torch.Tensor:
        """ALiBi's bias without the learned scale, (1, heads, extra + steps, extra + steps); 0 for the extra tokens."""
        import torch

        at = torch.arange(steps, device=device)
        slopes = torch.tensor(alibi_slopes(self._shape.heads), device=device)
        bias = slopes[:, None, None] * -(at[None] - at[:, None]).abs()
        return torch.nn.functional.pad(bias, (self._shape.extra, 0, self._shape.extra, 0))[None]

    def _scales(self, blocks: int) -> list[torch.Tensor]:
        """The scale of the bias in each block, (1, heads or 1, 1, 1); the file has one for all blocks, or for each."""
        scale = self._weights[f"{AUDIO}alibi_scale"].clamp_min(0)
        return [scale[at if len(scale) > 1 else 0] for at in range(blocks)]

    def _block(self, x: torch.Tensor, name: str, bias: torch.Tensor) -> torch.Tensor:
        from torch.nn import functional as fn

        rows, steps, dim = x.shape
        qkv = self._linear(x, f"{name}.attn.qkv").reshape(rows, steps, 3, self._shape.heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = qkv[0] * (dim // self._shape.heads) ** -0.5, qkv[1], qkv[2]
        attention = (query @ key.transpose(-2, -1) + bias).softmax(dim=-1)
        x = x + self._linear((attention @ value).transpose(1, 2).reshape(rows, steps, dim), f"{name}.attn.proj")
        x = self._norm(x, f"{name}.norm1", self._shape.eps)
        inner = fn.gelu(self._linear(x, f"{name}.mlp.fc1"))
        return self._norm(x + self._linear(inner, f"{name}.mlp.fc2"), f"{name}.norm2", self._shape.eps)


def alibi_slopes(heads: int) -> list[float]:
    """Return how fast the attention of each head falls with the distance (Press et al., 2021, section 3).

    For a number of heads that is no power of two, those of the next lower power come first, then every other one of
    the next higher power, as in the authors' code.

    Example:
        >>> alibi_slopes(2), alibi_slopes(3)
        ([0.0625, 0.00390625], [0.0625, 0.00390625, 0.25])
    """
    power = 1 << (heads.bit_length() - 1)
    slopes = [2.0 ** (-8 * (at + 1) / power) for at in range(power)]
    return slopes if power == heads else slopes + alibi_slopes(2 * power)[::2][: heads - power]
