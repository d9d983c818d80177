"""Which installed packages decide a value: those that the code imports and what they are built on, with versions.

What a package is built on is read from its own metadata, so that an upgrade of timm is seen behind open_clip. Left out
is what only carries values about, prints or downloads (CARRIERS), and, where nothing is computed on a GPU, what only a
GPU uses (ON_GPU).
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path

# By the names under which they are installed. A new version of one recomputes nothing, and so does what only it needs.
CARRIERS = frozenset({
    # values pass through them unchanged: tables, sections, weights, files, downloads
    "pyarrow", "pydantic", "pydantic-core", "safetensors", "fsspec", "filelock", "pyyaml", "ruamel-yaml",
    "huggingface-hub", "hf-xet", "requests", "urllib3", "certifi", "charset-normalizer", "idna", "cloudpickle",
    # they write text for people, or templates whose files are in the key themselves
    "jinja2", "rich", "tqdm", "typer", "click", "pygments", "wcwidth",
    # they say what types are, which version is newer, or build packages
    "annotated-types", "narwhals", "packaging", "setuptools", "typing-extensions", "typing-inspection",
    # they start and limit threads
    "joblib", "threadpoolctl",
    # where optuna keeps studies, and what it logs; here they are kept in memory
    "alembic", "colorama", "colorlog", "greenlet", "mako", "markupsafe", "sqlalchemy",
    # torch's symbolic shapes, for compiled code, which nothing here runs
    "sympy", "mpmath", "networkx",
})  # fmt: skip

# Kernels and their compiler: torch's wheels for the GPU bring them, and on a CPU none of them is called.
ON_GPU = re.compile(r"nvidia-|cuda-|triton|pytorch-triton|amd-|rocm")

# What a package uses where it is installed, and does not need: its metadata has that only among all extras, with tools
# for its tests and docs.
OPTIONAL: Mapping[str, tuple[str, ...]] = {
    "open-clip-torch": ("transformers",),  # text towers from Hugging Face
    "transformers": (
        "torch", "torchvision", "torchaudio", "pillow", "timm", "librosa", "soundfile",
        "sentencepiece", "tiktoken", "protobuf", "accelerate", "kernels",
    ),
}  # fmt: skip

# The packages of imports that have another name; only a shortcut: to look through all that is installed takes 0.2 s.
PACKAGES = {
    "PIL": "pillow",
    "facenet_pytorch": "facenet-pytorch",
    "open_clip": "open-clip-torch",
    "sklearn": "scikit-learn",
}


def versions_of(imports: Iterable[str], *, on_gpu: bool = False) -> dict[str, str]:
    """Versions by package of everything behind some imports that may decide a value.

    Args:
        imports: top-level names, such as "PIL"; one that is not installed is "absent".
        on_gpu: whether values are computed on a GPU, so that its kernels count too.
    """
    found: dict[str, str] = {}
    todo = [(package, name) for name in imports for package in packages_of(name)]
    while todo:
        package, imported = todo.pop()
        if package in found or package in CARRIERS or (ON_GPU.match(package) and not on_gpu):
            continue
        found[package] = version_of(package) or _content_of(imported)
        todo += [(other, "") for other in built_on(package) if version_of(other)]
    return dict(sorted(found.items()))


def packages_of(name: str) -> tuple[str, ...]:
    """The installed packages that an import's name comes from; itself where none says that it has it."""
    package = PACKAGES.get(name, _plain(name))
    if version_of(package):
        return (package,)
    return tuple(sorted({_plain(each) for each in _every().get(name, ())})) or (package,)


@cache
def built_on(package: str) -> tuple[str, ...]:
    """What a package needs by its metadata, and what it uses where that is installed."""
    return tuple(sorted({*_names(_said(package, "Requires-Dist")), *OPTIONAL.get(package, ())}))


@cache
def version_of(package: str) -> str:
    """The installed version, with that of the decoder that a wheel carries; empty where it is not installed."""
    version = next(_said(package, "Version"), "")
    if package == "av" and version:
        import av

        return f"{version} FFmpeg {av.ffmpeg_version_info}"
    if package == "pillow" and version:
        from PIL import features

        return f"{version} libjpeg-turbo {features.version('libjpeg_turbo')}"
    return version


def _said(package: str, field: str) -> Iterator[str]:
    """What an installed package's metadata says under a name; ten times as fast as to parse it with its long text."""
    for line in _header(package):
        name, _, value = line.partition(": ")
        if name == field:
            yield value.strip()


@cache
def _header(package: str) -> tuple[str, ...]:
    try:
        found = metadata.distribution(package)
        text = found.read_text("METADATA") or found.read_text("PKG-INFO") or ""
    except metadata.PackageNotFoundError:
        text = ""
    return tuple(text.partition("\n\n")[0].splitlines())


def _names(requirements: Iterable[str]) -> Iterator[str]:
    """Packages named by requirements such as `numpy<2; python_version<"3.12"`, without those of extras."""
    for line in requirements:
        need, _, marker = line.partition(";")
        name = re.match(r"[\w.-]+", need)
        if name and not re.search(r"\bextra\b", marker):  # of other markers: what is installed may be used
            yield _plain(name.group())


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _content_of(name: str) -> str:
    """A hash in place of the version of something that no installer has recorded, such as a compiled module."""
    try:
        spec = importlib.util.find_spec(name) if name else None
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return "absent"
    roots = [Path(place) for place in spec.submodule_search_locations or [spec.origin or ""]]
    files = [path for root in roots for path in ([root] if root.is_file() else sorted(root.rglob("*")))]
    hashes = [hashlib.sha256(path.read_bytes()).digest() for path in files if path.is_file() and path.suffix != ".pyc"]
    return hashlib.sha256(b"".join(hashes)).hexdigest()


@cache
def _every() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()
