"""Format seconds and bytes for users."""

from __future__ import annotations


def duration_text(seconds: float | None) -> str:
    """Return a duration as seconds, minutes or hours.

    Example:
        >>> duration_text(75), duration_text(300), duration_text(9000)
        ('75 s', '5 min', '2.5 h')
    """
    if seconds is None:
        return "time unknown"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def size_text(count: float) -> str:
    """Return a number of bytes in a fitting decimal unit.

    Example:
        >>> size_text(999), size_text(12_345_678)
        ('999 B', '12 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
