"""The gallery: a few clips with their pictures, sound, words, labels and predictions.

A fixed rule chooses the clips: it takes turns between four kinds (wrong, right, label changed, something missing) and,
within a kind, between the classes. The choice depends only on the data. Pictures, sound and words are read only for the
chosen clips.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import zip_longest

from mer_pipeline.base.clips import Row
from mer_pipeline.base.target import PART
from mer_pipeline.config.project import Project
from mer_pipeline.report.collect import Facts, Guess
from mer_pipeline.report.pictures import outline, thumbnail
from mer_pipeline.report.sources import number, numbers, rows_of, text

FRAMES, FRAME_SIDE, FACE_SIDE = 3, 200, 160
WORDS = 600  # the most characters that a card shows of one text

KINDS = {
    "wrong": "Wrong",
    "right": "Right",
    "changed": "Label changed",
    "odd": "Something missing",
    "open": "No answer known",
}


@dataclass(frozen=True)
class Picture:
    """A picture of a clip; `uri` is a data URI that contains the picture."""

    uri: str
    alt: str
    caption: str


@dataclass(frozen=True)
class Bar:
    """A bar for a named value; `share` is its length from 0 to 1, and a `marked` bar is highlighted."""

    name: str
    value: float | None
    share: float
    marked: bool = False


@dataclass(frozen=True)
class Card:
    """One clip of the gallery."""

    clip_id: str
    split: str
    group: str
    seconds: float | None
    kinds: tuple[str, ...]
    frames: tuple[Picture, ...]
    face: Picture | None
    sound: str | None  # the path of an SVG outline
    loudness: float | None  # RMS in dBFS
    zh: str | None
    en: str | None
    heard: bool  # whether a recogniser heard the words
    enriched: str | None
    given: str | None
    refined: str | None
    predicted: str | None
    true: str | None
    source: str | None  # where the prediction comes from, in words
    reason: str | None  # why refinement changed the label
    probabilities: tuple[Bar, ...]
    weights: tuple[Bar, ...]
    notes: tuple[str, ...]


def clips_to_show(facts: Facts, size: int) -> list[str]:
    """Return the ids of at most `size` clips to show.

    Wrong predictions are sorted by confidence, the highest first. All other clips are sorted by a hash of their id, so
    that clips with similar names are not shown next to each other.
    """
    members: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for clip_id in sorted(facts.clips, key=_shuffled):
        for kind in kinds_of(facts, clip_id):
            members[kind].append(clip_id)
    members["wrong"].sort(key=lambda clip_id: -_confidence(facts.guess(clip_id)))
    turns = zip_longest(*(_spread(facts, members[kind]) for kind in KINDS if kind != "open"))
    order = [*(clip_id for turn in turns for clip_id in turn if clip_id), *_spread(facts, members["open"])]
    return list(dict.fromkeys(order))[:size]


def kinds_of(facts: Facts, clip_id: str) -> tuple[str, ...]:
    """Return the kinds of a clip as keys of KINDS; there is at least one."""
    guess, answer = facts.guess(clip_id), facts.answer(clip_id)
    judged = guess and answer and _ranges(facts) is None  # a number is hardly ever exactly right
    verdict = ("right" if guess.label == answer else "wrong") if guess and judged else "open"
    refined = facts.labels.get(clip_id)
    odd = clip_id in facts.lacking or (guess is not None and guess.flag is not None)
    return (verdict, *(["changed"] if refined and refined.changed else []), *(["odd"] if odd else []))


def gallery(facts: Facts, project: Project, size: int) -> tuple[Card, ...]:
    """Return the cards of the chosen clips.

    Raises:
        StageError: a table lacks a column, or contains bytes that are no JPEG picture.
    """
    chosen = clips_to_show(facts, size)
    frames = rows_of(project.table("frames"), chosen, ["jpegs", "times"])
    faces = rows_of(project.table("faces"), chosen, ["crops", "times", "scores"])
    audio = rows_of(project.table("audio"), chosen, ["pcm", "rms_dbfs"])
    words = rows_of(project.table("transcript"), chosen, ["zh", "en", "heard"])
    enriched = rows_of(project.table("enriched"), chosen, ["text"])
    cards: list[Card] = []
    for clip_id in chosen:
        fact, guess, refined = facts.clips[clip_id], facts.guess(clip_id), facts.labels.get(clip_id)
        pcm = audio.get(clip_id, {}).get("pcm")
        cards.append(
            Card(
                clip_id=clip_id,
                split=fact.split,
                group=fact.group,
                seconds=fact.seconds,
                kinds=kinds_of(facts, clip_id),
                frames=_frames(clip_id, frames.get(clip_id)),
                face=_face(clip_id, faces.get(clip_id)),
                sound=outline(pcm) if isinstance(pcm, bytes) else None,
                loudness=number(audio.get(clip_id, {}).get("rms_dbfs")),
                zh=_short(words.get(clip_id, {}).get("zh")),
                en=_short(words.get(clip_id, {}).get("en")),
                heard=bool(words.get(clip_id, {}).get("heard")),
                enriched=_short(enriched.get(clip_id, {}).get("text")),
                given=fact.given,
                refined=refined.label if refined else None,
                predicted=guess.label if guess else None,
                true=facts.truth.get(clip_id),
                source=_source(facts, clip_id, guess),
                reason=refined.reason if refined and refined.changed else None,
                probabilities=_probabilities(facts, guess),
                weights=_weights(facts, guess),
                notes=(*facts.lacking.get(clip_id, ()), *([guess.flag] if guess and guess.flag else [])),
            )
        )
    return tuple(cards)


def _frames(clip_id: str, row: Row | None) -> tuple[Picture, ...]:
    """Return up to FRAMES pictures, from the middles of equal parts of the clip's list of frames."""
    jpegs, times = _bytes(row, "jpegs"), numbers(row["times"]) if row else ()
    count = min(FRAMES, len(jpegs))
    picks = [(2 * at + 1) * len(jpegs) // (2 * count) for at in range(count)]
    return tuple(
        Picture(
            thumbnail(jpegs[at], FRAME_SIDE, f"frame {at} of '{clip_id}' in data/frames"),
            f"Frame {at + 1} of {len(jpegs)} of clip {clip_id}",
            _seconds(times[at] if at < len(times) else None),
        )
        for at in picks
    )


def _face(clip_id: str, row: Row | None) -> Picture | None:
    """Return the face crop with the highest score of the detector, or None if there is none."""
    crops, scores, times = _bytes(row, "crops"), *((numbers(row[n]) if row else ()) for n in ("scores", "times"))
    if not crops:
        return None
    best = max(range(len(crops)), key=lambda at: ((scores[at] or 0.0) if at < len(scores) else 0.0, -at))
    uri = thumbnail(crops[best], FACE_SIDE, f"crop {best} of '{clip_id}' in data/faces")
    when = _seconds(times[best] if best < len(times) else None)
    return Picture(uri, f"Face crop {best + 1} of {len(crops)} of clip {clip_id}", f"face, {when}" if when else "face")


def _probabilities(facts: Facts, guess: Guess | None) -> tuple[Bar, ...]:
    if guess is None:
        return ()
    pairs = zip(facts.classes, guess.probabilities, strict=False)
    if (ranges := _ranges(facts)) is not None:
        parts = zip(pairs, ranges, strict=False)
        return tuple(Bar(name, value, (value - low) / (high - low)) for (name, value), (low, high) in parts)
    said = set(guess.label.split(PART))
    return tuple(Bar(name, value, min(1.0, max(0.0, value)), name in said) for name, value in pairs)


def _ranges(facts: Facts) -> tuple[tuple[float, float], ...] | None:
    """Return the ranges of the numbers that are predicted; None where classes are."""
    found = facts.metrics.train.target
    return None if found is None else found.ranges


def _weights(facts: Facts, guess: Guess | None) -> tuple[Bar, ...]:
    if guess is None or not guess.weights:
        return ()
    top = max(1.0, *(abs(value or 0.0) for value in guess.weights))
    pairs = zip(facts.metrics.train.modalities, guess.weights, strict=False)
    return tuple(Bar(name, value, abs(value or 0.0) / top) for name, value in pairs)


def _source(facts: Facts, clip_id: str, guess: Guess | None) -> str | None:
    if guess is None:
        return None
    return f"{guess.head}, submitted" if clip_id in facts.predictions else f"{guess.head}, out-of-fold"


def _spread(facts: Facts, clip_ids: Sequence[str]) -> Iterable[str]:
    """Return the clips in an order that takes turns between the classes and keeps the order within a class."""
    queues: dict[str | None, list[str]] = {}
    for clip_id in clip_ids:
        queues.setdefault(facts.answer(clip_id), []).append(clip_id)
    return [clip_id for turn in zip_longest(*queues.values()) for clip_id in turn if clip_id]


def _shuffled(clip_id: str) -> bytes:
    return blake2b(clip_id.encode(), digest_size=16, person=b"mer-gallery").digest()


def _confidence(guess: Guess | None) -> float:
    return max(guess.probabilities, default=0.0) if guess else 0.0


def _bytes(row: Row | None, column: str) -> list[bytes]:
    value = row[column] if row else None
    return [item for item in value if isinstance(item, bytes)] if isinstance(value, list) else []


def _short(value: object) -> str | None:
    words = text(value)
    return words if words is None or len(words) <= WORDS else words[: WORDS - 1].rstrip() + "…"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} s"
