"""Is attention over time worth more than the mean (and deviation) of a clip's frames? Of one modality, on real sound.

    mean, mean + std      logistic regression on the pooled frames; its strength chosen inside the training folds
    ..., trained          the same, trained on as attention is, with all queries at 0
    attention             logits = b + Σ_h W_h Σ_t softmax_t(q_h · x_t / √D) x_t  [+ V std],  H queries

The attention begins at the solution of the row above it: every W_h is W / H and the queries are next to 0, so that each
pools by the mean. q, W, V and b are then trained. The number of epochs, 0 among them, is the one with the lowest
cross-entropy on inner folds, so attention stays out where it is worth nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, cast

from mer_pipeline.base.clips import Row
from mer_pipeline.base.csv_files import read_csv
from mer_pipeline.base.encoder import ENCODER, make_encoder
from mer_pipeline.base.modalities import Matrix
from mer_pipeline.heads.base import Examples
from mer_pipeline.heads.linear import fit_linear, log_softmax
from mer_pipeline.heads.strength import choose_strength
from mer_pipeline.media.sound import SAMPLE_RATE
from mer_pipeline.speech.logmel import HOP, MELS, WINDOW
from mer_pipeline.speech.track import Sound
from mer_pipeline.training.member import fixed_threads

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.heads import resampled
from benchmarks.pretrained import WHISPER, Score, Task, less, sounds, task_of
from tests.conftest import clip

STEPS_A_SECOND = 12.5  # frames are averaged over 80 ms
QUERIES, EPOCHS, PATIENCE, LR = 2, 60, 10, 3e-3
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)
Frames = list[Matrix]  # of each clip (steps, D)
Queries = Literal["zero", "learnt"]
WAYS: dict[str, tuple[bool, Queries | None]] = {
    "mean": (False, None),
    "mean, trained": (False, "zero"),
    "attention": (False, "learnt"),
    "mean + std": (True, None),
    "mean + std, trained": (True, "zero"),
    "attention + std": (True, "learnt"),
}
PAIRS = (("attention", "mean"), ("attention", "mean, trained"), ("attention + std", "mean + std"),
         ("attention + std", "mean + std, trained"))  # fmt: skip


def coarse(steps: Matrix, rate: float) -> Matrix:
    """Average neighbouring steps to STEPS_A_SECOND."""
    every = max(1, round(rate / STEPS_A_SECOND))
    return np.stack([part.mean(axis=0) for part in np.split(steps, range(every, len(steps), every))])


def logmel_frames(rows: Sequence[Row]) -> Frames:
    """Return the log-mel bands, as the family `logmel` computes them, and their change from step to step."""
    import torchaudio

    mel_of = torchaudio.transforms.MelSpectrogram(SAMPLE_RATE, n_fft=WINDOW, hop_length=HOP, n_mels=MELS)
    found = []
    for row in rows:
        mel = torch.log(mel_of(torch.from_numpy(Sound.of(row).samples)) + 1e-6)
        delta = torchaudio.functional.compute_deltas(mel)
        found.append(coarse(torch.cat([mel, delta]).T.numpy(), 100))
    return found


def whisper_frames(rows: Sequence[Row]) -> Frames:
    """Return the hidden states of layer 3 over the clip's own length, by the family `hf-speech`."""
    section = {"family": "hf-speech", "input": "audio", "checkpoint": WHISPER, "window": "clip", "layers": [3],
               "frame_level": True}  # fmt: skip
    made = make_encoder("x", ENCODER.parse(section))
    made.setup(torch.device("cpu"))
    said = (cast("dict[str, Matrix]", made.infer([made.prepare(clip(audio=row))])[0]) for row in rows)
    return [coarse(np.asarray(one["sequence"], np.float32), 50) for one in said]


@dataclass(frozen=True)
class Padded:
    """Standardised frames (n, T, D), which are there (n, T), and mean and deviation of each clip (n, D)."""

    x: torch.Tensor
    there: torch.Tensor
    mean: Matrix
    std: Matrix


