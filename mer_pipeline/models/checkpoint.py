"""Find the folder of a checkpoint that params.yaml names. Nothing is downloaded, and only safetensors are read.

A checkpoint is named by a spec:

dir:PATH                   the folder PATH
hf:org/name[@rev]          models/org--name[@rev]/                a Hugging Face snapshot
openclip:ARCH/TAG[@rev]    models/openclip--ARCH--TAG[@rev]/      open_clip_config.json and safetensors
facenet:NAME               models/facenet--NAME/                  InceptionResnetV1's state dict as safetensors

`mer models fetch` writes all folders but the first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from mer_pipeline.base.errors import CheckpointError, MerError
from mer_pipeline.config.project import MODELS

if TYPE_CHECKING:
    import torch

Checkpoint = Annotated[str, Field(examples=["dir:models/name"])]  # a spec, as a section of params.yaml has it

SPEC = re.compile(r"(dir|hf|openclip|facenet):(\S.*)")
WEIGHTS = "*.safetensors"
POINTER = b"version https://git-lfs."  # begins a file that stands for another one
FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
VALUE_SUFFIXES = frozenset({".safetensors", ".json", ".txt", ".model", ".jinja", ".vocab", ".bpe", ".tiktoken"})


def resolve(spec: str) -> Path:
    """Return the folder of a checkpoint.

    Args:
        spec: the checkpoint's name, as described above.

    Raises:
        CheckpointError: the spec is of no known kind, the folder is missing, or it holds no safetensors; a file is a
            Git LFS pointer; the weights are torn or quantised.
    """
    folder = folder_of(spec)
    own = spec.startswith("dir:")
    if not folder.is_dir():
        remedy = "make a small one with `mer models tiny`" if own else "run `mer models fetch`"
        raise CheckpointError(f"checkpoint '{spec}': there is no folder {folder}; {remedy}")
    if not any(folder.glob(WEIGHTS)):
        remedy = "convert them (docs/encoders.md)" if own else "move the folder away and run `mer models fetch`"
        raise CheckpointError(
            f"checkpoint '{spec}': {folder} holds no .safetensors, and pickled weights (.bin, .pt) are "
            f"refused; {remedy}"
        )
    _refuse_pointers(folder)
    _refuse_quantised(folder)
    return folder


def parse(spec: str) -> tuple[str, str]:
    """Return the kind of a spec and what follows it.

    Raises:
        CheckpointError: it is of no known kind.

    Example:
        >>> parse("hf:org/name@main")
        ('hf', 'org/name@main')
    """
    match = SPEC.fullmatch(spec)
    if match is None:
        raise CheckpointError(
            f"checkpoint '{spec}' is of no known kind; write dir:PATH, hf:org/name@rev, "
            "openclip:ARCH/TAG@rev or facenet:NAME"
        )
    return match[1], match[2]


def folder_of(spec: str, models: Path = MODELS) -> Path:
    """Return the folder of a checkpoint, which need not be there.

    Args:
        spec: the checkpoint's name.
        models: the folder of all checkpoints.

    Raises:
        CheckpointError: the spec is of no known kind, or leads out of the folder of all checkpoints.

    Example:
        >>> folder_of("openclip:ViT-L-14/openai").as_posix()
        'models/openclip--ViT-L-14--openai'
    """
    kind, name = parse(spec)
    if kind == "dir":
        return Path(name)
    flat = name.replace("/", "--")
    if ".." in flat:
        raise CheckpointError(f"checkpoint '{spec}' has '..' in its name")
    return models / (flat if kind == "hf" else f"{kind}--{flat}")


def can_be_fetched(spec: str) -> bool:
    """Return whether a spec is of a kind that `mer models fetch` downloads: all but `dir:`."""
    return not spec.startswith("dir:")


def value_files(folder: Path) -> list[Path]:
    """List the files of a checkpoint that decide what it computes: weights, configuration, preprocessing, tokeniser."""
    return sorted(path for path in folder.iterdir() if path.suffix in VALUE_SUFFIXES and path.is_file())


@contextmanager
def loading(folder: Path, what: str) -> Iterator[None]:
    """Tell whatever a library raises at a checkpoint's files as the checkpoint's fault, in one sentence.

    Args:
        folder: for the message.
        what: cannot be done, such as "its weights cannot be loaded".

    Raises:
        CheckpointError: something was raised.
    """
    try:
        yield
    except MerError:
        raise
    except Exception as error:  # libraries have no error in common for files that are not as they expect
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{folder}: {what} ({type(error).__name__}: {reason})") from error


def _refuse_pointers(folder: Path) -> None:
    for path in value_files(folder):
        with path.open("rb") as file:
            if file.read(len(POINTER)) == POINTER:
                raise CheckpointError(
                    f"{path} is a Git LFS pointer and not the file itself; run `git lfs pull` where it was cloned, "
                    "or download the checkpoint with `mer models fetch`"
                )


def _refuse_quantised(folder: Path) -> None:
    """By the weights themselves: not every tool that quantises says so in the configuration."""
    from safetensors import safe_open

    for path in sorted(folder.glob(WEIGHTS)):
        with loading(folder, f"{path.name} cannot be read"), safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118  # it is no mapping
                kind = file.get_slice(name).get_dtype()
                if name.endswith("weight") and kind not in FLOATS:
                    raise quantised(folder, f"{name} is {kind}")


def quantised(folder: Path, how: str) -> CheckpointError:
    """The error that refuses quantised weights: this project computes in fp32.

    Args:
        folder: of the checkpoint.
        how: it shows.
    """
    return CheckpointError(f"{folder} is quantised ({how}); take the checkpoint that it was made from")


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


def check_finite(folder: Path, model: torch.nn.Module) -> None:
    """Refuse weights that would make every clip's vector infinite or not a number.

    Args:
        folder: for the message.
        model: with its weights loaded.

    Raises:
        CheckpointError: a weight is infinite or not a number.
    """
    for name, weight in model.named_parameters():
        if not bool(weight.sum().isfinite()):  # many times faster than a look at each, and none can hide in it
            raise CheckpointError(f"{folder}: the weight {name} has values that are no numbers; download it again")
