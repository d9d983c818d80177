"""Clips with a known structure, whose exact posterior p(class | what is there) can be computed.

C = 6 classes, two of them rare (PRIOR). A class has a place u_c in 2 + C dimensions: valence and arousal (Russell's
circumplex, by eye), where some classes lie close, and one dimension of its own. M = 4 modalities see 3 sources:

    source g    shows a class s_g: the true y with probability 1 - ρ_g, else any other: conflict within a clip
                has the evidence z_g = Γ_g u_{s_g} + τ ε: the voice tells arousal, the words valence, the face both
    modality m  of source g, x_m = Q_m [a_m z_g + ε, S_m ε']: D_m values, Q_m a random rotation
                S_m ε': what has nothing to do with emotion, independent noise of falling sd, from `drown` to 1/2

    face   easy and strong: few values, little noise, a large a. Also the source with the most conflict.
    frame  redundant: the same z as the face, only fainter. What the two share is not to be counted twice.
    voice, words   hard: fainter, in more values, under noise three times as large. But seldom in conflict.

Given s_g, all that a clip says of z_g is t_g = Σ a_m v_m / A_g, with v_m the evidence part of Q_m' x_m and A_g = Σ a_m²
over the source's modalities that are there: t_g ~ N(Γ_g u_{s_g}, (τ² + 1/A_g) I). So

    p(y | x, mask) ∝ p_y Π_g Σ_s P_g(s | y) N(t_g; Γ_g u_s, (τ² + 1/A_g) I)     `World.posterior`

**Missing** is independent of all else, and one modality stays with everybody. Asked is the share of all cells.

**Labels** for training are the majority of three people (of three different answers the first) who err alike: each
repeats what the clip suggests with probability COPY, and else judges alone. Either opinion is wrong with the same
probability e, and then says c with K_yc ∝ p_c exp(-|u_y - u_c|² / h²) on the circumplex: confusable classes, not any.
`transition` is P(label | y); e is chosen so that the share of wrong labels is what was asked.

Everything is decided by the seed. Clips of a larger draw begin with those of a smaller one, and more noise or more
missing adds to what there was: so are cells of a table compared on the same clips.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mer_pipeline.base.modalities import Features

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import log_softmax, logsumexp

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CLASSES = ("neutral", "angry", "happy", "sad", "worried", "surprise")
PRIOR = np.array([0.28, 0.24, 0.22, 0.14, 0.08, 0.04])
CIRCUMPLEX = np.array([[0, 0], [-0.7, 0.7], [0.8, 0.4], [-0.7, -0.5], [-0.5, 0.3], [0.3, 0.8]])
OWN = 0.7  # length of a class's own dimension
NEAR = 0.7  # h of K
COPY = 0.5
TAU = 0.35
C, R = len(CLASSES), 2 + len(CLASSES)


@dataclass(frozen=True)
class Source:
    """ρ, and the diagonal of Γ: of valence, arousal and the classes' own dimensions."""

    conflict: float
    valence: float
    arousal: float
    own: float


@dataclass(frozen=True)
class Modality:
    """Its source, D, a, and the largest sd of what has nothing to do with emotion."""

    source: str
    dim: int
    gain: float
    drown: float


SOURCES = {
    "seen": Source(0.25, 1.0, 1.0, 1.0),
    "heard": Source(0.10, 0.5, 1.2, 1.0),
    "said": Source(0.10, 1.2, 0.5, 1.0),
}
MODALITIES = {
    "face": Modality("seen", 32, 4.0, 1.0),
    "frame": Modality("seen", 64, 1.6, 3.0),
    "voice": Modality("heard", 96, 1.8, 3.0),
    "words": Modality("said", 128, 1.8, 3.0),
}
NAMES = tuple(MODALITIES)
M = len(NAMES)


@dataclass(frozen=True)
class Clips:
    """n clips.

    Attributes:
        features: x is zero where the mask is false.
        true: int64 (n,).
        label: int64 (n,), what training is told.
        votes: int64 (n, 3), what the three people said.
    """

    features: Features
    true: Ints
    label: Ints
    votes: Ints


def places() -> Floats:
    """The u of all classes, (C, R)."""
    return np.concatenate([CIRCUMPLEX, OWN * np.eye(C)], axis=1)


def confusable() -> Floats:
    """K, (C, C): which other class a wrong opinion names; rows sum to one."""
    gap = ((CIRCUMPLEX[:, None] - CIRCUMPLEX) ** 2).sum(axis=2)
    k = PRIOR * np.exp(-gap / NEAR**2) * (1 - np.eye(C))
    return np.asarray(k / k.sum(axis=1, keepdims=True))


