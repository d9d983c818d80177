"""The profiles, the params files that `mer init` starts from, and how it knows one that nobody has edited.

A file is read and written with its comments and its order, because people read and edit it.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import StringIO
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from mer_pipeline.cli.language import LANGUAGES, set_language

PROFILES = Path("profiles")
OPENFACE = {"detector": "openface"}  # the section `faces` of a dataset that has faces and no videos


def profile_names() -> list[str]:
    """Return the names of the profiles, sorted."""
    return sorted(path.stem for path in PROFILES.glob("*.yaml"))


def read_profile(name: str) -> CommentedMap:
    """Return the content of a profile, with its comments."""
    params: CommentedMap = _yaml().load(PROFILES / f"{name}.yaml")
    return params


def text_of(params: object) -> str:
    """Return the content of a params file as YAML."""
    out = StringIO()
    _yaml().dump(params, out)
    return out.getvalue()


def plain(params: object) -> Mapping[str, object]:
    """Return the content of a params file as the stages read it, of plain values."""
    loaded: Mapping[str, object] = YAML(typ="safe", pure=True).load(text_of(params))
    return loaded


def is_untouched(text: str) -> bool:
    """Say whether the text of params.yaml is a profile but for what `mer init` writes, comments included."""
    if not text.strip():
        return True
    try:
        written = _yaml().load(text)
        after = _after_dataset(written)
        language, faces = written["enrich"]["language"], written["faces"]
    except (YAMLError, KeyError, TypeError):
        return False
    for name in profile_names():
        params = read_profile(name)
        if after == _after_dataset(params):
            return True
        if language in LANGUAGES:
            set_language(params, language)
        if faces == OPENFACE:
            params["faces"] = CommentedMap(OPENFACE)
        if after == _after_dataset(params):
            return True
    return False


def _after_dataset(params: object) -> str:
    """Return what stands behind the section `dataset`."""
    return text_of(params).partition("\nfolds:")[2]


def _yaml() -> YAML:
    yaml = YAML()
    yaml.width = 120
    yaml.preserve_quotes = True
    return yaml
