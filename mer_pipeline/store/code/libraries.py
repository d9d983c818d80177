"""Find the installed packages that decide a value: those that the code imports, and their requirements, with versions.

The requirements of a package are read from its metadata, so that, for example, an upgrade of timm counts for code that
imports open_clip. Packages that only pass values on, print or download (CARRIERS) are left out, and so are packages
that only a GPU uses (ON_GPU), if nothing is computed on a GPU.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path

# By the names under which they are installed. A new version of one of them, or of a package that only they need,
# recomputes nothing.
CARRIERS = frozenset({
    # values pass through them unchanged: tables, sections, weights, files, downloads
    "pyarrow", "pydantic", "pydantic-core", "safetensors", "fsspec", "filelock", "pyyaml", "ruamel-yaml",
    "huggingface-hub", "hf-xet", "requests", "urllib3", "certifi", "charset-normalizer", "idna", "cloudpickle",
    # they write text for people, or fill templates, whose files are parts of the fingerprint themselves
    "jinja2", "rich", "tqdm", "typer", "click", "pygments", "wcwidth",
    # they describe types, compare versions, or build packages
    "annotated-types", "narwhals", "packaging", "setuptools", "typing-extensions", "typing-inspection",
    # they start and limit threads
    "joblib", "threadpoolctl",
    # optuna stores studies and writes logs with them; here studies are kept in memory
    "alembic", "colorama", "colorlog", "greenlet", "mako", "markupsafe", "sqlalchemy",
    # torch uses them for the symbolic shapes of compiled code, which this project does not run
    "sympy", "mpmath", "networkx",
})  # fmt: skip

# Kernels and their compiler, which come with torch's wheels for GPUs. On a CPU none of them is called.
ON_GPU = re.compile(r"nvidia-|cuda-|triton|pytorch-triton|amd-|rocm")

# Packages that another package uses if they are installed, but does not require. Its metadata lists them among its
# extras, together with tools for tests and docs, so they are listed here.
OPTIONAL: Mapping[str, tuple[str, ...]] = {
    "open-clip-torch": ("transformers",),  # text towers from Hugging Face
    "transformers": (
        "torch", "torchvision", "torchaudio", "pillow", "timm", "librosa", "soundfile",
        "sentencepiece", "tiktoken", "protobuf", "accelerate", "kernels",
    ),
}  # fmt: skip

# Packages whose import has another name. This table only saves the 0.2 s of a search through all installed packages.
PACKAGES = {
    "PIL": "pillow",
    "facenet_pytorch": "facenet-pytorch",
    "open_clip": "open-clip-torch",
    "sklearn": "scikit-learn",
}


def versions_of(imports: Iterable[str], *, on_gpu: bool = False) -> dict[str, str]:
    """Return the versions of all packages behind some imports that may decide a value, by package.

    Args:
        imports: top-level names of imports, such as "PIL".
        on_gpu: whether values are computed on a GPU, so that its kernels count too.

    Returns:
        Versions by package; "absent" for a package that is not installed, and a hash of the files of an importable
        module that no installer has recorded.
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
    """Return the installed packages that provide an import; the import's own name if no package does.

    Example:
        >>> packages_of("PIL")
        ('pillow',)
    """
    package = PACKAGES.get(name, _plain(name))
    if version_of(package):
        return (package,)
    return tuple(sorted({_plain(each) for each in _every().get(name, ())})) or (package,)


@cache
def built_on(package: str) -> tuple[str, ...]:
    """Return the packages that a package requires by its metadata, and those that it uses if they are installed."""
    return tuple(sorted({*_names(_said(package, "Requires-Dist")), *OPTIONAL.get(package, ())}))


@cache
def version_of(package: str) -> str:
    """Return the installed version of a package; "" if it is not installed.

    For av and pillow, the version of the decoder inside the wheel is added.
    """
    version = next(_said(package, "Version"), "")
    if package == "av" and version:
        import av

        return f"{version} FFmpeg {av.ffmpeg_version_info}"
    if package == "pillow" and version:
        from PIL import features

        return f"{version} libjpeg-turbo {features.version('libjpeg_turbo')}"
    return version


def _said(package: str, field: str) -> Iterator[str]:
    """Return the values of a field in an installed package's metadata.

    Only the header is read, which is ten times as fast as parsing the metadata with its long description.
    """
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
    """Return the packages in requirements such as `numpy<2; python_version<"3.12"`, without those of extras."""
    for line in requirements:
        need, _, marker = line.partition(";")
        name = re.match(r"[\w.-]+", need)
        if name and not re.search(r"\bextra\b", marker):  # other markers do not count
            yield _plain(name.group())


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _content_of(name: str) -> str:
    """Return a hash of a module's files, for a module without a version because no installer has recorded it."""
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
