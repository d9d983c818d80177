"""`models.lock`: the sha256 of every file of the checkpoints that params.yaml names, by encoder.

DVC cannot look into a folder that only a checkpoint's spec names, so it watches this file. A stage refuses weights
that are not the locked ones; the store keys rows by the weights themselves.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from mer_pipeline.errors import CheckpointError
from mer_pipeline.models.checkpoint import resolve, value_files
from mer_pipeline.params import EncoderParams
from mer_pipeline.store.fingerprint import sha256_of

LOCK = Path("models.lock")

Locked = dict[str, dict[str, str]]  # encoder to file to sha256


def lock_models(encoders: Mapping[str, EncoderParams]) -> Locked:
    """Write models.lock for the checkpoints as they are now.

    Raises:
        CheckpointError: a checkpoint is missing or unfit.
    """
    locked = {name: hashes_of(params.checkpoint) for name, params in encoders.items() if params.checkpoint is not None}
    LOCK.write_text(json.dumps(locked, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return locked


def check_locked(encoders: Mapping[str, EncoderParams]) -> None:
    """Make sure that the checkpoints are the locked ones.

    Raises:
        CheckpointError: one is missing, is not in models.lock, or has other files.
    """
    locked: Locked | None = None
    for name, params in encoders.items():
        if params.checkpoint is None:
            continue
        locked = _read() if locked is None else locked
        now = hashes_of(params.checkpoint)
        if name not in locked:
            raise CheckpointError(f"encoder '{name}': {LOCK} does not have its checkpoint; run `mer models lock`")
        if now != locked[name]:
            other = sorted(key for key in now.keys() | locked[name].keys() if now.get(key) != locked[name].get(key))
            raise CheckpointError(
                f"encoder '{name}': {other[0]} of {params.checkpoint} is not the one in {LOCK}; put the old one back, "
                "or accept the new one with `mer models lock`"
            )


def hashes_of(checkpoint: str) -> dict[str, str]:
    """sha256 by file name of a checkpoint's files."""
    return {path.name: sha256_of(path) for path in value_files(resolve(checkpoint))}


def _read() -> Locked:
    try:
        locked = json.loads(LOCK.read_text(encoding="utf-8"))
        if isinstance(locked, dict):
            return locked
    except FileNotFoundError:
        return {}
    except ValueError:
        pass
    raise CheckpointError(f"{LOCK} cannot be read; write it again with `mer models lock`")