def shown(source: Source) -> Floats:
    """P_g(s | y), (C, C)."""
    return np.asarray((1 - source.conflict) * np.eye(C) + source.conflict * (1 - np.eye(C)) / (C - 1))


def loading(source: Source) -> Floats:
    """Γ_g u_s of every class, (C, R)."""
    return np.asarray(places() * np.array([source.valence, source.arousal, *[source.own] * C]))


def transition(noise: float) -> Floats:
    """P(label | y), (C, C), with a share `noise` of wrong labels."""
    return _majority(_wrong(noise))


def _wrong(noise: float) -> float:
    """The e for which the majority errs in `noise` of the clips."""
    if not noise:
        return 0.0
    return float(brentq(lambda e: PRIOR @ (1 - np.diag(_majority(e))) - noise, 0, 1))


def _majority(e: float) -> Floats:
    """P(majority | y): two or three who copy decide; else the most named of independent three, or the first."""
    q = (1 - e) * np.eye(C) + e * confusable()
    copied = 3 * COPY**2 * (1 - COPY) + COPY**3
    others_differ = (1 - q) ** 2 - ((q**2).sum(axis=1, keepdims=True) - q**2)
    return np.asarray(copied * q + (1 - copied) * (q**2 * (3 - 2 * q) + q * others_differ))


def absent(missing: float) -> float:
    """The chance of each modality to be away, so that with one kept of those who lose all a share `missing` is."""
    return float(brentq(lambda p: p - p**M / M - missing, 0, 1)) if missing else 0.0


