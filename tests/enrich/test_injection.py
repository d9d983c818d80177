"""A subtitle is data: it cannot end its object, spell a special token, grow, hide, or reach another clip or a key."""

import json
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mer_pipeline.base.runtime import LlmSettings
from mer_pipeline.datasets.adapter import MER_CLASSES
from mer_pipeline.enrich.ask import Ask, ByServerParams
from mer_pipeline.enrich.clean import RISKY, UNSEEN, as_data, plain
from mer_pipeline.enrich.prompt import NEIGHBOUR_CHARS, SPOKEN_CHARS, RenderPrompt, user_message
from mer_pipeline.enrich.request import Request
from tests.conftest import clip, valid
from tests.enrich.hostile import HOSTILE
from tests.llm.proxy import Body, Canned, FaultProxy

FORMAT = set('{}[]",: ')


def test_there_are_enough_of_them() -> None:
    """At least forty different ones."""
    assert len(set(HOSTILE)) >= 40


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("place", ["zh", "en", "before"])
def test_a_hostile_subtitle_stays_one_string(text: str, place: str) -> None:
    """The message is one JSON object with the keys that it has for any clip, and nothing risky is bare in it."""
    request = Request(
        zh=text if place == "zh" else "你好",
        en=text if place == "en" else "hello",
        cues=("voice higher",),
        before=(text,) if place == "before" else ("earlier",),
        after=("later",),
    )
    message = user_message(request)
    data = json.loads(message)
    assert set(data) <= {"chinese", "english", "before", "after", "voice and face"}
    assert data["after"] == ["later"]
    assert data["voice and face"] == ["voice higher"]
    assert len(message) < 6 * (2 * SPOKEN_CHARS + 2 * NEIGHBOUR_CHARS) + 500
    inside = "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', message))
    assert not RISKY.search(inside)
    assert not {unicodedata.category(char) for char in message} & UNSEEN
    message.encode("utf-8")


@given(st.dictionaries(st.text(min_size=1), st.text() | st.lists(st.text())))
def test_as_data_is_json_that_is_equal(values: dict[str, str | list[str]]) -> None:
    """Escaping changes how it is written and not what it says."""
    assert json.loads(as_data(values)) == values


@given(st.text(), st.integers(2, 50))
def test_plain_is_bounded_visible_and_stays_so(text: str, limit: int) -> None:
    """Whatever comes in; and what is plain already does not change."""
    once = plain(text, limit)
    assert len(once) <= limit
    assert not {unicodedata.category(char) for char in once} & UNSEEN
    assert "  " not in once
    assert once == once.strip()
    assert plain(once, limit) == once


def test_what_people_write_is_not_touched() -> None:
    """Chinese marks, emoji and accents stand as they are."""
    for text in ("你好！真的吗？……", "C'est déjà l'été — 100 %", "😀 ok", 'He said "no".'):
        assert plain(text, 200) == text


@pytest.mark.parametrize("text", HOSTILE)
def test_a_model_that_obeys_gives_away_nothing(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even a model that writes down all that it was sent, headers too, has no key and no other clip to write."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    reply = {
        "meaning": "m", "cues": [], "context": "c", "intensity": 0,
        "scores": dict.fromkeys(MER_CLASSES, 1), "enriched_text": "e",
    }  # fmt: skip

    def obey(body: Body, headers: dict[str, str]) -> str:
        return json.dumps(reply | {"enriched_text": json.dumps([body, dict(headers)])})

    with FaultProxy(Canned(obey), fault_rate=0) as server:
        params = ByServerParams(backend="openai", model="m", max_chars=4000)
        render, ask = RenderPrompt(params, MER_CLASSES), Ask(params, MER_CLASSES, LlmSettings(url=server.url))
        other = clip("other", transcript=valid(zh="别人的秘密", en="quixotic words"), cue_words=None)
        own = clip("own", transcript=valid(zh=text, en=None), cue_words=None)
        rows = [
            ask.prepare(clip(prompts=valid(**prompt)))
            for prompt in render.infer([render.prepare(one) for one in (other, own)])
            if isinstance(prompt, dict)
        ]
        ask.close()
    written = json.dumps(rows[1], ensure_ascii=False, default=str)
    assert "sk-very-secret" not in json.dumps(rows, default=str)
    assert "[key]" in written
    assert "秘密" not in written
    assert "quixotic" not in written
