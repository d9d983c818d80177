"""A small checkpoint of emotion2vec with random weights, as `mer models fetch` makes it; `tiny.py` seeds it."""

from __future__ import annotations

import json
from pathlib import Path

# As in the hub's config.yaml, in smaller numbers; six heads, because the real ones are no power of two either.
AUDIO_CONF = {
    "type": "AUDIO",
    "prenet_depth": 2,
    "prenet_layerdrop": 0.05,
    "prenet_dropout": 0.1,
    "start_drop_path_rate": 0.0,
    "end_drop_path_rate": 0.0,
    "num_extra_tokens": 10,
    "init_extra_token_zero": True,
    "local_grad_mult": 1.0,
    "use_alibi_encoder": True,
    "alibi_scale": 1.0,
    "learned_alibi": False,
    "alibi_max_pos": None,
    "learned_alibi_scale": True,
    "learned_alibi_scale_per_head": True,
    "learned_alibi_scale_per_layer": False,
    "num_alibi_heads": 6,
    "model_depth": 2,
    "decoder": None,
    "extractor_mode": "layer_norm",
    "feature_encoder_spec": "[(16, 10, 5)] + [(16, 3, 2)] * 4 + [(16,2,2)] + [(16,2,2)]",
    "conv_pos_width": 15,
    "conv_pos_groups": 2,
    "conv_pos_depth": 3,
    "conv_pos_pre_ln": False,
}
CONF = {
    "depth": 2,
    "start_drop_path_rate": 0.0,
    "end_drop_path_rate": 0.0,
    "num_heads": 6,
    "norm_eps": 1e-05,
    "norm_affine": True,
    "encoder_dropout": 0.1,
    "post_mlp_drop": 0.1,
    "attention_dropout": 0.1,
    "activation_dropout": 0.0,
    "dropout_input": 0.0,
    "layerdrop": 0.05,
    "embed_dim": 24,
    "mlp_ratio": 4.0,
    "layer_norm_first": False,
    "end_of_block_targets": False,
    "normalize": True,
    "modalities": {"audio": AUDIO_CONF},
}
MODEL = "d2v_model."  # begins the names of all weights but the classifier's
AUDIO = f"{MODEL}modality_encoders.AUDIO."
DIM, HEADS, CHANNELS, LABELS = 24, 6, 16, 9
KERNELS = (10, 3, 3, 3, 3, 2, 2)


def shapes() -> dict[str, tuple[int, ...]]:
    """Return the shape of every weight by its name, as in the hub's `emotion2vec_plus_large` with other numbers.

    docs/encoders.md says where these names are from.
    """
    found: dict[str, tuple[int, ...]] = {
        f"{AUDIO}alibi_scale": (1, 1, HEADS, 1, 1),
        f"{AUDIO}extra_tokens": (1, 10, DIM),
    }

    def normed(name: str, size: int) -> None:
        found[f"{name}.weight"] = found[f"{name}.bias"] = (size,)

    def linear(name: str, *size: int) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = size, size[:1]

    for at, kernel in enumerate(KERNELS):
        name = f"{AUDIO}local_encoder.conv_layers.{at}"
        found[f"{name}.0.weight"] = (CHANNELS, CHANNELS if at else 1, kernel)
        normed(f"{name}.2.1", CHANNELS)
    normed(f"{AUDIO}project_features.1", CHANNELS)
    linear(f"{AUDIO}project_features.2", DIM, CHANNELS)
    for at in (1, 2, 3):
        linear(f"{AUDIO}relative_positional_encoder.{at}.0", DIM, DIM // 2, 5)
    normed(f"{AUDIO}context_encoder.norm", DIM)
    for place in (f"{AUDIO}context_encoder.", MODEL):
        for at in (0, 1):
            block = f"{place}blocks.{at}"
            linear(f"{block}.attn.qkv", 3 * DIM, DIM)
            linear(f"{block}.attn.proj", DIM, DIM)
            linear(f"{block}.mlp.fc1", 4 * DIM, DIM)
            linear(f"{block}.mlp.fc2", DIM, 4 * DIM)
            normed(f"{block}.norm1", DIM)
            normed(f"{block}.norm2", DIM)
    linear("proj", LABELS, DIM)  # the classifier of emotion2vec+, which is not used
    return found


def write_emotion2vec(folder: Path) -> None:
    """Write an emotion2vec+ as `mer models fetch` leaves it."""
    import torch
    from safetensors.torch import save_file

    config = {"model_type": "emotion2vec", "model_conf": CONF}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    # About 1 where a value is scaled, as after training.
    scaled = ("norm1.weight", "norm2.weight", "norm.weight", ".1.weight", "alibi_scale")
    state = {name: 0.3 * torch.randn(size) + name.endswith(scaled) for name, size in shapes().items()}
    save_file(state, folder / "model.safetensors", {"format": "pt"})
