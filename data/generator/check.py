"""Is the split that lies on disk the one that this code makes? Compared after decoding, not as bytes."""

from __future__ import annotations

import csv
from pathlib import Path

import av
import numpy as np

from generator.face import Images
from generator.voice import F64

NEAR_PICTURE, NEAR_SOUND = 1.0, 2e-3
"""Largest mean difference that another processor's rounding may make: grey levels of 255, sound of full scale 1."""


def decode(path: Path) -> tuple[Images, F64, list[float]]:
    """Frames (T, H, W, 3) as coded (not turned), samples (N,), and the frames' times in seconds.

    A file that ends early gives what can be had, an empty one nothing: both are part of the split.
    """
    frames: list[Images] = []
    samples: list[F64] = []
    times: list[float] = []
    if path.stat().st_size:
        with av.open(str(path)) as source:
            try:
                for frame in source.decode(list(source.streams)):
                    if isinstance(frame, av.VideoFrame):
                        frames.append(frame.to_ndarray(format="rgb24").astype(np.uint8))
                        times.append(frame.time)
                    elif isinstance(frame, av.AudioFrame):
                        samples.append(frame.to_ndarray()[0].astype(np.float64))
            except av.error.InvalidDataError:  # the cut packet of the truncated clip
                pass
    return (
        np.stack(frames) if frames else np.zeros((0, 0, 0, 3), np.uint8),
        np.concatenate(samples) if samples else np.zeros(0),
        times,
    )


def compare_clips(made: Path, kept: Path) -> str | None:
    """What differs between two files, or None."""
    if not kept.exists():
        return "missing"
    if made.read_bytes() == kept.read_bytes():
        return None
    (frames_a, wave_a, times_a), (frames_b, wave_b, times_b) = decode(made), decode(kept)
    if frames_a.shape != frames_b.shape:
        return f"pictures {frames_b.shape}, expected {frames_a.shape}"
    if wave_a.shape != wave_b.shape:
        return f"samples {wave_b.shape}, expected {wave_a.shape}"
    if times_a != times_b:
        return "the frames' times"
    picture = float(np.abs(frames_a.astype(int) - frames_b.astype(int)).mean()) if frames_a.size else 0.0
    sound = float(np.abs(wave_a - wave_b).mean()) if wave_a.size else 0.0
    if picture > NEAR_PICTURE or sound > NEAR_SOUND:
        return f"pictures by {picture:.2f} grey levels, sound by {sound:.1e} on average"
    return None


def compare_table(rows: list[tuple[str, ...]], kept: Path) -> str | None:
    """Where a CSV first differs from the rows it should have, or None."""
    if not kept.exists():
        return "missing"
    with kept.open(encoding="utf-8", newline="") as file:
        found = [tuple(row) for row in csv.reader(file)]
    if len(found) != len(rows):
        return f"{len(found)} lines, expected {len(rows)}"
    pairs = enumerate(zip(found, rows, strict=True), 1)
    return next((f"line {i}: {a}, expected {b}" for i, (a, b) in pairs if a != b), None)
