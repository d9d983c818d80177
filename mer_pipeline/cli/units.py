"""Seconds and bytes as people say them."""

from __future__ import annotations


def duration_text(seconds: float | None) -> str:
    """Seconds, minutes or hours, for a person."""
    if seconds is None:
        return "time unknown"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def size_text(count: float) -> str:
    """Bytes in a fitting unit, for a person."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
