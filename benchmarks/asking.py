"""How fast the stage `enrich` is: clips a second by rules, and requests that overlap against one at a time.

    python benchmarks/asking.py [--clips 10000] [--repeats 3] [--latency 0.2]

The server answers after a fixed time, on this machine and from a list of canned replies, so what is measured is the
client: how much of the waiting it overlaps. README.md says what is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from mer_pipeline.datasets.adapter import MER_CLASSES  # noqa: E402
from mer_pipeline.models.tiny import CORPUS  # noqa: E402

from tests.enrich.project import make_project, run_stage, settings  # noqa: E402  # the tests' project and server
from tests.llm.proxy import Canned, FaultProxy  # noqa: E402

REPLY = {
    "meaning": "m", "cues": [], "context": "c", "intensity": 5,
    "scores": dict.fromkeys(MER_CLASSES, 10), "enriched_text": "said calmly",
}  # fmt: skip
MODEL = {"backend": "openai", "model": "canned"}
EACH = 20  # clips for every request in flight


def sentences(count: int) -> dict[str, str]:
    """Synthetic transcripts, no two alike."""
    deal = random.Random(0)
    return {f"clip{at:06d}": f"{deal.choice(CORPUS)} {deal.choice(CORPUS)} {at}" for at in range(count)}


def seconds_of(folder: Path, texts: Mapping[str, str], env: Mapping[str, str], **enrich: object) -> float:
    """Wall time of the whole process of a cold stage."""
    project = make_project(folder, texts, **enrich)
    if "IN_FLIGHT" in env:
        settings(project, in_flight=int(env["IN_FLIGHT"]))
    started = time.perf_counter()
    done = run_stage(project, **env)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(done.stderr)
    return seconds


def streamed(folder: Path) -> float:
    """Seconds that the replies took, without start-up and writing."""
    return float(json.loads((folder / ".mer/runs/replies.json").read_text())["streamed"])


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--latency", type=float, default=0.2)
    parser.add_argument("--out", type=Path, default=HERE / "asking.md")
    args = parser.parse_args()
    rule, one, many = [], [], {4: [], 16: [], 64: []}
    with tempfile.TemporaryDirectory() as temporary:
        for repeat in range(args.repeats):
            folder = Path(temporary, str(repeat))
            os.sched_setaffinity(0, {0})  # one core, for the stage too
            rule.append(args.clips / seconds_of(folder / "rules", sentences(args.clips), {}, backend="template"))
            os.sched_setaffinity(0, range(os.cpu_count() or 1))
            with FaultProxy(Canned(lambda body: json.dumps(REPLY), latency_s=args.latency), fault_rate=0) as server:
                for in_flight, rates in {1: one, **many}.items():
                    place, count = folder / str(in_flight), EACH * in_flight
                    env = {"MER_LLM_URL": server.url, "IN_FLIGHT": str(in_flight)}
                    seconds_of(place, sentences(count), env, **MODEL)
                    rates.append(count / streamed(place))
    lines = [f"| {in_flight} | {statistics.median(rates):.1f} | {ratio(rates, one)} |"
             for in_flight, rates in {1: one, **many}.items()]  # fmt: skip
    page = "\n".join([
        "# The stage `enrich`", "",
        f"{datetime.now(UTC):%Y-%m-%d}, `python benchmarks/asking.py --clips {args.clips} --repeats {args.repeats} "
        f"--latency {args.latency:g}`. {os.cpu_count()} cores, Python {platform.python_version()}.", "",
        f"**By rules** (`template`), {args.clips:,} synthetic transcripts, the whole process on one core, start-up and "
        f"both tables included: {statistics.median(rule):,.0f} clips/s ({min(rule):,.0f} to {max(rule):,.0f}).", "",
        f"**A server that takes {args.latency * 1000:.0f} ms** and answers any number at once; {EACH} clips for every "
        "request in flight; from the first request to the last reply, ratios within a repeat.", "",
        "| in flight | clips/s | against one at a time |", "| ---: | ---: | ---: |", *lines, "",
    ])  # fmt: skip
    args.out.write_text(page, encoding="utf-8")
    print(page)


def ratio(rates: list[float], base: list[float]) -> str:
    """Median of the ratios within repeats, and their span."""
    each = [a / b for a, b in zip(rates, base, strict=True)]
    return f"{statistics.median(each):.1f} × ({min(each):.1f} to {max(each):.1f})"


if __name__ == "__main__":
    main()
