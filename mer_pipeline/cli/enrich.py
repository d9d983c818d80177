"""The command `mer enrich`: what prompts would cost, what they did cost, and the prompt and replies of one clip."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq

from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.errors import StageError, UsageError, did_you_mean
from mer_pipeline.base.runs import read_run
from mer_pipeline.base.runtime import LlmSettings, load_runtime
from mer_pipeline.config.params import load_params
from mer_pipeline.config.project import Project
from mer_pipeline.config.steps import replies
from mer_pipeline.enrich.ask import open_journal
from mer_pipeline.enrich.backend import LanguageModelParams
from mer_pipeline.enrich.context import context_of
from mer_pipeline.enrich.ledger import cost, load_ledger
from mer_pipeline.enrich.prompt import RenderPrompt
from mer_pipeline.enrich.replies import Sampling, asked
from mer_pipeline.enrich.request import request_of
from mer_pipeline.store.inputs import input_digests
from mer_pipeline.store.row_cache import row_cache_of
from mer_pipeline.tables.rows import Encoded, complete_row, encode
from mer_pipeline.tables.shards import read_folder, read_shard, shard_of

REPLIES, CUES = Project().table("replies"), Project().table("cues")
LETTERS = 4.0  # letters of Latin script in a token; a Chinese character is one token
SENTENCES = 400  # characters of a reply besides the enriched text: meaning, cues, context, JSON keys


def estimate() -> str:
    """Estimate what a run of the stage `enrich` would ask a language model.

    Returns:
        Lines with the number of replies that are known and of prompts to send, the tokens, the cost and the time.

    Raises:
        UsageError: the backend asks no language model.
        StageError: the transcripts are not made yet.
    """
    params, runtime = load_params(), load_runtime()
    enrich = params.enrich
    if not isinstance(enrich, LanguageModelParams):
        raise UsageError(
            f"enrich.backend is '{enrich.backend}', which asks nobody; set it to openai or transformers first"
        )
    render, journal = RenderPrompt(enrich, params.dataset.classes), open_journal()
    asker = replies(params).make()
    assert isinstance(asker.params, Sampling)
    prompts = dict(_prompts(render, enrich))
    digests = (complete_row(name, "", row, None, render.schema)["digest"] for name, row in prompts.items())
    parts = {name: Encoded(encode(digest)) for name, digest in zip(prompts, digests, strict=True)}
    known = row_cache_of(asker, runtime).knows(input_digests(list(prompts), {"prompts": parts}))
    wanted: dict[str, Row] = {}  # a prompt that is the same for several clips is sent once
    open_clips = 0
    for prompt, is_known in zip(prompts.values(), known, strict=True):
        key = asked(prompt, asker.params)
        if not is_known and key not in journal:
            open_clips, wanted[key] = open_clips + 1, prompt
    to_ask = list(wanted.values())
    tokens_in, tokens_out, how = _tokens(to_ask, enrich)
    same = f" ({len(to_ask)} different prompts)" if len(to_ask) < open_clips else ""
    lines = [
        f"{len(prompts)} clips have something to ask: {len(prompts) - open_clips} replies are known, "
        f"{open_clips} to ask for{same}",
        f"tokens: about {tokens_in:,} in and {tokens_out:,} out, at most {enrich.max_tokens * len(to_ask):,} "
        f"out ({how})",
    ]
    if enrich.by_server:
        lines.append(_cost_line(tokens_in, tokens_out, runtime.llm))
    last = read_run("replies")
    if to_ask and last is not None and last.rate:
        lines.append(f"time: about {len(to_ask) / last.rate / 60:.0f} min at the rate of the last run")
    if not CUES.exists():
        lines.append("the measured cues are not made yet and will add some; run this again after a first `dvc repro`")
    return "\n".join(lines)


def _prompts(render: RenderPrompt, params: LanguageModelParams) -> Iterator[tuple[str, Row]]:
    """Return the prompt of every clip that has one, as the stage would write it from the present tables in data/."""
    folder = Project().table("transcript")
    if not folder.exists():
        raise StageError("there are no transcripts to ask about; make them with `dvc repro transcribe faces`")
    transcripts = read_folder(folder).to_pylist()
    cues = read_folder(CUES).to_pylist() if CUES.exists() else []
    manifest = pq.read_table(Project().manifest, columns=["clip_id", "group", "order"]).to_pylist()
    context = {str(row["clip_id"]): row for row in context_of(cues, transcripts, manifest, params).to_pylist()}
    for row in transcripts:
        name = str(row["clip_id"])
        request = request_of(Clip(name, "", {"transcript": row, "cue_words": context.get(name)}))
        if not request.is_empty:
            (message,) = render.infer([request])
            assert not isinstance(message, Exception)
            yield name, message


def _tokens(prompts: Sequence[Row], params: LanguageModelParams) -> tuple[int, int, str]:
    """Estimate the tokens of some prompts and of their replies, and say how.

    If the server has answered before, its own counts are the basis.
    """
    guess = sum(_guess(prompt) for prompt in prompts)
    each_out = min(params.max_tokens, (params.max_chars + SENTENCES) / LETTERS)
    columns = ["clip_id", "valid", "tokens_in", "tokens_out"]
    rows = read_folder(REPLIES, columns).to_pylist() if REPLIES.exists() else []
    answered = {row["clip_id"]: row for row in rows if row["valid"] and row["tokens_in"]}
    if not answered:
        return round(guess), round(each_out * len(prompts)), "a guess: a Chinese character or four letters a token"
    sent = read_folder(Project().table("prompts"), ["clip_id", "system", "user"]).to_pylist()
    guessed = sum(_guess(row) for row in sent if row["clip_id"] in answered)
    ratio = sum(row["tokens_in"] for row in answered.values()) / max(1.0, guessed)
    mean_out = sum(row["tokens_out"] or 0 for row in answered.values()) / len(answered)
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
    """Return lines about the requests, tokens and cost of all replies in data/, and about the last run.

    Raises:
        StageError: there are no replies.
    """
    rows = [row for row in read_folder(REPLIES).to_pylist() if row["valid"]] if REPLIES.exists() else []
    if not rows:
        raise StageError(f"{REPLIES} has no replies; run `dvc repro`, with enrich.backend openai or transformers")
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
    """Return lines with the prompt about a clip, the replies, and the context-enriched text.

    Raises:
        UsageError: there is no such clip.
    """
    shards = load_params().shards.count
    clips = pq.read_table(Project().manifest, columns=["clip_id"])["clip_id"].to_pylist()
    if clip not in clips:
        raise UsageError(f"there is no clip '{clip}'{did_you_mean(clip, clips) if len(clips) < 10_000 else ''}")
    prompt, reply, text = (_row(Project().table(name), clip, shards) for name in ("prompts", "replies", "enriched"))
    lines = []
    if prompt is not None and prompt["valid"]:
        lines += ["asked:", _quoted(prompt["user"])]
    if reply is not None and reply["valid"]:
        answers = reply["raw"]
        assert isinstance(answers, list)
        lines += [f"answered by {reply['model']} ({reply['status']}, {reply['requests']} requests):"]
        lines += [_quoted(answer) for answer in answers]
    if text is not None:
        status = text["reason"] if not text["valid"] else text["status"]
        lines += [f"enriched ({status}{': ' + str(text['why']) if text['why'] else ''}):", _quoted(text["text"])]
    return "\n".join(lines or ["nothing is made of it yet; run `dvc repro`"])


def _row(folder: Path, clip: str, shards: int) -> Row | None:
    if not folder.exists():
        return None
    rows: list[Row] = read_shard(folder, shard_of(clip, shards), shards).to_pylist()
    return next((row for row in rows if row["clip_id"] == clip), None)


def _quoted(value: object) -> str:
    """Return a text indented. Characters that could control the terminal are shown as escapes."""
    text = "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in str(value or ""))
    return textwrap.indent(text, "  ")
