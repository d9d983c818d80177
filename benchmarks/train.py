"""How fast heads train, beside a plain loop of the same head: a DataLoader per fold, as the official code has it.

    python benchmarks/train.py [--device cuda]

The plain loop takes batches of 32, and after every epoch it evaluates its fold and 20,000 candidates. Ours
validates on the same fold, and scores the candidates once at the end. Both have all cores. README.md says what is
measured.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from datetime import UTC, datetime
from pathlib import Path

from mer_pipeline.base.modalities import Features
from mer_pipeline.config.train_params import TrainParams
from mer_pipeline.heads.base import ComputeConfig, Examples
from mer_pipeline.scores.confusion import Confusion
from mer_pipeline.training.member import fit_members, fixed_threads

import numpy as np
import torch
from idle import BUSY, Meanwhile
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

HERE = Path(__file__).parent
LABELLED, CANDIDATES, DIMS, FOLDS, CLASSES = 7369, 20_000, (1024, 768, 768), 5, 6  # MER2025
SIGNAL, WRONG = 0.06, 0.2  # how far apart classes lie in every value, and the share of labels drawn anew
FOLD = np.arange(LABELLED) % FOLDS
Ints = NDArray[np.int64]
Ran = tuple[float, int, float]  # seconds, member-epochs, weighted F1 of the folds at each one's best epoch


class Clips(Dataset[tuple[list[Tensor], int]]):
    """One clip at a time."""

    def __init__(self, features: Features, label: Ints) -> None:
        self.x, self.label = [torch.from_numpy(x) for x in features.x], label

    def __len__(self) -> int:
        """Clips."""
        return len(self.label)

    def __getitem__(self, i: int) -> tuple[list[Tensor], int]:
        """Features by modality, and the label."""
        return [x[i] for x in self.x], int(self.label[i])


class Plain(nn.Module):
    """The official head, written with torch's own layers."""

    def __init__(self, d: int, dropout: float) -> None:
        super().__init__()

        def mlp(inputs: int) -> nn.Sequential:
            layers = [nn.Linear(inputs, d), nn.ReLU(), nn.Linear(d, d), nn.ReLU(), nn.Linear(d, d), nn.ReLU()]
            return nn.Sequential(nn.Dropout(dropout), *layers)

        self.encode, self.attend = nn.ModuleList(map(mlp, DIMS)), mlp(d * len(DIMS))
        self.weigh, self.classify = nn.Linear(d, len(DIMS)), nn.Linear(d, CLASSES)

    def forward(self, x: list[Tensor]) -> Tensor:
        """Logits (n, C)."""
        h = [encode(matrix) for encode, matrix in zip(self.encode, x, strict=True)]
        w = self.weigh(self.attend(torch.cat(h, dim=1))).unsqueeze(2)
        out: Tensor = self.classify((torch.stack(h, dim=2) @ w).squeeze(2))
        return out


def generate() -> tuple[Features, Ints, Features]:
    """Labelled clips and candidates: Gaussian classes, some labels wrong."""
    rng = np.random.default_rng(0)
    true = rng.integers(CLASSES, size=LABELLED + CANDIDATES)
    means = [SIGNAL * rng.normal(size=(CLASSES, dim)) for dim in DIMS]
    x = tuple((mean[true] + rng.normal(size=(len(true), mean.shape[1]))).astype(np.float32) for mean in means)
    whole = Features(("audio", "text", "video"), x, np.ones((len(true), len(DIMS)), dtype=bool))
    given = np.where(rng.random(len(true)) < WRONG, rng.integers(CLASSES, size=len(true)), true)
    rows = np.arange(len(true))
    return whole.take(rows[:LABELLED]), given[:LABELLED], whole.take(rows[LABELLED:])


def plain(
    features: Features, label: Ints, candidates: Features, folds: range, params: TrainParams, device: torch.device
) -> Ran:
    """Fold after fold, all epochs."""
    started, predicted = time.perf_counter(), np.zeros_like(label)
    for fold in folds:
        held = fold == FOLD
        train, test = (
            Clips(features.take(rows), label[rows]) for rows in (np.flatnonzero(~held), np.flatnonzero(held))
        )
        pool = Clips(candidates, np.zeros(CANDIDATES, dtype=np.int64))
        learnt = DataLoader(train, batch_size=params.batch_size, shuffle=True)
        judged = [DataLoader(part, batch_size=params.batch_size) for part in (test, pool)]
        torch.manual_seed(fold)
        network, best = Plain(params.d, params.dropout).to(device), -1.0
        optimiser = torch.optim.Adam(network.parameters(), lr=params.lr, weight_decay=params.weight_decay)
        for _ in range(params.epochs):
            network.train()
            for x, y in learnt:
                loss = nn.functional.cross_entropy(network([matrix.to(device) for matrix in x]), y.to(device))
                optimiser.zero_grad()
                torch.autograd.backward(loss)
                optimiser.step()
            network.eval()
            with torch.no_grad():
                said = [
                    torch.cat([network([m.to(device) for m in x]).argmax(dim=1).cpu() for x, _ in loader]).numpy()
                    for loader in judged
                ]
            if (f1 := Confusion.of(test.label, said[0], CLASSES).weighted_f1) > best:
                best, predicted[held] = f1, said[0]
    seconds, scored = time.perf_counter() - started, np.isin(FOLD, folds)
    f1 = Confusion.of(label[scored], predicted[scored], CLASSES).weighted_f1
    return seconds, params.epochs * len(folds), f1


