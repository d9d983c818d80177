"""The kinds of target, apart from target.py, which needs numpy."""

from __future__ import annotations

from typing import Literal

Kind = Literal["class", "multilabel", "regression"]


def outputs_column(kind: Kind) -> str:
    """Return the name of the column with the numbers behind predicted labels."""
    return "values" if kind == "regression" else "probabilities"