def padded(frames: Frames, train: NDArray[np.int64]) -> Padded:
    """Standardise by the frames of the training clips, and fill up to the longest clip."""
    every = np.concatenate([frames[i] for i in train])
    mu, sd = every.mean(axis=0), every.std(axis=0) + 1e-6
    scaled = [((one - mu) / sd).astype(np.float32) for one in frames]
    x = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(one) for one in scaled], batch_first=True)
    there = torch.arange(x.shape[1])[None] < torch.tensor([len(one) for one in scaled])[:, None]
    std = np.stack([one.std(axis=0) for one in scaled])
    return Padded(x, there, np.stack([one.mean(axis=0) for one in scaled]),
                  ((std - std[train].mean(axis=0)) / (std[train].std(axis=0) + 1e-6)).astype(np.float32))  # fmt: skip


class OverTime(torch.nn.Module):
    """Attention over time, from the solution of a logistic regression on the mean; see the module."""

    def __init__(self, weights: Matrix, bias: Matrix, dim: int) -> None:
        super().__init__()
        w = torch.from_numpy(weights)
        self.w = torch.nn.Parameter((w[:, :dim] / QUERIES).repeat(QUERIES, 1, 1))
        self.v = torch.nn.Parameter(w[:, dim:].clone())
        self.b = torch.nn.Parameter(torch.from_numpy(bias).clone())
        self.q = torch.nn.Parameter(1e-3 * torch.randn(QUERIES, dim))

    def forward(self, x: torch.Tensor, there: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
        """Return logits (n, C)."""
        scores = (x @ self.q.T / x.shape[2] ** 0.5).masked_fill(~there[:, :, None], -torch.inf)
        pooled = torch.einsum("nth,ntd->nhd", scores.softmax(dim=1), x)
        return torch.einsum("nhd,hcd->nc", pooled, self.w) + std @ self.v.T + self.b


def predict(task: Task, frames: Frames, deviation: bool, queries: Queries | None) -> NDArray[np.int64]:
    """Return the out-of-fold predictions of one way to pool, int64 (n,)."""
    said = np.zeros(len(frames), dtype=np.int64)
    for f in range(task.labels.folds):
        inside, out = (np.flatnonzero(rows) for rows in (task.labels.fold != f, task.labels.fold == f))
        data = padded(frames, inside)
        x = np.concatenate([data.mean, data.std], axis=1) if deviation else data.mean
        own = Examples.of(inside, task.labels.given[inside], task.labels.fold[inside], task.classes)
        strength, _ = choose_strength(x[inside], own.target, own.weight, own.fold, STRENGTHS)
        if queries is None:
            linear = fit_linear(x[inside], own.target, own.weight, [strength])[0]
            said[out] = linear.evidence(x[out]).argmax(axis=1)
            continue
        way = (data, x, strength, deviation, queries)
        curves = []
        for g in np.unique(own.fold):
            train, beside = own.at(np.flatnonzero(own.fold != g)), own.at(np.flatnonzero(own.fold == g))
            curves.append(learn(*way, train, beside, EPOCHS)[1])
        module, _ = learn(*way, own, None, int(np.argmin(np.sum(curves, axis=0))))
        said[out] = logits(module, data, out, deviation).argmax(axis=1)
    return said


def logits(module: OverTime, data: Padded, rows: NDArray[np.int64], deviation: bool) -> Matrix:
    """Return the logits of some clips."""
    std = torch.from_numpy(data.std[rows] if deviation else np.zeros((len(rows), 0), np.float32))
    with torch.no_grad():
        found: Matrix = module(data.x[rows], data.there[rows], std).numpy()
    return found


def learn(
    data: Padded,
    pooled: Matrix,
    strength: float,
    deviation: bool,
    queries: Queries,
    train: Examples,
    beside: Examples | None,
    epochs: int,
) -> tuple[OverTime, NDArray[np.float64]]:
    """Train, and return the summed cross-entropy of the examples beside after 0, 1, ... epochs, if there are any."""
    torch.manual_seed(0)
    linear = fit_linear(pooled[train.rows], train.target, train.weight, [strength])[0]
    module = OverTime(linear.weights, linear.bias, data.mean.shape[1])
    if queries == "zero":
        module.q.data.zero_()
        module.q.requires_grad_(False)
    optimiser = torch.optim.AdamW(module.parameters(), lr=LR, weight_decay=1e-2)
    target = torch.from_numpy(train.label)
    curve: list[float] = []

    def measure() -> None:
        if beside is not None:
            log = log_softmax(logits(module, data, beside.rows, deviation))
            curve.append(-float(log[np.arange(len(beside.rows)), beside.label].sum()))

    measure()
    for _ in range(epochs):
        for at in torch.randperm(len(target)).split(64):
            rows = train.rows[at.numpy()]
            std = torch.from_numpy(data.std[rows] if deviation else np.zeros((len(rows), 0), np.float32))
            loss = torch.nn.functional.cross_entropy(module(data.x[rows], data.there[rows], std), target[at])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        measure()
        if curve and len(curve) - int(np.argmin(curve)) > PATIENCE:
            break
    return module, np.array(curve + curve[-1:] * (epochs + 1 - len(curve))) if curve else np.zeros(epochs + 1)


def frame_sets(data: Path) -> Iterator[tuple[str, Task, Callable[[], Frames]]]:
    """Yield EmoDB and the sound of RAVDESS' one actor, as log-mel and as Whisper's frames."""
    for kind, of in (("log-mel", logmel_frames), ("Whisper", whisper_frames)):
        for name, audio, table in (("emodb", "audio", "labels.csv"), ("ravdess", "trials/audio", "trials.csv")):
            listing = {row["name"]: row for row in read_csv(data / name / table, ("name", "label", "speaker"))}
            label_of, group_of = ({n: row[what] for n, row in listing.items()} for what in ("label", "speaker"))
            task = task_of(name, label_of, group_of)
            yield f"{name}, {kind}", task, partial(_of, of, data / name / audio, task)


def _of(frames: Callable[[Sequence[Row]], Frames], folder: Path, task: Task) -> Frames:
    with fixed_threads():
        return frames(sounds(folder, task.labels.clip_ids))


def section(data: Path, place: Path, *, compute: bool = True) -> list[str]:
    """Return the section of the page of predictions that are kept, and compute the others if asked."""
    score_lines, pair_lines = [], []
    for title, task, frames_of in frame_sets(data):
        paths = {way: place / f"frames-{title}-{way}.npy".replace(" ", "-") for way in WAYS}
        if not compute and not all(path.is_file() for path in paths.values()):
            continue
        frames = [] if all(path.is_file() for path in paths.values()) else frames_of()
        found: dict[str, Score] = {}
        for way, path in paths.items():
            if not path.is_file():
                with fixed_threads():
                    np.save(path, predict(task, frames, *WAYS[way]))
            found[way] = resampled(np.load(path), task.labels.given, task.unit, task.classes)
            print(title, way, round(found[way][0], 4), flush=True)
        score_lines.append(f"| {title} | {' | '.join(f'{found[way][0]:.3f}' for way in WAYS)} |")
        pair_lines.append(f"| {title} | {' | '.join(less(found[one], found[other]) for one, other in PAIRS)} |")
    return [
        "## Attention over time", "",
        "Frames of one modality, averaged over 80 ms: pooled by their mean, or by attention over time that begins at "
        "the mean and stops by inner folds (`panel_frames.py`). *Trained* is the control: the same training without "
        "attention. Sets and folds are those of pretrained.md; RAVDESS is one actor and its intervals are over trials.",
        "", f"| frames | {' | '.join(WAYS)} |", f"|---|{'---:|' * len(WAYS)}", *score_lines, "",
        f"| frames | {' | '.join(f'{one} minus {other}' for one, other in PAIRS)} |", f"|---|{'---|' * len(PAIRS)}",
        *pair_lines, "",
    ]  # fmt: skip


if __name__ == "__main__":
    print("\n".join(section(Path(sys.argv[1]), Path(sys.argv[2]))))
