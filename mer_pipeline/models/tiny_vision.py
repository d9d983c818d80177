"""Small checkpoints of pictures and films with random weights; `tiny.py` lists them and seeds the weights."""

from __future__ import annotations

import json
from pathlib import Path

# The labels of FER-2013.
EXPRESSIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")

VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
FILM = {**VISION, "image_size": 32, "patch_size": 16, "num_frames": 4}
CUT = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}


def write_open_clip(folder: Path) -> None:
    """Write a CLIP in the format of open_clip."""
    import open_clip
    from safetensors.torch import save_model

    config = {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16, "head_width": 32},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    }
    text = {"model_cfg": config, "preprocess_cfg": {"size": 64, "interpolation": "bicubic"}}
    (folder / "open_clip_config.json").write_text(json.dumps(text, indent=1) + "\n", encoding="utf-8")
    save_model(open_clip.model.CLIP(**_open_clip_config(config)), str(folder / "open_clip_model.safetensors"))


def _open_clip_config(config: dict[str, object]) -> dict[str, object]:
    import open_clip

    return {
        "embed_dim": config["embed_dim"],
        "vision_cfg": open_clip.model.CLIPVisionCfg(**config["vision_cfg"]),  # type: ignore[arg-type]
        "text_cfg": open_clip.model.CLIPTextCfg(**config["text_cfg"]),  # type: ignore[arg-type]
    }


def write_facenet(folder: Path) -> None:
    """Write an InceptionResnetV1."""
    from facenet_pytorch import InceptionResnetV1
    from safetensors.torch import save_file

    save_file(InceptionResnetV1(pretrained=None, classify=False).state_dict(), folder / "model.safetensors")


def write_clip(folder: Path) -> None:
    """Write a CLIP of transformers."""
    import transformers

    vision = {**VISION, "image_size": 64, "patch_size": 16, "projection_dim": 24}
    text = {**VISION, "vocab_size": 64, "max_position_embeddings": 16}
    config = transformers.CLIPConfig(vision_config=vision, text_config=text, projection_dim=24)
    transformers.CLIPModel(config).save_pretrained(folder)
    size = {"shortest_edge": 64}
    transformers.CLIPImageProcessor(size=size, crop_size={"height": 64, "width": 64}).save_pretrained(folder)


def write_vit(folder: Path) -> None:
    """Write a ViT whose last layer is a classifier, as in models of facial expression."""
    import transformers

    config = transformers.ViTConfig(**VISION, image_size=64, patch_size=16, id2label=dict(enumerate(EXPRESSIONS)))
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)


def write_dinov2(folder: Path) -> None:
    """Write a DINOv2."""
    import transformers

    config = transformers.Dinov2Config(**VISION, image_size=56, patch_size=14)
    transformers.Dinov2Model(config).save_pretrained(folder)
    size = {"shortest_edge": 56}
    transformers.BitImageProcessor(size=size, crop_size={"height": 56, "width": 56}).save_pretrained(folder)


def write_videomae(folder: Path) -> None:
    """Write a VideoMAE with the decoder of its pre-training, which is not used, as in the hub's `videomae-base`."""
    import transformers

    decoder = {"decoder_hidden_size": 16, "decoder_intermediate_size": 16, "decoder_num_attention_heads": 2}
    config = transformers.VideoMAEConfig(**FILM, use_mean_pooling=False, decoder_num_hidden_layers=1, **decoder)
    transformers.VideoMAEForPreTraining(config).save_pretrained(folder)
    transformers.VideoMAEImageProcessor(**CUT).save_pretrained(folder)


def write_vivit(folder: Path) -> None:
    """Write a ViViT with a classifier."""
    import transformers

    config = transformers.VivitConfig(**FILM, tubelet_size=[2, 16, 16])
    transformers.VivitForVideoClassification(config).save_pretrained(folder)
    transformers.VivitImageProcessor(**CUT).save_pretrained(folder)


def write_timesformer(folder: Path) -> None:
    """Write a TimeSformer with a classifier."""
    import transformers

    transformers.TimesformerForVideoClassification(transformers.TimesformerConfig(**FILM)).save_pretrained(folder)
    transformers.VideoMAEImageProcessor(**CUT).save_pretrained(folder)
