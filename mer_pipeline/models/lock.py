"""`models.lock`: the SHA-256 of every file of the checkpoints that params.yaml names.

Its keys are the names of encoders, `vote-JUDGE` for judges, and `SECTION/model` for other sections, such as
`enrich/model`. DVC cannot watch the folder of a checkpoint, because params.yaml only has a spec of it. Therefore DVC
watches models.lock, and a stage refuses weights that differ from it. The store does not use this file: the fingerprint
of a row has the content of the weights.

An entry has the hash of each file. For a checkpoint that `mer models fetch` wrote, it also has the origin:

    "words": {"config.json": "…", "model.safetensors": "…"}
    "voice": {"files": {"config.json": "…", "model.safetensors": "…"},
              "origin": {"spec": "…", "repository": "…", "commit": "…", "licence": "…",
                         "downloaded": {"config.json": "…", "pytorch_model.bin": "…"}}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mer_pipeline.base.atomic import atomic_write
from mer_pipeline.base.errors import CheckpointError, ParamsError
from mer_pipeline.config.project import Project
from mer_pipeline.config.section import Section
from mer_pipeline.models.checkpoint import folder_of, resolve, value_files
from mer_pipeline.models.origin import read_origin
from mer_pipeline.store.fingerprint import sha256_of

LOCK = Project().lock
Hashes = dict[str, str]  # the SHA-256 of each file of a checkpoint, by the file's name
Locked = dict[str, Hashes]  # for each name in models.lock
Entry = dict[str, Any]  # of one name in models.lock, in either form
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
    """Write models.lock with the hashes and origins of the checkpoints as they are now, and return the hashes.

    Raises:
        CheckpointError: as for `resolve`.
    """
    locked = {name: hashes_of(spec) for name, spec in checkpoints.items()}
    _write({name: _entry(checkpoints[name], files) for name, files in locked.items()})
    return locked


def lock_fetched(checkpoints: Checkpoints) -> list[str]:
    """Add those of the checkpoints that are there to models.lock, and return their names.

    What stands in it is kept, unless its origin shows that params.yaml named another checkpoint then.

    Raises:
        CheckpointError: a checkpoint is not the one in models.lock. Nothing is written.
    """
    before = read_lock()
    after = {name: entry for name, entry in before.items() if name in checkpoints}
    there = []
    for name, spec in checkpoints.items():
        try:
            now = hashes_of(spec)
        except CheckpointError:
            continue  # it is missing or unfit, which whoever fetches has said already
        there.append(name)
        if name in before and before[name].get("origin", {}).get("spec", spec) == spec:
            _check(name, spec, now, files_of(before[name]))
        after[name] = _entry(spec, now)
    _write(after)
    return there


def locked_commits() -> Mapping[str, str]:
    """Return the commit that models.lock has for each spec."""
    origins = (entry.get("origin") for entry in read_lock().values())
    return {one["spec"]: one["commit"] for one in origins if one}


def check_locked(checkpoints: Checkpoints) -> None:
    """Check that the checkpoints have the hashes that are in models.lock.

    Raises:
        CheckpointError: if a checkpoint is missing, is not in models.lock, or has files that differ from it.
    """
    locked: dict[str, Entry] | None = None
    for name, spec in checkpoints.items():
        locked = read_lock() if locked is None else locked
        now = hashes_of(spec)
        if name not in locked:
            raise CheckpointError(f"'{name}': {LOCK} does not have its checkpoint; run `mer models lock`")
        _check(name, spec, now, files_of(locked[name]))


def hashes_of(checkpoint: str) -> dict[str, str]:
    """Return the SHA-256 of each file of a checkpoint, by the file's name.

    Args:
        checkpoint: its spec.

    Raises:
        CheckpointError: as for `resolve`.
    """
    return {path.name: sha256_of(path) for path in value_files(resolve(checkpoint))}


def _check(name: str, spec: str, now: Hashes, locked: Hashes) -> None:
    other = sorted(key for key in now.keys() | locked.keys() if now.get(key) != locked.get(key))
    if other:
        raise CheckpointError(
            f"'{name}': {other[0]} of {spec} is not the one in {LOCK}; put the old one back, "
            "or accept the new one with `mer models lock`"
        )


def _entry(spec: str, files: Hashes) -> Entry:
    origin = read_origin(folder_of(spec))
    if origin is None or origin.files != files:
        return dict(files)
    return {"files": files, "origin": {key: value for key, value in asdict(origin).items() if key != "files"}}


def files_of(entry: Entry) -> Hashes:
    """Return the SHA-256 of each file of a checkpoint, from its entry in models.lock."""
    files: Hashes = entry.get("files", entry)
    return files


def _write(entries: Mapping[str, Entry]) -> None:
    atomic_write(LOCK, json.dumps(entries, indent=1, sort_keys=True) + "\n", durable=True)


def read_lock(path: Path = LOCK) -> dict[str, Entry]:
    """Return the entries of models.lock by name; none if there is no such file.

    Raises:
        CheckpointError: the file cannot be read.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(entries, dict) and all(isinstance(entry, dict) for entry in entries.values()):
            return entries
    except FileNotFoundError:
        return {}
    except ValueError:
        pass
    raise CheckpointError(f"{path} cannot be read; write it again with `mer models lock`")
