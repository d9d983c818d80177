"""Who changes a default is told to raise a version: params that stand at their default are in no row's key."""

from __future__ import annotations

import re
from pathlib import Path

from tests.test_docs import script

PAGE = Path(__file__).resolve().parent.parent.parent / "docs/params.md"


def defaults(page: str) -> dict[str, str]:
    """Of every key of docs/params.md, by its section and, where it has one, its component."""
    found, section, component = {}, "", ""
    for line in page.splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ")
        cells = [cell.strip(" `*") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 3:
            found[f"{section}.{cells[0]}"] = cells[1]
        elif cells and cells[0]:
            component = cells[0]
        elif cells:
            found[f"{section}.{component}.{cells[1]}"] = cells[2]
    return found


def test_a_changed_default_is_told() -> None:
    """Another default gives other rows under the same key, unless the transform's version is another."""
    known, now = defaults(PAGE.read_text()), defaults(script("write").params_page())
    assert {".numerics", "frames.n", "encoders.NAME.char-ngram.dim", "train.heads.NAME.logreg.c"} <= known.keys()
    changed = [name for name in known if now.get(name, known[name]) != known[name]]
    assert not changed, (
        f"the default of {', '.join(changed)} changed: raise `version` of what reads it; then python docs/write.py"
    )
