"""A checkpoint spec of params.yaml to a folder on this machine; safetensors only, nothing is downloaded.

dir:PATH                 that folder
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

Checkpoint = Annotated[str, Field(examples=["dir:models/name"])]  # a spec, as a section of params.yaml has it

SPEC = re.compile(r"(dir|hf|openclip|facenet):(\S.*)")
WEIGHTS = "*.safetensors"
VALUE_SUFFIXES = frozenset({".safetensors", ".json", ".txt", ".model", ".jinja", ".vocab", ".bpe", ".tiktoken"})


def resolve(spec: str) -> Path:
    """The folder of a checkpoint, with its weights in it.

    Raises:
        CheckpointError: the spec is of no known kind, the folder is missing, or it holds no safetensors.
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
    """The files of a checkpoint that decide what comes out of it: weights, configuration, preprocessing, tokeniser."""
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
    """Refuse a checkpoint that would leave random weights in the model.

    Args:
        folder: for the message.
        missing: names of parameters that the files do not have.
        allowed: prefixes of parts that are not used.

    Raises:
        CheckpointError: any other is missing.
    """
    lacking = sorted(name for name in missing if not name.startswith(allowed or ("\0",)))
    if lacking:
        raise CheckpointError(
            f"{folder} lacks {len(lacking)} of the model's weights (first: {lacking[0]}); "
            "is it complete, and of this family?"
        )
