"""What open_clip's own table of pretrained weights says of a tag: its repository, and how its network must be made."""

from __future__ import annotations

import json
from pathlib import Path

from mer_pipeline.base.errors import CheckpointError, did_you_mean
from mer_pipeline.models.wanted import OPEN_CLIP


def place_of(name: str) -> tuple[str, str]:
    """Return the repository of ARCH/TAG, and its file of weights if that has another name than usual, else "".

    Raises:
        CheckpointError: the table has no repository for it.
    """
    from open_clip.pretrained import list_pretrained

    place = _entry(name).get("hf_hub")
    if not place:
        hint = did_you_mean(name, [f"{architecture}/{tag}" for architecture, tag in list_pretrained()])
        near = hint if hint.startswith(" (did") else ""
        raise CheckpointError(f"open_clip's table has no repository for '{name}'{near}; write openclip:ARCH/TAG")
    repository, _, weights = str(place).rpartition("/")
    return repository, weights


def disagreement(name: str, folder: Path) -> str | None:
    """Return a sentence if a checkpoint's configuration is not as the table says; None if it is.

    Weights that were trained with QuickGELU give slightly other features with GELU, and nothing else would tell.

    Args:
        name: ARCH/TAG.
        folder: of the checkpoint.
    """
    config = json.loads((folder / OPEN_CLIP).read_text(encoding="utf-8"))["model_cfg"]
    here, there = bool(config.get("quick_gelu")), bool(_entry(name).get("quick_gelu"))
    if here == there:
        return None
    return f"note: open_clip's table has quick_gelu {there} for {name}, and {folder / OPEN_CLIP} has {here}"


def _entry(name: str) -> dict[str, object]:
    from open_clip.pretrained import get_pretrained_cfg

    architecture, _, tag = name.partition("/")
    return dict(get_pretrained_cfg(architecture, tag))
