"""`mer enrich`: what asking a model would cost, what it did cost, and what it was asked and answered about a clip."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq

from mer_pipeline.cli.asking import replier
from mer_pipeline.cli.pipeline import memory_of
from mer_pipeline.clips import Clip, Row
from mer_pipeline.enrich.ledger import cost, load_ledger
from mer_pipeline.enrich.prompt import RenderPrompt
from mer_pipeline.enrich.request import request_of
from mer_pipeline.errors import StageError, UsageError, did_you_mean
from mer_pipeline.params import EnrichParams, load_params
from mer_pipeline.runs import read_run
from mer_pipeline.runtime import LlmSettings, load_runtime
from mer_pipeline.store.inputs import input_digests
from mer_pipeline.store.rows import Encoded, complete_row, encode
from mer_pipeline.store.shards import read_folder

REPLIES = Path("data/replies")
CUE_WORDS = Path("data/cue_words.parquet")
LETTERS = 4.0  # of Latin script to a token; a Chinese character is one
SENTENCES = 400  # characters of a reply beside the enriched text: meaning, cues, context, keys


def estimate() -> str:
    """Lines: clips known and to ask, tokens, cost, time.

    Raises:
        UsageError: the backend asks nobody.
        StageError: the transcripts are not made yet.
    """
    params, runtime = load_params(), load_runtime()
    if params.enrich.backend == "template":
        raise UsageError("enrich.backend is 'template', which asks nobody; set it to openai or transformers first")
    render = RenderPrompt(params.enrich, params.dataset.classes)
    memory = memory_of(replier(params.enrich, params.dataset.classes, runtime), runtime)
    prompts = dict(_prompts(render))
    parts = {name: Encoded(encode(complete_row(name, "", row, None, render.schema)["digest"]))
             for name, row in prompts.items()}  # fmt: skip
    known = memory.knows(input_digests(list(prompts), {"prompts": parts}))
    to_ask = [prompt for prompt, is_known in zip(prompts.values(), known, strict=True) if not is_known]
    tokens_in, tokens_out, how = _tokens(to_ask, params.enrich)
    lines = [
        f"{len(prompts)} clips have something to ask: {sum(known)} replies are known, {len(to_ask)} to ask for",
        f"tokens: about {tokens_in:,} in and {tokens_out:,} out, at most {params.enrich.max_tokens * len(to_ask):,} "
        f"out ({how})",
    ]
    if params.enrich.backend == "openai":
        lines.append(_cost_line(tokens_in, tokens_out, runtime.llm))
    last = read_run("replies")
    if to_ask and last is not None and last.rate:
        lines.append(f"time: about {len(to_ask) / last.rate / 60:.0f} min at the rate of the last run")
    if not CUE_WORDS.exists():
        lines.append("the measured cues are not made yet and will add some; run this again after a first `dvc repro`")
    return "\n".join(lines)


def _prompts(render: RenderPrompt) -> Iterator[tuple[str, Row]]:
    """The prompt of every clip that has one, from the tables as they lie in data/."""
    words = pq.read_table(CUE_WORDS).to_pylist() if CUE_WORDS.exists() else []
    context = {str(row["clip_id"]): row for row in words}
    for row in read_folder(Path("data/transcript")).to_pylist():
        name = str(row["clip_id"])
        request = request_of(Clip(name, "", {"transcript": row, "cue_words": context.get(name)}))
        if not request.is_empty:
            (message,) = render.infer([request])
            assert not isinstance(message, Exception)
            yield name, message


def _tokens(prompts: Sequence[Row], params: EnrichParams) -> tuple[int, int, str]:
    """Tokens in and out of some prompts; counted as the server counts where it has answered before."""
    guess = sum(_guess(prompt) for prompt in prompts)
    each_out = min(params.max_tokens, (params.max_chars + SENTENCES) / LETTERS)
    rows = (
        read_folder(REPLIES, ["valid", "tokens_in", "tokens_out", "requests", "clip_id"]) if REPLIES.exists() else None
    )
    answered = [] if rows is None else [row for row in rows.to_pylist() if row["valid"] and row["tokens_in"]]
    if not answered:
        return round(guess), round(each_out * len(prompts)), "a guess: a Chinese character or four letters a token"
    asked = {row["clip_id"]: row for row in read_folder(Path("data/prompts")).to_pylist()}
    ratio = sum(row["tokens_in"] for row in answered) / max(
        1.0, sum(_guess(asked[row["clip_id"]]) for row in answered if row["clip_id"] in asked)
    )
    mean_out = sum(row["tokens_out"] or 0 for row in answered) / len(answered)
    return round(guess * ratio), round(mean_out * len(prompts)), f"as in the {len(answered)} replies in data/"


def _guess(prompt: Row) -> float:
    text = f"{prompt['system']}{prompt['user']}"
    wide = sum(ord(char) > 0x2E7F for char in text)
    return wide + (len(text) - wide) / LETTERS


def _cost_line(tokens_in: int, tokens_out: int, settings: LlmSettings) -> str:
    if not settings.price_in and not settings.price_out:
        return "cost: set price_in and price_out, per million tokens, under [llm] in .mer.toml"
    money = cost(tokens_in, tokens_out, settings.price_in, settings.price_out)
    amount = f"{money:,.2f}" if money >= 1 else f"{money:.4f}"
    return f"cost: {amount} at {settings.price_in:g} in and {settings.price_out:g} out a million tokens"


def ledger_text() -> str:
    """Lines: what all replies in data/ took, and what the last run did.

    Raises:
        StageError: there are no replies.
    """
    rows = [row for row in read_folder(REPLIES).to_pylist() if row["valid"]] if REPLIES.exists() else []
    if not rows:
        raise StageError(
            "data/replies has no replies; set enrich.backend to openai or transformers and run `dvc repro`"
        )
    statuses = Counter(str(row["status"]) for row in rows)
    tokens_in, tokens_out, requests = (sum(row[key] or 0 for row in rows) for key in
                                       ("tokens_in", "tokens_out", "requests"))  # fmt: skip
    seconds = [row["seconds"] for row in rows if row["seconds"] is not None]
    lines = [
        f"{len(rows)} replies of {', '.join(sorted({str(row['model']) for row in rows}))}: "
        + ", ".join(f"{count} {status}" for status, count in statuses.most_common()),
        f"{requests:,} requests, {tokens_in:,} tokens in, {tokens_out:,} out"
        + (f", {sum(seconds) / len(seconds):.1f} s a reply" if seconds else ""),
        _cost_line(tokens_in, tokens_out, load_runtime().llm),
    ]
    whys = Counter(str(row["why"]) for row in rows if row["status"] == "fallback")
    lines += [f"fallback: {count} × {why}" for why, count in whys.most_common(5)]
    last = load_ledger()
    return "\n".join([*lines, *([f"last run {last}"] if last is not None else [])])


def show(clip: str) -> str:
    """What was asked about a clip, what came back, and what became of it.

    Raises:
        UsageError: there is no such clip.
    """
    tables = {name: _row(Path("data", name), clip) for name in ("prompts", "replies", "enriched")}
    prompt, reply, text = tables["prompts"], tables["replies"], tables["enriched"]
    lines = []
    if prompt is not None and prompt["valid"]:
        lines += ["asked:", textwrap.indent(str(prompt["user"]), "  ")]
    if reply is not None and reply["valid"]:
        answers = reply["raw"]
        assert isinstance(answers, list)
        lines += [f"answered by {reply['model']} ({reply['status']}, {reply['requests']} requests):"]
        lines += [textwrap.indent(answer, "  ") for answer in answers]
    if text is not None:
        status = text["reason"] if not text["valid"] else text["status"]
        lines += [
            f"enriched ({status}{': ' + str(text['why']) if text.get('why') else ''}):",
            f"  {text['text'] or ''}",
        ]
    return "\n".join(lines)


def _row(folder: Path, clip: str) -> Row | None:
    if not folder.exists():
        return None
    rows = {str(row["clip_id"]): row for row in read_folder(folder).to_pylist()}
    if clip not in rows and folder.name == "enriched":
        raise UsageError(f"there is no clip '{clip}'{did_you_mean(clip, rows) if len(rows) < 10_000 else ''}")
    return rows.get(clip)
