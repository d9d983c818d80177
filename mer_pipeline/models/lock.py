"""`models.lock`: the SHA-256 of every file of the checkpoints that params.yaml names.

Its keys are the names of encoders, `vote-JUDGE` for judges, and `SECTION/model` for other sections, such as
`enrich/model`. DVC cannot watch the folder of a
checkpoint, because params.yaml only has a spec of it. Therefore DVC watches models.lock, and a stage refuses weights
that differ from it. The store does not use this file: the fingerprint of a row has the content of the weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType

from mer_pipeline.base.atomic import atomic_write
from mer_pipeline.base.errors import CheckpointError, ParamsError
from mer_pipeline.config.project import Project
from mer_pipeline.config.section import Section
from mer_pipeline.models.checkpoint import resolve, value_files
from mer_pipeline.store.fingerprint import sha256_of

LOCK = Project().lock
Locked = dict[str, dict[str, str]]  # for each name in models.lock, the SHA-256 of each file
Checkpoints = Mapping[str, str]  # for each name in models.lock, the spec of the checkpoint


def checkpoints_of(
    encoders: Mapping[str, Section] = MappingProxyType({}),
    judges: Mapping[str, Section] = MappingProxyType({}),
    **others: Section,
) -> Checkpoints:
    """Collect the checkpoints that sections of params.yaml name, by their names in models.lock.

    A section names a checkpoint if it has an attribute `checkpoint` that is not None.

    Args:
        encoders: the sections of the encoders, by name.
        judges: the sections of the judges, by name.
        others: other sections that may name a checkpoint, such as `enrich`, by name.

    Raises:
        ParamsError: if an encoder and a judge would have the same name in models.lock.
    """
    for name in judges:
        if f"vote-{name}" in encoders:
            raise ParamsError(f"encoder 'vote-{name}' and judge '{name}' would share a line of {LOCK}; rename one")
    sections: dict[str, Section] = {**encoders, **{f"vote-{name}": params for name, params in judges.items()}}
    sections |= {f"{name}/model": section for name, section in others.items()}  # no encoder can have such a name
    specs = {name: getattr(params, "checkpoint", None) for name, params in sections.items()}
    return {name: spec for name, spec in specs.items() if spec is not None}


def lock_models(checkpoints: Checkpoints) -> Locked:
    """Write models.lock with the hashes of the checkpoints as they are now, and return them.

    Raises:
        CheckpointError: as for `resolve`.
    """
    locked = {name: hashes_of(spec) for name, spec in checkpoints.items()}
    atomic_write(LOCK, json.dumps(locked, indent=1, sort_keys=True) + "\n", durable=True)
    return locked


def lock_again(checkpoints: Checkpoints) -> None:
    """Write the hashes of some checkpoints into models.lock as they are now, and keep what it has of others.

    Raises:
        CheckpointError: as for `resolve`, or models.lock cannot be read.
    """
    locked = {**_read(), **{name: hashes_of(spec) for name, spec in checkpoints.items()}}
    atomic_write(LOCK, json.dumps(locked, indent=1, sort_keys=True) + "\n", durable=True)


def check_locked(checkpoints: Checkpoints) -> None:
    """Check that the checkpoints have the hashes that are in models.lock.

    Raises:
        CheckpointError: if a checkpoint is missing, is not in models.lock, or has files that differ from it.
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
    """Return the SHA-256 of each file of a checkpoint, by the file's name.

    Args:
        checkpoint: its spec.

    Raises:
        CheckpointError: as for `resolve`.
    """
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
