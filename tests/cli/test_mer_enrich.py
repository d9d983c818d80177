"""`mer enrich`: the bill before, the bill after, and one clip's conversation."""

import json
import shutil
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mer_pipeline.base.errors import StageError, UsageError
from mer_pipeline.base.runtime import load_runtime
from mer_pipeline.cli.enrich import estimate, ledger_text, show
from mer_pipeline.cli.plan import StagePlan, _look_up
from mer_pipeline.cli.store import gc, this_store
from mer_pipeline.cli.verify import verify
from mer_pipeline.config.params import load_params
from mer_pipeline.config.steps import steps
from mer_pipeline.datasets.adapter import MER_CLASSES
from mer_pipeline.enrich.ledger import cost
from mer_pipeline.store.inputs import Parts
from tests.enrich.project import make_project, run_stage, set_enrich, settings
from tests.llm.proxy import Body, Canned, FaultProxy

MODEL = {"backend": "openai", "model": "canned", "max_chars": 40}
TEXTS = {f"clip{at}": f"{at} is what I said." for at in range(6)}


def answer(body: Body) -> str:
    if "3 is" in body["messages"][1]["content"]:
        return "no"
    scores = dict.fromkeys(MER_CLASSES, 10)
    parts = {"meaning": "m", "cues": [], "context": "c", "intensity": 5, "scores": scores}
    return json.dumps(parts | {"enriched_text": "said calmly"})


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = make_project(tmp_path / "p", TEXTS, **MODEL)
    settings(folder, price_in=1.0, price_out=2.0)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MER_STORE", raising=False)
    return folder


def test_the_estimate_falls_to_nothing_as_replies_are_known(project: Path) -> None:
    """Before: all clips and a guess. After: none. One clip more: one, counted as the server counts."""
    before = estimate().splitlines()
    assert before[0] == "6 clips have something to ask: 0 replies are known, 6 to ask for"
    assert "a guess" in before[1]
    assert before[2].startswith("cost: 0.0")
    assert "cues are not made yet" in before[-1]
    with FaultProxy(Canned(answer), fault_rate=0) as server:
        assert run_stage(project, MER_LLM_URL=server.url).returncode == 0
    after = estimate().splitlines()
    assert after[0] == "6 clips have something to ask: 6 replies are known, 0 to ask for"
    assert "about 0 in and 0 out" in after[1]
    set_enrich(project, **MODEL | {"seed": 7})
    again = estimate().splitlines()
    assert "6 to ask for" in again[0]
    assert "as in the 6 replies in data/" in again[1]
    measured = sum(
        len(json.dumps(request.body["messages"], ensure_ascii=False)) // 4 + 1 for request in server.requests
    )
    about = int(again[1].split("about ")[1].split(" in")[0].replace(",", ""))
    assert about == pytest.approx(measured, rel=0.02)
    assert any(line.startswith("time: about") for line in again)


def test_the_estimate_says_what_must_be_made_first(project: Path) -> None:
    """Not the whole pipeline, which would ask before anybody knows the bill."""
    shutil.rmtree("data/transcript")
    with pytest.raises(StageError, match="`dvc repro transcribe faces`"):
        estimate()


def test_the_ledger_and_a_clip(project: Path) -> None:
    """Statuses, tokens, cost, reasons; and for one clip what was asked and answered."""
    with pytest.raises(StageError, match="no replies"):
        ledger_text()
    with FaultProxy(Canned(answer), fault_rate=0) as server:
        assert run_stage(project, MER_LLM_URL=server.url).returncode == 0
    text = ledger_text()
    assert "6 replies of canned: 5 ok, 1 fallback" in text
    assert "7 requests" in text
    assert "fallback: 1 × the reply has no complete JSON object" in text
    assert "cost: 0.0038 at 1 in and 2 out a million tokens" in text
    assert "last run asked: 7 requests (5 ok, 1 fallback" in text
    shown = show("clip3")
    assert '"english": "3 is what I said."' in shown
    assert "answered by canned (fallback, 2 requests):" in shown
    assert "enriched (fallback: the reply has no complete JSON object):\n  3 is what I said." in shown
    assert "said calmly" in show("clip1")
    with pytest.raises(UsageError, match="did you mean 'clip1'"):
        show("clip11")


def test_rules_ask_nobody(project: Path) -> None:
    """There is no bill, and that is said."""
    set_enrich(project, backend="template")
    with pytest.raises(UsageError, match="asks nobody"):
        estimate()


def test_cost_is_per_million() -> None:
    """In the currency of the prices."""
    assert cost(2_000_000, 500_000, 0.15, 0.60) == pytest.approx(0.60)


def test_the_estimate_sees_neighbours_that_are_yet_to_be_quoted(project: Path) -> None:
    """What is asked is rendered anew, not read from tables that a changed param will replace; `mer plan` does too."""
    manifest = pq.read_table("data/manifest.parquet")
    order = pa.array([float(at) for at in range(len(TEXTS))], pa.float64())
    one_scene = pa.array(["scene"] * len(TEXTS), pa.string())
    manifest = manifest.set_column(manifest.schema.get_field_index("order"), "order", order)
    manifest = manifest.set_column(manifest.schema.get_field_index("group"), "group", one_scene)
    pq.write_table(manifest, "data/manifest.parquet")
    with FaultProxy(Canned(answer), fault_rate=0) as server:
        assert run_stage(project, MER_LLM_URL=server.url).returncode == 0
        assert "0 to ask for" in estimate()
        set_enrich(project, **MODEL | {"neighbours": 2})
        assert "6 to ask for" in estimate()
        params = load_params()
        plan, tables = StagePlan("enrich"), dict[str, Parts | None]()
        for step in steps(params):
            if step.name in {"cues", "prompts", "replies"}:
                _look_up(step, plan, tables, load_runtime(), None, params.enrich)
        assert (plan.hits, plan.misses) == (6, 12), "the cues are known; prompts and replies are not"
        asked = len(server.requests)
        assert run_stage(project, MER_LLM_URL=server.url).returncode == 0
    assert len(server.requests) - asked >= 6


def test_replies_are_not_rubbish(project: Path) -> None:
    """`mer store gc` keeps what was bought unless it is told otherwise; `mer verify` does not ask again."""
    with FaultProxy(Canned(answer), fault_rate=0) as server:
        assert run_stage(project, MER_LLM_URL=server.url).returncode == 0
        time.sleep(0.05)
        said = gc(this_store(), 0, dry_run=False)
        assert "kept 1 of replies" in said
        assert "replies" not in said.partition("kept")[0]
        asked = len(server.requests)
        assert run_stage(project, MER_LLM_URL=server.url).returncode == 0
        assert len(server.requests) == asked
    with pytest.raises(StageError, match="replies are external responses"):
        verify(["replies"], 3, 0, 0.0)
    time.sleep(0.05)
    assert " replies " in gc(this_store(), 0, dry_run=True, external_response=True)


def test_an_unknown_clip_and_an_escape(project: Path) -> None:
    """A clip that is not there is said before anything is made; what could steer a terminal is spelt out."""
    with pytest.raises(UsageError, match="there is no clip 'nobody'"):
        show("nobody")
    assert show("clip1") == "nothing is made of it yet; run `dvc repro`"
    with FaultProxy(Canned(lambda body: "\x1b]0;title\x07"), fault_rate=0) as server:
        assert run_stage(project, MER_LLM_URL=server.url).returncode == 0
    assert "\x1b" not in show("clip1")
    assert "\\x1b]0;title\\x07" in show("clip1")
