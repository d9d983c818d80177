"""Decide which files of a repository make a checkpoint, and which of them are converted. Nothing is asked or read.

| kind | besides the weights | weights, the first that are there |
|---|---|---|
| `hf` | FILES | model.safetensors or its shards; pytorch_model.bin or its shards |
| `openclip` | FILES, open_clip_config.json | what open_clip's table names; safetensors; open_clip_pytorch_model.bin |
| `facenet` | none | the file of the release |

Pickled weights (`.bin`, `.pt`) are converted to safetensors. A repository of FunASR (emotion2vec) has a config.yaml
instead of a config.json, and its weights in one `.pt`; both are converted. What else a repository has is left there:
weights for other libraries, optimiser states, weights in the format of fairseq.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

from mer_pipeline.base.errors import CheckpointError

Kind = Literal["hf", "openclip", "facenet"]

FILES = (
    "config.json", "generation_config.json", "preprocessor_config.json", "processor_config.json",
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.txt", "vocab.json", "merges.txt", "normalizer.json", "*.model", "*.tiktoken", "chat_template.jinja",
)  # fmt: skip
OPEN_CLIP = "open_clip_config.json"
WEIGHTS: dict[Kind, tuple[str, ...]] = {
    "hf": (
        r"model\.safetensors",
        r"model(-\d+-of-\d+\.safetensors|\.safetensors\.index\.json)",
        r"pytorch_model\.bin",
        r"pytorch_model(-\d+-of-\d+\.bin|\.bin\.index\.json)",
    ),
    "openclip": (r"open_clip_model\.safetensors", r"open_clip_pytorch_model\.bin"),
    "facenet": (r".*\.pt",),
}
PICKLES = (".bin", ".pt")
FUNASR = "config.yaml"  # the configuration where a repository is FunASR's; a config.json is made of it


@dataclass(frozen=True)
class RemoteFile:
    """A file on a server, as the server describes it.

    Attributes:
        name: its path in the repository.
        size: in bytes.
        sha256: of its content; None if the server does not say it.
        git: the SHA-1 that git gives its content; None if the server does not say it. The hub has it for small files.
    """

    name: str
    size: int
    sha256: str | None = None
    git: str | None = None


@dataclass(frozen=True)
class Repository:
    """A repository at one commit, as the hub describes it, or a release.

    Attributes:
        name: by which files are asked for.
        commit: of the files, or the tag of a release.
        licence: as it states it; None if it states none.
        gated: whether its owner must grant access.
        files: all that it has.
        weights: the file of weights that open_clip's table names; "" where it names none.
    """

    name: str
    commit: str
    licence: str | None
    gated: bool
    files: tuple[RemoteFile, ...]
    weights: str = ""


@dataclass(frozen=True)
class Wanted:
    """The files that make a checkpoint.

    Attributes:
        files: to be downloaded.
        converted: for each pickle among them, the name of the safetensors that are made of it; for FUNASR that of the
            config.json.
    """

    files: tuple[RemoteFile, ...]
    converted: dict[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def room(self) -> int:
        """The bytes on disk that are needed while they are made: converted weights are there twice."""
        return self.size + sum(file.size for file in self.files if file.name in self.converted)


def wanted(kind: Kind, repository: Repository) -> Wanted:
    """Choose the files of a repository.

    Args:
        kind: of the checkpoint's spec.
        repository: with all its files.

    Raises:
        CheckpointError: it has no weights that can be read here, or no configuration.

    Example:
        >>> files = ("config.json", "pytorch_model.bin", "tf_model.h5", "fairseq-ckpt.pt", "README.md")
        >>> repository = Repository("org/name", "c0ffee", "mit", False, tuple(RemoteFile(name, 1) for name in files))
        >>> chosen = wanted("hf", repository)
        >>> [file.name for file in chosen.files], chosen.converted
        (['config.json', 'pytorch_model.bin'], {'pytorch_model.bin': 'model.safetensors'})
    """
    names = {file.name for file in repository.files}
    funasr = kind == "hf" and FUNASR in names and "config.json" not in names
    patterns = [re.escape(repository.weights)] if repository.weights else WEIGHTS[kind]
    if funasr:
        patterns = [r"[^/]+\.pt"]
    found = (_whole([file for file in repository.files if re.fullmatch(pattern, file.name)]) for pattern in patterns)
    weights = next(filter(None, found), [])
    if not weights or (funasr and len(weights) > 1):
        raise CheckpointError(f"{repository.name} has no weights that can be read here ({_has(repository)})")
    config = {"hf": (FUNASR if funasr else "config.json",), "openclip": (OPEN_CLIP,), "facenet": ()}[kind]
    for name in config:
        if name not in names:
            raise CheckpointError(f"{repository.name} has no {name}; is it a checkpoint of this kind?")
    patterns = () if kind == "facenet" else config if funasr else (*FILES, *config)
    others = [file for file in repository.files if any(fnmatchcase(file.name, pattern) for pattern in patterns)]
    others = [file for file in others if "/" not in file.name]
    weights = [file for file in weights if file.name != "pytorch_model.bin.index.json"]  # it names the pickles
    converted = {file.name: safe_name(kind, file.name) for file in weights if file.name.endswith(PICKLES)}
    return Wanted((*others, *weights), converted | ({FUNASR: "config.json"} if funasr else {}))


def safe_name(kind: Kind, pickle: str) -> str:
    """Return the name of the safetensors that are made of a pickle.

    Example:
        >>> safe_name("hf", "pytorch_model-00001-of-00002.bin"), safe_name("facenet", "20180402-114759-vggface2.pt")
        ('model-00001-of-00002.safetensors', 'model.safetensors')
    """
    match kind:
        case "hf" if pickle.endswith(".pt"):
            return "model.safetensors"
        case "hf":
            return pickle.removeprefix("pytorch_").removesuffix(".bin") + ".safetensors"
        case "openclip":
            return "open_clip_model.safetensors"
        case "facenet":
            return "model.safetensors"


def _whole(files: list[RemoteFile]) -> list[RemoteFile]:
    """The files, if they are one file, or all the shards that their names promise with their index; else none."""
    counts = {int(match[1]) for file in files if (match := re.search(r"-of-(\d+)\.", file.name))}
    if not counts:
        return [] if any(file.name.endswith(".index.json") for file in files) else files
    return files if len(counts) == 1 and len(files) == counts.pop() + 1 else []


def _has(repository: Repository) -> str:
    names = sorted(file.name for file in repository.files if "." in file.name.lstrip("."))
    heavy = [name for name in names if name.rpartition(".")[2] not in {"json", "txt", "md", "py"}]
    return f"it has {', '.join(heavy[:6])}" if heavy else "it has none at all"
