"""What it costs to be held to AVX2, and what it changes: the same work with `numerics: avx2` and `numerics: native`.

    python benchmarks/numerics.py --rounds 9

Two processes, one of each kind, take turns on every piece of work, so that whatever else the machine does meets both;
their CPU time is counted, because others hardly change it.
Models have the published sizes and seeded random weights. One thread each, as in the pipeline.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))

from mer_pipeline.base import numerics  # noqa: E402
from mer_pipeline.base.runtime import INTRA_OP_THREADS, Runtime  # noqa: E402
from mer_pipeline.config.train_params import TrainParams  # noqa: E402
from mer_pipeline.engines.base import set_up  # noqa: E402
from mer_pipeline.media.decode import read_pictures  # noqa: E402
from mer_pipeline.media.sound import read_sound  # noqa: E402
from mer_pipeline.speech.logmel import LogMel, LogMelParams  # noqa: E402
from mer_pipeline.vision.detector import Mtcnn, MtcnnParams  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402

MODES: tuple[numerics.Numerics, ...] = (numerics.AVX2, numerics.NATIVE)
FILM = ROOT / "data/demo/video/s01_0004.mp4"
SOUND_S, PICTURES, SENTENCES, TOKENS = 5, 8, 8, 32
CLIPS, DIMS, CLASSES, FOLDS, EPOCHS = 240, (512, 768, 1024), 6, 5, 8  # of the heads

Work = Callable[[], "np.ndarray[tuple[int, ...], np.dtype[np.floating]]"]  # what it computed


def transformer(name: str, config: str, **inputs: torch.Tensor) -> Work:
    """A model of transformers at its default size, which is that of the base checkpoint."""
    import transformers

    torch.manual_seed(0)
    model = getattr(transformers, name)(getattr(transformers, config)()).eval()

    def forward() -> np.ndarray:
        with torch.inference_mode():
            return model(**inputs).last_hidden_state.numpy()

    return forward


def clip_vit() -> Work:
    """CLIP's image tower, ViT-B/32."""
    pixels = torch.randn(PICTURES, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    return transformer("CLIPVisionModel", "CLIPVisionConfig", pixel_values=pixels)


def hubert() -> Work:
    """HuBERT base."""
    sound = torch.randn(1, SOUND_S * 16_000, generator=torch.Generator().manual_seed(1))
    return transformer("HubertModel", "HubertConfig", input_values=sound)


def bert() -> Work:
    """BERT base."""
    tokens = torch.randint(1000, 20_000, (SENTENCES, TOKENS), generator=torch.Generator().manual_seed(1))
    return transformer("BertModel", "BertConfig", input_ids=tokens)


def mtcnn() -> Work:
    """The detector on frames of the demo."""
    detector = Mtcnn(MtcnnParams())
    detector.setup(torch.device("cpu"))
    pictures = np.stack([p.rgb for p in read_pictures(FILM, lambda times, end: np.arange(4))])
    return lambda: np.concatenate([found.boxes.ravel() for found in detector.detect(pictures)])


def logmel() -> Work:
    """The encoder `logmel` on a clip's sound."""
    encoder = LogMel("voice", LogMelParams(family="logmel", input="audio"))
    set_up(encoder, Runtime(device="cpu"))
    sound = torch.from_numpy(read_sound(FILM, 120.0))
    return lambda: np.asarray(encoder.infer([sound])[0]["vector"])  # type: ignore[index]


def pictures() -> Work:
    """H.264 to RGB."""
    return lambda: np.stack([p.rgb for p in read_pictures(FILM, lambda times, end: np.arange(len(times)))])


def sound() -> Work:
    """AAC to 16 kHz."""
    return lambda: read_sound(FILM, 120.0)


def heads(name: str) -> Work:
    """One head over folds on random features."""
    from mer_pipeline.base.modalities import Features
    from mer_pipeline.heads.base import Examples
    from mer_pipeline.training.member import fit_members, fixed_threads

    rng = np.random.default_rng(0)
    x = tuple(rng.standard_normal((CLIPS, dim), np.float32) for dim in DIMS)
    label, fold = rng.integers(0, CLASSES, CLIPS), np.arange(CLIPS) % FOLDS
    features = Features(tuple("abc"), x, np.ones((CLIPS, len(DIMS)), bool))
    params = TrainParams(epochs=EPOCHS, patience=EPOCHS, refit=False)

    def examples(rows: np.ndarray) -> Examples:
        return Examples.of(rows, label[rows], fold[rows], CLASSES)

    def train() -> np.ndarray:
        splits = [(examples(np.flatnonzero(fold != f)), examples(np.flatnonzero(fold == f))) for f in range(FOLDS)]
        with fixed_threads():
            members = fit_members(name, features, splits, (0,), CLASSES, params)  # type: ignore[arg-type]
            return np.stack([member.predict(features).probabilities for member, _ in members])

    return train


WORKS: Mapping[str, Callable[[], Work]] = {
    f"CLIP ViT-B/32, {PICTURES} pictures": clip_vit,
    f"HuBERT base, {SOUND_S} s of sound": hubert,
    f"BERT base, {SENTENCES} sentences of {TOKENS} tokens": bert,
    "MTCNN, 4 frames": mtcnn,
    "log-mel, a clip": logmel,
    "H.264 decoded, a clip": pictures,
    "AAC decoded, a clip": sound,
    "`ecmf` trained": lambda: heads("ecmf"),
    "`mertools` trained": lambda: heads("mertools"),
    "`logreg` trained": lambda: heads("logreg"),
}


def serve(folder: Path) -> None:
    """Do the works whose names are read from standard input; answer each with its CPU seconds, and write its values."""
    numerics.check()
    torch.set_num_threads(INTRA_OP_THREADS)
    made: dict[str, Work] = {}
    for line in sys.stdin:
        name = line.rstrip("\n")
        if name not in made:
            made[name] = WORKS[name]()
            made[name]()
        started, repeats, values = time.process_time(), 0, np.zeros(0)
        while not repeats or time.process_time() - started < 0.2:  # short works are repeated
            values, repeats = made[name](), repeats + 1
        seconds = (time.process_time() - started) / repeats
        np.save(folder / "values.npy", values)
        print(seconds, flush=True)


def start(mode: numerics.Numerics, folder: Path) -> subprocess.Popen[str]:
    """A process that serves in a folder whose params.yaml says the mode."""
    folder.mkdir()
    (folder / "params.yaml").write_text(f"numerics: {mode}\n", encoding="utf-8")
    words = [sys.executable, Path(__file__).resolve(), "--serve"]
    return subprocess.Popen(words, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def ask(server: subprocess.Popen[str], name: str) -> float:
    """CPU seconds of a work."""
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(f"{name}\n")
    server.stdin.flush()
    if not (answer := server.stdout.readline()):
        raise SystemExit(f"error: the work '{name}' failed, see above")
    return float(answer)


def difference(values: Mapping[str, np.ndarray]) -> str:
    """How far the two results are apart, as a share of the largest value."""
    a, b = (values[mode].astype(np.float64) for mode in MODES)
    if a.shape != b.shape:
        return "another shape"
    largest = np.abs(a - b).max()
    return "none" if largest == 0 else f"{largest / np.abs(a).max():.0e}"


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="of every work, in either process")
    parser.add_argument("--out", type=Path, default=HERE / "numerics.md")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(Path())
        return
    rows = []
    with tempfile.TemporaryDirectory() as place:
        servers = {mode: start(mode, Path(place, mode)) for mode in MODES}
        for name in WORKS:
            seconds: dict[str, list[float]] = {mode: [] for mode in MODES}
            for number in range(args.rounds):
                for mode in MODES if number % 2 else reversed(MODES):
                    seconds[mode].append(ask(servers[mode], name))
            values = {mode: np.load(Path(place, mode, "values.npy")) for mode in MODES}
            held, native = (1000 * statistics.median(seconds[mode]) for mode in MODES)
            ratio = statistics.median(a / b for a, b in zip(*(seconds[mode] for mode in MODES), strict=True))
            shown = (f"{value:,.0f}" if value >= 100 else f"{value:.3g}" for value in (native, held))
            rows.append(f"| {name} | {' | '.join(shown)} | {ratio:.2f} × | {difference(values)} |")
            print(rows[-1], flush=True)
        for server in servers.values():
            server.communicate()
    lines = [
        "# What AVX2 costs", "",
        f"{datetime.now(UTC):%Y-%m-%d}, `python benchmarks/numerics.py --rounds {args.rounds}`. Python "
        f"{platform.python_version()}, torch {torch.__version__}, NumPy {np.__version__}; {INTRA_OP_THREADS} thread. "
        f"CPU: {numerics.cpu()}.", "",
        "The same work in two processes that take turns: one held to AVX2 (`numerics: avx2`), one with the "
        "instructions that its libraries choose (`numerics: native`). Milliseconds are CPU time, which other processes "
        "hardly change, and medians of the rounds; the "
        "ratio is the median of the rounds' ratios; above 1 the pinned one is slower. The difference is the largest "
        "between the two results, as a share of the largest value.", "",
        "| work | native, ms | AVX2, ms | AVX2 takes | difference |",
        "| --- | ---: | ---: | ---: | ---: |", *rows, "",
    ]  # fmt: skip
    args.out.write_text("\n".join(lines), encoding="utf-8")
    print(f"{args.out} is written")


if __name__ == "__main__":
    main()
