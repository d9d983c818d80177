"""Find the folder of a checkpoint that params.yaml names. Nothing is downloaded, and only safetensors are read.

A checkpoint is named by a spec:

dir:PATH                 the folder PATH
hf:org/name[@rev]        models/org--name[@rev]/          a Hugging Face snapshot
openclip:ARCH/TAG        models/openclip--ARCH--TAG/      open_clip_config.json and safetensors
facenet:NAME             models/facenet--NAME/            InceptionResnetV1's state dict as safetensors
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import Field

from mer_pipeline.base.errors import CheckpointError
from mer_pipeline.config.project import MODELS

Checkpoint = Annotated[str, Field(examples=["dir:models/name"])]  # the type of a spec in a section of params.yaml

SPEC = re.compile(r"(dir|hf|openclip|facenet):(\S.*)")
WEIGHTS = "*.safetensors"
# Suffixes of the files that decide what a model computes.
VALUE_SUFFIXES = frozenset({".safetensors", ".json", ".txt", ".model", ".jinja", ".vocab", ".bpe", ".tiktoken"})


def resolve(spec: str) -> Path:
    """Return the folder of a checkpoint.

    Args:
        spec: the checkpoint's name, as described above.

    Raises:
        CheckpointError: if the spec is of no known kind, the folder is missing, or it has no safetensors.
    """
    match = SPEC.fullmatch(spec)
    if match is None:
        raise CheckpointError(
            f"checkpoint '{spec}' is of no known kind; write dir:PATH, hf:org/name@rev, "
            "openclip:ARCH/TAG or facenet:NAME"
        )
    kind, name = match.groups()
    folder = Path(name) if kind == "dir" else MODELS / _folder_name(kind, name)
    if not folder.is_dir():
        remedy = (
            "make a small one with `mer models tiny`" if kind == "dir" else f"put its files there ({_how(kind, name)})"
        )
        raise CheckpointError(f"checkpoint '{spec}': there is no folder {folder}; {remedy}")
    if not any(folder.glob(WEIGHTS)):
        raise CheckpointError(
            f"checkpoint '{spec}': {folder} holds no .safetensors; pickled weights (.bin, .pt) are "
            "refused, convert them"
        )
    return folder


def value_files(folder: Path) -> list[Path]:
    """List the files of a checkpoint that decide what it computes: weights, configuration, preprocessing, tokeniser."""
    return sorted(path for path in folder.iterdir() if path.suffix in VALUE_SUFFIXES and path.is_file())


def _folder_name(kind: str, name: str) -> str:
    flat = name.replace("/", "--")
    if ".." in flat:
        raise CheckpointError(f"checkpoint '{kind}:{name}' has '..' in its name")
    return flat if kind == "hf" else f"{kind}--{flat}"


def _how(kind: str, name: str) -> str:
    if kind == "hf":
        repo, _, revision = name.partition("@")
        at = f" --revision {revision}" if revision else ""
        return f"hf download {repo}{at} --local-dir {MODELS / _folder_name(kind, name)}"
    return "docs/encoders.md says how"


def check_complete(folder: Path, missing: set[str], allowed: tuple[str, ...] = ()) -> None:
    """Refuse a checkpoint that lacks weights which the model needs, because they would stay random.

    Args:
        folder: the folder of the checkpoint, for the message.
        missing: names of the model's parameters that the checkpoint does not have.
        allowed: beginnings of the names of parameters that are not used and may be missing.

    Raises:
        CheckpointError: if a parameter is missing whose name does not begin with one of `allowed`.
    """
    lacking = sorted(name for name in missing if not name.startswith(allowed or ("\0",)))
    if lacking:
        raise CheckpointError(
            f"{folder} lacks {len(lacking)} of the model's weights (first: {lacking[0]}); "
            "is it complete, and of this family?"
        )