def ours(
    features: Features, label: Ints, candidates: Features, folds: range, params: TrainParams, compute: ComputeConfig
) -> Ran:
    """All folds; the scored fold is validation, as in the plain loop, so that both choose alike."""
    started, predicted = time.perf_counter(), np.zeros_like(label)

    def examples(rows: Ints) -> Examples:
        return Examples.of(rows, label[rows], FOLD[rows], CLASSES)

    splits = [(examples(np.flatnonzero(fold != FOLD)), examples(np.flatnonzero(fold == FOLD))) for fold in folds]
    epochs = 0
    with fixed_threads():
        members = fit_members("mertools", features, splits, [0], CLASSES, params, compute)
        for fold, (member, history) in zip(folds, members, strict=True):
            rows, epochs = np.flatnonzero(fold == FOLD), epochs + len(history)
            predicted[rows] = member.predict(features.take(rows)).probabilities.argmax(axis=1)
            member.predict(candidates)
    seconds, scored = time.perf_counter() - started, np.isin(FOLD, folds)
    return seconds, epochs, Confusion.of(label[scored], predicted[scored], CLASSES).weighted_f1


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=100, help="of the first width; the official recipe's")
    parser.add_argument("--few", type=int, default=10, help="of the others")
    parser.add_argument("--folds", type=int, default=FOLDS, help="that both train")
    parser.add_argument("--patience", type=int, default=10, help="of ours where it stops early, at the first width")
    parser.add_argument("--d", type=int, nargs="+", default=[64, 128, 256], help="widths")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=HERE / "train.md")
    args = parser.parse_args()
    cores, device, (features, label, candidates) = os.cpu_count() or 1, torch.device(args.device), generate()
    torch.set_num_threads(cores)

    def beside(d: int, epochs: int, patience: dict[str, int]) -> list[str]:
        """The plain loop once, and ours with each patience."""
        folds, params = range(args.folds), TrainParams(d=d, lr=1e-3, epochs=epochs, refit=False)
        torch.set_num_threads(cores)
        theirs = plain(features, label, candidates, folds, params, device)
        each = theirs[0] / theirs[1]
        lines = [f"| d {d}, plain loop | {theirs[1]} | {theirs[0]:.1f} | {each:.2f} | {theirs[2]:.4f} | |"]
        for title, own in patience.items():
            own_params = params.model_copy(update={"patience": own})
            seconds, members, f1 = ours(features, label, candidates, folds, own_params, ComputeConfig(device, cores))
            each, times = seconds / members, theirs[0] / seconds
            lines.append(
                f"| d {d}, ours, {title} | {members} | {seconds:.1f} | {each:.2f} | {f1:.4f} | {times:.1f} × |"
            )
        return lines

    first, *others = args.d
    meanwhile = Meanwhile()
    rows = beside(first, args.epochs, {"as many epochs": args.epochs, f"patience {args.patience}": args.patience})
    for d in others:
        rows += beside(d, args.few, {"as many epochs": args.few})
    taken = meanwhile.others()
    idle = f"Other processes used {taken:.0f} % of the machine's CPU time meanwhile"
    idle += "." if taken < BUSY else ": **not an idle machine, and no goal is judged by this page**."
    machine = torch.cuda.get_device_name() if device.type == "cuda" else f"{cores} cores"
    given = f"--epochs {args.epochs} --few {args.few} --folds {args.folds} --patience {args.patience} --d "
    given += " ".join(map(str, args.d))
    page = "\n".join([
        "# Training heads", "",
        f"{datetime.now(UTC):%Y-%m-%d}, `python benchmarks/train.py {given} --device {args.device}`. "
        f"{machine}, Python {platform.python_version()}, torch {torch.__version__}. {idle}", "",
        f"The official head on generated features of MER2025's size: {LABELLED:,} labelled clips, {CANDIDATES:,} "
        f"candidates, {' + '.join(map(str, DIMS))} values; {args.folds} folds, batches of 32. Seconds are of "
        "everything: training, evaluating the fold, and the candidates (the plain loop: every epoch; ours: once). F1 "
        "is of the held-out folds at each one's best epoch there, for both; nothing is trained anew "
        "afterwards (`train.refit`), as in the official recipe.", "",
        "| | member-epochs | s | s per member-epoch | weighted F1 | times faster |",
        "| --- | ---: | ---: | ---: | ---: | ---: |", *rows, "",
    ])  # fmt: skip
    args.out.write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
