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

from mer_pipeline.cli.kinds import LINEAR, set_target
from mer_pipeline.cli.language import LANGUAGES, set_language
from mer_pipeline.cli.release import BASELINE, OPENFACE, set_best, set_detected
from mer_pipeline.config.components import JUDGES
from mer_pipeline.enrich.backend import EnrichParams
from mer_pipeline.judges.judge import JudgeParams

PROFILES = Path("profiles")
TEMPLATE = EnrichParams.model_fields["backend"].default  # the backend that asks no language model


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


def without_language_model(params: CommentedMap) -> list[str]:
    """Let rules write the context in the place of a language model, and take out the judges that read its scores.

    Args:
        params: the content of a profile; it is changed.

    Returns:
        The names of the judges that were taken out.
    """
    enrich = params["enrich"]
    for option in [key for key in enrich if key not in EnrichParams.model_fields]:
        del enrich[option]
    enrich["backend"] = TEMPLATE
    judges = params["judges"]
    taken = [name for name, judge in judges.items() if JUDGES.params_of(judge["kind"], JudgeParams).reads_scores]
    for name in taken:
        del judges[name]
    return taken


def is_untouched(text: str) -> bool:
    """Say whether the text of params.yaml is a profile but for what `mer init` writes, comments included."""
    if not text.strip():
        return True
    try:
        written = _yaml().load(text)
        after = _after_dataset(written)
        enrich, faces = written["enrich"], written["faces"]
        language, backend, adapter = enrich["language"], enrich["backend"], written["dataset"]["adapter"]
        kind = written["dataset"].get("target", "class")
    except (YAMLError, KeyError, TypeError):
        return False
    for name in profile_names():
        params = read_profile(name)
        if after == _after_dataset(params):
            return True
        if language in LANGUAGES:
            set_language(params, language)
        if name == BASELINE:
            set_best(params, adapter)
            if faces != params["faces"]:
                set_detected(params)
        elif faces == OPENFACE:
            params["faces"] = CommentedMap(OPENFACE)
        if backend == TEMPLATE:
            without_language_model(params)
        if kind in LINEAR:
            set_target(params, kind)
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
