"""Does enriched text say more of the emotion than the plain words? The same encoder and head on both, out of fold.

    python benchmarks/enrichment.py --goemotions DIR
    python benchmarks/enrichment.py --csv my.csv --text sentence --label emotion --backend openai --model NAME

With a model, the server is the one of .mer.toml or MER_LLM_URL, and its replies are kept in this project's store, so
a second run asks nothing. README.md says what is measured; nobody's text is written to the page.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mer_pipeline.base.clips import Row
from mer_pipeline.base.encoder import ENCODER, make_encoder
from mer_pipeline.base.modalities import load_features
from mer_pipeline.base.run import run
from mer_pipeline.base.runtime import load_runtime
from mer_pipeline.base.transform import Transform
from mer_pipeline.config.train_params import TrainParams
from mer_pipeline.datasets.adapter import MER_CLASSES
from mer_pipeline.datasets.folds import FoldParams, make_folds
from mer_pipeline.enrich.ask import clear_kept, open_journal
from mer_pipeline.enrich.backend import ENRICH, EnrichParams, LanguageModelParams, make_backend
from mer_pipeline.enrich.context import SCHEMA as CONTEXT
from mer_pipeline.enrich.prompt import RenderPrompt
from mer_pipeline.enrich.transform import Enrich
from mer_pipeline.labels.votes import MISSING
from mer_pipeline.scores.confusion import Confusion
from mer_pipeline.tables.quarantine import QualityParams
from mer_pipeline.tables.rows import complete_row, stage_schema, to_table
from mer_pipeline.tables.shards import ShardParams, read_folder, shard_of, write_shard, write_table
from mer_pipeline.training.cross_validation import Labels, cross_validate
from mer_pipeline.training.member import fixed_threads

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

HERE = Path(__file__).parent
DIM, FOLDS, RESAMPLES = 1024, 5, 1000
SHARDS = ShardParams(count=4)

# GoEmotions' labels that have a MER class; comments with one of these labels and no other are taken.
GOEMOTIONS = {
    "neutral": ("neutral",),
    "angry": ("anger", "annoyance"),
    "happy": ("joy", "amusement", "excitement", "gratitude", "love", "optimism", "pride", "relief"),
    "sad": ("sadness", "grief", "disappointment", "remorse"),
    "worried": ("fear", "nervousness"),
    "surprise": ("surprise",),
}


@dataclass(frozen=True)
class Sentences:
    """Texts with one label each.

    Attributes:
        texts, labels: by id.
        classes: in order.
        source: for the page.
    """

    texts: Mapping[str, str]
    labels: Mapping[str, str]
    classes: tuple[str, ...]
    source: str


def read_goemotions(folder: Path) -> Sentences:
    """Its development and test parts; TSV of text, label numbers, id."""
    names = (folder / "labels.txt").read_text(encoding="utf-8").split()
    class_of = {names.index(label): name for name, labels in GOEMOTIONS.items() for label in labels}
    texts, labels = {}, {}
    for part in ("dev.tsv", "test.tsv"):
        for line in (folder / part).read_text(encoding="utf-8").splitlines():
            text, numbers, name = line.split("\t")
            if "," not in numbers and int(numbers) in class_of:
                texts[name], labels[name] = text, class_of[int(numbers)]
    return Sentences(texts, labels, MER_CLASSES, "GoEmotions, development and test parts, comments with one label")


def read_csv(path: Path, text: str, label: str) -> Sentences:
    """Any CSV with a column of sentences and one of labels."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row[text] and row[label]]
    texts, labels = ({f"{at:06d}": row[column] for at, row in enumerate(rows)} for column in (text, label))
    return Sentences(texts, labels, tuple(sorted(set(labels.values()))), f"{path.name}, {text} and {label}")


class Bench:
    """Tables in a folder of their own, made by the pipeline's own transforms."""

    def __init__(self, folder: Path, sentences: Sentences) -> None:
        self.folder, self.classes = folder, sentences.classes
        words = pa.schema([pa.field("zh", pa.string()), pa.field("en", pa.string())])
        rows: list[list[Row]] = [[] for _ in range(SHARDS.count)]
        for name, text in sentences.texts.items():
            row = complete_row(name, "", {"zh": None, "en": text}, None, words)
            rows[shard_of(name, SHARDS.count)].append(row)
        for bucket, members in enumerate(rows):
            write_shard(folder / "transcript", bucket, members, stage_schema(words), {})
        write_table(folder / "cue_words.parquet", to_table([], CONTEXT))

    def make(self, transform: Transform[object], out: str) -> None:
        """Run one transform."""
        places = {source.table: self._place(source.table) for source in transform.sources}
        quarantine = self.folder / f"quarantine/{transform.name}.parquet"
        summary = run(transform, places, self.folder / out, quarantine, shards=SHARDS, runtime=load_runtime(),
                      quality=QualityParams(max_failed=0.05))  # fmt: skip
        print(f"  {summary}")

    def enrich(self, params: EnrichParams) -> None:
        """Enriched text of every sentence."""
        if isinstance(params, LanguageModelParams):
            self.make(RenderPrompt(params, self.classes), "prompts")  # type: ignore[arg-type]
            journal = open_journal()
            asker = make_backend(params).replier(self.classes, load_runtime().llm, journal, None)
            assert asker is not None
            self.make(asker, "replies")
            clear_kept(journal, self.folder / "replies")
        self.make(Enrich(params, self.classes), "enriched")  # type: ignore[arg-type]

    def encode(self, name: str, table: str) -> None:
        """Hashed character n-grams of one table's text."""
        params = ENCODER.parse({"family": "char-ngram", "input": table, "dim": DIM, "language": "en"})
        self.make(make_encoder(name, params), f"features/{name}")

    def _place(self, table: str) -> Path:
        single = table == "cue_words" or table.startswith("quarantine/")
        return self.folder / (f"{table}.parquet" if single else table)


