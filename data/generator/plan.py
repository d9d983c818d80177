"""Which clips there are, and which of face, voice and words tells the class of each.

As in life the three compete. In every clip at least one of them *carries* the class; each of the others is
*flat* (hardly anything to read) or shows a *neighbouring* class (a worried clip with an angry voice). So no
single one can be read to the end, and it pays to weigh them. ``limits`` says how far each could be read by
someone who sees the generating states themselves.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

Rng = np.random.Generator

CLASSES = ("neutral", "angry", "happy", "sad", "worried", "surprise")
MODALITIES = ("face", "voice", "words")

SHARE = (0.20, 0.18, 0.18, 0.16, 0.15, 0.13)
"""Share of each class, in the order of ``CLASSES``: not quite balanced, as in life."""

NEIGHBOURS: dict[str, tuple[str, ...]] = {
    "neutral": ("sad", "happy"),
    "angry": ("worried", "surprise"),
    "happy": ("surprise", "neutral"),
    "sad": ("worried", "neutral"),
    "worried": ("sad", "angry"),
    "surprise": ("happy", "worried"),
}
"""What a class is mistaken for, likeliest first (two thirds, one third)."""

FIRST_NEIGHBOUR = 2 / 3
FLAT = 0.75
"""How often a modality that does not carry is flat, rather than a neighbouring class."""

CARRIERS: dict[tuple[str, ...], float] = {
    ("face",): 0.125,
    ("voice",): 0.125,
    ("words",): 0.125,
    ("face", "voice"): 0.155,
    ("face", "words"): 0.155,
    ("voice", "words"): 0.155,
    MODALITIES: 0.16,
}
"""How often which modalities carry: each 59.5%, one alone 37.5%, two 46.5%, all three 16%."""

WRONG = 0.15
"""Share of the training labels that are wrong."""


@dataclass(frozen=True, slots=True)
class Cue:
    """What one modality of one clip shows: ``shows`` is a class, or None where it is flat."""

    shows: str | None
    strength: float


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip of the plan. ``split`` is ``train``, ``test`` or ``pool``; ``given`` is the published label."""

    name: str
    speaker: str
    split: str
    label: str
    given: str
    face: Cue
    voice: Cue
    words: Cue


def rng_of(seed: int, *what: str) -> Rng:
    """The generator of one thing by its name, so that it can be made again alone and in any order."""
    digest = hashlib.sha256("/".join(what).encode()).digest()
    return np.random.default_rng(np.random.SeedSequence([seed, *np.frombuffer(digest[:16], "<u4").tolist()]))


TRAIN_SPEAKERS = tuple(f"s{i:02d}" for i in range(1, 9))
TEST_SPEAKERS = tuple(f"s{i:02d}" for i in range(9, 13))
POOL_SPEAKERS = ("s13", "s14")

SPEAKERS_OF: dict[str, tuple[str, ...]] = {
    "train": tuple(s for s in TRAIN_SPEAKERS for _ in range(15)),
    "test": tuple(s for s in TEST_SPEAKERS for _ in range(24)),
    "pool": TRAIN_SPEAKERS + tuple(s for s in POOL_SPEAKERS for _ in range(11)),
}
"""The speaker (the group) of every clip, by split: 120 + 96 + 30 clips of 14 groups."""


def make_plan(seed: int) -> list[Clip]:
    """All clips, in the order of their names within each split. Takes milliseconds: nothing is rendered."""
    clips: list[Clip] = []
    count: dict[str, int] = {}
    for split, speakers in SPEAKERS_OF.items():
        rng = rng_of(seed, "plan", split)
        labels = [CLASSES[i] for i in _quota(SHARE, len(speakers), rng)]
        patterns = [list(CARRIERS)[i] for i in _quota(tuple(CARRIERS.values()), len(speakers), rng)]
        given = _mislabel(labels, rng) if split == "train" else labels
        for speaker, label, published, carriers in zip(speakers, labels, given, patterns, strict=True):
            count[speaker] = count.get(speaker, 0) + 1
            cues = {m: _cue(label, m in carriers, rng) for m in MODALITIES}
            clips.append(Clip(f"{speaker}_{count[speaker]:04d}", speaker, split, label, published, **cues))
    return clips


def _quota(shares: tuple[float, ...], n: int, rng: Rng) -> list[int]:
    """n draws whose counts follow the shares as nearly as whole numbers can, shuffled."""
    exact = np.asarray(shares) / sum(shares) * n
    counts = np.floor(exact).astype(int)
    counts[np.argsort(exact - counts)[::-1][: n - counts.sum()]] += 1
    return [int(i) for i in rng.permutation(np.repeat(np.arange(len(shares)), counts))]


def confuse(label: str, rng: Rng) -> str:
    """A class that ``label`` is mistaken for: mostly a neighbour, at times any other."""
    if rng.random() < 0.8:
        first, second = NEIGHBOURS[label]
        return first if rng.random() < FIRST_NEIGHBOUR else second
    return str(rng.choice([c for c in CLASSES if c != label]))


def _mislabel(labels: list[str], rng: Rng) -> list[str]:
    wrong = set(rng.choice(len(labels), round(WRONG * len(labels)), replace=False).tolist())
    return [confuse(label, rng) if i in wrong else label for i, label in enumerate(labels)]


def _cue(label: str, carries: bool, rng: Rng) -> Cue:
    if carries:
        return Cue(label, float(rng.uniform(0.85, 1.15)))
    if rng.random() < FLAT:
        return Cue(None, float(rng.uniform(0.0, 0.15)))
    first, second = NEIGHBOURS[label]
    return Cue(first if rng.random() < FIRST_NEIGHBOUR else second, float(rng.uniform(0.5, 0.75)))


def limits() -> dict[str, float]:
    """Accuracy of the best possible reader of the generating states: of each modality alone, and of all three.

    Exact, by enumerating class x carriers x states. The strength of a cue is left out, which a reader could use
    (a neighbouring class is shown more weakly), and so is everything that rendering blurs.
    """
    states: tuple[str | None, ...] = (None, *CLASSES)
    joint: NDArray[np.float64] = np.zeros((len(CLASSES), *(len(states),) * len(MODALITIES)))
    for (c, label), (carriers, p) in product(enumerate(CLASSES), CARRIERS.items()):
        per_modality = [_states(label, m in carriers, states) for m in MODALITIES]
        joint[c] += SHARE[c] * p * np.einsum("i,j,k->ijk", *per_modality)
    alone = {m: joint.sum(axis=tuple(a for a in (1, 2, 3) if a != i + 1)) for i, m in enumerate(MODALITIES)}
    return {**{m: float(t.max(axis=0).sum()) for m, t in alone.items()}, "all": float(joint.max(axis=0).sum())}


def _states(label: str, carries: bool, states: tuple[str | None, ...]) -> NDArray[np.float64]:
    """The distribution of one modality's state: (7,), first flat, then the classes."""
    p = np.zeros(len(states))
    if carries:
        p[states.index(label)] = 1.0
        return p
    first, second = NEIGHBOURS[label]
    p[0] = FLAT
    p[states.index(first)] += (1 - FLAT) * FIRST_NEIGHBOUR
    p[states.index(second)] += (1 - FLAT) * (1 - FIRST_NEIGHBOUR)
    return p
