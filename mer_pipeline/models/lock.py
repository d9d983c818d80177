"""`models.lock`: the sha256 of every file of the checkpoints that params.yaml names, by encoder, `vote-JUDGE`
and `enrich/model`.

DVC cannot look into a folder that only a checkpoint's spec names, so it watches this file. A stage refuses weights
that are not the locked ones; the store keys rows by the weights themselves.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from mer_pipeline.base.atomic import atomic_write
from mer_pipeline.base.errors import CheckpointError, ParamsError
from mer_pipeline.config.project import Project
from mer_pipeline.config.section import Section
from mer_pipeline.models.checkpoint import resolve, value_files
from mer_pipeline.store.fingerprint import sha256_of

LOCK = Project().lock
ENRICH = "enrich/model"  # no encoder can be called so

Locked = dict[str, dict[str, str]]  # name to file to sha256
Checkpoints = Mapping[str, str]  # name in the lock to spec


def checkpoints_of(
    encoders: Mapping[str, Section], judges: Mapping[str, Section], enrich: Section | None = None
) -> Checkpoints:
    """The checkpoints that encoders, judges and the enrichment name, by what the lock calls them. A section names one
    by its attribute `checkpoint`.

    Raises:
        ParamsError: an encoder has the name that a judge has there.
    """
    for name in judges:
        if f"vote-{name}" in encoders:
            raise ParamsError(f"encoder 'vote-{name}' and judge '{name}' would share a line of {LOCK}; rename one")
    sections = {**encoders, **{f"vote-{name}": params for name, params in judges.items()}}
    if enrich is not None:
        sections[ENRICH] = enrich
    specs = {name: getattr(params, "checkpoint", None) for name, params in sections.items()}
    return {name: spec for name, spec in specs.items() if spec is not None}


def lock_models(checkpoints: Checkpoints) -> Locked:
    """Write models.lock for the checkpoints as they are now.

    Raises:
        CheckpointError: a checkpoint is missing or unfit.
    """
    locked = {name: hashes_of(spec) for name, spec in checkpoints.items()}
    atomic_write(LOCK, json.dumps(locked, indent=1, sort_keys=True) + "\n", durable=True)
    return locked


def check_locked(checkpoints: Checkpoints) -> None:
    """Make sure that the checkpoints are the locked ones.

    Raises:
        CheckpointError: one is missing, is not in models.lock, or has other files.
    """
    locked: Locked | None = None
    for name, spec in checkpoints.items():
        locked = _read() if locked is None else locked
        now = hashes_of(spec)
        if name not in locked:
            raise CheckpointError(f"'{name}': {LOCK} does not have its checkpoint; run `mer models lock`")
        if now != locked[name]:
            other = sorted(key for key in now.keys() | locked[name].keys() if now.get(key) != locked[name].get(key))
            raise CheckpointError(
                f"'{name}': {other[0]} of {spec} is not the one in {LOCK}; put the old one back, "
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