def predictions(folder: Path, name: str, sentences: Sentences, fold_of: Mapping[str, int]) -> NDArray[np.int64]:
    """Out-of-fold classes by the pipeline's logistic regression."""
    clip_ids = tuple(sorted(sentences.labels))
    index = {label: at for at, label in enumerate(sentences.classes)}
    given = np.array([index[sentences.labels[clip]] for clip in clip_ids])
    fold = np.array([fold_of[clip] for clip in clip_ids])
    held_out = np.where(fold == np.arange(FOLDS)[:, None], MISSING, given)
    labels = Labels(clip_ids, fold, given, given, held_out, given)
    with fixed_threads():
        found = cross_validate("logreg", load_features(folder / "features", [name], clip_ids), labels,
                               len(sentences.classes), TrainParams(heads=("logreg",)))  # fmt: skip
    return found.probabilities.mean(axis=0).argmax(axis=1)


def interval(values: Sequence[float]) -> str:
    """The middle 95 %."""
    low, high = np.quantile(values, [0.025, 0.975])
    return f"{low:+.3f} to {high:+.3f}" if low < 0 or high < 0 or high < 0.3 else f"{low:.3f} to {high:.3f}"


def report(sentences: Sentences, found: Mapping[str, NDArray[np.int64]], fold_of: Mapping[str, int], how: str) -> str:
    """The page's tables."""
    clip_ids = sorted(sentences.labels)
    index = {label: at for at, label in enumerate(sentences.classes)}
    given = np.array([index[sentences.labels[clip]] for clip in clip_ids])
    fold = np.array([fold_of[clip] for clip in clip_ids])
    deal = np.random.default_rng(0)
    draws = [deal.integers(0, len(given), len(given)) for _ in range(RESAMPLES)]
    count = len(sentences.classes)

    def f1(of: NDArray[np.int64], rows: NDArray[np.int64] | NDArray[np.bool_]) -> float:
        return Confusion.of(given[rows], of[rows], count).weighted_f1

    base = next(iter(found.values()))
    lines = ["| text | weighted F1, out of fold | 95 % | sd over folds | against the transcript, paired 95 % |",
             "| --- | ---: | ---: | ---: | ---: |"]  # fmt: skip
    for name, of in found.items():
        each = [f1(of, rows) for rows in draws]
        folds = [f1(of, fold == at) for at in range(FOLDS)]
        paired = [a - f1(base, rows) for a, rows in zip(each, draws, strict=True)]
        against = "" if of is base else interval(paired)
        all_rows = np.arange(len(given))
        lines.append(f"| {name} | {f1(of, all_rows):.3f} | {interval(each)} | {np.std(folds):.3f} | {against} |")
    counts = Counter(sentences.labels.values())
    sizes = ", ".join(f"{counts[name]} {name}" for name in sentences.classes)
    head = [
        "# Enriched text beside plain words",
        f"{datetime.now(UTC):%Y-%m-%d}, `{how}`.",
        f"{sentences.source}: {len(given):,} sentences ({sizes}). "
        f"Hashed character n-grams ({DIM}), the pipeline's `logreg`, {FOLDS} stratified folds; intervals by "
        f"{RESAMPLES:,} resamples of sentences.",
    ]
    return "\n\n".join([*head, "\n".join(lines)]) + "\n"


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--goemotions", type=Path)
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--text", default="text")
    parser.add_argument("--label", default="label")
    parser.add_argument("--backend", choices=["openai", "transformers"])
    parser.add_argument("--model")
    parser.add_argument("--limit", type=int, help="only so many sentences, by a seeded draw")
    parser.add_argument("--out", type=Path, default=HERE / "enrichment.md")
    args = parser.parse_args()
    if (args.goemotions is None) == (args.csv is None):
        parser.error("give either --goemotions DIR or --csv FILE")
    sentences = read_goemotions(args.goemotions) if args.goemotions else read_csv(args.csv, args.text, args.label)
    if args.limit:
        names = sorted(sentences.texts)
        kept = {names[at] for at in np.random.default_rng(0).permutation(len(names))[: args.limit]}
        texts, labels = ({k: v for k, v in of.items() if k in kept} for of in (sentences.texts, sentences.labels))
        sentences = Sentences(texts, labels, sentences.classes, f"{sentences.source}, {args.limit} drawn")
    dealt = make_folds([(name, label, name) for name, label in sorted(sentences.labels.items())], FoldParams(n=FOLDS))
    params = {"template": ENRICH.parse({})}
    if args.backend:
        params[f"{args.model}"] = ENRICH.parse({"backend": args.backend, "model": args.model})
    with tempfile.TemporaryDirectory() as temporary:
        bench, found = Bench(Path(temporary), sentences), {}
        bench.encode("plain", "transcript")
        found["transcript"] = predictions(bench.folder, "plain", sentences, dealt.of)
        for name, how in params.items():
            bench.enrich(how)
            bench.encode("context", "enriched")
            found[f"enriched by {name}"] = predictions(bench.folder, "context", sentences, dealt.of)
            statuses = Counter(read_folder(bench.folder / "enriched", ["status"])["status"].to_pylist())
            print(f"  {name}: {dict(statuses)}")
    source = "--goemotions DIR" if args.goemotions else "--csv FILE"
    model = f" --backend {args.backend} --model {args.model}" if args.backend else ""
    page = report(sentences, found, dealt.of, f"python benchmarks/enrichment.py {source}{model}")
    args.out.write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
