"""Turn a JSON document into a table with one row per leaf, so that metric files can be compared like tables."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from mer_pipeline.tables.parts import Part


def leaves_part(path: str, document: object) -> Part:
    """Return a JSON document as a table.

    Each leaf of the document has one row. The column `path` has the keys that lead to the leaf
    (`heads.ecmf.given.n`). The value is in `number` if it is a number, else as JSON text in `text`.

    Args:
        path: the path of the document, for messages.
        document: the parsed JSON.
    """
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
