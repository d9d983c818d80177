"""`mer enrich`: the bill before, the bill after, and one clip's conversation."""

import json
from pathlib import Path

import pytest

from mer_pipeline.cli.enrich import estimate, ledger_text, show
from mer_pipeline.enrich.ledger import cost
from mer_pipeline.errors import StageError, UsageError
from mer_pipeline.params import MER_CLASSES
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
