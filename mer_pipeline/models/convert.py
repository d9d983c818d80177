"""Convert pickled weights to safetensors: `python -m mer_pipeline.models.convert SRC DST [model]`.

A pickle can run code when it is loaded. Therefore torch loads it with `weights_only=True`, which refuses all but
tensors, in a process of its own, which has no network where the system lets it give the network up, and no secrets in
its environment. `convert` starts that process; the rest of this module runs in it.

Tensors that share their memory (tied weights, such as a table of embeddings and the layer that predicts words) are
written once for each name, because safetensors has no sharing. Every name keeps its values, and the file is read again
and compared before it appears.

The checkpoints of FunASR have the settings of their training beside the weights. Of these the entry `model` is taken,
and no object is made of the rest (`inert.py`). Their config.yaml becomes a config.json.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mer_pipeline.base.atomic import atomic_write, replacing
from mer_pipeline.base.errors import CheckpointError

if TYPE_CHECKING:
    import torch

# All of the environment that the process sees. A token of the hub is not among it.
KEPT = ("PATH", "PYTHONPATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "SYSTEMROOT")


def convert(source: Path, target: Path, *, funasr: bool = False) -> None:
    """Convert a file of pickled weights in a process of its own. The target appears whole or not at all.

    Args:
        source: the pickle.
        target: the safetensors.
        funasr: whether it is a checkpoint of FunASR: tensors under the key `model`, with other objects beside them.

    Raises:
        CheckpointError: it holds something else than tensors, or cannot be read.
    """
    with replacing(target) as temporary:
        ran = subprocess.run(
            [
                *(
                    sys.executable,
                    "-m",
                    "mer_pipeline.models.convert",
                    str(source.absolute()),
                    str(temporary.absolute()),
                ),
                *(["model"] if funasr else []),
            ],
            env={name: os.environ[name] for name in KEPT if name in os.environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode:
            last = next(reversed(ran.stderr.strip().splitlines()), f"it ended with {ran.returncode}")
            raise CheckpointError(f"{source.name} cannot be converted to safetensors: {last}")


def convert_config(source: Path, target: Path) -> None:
    """Write the configuration of one of FunASR's checkpoints as JSON.

    Args:
        source: its config.yaml.
        target: the config.json, with `model_type` and `model_conf`.

    Raises:
        CheckpointError: it cannot be read, or is of another model than emotion2vec.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        config = YAML(typ="safe").load(source.read_text(encoding="utf-8"))
        if config["model"] != "Emotion2vec":
            raise CheckpointError(f"{source.name} is of the model {config['model']}; of FunASR's, emotion2vec is known")
        written = {"model_type": "emotion2vec", "model_conf": config["model_conf"]}
        atomic_write(target, json.dumps(written, indent=1) + "\n")
    except (YAMLError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"{source.name} cannot be used ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
        ) from None


def write_index(folder: Path, shards: Iterable[str]) -> None:
    """Write `model.safetensors.index.json`, which says in which shard each weight is.

    Args:
        folder: with the shards.
        shards: their names.
    """
    from safetensors import safe_open

    places: dict[str, str] = {}
    size = 0
    for shard in sorted(shards):
        size += (folder / shard).stat().st_size
        with safe_open(folder / shard, framework="numpy") as file:
            places |= dict.fromkeys(file.keys(), shard)
    index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(places.items()))}
    atomic_write(folder / "model.safetensors.index.json", json.dumps(index, indent=1) + "\n")


def main(source: Path, target: Path, entry: str | None = None) -> str | None:
    """Convert in this process, and return what is wrong; None if it went well.

    Args:
        source: the pickle.
        target: the safetensors, an empty file that is there already.
        entry: the key of the tensors, in a file that holds other objects too; None: it holds tensors alone.
    """
    from mer_pipeline.base.network import leave_network

    leave_network()  # before torch starts threads, with which a process cannot change its namespace
    import torch
    from safetensors.torch import load_file, save_file

    try:
        if entry is None:
            loaded: object = torch.load(source, map_location="cpu", weights_only=True)
        else:
            from mer_pipeline.models.inert import load_tensors

            whole = load_tensors(source)
            loaded = whole.get(entry) if isinstance(whole, Mapping) else None
    except Exception as error:  # pickle, zip and torch have no error in common
        reason = " ".join(str(error).split())[:200]
        return f"it is no file of plain tensors, and nothing else is loaded ({type(error).__name__}: {reason})"
    tensors = plain(loaded)
    if tensors is None:
        return "it is no dictionary of tensors"
    save_file(tensors, target, {"format": "pt"})
    written = load_file(target)
    if written.keys() != tensors.keys() or not all(_same(tensors[name], written[name]) for name in tensors):
        return "what was written is not what was read; is the disk sound?"
    return None


def plain(loaded: object) -> dict[str, torch.Tensor] | None:
    """Return the tensors of a loaded pickle by name, each with memory of its own; None if it holds anything else.

    Some files have the tensors under the key `state_dict`, beside other things.
    """
    import torch

    if isinstance(loaded, Mapping) and isinstance(loaded.get("state_dict"), Mapping):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, Mapping) or not loaded:
        return None
    tensors: dict[str, torch.Tensor] = {}
    taken: set[int] = set()
    for name, value in loaded.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            return None
        own = value.detach().contiguous()
        whole = own.untyped_storage().nbytes() == own.nbytes
        if not whole or own.untyped_storage().data_ptr() in taken:
            own = own.clone()
        taken.add(own.untyped_storage().data_ptr())
        tensors[name] = own
    return tensors


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    import torch

    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return one.numel() == 0 or torch.equal(one.reshape(-1).view(torch.uint8), other.reshape(-1).view(torch.uint8))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]))
