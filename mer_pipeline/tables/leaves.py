"""A JSON document as a table with a row per leaf, so that metric files are compared as tables are."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from mer_pipeline.tables.parts import Part


def leaves_part(path: str, document: object) -> Part:
    """The table: `path` says where a leaf is (`heads.ecmf.given.n`), `number` or `text` what is there."""
    leaves = list(_leaves(document, ""))
    numbers = [leaf if isinstance(leaf, int | float) and not isinstance(leaf, bool) else None for _, leaf in leaves]
    texts = [json.dumps(leaf) if number is None else None for (_, leaf), number in zip(leaves, numbers, strict=True)]
    schema = pa.schema([("path", pa.string()), ("number", pa.float64()), ("text", pa.string())])
    sink = io.BytesIO()
    pq.write_table(pa.table([[name for name, _ in leaves], numbers, texts], schema=schema), sink)
    return Part(path, lambda: io.BytesIO(sink.getvalue()))


def _leaves(value: object, path: str) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict | list) and value:
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(inner, f"{path}.{name}".lstrip("."))
    else:
        yield path, value