class World:
    """The rotations of one seed, the draws from them, and their posterior.

    Args:
        seed: of everything.
        spotlight: None for what the module describes. Else each clip has one modality that tells the class, drawn
            evenly, and all have sources of their own with equal gains and no conflict. The others have no evidence
            ("flat", z = τ ε), or each that of some class but the true one, drawn from PRIOR ("overlap"): they look as
            if they told it, too, and little in the features says which one does (`spot`).
    """

    def __init__(self, seed: int, spotlight: Literal["flat", "overlap"] | None = None) -> None:
        self.seed, self.spotlight = seed, spotlight
        self.rotations = []
        for m, one in enumerate(MODALITIES.values()):
            q, r = np.linalg.qr(_stream(seed, "rotation", m).normal(size=(one.dim, one.dim)))
            self.rotations.append(q * np.sign(np.diag(r)))

    def draw(self, n: int, part: str, missing: float = 0.0, noise: float = 0.0) -> Clips:
        """The first n clips of `part` ("train", "test"); asked are the shares of missing cells and of wrong labels."""
        true = _choose(PRIOR, _stream(self.seed, part, "class").random(n))
        z = self._evidence(true, part) + TAU * self._normal(n, part, "z", self._shared())
        x = []
        for m, (name, one) in enumerate(MODALITIES.items()):
            noisy = _stream(self.seed, part, "x", m).normal(size=(n, one.dim))
            spectrum = np.geomspace(one.drown, 0.5, one.dim - R)
            inside = self.gain(name) * z[:, m] + noisy[:, :R]
            x.append(np.concatenate([inside, spectrum * noisy[:, R:]], axis=1) @ self.rotations[m].T)
        u = _stream(self.seed, part, "mask").random((n, M))
        mask = u >= absent(missing)
        mask[np.arange(n), u.argmax(axis=1)] = True  # for those who would lose all, and no change for the rest
        kept = tuple(np.where(mask[:, m : m + 1], x[m], 0).astype(np.float32) for m in range(M))
        votes = self._votes(true, part, _wrong(noise))
        label = np.where(votes[:, 1] == votes[:, 2], votes[:, 1], votes[:, 0])
        return Clips(Features(NAMES, kept, mask), true, label, votes)

    def gain(self, name: str) -> float:
        """a_m."""
        return MODALITIES[name].gain if self.spotlight is None else SPOTLIGHT_GAIN

    def source(self, name: str) -> Source:
        """Of a modality."""
        return SOURCES[MODALITIES[name].source] if self.spotlight is None else SPOTLIGHT

    def informative(self, n: int, part: str) -> Ints:
        """In a spotlight, which modality tells the class of each of the first n clips."""
        return _stream(self.seed, part, "spot").integers(M, size=n)

    def posterior(self, features: Features) -> Floats:
        """The exact p(y | x, mask), float64 (n, C)."""
        if self.spotlight is None:
            log = np.log(PRIOR) + np.zeros((len(features), 1))
            for name, source in SOURCES.items():
                seen = [m for m, one in enumerate(MODALITIES.values()) if one.source == name]
                likelihood = self._likelihood(features, seen)  # (n, C) of s
                log = log + logsumexp(likelihood[:, None] + np.log(shown(source)), axis=2)
        else:
            log = logsumexp(self._spotlit(features), axis=1)
        return np.asarray(np.exp(log_softmax(log, axis=1)))

    def spot(self, features: Features) -> Floats:
        """In a spotlight, the exact p(m is the informative one | x), float64 (n, M), of clips with all modalities."""
        return np.asarray(np.exp(log_softmax(logsumexp(self._spotlit(features), axis=2), axis=1)))

    def _shared(self) -> list[int]:
        """For each modality the source whose ε it shares."""
        if self.spotlight is not None:
            return list(range(M))
        return [list(SOURCES).index(one.source) for one in MODALITIES.values()]

    def _normal(self, n: int, part: str, stream: str, columns: list[int]) -> Floats:
        return np.stack([_stream(self.seed, part, stream, g).normal(size=(n, R)) for g in columns], axis=1)

    def _evidence(self, true: Ints, part: str) -> Floats:
        """Γ u of what each modality shows, (n, M, R)."""
        n, columns = len(true), []
        for m, (name, g) in enumerate(zip(NAMES, self._shared(), strict=True)):
            u, source = _stream(self.seed, part, "shown", g).random(n), self.source(name)
            if self.spotlight is None:
                columns.append(loading(source)[_choose(shown(source)[true], u)])
            else:
                others = PRIOR * (1 - np.eye(C)) / (1 - PRIOR[:, None])
                other = loading(source)[_choose(others[true], u)] * (self.spotlight == "overlap")
                told = self.informative(n, part) == m
                columns.append(np.where(told[:, None], loading(source)[true], other))
        return np.stack(columns, axis=1)

    def _likelihood(self, features: Features, modalities: list[int]) -> Floats:
        """Log N(t; Γ u_s, (τ² + 1/A) I) of one source for every s, (n, C); up to what is the same for every s."""
        mask = features.mask[:, modalities].astype(np.float64)
        gains = np.array([self.gain(NAMES[m]) for m in modalities])
        parts = [features.x[m].astype(np.float64) @ self.rotations[m][:, :R] for m in modalities]
        precision = (mask * gains**2).sum(axis=1)  # A
        t = (
            sum(w[:, None] * v for w, v in zip((mask * gains).T, parts, strict=True))
            / np.maximum(precision, 1e-9)[:, None]
        )
        gap = ((t[:, None] - loading(self.source(NAMES[modalities[0]]))) ** 2).sum(axis=2)
        there = precision > 0
        variance = TAU**2 + 1 / np.where(there, precision, 1)
        return np.where(there[:, None], -gap / (2 * variance)[:, None], 0.0)

    def _spotlit(self, features: Features) -> Floats:
        """Log p(m tells, y, x), (n, M, C), up to what is the same everywhere in a row."""
        told = np.stack([self._likelihood(features, [m]) for m in range(M)], axis=1)
        if self.spotlight == "overlap":
            others = np.log(np.where(np.eye(C, dtype=bool), np.finfo(float).tiny, PRIOR / (1 - PRIOR[:, None])))
            untold = logsumexp(told[:, :, None] + others, axis=3)
        else:
            parts = [x.astype(np.float64) @ q[:, :R] for x, q in zip(features.x, self.rotations, strict=True)]
            length = np.stack([(v**2).sum(axis=1) for v in parts], axis=1) / SPOTLIGHT_GAIN**2
            variance = TAU**2 + 1 / SPOTLIGHT_GAIN**2
            untold = np.where(features.mask, -length / (2 * variance), 0.0)[:, :, None] + np.zeros(C)
        return np.asarray(np.log(PRIOR) + told + untold.sum(axis=1, keepdims=True) - untold)

    def _votes(self, true: Ints, part: str, e: float) -> Ints:
        """Three people's, (n, 3)."""

        def opinion(who: int) -> Ints:
            wrong, which = _stream(self.seed, part, "opinion", who).random((len(true), 2)).T
            return np.where(wrong < e, _choose(confusable()[true], which), true)

        copies = _stream(self.seed, part, "copy").random((len(true), 3)) < COPY
        return np.where(copies, opinion(0)[:, None], np.stack([opinion(who) for who in (1, 2, 3)], axis=1))


SPOTLIGHT = Source(0.0, 1.0, 1.0, 3.0)
SPOTLIGHT_GAIN = 3.0


def _stream(seed: int, *names: str | int) -> np.random.Generator:
    """A generator of its own for every variate: what is drawn of one moves no other."""
    return np.random.default_rng([seed, *(int.from_bytes(str(name).encode(), "big") for name in names)])


def _choose(p: Floats, u: Floats) -> Ints:
    """A class of probabilities p, (C,) or (n, C), by u (n,)."""
    return np.asarray(np.minimum((u[:, None] >= np.cumsum(p, axis=-1)).sum(axis=1), C - 1))
