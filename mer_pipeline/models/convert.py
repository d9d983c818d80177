"""Convert pickled weights to safetensors: `python -m mer_pipeline.models.convert SRC DST`.

A pickle can run code when it is loaded. Therefore torch loads it with `weights_only=True`, which refuses all but
tensors, in a process of its own, which has no network where the system lets it give the network up, and no secrets in
its environment. `convert` starts that process; the rest of this module runs in it.

Tensors that share their memory (tied weights, such as a table of embeddings and the layer that predicts words) are
written once for each name, because safetensors has no sharing. Every name keeps its values, and the file is read again
and compared before it appears.
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


def convert(source: Path, target: Path) -> None:
    """Convert a file of pickled weights in a process of its own. The target appears whole or not at all.

    Args:
        source: the pickle.
        target: the safetensors.

    Raises:
        CheckpointError: it holds something else than tensors, or cannot be read.
    """
    with replacing(target) as temporary:
        ran = subprocess.run(
            [sys.executable, "-m", "mer_pipeline.models.convert", str(source.absolute()), str(temporary.absolute())],
            env={name: os.environ[name] for name in KEPT if name in os.environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode:
            last = next(reversed(ran.stderr.strip().splitlines()), f"it ended with {ran.returncode}")
            raise CheckpointError(f"{source.name} cannot be converted to safetensors: {last}")


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


def main(source: Path, target: Path) -> str | None:
    """Convert in this process, and return what is wrong; None if it went well.

    Args:
        source: the pickle.
        target: the safetensors, an empty file that is there already.
    """
    from mer_pipeline.base.network import leave_network

    leave_network()  # before torch starts threads, with which a process cannot change its namespace
    import torch
    from safetensors.torch import load_file, save_file

    try:
        loaded = torch.load(source, map_location="cpu", weights_only=True)
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
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
