"""Who changes a default is told to raise a version: params that stand at their default are in no row's key.

`defaults.tsv` has every default of every class of params. `python tests/store/test_defaults.py` writes it anew.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections import Counter
from pathlib import Path

import mer_pipeline
from mer_pipeline.section import Section

TABLE = Path(__file__).with_name("defaults.tsv")


def defaults() -> dict[str, str]:
    """By class and field, as JSON; of a field that must be given there is none."""
    for module in pkgutil.walk_packages(mer_pipeline.__path__, "mer_pipeline."):
        importlib.import_module(module.name)
    kinds = sorted(_below(Section), key=lambda kind: (kind.__qualname__, kind.__module__))
    count = Counter(kind.__qualname__ for kind in kinds)
    found = {}
    for kind in kinds:
        name = kind.__qualname__ if count[kind.__qualname__] == 1 else f"{kind.__module__}.{kind.__qualname__}"
        for field, info in kind.model_fields.items():
            if not info.is_required():
                value = info.get_default(call_default_factory=True)
                said = value.model_dump(mode="json", exclude_defaults=True) if isinstance(value, Section) else value
                found[f"{name}.{field}"] = json.dumps(said, ensure_ascii=False, default=str)
    return found


def _below(kind: type[Section]) -> set[type[Section]]:
    direct = {one for one in kind.__subclasses__() if one.__module__.startswith("mer_pipeline.")}
    return direct.union(*map(_below, direct))


def test_defaults_are_those_of_the_table() -> None:
    """Another default gives other rows under the same key, unless the transform's version is another."""
    known, now = dict(line.split("\t") for line in TABLE.read_text().splitlines()), defaults()
    changed = [name for name in known if now.get(name, known[name]) != known[name]]
    listed = sorted(known.keys() ^ now.keys())
    write = f"then write {TABLE.name} anew: python tests/store/test_defaults.py"
    assert not changed, f"the default of {', '.join(changed)} changed: raise `version` of what reads it; {write}"
    assert not listed, f"{', '.join(listed)} came or went: that changes no key; {write.removeprefix('then ')}"


if __name__ == "__main__":
    TABLE.write_text("".join(f"{name}\t{default}\n" for name, default in defaults().items()))
